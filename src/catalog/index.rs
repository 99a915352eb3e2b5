//! What a pick looks up in a snapshot: the kinds of its targets, and their names.

use std::{
    collections::HashMap,
    fmt, iter,
    sync::{Arc, OnceLock},
};

use super::{kind::Kind, target::means_any};
use crate::{catalog::Target, headers::percent_decoded, provider::Provider};

/// All targets of one [`Kind`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alike {
    pub(crate) kind: Kind,
    /// The index of the first one.
    pub(crate) first: usize,
    pub(crate) count: usize,
}

#[derive(Clone)]
pub(super) struct Index {
    /// In the order in which the first target of each stands.
    kinds: Vec<Alike>,
    /// For each target the index of its kind.
    kind_of: Vec<u32>,
    /// For each [account](Kind::account) the index of its first target.
    accounts: Vec<usize>,
    /// The indices of all targets, sorted by their model's id: made for the first request that names one.
    by_model: OnceLock<Arc<[u32]>>,
}

impl Index {
    /// The targets of one provider stand together.
    pub(super) fn new(targets: &[Target]) -> Self {
        let mut kinds: Vec<Alike> = Vec::new();
        let mut known = HashMap::<Kind, u32>::new();
        let mut accounts: Vec<usize> = Vec::new();
        let mut kind_of: Vec<u32> = Vec::with_capacity(targets.len());
        for (first, target) in targets.iter().enumerate() {
            // The account of this target is more often than not that of the last one.
            let is_own = |&first: &usize| *targets[first].provider() == *target.provider();
            let account = accounts.iter().rposition(is_own).unwrap_or_else(|| {
                accounts.push(first);
                accounts.len() - 1
            });
            let kind = Kind::of(target, account);
            let at = *known.entry(kind).or_insert_with(|| {
                kinds.push(Alike {
                    kind,
                    first,
                    count: 0,
                });
                as_index(kinds.len() - 1)
            });
            kinds[at as usize].count += 1;
            kind_of.push(at);
        }
        Self {
            kinds,
            kind_of,
            accounts,
            by_model: OnceLock::new(),
        }
    }

    pub(super) fn kinds(&self) -> &[Alike] {
        &self.kinds
    }

    pub(super) fn kind_of(&self) -> &[u32] {
        &self.kind_of
    }

    pub(super) fn accounts(&self) -> &[usize] {
        &self.accounts
    }

    /// The indices of the targets whose model has this id, ascending.
    pub(super) fn of_model<'a>(
        &'a self,
        targets: &'a [Target],
        id: &str,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let model = |&at: &u32| targets[at as usize].id().model();
        let by_model = self.by_model.get_or_init(|| {
            let mut all: Vec<_> = (0..targets.len()).map(as_index).collect();
            // It is stable.
            all.sort_by(|a, b| model(a).cmp(model(b)));
            all.into()
        });
        let before = by_model.partition_point(|at| model(at) < id);
        let same = by_model[before..].partition_point(|at| model(at) <= id);
        let same = &by_model[before..before + same];
        same.iter().map(|&at| at as usize)
    }

    /// The indices of the targets that this name [names](Target::is_named), ascending.
    pub(super) fn named(
        &self,
        targets: &[Target],
        providers: &[Provider],
        name: &str,
    ) -> Vec<usize> {
        if means_any(name) {
            return Vec::new();
        }
        let decoded = name.contains('%').then(|| percent_decoded(name)).flatten();
        let mut found = Vec::new();
        for name in iter::once(name).chain(decoded.as_deref()) {
            found.extend(self.of_model(targets, name));
            for provider in providers {
                let rest = name.strip_prefix(provider.name());
                let Some(id) = rest.and_then(|rest| rest.strip_prefix('/')) else {
                    continue;
                };
                let is_there = |&at: &usize| targets[at].id().provider() == provider.name();
                found.extend(self.of_model(targets, id).filter(is_there));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// No snapshot has four billion targets.
fn as_index(at: usize) -> u32 {
    u32::try_from(at).expect("an index below four billion")
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("kinds", &self.kinds.len())
            .finish_non_exhaustive()
    }
}
