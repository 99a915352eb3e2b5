//! How many bytes all requests may hold in memory together, and how many of them one request may hold.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A bound on the bytes that are held at a time. Clones share it.
///
/// A few large bodies cannot take all of it. While other bodies are held, a body may have no more bytes than it leaves free:
/// the rule of dynamic thresholds that switches use for their shared packet memory (Choudhury and Hahne, "Dynamic Queue
/// Length Thresholds for Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking 6(2), 1998). The last
/// [part](RESERVED) is left to [small](SMALL) bodies.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget(Arc<Count>);

#[derive(Debug)]
struct Count {
    bytes: AtomicU64,
    max: u64,
}

/// One part in so many is for small bodies alone: 64 MB of the 512 MB that are the default.
const RESERVED: u64 = 8;
/// A body is small up to one part in so many: up to 1 MB of 512 MB.
const SMALL: u64 = 512;

impl Count {
    /// Whether one body may hold `own` bytes where all bodies, this one included, hold `all`.
    const fn allows(&self, own: u64, all: u64) -> bool {
        if all > self.max {
            return false;
        }
        let alone = all <= own;
        let small = own <= self.max / SMALL;
        let for_large = self.max - self.max / RESERVED;
        alone || small || own <= for_large.saturating_sub(all)
    }
}

impl ByteBudget {
    pub(crate) fn of(max: u64) -> Self {
        Self(Arc::new(Count {
            bytes: AtomicU64::new(0),
            max,
        }))
    }

    /// A share of no bytes yet.
    pub(crate) fn hold(&self) -> Held {
        Held {
            bytes: 0,
            of: Arc::clone(&self.0),
        }
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }
}

/// Bytes that count as held until this is dropped.
pub(crate) struct Held {
    bytes: u64,
    of: Arc<Count>,
}

impl Held {
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts more bytes; says whether that is still within the bounds.
    pub(crate) fn add(&mut self, more: u64) -> bool {
        let before = self.of.bytes.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        self.of.allows(self.bytes, before.saturating_add(more))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_alone_may_take_all_and_not_a_byte_more() {
        let mut alone = ByteBudget::of(5).hold();
        assert!(alone.add(5));
        assert!(!alone.add(1));
    }

    #[test]
    fn a_large_body_leaves_as_much_free_as_it_takes() {
        let budget = ByteBudget::of(512_000);
        let (mut first, mut second, mut third) = (budget.hold(), budget.hold(), budget.hold());
        assert!(first.add(300_000));
        // 448,000 are for large bodies, so 148,000 are free.
        assert!(second.add(74_000));
        assert!(!second.add(1));
        drop(second);
        assert!(third.add(74_000));
    }

    #[test]
    fn the_last_part_is_for_small_bodies() {
        let budget = ByteBudget::of(512_000);
        let mut large = budget.hold();
        assert!(large.add(448_000));
        let mut small: Vec<_> = (0..64).map(|_| budget.hold()).collect();
        assert!(small.iter_mut().all(|small| small.add(1000)));
        assert!(!budget.hold().add(1));
    }
}
