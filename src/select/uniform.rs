use crate::select::{Candidate, Chance, Select, SelectRequest};

/// Every candidate with the same probability, whatever its limits leave.
///
/// ```
/// use tower_free_models::{Model, Provider, Select, provider::{Endpoint, FreeRule}};
/// use tower_free_models::select::{Candidate, Chance, Needs, SelectRequest, Uniform};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let local = Provider::new("local").free(FreeRule::All).build()?;
/// let targets = [local.target(Model::new("a"))?, local.target(Model::new("b"))?];
/// let candidates = [Candidate::new(&targets[0]), Candidate::new(&targets[1])];
/// let (needs, headers) = (Needs::new(Endpoint::ChatCompletions), http::HeaderMap::new());
/// let request = SelectRequest::new(&needs, &headers);
///
/// let chance = Chance::seeded(7);
/// let second = (0..1_000).filter(|_| Uniform.select(&request, &candidates, &chance) == 1);
/// assert!((400..600).contains(&second.count()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uniform;

impl Select for Uniform {
    fn select(
        &self,
        _: &SelectRequest<'_>,
        candidates: &[Candidate<'_>],
        chance: &Chance,
    ) -> usize {
        chance.below(candidates.len())
    }

    fn explores(&self) -> bool {
        true
    }
}
