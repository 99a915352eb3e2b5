//! Reads what an answer of a provider says, token by token.
//!
//! One reader serves whole answers, single events of a stream, and documents that pass without being held. What stands
//! where is the table of [`Place`].

use std::ops::Range;

use super::{event_kind::EventKind, place::Place, strict::Check};
use crate::{
    endpoint::Endpoint,
    json::{Event, Kind, Text, Tokens},
};

/// The keys of objects that stand deeper are not looked at: a cost stands at most seven objects and arrays deep
/// (`choices[0].message.provider_metadata.gateway.cost`).
const DEEPEST: usize = 16;

/// Some of the choices of an answer, by their `index`. One beyond 127 is not counted: no service makes as many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes(u128);

impl Indexes {
    fn add(&mut self, index: u32) {
        self.0 |= 1_u128.checked_shl(index).unwrap_or(0);
    }

    /// Takes those of `other` in as well.
    pub(crate) const fn join(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all of them are among `others`.
    pub(crate) const fn are_among(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What a document says.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// It has `choices`, if only null.
    pub(super) choices: bool,
    /// There is content in a choice: text, a tool call, reasoning, a refusal, audio or images. Blank text is not content:
    /// models in JSON mode are known to emit white space without end.
    pub(super) said: bool,
    /// There is content elsewhere.
    pub(super) data: bool,
    /// A limit or a filter cut it off, which is an answer though there may be no content.
    pub(super) cut_off: bool,
    /// A choice has a finish reason that is no failure.
    pub(super) ended: bool,
    /// The choices that it speaks of.
    pub(super) begun: Indexes,
    /// The choices that have such a finish reason.
    pub(super) finished: Indexes,
    /// A choice, or the finish reason, says that the upstream failed.
    pub(super) failed: bool,
    /// It has an `error` or `errors`: not null, and not an empty string, array or object.
    pub(super) error: bool,
    /// There was a cost above zero.
    pub(super) billed: bool,

    // Of a whole answer:
    /// Another sign that this is an error's envelope.
    pub(super) envelope: bool,
    /// Its `message` is a string.
    pub(super) flat_message: bool,
    /// It is a response of the Responses API by its `object`, or has an `output`.
    pub(super) is_response: bool,
    /// Its `status` says that it was cut off (`incomplete`), or runs in the background.
    pub(super) unfinished: bool,

    // Of an event:
    pub(super) kind: Option<EventKind>,
    pub(super) has_delta: bool,
    /// It has a field that is not known.
    pub(super) unknown: bool,
    /// Its `status` or `state` says that the answer is yet to come.
    pub(super) waiting: bool,
}

/// A reader of one document, token by token. Takes constant memory, and tokens in any order.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) facts: Facts,
    root: Place,
    /// The places of the outermost objects and arrays that are open.
    path: [Place; DEEPEST],
    /// How many are open.
    depth: usize,
    /// The place of the value whose key has just been read.
    next: Option<Place>,
    /// A choice is open: its `index`, and whether it has ended.
    choice: Option<(u32, bool)>,
    /// The `usage` that is open says that the request ran on the operator's own key at the upstream, ...
    own_key: bool,
    /// ... and that this upstream charged for it.
    upstream_charged: bool,
    check: Option<Check>,
}

impl Shape {
    /// A reader of a whole answer.
    pub(super) fn document() -> Self {
        Self {
            root: Place::Document,
            ..Self::default()
        }
    }

    /// A reader of a whole answer that also looks for what strict clients fail at, where the endpoint is one of theirs.
    pub(super) fn checked_document(endpoint: Endpoint) -> Self {
        Self {
            check: Check::new(endpoint),
            ..Self::document()
        }
    }

    /// A reader of the data of an event.
    pub(super) fn event() -> Self {
        Self {
            root: Place::Event,
            ..Self::default()
        }
    }

    /// Reads `json`. Whether it was one whole JSON document; if not, the facts are those before the fault.
    ///
    /// Calls `each` with the bounds of every string and number in whose place another one would say the same: any other
    /// where it is not read, and any other that is not blank where it is content.
    pub(super) fn read(&mut self, json: &str, mut each: impl FnMut(Range<usize>)) -> bool {
        let mut reader = Tokens::new(json.as_bytes());
        loop {
            match reader.next() {
                Ok(Some(token)) => {
                    if self.take(&token.event) {
                        each(token.start..token.end);
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// Takes the next token. Says whether another string or number in its place would say the same.
    // By reference, because a token is large: where it is copied, reading takes a fifth longer.
    #[inline]
    pub(super) fn take(&mut self, event: &Event<'_>) -> bool {
        match *event {
            Event::Key(key) => {
                self.key(key);
                return false;
            }
            Event::End(kind) => {
                self.close(kind);
                return false;
            }
            _ => {}
        }
        if let Some(check) = &mut self.check {
            check.value(event);
        }
        let place = self.next.take().unwrap_or_else(|| self.innermost());
        match event {
            Event::Begin(kind) => {
                self.open(place, *kind);
                false
            }
            value if matches!(place, Place::Skip | Place::Label) => {
                matches!(value, Event::Text(_) | Event::Number(_))
            }
            value => self.value(place, value),
        }
    }

    pub(super) fn is_irregular(&self) -> bool {
        self.check.as_ref().is_some_and(Check::is_irregular)
    }

    /// Whether objects or arrays are open.
    pub(super) const fn is_open(&self) -> bool {
        self.depth > 0
    }

    fn innermost(&self) -> Place {
        match self.depth {
            0 => self.root,
            depth => self.path[depth.min(DEEPEST) - 1],
        }
    }

    fn key(&mut self, key: Text<'_>) {
        let place = self.innermost();
        if place == Place::Skip || self.depth > DEEPEST {
            return;
        }
        let key = &*key.name();
        let facts = &mut self.facts;
        let next = place.of(key);
        match (place, next) {
            (_, Place::Choice) => facts.choices = true,
            (_, Place::Delta) => facts.has_delta = true,
            (Place::Document, Place::Item) => facts.is_response = true,
            (Place::Event, Place::Response | Place::Skip) => facts.unknown = true,
            (Place::Error | Place::Detail, _) => self.fault(place),
            _ => {}
        }
        if let Some(check) = &mut self.check {
            if place.part().is_some() {
                check.key(key);
            }
        }
        self.next = Some(next);
    }

    fn open(&mut self, place: Place, kind: Kind) {
        if let Some(open) = self.path.get_mut(self.depth) {
            *open = place;
        }
        self.depth = self.depth.saturating_add(1);
        if kind == Kind::Array || self.depth > DEEPEST {
            return;
        }
        match place {
            Place::Choice => self.choice = Some((0, false)),
            Place::Usage => (self.own_key, self.upstream_charged) = (false, false),
            _ => {}
        }
        if let (Some(check), Some(part)) = (&mut self.check, place.part()) {
            check.open(part);
        }
    }

    fn close(&mut self, kind: Kind) {
        let place = self.innermost();
        if kind == Kind::Object && (1..=DEEPEST).contains(&self.depth) {
            if place == Place::Choice {
                if let Some((index, ended)) = self.choice.take() {
                    self.facts.begun.add(index);
                    if ended {
                        self.facts.finished.add(index);
                    }
                }
            }
            if let (Some(check), Some(_)) = (&mut self.check, place.part()) {
                check.close();
            }
        }
        self.depth = self.depth.saturating_sub(1);
        self.next = None;
    }

    /// A string, number, bool or null at a place. Says whether it is content like any other text.
    fn value(&mut self, place: Place, value: &Event<'_>) -> bool {
        let facts = &mut self.facts;
        match (place, *value) {
            (
                Place::Content
                | Place::ToolCall
                | Place::Function
                | Place::Item
                | Place::Delta
                | Place::Response,
                Event::Text(text),
            ) if !is_blank(text) => {
                match self.choice {
                    Some(_) => facts.said = true,
                    None => facts.data = true,
                }
                return true;
            }
            // Also a bare array of vectors, or a transcript as a JSON string.
            (Place::Data | Place::Result | Place::Document, Event::Text(text)) => {
                facts.data |= !is_blank(text);
            }
            (Place::Data | Place::Result | Place::Document, Event::Number(_))
            | (Place::Data | Place::Result, Event::Bool(_)) => facts.data = true,
            (Place::Turn, Event::Text(text)) => facts.flat_message |= !is_blank(text),
            (Place::Error | Place::Detail, _) if is_present(value) => self.fault(place),
            (Place::FinishReason, Event::Text(reason)) => self.finish(&reason.name()),
            (Place::Index, Event::Number(index)) => {
                if let Some((open, _)) = &mut self.choice {
                    // A float that is too large, negative or NaN becomes the nearest number, or 0.
                    *open = index.as_str().parse::<f64>().unwrap_or(0.0) as u32;
                }
            }
            // Cloudflare, and OpenRouter's validation.
            (Place::Success, Event::Bool(false)) => facts.envelope = true,
            (Place::Type, Event::Text(word)) => {
                let word = word.name();
                facts.envelope |= word == "error" || word.ends_with("_error");
                facts.is_response |= word == "response";
            }
            (Place::EventType, Event::Text(word)) => {
                // The last word that is known counts.
                facts.kind = EventKind::of(&word.name()).or(facts.kind);
            }
            (Place::Status, Event::Text(word)) => {
                facts.unfinished |=
                    matches!(&*word.name(), "incomplete" | "queued" | "in_progress");
            }
            (Place::EventStatus, Event::Text(word)) => {
                facts.waiting |= is_any_of(&word.name(), WAITING);
            }
            (Place::Cost, _) => facts.billed |= is_above_zero(value),
            (Place::UpstreamCost, _) => self.upstream_charged = is_above_zero(value),
            (Place::OwnKey, Event::Bool(own_key)) => self.own_key = own_key,
            _ => {}
        }
        self.facts.billed |= self.own_key && self.upstream_charged;
        false
    }

    fn fault(&mut self, place: Place) {
        match (place, self.choice) {
            (Place::Detail, _) => self.facts.envelope = true,
            (_, Some(_)) => self.facts.failed = true,
            (_, None) => self.facts.error = true,
        }
    }

    fn finish(&mut self, reason: &str) {
        // OpenRouter says "error" (errors-and-debugging), Cohere "ERROR", DeepSeek has its own word for overload.
        if is_any_of(reason, &["error", "insufficient_system_resource"]) {
            self.facts.failed = true;
        } else if !reason.is_empty() {
            if let Some((_, ended)) = &mut self.choice {
                *ended = true;
                self.facts.ended = true;
            }
            self.facts.cut_off |= is_any_of(reason, CUT_OFF);
        }
    }
}

/// "model_length" is Mistral's, "max_tokens" that of Anthropic, Cohere and Gemini; "safety" is Gemini's filter.
const CUT_OFF: &[&str] = &[
    "length",
    "content_filter",
    "max_tokens",
    "model_length",
    "safety",
];

/// Words for an answer that is yet to come.
const WAITING: &[&str] = &[
    "queued",
    "pending",
    "waiting",
    "starting",
    "loading",
    "processing",
    "running",
    "in_progress",
    "keepalive",
    "keep-alive",
    "heartbeat",
    "ping",
];

fn is_any_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| word.eq_ignore_ascii_case(known))
}

fn is_blank(text: Text<'_>) -> bool {
    match text.raw.first() {
        Some(b'!'..=b'[' | b']'..=b'~') => false,
        _ => text.chars().all(char::is_whitespace),
    }
}

fn is_present(value: &Event<'_>) -> bool {
    match *value {
        Event::Text(text) => !is_blank(text),
        Event::Number(number) => number.as_str().parse() != Ok(0.0),
        Event::Bool(truth) => truth,
        _ => false,
    }
}

/// Whether an amount of money, a number or a numeric string, is above zero.
fn is_above_zero(amount: &Event<'_>) -> bool {
    let above_zero = |amount: &str| amount.trim().parse().is_ok_and(|amount: f64| amount > 0.0);
    match amount {
        Event::Number(number) => above_zero(number.as_str()),
        Event::Text(text) => above_zero(&text.name()),
        _ => false,
    }
}
