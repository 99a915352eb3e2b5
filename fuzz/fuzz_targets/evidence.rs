//! Whatever a failed response says, it is classified, and cools for 32 days at most.
#![no_main]

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use tower_free_models::{__private::answer, Classify, DefaultClassify, Evidence, Recovery};

const LIMITS: [&str; 6] =
    ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "date"];

fuzz_target!(|input: (u16, [&[u8]; 6], &[u8])| {
    let (status, values, body) = input;
    let headers: HeaderMap = LIMITS
        .into_iter()
        .zip(values)
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?)))
        .collect();
    let status = StatusCode::from_u16(100 + status % 900).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let outcome = DefaultClassify.classify(&Evidence::new(status, &headers, body, now));
    if let Recovery::After(wait) = outcome.recovery {
        assert!(wait <= Duration::from_secs(32 * 24 * 3600));
    }
    answer(body);
});
