//! A queue of bytes that are held back.

use std::{collections::VecDeque, mem};

use bytes::{Bytes, BytesMut};

/// A piece smaller than this is copied to its neighbours: each piece costs some dozens of bytes of its own,
/// and an upstream that sends byte by byte must not make that the larger part.
const SMALL: usize = 256;
/// So many bytes of small pieces are gathered into one.
const GATHERED: usize = 4096;

/// A queue of bytes. Large pieces are kept as they came, without a copy; so is one that comes while the queue is empty.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The first piece, outside of the list: most answers, and most events of a stream, come in one.
    first: Bytes,
    list: VecDeque<Bytes>,
    /// Small pieces that came after the last one of the list.
    small: BytesMut,
    len: usize,
}

impl Frames {
    pub(super) fn push(&mut self, piece: Bytes) {
        let was_empty = self.len == 0;
        self.len += piece.len();
        if was_empty {
            self.first = piece;
        } else if piece.len() >= SMALL {
            self.gather();
            self.list.push_back(piece);
        } else {
            self.small.extend_from_slice(&piece);
            if self.small.len() >= GATHERED {
                self.gather();
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.len == 0 {
            return None;
        }
        let mut piece = mem::take(&mut self.first);
        if piece.is_empty() {
            if self.list.is_empty() {
                self.gather();
            }
            piece = self.list.pop_front()?;
        }
        self.len -= piece.len();
        Some(piece)
    }

    /// Moves all of `other` to the end.
    pub(super) fn append(&mut self, other: &mut Self) {
        while let Some(piece) = other.pop() {
            self.push(piece);
        }
    }

    /// How many bytes there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// All of it in one piece, which it stays; a copy only where there are several.
    pub(super) fn joined(&mut self) -> &Bytes {
        if self.first.len() < self.len {
            let mut joined = BytesMut::with_capacity(self.len);
            joined.extend_from_slice(&self.first);
            let pieces = self.list.drain(..);
            pieces.for_each(|piece| joined.extend_from_slice(&piece));
            joined.extend_from_slice(&mem::take(&mut self.small));
            self.first = joined.freeze();
        }
        &self.first
    }

    fn gather(&mut self) {
        if !self.small.is_empty() {
            self.list.push_back(self.small.split().freeze());
        }
    }
}

impl FromIterator<Bytes> for Frames {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut frames = Self::default();
        pieces.into_iter().for_each(|piece| frames.push(piece));
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order() {
        let pieces: Vec<_> = (0..300_usize)
            .map(|n| Bytes::from(vec![n as u8; n % 5 * 130 + 1]))
            .collect();
        let whole: Vec<u8> = pieces.iter().flatten().copied().collect();
        let mut frames: Frames = pieces.into_iter().collect();
        assert_eq!(frames.len(), whole.len());
        assert_eq!(*frames.joined(), whole);
        let mut out = Vec::new();
        while let Some(piece) = frames.pop() {
            out.extend_from_slice(&piece);
        }
        assert_eq!((out, frames.len()), (whole, 0));
    }

    #[test]
    fn a_piece_that_is_alone_is_not_copied() {
        let small = Bytes::from(vec![b'x'; 2]);
        let mut frames = Frames::default();
        for _ in 0..2 {
            frames.push(Bytes::new());
            frames.push(small.clone());
            assert_eq!(frames.joined().as_ptr(), small.as_ptr());
            assert_eq!(frames.pop().unwrap().as_ptr(), small.as_ptr());
            assert_eq!(frames.pop(), None);
        }
    }

    #[test]
    fn a_large_piece_is_not_copied_and_single_bytes_are_gathered() {
        let large = Bytes::from(vec![b'x'; SMALL]);
        let mut frames = Frames::default();
        frames.push(Bytes::from_static(b"x"));
        frames.push(large.clone());
        (0..10_000).for_each(|_| frames.push(Bytes::from_static(b"y")));
        assert_eq!(frames.pop().unwrap(), "x");
        assert_eq!(frames.pop().unwrap().as_ptr(), large.as_ptr());
        assert!(frames.list.len() <= 10_000 / GATHERED);
    }
}
