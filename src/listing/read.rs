//! Reads a whole listing.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::SystemTime,
};

use tokio::time::Instant;

use super::{
    entry::Entry,
    envelope::Envelope,
    result::{Listing, ListingError, SkipReason},
};
use crate::{
    catalog::{BadId, Model, Target},
    provider::{Prices, Provider},
};

impl Provider {
    /// Reads this provider's listing: the body of `GET /models`, as it was at `now`.
    ///
    /// An entry that cannot be read is skipped and reported, and never spoils the others.
    ///
    /// Where a price of zero is what makes a model free ([`FreeRule::OpenRouter`](crate::FreeRule::OpenRouter),
    /// [`FreeRule::Priced`](crate::FreeRule::Priced)), that is
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
        // Broken UTF-8 breaks the row it is in, not the listing.
        let text = String::from_utf8_lossy(body);
        let envelope = Envelope::open(text.trim_start_matches('\u{feff}'))?;
        let mut listing = Listing::default();
        let entries = self.entries(&envelope, &mut listing);

        // An id that is listed twice is free only if it is free both times.
        let costs = entries
            .iter()
            .filter(|entry| !self.is_free(&entry.id, entry.prices));
        let costly: HashSet<&str> = costs.map(|entry| &*entry.id).collect();
        let by_price = self.free_rule().is_by_price().then(Instant::now);
        let mut seen = HashMap::new();
        for entry in &entries {
            let id = entry.id.as_str();
            if costly.contains(id) {
                listing.not_free += 1;
                listing.unpriced += usize::from(entry.prices == Prices::Unstated);
            } else if let Some(reason) = entry.unwanted(now) {
                listing.skip(entry.index, Some(id), reason);
            } else if let Some(first) = seen.insert(id, entry.raw) {
                seen.insert(id, first);
                if first != entry.raw {
                    listing.skip(entry.index, Some(id), SkipReason::Duplicate);
                }
            } else {
                let model = entry.model();
                let row = fingerprint(&model, entry.prices);
                match Target::listed(self, model, row) {
                    Ok(target) => listing.targets.push(match by_price {
                        Some(now) => target.free_by_price(now),
                        None => target,
                    }),
                    Err(BadId) => listing.skip(entry.index, Some(id), SkipReason::BadId),
                }
            }
        }
        // A free model that the listing leaves out is there nonetheless. One that is listed was judged above.
        let is_listed = |id: &str| entries.iter().any(|entry| entry.id == id);
        let unlisted = self.unlisted().iter().filter(|id| !is_listed(id));
        let written = unlisted.filter_map(|id| self.target(Model::new(*id)).ok());
        listing.targets.extend(written);
        Ok(listing)
    }

    /// The rows that can be read; the others are skipped.
    fn entries<'a>(&self, envelope: &Envelope<'a>, listing: &mut Listing) -> Vec<Entry<'a>> {
        let mut entries = Vec::with_capacity(envelope.rows.len());
        for (index, row) in envelope.rows.iter().enumerate() {
            match Entry::read(index, row, envelope.id_field, self.listing_format()) {
                Some(entry) if BadId::check(&entry.id).is_ok() => entries.push(entry),
                Some(entry) => listing.skip(index, Some(&entry.id), SkipReason::BadId),
                None => listing.skip(index, None, SkipReason::Malformed),
            }
        }
        entries
    }
}

/// A fingerprint of what was read of a row. The text of a row changes with each reading, because many services write
/// what they measure, or the time.
fn fingerprint(model: &Model, prices: Prices) -> u64 {
    let mut hasher = DefaultHasher::new();
    (model.fingerprint(), prices).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::{super::result::MOST_ROWS, *};
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
        assert!(read(MOST_ROWS).is_ok());
        let error = read(MOST_ROWS + 1).expect_err("a fault");
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
