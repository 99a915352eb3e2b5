//! The memory that the bodies of all requests may take together.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A bound on the bytes of all bodies that are held at a time. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Memory(Arc<Count>);

#[derive(Debug)]
struct Count {
    bytes: AtomicU64,
    max: u64,
}

impl Memory {
    pub(crate) fn of(max: u64) -> Self {
        Self(Arc::new(Count {
            bytes: AtomicU64::new(0),
            max,
        }))
    }

    /// A place that holds nothing yet.
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

/// Bytes held in memory for a request; dropping it gives their place to others.
pub(crate) struct Held {
    bytes: u64,
    of: Arc<Count>,
}

impl Held {
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more; says whether that is still within the bound.
    pub(crate) fn add(&mut self, more: u64) -> bool {
        let before = self.of.bytes.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        before.saturating_add(more) <= self.of.max
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
