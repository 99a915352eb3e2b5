//! The source of random numbers: all of the crate's come from here, and can be seeded.

use std::{
    cell::RefCell,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// A source of random numbers. Clones of a seeded one draw from the same sequence.
#[derive(Clone)]
pub(crate) struct Rng(Source);

#[derive(Clone)]
enum Source {
    Seeded(Arc<Mutex<StdRng>>),
    /// The generator of the thread that draws, so that two threads do not wait for each other.
    OfThread,
}

thread_local! {
    static OF_THREAD: RefCell<StdRng> = RefCell::new(rand::make_rng());
}

impl Rng {
    /// The same seed gives the same sequence.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(
            seed,
        )))))
    }

    /// Seeded by the operating system.
    pub(crate) fn unpredictable() -> Self {
        Self(Source::OfThread)
    }

    /// A number below `n`, uniformly; 0 where `n` is 0.
    pub(crate) fn below(&self, n: usize) -> usize {
        if n < 2 {
            0
        } else {
            self.with(|rng| rng.random_range(0..n))
        }
    }

    /// A number from 0 to 1, without 1.
    pub(crate) fn unit(&self) -> f64 {
        self.with(|rng| rng.random())
    }

    fn with<T>(&self, draw: impl Fn(&mut StdRng) -> T) -> T {
        match &self.0 {
            Source::Seeded(rng) => draw(&mut rng.lock().unwrap_or_else(PoisonError::into_inner)),
            // A thread that ends has no generator any more, and may still drop an attempt.
            Source::OfThread => OF_THREAD
                .try_with(|rng| draw(&mut rng.borrow_mut()))
                .unwrap_or_else(|_| draw(&mut rand::make_rng())),
        }
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

/// A number that no other process and no other call has, by which a router recognises its own requests. It is not part of
/// what a seed makes reproducible: two gateways with one seed must not take each other's requests for their own.
pub(crate) fn identity() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = |rng: Rng| (0..50).map(|_| rng.below(1000)).collect::<Vec<_>>();
        assert_eq!(draw(Rng::seeded(7)), draw(Rng::seeded(7)));
        assert_ne!(draw(Rng::seeded(7)), draw(Rng::seeded(8)));
    }

    #[test]
    fn below_zero_or_one_is_zero() {
        let rng = Rng::seeded(1);
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
    }

    #[test]
    fn identities_differ() {
        assert_ne!(identity(), identity());
    }
}
