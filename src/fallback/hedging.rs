//! A second call beside one that takes longer than its target usually does.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
};

/// How many second calls may be made, in proportion to requests; shared by all requests of a layer.
#[derive(Debug)]
pub(super) struct Hedges {
    /// What each request adds, in millionths of a call.
    share: u64,
    /// What is left, in millionths of a call.
    left: AtomicU64,
}

/// A call, in its parts.
const ONE: u64 = 1_000_000;
/// After a quiet time no more calls than these are made at once: where all targets become slow together, second calls would
/// double the load on them.
const MOST: u64 = 10 * ONE;

impl Hedges {
    /// `share` is that of requests that may have a second call. The first request may.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    pub(super) fn new(share: f64) -> Self {
        Self {
            // A share that is not a number is none.
            share: (share.clamp(0.0, 1.0) * ONE as f64) as u64,
            left: AtomicU64::new(ONE),
        }
    }

    /// A request has come.
    pub(super) fn earn(&self) {
        self.add(self.share);
    }

    /// Takes a call, if one is left.
    pub(super) fn take(&self) -> bool {
        let take = |left: u64| left.checked_sub(ONE);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok()
    }

    /// A call that was taken was not made.
    pub(super) fn give_back(&self) {
        self.add(ONE);
    }

    fn add(&self, parts: u64) {
        let add = |left: u64| Some(left.saturating_add(parts).min(MOST));
        // It is never `None`, so this never fails.
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// Which of two futures was ready first.
pub(super) enum Either<T> {
    First(T),
    Second(T),
}

/// Waits for the first of two futures; where both are ready, for the first one. Both can be waited for again afterwards,
/// but for the one that was ready.
pub(super) async fn either<T>(
    mut first: Pin<&mut impl Future<Output = T>>,
    mut second: Pin<&mut impl Future<Output = T>>,
) -> Either<T> {
    poll_fn(|cx| {
        if let Poll::Ready(output) = first.as_mut().poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        second.as_mut().poll(cx).map(Either::Second)
    })
    .await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_beyond_bounds_is_none_or_all() {
        for (share, expected) in [(f64::NAN, 0), (-1.0, 0), (0.1, ONE / 10), (7.0, ONE)] {
            assert_eq!(Hedges::new(share).share, expected, "{share}");
        }
    }

    proptest! {
        #[test]
        fn no_more_calls_are_taken_than_the_share_of_requests(
            percent in 0..=100_u32,
            steps in prop::collection::vec(0..4_u8, 0..500),
        ) {
            let hedges = Hedges::new(f64::from(percent) / 100.0);
            let (mut requests, mut taken) = (0_u64, 0_u64);
            for step in steps {
                match step {
                    0 | 1 => {
                        hedges.earn();
                        requests += 1;
                    }
                    2 => taken += u64::from(hedges.take()),
                    _ if taken > 0 => {
                        hedges.give_back();
                        taken -= 1;
                    }
                    _ => {}
                }
                prop_assert!(taken * 100 <= 100 + requests * u64::from(percent));
            }
            let at_once = (0..100).filter(|_| hedges.take()).count();
            prop_assert!(at_once <= 10);
        }
    }
}
