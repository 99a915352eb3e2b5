//! A collected body, without the middle of its long strings.

use std::{fmt, iter::once, ops::Range};

use bytes::Bytes;

use super::segments::Segments;

/// A body as it is read and sent: its text, and what was kept out of the text.
///
/// A body that came in one frame is its text. In one that came in several, large parts of long strings need not be
/// joined with the rest, because no reader needs them: these are the holes of the text. All spans of a body are spans of its
/// text, and a hole belongs to the span around it. No span ends at a hole, as long as every hole is inside of a token.
#[derive(Clone, Default)]
pub(crate) struct Collected {
    text: Bytes,
    /// In order. Of several at one position, each continues the one before it.
    holes: Vec<Hole>,
}

/// Bytes that stand in the body at a position of the text, in front of the byte that is there.
#[derive(Clone)]
pub(crate) struct Hole {
    pub(crate) at: usize,
    pub(crate) bytes: Bytes,
}

impl Collected {
    pub(crate) const fn new(text: Bytes, holes: Vec<Hole>) -> Self {
        Self { text, holes }
    }

    pub(crate) const fn text(&self) -> &Bytes {
        &self.text
    }

    pub(crate) fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// How long the body is.
    pub(crate) fn len(&self) -> usize {
        self.len_of(&(0..self.text.len()))
    }

    /// How many bytes of the body a span of the text is.
    pub(crate) fn len_of(&self, span: &Range<usize>) -> usize {
        let holes = self.holes_in(span).iter();
        span.len() + holes.map(|hole| hole.bytes.len()).sum::<usize>()
    }

    /// The bytes of the body that a span of the text is, in order: what they are a part of, and which part.
    pub(crate) fn pieces(
        &self,
        span: Range<usize>,
    ) -> impl Iterator<Item = (&Bytes, Range<usize>)> {
        let holes = self.holes_in(&span);
        let last = holes.last().map_or(span.start, |hole| hole.at);
        let mut at = span.start;
        holes
            .iter()
            .flat_map(move |hole| {
                let before = at..hole.at;
                at = hole.at;
                [(&self.text, before), (&hole.bytes, 0..hole.bytes.len())]
            })
            .chain(once((&self.text, last..span.end)))
    }

    /// Whether a span of the text is these bytes of the body.
    pub(crate) fn is_at(&self, span: Range<usize>, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        let mut pieces = self.pieces(span);
        let is_front = pieces.all(|(bytes, part)| {
            let piece = bytes.get(part).unwrap_or_default();
            let behind = rest.strip_prefix(piece);
            rest = behind.unwrap_or_default();
            behind.is_some()
        });
        is_front && rest.is_empty()
    }

    /// The body as it is sent.
    pub(crate) fn segments(&self) -> Segments {
        let mut segments = Segments::default();
        self.append(0..self.text.len(), &mut segments);
        segments
    }

    /// Whether these are this body's bytes: the very same in memory.
    pub(crate) fn is_sent_as(&self, segments: &Segments) -> bool {
        let own = self.pieces(0..self.text.len());
        own.filter(|(_, part)| !part.is_empty())
            .map(|(bytes, part)| (bytes.as_ptr().wrapping_add(part.start), part.len()))
            .eq(segments.iter().map(|bytes| (bytes.as_ptr(), bytes.len())))
    }

    /// The body in one piece. What is kept out of the text is dropped as it is copied.
    pub(crate) fn joined(self) -> Bytes {
        if self.holes.is_empty() {
            return self.text;
        }
        let mut joined = Vec::with_capacity(self.len());
        let mut at = 0;
        for hole in self.holes {
            joined.extend_from_slice(&self.text[at..hole.at]);
            joined.extend_from_slice(&hole.bytes);
            at = hole.at;
        }
        joined.extend_from_slice(&self.text[at..]);
        Bytes::from(joined)
    }

    /// Appends the bytes of a span of the text.
    pub(super) fn append(&self, span: Range<usize>, segments: &mut Segments) {
        for (bytes, part) in self.pieces(span) {
            segments.push(bytes.slice(part));
        }
    }

    fn holes_in(&self, span: &Range<usize>) -> &[Hole] {
        let until = |end| self.holes.partition_point(|hole| hole.at <= end);
        self.holes
            .get(until(span.start)..until(span.end))
            .unwrap_or_default()
    }
}

impl<T: Into<Bytes>> From<T> for Collected {
    fn from(whole: T) -> Self {
        Self::new(whole.into(), Vec::new())
    }
}

impl fmt::Debug for Collected {
    /// Without the prompt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("text", &self.text.len())
            .field("holes", &self.holes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body `ab[CD][E]fg[H]i`, where the holes are in brackets.
    fn with_holes() -> Collected {
        let hole = |at, bytes: &'static [u8]| {
            let bytes = Bytes::from_static(bytes);
            Hole { at, bytes }
        };
        let holes = vec![hole(2, b"CD"), hole(2, b"E"), hole(4, b"H")];
        Collected::new(Bytes::from_static(b"abfgi"), holes)
    }

    #[test]
    fn a_span_has_the_holes_inside_of_it() {
        let body = with_holes();
        for (span, expected) in [
            (0..5, "abCDEfgHi"),
            (0..1, "a"),
            (1..3, "bCDEf"),
            (3..5, "gHi"),
            (3..3, ""),
        ] {
            let mut segments = Segments::default();
            body.append(span.clone(), &mut segments);
            assert_eq!(segments.collect::<Vec<_>>().concat(), expected.as_bytes());
            assert_eq!(body.len_of(&span), expected.len());
            assert!(body.is_at(span.clone(), expected.as_bytes()));
            assert!(!body.is_at(span.clone(), format!("{expected}x").as_bytes()));
            assert!(!body.is_at(0..5, expected.as_bytes()) || span == (0..5));
        }
        assert_eq!(body.joined(), "abCDEfgHi");
    }

    #[test]
    fn only_the_very_same_bytes_in_memory_are_the_body() {
        let body = with_holes();
        assert!(body.is_sent_as(&body.segments()));
        assert!(body.clone().is_sent_as(&body.segments()));
        let copy: Bytes = body.segments().flatten().collect();
        assert!(!body.is_sent_as(&copy.into()));
        assert!(!body.is_sent_as(&body.text().clone().into()));
        let mut begun = body.segments();
        begun.next();
        assert!(!body.is_sent_as(&begun));
    }
}
