//! What reading a listing came to.

use std::{error::Error, fmt};

use crate::catalog::Target;

/// A listing with more rows than this is refused. The largest known has about 650.
pub(super) const MOST_ROWS: usize = 20_000;

/// What a provider's listing came to.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub(super) targets: Vec<Target>,
    skipped: Vec<Skipped>,
    pub(super) not_free: usize,
    pub(super) unpriced: usize,
}

impl Listing {
    /// The free models, in the order of the listing.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The free models, for [`Catalog::replace`](crate::Catalog::replace).
    #[must_use]
    pub fn into_targets(self) -> Vec<Target> {
        self.targets
    }

    /// The entries that are no models for us, apart from what they cost.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// How many entries are not free by the provider's rule.
    #[must_use]
    pub fn not_free(&self) -> usize {
        self.not_free
    }

    /// How many of the [`not_free`](Self::not_free) state no price for prompt and completion.
    ///
    /// If it is all of them, the listing speaks of no prices at all, and only the operator's word
    /// ([`FreeRule::All`](crate::FreeRule::All)) or written models can fill the pool.
    #[must_use]
    pub fn unpriced(&self) -> usize {
        self.unpriced
    }

    pub(super) fn skip(&mut self, index: usize, id: Option<&str>, reason: SkipReason) {
        // A bad id may be of any length, and reports are shown.
        let id = id.map(|id| id.chars().take(256).collect());
        self.skipped.push(Skipped { index, id, reason });
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            targets,
            skipped,
            not_free,
            unpriced,
        } = self;
        write!(
            f,
            "{} free, {not_free} not free ({unpriced} of them without a price), {} skipped",
            targets.len(),
            skipped.len()
        )
    }
}

/// An entry that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    index: usize,
    id: Option<String>,
    reason: SkipReason,
}

impl Skipped {
    /// Its place in the listing, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its id, if it could be read.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> SkipReason {
        self.reason
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}", self.index)?;
        if let Some(id) = &self.id {
            write!(f, " ({id:?})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Why an entry was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// It is no object with an id.
    Malformed,
    /// Its id cannot stand in a header.
    BadId,
    /// Its id was there before, with other words; the first one counts.
    Duplicate,
    /// The day of its expiration is over.
    Expired,
    /// It is another name of a model.
    Alias,
    /// The listing says that it is not served now.
    Inactive,
    /// It answers with nothing that is asked for here: neither text, images, vectors nor transcriptions.
    NoChat,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "no object with an id",
            Self::BadId => "an id that is empty, too long or holds control characters",
            Self::Duplicate => "listed before, with other words",
            Self::Expired => "expired",
            Self::Alias => "an alias",
            Self::Inactive => "not served now",
            Self::NoChat => "answers with neither text, images, vectors nor transcriptions",
        })
    }
}

/// Why a body is no listing. It does not repeat the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingError {
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    NotJson { line: usize, column: usize },
    NoList,
    TooMany,
}

impl ListingError {
    pub(super) const fn no_list() -> Self {
        let fault = Fault::NoList;
        Self { fault }
    }

    pub(super) const fn too_many() -> Self {
        let fault = Fault::TooMany;
        Self { fault }
    }
}

impl fmt::Display for ListingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::NotJson { line, column } => {
                write!(f, "the listing is not JSON, at line {line} column {column}")
            }
            Fault::NoList => {
                f.write_str("the listing has no list of models: no array, and none in `data`, `models` or `result`")
            }
            Fault::TooMany => write!(f, "the listing has more than {MOST_ROWS} entries"),
        }
    }
}

impl Error for ListingError {}

impl From<serde_json::Error> for ListingError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let fault = Fault::NotJson { line, column };
        Self { fault }
    }
}
