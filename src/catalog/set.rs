//! The set of targets that all requests read, and how it is replaced.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::time::Instant;

use super::{
    snapshot::Snapshot,
    target::{Target, TargetId},
};
use crate::provider::Provider;

/// The set of targets, all of them free.
///
/// A handle: clones share the set. It is replaced provider by provider, each time as a whole, and read as one
/// [`Snapshot`].
///
/// ```
/// use tower_free_models::{Catalog, Model, Provider, provider::FreeRule};
///
/// let local = Provider::new("local")
///     .base_url("http://127.0.0.1:8080/v1")
///     .free(FreeRule::All)
///     .build()?;
/// let catalog = Catalog::from_targets([local.target(Model::new("tiny"))?]);
///
/// let before = catalog.snapshot();
/// let targets = vec![local.target(Model::new("small"))?, local.target(Model::new("large"))?];
/// let swap = catalog.replace(&local, targets)?;
/// assert_eq!((swap.added, swap.removed), (2, 1));
///
/// assert_eq!(before.len(), 1);
/// assert_eq!(catalog.snapshot().len(), 2);
/// assert_eq!(catalog.snapshot().named("local/large").count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Catalog(Arc<Inner>);

struct Inner {
    /// Held to read or to set the handle, never while a snapshot is made.
    current: Mutex<Arc<Snapshot>>,
    /// The generation of that snapshot, which picks read without a lock.
    generation: AtomicU64,
    /// Held while a provider is replaced, from the snapshot read to the snapshot set.
    writing: Mutex<()>,
}

impl Default for Inner {
    fn default() -> Self {
        Self::from(Snapshot::new([]))
    }
}

impl From<Snapshot> for Inner {
    fn from(snapshot: Snapshot) -> Self {
        Self {
            generation: AtomicU64::new(snapshot.generation()),
            current: Mutex::new(Arc::new(snapshot)),
            writing: Mutex::new(()),
        }
    }
}

impl Catalog {
    /// An empty catalog.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A catalog of these targets. Of two with one id, the first counts.
    pub fn from_targets(targets: impl IntoIterator<Item = Target>) -> Self {
        Self(Arc::new(Snapshot::new(targets).into()))
    }

    /// All targets of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&lock(&self.0.current))
    }

    /// The [generation](Snapshot::generation) of the snapshot of this moment.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    fn set(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation();
        let mut current = lock(&self.0.current);
        *current = snapshot;
        self.0.generation.store(generation, Ordering::Release);
    }

    /// Replaces all targets of the providers of this name, in one swap.
    ///
    /// # Errors
    ///
    /// If there are no targets, since a listing that comes back empty is more often broken than true and
    /// [`remove`](Self::remove) says it plainly; or if one of them belongs to another provider. The catalog is then as
    /// it was.
    pub fn replace(&self, provider: &Provider, targets: Vec<Target>) -> Result<Swap, CatalogError> {
        let fault = |fault| CatalogError {
            provider: provider.name().to_owned(),
            fault,
        };
        if let Some(foreign) = targets.iter().find(|target| target.provider() != provider) {
            return Err(fault(Fault::Foreign(foreign.id().clone())));
        }
        if targets.is_empty() {
            return Err(fault(Fault::Empty));
        }
        Ok(self.swap(provider.name(), targets))
    }

    /// Takes out all targets of the provider of this name.
    pub fn remove(&self, provider_name: &str) {
        self.swap(provider_name, Vec::new());
    }

    /// Notes whether a provider has no target because its listing could not be read yet.
    pub(crate) fn set_awaited(&self, name: &str, is_awaited: bool) {
        let _writing = lock(&self.0.writing);
        let old = self.snapshot();
        if old.awaited().any(|awaited| awaited == name) == is_awaited {
            return;
        }
        let mut awaited = old.shared_awaited().to_vec();
        match is_awaited {
            true => awaited.push(name.into()),
            false => awaited.retain(|awaited| **awaited != *name),
        }
        let new = Snapshot::new(old.targets().iter().cloned()).awaiting(awaited);
        self.set(Arc::new(new));
    }

    /// Takes out the targets of a provider whose last day was over at `wall`, or whose price was read too long before
    /// `now`, if there are any.
    pub(crate) fn expire(&self, name: &str, wall: SystemTime, now: Instant) -> Option<Swap> {
        let is_over = |target: &Target| {
            let day_is_over = target.model().expires().is_some_and(|end| end <= wall);
            day_is_over || target.price_ends().is_some_and(|end| end <= now)
        };
        let snapshot = self.snapshot();
        let mut own = snapshot
            .targets()
            .iter()
            .filter(|target| target.id().provider() == name);
        own.any(is_over).then(|| {
            self.change(name, |own| {
                own.filter(|target| !is_over(target)).cloned().collect()
            })
        })
    }

    pub(crate) fn swap(&self, name: &str, targets: Vec<Target>) -> Swap {
        self.change(name, |_| targets)
    }

    /// Makes of the targets of a provider new ones.
    fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut dyn Iterator<Item = &Target>) -> Vec<Target>,
    ) -> Swap {
        let _writing = lock(&self.0.writing);
        let old = self.snapshot();
        // The provider keeps its place, so that the order of the others does not move.
        let is_own = |target: &&Target| target.provider().name() == name;
        let targets = change(&mut old.targets().iter().filter(is_own));
        let before = old.targets().iter().take_while(|target| !is_own(target));
        let after = old.targets().iter().skip_while(|target| !is_own(target));
        let after = after.filter(|target| !is_own(target));
        let new = before.cloned().chain(targets).chain(after.cloned());
        let new = Arc::new(Snapshot::new(new).awaiting(old.shared_awaited().to_vec()));

        let own = |of: &Snapshot| of.targets().iter().filter(is_own).count();
        let kept = old
            .targets()
            .iter()
            .filter(is_own)
            .filter(|target| new.find(target.id()).is_some());
        let kept = kept.count();
        let swap = Swap {
            added: own(&new) - kept,
            removed: own(&old) - kept,
            kept,
        };
        self.set(new);
        swap
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Catalog").field(&self.snapshot()).finish()
    }
}

/// Nothing panics while it holds one of these locks, and if it did, a whole snapshot would still be there.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a replacement changed, by the ids of the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swap {
    /// Targets that were not there.
    pub added: usize,
    /// Targets that are there no more.
    pub removed: usize,
    /// Targets that were there and still are.
    pub kept: usize,
}

/// Why a replacement was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogError {
    provider: String,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Empty,
    Foreign(TargetId),
}

impl CatalogError {
    /// Whether there was nothing to replace the targets with.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fault == Fault::Empty
    }
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = &self.provider;
        match &self.fault {
            Fault::Empty => write!(f, "no free model of {provider}: what was known of it stays"),
            Fault::Foreign(id) => write!(f, "{id} is not a target of this provider {provider}"),
        }
    }
}

impl Error for CatalogError {}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::catalog::Model;

    fn provider(name: &str) -> Provider {
        Provider::new(name).build().expect("a provider")
    }

    fn targets(provider: &Provider, ids: &[&str]) -> Vec<Target> {
        let target = |id: &&str| provider.target(Model::new(*id)).expect("a target");
        ids.iter().map(target).collect()
    }

    fn ids(catalog: &Catalog) -> Vec<String> {
        catalog
            .snapshot()
            .targets()
            .iter()
            .map(|target| target.id().to_string())
            .collect()
    }

    #[test]
    fn a_provider_is_replaced_whole_and_in_its_place() {
        let (a, b) = (provider("a"), provider("b"));
        let catalog = Catalog::new();
        catalog
            .replace(&a, targets(&a, &["1", "2"]))
            .expect("a swap");
        catalog.replace(&b, targets(&b, &["1"])).expect("a swap");
        let swap = catalog
            .replace(&a, targets(&a, &["3", "2"]))
            .expect("a swap");
        assert_eq!((swap.added, swap.removed, swap.kept), (1, 1, 1));
        assert_eq!(ids(&catalog), ["a/3", "a/2", "b/1"]);
        assert_eq!(catalog.snapshot().providers(), [a, b]);
    }

    #[test]
    fn an_empty_listing_never_replaces_a_good_one() {
        let a = provider("a");
        let catalog = Catalog::from_targets(targets(&a, &["1"]));
        let error = catalog.replace(&a, Vec::new()).expect_err("a refusal");
        assert!(error.is_empty());
        assert_eq!(ids(&catalog), ["a/1"]);
    }

    #[test]
    fn a_target_of_another_provider_is_refused_even_under_the_same_name() {
        let (a, b, twin) = (provider("a"), provider("b"), provider("a"));
        let catalog = Catalog::from_targets(targets(&a, &["1"]));
        for foreign in [b, twin] {
            let error = catalog
                .replace(&a, targets(&foreign, &["2"]))
                .expect_err("a refusal");
            assert!(!error.is_empty());
        }
        assert_eq!(ids(&catalog), ["a/1"]);
    }

    #[test]
    fn a_provider_built_anew_takes_the_place_of_its_namesake() {
        let (old, new) = (provider("a"), provider("a"));
        let catalog = Catalog::from_targets(targets(&old, &["1"]));
        catalog
            .replace(&new, targets(&new, &["1"]))
            .expect("a swap");
        assert_eq!(catalog.snapshot().providers(), [new]);
    }

    #[test]
    fn a_removed_provider_is_gone_and_the_others_stay() {
        let (a, b) = (provider("a"), provider("b"));
        let catalog =
            Catalog::from_targets([targets(&a, &["1", "2"]), targets(&b, &["1"])].concat());
        catalog.remove("a");
        catalog.remove("unknown");
        assert_eq!(ids(&catalog), ["b/1"]);
    }

    #[test]
    fn targets_of_one_provider_stand_together_and_each_once() {
        let (a, b) = (provider("a"), provider("b"));
        let mixed = [
            targets(&a, &["1"]),
            targets(&b, &["1"]),
            targets(&a, &["2", "1"]),
        ]
        .concat();
        assert_eq!(ids(&Catalog::from_targets(mixed)), ["a/1", "a/2", "b/1"]);
    }

    #[test]
    fn no_two_snapshots_share_a_generation() {
        let a = provider("a");
        let catalog = Catalog::new();
        let before = catalog.snapshot().generation();
        catalog.replace(&a, targets(&a, &["1"])).expect("a swap");
        assert_ne!(catalog.snapshot().generation(), before);
        assert_ne!(Catalog::new().snapshot().generation(), before);
        assert_eq!(
            catalog.snapshot().generation(),
            catalog.snapshot().generation()
        );
    }

    #[test]
    fn a_name_means_that_model_anywhere_or_at_one_provider_or_any() {
        let (a, b) = (provider("a"), provider("b"));
        let catalog = Catalog::from_targets(
            [
                targets(&a, &["m", "x/m", "free"]),
                targets(&b, &["m", "a/m"]),
            ]
            .concat(),
        );
        let snapshot = catalog.snapshot();
        let named = |name| {
            snapshot
                .named(name)
                .map(|target| target.id().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(named("m"), ["a/m", "b/m"]);
        assert_eq!(named("b/m"), ["b/m"]);
        assert_eq!(named("a/x/m"), ["a/x/m"]);
        assert_eq!(named("a/m"), ["a/m", "b/a/m"]);
        for none in [
            "",
            "free",
            "auto",
            "openrouter/free",
            "gpt-4",
            "am",
            "b/",
            "/m",
        ] {
            assert!(named(none).is_empty(), "{none}");
        }
        for target in snapshot.targets() {
            assert_eq!(
                snapshot.find(target.id()).map(Target::id),
                Some(target.id())
            );
        }
    }

    #[test]
    fn concurrent_readers_see_whole_snapshots() {
        let (a, b) = (provider("a"), provider("b"));
        let sets = |provider: &Provider| {
            [
                targets(provider, &["1", "2", "3"]),
                targets(provider, &["4", "5"]),
            ]
        };
        let (of_a, of_b) = (sets(&a), sets(&b));
        let catalog = Catalog::from_targets([of_a[0].clone(), of_b[0].clone()].concat());
        thread::scope(|scope| {
            for (provider, sets) in [(&a, &of_a), (&b, &of_b)] {
                let catalog = &catalog;
                scope.spawn(move || {
                    for set in sets.iter().cycle().take(500) {
                        catalog.replace(provider, set.clone()).expect("a swap");
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..2000 {
                    let snapshot = catalog.snapshot();
                    for provider in ["a", "b"] {
                        let own = snapshot
                            .targets()
                            .iter()
                            .filter(|t| t.provider().name() == provider);
                        let own: Vec<_> = own.map(|target| target.model().id()).collect();
                        assert!(own == ["1", "2", "3"] || own == ["4", "5"], "{own:?}");
                    }
                }
            });
        });
        assert_eq!(ids(&catalog), ["a/4", "a/5", "b/4", "b/5"]);
    }
}
