//! A request that was collected and read once, for all its attempts.

use std::{fmt, mem};

use http::{header, request::Parts};

use crate::{
    endpoint::Endpoint,
    json::{Collected, Segments},
    refusal::Refusal,
    request::{
        admit::{Admitted, Format},
        assemble::Assembly,
        error::ScanError,
        fields::Name,
        scan::{Edits, Envelope, Field, scan, scan_form},
    },
};

/// A request as it came, and what one pass over its body found.
pub(crate) struct Parsed {
    pub(crate) parts: Parts,
    pub(crate) body: Collected,
    pub(crate) envelope: Envelope,
}

impl Admitted {
    /// What the body of the request is collected in.
    pub(crate) fn assembly(&self) -> Assembly {
        match (&self.format, self.endpoint) {
            // Where a provider makes images in its own way, the whole body is read.
            (Format::Json, Endpoint::ImageGenerations) | (Format::Form(_), _) => {
                Assembly::of_bytes()
            }
            (Format::Json, _) => Assembly::of_json(),
        }
    }

    /// Reads a whole body. What cannot be read is refused with 400.
    ///
    /// The body is joined if it has a hole that could make a difference to what is found.
    pub(crate) fn read(&self, body: &mut Collected) -> Result<Envelope, Refusal> {
        let mut found = self.scan(body);
        let is_final = match &found {
            Ok(found) => is_exact(found, body),
            Err(_) => body.holes().is_empty(),
        };
        if !is_final {
            // What was found holds the frames too, of which each goes as it is copied.
            drop(found);
            *body = mem::take(body).joined().into();
            found = self.scan(body);
        }
        found.map_err(|error| {
            let refusal = Refusal::bad_request(error.to_string());
            match error.param() {
                Some(param) => refusal.param(param),
                None => refusal,
            }
        })
    }

    fn scan(&self, body: &Collected) -> Result<Envelope, ScanError> {
        match &self.format {
            Format::Json => scan(body, self.endpoint),
            Format::Form(kind) => scan_form(body.text(), self.endpoint, kind.as_bytes()),
        }
    }
}

/// Whether what was found in a valid text is what would be found in the joined body: all holes are in the values of fields
/// in which a string is compared with short names only.
fn is_exact(envelope: &Envelope, body: &Collected) -> bool {
    let Edits::Json(json) = &envelope.edits else {
        return body.holes().is_empty();
    };
    let is_harmless = |field: &Field, at| field.name == Name::Other && field.value.contains(&at);
    body.holes().iter().all(|hole| {
        let after = json
            .fields
            .partition_point(|field| field.key.start < hole.at);
        let field = after
            .checked_sub(1)
            .and_then(|field| json.fields.get(field));
        field.is_some_and(|field| is_harmless(field, hole.at))
    })
}

impl Parsed {
    pub(crate) const fn endpoint(&self) -> Endpoint {
        self.envelope.needs.endpoint
    }

    /// Whether the answer is asked for as a stream of events.
    pub(crate) const fn streams(&self) -> bool {
        self.envelope.needs.stream
    }

    /// Whether this is what a reading of that request would give: its body is the very same bytes in memory, and
    /// nothing in its head was changed that says how to read them.
    pub(crate) fn is_of(&self, parts: &Parts, body: &Segments) -> bool {
        let same_header = |name| self.parts.headers.get_all(&name) == parts.headers.get_all(name);
        self.body.is_sent_as(body)
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
