//! A queue of bytes that are held back.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A piece smaller than this is copied to its neighbours: each piece costs some dozens of bytes of its own,
/// and an upstream that sends byte by byte must not make that the larger part.
const SMALL: usize = 256;
/// So many bytes of small pieces are gathered into one.
const GATHERED: usize = 4096;

/// A queue of bytes. Large pieces are kept as they came, without a copy.
#[derive(Debug, Default)]
pub(super) struct Frames {
    list: VecDeque<Bytes>,
    /// Small pieces that came after the last one of the list.
    small: BytesMut,
    len: usize,
}

impl Frames {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() >= SMALL {
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
        if self.list.is_empty() {
            self.gather();
        }
        let piece = self.list.pop_front()?;
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
    pub(super) fn joined(&mut self) -> Bytes {
        self.gather();
        if self.list.len() > 1 {
            let mut joined = BytesMut::with_capacity(self.len);
            self.list
                .drain(..)
                .for_each(|piece| joined.extend_from_slice(&piece));
            self.list.push_back(joined.freeze());
        }
        self.list.front().cloned().unwrap_or_default()
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
        assert_eq!(frames.joined(), whole);
        let mut out = Vec::new();
        while let Some(piece) = frames.pop() {
            out.extend_from_slice(&piece);
        }
        assert_eq!((out, frames.len()), (whole, 0));
    }

    #[test]
    fn a_large_piece_is_not_copied_and_single_bytes_are_gathered() {
        let large = Bytes::from(vec![b'x'; SMALL]);
        let mut frames = Frames::default();
        frames.push(large.clone());
        (0..10_000).for_each(|_| frames.push(Bytes::from_static(b"y")));
        assert_eq!(frames.pop().unwrap().as_ptr(), large.as_ptr());
        assert!(frames.list.len() <= 10_000 / GATHERED);
    }
}
