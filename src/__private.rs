//! For the benchmarks and fuzz targets of this crate. Not API: it changes without notice.

use std::time::SystemTime;

use bytes::Bytes;

use crate::{
    endpoint::Endpoint,
    json::JsonError,
    provider::Dialect,
    request::{Recipient, ScanError, scan, scan_form},
    upstream::{EventReader, Irregular, answer},
};

/// Why a body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no JSON.
    NotJson,
    /// It is JSON that is not routed.
    NotRouted,
}

/// The events of a stream that comes in these chunks: whether each has content, finishes, fails, was billed.
#[must_use]
pub fn events(chunks: &[&[u8]]) -> Vec<[bool; 4]> {
    let mut reader = EventReader::new(1 << 16);
    let mut events = Vec::new();
    for chunk in chunks {
        let safe = reader.push(chunk, &mut |event, end| {
            assert!(end <= chunk.len());
            events.push([
                event.content,
                event.finished,
                event.error.is_some(),
                event.billed,
            ]);
        });
        assert!(safe <= chunk.len());
    }
    let last = reader.finish();
    events.extend(last.map(|event| {
        [
            event.content,
            event.finished,
            event.error.is_some(),
            event.billed,
        ]
    }));
    events
}

/// Reads an answer; says whether it was billed.
#[must_use]
pub fn answer(body: &[u8]) -> bool {
    let mut follow = crate::upstream::Follow::document();
    follow.push(body);
    follow.billed() | answer::read(body).billed
}

/// Makes an answer such that strict clients can read it; what was made of it, if anything.
#[must_use]
pub fn normal(body: &[u8]) -> Option<Bytes> {
    let answer = Irregular {
        endpoint: Endpoint::ChatCompletions,
        model: "model".to_owned(),
        now: SystemTime::UNIX_EPOCH,
    };
    Some(crate::normalise::normalise(&answer, body)?.body)
}

/// Scans a chat request and rewrites it once, for a model whose answers have this limit.
pub fn rewrite(
    body: &Bytes,
    model: &str,
    dialect: &Dialect,
    max_output: Option<u64>,
) -> Result<Vec<Bytes>, Refusal> {
    let body = &body.clone().into();
    match scan(body, Endpoint::ChatCompletions) {
        Ok(envelope) => {
            let recipient = Recipient {
                max_output,
                ..Recipient::new(model, dialect)
            };
            Ok(envelope.rewrite(body, &recipient).body.collect())
        }
        Err(ScanError::NotUtf8 { .. } | ScanError::Json(JsonError::Syntax { .. })) => {
            Err(Refusal::NotJson)
        }
        Err(_) => Err(Refusal::NotRouted),
    }
}

/// Scans a form and rewrites it once; `None` if it is refused.
#[must_use]
pub fn rewrite_form(body: &Bytes, content_type: &str, model: &str) -> Option<Vec<Bytes>> {
    let scanned = scan_form(body, Endpoint::ImageEdits, content_type.as_bytes());
    let dialect = Dialect::OPENAI;
    let recipient = Recipient::new(model, &dialect);
    Some(
        scanned
            .ok()?
            .rewrite(&body.clone().into(), &recipient)
            .body
            .collect(),
    )
}
