use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use crate::upstream::{envelope::Envelope, resets::*, searchable::Searchable};

/// 2026-09-04T10:00:00Z.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_788_516_000)
}

fn secs(seconds: f64) -> Option<Duration> {
    Some(Duration::from_secs_f64(seconds))
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

fn of_headers(pairs: &[(&str, &str)]) -> Option<Duration> {
    of_all(&headers(pairs), "", "", true)
}

fn of_body(body: &str) -> Option<Duration> {
    of_all(&HeaderMap::new(), body, "", true)
}

/// Of words that are believed.
fn of_words(words: &str) -> Option<Duration> {
    of_all(&HeaderMap::new(), "", words, true)
}

fn of_all(headers: &HeaderMap, body: &str, words: &str, of_limit: bool) -> Option<Duration> {
    let (envelope, _) = Envelope::of(body, || true);
    let words = Searchable::new(words.to_ascii_lowercase());
    stated(headers, &envelope.waits, || &words, of_limit, now())
}

#[test]
fn a_reset_is_told_apart_by_its_shape() {
    for (text, expected) in [
        ("30", secs(30.0)),
        (" 30 ", secs(30.0)),
        ("\"30\"", secs(30.0)),
        ("11.38", secs(11.38)),
        ("33011.382867", secs(33_011.382_867)),
        ("0", secs(0.0)),
        ("1788516060", secs(60.0)),
        ("1788516060000", secs(60.0)),
        ("1788516060500", secs(60.5)),
        ("1788515999", secs(0.0)),
        // The last that counts as seconds, and the first that counts as milliseconds.
        ("99999999999", secs(MAX.as_secs_f64())),
        ("100000000000", secs(0.0)),
        ("6s", secs(6.0)),
        ("370ms", secs(0.37)),
        ("2m59.56s", secs(179.56)),
        ("3m6s", secs(186.0)),
        ("1h23m45.6s", secs(5025.6)),
        ("15.064991272s", secs(15.064_991_272)),
        ("500µs", secs(0.0005)),
        ("2026-09-04T10:01:00Z", secs(60.0)),
        ("2026-09-04T12:01:00.5+02:00", secs(60.5)),
        ("Fri, 04 Sep 2026 10:01:00 GMT", secs(60.0)),
        ("Fri, 04 Sep 2026 09:01:00 GMT", secs(0.0)),
        ("99999999", Some(MAX)),
        ("99999999999", Some(MAX)),
        ("9999999999999", Some(MAX)),
        ("999999999h", Some(MAX)),
        ("9998-12-31T23:59:59Z", Some(MAX)),
    ] {
        assert_eq!(parse_reset(text, now()), expected, "{text}");
    }
}

#[test]
fn what_is_no_reset_is_none() {
    for text in [
        "",
        " ",
        "-1",
        "NaN",
        "inf",
        "-inf",
        "infinity",
        "1e400",
        "1e300",
        "soon",
        "5 apples",
        "5s later",
        "1.2.3s",
        "-5s",
        "s",
        "🦀",
        "2026-09-04",
        "0x10",
    ] {
        assert_eq!(parse_reset(text, now()), None, "{text}");
    }
}

#[test]
fn retry_after_goes_before_any_reset() {
    assert_eq!(
        of_headers(&[
            ("x-ratelimit-reset-tokens", "370ms"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "3m6s"),
            ("retry-after", "7"),
        ]),
        secs(7.0)
    );
    assert_eq!(
        of_headers(&[("retry-after", "Fri, 04 Sep 2026 10:00:09 GMT")]),
        secs(9.0)
    );
    assert_eq!(
        of_headers(&[("retry-after", "1"), ("retry-after-ms", "250")]),
        secs(0.25)
    );
    assert_eq!(
        of_headers(&[("x-ratelimit-timeremaining", "5631")]),
        secs(5631.0)
    );
}

#[test]
fn garbage_in_retry_after_leaves_the_rest_its_say() {
    assert_eq!(
        of_headers(&[("retry-after", "later"), ("x-ratelimit-reset", "5")]),
        secs(5.0)
    );
}

#[test]
fn the_reset_of_what_is_spent_goes_before_a_shorter_one() {
    assert_eq!(
        of_headers(&[
            ("x-ratelimit-remaining-tokens", "12"),
            ("x-ratelimit-reset-tokens", "370ms"),
            ("x-ratelimit-remaining-requests-day", "0"),
            ("x-ratelimit-reset-requests-day", "33011.38"),
        ]),
        secs(33011.38)
    );
}

#[test]
fn of_resets_with_something_left_the_shortest_counts() {
    assert_eq!(
        of_headers(&[
            ("x-ratelimit-reset-requests", "3m6s"),
            ("x-ratelimit-reset-tokens", "370ms")
        ]),
        secs(0.37)
    );
}

#[test]
fn an_epoch_is_measured_by_the_clock_of_the_one_who_names_it() {
    // Its clock is an hour behind ours.
    let date = ("date", "Fri, 04 Sep 2026 09:00:00 GMT");
    assert_eq!(
        of_headers(&[date, ("x-ratelimit-reset", "1788512460")]),
        secs(60.0)
    );
    assert_eq!(of_headers(&[date, ("retry-after", "60")]), secs(60.0));
    assert_eq!(
        of_headers(&[("date", "garbage"), ("x-ratelimit-reset", "1788516060")]),
        secs(60.0)
    );
}

#[test]
fn a_body_names_its_reset_in_fields() {
    for (body, expected) in [
        (
            r#"{"error":{"metadata":{"headers":{"X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1788516060000"}}}}"#,
            60.0,
        ),
        (
            r#"{"error":{"metadata":{"headers":{"X-RateLimit-Reset":1788516060000}}}}"#,
            60.0,
        ),
        (
            r#"{"error":{"metadata":{"retry_after_seconds":29,"retry_after_seconds_raw":28.9}}}"#,
            29.0,
        ),
        (
            r#"{"error":{"metadata":{"retry_after_seconds_raw":28.9}}}"#,
            28.9,
        ),
        (
            r#"{"error":{"metadata":{"headers":{"Retry-After":"29","X-RateLimit-Reset":"1788516060000"}}}}"#,
            29.0,
        ),
        (r#"{"error":{"availability":{"retry_after":40}}}"#, 40.0),
        (r#"{"error":{"message":"m","retry_after":1}}"#, 1.0),
        (r#"{"retry_after_ms":1500}"#, 1.5),
        (
            r#"[{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.4s"}]}}]"#,
            34.4,
        ),
        (
            r#"{"error":{"metadata":{"raw":"{\"error\":{\"details\":[{\"retryDelay\":\"34s\"}]}}"}}}"#,
            34.0,
        ),
    ] {
        assert_eq!(of_body(body), secs(expected), "{body}");
    }
}

#[test]
fn a_sentence_names_the_wait() {
    for (text, expected) in [
        (
            "Limit 15000, Used 11972. Please try again in 5.289s. Visit https://x.y",
            5.289,
        ),
        ("Please try again in 11m0.528s. Need more tokens?", 660.528),
        ("Please try again in 6m 11.52s.", 371.52),
        ("try again in 1h23m45.6s", 5025.6),
        ("try again in 370ms.", 0.37),
        ("Please wait 5631 seconds before retrying.", 5631.0),
        ("Please wait 0 seconds before retrying.", 0.0),
        ("at capacity. Retry after 40 seconds.", 40.0),
        ("limit: 20\nPlease retry in 15.06s.", 15.06),
        ("(reset after 2m 13s)", 133.0),
        ("resets in 1 hour and 5 minutes", 3900.0),
        (
            "[1310][Limit Exhausted. Your limit will reset at 2026-09-04 18:30:53]",
            1853.0,
        ),
        ("resets at 2026-09-04T10:01:00Z.", 60.0),
    ] {
        assert_eq!(of_words(text), secs(expected), "{text}");
    }
}

#[test]
fn a_sentence_is_believed_for_a_day_at_most() {
    for text in [
        "Please try again in 30 days.",
        "resets at 2026-09-30T10:00:00Z",
    ] {
        assert_eq!(of_words(text), secs(86_400.0), "{text}");
    }
}

#[test]
fn a_sentence_that_quotes_another_names_no_longer_wait_for_it() {
    for text in [
        "user try again in 1 day: Please try again in 7s.",
        "Please try again in 7s (user resets in 23 hours)",
        "user resets at 2026-09-05T09:00:00Z: Please try again in 7s.",
    ] {
        assert_eq!(of_words(text), secs(7.0), "{text}");
    }
}

#[test]
fn a_counter_that_something_is_left_of_says_nothing_of_an_error_that_is_no_limit() {
    for (left, expected) in [("49", None), ("0", secs(900.0))] {
        let pairs = [
            ("x-ratelimit-reset", "900"),
            ("x-ratelimit-remaining", left),
        ];
        assert_eq!(of_all(&headers(&pairs), "", "", false), expected);
    }
}

#[test]
fn what_words_a_body_holds_is_not_for_this_module() {
    for text in ["Please try again in 7s.", "retry after 3 seconds"] {
        for body in [
            text.to_owned(),
            format!(r#"{{"error":{{"message":{text:?}}}}}"#),
            format!(r#"{{"error":{{"metadata":{{"raw":{text:?}}}}}}}"#),
        ] {
            assert_eq!(of_body(&body), None, "{body}");
        }
    }
}

#[test]
fn what_a_failed_response_repeats_of_its_request_names_no_wait() {
    for body in [
        r#"{"error":{"message":"m"},"metadata":{"retry_after":"2592000"}}"#,
        r#"{"error":{"message":"m"},"metadata":{"headers":{"Retry-After":"9"}}}"#,
        r#"{"response":{"error":{"message":"m"},"metadata":{"retry_after":9}}}"#,
        r#"{"choices":[{"message":{"retry_after":9},"error":{"message":"m"}}]}"#,
        r#"{"error":{"message":{"retry_after":9}}}"#,
        r#"{"error":{"metadata":{"raw":"{\"metadata\":{\"retry_after\":9}}"}}}"#,
    ] {
        assert_eq!(of_body(body), None, "{body}");
    }
}

#[test]
fn a_sentence_without_a_wait_is_none() {
    for text in [
        "Please try again later.",
        "Please wait or upgrade",
        "retry after in-flight requests settle",
        "try again in 5 requests",
        "resets at midnight",
        "retry in ",
    ] {
        assert_eq!(of_words(text), None, "{text}");
    }
}

#[test]
fn a_sentence_about_this_error_goes_before_the_counters_of_every_response() {
    // Groq names a spent day in prose only, beside counters of other windows.
    let headers = headers(&[
        ("x-ratelimit-reset-requests", "6s"),
        ("x-ratelimit-reset-tokens", "370ms"),
    ]);
    let words = "tokens per day (TPD). Please try again in 11m0.528s.";
    assert_eq!(of_all(&headers, "", words, true), secs(660.528));
}

#[test]
fn a_body_cut_short_gives_what_came_before() {
    assert_eq!(
        of_body(r#"{"error":{"retry_after":7,"message":"Rate lim"#),
        secs(7.0)
    );
}

#[test]
fn a_success_announces_only_what_is_spent() {
    let of = |pairs: &[_]| exhausted(&headers(pairs), now());
    assert_eq!(of(&[("retry-after", "60")]), None);
    assert_eq!(
        of(&[
            ("x-ratelimit-remaining-requests", "1"),
            ("x-ratelimit-reset-requests", "6s")
        ]),
        None
    );
    assert_eq!(of(&[("x-ratelimit-remaining-req-minute", "0")]), None);
    assert_eq!(
        of(&[
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "6s")
        ]),
        secs(6.0)
    );
    for spent in ["0", "0.0", "-1", " 0", "+0", ".0", "\t0 ", "-inf"] {
        assert_eq!(
            of(&[("ratelimit-remaining", spent), ("ratelimit-reset", "9")]),
            secs(9.0)
        );
    }
    assert_eq!(
        of(&[
            ("x-ratelimit-remaining-requests-day", "0"),
            ("x-ratelimit-reset-requests-day", "900"),
            ("x-ratelimit-remaining-tokens-minute", "0"),
            ("x-ratelimit-reset-tokens-minute", "11.38"),
        ]),
        secs(900.0)
    );
}

proptest! {
    #[test]
    fn nothing_parsed_is_longer_than_the_longest(text in "[0-9a-zA-Z.:+, µ-]{0,40}|\\PC{0,40}", value in any::<f64>()) {
        for text in [text, value.to_string(), format!("{value}h{value}m"), format!("{value:e}")] {
            let field = serde_json::json!({ "retry_after": text }).to_string();
            prop_assert!(parse_reset(&text, now()).is_none_or(|wait| wait <= MAX));
            prop_assert!(of_body(&field).is_none_or(|wait| wait <= MAX));
            for words in [format!("try again in {text}"), format!("reset at {text}")] {
                prop_assert!(of_words(&words).is_none_or(|wait| wait <= MAX_SENTENCE));
            }
        }
    }

    #[test]
    fn any_header_gives_at_most_the_longest(value in prop::collection::vec(any::<u8>(), 0..30), seconds in any::<u32>()) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        let words = Searchable::default();
        for name in ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-timeremaining", "date"] {
            let headers: HeaderMap = [(HeaderName::from_static(name), value.clone())].into_iter().collect();
            let (envelope, _) = Envelope::of(&String::from_utf8_lossy(value.as_bytes()), || true);
            let wait = stated(&headers, &envelope.waits, || &words, true, now);
            prop_assert!(wait.is_none_or(|wait| wait <= MAX));
            prop_assert!(exhausted(&headers, now).is_none_or(|wait| wait <= MAX));
        }
    }
}
