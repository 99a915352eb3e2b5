//! A body as slices, on its way out.

use std::collections::VecDeque;

use bytes::Bytes;

/// A body as a short list of slices, most of them of the body that the client sent.
///
/// Sending the body takes the slices off one by one; a clone shares every byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments {
    list: VecDeque<Bytes>,
    len: u64,
}

impl Segments {
    /// None, with room for this many.
    pub(super) fn with_capacity(most: usize) -> Self {
        Self {
            list: VecDeque::with_capacity(most),
            len: 0,
        }
    }

    /// Appends `segment`, unless it is empty: an empty frame says nothing on the wire.
    pub(super) fn push(&mut self, segment: Bytes) {
        if !segment.is_empty() {
            self.len += segment.len() as u64;
            self.list.push_back(segment);
        }
    }

    /// The number of bytes that are left: the `Content-Length`, as long as nothing is taken.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The slices that are left.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.list.iter()
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
