//! Keywords that are left out of the JSON schemas of tools.
//!
//! Only a recipient that refuses them pays for this: its list of tools is read once more, and nothing of it is kept.

use std::ops::Range;

use crate::json::{Event, JsonError, Kind, Tokens};

/// How many members of schemas are left out at most. The rest stays as it is, for the upstream to refuse if it must. Each
/// costs some hundred bytes in each attempt.
pub(crate) const MAX_KEYWORDS: usize = 16_384;

/// What an array or object is that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A tool, or the part of it that holds its schema.
    Tool,
    /// A schema, or a list of schemas.
    Schema,
    /// An object whose keys are names of the caller's, and whose values are schemas.
    Named,
    /// Values of the caller's, such as those of an `enum`.
    Data,
}

impl Place {
    /// The place of the value of a member of an object that stands here.
    fn member(self, key: &[u8]) -> Self {
        match (self, key) {
            (Self::Tool, b"function" | b"custom") => Self::Tool,
            (Self::Tool, b"parameters" | b"input_schema") | (Self::Named, _) => Self::Schema,
            (
                Self::Schema,
                b"properties" | b"patternProperties" | b"$defs" | b"definitions"
                | b"dependentSchemas",
            ) => Self::Named,
            (Self::Schema, b"enum" | b"const" | b"default" | b"example" | b"examples")
            | (Self::Tool | Self::Data, _) => Self::Data,
            (Self::Schema, _) => Self::Schema,
        }
    }
}

/// The members of schemas in `tools`, the value of that field, that have one of these names, and their spans: the first
/// of them, at most so many.
pub(crate) fn members<'k>(
    tools: &str,
    keywords: &'k [String],
    most: usize,
) -> Result<Vec<(&'k str, Range<usize>)>, JsonError> {
    let mut found = Vec::new();
    let mut reader = Tokens::new(tools.as_bytes());
    let mut open: Vec<(Kind, Place)> = Vec::new();
    let mut member = Place::Data;
    while let Some(token) = reader.next()? {
        match token.event {
            Event::Key(key) => {
                let key = key.name_bytes();
                let place = open.last().map_or(Place::Data, |open| open.1);
                let keyword = keywords.iter().find(|keyword| keyword.as_bytes() == &*key);
                if let (Place::Schema, Some(keyword)) = (place, keyword) {
                    if found.len() == most {
                        break;
                    }
                    if let Some(value) = reader.next()? {
                        reader.skip(&value)?;
                    }
                    found.push((keyword.as_str(), token.start..reader.at()));
                }
                member = place.member(&key);
            }
            Event::Begin(kind) => {
                let place = match open.last() {
                    None => Place::Tool,
                    Some((Kind::Array, place)) => *place,
                    Some((Kind::Object, _)) => member,
                };
                // A list has no names.
                let is_named_list = (place, kind) == (Place::Named, Kind::Array);
                open.push((kind, if is_named_list { Place::Data } else { place }));
            }
            Event::End(_) => {
                open.pop();
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::{json::Splice, provider::dialect::names};

    const KEYWORDS: [&str; 2] = ["additionalProperties", "$schema"];

    const MOST: usize = 7;

    fn without(tools: &str) -> String {
        let mut splice = Splice::default();
        for (_, span) in members(tools, &names(&KEYWORDS), MOST).unwrap() {
            splice.cut_item(span);
        }
        let left = splice.apply(&tools.to_owned().into());
        String::from_utf8(left.flatten().collect()).unwrap()
    }

    #[test]
    fn keywords_go_at_any_depth_with_one_comma_each() {
        for (schema, left) in [
            (r#"{"additionalProperties":false}"#, "{}"),
            (
                r#"{"$schema":"x", "additionalProperties":{"a":[1,{}]}}"#,
                "{}",
            ),
            (
                r#"{"$schema":"x" , "type":"object"}"#,
                r#"{ "type":"object"}"#,
            ),
            (
                r#"{"type":"object" , "$schema":"x"}"#,
                r#"{"type":"object" }"#,
            ),
            (
                r#"{"$schema":1,"additionalProperties":2,"a":3,"$schema":4,"b":5,"$schema":6}"#,
                r#"{"a":3,"b":5}"#,
            ),
            (
                r#"{"properties":{"a":{"additionalProperties":{}, "items":{"$schema":1}}}}"#,
                r#"{"properties":{"a":{ "items":{}}}}"#,
            ),
            (
                r#"{"anyOf":[{"$schema":1},{"$schema":1,"x":2}]}"#,
                r#"{"anyOf":[{},{"x":2}]}"#,
            ),
            (
                r#"{"$defs":{"$schema":{"$schema":1}}}"#,
                r#"{"$defs":{"$schema":{}}}"#,
            ),
        ] {
            for (before, after) in [
                (
                    r#"[{"type":"function","function":{"name":"f","parameters":"#,
                    "}}]",
                ),
                (r#"[ {"type":"function","parameters":"#, "} ]"),
            ] {
                let tools = format!("{before}{schema}{after}");
                assert_eq!(without(&tools), format!("{before}{left}{after}"));
            }
        }
    }

    #[test]
    fn keywords_are_left_out_up_to_a_bound() {
        let many = r#""$schema":1,"#.repeat(MOST);
        let tools = |keywords: &str| format!(r#"[{{"parameters":{{{keywords}"a":1}}}}]"#);
        assert_eq!(without(&tools(&many)), tools(""));
        let one_more = format!(r#"{many}"$schema":2,"#);
        assert_eq!(without(&tools(&one_more)), tools(r#""$schema":2,"#));
    }

    #[test]
    fn what_only_bears_the_name_of_a_keyword_stays() {
        for schema in [
            r#"{"properties":{"$schema":{"type":"string"},"additionalProperties":{}}}"#,
            r#"{"enum":[{"$schema":1}],"const":{"$schema":1},"default":{"a":{"$schema":1}}}"#,
            r#"{"examples":[{"additionalProperties":1}]}"#,
        ] {
            let tools = format!(r#"[{{"function":{{"parameters":{schema},"$schema":1}}}}]"#);
            assert_eq!(without(&tools), tools);
        }
    }
}
