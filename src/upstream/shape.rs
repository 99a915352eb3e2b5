//! The parts of an answer that a whole body and one event of a stream have in common.

use serde::de::MapAccess;

use crate::json::{Reads, into, skip, value};

/// Whether a value says anything to the reader of the answer.
///
/// Blank text says nothing: models in JSON mode are known to emit white space without end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said(pub(crate) bool);

impl Reads for Said {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            // What labels a part, and is there before the part has any content.
            "type" | "role" | "index" | "id" | "call_id" | "format" | "status" | "object"
            | "annotations" | "citations" | "logprobs" | "finish_reason" | "stop_reason"
            | "stop_sequence" | "expires_at" | "usage" => skip(map),
            _ if self.0 => skip(map),
            _ => into(map, self),
        }
    }

    fn text(&mut self, text: &str) {
        self.0 |= !text.trim().is_empty();
    }
}

/// Whether there is a value at all: not null, and not an empty string, array or object.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Present(pub(crate) bool);

impl Reads for Present {
    fn field<'de, A: MapAccess<'de>>(&mut self, _: &str, map: &mut A) -> Result<(), A::Error> {
        self.0 = true;
        skip(map)
    }

    fn text(&mut self, text: &str) {
        self.0 |= !text.trim().is_empty();
    }

    fn number(&mut self, number: f64) {
        self.0 |= number != 0.0;
    }

    fn truth(&mut self, truth: bool) {
        self.0 |= truth;
    }
}

/// Whether a result holds data: any element, also zeros (an embedding may be all zeros). What only labels an element
/// is none, so a vector of no numbers, or an image without bytes or address, holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Data(pub(crate) bool);

impl Reads for Data {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "object" | "index" | "type" | "embedding_type" | "revised_prompt" | "seed"
            | "content_type" => skip(map),
            _ if self.0 => skip(map),
            _ => into(map, self),
        }
    }

    fn text(&mut self, text: &str) {
        self.0 |= !text.trim().is_empty();
    }

    fn number(&mut self, _: f64) {
        self.0 = true;
    }

    fn truth(&mut self, _: bool) {
        self.0 = true;
    }
}

/// Why generation ended: `finish_reason` (OpenAI, Cohere), `stop_reason` (Anthropic), `finishReason` (Gemini).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finish {
    /// A reason is given, and it is not a failure.
    pub(crate) any: bool,
    /// Cut off by a limit or a filter: an answer, though there may be no text in it.
    pub(crate) cut: bool,
    /// The upstream failed.
    pub(crate) error: bool,
}

impl Finish {
    const fn join(&mut self, other: Self) {
        self.any |= other.any;
        self.cut |= other.cut;
        self.error |= other.error;
    }
}

impl Reads for Finish {
    fn text(&mut self, reason: &str) {
        let is = |words: &[&str]| words.iter().any(|word| reason.eq_ignore_ascii_case(word));
        // OpenRouter says "error" (errors-and-debugging), Cohere "ERROR", DeepSeek has its own word for overload.
        if is(&["error", "insufficient_system_resource"]) {
            self.error = true;
        } else if !reason.is_empty() {
            self.any = true;
            // "model_length" is Mistral's, "max_tokens" Anthropic's, Cohere's and Gemini's; "safety" is Gemini's filter.
            self.cut |= is(&[
                "length",
                "content_filter",
                "max_tokens",
                "model_length",
                "safety",
            ]);
        }
    }
}

/// The `message` of an answer or the `delta` of a chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    /// It holds text, a tool call, reasoning, a refusal, audio or images.
    pub(crate) said: Said,
    /// What the gateway in between took for it.
    pub(crate) metadata: Metadata,
}

impl Reads for Turn {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "provider_metadata" | "providerMetadata" => into(map, &mut self.metadata),
            "content" | "refusal" | "tool_calls" | "function_call" | "audio" | "images"
            // OpenRouter and Groq; DeepSeek, Moonshot and vLLM; OpenRouter; Copilot; Ollama; Cohere.
            | "reasoning" | "reasoning_content" | "reasoning_details" | "reasoning_text" | "thinking" | "tool_plan"
            // Groq's compound systems.
            | "executed_tools" => into(map, &mut self.said),
            _ => skip(map),
        }
    }
}

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

/// All choices of an answer or a chunk, taken together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choices {
    /// Something was said.
    pub(crate) said: Said,
    /// How it ended.
    pub(crate) finish: Finish,
    /// A choice carries an `error` of its own (OpenRouter, errors-and-debugging).
    pub(crate) error: Present,
    /// The choices that are spoken of.
    pub(crate) begun: Indexes,
    /// Those that have a finish reason, which is no failure.
    pub(crate) finished: Indexes,
    /// What the gateway in between took for one of them.
    pub(crate) metadata: Metadata,
    /// The `index` of the choice that is being read; 0 where it has none.
    index: u32,
    /// It has a finish reason.
    ends: bool,
}

impl Choices {
    /// Whether a choice says that the upstream failed.
    pub(crate) const fn failed(&self) -> bool {
        self.error.0 || self.finish.error
    }

    /// Whether this is an answer, if only one cut off before its first word.
    pub(crate) const fn answer(&self) -> bool {
        self.said.0 || self.finish.cut
    }
}

impl Reads for Choices {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "delta" | "message" => {
                let turn: Turn = value(map)?;
                self.said.0 |= turn.said.0;
                self.metadata.join(turn.metadata);
                Ok(())
            }
            "index" => {
                let mut index = Index(0);
                into(map, &mut index)?;
                self.index = index.0;
                Ok(())
            }
            "text" => into(map, &mut self.said),
            "finish_reason" => {
                let finish: Finish = value(map)?;
                self.ends |= finish.any;
                self.finish.join(finish);
                Ok(())
            }
            "provider_metadata" | "providerMetadata" => into(map, &mut self.metadata),
            "error" => into(map, &mut self.error),
            _ => skip(map),
        }
    }

    fn closed(&mut self) {
        self.begun.add(self.index);
        if std::mem::take(&mut self.ends) {
            self.finished.add(self.index);
        }
        self.index = 0;
    }
}

/// The `index` of a choice.
struct Index(u32);

impl Reads for Index {
    fn number(&mut self, number: f64) {
        // A float that is too large, negative or NaN becomes the nearest number, or 0.
        self.0 = number as u32;
    }
}

/// Items of the Responses API, in `output` or in `response.output_item.done`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Items(pub(crate) Said);

impl Reads for Items {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "content" | "summary" | "encrypted_content" | "name" | "arguments" | "input"
            | "action" | "operation" | "code" | "result" | "results" | "output" => {
                into(map, &mut self.0)
            }
            _ => skip(map),
        }
    }

    // Some servers answer `"output": "text"`.
    fn text(&mut self, text: &str) {
        self.0.text(text);
    }
}

/// A `response` object of the Responses API.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Response {
    /// What its output items say.
    pub(crate) output: Items,
    /// Its `error` is not null.
    pub(crate) error: Present,
    /// What it cost.
    pub(crate) usage: Usage,
}

impl Reads for Response {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "output" => into(map, &mut self.output),
            "error" => into(map, &mut self.error),
            "usage" => into(map, &mut self.usage),
            _ => skip(map),
        }
    }

    fn text(&mut self, text: &str) {
        self.output.text(text);
    }
}

/// The `usage` of an answer, for one question: was money taken?
///
/// OpenRouter reports `cost` in credits; for a request on the operator's own upstream key (`is_byok`) the price is in
/// `cost_details.upstream_inference_cost`. Perplexity's `cost` is an object with `total_cost`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    cost: Amount,
    upstream: Amount,
    byok: Flag,
}

impl Usage {
    /// Whether this answer was paid for.
    pub(crate) const fn billed(&self) -> bool {
        self.cost.0 || (self.byok.0 && self.upstream.0)
    }
}

impl Reads for Usage {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "cost" => into(map, &mut self.cost),
            "cost_details" => into(map, &mut self.upstream),
            "is_byok" => into(map, &mut self.byok),
            _ => skip(map),
        }
    }
}

/// What a gateway adds to an answer of its upstream: Vercel's `provider_metadata.gateway.cost`, a number or a string, in
/// US dollars. It stands beside `choices`, in a `message` or in a `delta`; with images it is `providerMetadata`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Metadata(Gateway);

impl Metadata {
    /// Whether money was taken.
    pub(crate) const fn billed(self) -> bool {
        self.0.0.0
    }

    const fn join(&mut self, other: Self) {
        self.0.0.0 |= other.billed();
    }
}

impl Reads for Metadata {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "gateway" => into(map, &mut self.0),
            _ => skip(map),
        }
    }
}

/// The `gateway` in it.
#[derive(Clone, Copy, Debug, Default)]
struct Gateway(Amount);

impl Reads for Gateway {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "cost" => into(map, &mut self.0),
            _ => skip(map),
        }
    }
}

/// Whether an amount of money, a number or a numeric string, is above zero.
#[derive(Clone, Copy, Debug, Default)]
struct Amount(bool);

impl Reads for Amount {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "total_cost" | "upstream_inference_cost" => into(map, self),
            _ => skip(map),
        }
    }

    fn text(&mut self, text: &str) {
        self.0 |= text.trim().parse().is_ok_and(|amount: f64| amount > 0.0);
    }

    fn number(&mut self, number: f64) {
        self.0 |= number > 0.0;
    }
}

/// A boolean.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flag(pub(crate) bool);

impl Reads for Flag {
    fn truth(&mut self, truth: bool) {
        self.0 |= truth;
    }
}
