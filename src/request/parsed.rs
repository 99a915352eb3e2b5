//! A request that was collected and read once, for all its attempts.

use std::fmt;

use bytes::Bytes;
use http::{header, request::Parts};

use crate::{
    endpoint::Endpoint,
    refusal::Refusal,
    request::{
        admit::{Admitted, Format},
        scan::{Envelope, scan, scan_form},
    },
};

/// A request as it came, and what one pass over its body found.
pub(crate) struct Parsed {
    pub(crate) parts: Parts,
    pub(crate) bytes: Bytes,
    pub(crate) envelope: Envelope,
}

impl Admitted {
    /// Reads a whole body. What cannot be read is refused with 400.
    pub(crate) fn read(&self, bytes: &Bytes) -> Result<Envelope, Refusal> {
        let envelope = match &self.format {
            Format::Json => scan(bytes, self.endpoint),
            Format::Form(kind) => scan_form(bytes, self.endpoint, kind.as_bytes()),
        };
        envelope.map_err(|error| {
            let refusal = Refusal::bad_request(error.to_string());
            match error.param() {
                Some(param) => refusal.param(param),
                None => refusal,
            }
        })
    }
}

impl Parsed {
    pub(crate) const fn endpoint(&self) -> Endpoint {
        self.envelope.needs.endpoint
    }

    /// Whether the answer is asked for as a stream of events.
    pub(crate) const fn streams(&self) -> bool {
        self.envelope.needs.stream
    }

    /// Whether this is what a reading of that request would give: its body are the very same bytes in memory, and
    /// nothing in its head was changed that says how to read them.
    pub(crate) fn is_of(&self, parts: &Parts, bytes: &Bytes) -> bool {
        let same_header = |name| self.parts.headers.get_all(&name) == parts.headers.get_all(name);
        self.bytes.as_ptr() == bytes.as_ptr()
            && self.bytes.len() == bytes.len()
            && self.parts.method == parts.method
            && self.parts.uri == parts.uri
            && same_header(header::CONTENT_TYPE)
            && same_header(header::CONTENT_ENCODING)
    }
}

impl fmt::Debug for Parsed {
    /// Without the prompt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parsed")
            .field("needs", &self.envelope.needs)
            .finish_non_exhaustive()
    }
}
