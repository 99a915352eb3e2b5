//! A limit of an account, or of each of its models.

use crate::outcome::Scope;

/// A limit of an account, or of each of its models.
///
/// ```
/// use tower_free_models::provider::{Limit, Period, Quantity};
///
/// let a_minute = Limit::new(20, Quantity::Requests, Period::Minute);
/// let of_each_model = Limit::new(8_000, Quantity::Tokens, Period::Minute).each_model();
/// let at_once = Limit::new(2, Quantity::Requests, Period::AtOnce);
/// assert_ne!(a_minute.scope, of_each_model.scope);
/// # let _ = at_once;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Limit {
    /// How many.
    pub amount: u64,
    /// Of what.
    pub of: Quantity,
    /// In which time.
    pub per: Period,
    /// Whether each model has this limit of its own, or all models of the account share it.
    pub scope: Scope,
}

/// What a [`Limit`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Quantity {
    /// Requests, those that fail included.
    Requests,
    /// Tokens of prompts and answers.
    Tokens,
}

/// The time of a [`Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Period {
    /// At the same time: from the beginning of a request to the end of its answer.
    AtOnce,
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, as [`Provider::day`](crate::Provider::day) has it.
    Day,
    /// A calendar month in UTC.
    Month,
}

impl Limit {
    /// A limit that all models of the account share.
    #[must_use]
    pub const fn new(amount: u64, of: Quantity, per: Period) -> Self {
        Self {
            amount,
            of,
            per,
            scope: Scope::Provider,
        }
    }

    /// The same, but each model has it of its own.
    #[must_use]
    pub const fn each_model(mut self) -> Self {
        self.scope = Scope::Target;
        self
    }
}
