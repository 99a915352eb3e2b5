//! All targets at one moment.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    catalog::{
        index::{Alike, Index},
        target::{Target, TargetId},
    },
    provider::Provider,
};

/// All targets at one moment, which never change again.
///
/// Their order is that in which the providers came, and within a provider that of its listing.
#[derive(Clone, Debug)]
pub struct Snapshot {
    targets: Vec<Target>,
    providers: Vec<Provider>,
    awaited: Vec<Arc<str>>,
    generation: u64,
    index: Index,
}

impl Snapshot {
    /// Targets of one provider stay together, and of two with one id the first counts.
    pub(crate) fn new(targets: impl IntoIterator<Item = Target>) -> Self {
        static GENERATION: AtomicU64 = AtomicU64::new(0);

        let mut ids = HashSet::new();
        let mut providers: Vec<Provider> = Vec::new();
        let mut groups: Vec<Vec<Target>> = Vec::new();
        for target in targets {
            if !ids.insert(target.id().clone()) {
                continue;
            }
            let name = target.provider().name();
            match providers
                .iter()
                .position(|provider| provider.name() == name)
            {
                Some(at) => groups[at].push(target),
                None => {
                    providers.push(target.provider().clone());
                    groups.push(vec![target]);
                }
            }
        }
        let targets: Vec<_> = groups.into_iter().flatten().collect();
        Self {
            index: Index::new(&targets),
            targets,
            providers,
            awaited: Vec::new(),
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The same targets, while these providers are awaited.
    pub(crate) fn awaiting(mut self, awaited: Vec<Arc<str>>) -> Self {
        self.awaited = awaited;
        self
    }

    /// The names of the providers that have no target because a [`Refresh`](crate::refresh::Refresh) could not read their listing
    /// yet, in the order in which they were added to it.
    #[must_use]
    pub fn awaited(&self) -> impl ExactSizeIterator<Item = &str> {
        self.awaited.iter().map(|name| &**name)
    }

    pub(crate) fn shared_awaited(&self) -> &[Arc<str>] {
        &self.awaited
    }

    /// The targets.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The providers that have a target.
    #[must_use]
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// A number that no other snapshot of this process has.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many targets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no target.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The target of this id.
    #[must_use]
    pub fn find(&self, id: &TargetId) -> Option<&Target> {
        self.index_of(id).map(|at| &self.targets[at])
    }

    /// The targets that a request asks for with this `model`: by an exact id at any provider, or by `provider/id`.
    ///
    /// A name that [means any](super::means_any) names none in particular, and so does one that no target has.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Target> {
        self.indices_named(name)
            .into_iter()
            .map(|at| &self.targets[at])
    }

    /// The indices of these targets, ascending.
    pub(crate) fn indices_named(&self, name: &str) -> Vec<usize> {
        self.index.named(&self.targets, &self.providers, name)
    }

    /// The index of the target of this id.
    pub(crate) fn index_of(&self, id: &TargetId) -> Option<usize> {
        let mut of_model = self.index.of_model(&self.targets, id.model());
        of_model.find(|&at| self.targets[at].id() == id)
    }

    /// The kinds of the targets, in the order in which the first target of each stands.
    pub(crate) fn kinds(&self) -> &[Alike] {
        self.index.kinds()
    }

    /// For each target the index of its kind.
    pub(crate) fn kind_of(&self) -> &[u32] {
        self.index.kind_of()
    }

    /// For each [account](crate::catalog::Kind::account) the index of its first target.
    pub(crate) fn accounts(&self) -> &[usize] {
        self.index.accounts()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::Model;

    proptest! {
        /// Providers and models whose names are made of the same few parts, so that one name can mean several targets.
        #[test]
        fn a_name_is_looked_up_as_if_it_were_compared_with_every_target(
            ids in prop::collection::vec(("[ab]/?[ab]?", "[ab](/[ab]){0,2}|%61|free"), 0..30),
            name in "[ab](/[ab]){0,3}|(%61|b)(%2f(a|b))?|free|",
        ) {
            let provider = |name: &str| Provider::new(name.trim_end_matches('/')).build();
            let targets = ids.iter().filter_map(|(provider_name, model)| {
                provider(provider_name).ok()?.target(Model::new(model.as_str())).ok()
            });
            let snapshot = Snapshot::new(targets);
            let compared = snapshot.targets().iter().filter(|target| target.is_named(&name));
            let named = snapshot.named(&name).map(Target::id);
            prop_assert_eq!(named.collect::<Vec<_>>(), compared.map(Target::id).collect::<Vec<_>>());
            for target in snapshot.targets() {
                prop_assert_eq!(snapshot.find(target.id()).map(Target::id), Some(target.id()));
            }
        }
    }

    #[test]
    fn targets_that_differ_in_what_a_pick_goes_by_are_of_different_kinds() {
        use crate::catalog::Capability;

        let [a, b] = ["a", "b"].map(|name| Provider::new(name).build().expect("a provider"));
        let twin = Provider::new("b").build().expect("a provider");
        let plain = || Model::new("1").context_length(8192).max_output(1000);
        let others = [
            plain().context_length(4096),
            plain().max_output(500),
            plain().parameters(["tools"]),
            plain().random(false),
            Model::new("whisper").context_length(8192).max_output(1000),
        ];
        let of = |provider: &Provider, models: Vec<crate::catalog::ModelBuilder>| {
            let target = |model| provider.target(model).expect("a target");
            models.into_iter().map(target).collect::<Vec<_>>()
        };
        let named = |id: &str| Model::new(id).context_length(8192).max_output(1000);
        let targets = [
            of(&a, vec![plain(), named("2")]),
            of(&b, vec![plain(), named("2")]),
            of(&twin, vec![named("3")]),
        ];
        let snapshot = Snapshot::new(targets.concat());
        assert_eq!(snapshot.kind_of(), [0, 0, 1, 1, 2]);
        let counts: Vec<_> = snapshot
            .kinds()
            .iter()
            .map(|kind| (kind.first, kind.count))
            .collect();
        assert_eq!(counts, [(0, 2), (2, 2), (4, 1)]);
        assert!(snapshot.kinds()[0].kind.is_for(Capability::TextOutput));
        for (at, other) in others.into_iter().enumerate() {
            let other = a.target(other).expect("a target");
            let plain = a.target(named("plain")).expect("a target");
            assert_eq!(Snapshot::new([plain, other]).kinds().len(), 2, "{at}");
        }
    }
}
