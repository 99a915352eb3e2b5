//! A provider's list of models, as it comes over the wire.
//!
//! One lenient reader for nearly all of them, which differ in what they leave out and in what they call it. Every entry
//! is read by itself, and every field of an entry by itself: what cannot be read states nothing, save a price.

pub(crate) mod envelope;
pub(crate) mod price;
pub(crate) mod row;
pub(crate) mod value;
pub(crate) mod vocabulary;

pub(crate) use self::price::Prices;

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    error::Error,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    time::SystemTime,
};

use crate::listing::{envelope::Envelope, row::Row};
use tokio::time::Instant;

use crate::{
    catalog::{BadId, Model, Target},
    provider::{ListingFormat, Provider},
};

/// A listing with more entries than this is none. The largest known has about 650.
const MOST_ENTRIES: usize = 20_000;

impl Provider {
    /// Reads this provider's listing: the body of `GET /models`, as it was at `now`.
    ///
    /// An entry that cannot be read is skipped and reported, and never spoils the others.
    ///
    /// Where a price of zero is what makes a model free ([`FreeRule::OpenRouter`](super::FreeRule::OpenRouter),
    /// [`FreeRule::Priced`](super::FreeRule::Priced)), that is
    /// believed for an hour from now. Then the model is picked by name only, and after a day not at all, unless the
    /// listing is read again: a [`Refresh`](crate::Refresh) does that.
    ///
    /// # Errors
    ///
    /// If the body is no JSON, or holds no list of models, or one of more than 20,000 entries.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use tower_free_models::Provider;
    ///
    /// let body = br#"{"data": [
    ///     {"id": "acme/chat:free", "pricing": {"prompt": "0", "completion": "0"}},
    ///     {"id": "acme/chat", "pricing": {"prompt": "0.000001", "completion": "0"}},
    ///     {"id": "acme/song", "pricing": {"prompt": "0", "completion": "0"}},
    ///     "what is this?"
    /// ]}"#;
    /// let openrouter = Provider::openrouter().build()?;
    /// let listing = openrouter.read_listing(body, SystemTime::UNIX_EPOCH)?;
    /// assert_eq!(listing.targets().len(), 1);
    /// assert_eq!(listing.not_free(), 2);
    /// assert_eq!(listing.skipped().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_listing(&self, body: &[u8], now: SystemTime) -> Result<Listing, ListingError> {
        // Broken UTF-8 breaks the entry it is in, not the listing.
        let text = String::from_utf8_lossy(body);
        let envelope = Envelope::open(text.trim_start_matches('\u{feff}'))?;
        let mut listing = Listing::default();
        let rows = listing.rows(&envelope, self.listing_format());

        // An id that is listed twice is free only if it is free both times.
        let free = |row: &Row<'_>| self.is_free(&row.id, row.prices);
        let costly: HashSet<&str> = rows
            .iter()
            .filter(|row| !free(row))
            .map(|row| &*row.id)
            .collect();
        let by_price = self.free_rule().is_by_price().then(Instant::now);
        let mut seen = HashMap::new();
        for row in &rows {
            if costly.contains(&*row.id) {
                listing.not_free += 1;
                listing.unpriced += usize::from(row.prices == Prices::Unstated);
                continue;
            }
            if let Some(reason) = row.unwanted(now) {
                listing.skip(row.index, Some(&row.id), reason);
                continue;
            }
            match seen.entry(&*row.id) {
                Entry::Vacant(first) => {
                    first.insert(row.raw);
                    let model = row.model();
                    let said = fingerprint(&model, row.prices);
                    match Target::listed(self, model, said) {
                        Ok(target) => listing.targets.push(match by_price {
                            Some(now) => target.free_by_price(now),
                            None => target,
                        }),
                        Err(BadId) => listing.skip(row.index, Some(&row.id), SkipReason::BadId),
                    }
                }
                Entry::Occupied(first) if *first.get() == row.raw => {}
                Entry::Occupied(_) => {
                    listing.skip(row.index, Some(&row.id), SkipReason::Duplicate);
                }
            }
        }
        // What the listing leaves out is there nonetheless; what it speaks of, it has had its say on.
        let unlisted = self.unlisted().iter().filter(|id| {
            let listed = rows.iter().any(|row| row.id == **id);
            !listed
        });
        let written = unlisted.filter_map(|id| self.target(Model::new(*id)).ok());
        listing.targets.extend(written);
        Ok(listing)
    }
}

/// What a provider's listing came to.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    targets: Vec<Target>,
    skipped: Vec<Skipped>,
    not_free: usize,
    unpriced: usize,
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

    /// Reads the entries, and skips those that are none.
    fn rows<'a>(&mut self, envelope: &Envelope<'a>, format: ListingFormat) -> Vec<Row<'a>> {
        let mut rows = Vec::with_capacity(envelope.entries.len());
        for (index, &raw) in envelope.entries.iter().enumerate() {
            match Row::read(index, raw, envelope.id_in, format) {
                Some(row) if BadId::check(&row.id).is_ok() => rows.push(row),
                Some(row) => self.skip(index, Some(&row.id), SkipReason::BadId),
                None => self.skip(index, None, SkipReason::Malformed),
            }
        }
        rows
    }

    fn skip(&mut self, index: usize, id: Option<&str>, reason: SkipReason) {
        // What is reported is shown: a bad id may be of any length.
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

impl fmt::Display for ListingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::NotJson { line, column } => {
                write!(f, "the listing is not JSON, at line {line} column {column}")
            }
            Fault::NoList => {
                f.write_str("the listing has no list of models: no array, and none in `data`, `models` or `result`")
            }
            Fault::TooMany => write!(f, "the listing has more than {MOST_ENTRIES} entries"),
        }
    }
}

impl Error for ListingError {}

impl From<serde_json::Error> for ListingError {
    fn from(error: serde_json::Error) -> Self {
        let fault = match error.classify() {
            serde_json::error::Category::Data => Fault::NoList,
            _ => Fault::NotJson {
                line: error.line(),
                column: error.column(),
            },
        };
        Self { fault }
    }
}

/// A fingerprint of what was read of a row. Not of its text, in which many services write what they measure, or the time.
fn fingerprint(model: &Model, prices: Prices) -> u64 {
    let mut hasher = DefaultHasher::new();
    (model.fingerprint(), prices).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{FreeRule, KnownProvider};

    fn row(body: &str) -> u64 {
        let provider = Provider::new("p").free(FreeRule::All).build();
        let provider = provider.expect("a provider");
        let listing = provider.read_listing(body.as_bytes(), SystemTime::UNIX_EPOCH);
        listing.expect("a listing").targets()[0].row()
    }

    #[test]
    fn the_fingerprint_of_a_row_changes_with_what_is_read_of_it_and_with_nothing_else() {
        let entry = |more: &str| {
            row(&format!(
                r#"[{{"id":"a","pricing":{{"prompt":"0","completion":"0"}}{more}}}, {{}}]"#
            ))
        };
        let before = entry("");
        let costs = row(r#"[{"id":"a","pricing":{"prompt":"1","completion":"0"}}]"#);
        assert_ne!(costs, before);
        // A server's clock, and what it measures all the time.
        for same in [
            r#","created":1"#,
            r#","created":2"#,
            r#","throughput":12.5,"first_token_latency_ms":80"#,
            r#","providers":[{"pricing":{"input":0,"output":0},"first_token_latency_ms":80}]"#,
        ] {
            assert_eq!(entry(same), before, "{same}");
        }
        for other in [
            r#","context_length":1000"#,
            r#","supported_parameters":["tools"]"#,
            r#","architecture":{"output_modalities":["image"]}"#,
            r#","expiration_date":"2030-01-01""#,
        ] {
            assert_ne!(entry(other), before, "{other}");
        }
    }

    #[test]
    fn a_listing_without_end_is_none() {
        let provider = Provider::new("p").build().expect("a provider");
        let read = |entries: usize| {
            let body = format!("[{}]", vec!["1"; entries].join(","));
            provider.read_listing(body.as_bytes(), SystemTime::UNIX_EPOCH)
        };
        assert!(read(MOST_ENTRIES).is_ok());
        let error = read(MOST_ENTRIES + 1).expect_err("a fault");
        assert!(error.to_string().contains("20000"), "{error}");
    }

    #[test]
    fn what_a_listing_leaves_out_is_free_only_by_the_rule_that_says_so() {
        let count = |rule| {
            let other = Provider::new("zai").base_url("https://proxy.test/v1");
            let provider = other.free(rule).build().expect("a provider");
            let listing = provider.read_listing(br#"{"data": []}"#, SystemTime::UNIX_EPOCH);
            listing.expect("a listing").targets().len()
        };
        let zai = KnownProvider::named("zai").expect("known");
        assert_eq!(count(zai.free), zai.unlisted.len());
        for other in [FreeRule::Priced, FreeRule::All, FreeRule::Ids(&["other"])] {
            assert_eq!(count(other), 0, "{other:?}");
        }
    }
}
