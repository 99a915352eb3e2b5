//! Keywords that are left out of the JSON schemas of tools.
//!
//! Only a recipient that refuses them pays for this: its list of tools is read once more, and nothing of it is kept.

use std::ops::Range;

use crate::json::{Event, Kind, Reader, Token};

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

/// An array or object that is open.
#[derive(Debug)]
struct Open {
    place: Place,
    kind: Kind,
    /// Where the value of the current member stands.
    member: Place,
    /// Whether a member is left so far.
    any_left: bool,
    /// Where the members begin that go before any that is left.
    cut_from: Option<usize>,
    /// Where the last member begins that goes, with the comma before it, if a member is left before it.
    going: Option<usize>,
    /// Where the last member ends that goes.
    gone: usize,
}

/// The bytes of `tools`, the value of that field, that go with the members of schemas that have one of these names, in
/// their order, and which of the names are there.
pub(crate) fn cuts<'a>(tools: &str, keywords: &'a [String]) -> (Vec<Range<usize>>, Vec<&'a str>) {
    let mut schemas = Schemas {
        keywords,
        open: Vec::new(),
        skipped: None,
        cuts: Vec::new(),
        found: Vec::new(),
    };
    let mut reader = Reader::new(tools);
    // It has been read before: it is JSON.
    while let Ok(Some(token)) = reader.next() {
        schemas.read(&token);
    }
    (schemas.cuts, schemas.found)
}

struct Schemas<'a> {
    keywords: &'a [String],
    open: Vec<Open>,
    /// How deep the member stands that goes, as long as its value is read.
    skipped: Option<usize>,
    cuts: Vec<Range<usize>>,
    found: Vec<&'a str>,
}

impl<'a> Schemas<'a> {
    fn read(&mut self, token: &Token<'_>) {
        if let Some(depth) = self.skipped {
            // Its value ends with a token that stands as deep as its key, and is not the beginning of an array or object.
            if token.depth == depth && !matches!(token.event, Event::Begin(_)) {
                self.skipped = None;
                self.gone(token.end);
            }
            return;
        }
        match token.event {
            Event::Key(key) => self.key(&key.name(), token),
            Event::Begin(kind) => self.begin(kind),
            Event::End(_) => self.end(),
            _ => {}
        }
    }

    fn key(&mut self, key: &str, token: &Token<'_>) {
        let keywords: &'a [String] = self.keywords;
        let Some(object) = self.open.last_mut() else {
            return;
        };
        let keyword = match object.place {
            Place::Schema => keywords.iter().find(|keyword| **keyword == key),
            _ => None,
        };
        if let Some(keyword) = keyword {
            if !self.found.contains(&keyword.as_str()) {
                self.found.push(keyword);
            }
            object.going = match object.any_left {
                true => Some(token.comma),
                false => {
                    object.cut_from.get_or_insert(token.start);
                    None
                }
            };
            self.skipped = Some(token.depth);
            return;
        }
        if let Some(start) = object.cut_from.take() {
            self.cuts.push(start..token.comma + 1);
        }
        object.any_left = true;
        object.member = match object.place {
            Place::Tool => match key {
                "function" | "custom" => Place::Tool,
                "parameters" | "input_schema" => Place::Schema,
                _ => Place::Data,
            },
            Place::Schema => match key {
                "properties" | "patternProperties" | "$defs" | "definitions"
                | "dependentSchemas" => Place::Named,
                "enum" | "const" | "default" | "example" | "examples" => Place::Data,
                _ => Place::Schema,
            },
            Place::Named => Place::Schema,
            Place::Data => Place::Data,
        };
    }

    fn begin(&mut self, kind: Kind) {
        let place = match self.open.last() {
            None => Place::Tool,
            Some(open) if open.kind == Kind::Array => open.place,
            Some(open) => open.member,
        };
        // A list has no names.
        let place = match (place, kind) {
            (Place::Named, Kind::Array) => Place::Data,
            (place, _) => place,
        };
        self.open.push(Open {
            place,
            kind,
            member: Place::Data,
            any_left: false,
            cut_from: None,
            going: None,
            gone: 0,
        });
    }

    fn end(&mut self) {
        // Nothing is left of it.
        if let Some((start, end)) = self
            .open
            .pop()
            .and_then(|open| Some((open.cut_from?, open.gone)))
        {
            self.cuts.push(start..end);
        }
    }

    /// The value of a member that goes ends here.
    fn gone(&mut self, end: usize) {
        let Some(object) = self.open.last_mut() else {
            return;
        };
        object.gone = end;
        if let Some(start) = object.going.take() {
            self.cuts.push(start..end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::provider::dialect::names;

    const KEYWORDS: [&str; 2] = ["additionalProperties", "$schema"];

    fn without(tools: &str) -> String {
        let mut left = tools.to_owned();
        for cut in cuts(tools, &names(&KEYWORDS)).0.into_iter().rev() {
            left.replace_range(cut, "");
        }
        left
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

    #[test]
    fn the_keywords_that_are_there_are_told_once() {
        let tools = r#"[{"parameters":{"$schema":1,"a":{"$schema":2}}}]"#;
        assert_eq!(cuts(tools, &names(&KEYWORDS)).1, ["$schema"]);
        assert!(cuts("null", &names(&KEYWORDS)).1.is_empty());
    }
}
