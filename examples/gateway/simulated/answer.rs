//! The text of a simulated answer: short, and it names the model that answered.

use serde_json::{Value, json};

use super::{request::ChatRequest, schema};

/// How much of a message an answer repeats, in characters.
const QUOTED: usize = 200;

/// An answer before it is put on the wire.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Text {
        text: String,
        finish: &'static str,
    },
    /// A call of the caller's function; the arguments are JSON in a string.
    Call {
        name: String,
        arguments: String,
    },
}

impl Answer {
    /// The answer to a request, by its last message.
    pub(super) fn to(request: &ChatRequest, provider: &str, model: &str) -> Self {
        let last = request.messages.last();
        let returned = last.is_some_and(|message| message.role == "tool");
        if !returned {
            if let Some(function) = chosen_function(request) {
                return Self::Call {
                    name: function["name"].as_str().unwrap_or_default().to_owned(),
                    arguments: arguments(&function["parameters"]),
                };
            }
        }

        let said: String = last
            .map(|message| message.text().chars().take(QUOTED).collect())
            .unwrap_or_default();
        let by = format!("{provider}/{model}");
        let text = match request.format() {
            Some("json_schema") => {
                let format = request.response_format.as_ref();
                let schema = format.map(|format| &format["json_schema"]["schema"]);
                schema::example(schema.unwrap_or(&Value::Null)).to_string()
            }
            Some("json_object") => json!({ "you_said": said, "answered_by": by }).to_string(),
            _ if returned => format!("The tool said: {said} — answered by {by}, simulated"),
            _ => format!("You said: {said} — answered by {by}, simulated"),
        };
        Self::Text {
            text,
            finish: "stop",
        }
    }

    /// The answer, ended after so many tokens; here a word is a token.
    pub(super) fn cut_to(self, tokens: u64) -> Self {
        let tokens = usize::try_from(tokens).unwrap_or(usize::MAX).max(1);
        match self {
            Self::Text { text, .. } if words(&text).count() > tokens => Self::Text {
                text: words(&text).take(tokens).collect(),
                finish: "length",
            },
            whole => whole,
        }
    }

    /// The pieces in which it is streamed.
    pub(super) fn pieces(&self) -> Vec<&str> {
        match self {
            Self::Text { text, .. } => words(text).collect(),
            Self::Call { arguments, .. } => words(arguments).collect(),
        }
    }

    pub(super) fn finish_reason(&self) -> &'static str {
        match self {
            Self::Text { finish, .. } => finish,
            Self::Call { .. } => "tool_calls",
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', ','])
}

/// The function to call: the one the caller insists on, else the first, unless none is wanted.
fn chosen_function(request: &ChatRequest) -> Option<&Value> {
    let choice = request.tool_choice.as_ref();
    if choice.is_some_and(|choice| choice == "none") {
        return None;
    }
    let named = choice.and_then(|choice| choice["function"]["name"].as_str());
    let tools = request.tools.iter().flatten();
    let mut functions = tools.filter_map(|tool| tool.get("function"));
    functions.find(|function| named.is_none_or(|named| function["name"] == named))
}

/// Arguments are always an object, also where the function states no parameters.
fn arguments(parameters: &Value) -> String {
    match schema::example(parameters) {
        object @ Value::Object(_) => object.to_string(),
        _ => "{}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request: Value) -> Answer {
        let mut request = request;
        request["model"] = json!("lynx-8b");
        let request = serde_json::from_value(request).unwrap();
        Answer::to(&request, "sim-harbor", "lynx-8b")
    }

    fn text(request: Value) -> String {
        match answer(request) {
            Answer::Text { text, .. } => text,
            Answer::Call { .. } => panic!("a call"),
        }
    }

    fn weather() -> Value {
        json!([
            { "type": "function", "function": { "name": "weather", "parameters": {
                "type": "object",
                "properties": { "city": { "type": "string" } },
                "required": ["city"],
            } } },
            { "type": "function", "function": { "name": "time" } },
        ])
    }

    #[test]
    fn an_answer_says_what_was_said_and_who_answers() {
        let text = text(json!({ "messages": [{ "role": "user", "content": "hello" }] }));
        assert_eq!(
            text,
            "You said: hello — answered by sim-harbor/lynx-8b, simulated"
        );
    }

    #[test]
    fn parts_are_read_and_long_messages_quoted_in_part() {
        let parts = json!([{ "type": "text", "text": "one" }, { "type": "image_url" }, { "type": "text", "text": "two" }]);
        let said = text(json!({ "messages": [{ "role": "user", "content": parts }] }));
        assert!(said.starts_with("You said: one two —"), "{said}");

        let long = "ü".repeat(10_000);
        let said = text(json!({ "messages": [{ "role": "user", "content": long }] }));
        assert_eq!(said.matches('ü').count(), QUOTED);
    }

    #[test]
    fn the_first_tool_is_called_with_arguments_of_its_schema() {
        let request =
            json!({ "messages": [{ "role": "user", "content": "?" }], "tools": weather() });
        let Answer::Call { name, arguments } = answer(request) else {
            panic!("no call")
        };
        assert_eq!(
            (name.as_str(), arguments.as_str()),
            ("weather", r#"{"city":"example"}"#)
        );
    }

    #[test]
    fn the_tool_the_caller_insists_on_is_called() {
        let request = json!({
            "messages": [{ "role": "user", "content": "?" }],
            "tools": weather(),
            "tool_choice": { "type": "function", "function": { "name": "time" } },
        });
        let Answer::Call { name, arguments } = answer(request) else {
            panic!("no call")
        };
        assert_eq!((name.as_str(), arguments.as_str()), ("time", "{}"));
    }

    #[test]
    fn no_tool_is_called_when_none_is_wanted_or_one_has_answered() {
        let unwanted = json!({
            "messages": [{ "role": "user", "content": "?" }], "tools": weather(), "tool_choice": "none",
        });
        assert!(text(unwanted).starts_with("You said: ?"));
        let returned = json!({
            "messages": [{ "role": "tool", "tool_call_id": "a", "content": "rain" }], "tools": weather(),
        });
        assert!(text(returned).starts_with("The tool said: rain"));
    }

    #[test]
    fn formatted_answers_are_json() {
        let object = text(json!({
            "messages": [{ "role": "user", "content": "a \"b\"" }],
            "response_format": { "type": "json_object" },
        }));
        assert_eq!(
            serde_json::from_str::<Value>(&object).unwrap()["you_said"],
            "a \"b\""
        );

        let follows = text(json!({
            "messages": [],
            "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": {
                "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"],
            } } },
        }));
        assert_eq!(follows, r#"{"n":1}"#);
    }

    #[test]
    fn an_answer_ends_at_its_token_limit_and_says_so() {
        let request = json!({ "messages": [{ "role": "user", "content": "hello" }] });
        let cut = answer(request.clone()).cut_to(2);
        assert_eq!(
            (cut.pieces(), cut.finish_reason()),
            (vec!["You ", "said: "], "length")
        );
        assert_eq!(answer(request.clone()).cut_to(1000), answer(request));
    }
}
