//! Laws of a quota as a whole.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::provider::Quantity;

mod facts;
mod inferred;
mod kept;
mod prior;
mod stated;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn rule(amount: u64, of: Quantity, window: Window, source: Source) -> Rule {
    Rule {
        amount,
        of,
        window,
        source,
    }
}

fn requests(amount: u64, seconds: u64, source: Source) -> Rule {
    rule(
        amount,
        Quantity::Requests,
        Window::Rolling(secs(seconds)),
        source,
    )
}

fn tokens(amount: u64, seconds: u64, source: Source) -> Rule {
    rule(
        amount,
        Quantity::Tokens,
        Window::Rolling(secs(seconds)),
        source,
    )
}

/// A call that was accepted and ended at once.
fn whole_call(quota: &mut Quota, call: u64, now: Instant) {
    quota.reserve(call, 0, now);
    quota.accepted(call, now);
    quota.ended(call, None, now);
}
