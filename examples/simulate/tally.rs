//! The upstream calls of a run, and what came of those that served no client.

use std::collections::BTreeMap;

/// Why a call was in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cause {
    /// A limit of requests was used up.
    Requests,
    /// A limit of tokens was used up.
    Tokens,
    /// Too many calls were under way.
    InFlight,
    /// The request is larger than a limit of tokens.
    TooLarge,
    /// The model was congested.
    Burst,
    /// A 503 by chance.
    Broken,
    /// The provider was out of order.
    Outage,
    /// The model has vanished.
    Gone,
    /// The answer had a head and nothing else.
    Stall,
    /// An error within a 200.
    ErrorIn200,
    /// The caller, or the layer, did not wait for the end of the answer.
    Dropped,
}

impl Cause {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests used up",
            Self::Tokens => "tokens used up",
            Self::InFlight => "too many under way",
            Self::TooLarge => "larger than the limit",
            Self::Burst => "congested",
            Self::Broken => "503 by chance",
            Self::Outage => "outage",
            Self::Gone => "vanished",
            Self::Stall => "stalled",
            Self::ErrorIn200 => "error in a 200",
            Self::Dropped => "dropped",
        }
    }
}

/// All upstream calls of a run.
///
/// A call that served no client is *knowable* if the caller of the provider's API could have known it when it sent the call,
/// from what had arrived by then:
///
/// - A limit of requests, of tokens or of calls under way refused it, and one of these holds. The same limit had refused a
///   call before, and nothing had come free since. Or the calls of this run alone were more than the limit allows, and the
///   limit was known: an earlier refusal by it had arrived (from the accepted and refused calls its rule can be inferred),
///   or a success that states what is left. What other users of the account draw cannot be known.
/// - The request is larger than a limit of tokens, and one of at most its size had been refused for that by the same limit.
/// - The model was congested, and a refusal had stated a time to wait that was not over.
/// - The model had vanished, and that had been answered before.
///
/// All other failures (the first call into a burst or an outage, stalls, errors by chance) are not knowable, and neither is
/// the first refusal by each limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    /// By cause: how many, and how many of those were knowable.
    pub(crate) in_vain: BTreeMap<Cause, (u64, u64)>,
    /// By the service: all calls, those in vain, and the knowable ones of these.
    pub(crate) services: BTreeMap<String, [u64; 3]>,
}

impl Tally {
    /// A call to a service begins.
    pub(crate) fn call(&mut self, service: &str) {
        self.calls += 1;
        self.service(service)[0] += 1;
    }

    /// A call to a service was in vain.
    pub(crate) fn in_vain(&mut self, service: &str, cause: Cause, knowable: bool) {
        let count = self.in_vain.entry(cause).or_default();
        count.0 += 1;
        count.1 += u64::from(knowable);
        let count = self.service(service);
        count[1] += 1;
        count[2] += u64::from(knowable);
    }

    fn service(&mut self, name: &str) -> &mut [u64; 3] {
        self.services.entry(name.to_owned()).or_default()
    }

    pub(crate) fn wasted(&self) -> u64 {
        self.in_vain.values().map(|count| count.0).sum()
    }

    pub(crate) fn knowable(&self) -> u64 {
        self.in_vain.values().map(|count| count.1).sum()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        for (cause, count) in &other.in_vain {
            let sum = self.in_vain.entry(*cause).or_default();
            sum.0 += count.0;
            sum.1 += count.1;
        }
        for (service, count) in &other.services {
            let sum = self.service(service);
            for (sum, count) in sum.iter_mut().zip(count) {
                *sum += count;
            }
        }
    }
}
