//! One account at one OpenAI-compatible service.

pub(crate) mod account;
mod base_url;
mod builder;
mod credential;
pub(crate) mod dialect;
mod error;
mod free_rule;
mod image_queue;
mod known;
mod limit;
mod quota_day;
mod spelling;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    account::Provider,
    credential::Redactor,
    free_rule::Prices,
    image_queue::{Queue, Turn},
};
pub use self::{
    base_url::{BaseUrl, BaseUrlError},
    builder::ProviderBuilder,
    dialect::{Dialect, ImageApi, Rule},
    error::ProviderError,
    free_rule::{FreeRule, Plan},
    image_queue::{ImageQueue, Progress},
    known::{Auth, KnownProvider, ListingFormat},
    limit::{Limit, Period, Quantity},
    quota_day::Day,
};
pub use crate::endpoint::Endpoint;
