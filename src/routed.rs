//! Which target answered: headers for any client, a typed extension for Rust.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::{
    catalog::{Target, TargetId},
    headers::{ADJUSTED, ATTEMPTS, DROPPED, MODEL, PROVIDER, TRAIL, in_trail},
    outcome::OutcomeKind,
};

/// In bytes. Many servers and proxies refuse headers above 8 KiB altogether; this leaves room for all others.
const LONGEST_TRAIL: usize = 2048;
/// The longest list of fields, in bytes.
const LONGEST_LIST: usize = 1024;

/// The extension of every response that came from a target: which one answered, and after which attempts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Routed {
    /// The target that answered.
    pub target: Target,
    /// Every attempt in order, with its outcome. The last one is the one that answered; it counts as succeeded from the
    /// moment its answer began. Empty where no [`FallbackLayer`](crate::FallbackLayer) is around the router.
    pub trail: Vec<(TargetId, OutcomeKind)>,
    /// What was left out of the request, each once: top-level fields that could cost money or that the provider does not
    /// take; `tools[4]` for an entry of `tools` that the provider would run itself; `messages.name` for members of
    /// messages, `tools.$schema` for keywords in the schemas of tools, and `?name` for a parameter of the query. Bytes of a
    /// name that are not printable ASCII are encoded as in a URL, and a name longer than 64 bytes is cut.
    pub dropped: Vec<String>,
    /// Fields of the request that were sent by another name or with another value, by the names that the caller used;
    /// fields that were added; `messages.role` and `messages.content` for values in messages. See [`Rule`](crate::provider::Rule) and
    /// [`Model::max_output`](crate::Model::max_output).
    pub adjusted: Vec<String>,
}

impl Routed {
    /// Sets the headers and the extension.
    pub(crate) fn mark<B>(self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        let names = self.target.header_names();
        headers.insert(MODEL, names.model.clone());
        headers.insert(PROVIDER, names.provider.clone());
        for (name, fields) in [(DROPPED, &self.dropped), (ADJUSTED, &self.adjusted)] {
            if !fields.is_empty() {
                insert(headers, name, &list_text(fields));
            }
        }
        response.extensions_mut().insert(self);
    }
}

/// Sets the headers that name all attempts, and adds these to the extension.
pub(crate) fn mark_trail<B>(response: &mut Response<B>, trail: Vec<(TargetId, OutcomeKind)>) {
    let routed = response.extensions().get::<Routed>();
    let names = match (&trail[..], routed) {
        ([(id, OutcomeKind::Succeeded)], Some(Routed { target, .. })) if id == target.id() => {
            Some(target.header_names().succeeded.clone())
        }
        _ => None,
    };
    let headers = response.headers_mut();
    match names {
        Some(names) => {
            headers.insert(ATTEMPTS, HeaderValue::from_static("1"));
            headers.insert(TRAIL, names);
        }
        None => {
            headers.insert(ATTEMPTS, HeaderValue::from(trail.len()));
            if !trail.is_empty() {
                insert(headers, TRAIL, &trail_text(&trail));
            }
        }
    }
    if let Some(routed) = response.extensions_mut().get_mut::<Routed>() {
        routed.trail = trail;
    }
}

/// `a, b, …`; the first ones, where all are too long.
fn list_text(fields: &[String]) -> String {
    let mut text = String::new();
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        if text.len() + field.len() > LONGEST_LIST {
            let _ = write!(text, "{} more", fields.len() - i);
            break;
        }
        text.push_str(field);
    }
    text
}

/// `provider/model=outcome, …`; the newest attempts, where all are too long.
fn trail_text(trail: &[(TargetId, OutcomeKind)]) -> String {
    let mut text = String::new();
    for (i, (id, outcome)) in trail.iter().enumerate().rev() {
        let mut entry = in_trail(id.provider(), id.model());
        let _ = write!(entry, "={outcome}");
        if !text.is_empty() {
            entry.push_str(", ");
        }
        if text.len() + entry.len() > LONGEST_TRAIL {
            return format!("{} earlier, {text}", i + 1);
        }
        text.insert_str(0, &entry);
    }
    text
}

/// Names are encoded, so they are always fit for a header.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        catalog::Model,
        provider::{FreeRule, Provider},
    };

    fn trail(n: usize, model: &str) -> Vec<(TargetId, OutcomeKind)> {
        vec![
            (
                TargetId::new(Arc::from("p"), Arc::from(model)),
                OutcomeKind::RateLimited
            );
            n
        ]
    }

    #[test]
    fn a_long_list_keeps_its_first_and_says_how_many_are_missing() {
        let fields: Vec<_> = (0..100).map(|n| format!("field_number_{n:02}")).collect();
        let text = list_text(&fields);
        assert!(text.len() < LONGEST_LIST + 20, "{}", text.len());
        let kept = text.matches("field").count();
        assert!(
            text.starts_with("field_number_00, field_number_01, "),
            "{text}"
        );
        assert!(text.ends_with(&format!(", {} more", 100 - kept)), "{text}");
        assert_eq!(list_text(&fields[..2]), "field_number_00, field_number_01");
    }

    #[test]
    fn a_trail_names_each_attempt_in_order() {
        let mut trail = trail(1, "a/b:free");
        trail.push((
            TargetId::new(Arc::from("q"), Arc::from("c, d=e")),
            OutcomeKind::Succeeded,
        ));
        assert_eq!(
            trail_text(&trail),
            "p/a/b:free=rate_limited, q/c%2C%20d%3De=succeeded"
        );
        assert_eq!(
            trail_text(&self::trail(1, "50% grün")),
            "p/50%25%20gr%C3%BCn=rate_limited"
        );
    }

    #[test]
    fn a_success_at_the_first_attempt_reads_as_any_other_trail() {
        for model in ["a/b:free", "c, d=e", "grün"] {
            let provider = Provider::new("p").free(FreeRule::All).build().unwrap();
            let target = provider.target(Model::new(model)).unwrap();
            let trail = vec![(target.id().clone(), OutcomeKind::Succeeded)];
            let text = trail_text(&trail);
            let mut response = Response::new(());
            mark_trail(&mut response, trail.clone());
            let routed = Routed {
                target,
                trail: Vec::new(),
                dropped: Vec::new(),
                adjusted: Vec::new(),
            };
            let mut marked = Response::new(());
            routed.mark(&mut marked);
            mark_trail(&mut marked, trail.clone());
            for name in [ATTEMPTS, TRAIL] {
                assert_eq!(marked.headers().get(&name), response.headers().get(&name));
            }
            assert_eq!(marked.headers()[TRAIL], *text);
            assert_eq!(marked.extensions().get::<Routed>().unwrap().trail, trail);
        }
    }

    #[test]
    fn a_long_trail_keeps_its_newest_and_says_how_many_are_missing() {
        let text = trail_text(&trail(100, &"m".repeat(100)));
        assert!(text.len() < LONGEST_TRAIL + 20, "{}", text.len());
        let kept = text.matches('=').count();
        assert!(
            text.starts_with(&format!("{} earlier, p/mmm", 100 - kept)),
            "{text}"
        );
    }
}
