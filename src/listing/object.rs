//! A JSON object of a listing, each of whose fields is read by itself, and only when it is asked for.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Value, value::RawValue};

/// No known row has more than 60 fields. What is read of many small fields is much larger than their text.
const MOST_FIELDS: usize = 1000;

/// The longest field of a row that is read, in bytes: a list of small values takes up to sixteen times the memory of its
/// text. The longest field that matters (all servers of a model) has about 5 KB.
pub(super) const LONGEST_FIELD: usize = 64 * 1024;

/// An object, as the text of each of its fields. An object with a key twice is ambiguous, so it is not read.
pub(super) struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    /// The object that this text is, if it is one.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The text of a field.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied()
    }

    /// The value of a field, or of a field in it (`limits.max_input_tokens`); null where there is none, none that
    /// can be read, or a longer one than [`LONGEST_FIELD`].
    pub(super) fn get(&self, path: &str) -> Value {
        let mut names = path.split('.');
        let field = names.next().and_then(|name| self.raw(name));
        let field = field.filter(|raw| raw.get().len() <= LONGEST_FIELD);
        let value = field.and_then(|raw| serde_json::from_str(raw.get()).ok());
        names.fold(value.unwrap_or_default(), |mut value, name| {
            value.get_mut(name).map(Value::take).unwrap_or_default()
        })
    }

    /// The value of the first of these fields that states something.
    pub(super) fn first(&self, paths: &[&str]) -> Value {
        let mut values = paths.iter().map(|path| self.get(path));
        values.find(|value| !value.is_null()).unwrap_or_default()
    }

    /// All fields, as the text that they have.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), *raw))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, raw)) = map.next_entry()? {
                    match fields.entry(name) {
                        Entry::Vacant(field) => field.insert(raw),
                        Entry::Occupied(_) => return Err(A::Error::custom("a field twice")),
                    };
                    if fields.len() > MOST_FIELDS {
                        return Err(A::Error::custom("too many fields"));
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Fields).map(Self)
    }
}

/// The strings of a list; of anything else none, which states nothing.
pub(super) fn strings(value: &Value) -> Vec<String> {
    let strings = value.as_array().into_iter().flatten();
    strings
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// A yes or a no. Cloudflare writes them as strings.
pub(super) fn flag(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| value.as_str()?.parse().ok())
}

/// A count above zero; Cohere's are doubles, Cloudflare's strings. One that no model of this decade can have is unknown.
pub(super) fn count(value: &Value) -> Option<u64> {
    const ABSURD: u64 = 1 << 40;
    let whole = |number: f64| (number.fract() == 0.0 && number > 0.0).then_some(number as u64);
    let count = value
        .as_u64()
        .or_else(|| value.as_f64().and_then(whole))
        .or_else(|| value.as_str()?.parse().ok())?;
    (1..ABSURD).contains(&count).then_some(count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_absurd_count_is_unknown() {
        let count = |text: &str| {
            let text = format!(r#"{{"n":{text}}}"#);
            count(&Object::read(&text).expect("an object").get("n"))
        };
        assert_eq!(count("131072"), Some(131_072));
        assert_eq!(count("128000.0"), Some(128_000));
        for absurd in [
            "0",
            "-1",
            "1.5",
            "1e400",
            "1e300",
            "99999999999999999999",
            "1099511627776",
            "true",
            "{}",
            "\"long\"",
        ] {
            assert_eq!(count(absurd), None, "{absurd}");
        }
    }

    #[test]
    fn a_field_that_cannot_be_read_spoils_no_other() {
        let object = Object::read(r#"{"a":1e999,"b":{"c":"d"},"e":"\ud800"}"#);
        let object = object.expect("an object");
        for nothing in ["a", "e", "x", "b.x", "b.c.x"] {
            assert_eq!(object.get(nothing), Value::Null, "{nothing}");
        }
        assert_eq!(object.get("b.c"), "d");
        assert_eq!(object.first(&["x", "a", "b"]), json!({"c": "d"}));
    }

    #[test]
    fn an_object_with_a_field_twice_or_with_no_end_of_fields_is_not_read() {
        assert!(Object::read(r#"{"a":1,"\u0061":1}"#).is_none());
        let many = |count: usize| {
            let fields: Vec<_> = (0..count).map(|n| format!(r#""{n}":0"#)).collect();
            format!("{{{}}}", fields.join(","))
        };
        assert!(Object::read(&many(MOST_FIELDS)).is_some());
        assert!(Object::read(&many(MOST_FIELDS + 1)).is_none());
    }
}
