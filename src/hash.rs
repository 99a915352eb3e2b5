//! A hash that is the same in every process, on every machine and in every version.
//!
//! Bytes are taken eight at a time as little-endian numbers. Each block is put into the state by an exclusive or, a
//! multiplication and a shift, which loses nothing of the state. A field ends with its last block, filled up with zeros, and
//! its length, so that no two lists of fields are the same input. The state is finished as in SplitMix64. It is made for
//! spreading, and not to withstand an attack: two inputs with one hash can be computed.

/// The fields of what is hashed are written one after the other, each in as many parts as it comes in.
#[derive(Clone, Debug)]
pub(crate) struct StableHash {
    state: u64,
    /// The bytes that are not in the state yet: fewer than a block.
    block: [u8; BLOCK],
    filled: usize,
    /// How many bytes the present field has.
    len: u64,
}

const BLOCK: usize = 8;

/// 2^64 divided by the golden ratio, and odd: the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl StableHash {
    pub(crate) const fn new() -> Self {
        Self {
            state: GOLDEN,
            block: [0; BLOCK],
            filled: 0,
            len: 0,
        }
    }

    /// Further bytes of the present field.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        self.len = self.len.wrapping_add(bytes.len() as u64);
        if self.filled > 0 {
            let (first, rest) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            self.keep(first);
            bytes = rest;
            if self.filled < BLOCK {
                return;
            }
            self.mix(u64::from_le_bytes(self.block));
            self.filled = 0;
        }
        let mut blocks = bytes.chunks_exact(BLOCK);
        for block in &mut blocks {
            let mut whole = [0; BLOCK];
            whole.copy_from_slice(block);
            self.mix(u64::from_le_bytes(whole));
        }
        self.keep(blocks.remainder());
    }

    /// The present field ends, and the next begins.
    pub(crate) fn end_field(&mut self) {
        self.block[self.filled..].fill(0);
        self.mix(u64::from_le_bytes(self.block));
        self.mix(self.len);
        (self.filled, self.len) = (0, 0);
    }

    /// A whole field.
    pub(crate) fn field(mut self, bytes: &[u8]) -> Self {
        self.write(bytes);
        self.end_field();
        self
    }

    /// The hash of the fields that have ended.
    pub(crate) const fn finish(&self) -> u64 {
        let mut hash = self.state;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        self.block[self.filled..end].copy_from_slice(bytes);
        self.filled = end;
    }

    const fn mix(&mut self, block: u64) {
        let mixed = (self.state ^ block).wrapping_mul(GOLDEN);
        self.state = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn of(fields: &[&[u8]]) -> u64 {
        let all = fields.iter();
        all.fold(StableHash::new(), |hash, field| hash.field(field))
            .finish()
    }

    #[test]
    fn it_is_the_same_in_every_version() {
        // The first number of SplitMix64 from 0.
        assert_eq!(of(&[]), 0xe220_a839_7b1d_cdaf);
        assert_eq!(
            of(&[b"a conversation", b"acme", b"model"]),
            0xe555_dba1_f98d_c82e
        );
    }

    #[test]
    fn lists_of_fields_that_join_to_the_same_bytes_differ() {
        let zeros = [0; 17];
        let mut lists: Vec<Vec<&[u8]>> = (0..=17).map(|n| vec![&zeros[..n]]).collect();
        lists.extend([
            vec![],
            vec![&b""[..], b""],
            vec![b"a", b"bc"],
            vec![b"ab", b"c"],
        ]);
        let hashes: HashSet<_> = lists.iter().map(|fields| of(fields)).collect();
        assert_eq!(hashes.len(), lists.len());
    }

    proptest! {
        #[test]
        fn a_field_is_the_same_in_however_many_parts_it_comes(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
        ) {
            let mut hash = StableHash::new();
            parts.iter().for_each(|part| hash.write(part));
            hash.end_field();
            prop_assert_eq!(hash.finish(), of(&[&parts.concat()]));
        }

        #[test]
        fn each_bit_of_the_input_changes_about_half_of_the_hash(
            field in prop::collection::vec(any::<u8>(), 1..40), at in any::<prop::sample::Index>(), bit in 0..8_u8,
        ) {
            let mut other = field.clone();
            *at.get_mut(&mut other) ^= 1 << bit;
            let changed = (of(&[&field]) ^ of(&[&other])).count_ones();
            prop_assert!((8..=56).contains(&changed), "{} bits", changed);
        }
    }
}
