//! A catalog, bound to a health map: what a pick reads of all targets, in the order of the catalog, without a lock.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::{
    catalog::{Catalog, Snapshot},
    health::{cell::TargetCell, cooldown::Phase, map::HealthMap},
};

/// A snapshot of the catalog, and what a map knows of its targets.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) snapshot: Arc<Snapshot>,
    /// In the order of the snapshot.
    pub(crate) cells: Vec<Arc<TargetCell>>,
    /// How often the map had forgotten targets by then. Later ones may be among these.
    sweeps: u64,
}

impl Bound {
    /// The phase of the provider of a target.
    pub(crate) fn provider_phase(&self, index: usize, now: Instant) -> Phase {
        self.cells[index].provider.phase(now)
    }
}

/// The present snapshot of a catalog, bound to a map by the first pick.
#[derive(Debug)]
pub(crate) struct Binding {
    catalog: Catalog,
    map: HealthMap,
    bound: Mutex<Option<Arc<Bound>>>,
}

impl Binding {
    pub(crate) fn new(catalog: Catalog, map: HealthMap) -> Self {
        Self {
            catalog,
            map,
            bound: Mutex::default(),
        }
    }

    pub(crate) const fn map(&self) -> &HealthMap {
        &self.map
    }

    /// All targets of this moment.
    pub(crate) fn present(&self) -> Arc<Bound> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let is_present = |bound: &&mut Arc<Bound>| {
            bound.snapshot.generation() == self.catalog.generation()
                && bound.sweeps == self.map.sweeps()
        };
        if let Some(bound) = bound.as_mut().filter(is_present) {
            return Arc::clone(bound);
        }
        // Requests that come meanwhile wait here rather than do the same.
        let sweeps = self.map.sweeps();
        let snapshot = self.catalog.snapshot();
        let cells = self.map.cells(&snapshot);
        let new = Arc::new(Bound {
            snapshot,
            cells,
            sweeps,
        });
        Arc::clone(bound.insert(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{Model, Target},
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
    fn an_attempt_at_a_cell_that_the_map_has_forgotten_is_recorded_in_the_map() {
        let (catalog, health) = (Catalog::from_targets(targets()), HealthMap::seeded(1));
        let bound = Binding::new(catalog, health.clone()).present();
        health.sweep(&Catalog::new().snapshot());
        let (cell, target) = (&bound.cells[0], &bound.snapshot.targets()[0]);
        let begin = || health.begin_beside(cell, target, false, Instant::now());
        begin().unwrap().succeed();
        let failed = begin().unwrap();
        failed.fail(&Outcome::of(OutcomeKind::OutOfQuota));
        let known = health.snapshot();
        let tally = known.target("p", "a").unwrap().tally;
        assert_eq!((tally.succeeded, tally.failed), (1, 1));
    }
}
