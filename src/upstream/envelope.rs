//! What the body of an error says: the one description of the envelopes in which providers send errors.
//!
//! There is no one format: `{"error": {…}}` (OpenAI, OpenRouter, Google), `{"error": "…"}` (Ollama, Hugging Face,
//! Venice, xAI), flat `{"message", "code"}` (Cerebras, Mistral, Cohere), `{"detail": …}` (FastAPI, Mistral's gateway),
//! `{"status", "title"}` (NVIDIA), `[{"error": …}]` (Gemini), `{"success": false, "errors": […]}` (Cloudflare),
//! `{"type": "error", "error": …}` (Anthropic, OpenCode), a `response` or a choice that failed, or no JSON at all.
//!
//! A table says what each field of these envelopes holds ([`fields`](super::fields)). One pass over the body with it finds
//! the labels and messages for the classifier, the waits for [`resets`](super::resets), and the message, code and parameter for the
//! client.

use std::borrow::Cow;

use serde_json::Value;

use crate::upstream::{
    document,
    fields::{Holds, Known, known},
    prose::Message,
};

/// The most bytes of messages that are evidence.
const MAX_TEXT: usize = 8 * 1024;

/// The most messages that are evidence, and the most of a list that are shown to a person.
const MAX_SAID: usize = 32;
const MAX_SHOWN: usize = 16;

/// The most labels, codes and waits, and the longest of each in bytes.
const MAX_LABELS: usize = 32;
const MAX_LABEL: usize = 128;

/// The longest code or name of a parameter that is passed to the client, in bytes.
pub(super) const MAX_WORD: usize = 256;

/// What OpenRouter's own labels begin with: they name its account, and not that of its upstream.
pub(super) const ROUTERS_OWN: &str = "openrouter_";

/// OpenRouter's message where `metadata.raw` has that of its upstream.
const RELAYED: &str = "Provider returned error";

/// Where in a body the reader is.
#[derive(Clone, Copy, Default)]
struct At {
    in_error: bool,
    in_details: bool,
    /// Within the answer of a router's upstream.
    relayed: bool,
    /// The fields that count here; all, if there are none.
    only: &'static [&'static str],
}

/// What the body of an error says.
#[derive(Default)]
pub(super) struct Envelope {
    /// Codes (numbers too), types, statuses, reasons, limit sources and routing steps, in lower case; those of outer
    /// objects first. No caller can write one: the upstream takes them from its own lists.
    pub(super) labels: Vec<String>,
    /// The quotas that Google names.
    pub(super) quotas: Vec<GoogleQuota>,
    /// All messages as they were sent, each with a line feed at its end. They may quote the request.
    pub(super) text: String,
    /// What of these messages is evidence.
    pub(super) messages: Vec<Message>,
    /// The first number that can be an HTTP status of an error; of several the outermost, which is a router's own.
    pub(super) status: Option<u16>,
    /// The parameter that is at fault.
    pub(super) param: Option<String>,
    /// The same as a place in the request, as OpenAI writes it: `messages[0].content`.
    pub(super) place: Option<String>,
    /// Something within another parameter than the model is at fault.
    pub(super) within_param: bool,
    /// The context window in tokens.
    pub(super) window: Option<u64>,
    /// A router passes on the error of its upstream: an account that is named in it is the router's.
    pub(super) relayed: bool,
    /// The codes and the names of the error, as they were sent.
    pub(super) codes: Vec<String>,
    pub(super) names: Vec<String>,
    /// When to send the request again.
    pub(super) waits: Waits,
    /// The message for a person, made of all messages.
    pub(super) message: Option<String>,
}

/// A quota that Google says is exceeded.
pub(super) struct GoogleQuota {
    /// Its `quotaId`, in lower case: what is counted, in which time, and for whom.
    pub(super) id: String,
    /// Its `quotaValue`.
    pub(super) amount: Option<u64>,
}

/// The waits that a body states, as they were sent.
#[derive(Default)]
pub(super) struct Waits {
    pub(super) retry: Vec<String>,
    pub(super) retry_millis: Vec<String>,
    /// Counters of limits: names in lower case, and values.
    pub(super) counters: Vec<(String, String)>,
}

impl Envelope {
    /// Reads a body.
    ///
    /// A body that is not declared to be JSON is read as JSON only if it is a whole document (`may_be_cut` says no):
    /// plain text may begin with words of the caller, and these may look like the beginning of a document.
    pub(super) fn of(text: &str, may_be_cut: impl FnOnce() -> bool) -> (Self, Option<Value>) {
        let mut envelope = Self::default();
        match document::parse(text) {
            Ok(tree) => {
                envelope.message = envelope.read(&tree, At::default());
                return (envelope, Some(tree));
            }
            Err(document::NotJson { is_cut: true }) if may_be_cut() => {
                envelope = Self::of_cut(text)
            }
            Err(_) => {
                let message = envelope.say(text, At::default());
                // Broken JSON is not for a person.
                envelope.message = message.filter(|text| !text.starts_with(['{', '[']));
            }
        }
        (envelope, None)
    }

    /// Reads JSON that was cut short.
    fn of_cut(text: &str) -> Self {
        let read = |tree: Option<Value>| {
            let mut envelope = Self::default();
            envelope.message = tree.and_then(|tree| envelope.read(&tree, At::default()));
            envelope
        };
        let mut whole_values = read(document::close(text, false));
        if !whole_values.text.is_empty() {
            return whole_values;
        }
        // The string that was cut may be the message.
        let mut with_cut = read(document::close(text, true));
        if !with_cut.text.is_empty() {
            with_cut.messages.iter_mut().for_each(Message::is_cut);
            return with_cut;
        }
        whole_values.say(text, At::default());
        whole_values
    }

    /// Adds a message from outside of the body.
    pub(super) fn add(&mut self, text: &str) {
        self.say(text, At::default());
    }

    /// A router passes on what its upstream said, and nothing of its own account.
    pub(super) fn is_of_routers_upstream(&self) -> bool {
        let own = |label: &String| label.starts_with(ROUTERS_OWN);
        self.relayed && !self.labels.iter().any(own)
    }

    /// Reads a value that holds messages; returns them for a person.
    fn read(&mut self, value: &Value, at: At) -> Option<String> {
        match value {
            Value::String(text) => self.say(text, at),
            Value::Array(items) => {
                let mut all = Vec::new();
                for item in items {
                    let message = self.read(item, at);
                    all.extend(
                        message.filter(|message| all.len() < MAX_SHOWN && !all.contains(message)),
                    );
                }
                (!all.is_empty()).then(|| all.join("; "))
            }
            Value::Object(fields) => {
                let counts = |name: &str| at.only.is_empty() || at.only.contains(&name);
                if at.only.is_empty() {
                    self.quota(value);
                }
                // The fields within come last: of several statuses and parameters the outermost counts.
                let mut inner = Vec::new();
                for (name, value) in fields.iter().filter(|(name, _)| counts(name)) {
                    match known(name) {
                        Some(field) => {
                            self.field(field.holds, value, at);
                            inner.push((field, value));
                        }
                        None => self.counter(name, value),
                    }
                }
                let inner = inner
                    .into_iter()
                    .filter_map(|(Known { name, holds }, value)| {
                        Some((name, self.inner(holds, value, at)?))
                    });
                let place = value["loc"]
                    .as_array()
                    .and_then(|steps| place_in_request(steps));
                message_of(&inner.collect::<Vec<_>>(), place)
            }
            _ => None,
        }
    }

    /// Takes a field that holds a fact.
    fn field(&mut self, holds: Holds, value: &Value, at: At) {
        if holds == Holds::Place {
            return self.found_at(value);
        }
        let Some(text) = scalar(value) else { return };
        match holds {
            Holds::Label => self.label(&text, at),
            Holds::Status => {
                self.label(&text, at);
                self.status(&text, at);
                self.name(text, at);
            }
            Holds::Code => {
                self.label(&text, at);
                self.status(&text, at);
                if is_shown(at) && text.len() <= MAX_WORD && self.codes.len() < MAX_LABELS {
                    self.codes.push(text.into_owned());
                }
            }
            Holds::Name => self.name(text, at),
            Holds::Param => _ = self.param.get_or_insert_with(|| text.into_owned()),
            Holds::Window => self.window = self.window.or_else(|| text.parse().ok()),
            Holds::Upstream => self.relayed |= !at.relayed,
            Holds::Retry => push(&mut self.waits.retry, text.into_owned()),
            Holds::RetryMillis => push(&mut self.waits.retry_millis, text.into_owned()),
            _ => {}
        }
    }

    /// Reads a field that holds messages or further fields.
    fn inner(&mut self, holds: Holds, value: &Value, at: At) -> Option<String> {
        let at = At { only: &[], ..at };
        match holds {
            Holds::Error => self.read(
                value,
                At {
                    in_error: true,
                    ..at
                },
            ),
            Holds::Message => self.read(value, at),
            Holds::Only(only) => self.read(value, At { only, ..at }),
            Holds::Details => self.read(
                value,
                At {
                    in_details: true,
                    ..at
                },
            ),
            Holds::Metadata if at.in_error => self.read(value, at),
            Holds::Headers if at.in_error => {
                for (name, value) in value.as_object()? {
                    match known(name).map(|field| field.holds) {
                        Some(holds @ (Holds::Retry | Holds::RetryMillis)) => {
                            self.field(holds, value, at);
                        }
                        _ => self.counter(name, value),
                    }
                }
                None
            }
            Holds::Raw if at.in_error && !at.relayed => self.raw(value.as_str()?.trim()),
            _ => None,
        }
    }

    /// Reads what the upstream of a router answered, once deep.
    fn raw(&mut self, text: &str) -> Option<String> {
        let at = At {
            relayed: true,
            ..At::default()
        };
        if text.starts_with('<') {
            return None;
        }
        match document::parse(text) {
            Ok(tree) => self.read(&tree, at),
            Err(_) => self.say(text, at),
        }
    }

    /// Takes a message; returns it, unless it is empty.
    fn say(&mut self, text: &str, at: At) -> Option<String> {
        let text = text.trim();
        let shown = document::prefix(text, MAX_TEXT.saturating_sub(self.text.len()));
        if !shown.is_empty() {
            self.text.push_str(shown);
            self.text.push('\n');
            if self.messages.len() < MAX_SAID {
                let is_message = !at.in_details && shown.len() == text.len();
                self.messages.push(Message::of(shown, is_message));
            }
        }
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn label(&mut self, label: &str, at: At) {
        let label = label.trim().to_ascii_lowercase();
        // The upstream of a router cannot say what only the router can say of itself.
        if !(at.relayed && label.starts_with(ROUTERS_OWN)) {
            push(&mut self.labels, label);
        }
    }

    fn name(&mut self, name: Cow<'_, str>, at: At) {
        if is_shown(at) && is_name(&name) && self.names.len() < MAX_LABELS {
            self.names.push(name.into_owned());
        }
    }

    fn status(&mut self, text: &str, at: At) {
        let status = text.trim().parse().ok();
        let status = status.filter(|status| (300..=599).contains(status) && !at.relayed);
        self.status = self.status.or(status);
    }

    fn quota(&mut self, violation: &Value) {
        let Some(id) = violation["quotaId"].as_str() else {
            return;
        };
        if self.quotas.len() < MAX_LABELS && (1..=MAX_LABEL).contains(&id.len()) {
            let amount = scalar(&violation["quotaValue"]);
            self.quotas.push(GoogleQuota {
                id: id.to_ascii_lowercase(),
                amount: amount.and_then(|text| text.parse().ok()),
            });
        }
    }

    fn counter(&mut self, name: &str, value: &Value) {
        const MARK: &str = "ratelimit-";

        if name.len() < MARK.len() {
            return;
        }
        let name = name.to_ascii_lowercase();
        if let (true, Some(value)) = (name.contains(MARK), scalar(value)) {
            if self.waits.counters.len() < MAX_LABELS * 2 {
                self.waits.counters.push((name, value.into_owned()));
            }
        }
    }

    fn found_at(&mut self, place: &Value) {
        let steps = place.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut names = steps.iter().filter_map(Value::as_str);
        if let (Some("body"), Some(name)) = (names.next(), names.next()) {
            match steps.len() {
                2 => _ = self.param.get_or_insert_with(|| name.to_owned()),
                _ => self.within_param |= name != "model",
            }
        }
        self.place = self.place.take().or_else(|| place_in_request(steps));
    }
}

/// Whether the codes and names that stand there are those of the error itself.
const fn is_shown(at: At) -> bool {
    !at.relayed && !at.in_details
}

/// A string that is not empty, or a number, as text.
fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => (!text.is_empty()).then(|| text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

fn push(list: &mut Vec<String>, word: String) {
    if list.len() < MAX_LABELS && (1..=MAX_LABEL).contains(&word.len()) {
        list.push(word);
    }
}

pub(super) fn is_name(word: &str) -> bool {
    word.len() <= MAX_WORD
        && word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `["body", "messages", 0, "content"]` as OpenAI writes a place in a request: `messages[0].content`.
fn place_in_request(steps: &[Value]) -> Option<String> {
    let mut place = String::new();
    for (i, step) in steps.iter().enumerate() {
        match step {
            Value::String(part) if i == 0 && part == "body" => {}
            Value::String(name) if place.is_empty() => place.push_str(name),
            Value::String(name) => place.extend([".", name]),
            Value::Number(index) => place.push_str(&format!("[{index}]")),
            _ => {}
        }
    }
    (1..=MAX_WORD).contains(&place.len()).then_some(place)
}

/// The message for a person, made of the messages in the fields of one object. Of several that differ in the case of
/// their names the last counts.
fn message_of(fields: &[(&'static str, String)], place: Option<String>) -> Option<String> {
    let field = |name: &&str| fields.iter().rfind(|(found, _)| found == name);
    let first = |names: &[&str]| Some(names.iter().find_map(field)?.1.clone());
    // One of FastAPI's list of faults.
    if let Some(message) = first(&["msg"]) {
        return Some(match place {
            Some(place) => format!("{place}: {message}"),
            None => message,
        });
    }
    // A heading, such as the class of an exception (sdnext) or the name of a status (NVIDIA), and what it is about.
    let heading = first(&["title", "error"]);
    let text = first(&["message", "detail", "errors", "details"]);
    match (heading, text) {
        (None, Some(text)) if text == RELAYED => first(&["metadata"]).or(Some(text)),
        (Some(heading), Some(text)) if heading != text => Some(format!("{heading}: {text}")),
        (None, None) => first(&["response", "choices", "raw"]),
        (one, other) => one.or(other),
    }
}
