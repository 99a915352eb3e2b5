//! What providers put on the wire, and what clients do.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::{demand::Ask, scenario::Refusal, window::Millis};

/// What the placeholders of a refusal or a header stand for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filling<'a> {
    pub(crate) model: &'a str,
    pub(crate) limit: u64,
    pub(crate) left: u64,
    pub(crate) requested: u64,
    /// The time until a request like this would be admitted.
    pub(crate) wait: Millis,
    /// The wall clock, in milliseconds since 1970.
    pub(crate) wall: Millis,
}

impl Filling<'_> {
    /// Fills in the placeholders of a text.
    pub(crate) fn fill(&self, text: &str) -> String {
        if !text.contains('<') {
            return text.to_owned();
        }
        let seconds = self.wait as f64 / 1e3;
        let end = self.wall + self.wait;
        let mut filled = String::with_capacity(text.len() + 32);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            filled.push_str(before);
            let Some((name, after)) = after.split_once('>') else {
                filled.push('<');
                rest = after;
                continue;
            };
            rest = after;
            match name {
                "model" => filled.push_str(self.model),
                "limit" => filled += &self.limit.to_string(),
                "left" => filled += &self.left.to_string(),
                "used" => filled += &self.limit.saturating_sub(self.left).to_string(),
                "requested" => filled += &self.requested.to_string(),
                "reset_s" => filled += &self.wait.div_ceil(1000).to_string(),
                "reset_f" => filled += &seconds.to_string(),
                "reset_go" => filled += &go(seconds),
                "reset_epoch_ms" => filled += &end.to_string(),
                "reset_epoch_s" => filled += &end.div_ceil(1000).to_string(),
                other => {
                    filled += "<";
                    filled += other;
                    filled += ">";
                }
            }
        }
        filled + rest
    }

    pub(crate) fn refusal(&self, refusal: &Refusal) -> Refusal {
        let fill = |(name, value): &(String, String)| (name.clone(), self.fill(value));
        Refusal {
            status: refusal.status,
            headers: refusal.headers.iter().map(fill).collect(),
            body: self.fill(&refusal.body),
        }
    }
}

/// A duration as Go prints it: `2m59.56s`.
fn go(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor();
    let rest = ((seconds - minutes * 60.0) * 1e3).round() / 1e3;
    match minutes as u64 {
        0 => format!("{rest}s"),
        minutes if minutes < 60 => format!("{minutes}m{rest}s"),
        minutes => format!("{}h{}m{rest}s", minutes / 60, minutes % 60),
    }
}

/// English, four letters to a token.
const PROSE: &str = "The committee had been sitting since nine o'clock and nobody could remember who had first proposed \
    that the bridge be moved, but all of them knew that the river would take it if it was left where it stood. ";

/// The request of a client, whose prompt is as long as it says.
pub(crate) fn request(ask: &Ask) -> Request<Full<Bytes>> {
    let mut letters = (ask.prompt * 4) as usize;
    let mut body = String::with_capacity(letters + 600);
    body += r#"{"model":"free","messages":[{"role":"user","content":"#;
    body += if ask.image {
        r#"[{"type":"text","text":""#
    } else {
        "\""
    };
    // Conversations differ in their first words.
    body += &format!("This is conversation {}. ", ask.conversation);
    while letters > 0 {
        let part = letters.min(PROSE.len());
        body += &PROSE[..part];
        letters -= part;
    }
    body += if ask.image {
        r#""},{"type":"image_url","image_url":{"url":"https://example.org/a.png"}}]}]"#
    } else {
        "\"}]"
    };
    body += &format!(r#","max_tokens":{},"stream":{}"#, ask.output, ask.stream);
    if ask.tools {
        body += r#","tools":[{"type":"function","function":{"name":"search","parameters":{"type":"object","properties":{"path":{"type":"string"}}}}}]"#;
    }
    if ask.schema {
        body += r#","response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object","properties":{"a":{"type":"string"}}}}}"#;
    }
    body.push('}');
    let mut request = Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header(ID, ask.id);
    if ask.session {
        request = request.header("x-session-id", format!("session-{}", ask.conversation));
    }
    request.body(Full::new(body.into())).expect("a request")
}

/// The header by which a simulated provider knows a request again. Real ones are passed it too.
pub(crate) const ID: &str = "x-request-id";

pub(crate) const FIRST: &str = concat!(
    r#"data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"The"},"finish_reason":null}]}"#,
    "\n\n"
);
pub(crate) const MORE: &str = concat!(
    r#"data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" river"},"finish_reason":null}]}"#,
    "\n\n"
);
pub(crate) const LAST: &str = concat!(
    r#"data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "\n\ndata: [DONE]\n\n"
);
pub(crate) const ALIVE: &str = ": PROCESSING\n\n";
pub(crate) const WHOLE: &str = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"The river."},"finish_reason":"stop"}]}"#;
pub(crate) const BROKEN: &str = r#"{"error":{"message":"Provider returned error","code":502,"metadata":{"error_type":"provider_unavailable"}}}"#;
pub(crate) const PROXY_PAGE: &str =
    "<html><head><title>502 Bad Gateway</title></head><body></body></html>";
pub(crate) const NO_SUCH_MODEL: &str = r#"{"error":{"message":"The model does not exist.","type":"invalid_request_error","code":"model_not_found"}}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in() {
        let filling = Filling {
            model: "m",
            limit: 10,
            left: 3,
            requested: 5,
            wait: 61_500,
            wall: 1_000_000,
        };
        let text =
            "<model> <limit>-<used> <requested> <reset_s> <reset_go> <reset_epoch_ms> <other> <";
        assert_eq!(filling.fill(text), "m 10-7 5 62 1m1.5s 1061500 <other> <");
        assert_eq!(go(5025.6), "1h23m45.6s");
    }
}
