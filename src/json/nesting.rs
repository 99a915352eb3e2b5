//! Which arrays and objects are open.

use super::reader::{Kind, MAX_DEPTH};

/// The kinds of the arrays and objects that are open, a bit for each: without memory on the heap, because one of these is
/// made for every event of a stream.
#[derive(Debug, Default)]
pub(super) struct Nesting([u64; MAX_DEPTH / 64]);

impl Nesting {
    /// Notes what is open with so many around it.
    #[inline]
    pub(super) fn set(&mut self, depth: usize, kind: Kind) {
        let bit = 1 << (depth % 64);
        if let Some(word) = self.0.get_mut(depth / 64) {
            match kind {
                Kind::Object => *word |= bit,
                Kind::Array => *word &= !bit,
            }
        }
    }

    /// What is open with so many around it.
    #[inline]
    pub(super) fn get(&self, depth: usize) -> Kind {
        let word = self.0.get(depth / 64).copied().unwrap_or_default();
        match word >> (depth % 64) & 1 {
            0 => Kind::Array,
            _ => Kind::Object,
        }
    }
}
