//! What a pick goes by of a target, other than its name and its health.

use tokio::time::Instant;

use crate::{
    capability::{Capabilities, Capability, CapabilitySet},
    catalog::{Belief, Target},
    endpoint::Endpoint,
};

/// What a pick goes by of a target, other than its name and its health.
///
/// Thousands of targets are of a few kinds, so a pick decides for each kind, and not for each target, what its targets are
/// worth to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    /// The number of its [`Provider`](crate::Provider), of which two may have one name. Numbers begin at 0, and the first
    /// kind with each stands behind the kinds with lower ones.
    pub(crate) account: usize,
    /// The capabilities that it is stated to have, and to be without.
    yes: CapabilitySet,
    no: CapabilitySet,
    /// What it is known to lack.
    lacks: CapabilitySet,
    /// By endpoint, in the order of [`Endpoint::ALL`], whether its provider is known to serve it.
    serves: [Option<bool>; Endpoint::ALL.len()],
    /// What it may be picked for without being asked for by name.
    made_for: CapabilitySet,
    /// Whether it may be picked without being asked for by name.
    by_choice: bool,
    pub(crate) window: Option<u64>,
    pub(crate) max_output: Option<u64>,
    /// When its listing last said that it costs nothing, if that is what makes it free.
    price_read: Option<Instant>,
}

impl Kind {
    pub(super) fn of(target: &Target, account: usize) -> Self {
        let model = target.model();
        let provider = target.provider();
        let Capabilities { yes, no } = model.capabilities();
        let mut lacks = no.difference(yes);
        // Where a service reads files for a model that cannot, and bills that, only a stated capability is good enough.
        if provider.bills_files() && !yes.contains(Capability::FileInput) {
            lacks.insert(Capability::FileInput);
        }
        let all = Capability::ALL.into_iter();
        Self {
            account,
            yes,
            no,
            lacks,
            serves: Endpoint::ALL.map(|endpoint| provider.serves(endpoint)),
            made_for: all.filter(|&output| model.is_for(output)).collect(),
            by_choice: model.is_random() && !model.is_guard(),
            window: model.context_length(),
            max_output: model.max_output(),
            price_read: target.price_read(),
        }
    }

    pub(crate) const fn capabilities(&self) -> Capabilities {
        Capabilities {
            yes: self.yes,
            no: self.no,
        }
    }

    /// What it is known to lack, and what it would cost money to ask it for.
    pub(crate) const fn lacks(&self) -> CapabilitySet {
        self.lacks
    }

    /// Whether its provider serves the endpoint, as far as that is known.
    pub(crate) const fn serves(&self, endpoint: Endpoint) -> Option<bool> {
        self.serves[endpoint as usize]
    }

    /// Whether it may be picked for requests that have to be answered with `output` and do not name it.
    pub(crate) const fn is_for(&self, output: Capability) -> bool {
        self.made_for.contains(output)
    }

    /// Whether a request may go to it at `now`: one that asks for it by name, or any other.
    ///
    /// A model whose price was last read more than an hour ago is picked by name only, after a day not at all. A model that
    /// the operator has taken out of the choice, or that judges conversations, is picked by name only.
    #[inline]
    pub(crate) fn is_open_to(&self, named: bool, now: Instant) -> bool {
        let belief = self.price_read.map(|read| Belief::at(read, now));
        match belief.unwrap_or(Belief::Fresh) {
            Belief::Fresh => named || self.by_choice,
            Belief::ByName => named,
            Belief::Over => false,
        }
    }
}
