use crate::select::{Candidate, Chance, Select, SelectRequest};

/// The first candidate in the order of the operator.
///
/// The order is a list of names: of a provider, of a model, or `provider/model`. A candidate stands where the first name stands
/// that is its own; of two at one name the first in the catalog goes first, and so do all that no name is of, behind the
/// others. Without names ([`Ordered::default`]) the order is that of the catalog: of the providers as they came into it,
/// and of each provider's models as they were given or listed.
///
/// The others get what the first cannot take: requests whose needs it does not meet, and all while it is cooling or out of
/// quota.
///
/// ```
/// use tower_free_models::{Model, Provider, Select, provider::{Endpoint, FreeRule}};
/// use tower_free_models::select::{Candidate, Chance, Needs, Ordered, SelectRequest};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let [local, acme] = ["local", "acme"].map(|name| Provider::new(name).free(FreeRule::All).build());
/// let (local, acme) = (local?, acme?);
/// let targets = [local.target(Model::new("tiny"))?, acme.target(Model::new("a"))?, acme.target(Model::new("b"))?];
/// let candidates = [&targets[0], &targets[1], &targets[2]].map(Candidate::new);
/// let (needs, headers) = (Needs::new(Endpoint::ChatCompletions), http::HeaderMap::new());
/// let request = SelectRequest::new(&needs, &headers);
/// let first = |ordered: Ordered| ordered.select(&request, &candidates, &Chance::seeded(7));
///
/// assert_eq!(first(Ordered::default()), 0);
/// assert_eq!(first(Ordered::new(["acme", "local"])), 1);
/// assert_eq!(first(Ordered::new(["acme/b", "acme"])), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    names: Vec<String>,
}

impl Ordered {
    /// In the order of these names.
    #[must_use]
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
        }
    }

    /// The place of the first name that is a candidate's; of one without a name the place behind all of them.
    fn place(&self, candidate: &Candidate<'_>) -> usize {
        let target = candidate.target;
        let is_own = |name: &String| *name == target.id().provider() || target.is_named(name);
        let place = self.names.iter().position(is_own);
        place.unwrap_or(self.names.len())
    }
}

impl Select for Ordered {
    fn select(&self, _: &SelectRequest<'_>, candidates: &[Candidate<'_>], _: &Chance) -> usize {
        let mut first = (0, usize::MAX);
        for (index, candidate) in candidates.iter().enumerate() {
            let place = self.place(candidate);
            if place < first.1 {
                first = (index, place);
            }
            if place == 0 {
                break;
            }
        }
        first.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::select::testing::{picks, targets};

    proptest! {
        #[test]
        fn the_pick_is_the_first_of_a_stable_sort(
            mut providers in prop::collection::vec(0..4_usize, 1..12),
            names in prop::collection::vec("p[0-4]|m([0-9]|1[01])|p[0-3]/m[0-9]|other|free", 0..5),
        ) {
            providers.sort_unstable();
            let targets = targets(providers);
            let candidates: Vec<_> = targets.iter().map(Candidate::new).collect();
            let place = |index: &usize| {
                let id = targets[*index].id();
                let own = [id.provider().to_owned(), id.model().to_owned(), id.to_string()];
                names.iter().position(|name| own.contains(name)).unwrap_or(usize::MAX)
            };
            let mut sorted: Vec<_> = (0..targets.len()).collect();
            sorted.sort_by_key(place);
            let picks = picks(&Ordered::new(names.clone()), &candidates, 1, 2);
            prop_assert_eq!(picks, [sorted[0]; 2]);
        }
    }
}
