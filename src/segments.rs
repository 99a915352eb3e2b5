//! A body in pieces.

use std::collections::VecDeque;

use bytes::Bytes;

/// A body as a short list of slices, most of them of the body that the caller sent.
///
/// Taking the next one off is all there is to sending it; a clone shares every byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments {
    list: VecDeque<Bytes>,
    len: u64,
}

impl Segments {
    /// Appends `segment`, unless it is empty: an empty frame is worth nothing on the wire.
    pub(crate) fn push(&mut self, segment: Bytes) {
        if !segment.is_empty() {
            self.len += segment.len() as u64;
            self.list.push_back(segment);
        }
    }

    /// How many bytes are left, exactly: the `Content-Length`, as long as nothing is taken.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What is left, if it is in one piece.
    pub(crate) fn as_one(&self) -> Option<&Bytes> {
        self.list.front().filter(|_| self.list.len() == 1)
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Iterator for Segments {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let segment = self.list.pop_front()?;
        self.len -= segment.len() as u64;
        Some(segment)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.list.len(), Some(self.list.len()))
    }
}

impl From<Bytes> for Segments {
    fn from(whole: Bytes) -> Self {
        let mut segments = Self::default();
        segments.push(whole);
        segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn len_is_what_is_left() {
        let mut segments = Segments::from(Bytes::from_static(b"ab"));
        segments.push(Bytes::new());
        segments.push(Bytes::from_static(b"cde"));
        let mut left = Vec::new();
        while !segments.is_empty() {
            left.push(segments.len());
            segments.next();
        }
        assert_eq!(left, [5, 3]);
        assert_eq!(segments.len(), 0);
    }
}
