use crate::select::{Candidate, Chance, Select, SelectRequest};

/// Every candidate with the same probability: the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Random;

impl Select for Random {
    fn select(
        &self,
        _: &SelectRequest<'_>,
        candidates: &[Candidate<'_>],
        chance: &Chance,
    ) -> usize {
        chance.below(candidates.len())
    }
}
