use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::{
    outcome::{LimitHit, LimitOf},
    provider::{Limit, Period, Quantity},
    upstream::{
        UpstreamError,
        limits::{
            Statement, hit, largest_request, of, of_refusal,
            statement::{DAY, HOUR, MINUTE},
        },
        resets::MAX,
    },
};
use LimitOf::{AtOnce, Requests as R, Tokens as T};
use Quantity::{Requests, Tokens};

/// 2026-09-04T10:00:00Z.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_788_516_000)
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

/// The table's limits of Groq.
fn groq() -> [Limit; 4] {
    [
        Limit::new(30, Requests, Period::Minute),
        Limit::new(1_000, Requests, Period::Day),
        Limit::new(8_000, Tokens, Period::Minute),
        Limit::new(200_000, Tokens, Period::Day),
    ]
}

type Row = (
    Quantity,
    Option<Duration>,
    Option<u64>,
    Option<u64>,
    Option<f64>,
);

fn statement((of, window, limit, remaining, resets): Row) -> Statement {
    let resets = resets.map(Duration::from_secs_f64);
    Statement {
        of,
        window,
        limit,
        remaining,
        resets,
    }
}

fn error(status: u16, headers: &HeaderMap, body: impl Into<Bytes>) -> UpstreamError {
    UpstreamError::read(StatusCode::from_u16(status).unwrap(), headers, body)
}

fn hit_of(status: u16, headers: &HeaderMap, body: &str) -> Option<LimitHit> {
    hit(&error(status, headers, body.to_owned()), headers, now())
}

fn says(status: u16, message: &str) -> Option<LimitHit> {
    let body = serde_json::json!({ "error": { "message": message } });
    hit_of(status, &HeaderMap::new(), &body.to_string())
}

type Parts = (
    LimitOf,
    Option<Duration>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
);

fn parts(hit: LimitHit) -> Parts {
    (hit.of, hit.window, hit.limit, hit.used, hit.requested)
}

#[test]
fn headers_state_the_limits_that_their_names_say() {
    type Headers = [(&'static str, &'static str)];
    let rows: &[(&Headers, &[Row])] = &[
        (
            &[
                ("content-type", "text/plain"),
                ("retry-after", "9"),
                ("x-request-id", "1"),
            ],
            &[],
        ),
        // Groq.
        (
            &[
                ("x-ratelimit-limit-requests", "14400"),
                ("x-ratelimit-remaining-requests", "14399"),
                ("x-ratelimit-reset-requests", "6s"),
                ("x-ratelimit-limit-tokens", "6000"),
                ("x-ratelimit-remaining-tokens", "5963"),
                ("x-ratelimit-reset-tokens", "370ms"),
            ],
            &[
                (Requests, None, Some(14_400), Some(14_399), Some(6.0)),
                (Tokens, None, Some(6_000), Some(5_963), Some(0.37)),
            ],
        ),
        // Cerebras.
        (
            &[
                ("x-ratelimit-limit-requests-day", "2400"),
                ("x-ratelimit-remaining-requests-day", "2399"),
                ("x-ratelimit-reset-requests-day", "33011.5"),
                ("x-ratelimit-limit-tokens-hour", "60000"),
                ("x-ratelimit-remaining-tokens-hour", "0"),
                ("x-ratelimit-reset-tokens-hour", "11.5"),
            ],
            &[
                (
                    Requests,
                    Some(DAY),
                    Some(2_400),
                    Some(2_399),
                    Some(33_011.5),
                ),
                (Tokens, Some(HOUR), Some(60_000), Some(0), Some(11.5)),
            ],
        ),
        // Mistral.
        (
            &[
                ("x-ratelimit-limit-req-minute", "23"),
                ("x-ratelimit-remaining-req-minute", "0"),
                ("x-ratelimit-tokens-query-cost", "32000"),
            ],
            &[(Requests, Some(MINUTE), Some(23), Some(0), None)],
        ),
        // GitHub Models: what is advertised is not what the account is allowed.
        (
            &[
                ("x-ratelimit-limit-requests", "20000"),
                ("x-ratelimit-remaining-requests", "19999"),
                ("x-ratelimit-renewalperiod-requests", "60"),
            ],
            &[(Requests, None, None, Some(19_999), None)],
        ),
        (
            &[("x-trial-endpoint-call-remaining", "39")],
            &[(Requests, None, None, Some(39), None)],
        ),
        // The IETF draft.
        (
            &[
                ("ratelimit-limit", "100, 100;w=60"),
                ("ratelimit-remaining", "50"),
                ("ratelimit-reset", "30"),
            ],
            &[(Requests, Some(MINUTE), Some(100), Some(50), Some(30.0))],
        ),
        (
            &[
                ("ratelimit-limit", "10"),
                ("ratelimit-policy", "10;w=1, 50;w=60"),
                ("ratelimit-remaining", "5"),
            ],
            &[(Requests, None, Some(10), Some(5), None)],
        ),
        // OpenRouter, by the clock of its own.
        (
            &[
                ("date", "Fri, 04 Sep 2026 09:00:00 GMT"),
                ("x-ratelimit-limit", "20"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", "1788512460000"),
            ],
            &[(Requests, None, Some(20), Some(0), Some(60.0))],
        ),
        // What says nothing of what is left, and not in which time.
        (&[("x-ratelimit-limit-requests", "10")], &[]),
        (&[("x-ratelimit-reset-requests", "10")], &[]),
        (
            &[
                ("x-ratelimit-limit-audio-seconds", "7200"),
                ("x-ratelimit-remaining-audio-seconds", "7"),
            ],
            &[],
        ),
        // A limit of nothing is none.
        (
            &[
                ("x-ratelimit-limit-req-minute", "0"),
                ("x-ratelimit-remaining-req-minute", "0"),
            ],
            &[(Requests, Some(MINUTE), None, Some(0), None)],
        ),
    ];
    for (pairs, expected) in rows {
        let expected: Vec<_> = expected.iter().copied().map(statement).collect();
        assert_eq!(of(&headers(pairs), now()), expected, "{pairs:?}");
    }
}

#[test]
fn a_window_that_is_not_stated_follows_from_the_table_and_the_reset() {
    let groq = groq();
    let other = [
        Limit::new(20, Requests, Period::Minute),
        Limit::new(50, Requests, Period::AtOnce),
    ];
    for (table, row, window) in [
        // The table has this amount.
        (
            &groq[..],
            (Requests, None, Some(1_000), Some(1_000), None),
            Some(DAY),
        ),
        (
            &groq[..],
            (Tokens, None, Some(8_000), Some(8_000), None),
            Some(MINUTE),
        ),
        // Another model's amount: a bucket that is full after that time.
        (
            &groq[..],
            (Requests, None, Some(14_400), Some(14_399), Some(6.0)),
            Some(DAY),
        ),
        (
            &groq[..],
            (Tokens, None, Some(6_000), Some(5_963), Some(0.37)),
            Some(MINUTE),
        ),
        (
            &groq[..],
            (Tokens, None, Some(6_000), Some(0), Some(60.0)),
            Some(MINUTE),
        ),
        (
            &groq[..],
            (Requests, None, Some(14_400), Some(14_400), None),
            None,
        ),
        (&groq[..], (Tokens, None, None, Some(1), Some(1.0)), None),
        (
            &groq[..],
            (Tokens, Some(HOUR), Some(8_000), Some(1), None),
            Some(HOUR),
        ),
        // It ends later than the window in the table.
        (
            &other[..],
            (Requests, None, Some(20), Some(1), Some(61.0)),
            None,
        ),
        (
            &other[..],
            (Requests, None, Some(50), Some(1), Some(9.0)),
            None,
        ),
        (&other[..], (Tokens, None, Some(20), Some(1), None), None),
        (
            &[][..],
            (Requests, None, Some(20), Some(10), Some(30.0)),
            None,
        ),
    ] {
        let at = Instant::now();
        let stated = statement(row).stated(table, at);
        assert_eq!(stated.window, window, "{row:?}");
        assert_eq!(
            stated.until,
            row.4.map(|resets| at + Duration::from_secs_f64(resets))
        );
        assert_eq!(
            (stated.of, stated.limit, stated.remaining),
            (row.0, row.2, row.3)
        );
    }
}

#[test]
fn a_refusal_names_its_limit_in_words() {
    let groq = |of: &str| {
        format!(
            "Rate limit reached for model `m` in organization `o` on {of}. Please try again in 2s."
        )
    };
    let rows: &[(String, Option<Parts>)] = &[
        (groq("tokens per minute (TPM): Limit 8000, Used 7213, Requested 2500"), Some((T, Some(MINUTE), Some(8_000), Some(7_213), Some(2_500)))),
        (groq("tokens per day (TPD): Limit 200000, Used 197494, Requested 4035"), Some((T, Some(DAY), Some(200_000), Some(197_494), Some(4_035)))),
        (groq("requests per minute (RPM): Limit 30, Used 30, Requested 1"), Some((R, Some(MINUTE), Some(30), Some(30), Some(1)))),
        (groq("requests per day (RPD)"), Some((R, Some(DAY), None, None, None))),
        ("Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 5631 seconds before retrying.".into(), Some((R, Some(DAY), Some(50), None, None))),
        ("Rate limit of 5 per 0s exceeded for UserConcurrentRequests.".into(), Some((AtOnce, None, Some(5), None, None))),
        ("You are using a Trial key, which is limited to 20 API calls / minute.".into(), Some((R, Some(MINUTE), Some(20), None, None))),
        ("You are using a Trial key, which is limited to 1000 API calls / month.".into(), Some((R, None, Some(1_000), None, None))),
        ("Requests rate limit exceeded".into(), Some((R, None, None, None, None))),
        ("Rate limit exceeded: free-models-per-day. ".into(), Some((R, Some(DAY), None, None, None))),
        ("Rate limit exceeded".into(), None),
        ("on tokens per minute: Limit 99999999999999999999999".into(), Some((T, Some(MINUTE), None, None, None))),
        // Quoted, or on another line: the caller's words.
        ("Too many requests: 'tokens per day: Limit 1'".into(), None),
        ("Too many requests\ntokens per day: Limit 1".into(), None),
    ];
    for (message, expected) in rows {
        assert_eq!(says(429, message).map(parts), *expected, "{message}");
    }
}

#[test]
fn words_name_a_limit_under_the_statuses_of_limits_alone() {
    let message = "on tokens per minute (TPM): Limit 8000, Requested 9000";
    for status in [400, 401, 403, 404, 413, 422, 500, 503] {
        assert_eq!(says(status, message), None, "{status}");
    }
    // An error in a 200 whose status is a guess by its words.
    assert_eq!(says(200, &format!("rate limit {message}")), None);
    let body = |status: u16| error(status, &HeaderMap::new(), message);
    for (status, most) in [
        (413, Some(8_000)),
        (429, Some(8_000)),
        (400, None),
        (422, None),
    ] {
        assert_eq!(largest_request(&body(status)), most, "{status}");
    }
}

#[test]
fn words_that_contradict_a_label_do_not_count() {
    let body = r#"{"error":{"message":"tokens per minute: Limit 1","type":"requests"}}"#;
    assert_eq!(hit_of(429, &HeaderMap::new(), body), Some(LimitHit::new(R)));
}

#[test]
fn googles_quotas_name_their_limit_and_the_longest_counts() {
    let body = r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"violations":[
        {"quotaId":"GenerateContentInputTokensPerModelPerMinute-FreeTier","quotaValue":"250000"},
        {"quotaValue":"20","quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}]"#;
    let hit = hit_of(429, &HeaderMap::new(), body).map(parts);
    assert_eq!(hit, Some((R, Some(DAY), Some(20), None, None)));
}

#[test]
fn a_counter_at_zero_names_the_limit_where_nothing_else_does() {
    let spent = [
        ("x-ratelimit-limit-req-minute", "23"),
        ("x-ratelimit-remaining-req-minute", "0"),
    ];
    let both = [
        ("x-ratelimit-remaining-req-minute", "0"),
        ("x-ratelimit-remaining-tokens-minute", "0"),
    ];
    let left = [
        ("x-ratelimit-limit-req-minute", "23"),
        ("x-ratelimit-remaining-req-minute", "1"),
    ];
    let expected = (R, Some(MINUTE), Some(23), None, None);
    assert_eq!(hit_of(429, &headers(&spent), "").map(parts), Some(expected));
    assert_eq!(hit_of(429, &headers(&both), ""), None);
    assert_eq!(hit_of(429, &headers(&left), ""), None);
    assert_eq!(
        hit_of(
            429,
            &headers(&[("x-ratelimit-type", "UserByModelByDay")]),
            ""
        )
        .map(parts),
        Some((R, Some(DAY), None, None, None))
    );
}

const OPENROUTER: &str = r#"{"error":{"message":"Rate limit exceeded: free-models-per-day. ","code":429,"metadata":{"headers":{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1788519600000"},"limit_source":"openrouter_free_tier_daily"}}}"#;

#[test]
fn the_body_of_a_refusal_states_its_limit() {
    let none = HeaderMap::new();
    let stated = |body: &str| {
        let error = error(429, &none, body.to_owned());
        let hit = hit(&error, &none, now());
        of_refusal(&error, &none, hit.as_ref(), now())
    };
    let of_day = (Requests, Some(DAY), Some(50), Some(0), Some(3600.0));
    assert_eq!(stated(OPENROUTER), [statement(of_day)]);
    // What a router's upstream says is about the router's account.
    let relayed = OPENROUTER.replace(
        r#""limit_source":"openrouter_free_tier_daily""#,
        r#""provider_name":"Venice""#,
    );
    assert_eq!(stated(&relayed), []);
    assert_eq!(hit_of(429, &none, &relayed), None);
    let groq = r#"{"error":{"message":"on tokens per minute (TPM): Limit 8000, Used 7213, Requested 2500","type":"tokens"}}"#;
    assert_eq!(
        stated(groq),
        [statement((Tokens, Some(MINUTE), Some(8_000), None, None))]
    );
    assert_eq!(stated(r#"{"error":{"code":"1302","message":"m"}}"#), []);
}

proptest! {
    #[test]
    fn whatever_is_stated_nothing_panics_and_no_reset_is_longer_than_the_longest(
        part in "limit|remaining|reset|policy|renewalperiod|[a-z]{0,3}",
        of_what in "|-requests|-tokens|-req",
        window in "|-minute|-day|-x",
        values in prop::collection::vec("[0-9.,;:=w -]{0,24}|\\PC{0,12}|inf|-?nan|1e400|18446744073709551616", 3),
    ) {
        let mut map = HeaderMap::new();
        let parts = [&*part, "limit", "remaining", "reset"];
        for (part, value) in parts.iter().zip(values.iter().chain(&values)) {
            let name = HeaderName::from_bytes(format!("x-ratelimit-{part}{of_what}{window}").as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
                map.append(name, value);
            }
        }
        let groq = groq();
        for stated in of(&map, now()) {
            prop_assert!(stated.resets.is_none_or(|resets| resets <= MAX));
            let _ = stated.stated(&groq[..], Instant::now());
        }
        let words = format!("on tokens per minute: Limit {0}, Used {0}. Rate limit of {1} per {2}s exceeded for user{0}", values[0], values[1], values[2]);
        for status in [200, 402, 413, 429] {
            let error = error(status, &map, words.clone());
            let hit = hit(&error, &map, now());
            prop_assert!(hit.is_none_or(|hit| hit.limit != Some(0)));
            let _ = (of_refusal(&error, &map, hit.as_ref(), now()), largest_request(&error));
        }
    }
}
