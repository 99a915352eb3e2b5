use crate::select::{Candidate, Chance, Select, SelectRequest, weights};

/// At random, in proportion to what the limits of each candidate leave: the default.
///
/// A candidate weighs the requests a second that its own limits leave, or its share of what the limits of its account leave
/// where that is less: the candidates of an account share those evenly. A candidate of which neither is known weighs the mean of
/// the others; where nothing is known of any, all weigh the same. One of which nothing is left is picked only where all
/// are so.
///
/// ```
/// use tower_free_models::{Model, Provider, Select, provider::{Endpoint, FreeRule}};
/// use tower_free_models::select::{Allowance, Candidate, Chance, Needs, Random, SelectRequest};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let [small, large] = ["small", "large"].map(|name| Provider::new(name).free(FreeRule::All).build());
/// let targets = [small?.target(Model::new("m"))?, large?.target(Model::new("m"))?];
/// let mut candidates = [Candidate::new(&targets[0]), Candidate::new(&targets[1])];
/// // Ten requests are left until the limit resets in an hour; and 900 of another.
/// candidates[0].account_allowance = Some(Allowance::new(10.0 / 3600.0, 1.0));
/// candidates[1].account_allowance = Some(Allowance::new(900.0 / 3600.0, 1.0));
/// let (needs, headers) = (Needs::new(Endpoint::ChatCompletions), http::HeaderMap::new());
/// let request = SelectRequest::new(&needs, &headers);
///
/// let chance = Chance::seeded(7);
/// let first = (0..9_100).filter(|_| Random.select(&request, &candidates, &chance) == 0);
/// assert!((50..200).contains(&first.count()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Random;

impl Select for Random {
    fn select(
        &self,
        _: &SelectRequest<'_>,
        candidates: &[Candidate<'_>],
        chance: &Chance,
    ) -> usize {
        weights::draw(candidates, chance)
    }

    fn explores(&self) -> bool {
        true
    }
}
