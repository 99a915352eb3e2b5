//! What of an upstream's response reaches the client.

use http::{HeaderMap, HeaderName};

use crate::{provider::Provider, route::outgoing::of_this_hop};

/// The limits of the account, in the spelling of OpenAI and in that of the IETF draft.
const LIMITS: &[&str] = &["x-ratelimit-", "ratelimit-"];

/// Headers that only this router may set. The mark of a simulated answer is not one of them: a gateway behind this router
/// sets it, and there it stays true.
fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-free-") && name != SIMULATED
}

/// The mark of the gateway's simulated models.
const SIMULATED: &str = "x-free-simulated";

/// Whether clients read this header of a response. All others concern the provider and its own client, which is this
/// router: cookies, `access-control-*`, account ids (`openai-organization`, `cf-*`), what belongs to the connection.
fn is_returned(name: &HeaderName) -> bool {
    let name = name.as_str();
    let is_known = matches!(
        name,
        // What the body is.
        "content-type"
            | "content-length"
            | "content-encoding"
            | "content-language"
            | "content-disposition"
            | "content-digest"
            | "repr-digest"
            | "digest"
            | "etag"
            | "last-modified"
            | "cache-control"
            | "date"
            | "trailer"
            // Tells proxies around this one that a stream is not to be gathered (nginx, `ngx_http_proxy_module`).
            | "x-accel-buffering"
            // When to come again: RFC 9110 10.2.3; openai-python, `_base_client.py`.
            | "retry-after"
            | "retry-after-ms"
            | "x-should-retry"
            // Hugging Face explains a refusal in it.
            | "x-error-message"
            // What to name in a question to the provider's support: OpenAI, Anthropic, OpenRouter, Mistral.
            | "x-request-id"
            | "request-id"
            | "x-generation-id"
            | "mistral-correlation-id"
            // How long it took, and which API it was.
            | "openai-processing-ms"
            | "openai-version"
            | "server-timing"
            // Cohere's trial keys: how many calls are left.
            | "x-trial-endpoint-call-remaining"
            | "ratelimit"
            | SIMULATED
    );
    is_known || LIMITS.iter().any(|prefix| name.starts_with(prefix))
}

/// Removes the headers that must not reach the client. Where no base URL is applied, those are only the names that this
/// router itself sets.
pub(super) fn clean(headers: &mut HeaderMap, provider: &Provider) {
    let applied = provider.base().is_some();
    let hop = match applied {
        true => of_this_hop(headers),
        false => Vec::new(),
    };
    let foreign = |name: &&HeaderName| match applied {
        true => !is_returned(name) || hop.contains(name),
        false => is_ours(name),
    };
    let foreign: Vec<HeaderName> = headers.keys().filter(foreign).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
    if applied {
        provider.credential().redact_headers(headers);
    }
}

/// Removes from trailers what only this router may say, and what echoes the provider's credential. Other trailers describe
/// the body, such as a checksum, and pass.
pub(super) fn clean_trailers(trailers: &mut HeaderMap, provider: &Provider) {
    let ours: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| is_ours(name))
        .cloned()
        .collect();
    for name in ours {
        trailers.remove(name);
    }
    if provider.base().is_some() {
        provider.credential().redact_headers(trailers);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(provider: &Provider, names: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for name in names {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static("1"));
        }
        clean(&mut headers, provider);
        headers.keys().map(ToString::to_string).collect()
    }

    fn at_a_base() -> Provider {
        Provider::new("p")
            .base_url("http://p.test")
            .build()
            .unwrap()
    }

    #[test]
    fn what_clients_read_passes() {
        let read = [
            "content-type",
            "retry-after",
            "retry-after-ms",
            "x-request-id",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-type",
            "ratelimit-policy",
            "openai-processing-ms",
        ];
        assert_eq!(left(&at_a_base(), &read), read);
    }

    #[test]
    fn what_is_not_known_to_be_read_does_not_pass() {
        let names = [
            "access-control-allow-origin",
            "access-control-expose-headers",
            "set-cookie",
            "openai-organization",
            "openai-project",
            "cf-ray",
            "x-groq-region",
            "server",
            "via",
            "location",
            "www-authenticate",
            "x-free-model",
            "x-free-made-up",
            "x-made-up",
        ];
        assert_eq!(left(&at_a_base(), &names), [""; 0]);
    }

    #[test]
    fn what_connection_names_does_not_pass() {
        let mut headers = HeaderMap::new();
        headers.insert(
            "connection",
            HeaderValue::from_static("close, X-Request-Id"),
        );
        headers.insert("x-request-id", HeaderValue::from_static("1"));
        clean(&mut headers, &at_a_base());
        assert!(headers.is_empty());
    }

    #[test]
    fn trailers_pass_but_those_of_ours_and_those_that_echo_the_key() {
        let provider = Provider::new("p")
            .base_url("http://p.test")
            .key("sk-canary-123");
        let mut trailers = HeaderMap::new();
        for (name, value) in [
            ("x-checksum", "1"),
            ("x-free-model", "m"),
            ("x-debug", "Bearer sk-canary-123"),
        ] {
            trailers.insert(name, HeaderValue::from_static(value));
        }
        clean_trailers(&mut trailers, &provider.build().unwrap());
        assert_eq!(trailers.len(), 1);
        assert!(trailers.contains_key("x-checksum"));
    }

    #[test]
    fn without_a_base_url_all_pass_but_those_of_ours() {
        let bare = Provider::new("p").build().unwrap();
        let names = [
            "set-cookie",
            "x-made-up",
            "x-free-model",
            "x-free-trail",
            "x-free-simulated",
        ];
        assert_eq!(
            left(&bare, &names),
            ["set-cookie", "x-made-up", "x-free-simulated"]
        );
    }
}
