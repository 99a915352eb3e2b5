//! Whatever a failed response says, it is classified, and cools for 32 days at most.
#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use tower_free_models::{Classify, Model, Provider, Target, __private::answer, classify::{DefaultClassify, Evidence, Recovery, UpstreamError}, provider::{Endpoint, FreeRule}};

const LIMITS: [&str; 6] =
    ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "date"];

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let provider = Provider::new("acme").free(FreeRule::All).build().unwrap();
    provider.target(Model::new("m")).unwrap()
});

fuzz_target!(|input: (u16, u8, [&[u8]; 6], &[u8])| {
    let (status, endpoint, values, body) = input;
    let headers: HeaderMap = LIMITS
        .into_iter()
        .zip(values)
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?)))
        .collect();
    let status = StatusCode::from_u16(100 + status % 900).unwrap();
    let endpoint = Endpoint::ALL[usize::from(endpoint) % Endpoint::ALL.len()];
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    let error = UpstreamError::read(status, &headers, body.to_vec());
    let outcome = DefaultClassify.classify(&Evidence::new(&TARGET, endpoint, &headers, &error, now));
    if let Recovery::After(wait) = outcome.recovery {
        assert!(wait <= Duration::from_secs(32 * 24 * 3600));
    }
    let _ = answer(body);
});
