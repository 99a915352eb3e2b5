//! Why a provider cannot be built.

use std::{error::Error, fmt};

use http::HeaderName;

use super::{base_url::BaseUrlError, free_rule::FreeRule};

/// Why a provider cannot be built. It never holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderError {
    pub(super) name: String,
    pub(super) fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Name,
    BaseUrl(BaseUrlError),
    Account,
    EmptyKey,
    Key,
    KeyWithoutBase,
    KeyCosts,
    Header(HeaderName),
    Listing,
    /// The rule for this field holds what is not one JSON value.
    NotJson(String),
    Rule(FreeRule),
    PlanUnsaid,
    NoEndpoints,
    LimitOfZero,
    /// A list of rules for other endpoints names the one that [`Dialect::fields`](super::dialect::Dialect) is about.
    ChatElsewhere,
}

impl ProviderError {
    /// Whether nothing is missing but the word that the account cannot be billed: [`FreeRule::Plan`].
    #[must_use]
    pub fn is_plan_unsaid(&self) -> bool {
        self.fault == Fault::PlanUnsaid
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "provider {:?}: ", self.name)?;
        match &self.fault {
            Fault::Name => f.write_str(
                "a name is 1 to 64 visible ASCII characters other than `/`, `,` and `=`",
            ),
            Fault::BaseUrl(error) => error.fmt(f),
            Fault::Account => f.write_str(
                "the base URL has a place for the account's id: letters, digits, `-` and `_`",
            ),
            Fault::EmptyKey => f.write_str("the key is empty"),
            Fault::Key => f.write_str("the key holds a character that no header can carry"),
            Fault::KeyWithoutBase => f.write_str("a key needs a base URL to be sent to"),
            Fault::KeyCosts => {
                f.write_str("it is free without a key only, and bills requests with one")
            }
            Fault::Header(name) => write!(f, "the header {name} is not one to be added"),
            Fault::Listing => f.write_str(
                "a listing is at a path that begins with `/` or `../`, or at an http or https URL",
            ),
            Fault::NotJson(field) => write!(
                f,
                "a rule of its dialect puts into {field:?} what is not one JSON value"
            ),
            Fault::Rule(rule) => write!(
                f,
                "the rule {rule:?} would take paid models of this host for free"
            ),
            Fault::PlanUnsaid => f.write_str(
                "its free tier is a plan, and an account that has a payment method is billed: say \
                 `FreeRule::Plan` if this account cannot be billed",
            ),
            Fault::NoEndpoints => f.write_str(
                "its list of endpoints is empty, so no request would go to it: name one, or leave the list out",
            ),
            Fault::LimitOfZero => f.write_str(
                "a limit of 0 would keep every request from it: leave the provider out instead",
            ),
            Fault::ChatElsewhere => f.write_str(
                "the rules of its dialect for `chat/completions` stand in `fields`, not in `elsewhere`",
            ),
        }
    }
}

impl Error for ProviderError {}
