//! Ways to what is private here, for the fuzz targets alone.

use bytes::Bytes;

use crate::{
    Api, Error, Limits, Mark, Request, batch, multipart,
    request::{Dress, Terms},
    settings::Kind,
};

/// The body of a request for a provider, with these marks in it.
///
/// # Errors
/// It cannot be written, which no request that was parsed may come to.
pub fn upstream_body(
    request: &Request,
    model: &str,
    marks: &[(Mark, &str)],
    ask_usage: bool,
) -> Result<Bytes, Error> {
    request.upstream_body(&Dress { model: Some(model), marks, ask_usage })
}

/// Whether a request may go out on a credential that others use, too, by a route without tools.
///
/// # Errors
/// It asks for something that is not known, or for a tool.
pub fn judge_shared(request: &Request) -> Result<(), Error> {
    let terms =
        Terms { shared: true, extra_fields: &[], hosted_tools: &[], kind: Kind::OpenaiCompatible };
    request.judge(&terms)
}

/// An upload as it goes to a provider: its content type, its body, and what the file holds.
///
/// # Errors
/// What is uploaded is not understood.
pub fn uploaded(
    content_type: &str,
    body: Bytes,
    most: usize,
) -> Result<(String, Bytes, Bytes), Error> {
    let upload = multipart::read(content_type, body, most)?;
    let (content_type, body) = multipart::write(&upload, &upload.bytes);
    Ok((content_type, body, upload.bytes))
}

/// A batch's file as it goes to a provider, the endpoint of its lines, and their models.
///
/// # Errors
/// A line is none, or cannot be.
pub fn batch(file: &Bytes, model: &str) -> Result<(Bytes, Api, Vec<String>), Error> {
    let survey = batch::survey(file)?;
    let dressed = |request: &Request| upstream_body(request, model, &[], false);
    let rewritten = batch::rewrite(file, &Limits::default(), dressed)?;
    Ok((rewritten.bytes, survey.api, survey.models))
}
