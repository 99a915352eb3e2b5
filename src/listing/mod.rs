//! A provider's list of models, as it comes over the wire.
//!
//! One lenient reader serves nearly all providers, which differ in what they leave out and in what they call it: see
//! `vocabulary`. Every row is read by itself, and every field of a row by itself: a field that cannot be read states
//! nothing, but for a price, which then is not zero.

mod entry;
mod envelope;
mod object;
mod price;
mod read;
mod result;
mod vocabulary;

pub use self::result::{Listing, ListingError, SkipReason, Skipped};
