//! What the process says about itself: one line an event, with tenant and run, never with a
//! payload.

use tracing::Dispatch;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{
    Error,
    settings::{Form, Log},
};

/// A subscriber that writes to `writer`, for the binary to set as the default.
///
/// A level alone is for Bulkhead's own lines; those of libraries begin at `warn`, so that
/// nobody turns on somebody else's dump of headers and bodies by asking us for `debug`.
///
/// # Errors
/// [`Error::Settings`] for a filter that does not parse.
pub fn dispatch<W>(log: &Log, writer: W) -> Result<Dispatch, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = match log.level.parse::<tracing::Level>() {
        // The MCP SDK warns with what callers and upstreams said.
        Ok(level) => format!("warn,rmcp=error,bulkhead={level}"),
        Err(_) => log.level.clone(),
    };
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Error::settings("log.level", error.to_string()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match log.form {
        Form::Json => Dispatch::new(
            lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .finish(),
        ),
        Form::Text => Dispatch::new(lines.with_ansi(false).finish()),
    })
}
