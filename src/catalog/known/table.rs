//! The table. To add a provider, add an entry here and a fixture of its answers under `tests/fixtures/providers`.

use super::{Auth, DEFAULT_LISTING, Day, KnownProvider, Limit, ListingFormat, Period, Quantity};
use crate::{
    catalog::FreeRule,
    dialect::{Dialect, ImageApi},
    outcome::Scope,
    request::Endpoint,
};

pub(super) static KNOWN: &[KnownProvider] = &[OPENROUTER];

/// What an entry need not say.
const USUAL: KnownProvider = KnownProvider {
    name: "",
    base_url: "",
    account_env: None,
    key_env: &[],
    keyless: false,
    local: false,
    auth: Auth::Bearer,
    listing: DEFAULT_LISTING,
    listing_format: ListingFormat::OpenAi,
    account_status: None,
    free: FreeRule::Priced,
    limits: &[],
    day: Day::Unknown,
    endpoints: &[Endpoint::ChatCompletions],
    dialect: Dialect::OPENAI,
    note: "",
    source: "",
};

pub(super) const OPENROUTER: KnownProvider = KnownProvider {
    name: "openrouter",
    base_url: "https://openrouter.ai/api/v1",
    key_env: &["OPENROUTER_API_KEY"],
    account_status: Some("/v1/key"),
    free: FreeRule::OpenRouter,
    limits: &[
        Limit {
            amount: 20,
            of: Quantity::Requests,
            per: Period::Minute,
            scope: Scope::Provider,
        },
        Limit {
            amount: 50,
            of: Quantity::Requests,
            per: Period::Day,
            scope: Scope::Provider,
        },
    ],
    day: Day::Utc,
    dialect: Dialect {
        images: ImageApi::OpenRouter,
        ..Dialect::OPENAI
    },
    source: "openrouter.ai/docs: api-reference/limits, openapi.yaml (2026-08-22)",
    ..USUAL
};
