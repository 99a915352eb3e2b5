//! The smallest value that a JSON schema admits, for tool arguments and structured answers.

use serde_json::{Map, Value, json};

/// A small value that fits the schema: what is required, with a plain value of the asked type.
/// Patterns and rules between properties are beyond it.
pub(super) fn example(schema: &Value) -> Value {
    let mut writer = Writer {
        root: schema,
        left: 64 << 10,
    };
    writer.value(schema)
}

/// Schemas can refer to themselves and ask for a million items: the writer stops when what it may
/// write is used up.
struct Writer<'a> {
    root: &'a Value,
    left: usize,
}

impl<'a> Writer<'a> {
    /// What each value costs beside its own length; this also bounds how deep they nest.
    const VALUE: usize = 256;

    fn value(&mut self, schema: &'a Value) -> Value {
        if !self.pays(Self::VALUE) {
            return Value::Null;
        }
        let first = |key: &str| schema[key].as_array().and_then(|of| of.first());
        if let Some(value) = schema.get("const").or_else(|| first("enum")) {
            return if self.pays(value.to_string().len()) {
                value.clone()
            } else {
                Value::Null
            };
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference.strip_prefix('#');
            let target = target.and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(Value::Null, |target| self.value(target));
        }
        if let Some(choice) = first("anyOf").or_else(|| first("oneOf")) {
            return self.value(choice);
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return self.merged(parts);
        }
        match kind(schema) {
            "object" => self.object(schema),
            "array" => self.array(schema),
            "integer" => json!(number(schema).ceil() as i64),
            "number" => json!(number(schema)),
            "boolean" => json!(true),
            "null" => Value::Null,
            _ => self.string(schema),
        }
    }

    fn object(&mut self, schema: &'a Value) -> Value {
        let required = schema["required"].as_array().into_iter().flatten();
        let mut object = Map::new();
        for name in required.filter_map(Value::as_str) {
            if !self.pays(name.len()) {
                break;
            }
            object.insert(name.to_owned(), self.value(&schema["properties"][name]));
        }
        Value::Object(object)
    }

    fn array(&mut self, schema: &'a Value) -> Value {
        let mut items = Vec::new();
        for _ in 0..schema["minItems"].as_u64().unwrap_or(1) {
            if self.left < Self::VALUE {
                break;
            }
            items.push(self.value(&schema["items"]));
        }
        Value::Array(items)
    }

    fn string(&mut self, schema: &Value) -> Value {
        let text = match schema["format"].as_str() {
            Some("date") => "2026-01-31",
            Some("time") => "12:00:00Z",
            Some("date-time") => "2026-01-31T12:00:00Z",
            Some("email") => "someone@example.com",
            Some("uri") => "https://example.com/",
            Some("uuid") => "00000000-0000-4000-8000-000000000000",
            _ => "example",
        };
        let bound = |key: &str| schema[key].as_u64().and_then(|n| usize::try_from(n).ok());
        let mut text = text.to_owned();
        if let Some(longest) = bound("maxLength") {
            text.truncate(longest);
        }
        let missing = bound("minLength").unwrap_or(0).saturating_sub(text.len());
        if self.pays(missing) {
            text.extend(std::iter::repeat_n('x', missing));
        }
        Value::String(text)
    }

    /// One object that has what each part requires; parts that are no objects do not add up, so
    /// there the first counts.
    fn merged(&mut self, parts: &'a [Value]) -> Value {
        let mut values = parts.iter().map(|part| self.value(part));
        let mut whole = values.next().unwrap_or(Value::Null);
        for value in values {
            if let (Value::Object(whole), Value::Object(more)) = (&mut whole, value) {
                whole.extend(more);
            }
        }
        whole
    }

    fn pays(&mut self, cost: usize) -> bool {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// The type a value must have; of several the first that is not null.
fn kind(schema: &Value) -> &str {
    let several = schema["type"].as_array().into_iter().flatten();
    let mut several = several.filter_map(Value::as_str);
    let stated = schema["type"].as_str();
    match stated.or_else(|| several.find(|kind| *kind != "null")) {
        Some(kind) => kind,
        None if schema.get("properties").is_some() => "object",
        None if schema.get("items").is_some() => "array",
        None => "string",
    }
}

/// One, or what is nearest to it within the bounds.
fn number(schema: &Value) -> f64 {
    let bound = |key: &str| schema[key].as_f64();
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|bound| bound + 1.0));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|bound| bound - 1.0));
    let number = most.map_or(1.0, |most| most.min(1.0));
    least.map_or(number, |least| least.max(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_required_property_gets_a_value_of_its_type() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": { "type": "string" },
                "unit": { "enum": ["celsius", "kelvin"] },
                "days": { "type": "integer", "minimum": 3 },
                "share": { "type": "number", "exclusiveMaximum": 0.5 },
                "wet": { "type": "boolean" },
                "gone": { "type": "null" },
                "fixed": { "const": { "a": 1 } },
                "on": { "type": "string", "format": "date" },
                "code": { "type": "string", "minLength": 9 },
                "short": { "type": "string", "maxLength": 2 },
                "tags": { "type": "array", "items": { "type": ["null", "string"] }, "minItems": 2 },
                "not_asked": { "type": "string" },
            },
            "required": [
                "city", "unit", "days", "share", "wet", "gone", "fixed", "on", "code", "short", "tags",
            ],
        });
        assert_eq!(
            example(&schema),
            json!({
                "city": "example",
                "unit": "celsius",
                "days": 3,
                "share": -0.5,
                "wet": true,
                "gone": null,
                "fixed": { "a": 1 },
                "on": "2026-01-31",
                "code": "examplexx",
                "short": "ex",
                "tags": ["example", "example"],
            })
        );
    }

    #[test]
    fn references_choices_and_unions_are_followed() {
        let schema = json!({
            "$defs": { "point": { "properties": { "x": { "type": "integer" } }, "required": ["x"] } },
            "properties": {
                "at": { "$ref": "#/$defs/point" },
                "maybe": { "anyOf": [{ "type": "boolean" }, { "type": "null" }] },
                "both": { "allOf": [
                    { "$ref": "#/$defs/point" },
                    { "properties": { "y": { "type": "string" } }, "required": ["y"] },
                ] },
            },
            "required": ["at", "maybe", "both"],
        });
        assert_eq!(
            example(&schema),
            json!({ "at": { "x": 1 }, "maybe": true, "both": { "x": 1, "y": "example" } })
        );
    }

    #[test]
    fn a_schema_can_not_make_the_writer_run_away() {
        let endless = json!({ "$ref": "#" });
        assert_eq!(example(&endless), Value::Null);

        let twins = json!({
            "properties": { "a": { "$ref": "#" }, "b": { "$ref": "#" } },
            "required": ["a", "b"],
        });
        let many = json!({ "type": "array", "minItems": u64::MAX, "items": { "const": "x".repeat(60_000) } });
        let long = json!({ "type": "string", "minLength": u64::MAX });
        for schema in [twins, many, long] {
            assert!(example(&schema).to_string().len() < 100_000, "{schema}");
        }
    }

    #[test]
    fn nonsense_is_answered_with_something() {
        for schema in [
            json!(true),
            json!(null),
            json!([]),
            json!({ "type": 7 }),
            json!({ "$ref": "elsewhere" }),
            json!({ "enum": [] }),
            json!({ "allOf": [] }),
            json!({ "type": "integer", "minimum": 1e300 }),
            json!({ "required": [1, {}], "type": "object" }),
        ] {
            example(&schema);
        }
    }
}
