//! What each field of the envelopes holds in which providers send errors.

/// What a field of an envelope holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// An error: an object with the fields of this table, a list of them, or a message.
    Error,
    /// A message, or an object or list that holds messages.
    Message,
    /// A message. Of an object only these fields count, because the object may be a part of the request: a
    /// `message` of the caller, or a response that repeats the caller's `metadata`, messages and tools.
    Only(&'static [&'static str]),
    /// Messages that show what the error is about, and are not the error's own.
    Details,
    /// More fields, if this is within an error. Beside it `metadata` is the caller's, repeated in a response.
    Metadata,
    /// Response headers of a router's upstream, if this is within an error.
    Headers,
    /// What the upstream of a router answered, if this is within an error: text, or JSON in a string.
    Raw,
    /// Words or numbers from a list of the upstream's.
    Label,
    /// The same, of which a number may be an HTTP status.
    Status,
    /// The same, and the code that is shown to a client.
    Code,
    /// The name of an exception or a validator.
    Name,
    /// The parameter that is at fault.
    Param,
    /// Where FastAPI found the fault: `["body", "messages", 0, "content"]`.
    Place,
    /// The context window in tokens (llama.cpp).
    Window,
    /// The upstream whose error a router passes on (OpenRouter).
    Upstream,
    /// When to send the request again.
    Retry,
    /// The same in milliseconds.
    RetryMillis,
}

/// What the fields of an envelope hold. Names are compared without regard to case.
const FIELDS: &[(&str, Holds)] = &[
    ("error", Holds::Error),
    ("errors", Holds::Error),
    ("title", Holds::Message),
    ("detail", Holds::Message),
    ("msg", Holds::Message),
    ("message", Holds::Only(&["detail", "error", "message"])),
    ("response", Holds::Only(&["error"])),
    ("choices", Holds::Only(&["error"])),
    ("details", Holds::Details),
    ("violations", Holds::Details),
    ("metadata", Holds::Metadata),
    ("availability", Holds::Metadata),
    ("headers", Holds::Headers),
    ("raw", Holds::Raw),
    ("type", Holds::Label),
    ("error_type", Holds::Label),
    ("reason", Holds::Label),
    ("limit_source", Holds::Label),
    ("failed_routing_step", Holds::Label),
    ("provider_error_code", Holds::Label),
    ("http_status", Holds::Status),
    ("status_code", Holds::Status),
    ("raw_status_code", Holds::Status),
    ("status", Holds::Status),
    ("code", Holds::Code),
    ("name", Holds::Name),
    ("param", Holds::Param),
    ("loc", Holds::Place),
    ("n_ctx", Holds::Window),
    ("provider_name", Holds::Upstream),
    ("retry-after", Holds::Retry),
    ("retry_after", Holds::Retry), // OpenRouter (`availability`), LLM7
    ("retryAfter", Holds::Retry),
    ("retry_after_seconds", Holds::Retry), // OpenRouter (`metadata`)
    ("retry_after_seconds_raw", Holds::Retry),
    ("retryDelay", Holds::Retry), // Google's `RetryInfo`
    ("retry-after-ms", Holds::RetryMillis),
    ("retry_after_ms", Holds::RetryMillis),
];

/// A field that is known.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// Its name as the table has it.
    pub(super) name: &'static str,
    pub(super) holds: Holds,
}

/// The field of this name, if it is known.
pub(super) fn known(name: &str) -> Option<Known> {
    let mut fields = FIELDS.iter();
    let &(name, holds) = fields.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(Known { name, holds })
}
