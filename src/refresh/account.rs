//! What a provider says of its key's own quota.
//!
//! The format is that of OpenRouter's `GET /api/v1/key`, the only one known (openrouter.ai/docs,
//! api-reference/limits; `free_model_daily_requests` as seen in answers of October 2026). Keys differ in what they
//! are told, so every field may be absent.

use std::time::SystemTime;

use http::Request;
use serde_json::Value;

use crate::{body::Body, provider::Provider, refresh::fetch::Answer};

/// What a provider said of its key's own quota.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AccountStatus {
    /// Whether the account has never paid.
    pub free_tier: Option<bool>,
    /// What the key may still spend, in US dollars; `None` where it has no limit, or does not say.
    pub limit_remaining: Option<f64>,
    /// Requests to free models today. Seen to lag behind.
    pub daily_requests: Option<DailyRequests>,
    /// When it said so.
    pub read_at: SystemTime,
}

/// Requests of one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DailyRequests {
    /// How many were made. It can be more than the limit.
    pub used: u64,
    /// How many are granted.
    pub limit: u64,
    /// How many are left.
    pub remaining: u64,
}

impl AccountStatus {
    /// Reads an answer; `None` where it says nothing.
    pub(super) fn read(answer: &Answer, read_at: SystemTime) -> Option<Self> {
        let body: Value = serde_json::from_slice(&answer.body).ok()?;
        let data = body.get("data").filter(|data| data.is_object())?;
        Some(Self {
            free_tier: data["is_free_tier"].as_bool(),
            limit_remaining: data["limit_remaining"].as_f64(),
            daily_requests: DailyRequests::read(&data["free_model_daily_requests"]),
            read_at,
        })
    }
}

impl DailyRequests {
    fn read(value: &Value) -> Option<Self> {
        Some(Self {
            used: value["used"].as_u64()?,
            limit: value["limit"].as_u64()?,
            remaining: value["remaining"].as_u64()?,
        })
    }
}

/// The request for it, where the provider has a key and is known to answer.
pub(super) fn request(provider: &Provider) -> Option<Request<Body>> {
    let base = provider.base().filter(|_| provider.has_key())?;
    Some(provider.get(base.uri(provider.account_status()?, None), true))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn read(body: &str) -> Option<AccountStatus> {
        let answer = Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
        };
        AccountStatus::read(&answer, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn what_is_absent_or_odd_is_unknown() {
        let nothing = read(r#"{"data": {"label": "sk-or-v1-…", "limit_remaining": null}}"#);
        let nothing = nothing.expect("a status");
        assert_eq!(nothing.free_tier, None);
        assert_eq!(nothing.limit_remaining, None);
        assert_eq!(nothing.daily_requests, None);
        let odd = r#"{"data": {"is_free_tier": 1, "limit_remaining": "x", "free_model_daily_requests": {"used": -1}}}"#;
        assert_eq!(read(odd), Some(nothing));
        for none in [
            "",
            "[]",
            "null",
            "not JSON",
            r#"{"data": []}"#,
            r#"{"data": null}"#,
        ] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn the_key_is_asked_about_under_the_providers_own_base() {
        let there = Provider::openrouter().key("k").build().expect("a provider");
        let request = request(&there).expect("a request");
        assert_eq!(*request.uri(), "https://openrouter.ai/api/v1/key");
        assert_eq!(request.headers()["authorization"], "Bearer k");
    }

    #[test]
    fn without_a_key_or_a_place_no_request_is_made() {
        let keyless = Provider::openrouter().build().expect("a provider");
        assert!(request(&keyless).is_none());
        let other = Provider::new("p").base_url("https://p.test/v1").key("k");
        assert!(request(&other.build().expect("a provider")).is_none());
    }
}
