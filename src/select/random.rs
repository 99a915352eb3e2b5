use crate::select::{Candidate, Chance, Select};

/// Every candidate with the same probability: the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Random;

impl Select for Random {
    fn select(&self, candidates: &[Candidate<'_>], chance: &Chance<'_>) -> usize {
        chance.below(candidates.len())
    }
}
