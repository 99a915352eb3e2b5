//! A catalog, bound to a health map: what a pick reads of all targets, in the order of the catalog, without a lock.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::time::Instant;

use crate::{
    catalog::{Catalog, Snapshot},
    health::{cell::TargetCell, map::HealthMap, standing::Standing},
};

/// A snapshot of the catalog, and what a map knows of its targets.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Bound {
    pub(crate) snapshot: Arc<Snapshot>,
    /// In the order of the snapshot.
    pub(crate) cells: Vec<Arc<TargetCell>>,
    pub(crate) map: HealthMap,
    /// How often the map had forgotten targets before the cells were read: if it has done so again, some of these cells may
    /// be out of use.
    sweeps: u64,
}

impl Bound {
    fn new(catalog: &Catalog, map: &HealthMap) -> Self {
        let sweeps = map.sweeps();
        let snapshot = catalog.snapshot();
        Self {
            cells: map.cells(&snapshot),
            snapshot,
            map: map.sibling(),
            sweeps,
        }
    }

    fn is_present(&self, catalog: &Catalog) -> bool {
        self.snapshot.generation() == catalog.generation() && self.sweeps == self.map.sweeps()
    }

    /// How the provider of a target stands, for a request of so many tokens.
    pub(crate) fn provider_standing(&self, index: usize, tokens: u64, now: Instant) -> Standing {
        self.cells[index].provider.standing(tokens, now)
    }
}

/// The present snapshot of a catalog, bound to a map by the first pick.
///
/// Two threads that lock one mutex or count in one `Arc` at each pick wait for each other's writes, which costs more than
/// the pick. So each thread has a slot of its own, as far as there are slots, with a `Bound` of its own.
#[derive(Debug)]
pub(crate) struct Binding {
    catalog: Catalog,
    map: HealthMap,
    slots: [Slot; SLOTS],
}

const SLOTS: usize = 16;

/// Two of them share no cache line, nor a pair of lines that are fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot(Mutex<Option<Arc<Bound>>>);

thread_local! {
    /// The slot of this thread.
    static OWN: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % SLOTS
    };
}

impl Binding {
    pub(crate) fn new(catalog: Catalog, map: HealthMap) -> Self {
        Self {
            catalog,
            map,
            slots: Default::default(),
        }
    }

    /// How many events have freed something so far, a new catalog among them.
    pub(crate) fn freed(&self) -> u64 {
        self.map.freed()
    }

    /// All targets of this moment.
    pub(crate) fn present(&self) -> Arc<Bound> {
        let own = OWN.try_with(|own| *own).unwrap_or(0);
        let slot = self.slots[own].0.lock();
        let mut slot = slot.unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(bound) if bound.is_present(&self.catalog) => Arc::clone(bound),
            _ => {
                // Of the threads that share the slot the others wait here rather than do the same.
                let new = Arc::new(Bound::new(&self.catalog, &self.map));
                let new = Arc::clone(slot.insert(new));
                drop(slot);
                self.let_go();
                new
            }
        }
    }

    /// Lets go of what is out of date in the slots of other threads, which may never pick again.
    fn let_go(&self) {
        for slot in &self.slots {
            // The thread that has locked a slot looks itself whether its content is present.
            if let Ok(mut slot) = slot.0.try_lock() {
                slot.take_if(|bound| !bound.is_present(&self.catalog));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{
        catalog::{Model, Target},
        health::Against,
        outcome::{Outcome, OutcomeKind},
        provider::{FreeRule, Provider},
    };

    fn targets() -> Vec<Target> {
        let provider = Provider::new("p").free(FreeRule::All).build().unwrap();
        let target = |model| provider.target(Model::new(model)).unwrap();
        ["a", "b"].map(target).into()
    }

    #[test]
    fn a_catalog_is_bound_once_until_it_changes_or_the_map_forgets_targets() {
        let (catalog, health) = (Catalog::from_targets(targets()), HealthMap::seeded(1));
        let binding = Binding::new(catalog.clone(), health.clone());
        let first = binding.present();
        assert!(Arc::ptr_eq(&first, &binding.present()));
        // Neither target was tried, so both are forgotten.
        health.sweep(&Catalog::new().snapshot());
        assert!(health.snapshot().targets.is_empty());
        let second = binding.present();
        assert!(!Arc::ptr_eq(&first.cells[0], &second.cells[0]));
        assert!(Arc::ptr_eq(&second, &binding.present()));
        catalog.remove("p");
        assert_eq!(binding.present().cells.len(), 0);
    }

    #[test]
    fn a_catalog_that_was_replaced_is_not_kept_by_threads_that_pick_no_more() {
        let (catalog, health) = (Catalog::from_targets(targets()), HealthMap::seeded(1));
        let binding = Binding::new(catalog.clone(), health);
        let replaced = Arc::downgrade(&catalog.snapshot());
        for _ in 0..SLOTS {
            thread::scope(|scope| scope.spawn(|| drop(binding.present())).join()).unwrap();
        }
        catalog.remove("p");
        assert!(binding.present().cells.is_empty());
        assert!(replaced.upgrade().is_none());
    }

    #[test]
    fn an_attempt_at_a_cell_that_the_map_has_forgotten_is_recorded_in_the_map() {
        let (catalog, health) = (Catalog::from_targets(targets()), HealthMap::seeded(1));
        let bound = Binding::new(catalog, health.clone()).present();
        health.sweep(&Catalog::new().snapshot());
        let (cell, target) = (&bound.cells[0], &bound.snapshot.targets()[0]);
        let against = Against {
            guess: false,
            probes: false,
        };
        let begin = || health.begin_against(cell, target, against, 0, Instant::now());
        begin().unwrap().succeed();
        let failed = begin().unwrap();
        failed.fail(&Outcome::of(OutcomeKind::OutOfQuota));
        let known = health.snapshot();
        let tally = known.target("p", "a").unwrap().tally;
        assert_eq!((tally.succeeded, tally.failed), (1, 1));
    }
}
