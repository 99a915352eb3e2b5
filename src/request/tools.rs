//! Which tools may pass: those that the caller runs, and no others.

use std::{borrow::Cow, collections::HashSet, ops::Range};

use super::{
    error::ScanError,
    fields::{MAX_GUARDED, Plain},
};
use crate::json::{Event, JsonError, Kind, Reader, Text, Value};

/// The most of a tool's type or name that a refusal quotes.
const LONGEST_QUOTED: usize = 64;

/// How many names of tools are compared with what `tool_choice` demands.
const MAX_NAMES: usize = 4096;

/// Members by which a provider knows a tool of its own whatever its `type`, in lower case and without underscores: Z.ai's `web_search` and `retrieval` (docs.z.ai, chat completion, 2026-11-21), and those of Gemini, which
/// has no types of tools (ai.google.dev/api/caching#Tool, 2026-11-21).
const OF_THE_PROVIDER: [Plain; 10] = [
    Plain::of("websearch"),
    Plain::of("retrieval"),
    Plain::of("googlesearch"),
    Plain::of("googlesearchretrieval"),
    Plain::of("enterprisewebsearch"),
    Plain::of("googlemaps"),
    Plain::of("urlcontext"),
    Plain::of("codeexecution"),
    Plain::of("computeruse"),
    Plain::of("filesearch"),
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
    /// The entries of lists of tools.
    pub(crate) cuts: Vec<Range<usize>>,
    /// The places of the entries in their lists.
    pub(crate) dropped: Vec<usize>,
    /// Whether tools were left out and no tool is left in any list.
    pub(crate) none_left: bool,
}

/// Looks at every entry of `tools`, notes those that must not pass, and what `tool_choice` demands.
///
/// An entry passes if its `type` is `function` or `custom`, or if it has no `type` but a `function`, and if it has no
/// member that stands for a tool of the provider. Of two `types` either may be the one that the upstream reads, so both
/// must pass.
#[derive(Debug, Default)]
pub(crate) struct ToolGuard<'a> {
    /// The names of the tools that pass, and how many pass.
    names: Vec<Text<'a>>,
    left: usize,
    edits: ToolEdits,
    /// What `tool_choice` demands: some tool, tools by their names, a type of tool that never passes.
    demands_any: bool,
    demanded: Vec<Text<'a>>,
    foreign: Option<String>,
    fault: Option<ScanError>,
}

/// What a member of a tool, or of an object in a `tool_choice`, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Type,
    Function,
    Custom,
    Name,
    Other,
}

impl Field {
    fn of(key: Text<'_>) -> Self {
        if key.folds_to("type") {
            Self::Type
        } else if key.folds_to("function") {
            Self::Function
        } else {
            match &*key.name_bytes() {
                b"custom" => Self::Custom,
                b"name" => Self::Name,
                _ => Self::Other,
            }
        }
    }
}

impl<'a> ToolGuard<'a> {
    /// What is to be left out; or why the request cannot be sent.
    pub(crate) fn finish(mut self) -> Result<ToolEdits, ScanError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let demanded = |what: String| Err(ScanError::DemandedTool { what });
        if let Some(foreign) = self.foreign {
            return demanded(foreign);
        }
        let any_dropped = !self.edits.dropped.is_empty();
        self.edits.none_left = any_dropped && self.left == 0;
        if self.edits.none_left && self.demands_any {
            return demanded("required".to_owned());
        }
        if any_dropped && self.names.len() < MAX_NAMES {
            // By their hashes: names can be so long that to compare each with each would take minutes.
            let left: HashSet<Cow<'_, [u8]>> = self.names.iter().map(|name| name.bytes()).collect();
            let mut demanded_names = self.demanded.iter();
            if let Some(name) = demanded_names.find(|name| !left.contains(&name.bytes())) {
                return demanded(quoted(*name));
            }
        }
        Ok(self.edits)
    }

    /// Keeps the first fault until the whole body is read, because what is no JSON at all is called so.
    fn fail(&mut self, fault: ScanError) {
        self.fault.get_or_insert(fault);
    }

    /// Reads the list of tools of a request: how many entries it has, and how many of them pass.
    pub(crate) fn list(
        &mut self,
        reader: &mut Reader<'a>,
        value: Value<'a>,
    ) -> Result<(usize, usize), JsonError> {
        // What a parser would make of an object or a string is not known.
        if !matches!(value.first, Event::Null | Event::Begin(Kind::Array)) {
            self.fail(ScanError::ToolsNotAList);
        }
        let (mut entries, mut left) = (0, 0);
        reader.elements(value.first, |reader, entry| {
            let (passes, name) = Self::entry(reader, entry)?;
            if passes {
                left += 1;
                if self.names.len() < MAX_NAMES {
                    self.names.extend(name);
                }
            } else if self.edits.dropped.len() < MAX_GUARDED {
                self.edits.cuts.push(entry.start..reader.at());
                self.edits.dropped.push(entries);
            } else {
                self.fail(ScanError::TooManyEdits);
            }
            entries += 1;
            Ok::<_, JsonError>(())
        })?;
        self.left += left;
        Ok((entries, left))
    }

    /// Reads an entry: whether it passes, and its name.
    fn entry(
        reader: &mut Reader<'a>,
        entry: Value<'a>,
    ) -> Result<(bool, Option<Text<'a>>), JsonError> {
        let (mut is_typed, mut is_function, mut is_foreign) = (false, false, false);
        let mut name = None;
        reader.members(entry.first, |reader, member| {
            is_foreign |= OF_THE_PROVIDER.contains(&Plain::of_text(member.name));
            match (Field::of(member.name), member.value.first) {
                (Field::Type, Event::Null) => {}
                (Field::Type, Event::Text(kind)) => match &*kind.name_bytes() {
                    b"function" | b"custom" => is_typed = true,
                    _ => is_foreign = true,
                },
                (Field::Type, _) => is_foreign = true,
                (Field::Name, Event::Text(text)) => name = Some(text),
                // In chats it holds the name.
                (field @ (Field::Function | Field::Custom), event) => {
                    is_function |= field == Field::Function && event == Event::Begin(Kind::Object);
                    reader.members(member.value.first, |_, inner| {
                        if let (b"name", Event::Text(text)) =
                            (&*inner.name.name_bytes(), inner.value.first)
                        {
                            name = Some(text);
                        }
                        Ok::<_, JsonError>(())
                    })?;
                }
                _ => {}
            }
            Ok::<_, JsonError>(())
        })?;
        Ok((!is_foreign && (is_typed || is_function), name))
    }

    /// Reads a `tool_choice`: a word, or an object that can hold a list of such objects.
    pub(crate) fn choice(
        &mut self,
        reader: &mut Reader<'a>,
        value: Value<'a>,
    ) -> Result<(), JsonError> {
        if let Event::Text(word) = value.first {
            match &*word.name_bytes() {
                b"auto" | b"none" => {}
                b"required" | b"any" => self.demands_any = true,
                _ => self.demand(word),
            }
        }
        let mut field = Field::Other;
        reader.visit(value.first, |event| match (field, event) {
            (_, Event::Key(key)) => field = Field::of(key),
            (Field::Type, Event::Text(kind)) => match &*kind.name_bytes() {
                b"required" | b"any" => self.demands_any = true,
                word if CHOICES.iter().any(|choice| choice.as_bytes() == word) => {}
                _ => self.foreign = Some(quoted(kind)),
            },
            (Field::Name, Event::Text(name)) => self.demand(name),
            _ => {}
        })
    }

    fn demand(&mut self, name: Text<'a>) {
        if self.demanded.len() < MAX_GUARDED {
            self.demanded.push(name);
        } else {
            self.fail(ScanError::TooManyEdits);
        }
    }
}

/// The beginning of a word of the caller's.
fn quoted(word: Text<'_>) -> String {
    word.chars().take(LONGEST_QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        capability::Capability,
        endpoint::Endpoint,
        json::Collected,
        provider::Dialect,
        request::{Recipient, scan},
    };

    const FUNCTION: &str = r#"{"type":"function","function":{"name":"f"}}"#;

    /// The body as it is sent, and what is told to be left out.
    fn sent(body: &str) -> (String, String) {
        let body = Collected::from(body.to_owned());
        let dialect = Dialect::OPENAI;
        let to = Recipient::new("m", &dialect);
        let scanned = scan(&body, Endpoint::ChatCompletions).unwrap();
        let rewritten = scanned.rewrite(&body, &to);
        let sent: Vec<u8> = rewritten.body.flatten().collect();
        let sent = String::from_utf8(sent).unwrap();
        assert!(serde_json::from_str::<Value>(&sent).is_ok(), "{sent}");
        (sent, rewritten.dropped.join(" "))
    }

    fn fault(body: &str) -> Option<ScanError> {
        scan(&Collected::from(body.to_owned()), Endpoint::ChatCompletions).err()
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
                format!("[  {FUNCTION} ]"),
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
            let scanned =
                scan(&Collected::from(body.to_owned()), Endpoint::ChatCompletions).unwrap();
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
            format!(r#"[{FUNCTION},{{"type":"custom","name":"\u0063"}},{{"type":"web_search"}}]"#);
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
        assert_eq!(fault(&body(MAX_GUARDED)), None);
        assert_eq!(fault(&body(MAX_GUARDED + 1)), Some(ScanError::TooManyEdits));
        let names = vec![r#"{"name":"f"}"#; MAX_GUARDED + 1].join(",");
        let body = format!(r#"{{"tool_choice":{{"tools":[{names}]}}}}"#);
        assert_eq!(fault(&body), Some(ScanError::TooManyEdits));
    }
}
