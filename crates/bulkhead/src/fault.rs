//! How a command ends when it does not end well: the message, what to do about it, and the
//! exit status.

use std::fmt;

/// Refused or failed.
pub(crate) const FAILED: u8 = 1;
/// The command line was wrong; the same that clap uses.
pub(crate) const USAGE: u8 = 2;
/// The server could not be reached.
pub(crate) const UNREACHABLE: u8 = 3;
/// Done, but for what was left out, and is listed.
pub(crate) const LEFT_OUT: u8 = 4;

/// The prober itself could not work, which says nothing about what it was to probe.
pub(crate) const TOOL: u8 = 3;

/// A failure with advice: what was wrong and where, then what to do.
#[derive(Debug)]
pub(crate) struct Fault {
    status: u8,
    what: String,
    advice: Option<String>,
    /// All that there is to say is printed already.
    said: bool,
}

impl Fault {
    /// Something was refused or failed.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self { status: FAILED, what: what.into(), advice: None, said: false }
    }

    /// The command line does not make sense.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self { status: USAGE, what: what.into(), advice: None, said: false }
    }

    /// The server could not be reached.
    pub(crate) fn unreachable(what: impl Into<String>) -> Self {
        Self { status: UNREACHABLE, what: what.into(), advice: None, said: false }
    }

    /// All is done but for what was left out.
    pub(crate) fn left_out(what: impl Into<String>) -> Self {
        Self { status: LEFT_OUT, what: what.into(), advice: None, said: false }
    }

    /// Ends with this status; the reason is part of what was printed.
    pub(crate) fn said(status: u8) -> Self {
        Self { status, what: format!("ended with {status}"), advice: None, said: true }
    }

    /// Ends with another status.
    #[must_use]
    pub(crate) fn with_status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}

/// The exit status of a command line that is not understood, or of help that was asked for. The
/// prober's own statuses keep 2 for what is not proven.
pub(crate) fn of_command_line(error: &clap::Error, args: impl Iterator<Item = String>) -> u8 {
    let probing =
        || args.skip(1).find(|arg| !arg.starts_with('-')).is_some_and(|arg| arg == "probe");
    match error.use_stderr() {
        false => 0,
        true if probing() => TOOL,
        true => USAGE,
    }
}

/// The exit status of a failure.
pub(crate) fn status(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Fault>().map_or(FAILED, |fault| fault.status)
}

/// Whether nothing more is to be printed about it.
pub(crate) fn is_said(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Fault>().is_some_and(|fault| fault.said)
}

/// The failure as it is printed: causes on the first line, advice on the next.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error:#}");
    let advice = error.chain().find_map(|cause| cause.downcast_ref::<Fault>()?.advice.as_deref());
    if let Some(advice) = advice {
        for line in advice.lines() {
            text.push_str("\n  → ");
            text.push_str(line);
        }
    }
    text
}

/// Whether the reader of our output went away, as `head` does: no failure of ours.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_fault_keeps_its_status_and_advice_under_context() {
        let fault = Fault::unreachable("nothing listens").advise("start it\nor look elsewhere");
        let error = Err::<(), _>(fault).context("asking for tenants").unwrap_err();
        assert_eq!(status(&error), UNREACHABLE);
        assert_eq!(
            describe(&error),
            "error: asking for tenants: nothing listens\n  → start it\n  → or look elsewhere"
        );
        assert_eq!(status(&anyhow::anyhow!("other")), FAILED);
    }
}
