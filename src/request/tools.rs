//! Which tools may pass: those that the caller runs, and no others.

use std::ops::Range;

use crate::{
    json::{Event, Kind, Text, Token},
    request::{
        error::ScanError,
        guarded::{is_like, is_like_any},
    },
};

/// The most of a tool's type or name that is told back.
const LONGEST_TOLD: usize = 64;

/// How many tools of one request may be left out, and how many tools a `tool_choice` may name. OpenAI's API takes 128
/// tools. Each one that is left out costs some hundred bytes in each attempt.
const MAX_DROPPED: usize = 256;

/// How many names of tools are compared with what `tool_choice` demands.
const MAX_NAMES: usize = 4096;

/// Members of a tool by which a provider knows one of its own whatever its `type`, in lower case and without
/// underscores: Z.ai's `web_search` and `retrieval` (docs.z.ai, chat completion, 2026-11-21), and those of Gemini, which
/// has no types of tools (ai.google.dev/api/caching#Tool, 2026-11-21).
const OF_THE_PROVIDER: [&str; 10] = [
    "websearch",
    "retrieval",
    "googlesearch",
    "googlesearchretrieval",
    "enterprisewebsearch",
    "googlemaps",
    "urlcontext",
    "codeexecution",
    "computeruse",
    "filesearch",
];

/// What a `tool_choice` may say of how a tool is chosen. Any other type is a tool that the provider would run.
const CHOICES: [&str; 8] = [
    "function",
    "custom",
    "allowed_tools",
    "auto",
    "none",
    "required",
    "any",
    "tool",
];

/// What is left out of a body because a provider would run it, and may charge for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToolEdits {
    /// The bytes of the entries, each with one comma, in the order of the body.
    pub(crate) cuts: Vec<Range<usize>>,
    /// The places of the entries in their list.
    pub(crate) dropped: Vec<usize>,
    /// Where the lists begin of which nothing is left: upstreams refuse an empty list, so the member goes as a whole.
    pub(crate) emptied: Vec<usize>,
    /// Whether tools were left out and no tool is left in any list.
    pub(crate) none_left: bool,
}

/// Looks at every entry of `tools`, notes those that must not pass, and what `tool_choice` demands.
///
/// An entry passes if its `type` is `function` or `custom`, or if it has none but a `function`, and if it has no member
/// that stands for a tool of the provider. Of two `types` either may be the one that the upstream reads, so both must pass.
#[derive(Debug, Default)]
pub(crate) struct ToolGuard<'a> {
    within: Within,
    list: List,
    entry: Entry<'a>,
    field: Field,
    /// Whether the current member of the current field is its name.
    inner_name: bool,
    /// The names of the tools that pass.
    names: Vec<Text<'a>>,
    /// How many pass.
    left: usize,
    choice: Choice<'a>,
    edits: ToolEdits,
    fault: Option<ScanError>,
}

/// What the current top-level member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Elsewhere,
    Tools,
    Choice,
}

/// The current list of tools.
#[derive(Debug, Default)]
struct List {
    start: usize,
    /// The place of the current entry.
    index: usize,
    any_left: bool,
    /// Where the first of the entries begins that are left out before any that is left.
    cut_from: Option<usize>,
}

/// What the current entry has shown so far.
#[derive(Debug, Default)]
struct Entry<'a> {
    start: usize,
    /// Where the comma before it stands, if it is not the first.
    comma: usize,
    typed: bool,
    function: bool,
    /// One of its types, or of its members, is none of the caller's.
    foreign: bool,
    name: Option<Text<'a>>,
}

/// The current field of the current entry, or of the current object of a `tool_choice`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Other,
    Type,
    Function,
    Custom,
    Name,
}

impl Field {
    fn of(key: Text<'_>) -> Self {
        if key.folds_to("type") {
            Self::Type
        } else if key.folds_to("function") {
            Self::Function
        } else {
            match &*key.name() {
                "custom" => Self::Custom,
                "name" => Self::Name,
                _ => Self::Other,
            }
        }
    }
}

/// What `tool_choice` demands.
#[derive(Debug, Default)]
struct Choice<'a> {
    /// That some tool is used.
    any: bool,
    /// Tools by their names.
    names: Vec<Text<'a>>,
    /// A type of tool that never passes.
    foreign: Option<String>,
}

impl<'a> ToolGuard<'a> {
    #[inline]
    pub(crate) fn read(&mut self, token: &Token<'a>) {
        // Most tokens are those of messages.
        if self.within == Within::Elsewhere && token.depth != 1 {
            return;
        }
        if let (1, Event::Key(key)) = (token.depth, token.event) {
            self.within = if key.folds_to("tools") {
                Within::Tools
            } else if is_like(key, "toolchoice") {
                Within::Choice
            } else {
                Within::Elsewhere
            };
            self.field = Field::Other;
            return;
        }
        match (self.within, token.depth) {
            (Within::Choice, depth) => self.choice(depth, token.event),
            (Within::Tools, 1) => self.list(token),
            (Within::Tools, 2) => self.entry(token),
            (Within::Tools, 3) => self.member(token.event),
            (Within::Tools, 4) => self.nested(token.event),
            (Within::Elsewhere | Within::Tools, _) => {}
        }
    }

    /// What is to be left out.
    pub(crate) fn finish(mut self) -> Result<ToolEdits, ScanError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let demanded = |what: String| Err(ScanError::DemandedTool { what });
        if let Some(foreign) = self.choice.foreign {
            return demanded(foreign);
        }
        let any_dropped = !self.edits.dropped.is_empty();
        self.edits.none_left = any_dropped && self.left == 0;
        if self.edits.none_left && self.choice.any {
            return demanded("required".to_owned());
        }
        let is_left = |name: &Text<'_>| {
            self.names.len() == MAX_NAMES
                || self.names.iter().any(|left| left.chars().eq(name.chars()))
        };
        match self.choice.names.iter().find(|name| !is_left(name)) {
            Some(name) if any_dropped => demanded(told(*name)),
            _ => Ok(self.edits),
        }
    }

    fn fail(&mut self, fault: ScanError) {
        self.fault.get_or_insert(fault);
    }

    fn list(&mut self, token: &Token<'_>) {
        match token.event {
            Event::Begin(Kind::Array) => {
                self.list = List {
                    start: token.start,
                    ..List::default()
                }
            }
            // Nothing of it is left.
            Event::End(_) if self.list.cut_from.is_some() => {
                self.edits.emptied.push(self.list.start);
            }
            Event::End(_) | Event::Null => {}
            // What a parser would make of an object or a string is not known.
            _ => self.fail(ScanError::ToolsNotAList),
        }
    }

    fn entry(&mut self, token: &Token<'_>) {
        if !matches!(token.event, Event::End(_)) {
            self.entry = Entry {
                start: token.start,
                comma: token.comma,
                ..Entry::default()
            };
        }
        match token.event {
            Event::Begin(Kind::Object) => self.field = Field::Other,
            // Its elements are no fields.
            Event::Begin(Kind::Array) => self.entry.foreign = true,
            Event::End(_) if !self.entry.foreign && (self.entry.typed || self.entry.function) => {
                self.keep()
            }
            _ => self.drop(token.end),
        }
    }

    fn keep(&mut self) {
        if let Some(start) = self.list.cut_from.take() {
            self.edits.cuts.push(start..self.entry.comma + 1);
        }
        self.list.any_left = true;
        self.list.index += 1;
        self.left += 1;
        if self.names.len() < MAX_NAMES {
            self.names.extend(self.entry.name);
        }
    }

    fn drop(&mut self, end: usize) {
        if self.edits.dropped.len() == MAX_DROPPED {
            self.fail(ScanError::TooManyEdits);
            return;
        }
        if self.list.any_left {
            self.edits.cuts.push(self.entry.comma..end);
        } else {
            self.list.cut_from.get_or_insert(self.entry.start);
        }
        self.edits.dropped.push(self.list.index);
        self.list.index += 1;
    }

    /// A member of an entry.
    fn member(&mut self, event: Event<'a>) {
        match (self.field, event) {
            (_, Event::Key(key)) => {
                self.field = Field::of(key);
                self.entry.foreign |= is_like_any(key, &OF_THE_PROVIDER);
            }
            (Field::Function, Event::Begin(Kind::Object)) => self.entry.function = true,
            (Field::Name, Event::Text(name)) => self.entry.name = Some(name),
            (Field::Type, Event::Null) => {}
            (Field::Type, Event::Text(kind)) => match &*kind.name() {
                "function" | "custom" => self.entry.typed = true,
                _ => self.entry.foreign = true,
            },
            (Field::Type, _) => self.entry.foreign = true,
            _ => {}
        }
    }

    /// A member of an entry's `function` or `custom`, which holds the name in chats.
    fn nested(&mut self, event: Event<'a>) {
        match (self.field, event) {
            (Field::Function | Field::Custom, Event::Key(key)) => {
                self.inner_name = key.name() == "name";
            }
            (Field::Function | Field::Custom, Event::Text(name)) if self.inner_name => {
                self.entry.name = Some(name);
            }
            _ => {}
        }
    }

    /// Anything in a `tool_choice`: it is a word, or an object that can hold a list of such objects.
    fn choice(&mut self, depth: usize, event: Event<'a>) {
        match (depth, self.field, event) {
            (1, _, Event::Text(word)) => match &*word.name() {
                "auto" | "none" => {}
                "required" | "any" => self.choice.any = true,
                _ => self.demand(word),
            },
            (_, _, Event::Key(key)) => self.field = Field::of(key),
            (_, Field::Type, Event::Text(kind)) => match &*kind.name() {
                "required" | "any" => self.choice.any = true,
                word if CHOICES.contains(&word) => {}
                _ => self.choice.foreign = Some(told(kind)),
            },
            (_, Field::Name, Event::Text(name)) => self.demand(name),
            _ => {}
        }
    }

    fn demand(&mut self, name: Text<'a>) {
        match self.choice.names.len() < MAX_DROPPED {
            true => self.choice.names.push(name),
            false => self.fail(ScanError::TooManyEdits),
        }
    }
}

/// The beginning of a word of the caller's.
fn told(word: Text<'_>) -> String {
    word.chars().take(LONGEST_TOLD).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Value;

    use super::*;
    use crate::{
        capability::Capability,
        endpoint::Endpoint,
        provider::Dialect,
        request::{rewrite::Recipient, scan},
    };

    const FUNCTION: &str = r#"{"type":"function","function":{"name":"f"}}"#;

    /// The body as it is sent, and what is told to be left out.
    fn sent(body: &str) -> (String, String) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let to = Recipient {
            model: "m",
            dialect: &Dialect::OPENAI,
            max_output: None,
            window: None,
            thinks: false,
        };
        let scanned = scan(&body, Endpoint::ChatCompletions).unwrap();
        let rewritten = scanned.rewrite(&body, &to);
        let sent: Vec<u8> = rewritten.body.flatten().collect();
        let sent = String::from_utf8(sent).unwrap();
        assert!(serde_json::from_str::<Value>(&sent).is_ok(), "{sent}");
        (sent, rewritten.dropped.join(" "))
    }

    fn fault(body: &str) -> Option<ScanError> {
        scan(body.as_bytes(), Endpoint::ChatCompletions).err()
    }

    #[test]
    fn tools_that_the_caller_runs_pass() {
        for tools in [
            "null",
            "[]",
            r#"[{"type":"function","function":{}},{"type":"custom"}]"#,
            r#"[{"function":{"name":"f"}}]"#,
            r#"[{"type":null,"function":{"type":"web_search"}}]"#,
            r#"[{"\u0074ype":"\u0066unction"}]"#,
            r#"[{"type":"function","x":{"type":"web_search"}}]"#,
        ] {
            let body = format!(
                r#"{{"model":"m","tools":{tools},"tool_choice":"auto","other":[{{"type":"web_search"}}]}}"#
            );
            assert_eq!(sent(&body), (body, String::new()), "{tools}");
        }
    }

    #[test]
    fn a_tool_that_the_provider_would_run_is_left_out_and_named_by_its_place() {
        for foreign in [
            r#"{"type":"web_search"}"#,
            r#"{"type":"namespace","name":"n","tools":[{"type":"function","name":"g"}]}"#,
            r#"{"type":"function","type":"web_search"}"#,
            r#"{"type":"web_search","type":"function"}"#,
            r#"{"\u0074ype":"\u0077eb_search"}"#,
            r#"{"Type":"web_search","type":"function"}"#,
            r#"{"type":"Function"}"#,
            r#"{"type":"function","function":{},"web_search":{"enable":true}}"#,
            r#"{"googleSearch":{},"type":"function","function":{}}"#,
            r#"{"function":{"name":"f"},"\u0063ode_execution":{}}"#,
            r#"{"type":1,"function":{}}"#,
            r#"{"type":["function"],"function":{}}"#,
            r#"{"type":""}"#,
            r#"{"name":"f"}"#,
            r#"{"function":null}"#,
            "{}",
            r#""web_search""#,
            "[]",
            r#"[{"type":"function","function":{}},"type","function"]"#,
            "7",
            "null",
        ] {
            for field in ["tools", "Tools", r"\u0074ools", "tool\u{17f}"] {
                let body = format!(r#"{{"model":"m","{field}":[{FUNCTION}, {foreign} ]}}"#);
                let left = format!(r#"{{"model":"m","{field}":[{FUNCTION} ]}}"#);
                assert_eq!(sent(&body), (left, "tools[1]".to_owned()), "{body}");
            }
        }
    }

    #[test]
    fn each_tool_that_goes_takes_one_comma_along() {
        const X: &str = r#"{"type":"x"}"#;
        for (tools, left, told) in [
            (
                format!("[{X},{FUNCTION}]"),
                format!("[{FUNCTION}]"),
                "tools[0]",
            ),
            (
                format!("[ {X} , {X} ,{FUNCTION} ]"),
                format!("[ {FUNCTION} ]"),
                "tools[0] tools[1]",
            ),
            (
                format!("[{X},{FUNCTION},{X},{X},{FUNCTION},{X}]"),
                format!("[{FUNCTION},{FUNCTION}]"),
                "tools[0] tools[2] tools[3] tools[5]",
            ),
        ] {
            let body = |tools| format!(r#"{{"a":1,"tools":{tools},"model":"m"}}"#);
            assert_eq!(sent(&body(tools)), (body(left), told.to_owned()));
        }
    }

    #[test]
    fn where_no_tool_is_left_nothing_is_said_of_tools() {
        let body = r#"{"tools":[{"type":"x"},7],"tool_choice":"auto","model":"m","Parallel_Tool_Calls":true,"n":1}"#;
        let told = "tools[0] tools[1] tool_choice parallel_tool_calls";
        assert_eq!(
            sent(body),
            (r#"{"model":"m","n":1}"#.to_owned(), told.to_owned())
        );
        let needs = |body: &str| {
            let scanned = scan(body.as_bytes(), Endpoint::ChatCompletions).unwrap();
            scanned.needs.hard.contains(Capability::Tools)
        };
        assert!(!needs(body));
        assert!(needs(
            r#"{"tools":[{"type":"x"}],"functions":[{"name":"f"}]}"#
        ));
        assert!(needs(&format!(
            r#"{{"tools":[{{"type":"x"}},{FUNCTION}]}}"#
        )));
        // Another list of the same name still has one.
        let body =
            format!(r#"{{"tools":[7],"tool_choice":"auto","model":"m","tools":[{FUNCTION}]}}"#);
        let left = format!(r#"{{"tool_choice":"auto","model":"m","tools":[{FUNCTION}]}}"#);
        assert_eq!(sent(&body), (left, "tools[0]".to_owned()));
    }

    #[test]
    fn a_choice_that_demands_a_tool_that_is_left_out_is_refused_and_names_it() {
        let tools = format!(
            r#"[{FUNCTION},{{"type":"web_search"}},{{"type":"namespace","name":"n","tools":[{{"type":"function","name":"g"}}]}}]"#
        );
        for (choice, what) in [
            (r#"{"type":"web_search"}"#, "web_search"),
            (
                r#"{"\u0074ype":"web_search_preview"}"#,
                "web_search_preview",
            ),
            (r#"{"type":"mcp","server_label":"x"}"#, "mcp"),
            (r#"{"type":"function","function":{"name":"n"}}"#, "n"),
            (r#"{"type":"function","name":"g"}"#, "g"),
            (r#"{"type":"custom","custom":{"name":"g"}}"#, "g"),
            (r#"{"type":"tool","name":"n"}"#, "n"),
            (r#""web_search""#, "web_search"),
            (
                r#"{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"},{"type":"web_search"}]}"#,
                "web_search",
            ),
            (
                r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"g"}}]}}"#,
                "g",
            ),
        ] {
            for field in [
                "tool_choice",
                "Tool_Choice",
                r"tool\u005fchoice",
                "toolChoice",
            ] {
                for body in [
                    format!(r#"{{"{field}":{choice},"tools":{tools}}}"#),
                    format!(r#"{{"tools":{tools},"tool_choice":"auto","{field}":{choice}}}"#),
                ] {
                    let what = what.to_owned();
                    assert_eq!(
                        fault(&body),
                        Some(ScanError::DemandedTool { what }),
                        "{body}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_choice_among_the_tools_that_are_left_passes() {
        let tools =
            format!(r#"[{FUNCTION},{{"type":"custom","name":"c"}},{{"type":"web_search"}}]"#);
        for choice in [
            r#""none""#,
            r#""auto""#,
            r#""required""#,
            "null",
            r#"{"type":"function","function":{"name":"\u0066"}}"#,
            r#"{"type":"custom","name":"c"}"#,
            r#"{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"}]}"#,
        ] {
            let body = format!(r#"{{"model":"m","tools":{tools},"tool_choice":{choice}}}"#);
            let left = body.replace(r#",{"type":"web_search"}"#, "");
            assert_eq!(sent(&body), (left, "tools[2]".to_owned()), "{choice}");
        }
        // Whether a tool is there at all is for the upstream to say, where all pass.
        let body = format!(
            r#"{{"model":"m","tools":[{FUNCTION}],"tool_choice":{{"type":"function","name":"g"}}}}"#
        );
        assert_eq!(sent(&body), (body, String::new()));
    }

    #[test]
    fn a_tool_is_demanded_and_none_is_left() {
        for choice in [r#""required""#, r#""any""#, r#"{"type":"any"}"#] {
            let body = format!(r#"{{"tools":[{{"type":"x"}}],"tool_choice":{choice}}}"#);
            let what = "required".to_owned();
            assert_eq!(fault(&body), Some(ScanError::DemandedTool { what }));
        }
    }

    #[test]
    fn what_is_no_list_of_tools_is_refused() {
        for tools in [
            r#"{"0":{"type":"web_search"}}"#,
            r#""web_search""#,
            "7",
            "true",
        ] {
            let body = format!(r#"{{"tools":[],"tools":{tools},"tools":[]}}"#);
            assert_eq!(fault(&body), Some(ScanError::ToolsNotAList), "{tools}");
        }
    }

    #[test]
    fn a_body_full_of_tools_that_cannot_be_sent_is_refused() {
        let body = |tools: usize| format!(r#"{{"tools":[{}]}}"#, vec!["7"; tools].join(","));
        assert_eq!(fault(&body(MAX_DROPPED)), None);
        assert_eq!(fault(&body(MAX_DROPPED + 1)), Some(ScanError::TooManyEdits));
        let names = vec![r#"{"name":"f"}"#; MAX_DROPPED + 1].join(",");
        let body = format!(r#"{{"tool_choice":{{"tools":[{names}]}}}}"#);
        assert_eq!(fault(&body), Some(ScanError::TooManyEdits));
    }
}
