//! Prices, read exactly: the only question is whether every one of them is zero.
//!
//! No number here is ever a float, in which `1e-400` is zero and `NaN` compares as nothing at all.

use serde_json::value::RawValue;

use super::{
    object::{LONGEST_FIELD, Object, flag},
    vocabulary::IS_FREE,
};
use crate::provider::Prices;

impl Prices {
    /// What a row costs: what it says itself, or else what all servers of its model say. Hugging Face's router may
    /// choose any of them, also one that is not live while the listing is made and is again a minute later.
    pub(super) fn of(row: &Object<'_>) -> Self {
        if is_free(row) == Some(false) {
            return Self::NotZero;
        }
        let own = Self::read(row.raw("pricing"), ["prompt", "completion"]);
        let servers = row.raw("providers");
        if servers.is_some_and(|raw| raw.get().len() > LONGEST_FIELD) {
            return Self::NotZero;
        }
        let servers =
            servers.and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
        let servers = servers.into_iter().flatten().map(Self::of_server);
        let servers = servers.reduce(Self::worse).unwrap_or(Self::Unstated);
        match (own, servers) {
            (Self::Unstated, servers) => servers,
            (_, Self::NotZero) => Self::NotZero,
            (own, _) => own,
        }
    }

    fn of_server(server: &RawValue) -> Self {
        let Some(server) = Object::read(server.get()) else {
            return Self::NotZero;
        };
        let prices = Self::read(server.raw("pricing"), ["input", "output"]);
        match (prices, is_free(&server)) {
            (_, Some(false)) => Self::NotZero,
            (Self::Unstated, Some(true)) => Self::Zero,
            (prices, _) => prices,
        }
    }

    fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::NotZero, _) | (_, Self::NotZero) => Self::NotZero,
            (Self::Unstated, _) | (_, Self::Unstated) => Self::Unstated,
            (Self::Zero, Self::Zero) => Self::Zero,
        }
    }

    /// Reads the shape of OpenRouter's `PublicPricing` (its OpenAPI of 2026-08-22); `names` are those of the prices of
    /// prompt and completion.
    ///
    /// A field that is not known to be something else is a price, and what cannot be read is not zero, because a new
    /// field must not make a paid model free.
    fn read(pricing: Option<&RawValue>, names: [&str; 2]) -> Self {
        let Some(pricing) = pricing.filter(|raw| raw.get() != "null") else {
            return Self::Unstated;
        };
        let short = Some(pricing.get()).filter(|text| text.len() <= LONGEST_FIELD);
        let Some(prices) = short.and_then(Object::read) else {
            return Self::NotZero;
        };
        let is_zero = prices.fields().all(|(name, value)| match name {
            // A fraction by which the prices are multiplied.
            "discount" => is_quantity(value) || states_zero(value),
            "overrides" => overrides_are_zero(value),
            _ => states_zero(value),
        });
        match is_zero {
            false => Self::NotZero,
            true if names.iter().all(|name| prices.raw(name).is_some()) => Self::Zero,
            true => Self::Unstated,
        }
    }
}

/// Whether an object says that what it describes is free. Of two names that contradict each other, the no counts.
fn is_free(object: &Object<'_>) -> Option<bool> {
    let flags = IS_FREE.iter().filter_map(|name| flag(&object.get(name)));
    flags.reduce(|one, other| one && other)
}

/// Prices for long prompts or for hours of the day: free means free at any length and at any hour.
fn overrides_are_zero(overrides: &RawValue) -> bool {
    let Ok(overrides) = serde_json::from_str::<Option<Vec<Object<'_>>>>(overrides.get()) else {
        return false;
    };
    let mut prices = overrides.iter().flatten().flat_map(Object::fields);
    prices.all(|(name, value)| match name {
        "min_prompt_tokens" | "utc_start" | "utc_end" => is_quantity(value) || states_zero(value),
        _ => states_zero(value),
    })
}

/// Whether this is a number, or the null of a field that is not a price and states nothing.
fn is_quantity(value: &RawValue) -> bool {
    matches!(value.get().as_bytes(), [b'-' | b'0'..=b'9', ..] | b"null")
}

/// Whether a price, a string or a number, is exactly zero. Null and the empty string are not.
fn states_zero(value: &RawValue) -> bool {
    match value.get() {
        text if text.starts_with('"') => {
            serde_json::from_str::<String>(text).is_ok_and(|text| is_zero(&text))
        }
        text => is_zero(text),
    }
}

/// Whether `text` is a JSON number whose every digit before the exponent is 0.
///
/// A minus before a zero is refused too, because in listings a minus has only ever marked a paid router.
fn is_zero(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let all =
        |digits: &str, is: fn(&u8) -> bool| !digits.is_empty() && digits.as_bytes().iter().all(is);
    whole == "0"
        && fraction.is_none_or(|fraction| all(fraction, |digit| *digit == b'0'))
        && exponent.is_none_or(|exponent| {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            all(digits, u8::is_ascii_digit)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Prices {
        let row = format!(r#"{{"pricing":{json}}}"#);
        Prices::of(&Object::read(&row).expect("test JSON"))
    }

    #[test]
    fn zero_is_zero_however_many_digits_it_has() {
        for zero in ["0", "0.0", "0.000", "0e5", "0E-9", "0.0e+12"] {
            assert!(is_zero(zero), "{zero}");
        }
    }

    #[test]
    fn what_is_not_plainly_zero_is_not_zero() {
        for price in [
            "",
            " ",
            "-0",
            "-1",
            "-0.0001",
            "+0",
            "00",
            "0.",
            ".0",
            "0x0",
            "0,0",
            "0e",
            "0e+",
            "1",
            "1e-400",
            "0.00000000000000000000001",
            "NaN",
            "nan",
            "null",
            "free",
            "0 ",
            "٠",
            "0e1.0",
        ] {
            assert!(!is_zero(price), "{price:?}");
        }
    }

    #[test]
    fn what_is_too_long_to_be_read_is_not_zero() {
        let many = |one: &str| vec![one; LONGEST_FIELD / 2].join(",");
        let overrides = many("{}");
        let prices = read(&format!(
            r#"{{"prompt":0,"completion":0,"overrides":[{overrides}]}}"#
        ));
        assert_eq!(prices, Prices::NotZero);
        let row = format!(
            r#"{{"pricing":{{"prompt":0,"completion":0}},"providers":[{}]}}"#,
            many("{}")
        );
        let prices = Prices::of(&Object::read(&row).expect("test JSON"));
        assert_eq!(prices, Prices::NotZero);
    }

    #[test]
    fn what_is_just_not_too_long_is_read() {
        let server = r#"{"pricing":{"input":0,"output":0}}"#;
        for (len, expected) in [
            (LONGEST_FIELD, Prices::Zero),
            (LONGEST_FIELD + 1, Prices::NotZero),
        ] {
            let servers = format!("[{server:>width$}]", width = len - 2);
            let row = format!(r#"{{"providers":{servers}}}"#);
            let prices = Prices::of(&Object::read(&row).expect("test JSON"));
            assert_eq!(prices, expected, "{len}");
        }
    }

    #[test]
    fn of_names_for_one_thing_the_dearer_counts() {
        for flags in [
            r#""isFree":true,"is_free":false"#,
            r#""isFree":false,"is_free":true"#,
            r#""isFree":"false""#,
        ] {
            let own = format!(r#"{{"pricing":{{"prompt":0,"completion":0}},{flags}}}"#);
            let server =
                format!(r#"{{"providers":[{{"pricing":{{"input":0,"output":0}},{flags}}}]}}"#);
            for row in [own, server] {
                let prices = Prices::of(&Object::read(&row).expect("test JSON"));
                assert_eq!(prices, Prices::NotZero, "{row}");
            }
        }
    }

    #[test]
    fn prompt_and_completion_must_both_be_stated() {
        assert_eq!(read("null"), Prices::Unstated);
        assert_eq!(read("{}"), Prices::Unstated);
        assert_eq!(read(r#"{"prompt":"0"}"#), Prices::Unstated);
        assert_eq!(read(r#"{"completion":0,"request":0}"#), Prices::Unstated);
        assert_eq!(read(r#"{"prompt":"0","completion":0}"#), Prices::Zero);
    }

    #[test]
    fn null_and_empty_prices_are_not_zero() {
        assert_eq!(read(r#"{"prompt":"0","completion":null}"#), Prices::NotZero);
        assert_eq!(read(r#"{"prompt":"","completion":"0"}"#), Prices::NotZero);
    }

    #[test]
    fn a_discount_is_a_number_and_no_price() {
        let with = |discount| {
            read(&format!(
                r#"{{"prompt":"0","completion":"0","discount":{discount}}}"#
            ))
        };
        assert_eq!(with("0.5"), Prices::Zero);
        assert_eq!(with("null"), Prices::Zero);
        assert_eq!(with(r#""0.5""#), Prices::NotZero);
        assert_eq!(with("{}"), Prices::NotZero);
    }

    #[test]
    fn the_price_of_an_override_counts_and_its_condition_does_not() {
        let with = |overrides| {
            read(&format!(
                r#"{{"prompt":"0","completion":"0","overrides":{overrides}}}"#
            ))
        };
        for free in [
            "null",
            "[]",
            "[{}]",
            r#"[{"min_prompt_tokens":200000,"prompt":"0"},{"utc_start":100,"utc_end":400,"completion":0}]"#,
        ] {
            assert_eq!(with(free), Prices::Zero, "{free}");
        }
        for costs in [
            r#"[{"min_prompt_tokens":200000,"prompt":"0.000001"}]"#,
            r#"[{},{"utc_start":100,"utc_end":400,"completion":"0.1"}]"#,
            r#"[{"min_prompt_tokens":1,"prompt":null}]"#,
            r#"[{"discount":0.5}]"#,
            r#"["0.1"]"#,
            r#"{"prompt":"0"}"#,
            "0",
        ] {
            assert_eq!(with(costs), Prices::NotZero, "{costs}");
        }
    }

    #[test]
    fn an_unknown_field_is_a_price() {
        for (field, expected) in [
            (r#""per_song":"0.08""#, Prices::NotZero),
            (r#""per_song":"0""#, Prices::Zero),
            (r#""video":{"second":"0"}"#, Prices::NotZero),
            (r#""currency":"USD""#, Prices::NotZero),
        ] {
            let json = format!(r#"{{"prompt":"0","completion":"0",{field}}}"#);
            assert_eq!(read(&json), expected, "{json}");
        }
    }

    #[test]
    fn a_price_stated_twice_must_be_zero_twice() {
        for json in [
            r#"{"prompt":"0.1","prompt":"0","completion":"0"}"#,
            r#"{"prompt":"0","\u0070rompt":"0.1","completion":"0"}"#,
        ] {
            assert_eq!(read(json), Prices::NotZero, "{json}");
        }
    }

    #[test]
    fn pricing_of_another_shape_is_not_zero() {
        for json in [
            r#""0""#,
            "0",
            "[]",
            "false",
            r#"[{"prompt":"0","completion":"0"}]"#,
        ] {
            assert_eq!(read(json), Prices::NotZero, "{json}");
        }
    }

    proptest! {
        /// The decimal is built from integers, so its value is known without reading it.
        #[test]
        fn a_decimal_is_zero_exactly_when_its_digits_are(
            whole in prop_oneof![Just(0_u64), any::<u64>()],
            fraction in prop_oneof![Just(0_u64), Just(1), any::<u64>()],
            width in 1_usize..60,
            exponent in proptest::option::of(any::<i32>()),
        ) {
            let exponent = exponent.map(|e| format!("e{e}")).unwrap_or_default();
            let text = format!("{whole}.{fraction:0width$}{exponent}");
            let zero = whole == 0 && fraction == 0;
            prop_assert_eq!(is_zero(&text), zero);
            let quoted = format!(r#"{{"prompt":"{text}","completion":{text}}}"#);
            prop_assert_eq!(read(&quoted) == Prices::Zero, zero);
        }
    }
}
