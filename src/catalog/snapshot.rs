//! All targets at one moment.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    catalog::target::{Target, TargetId},
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
        Self {
            targets: groups.into_iter().flatten().collect(),
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

    /// The names of the providers that have no target because a [`Refresh`](crate::Refresh) could not read their listing
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
        self.targets.iter().find(|target| target.id() == id)
    }

    /// The targets that a request asks for with this `model`: by an exact id at any provider, or by `provider/id`.
    ///
    /// A name that [means any](super::means_any) names none in particular, and so does one that no target has.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Target> {
        self.targets
            .iter()
            .filter(move |target| target.is_named(name))
    }
}
