//! Which provider holds a response of the Responses API.
//!
//! A request with a `previous_response_id` builds upon a response that only the provider which made it has. The router
//! reads the id of each answer as it passes, so that it knows the provider without a fallback around it as well.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    json::{Event, Tokens},
    request::LONGEST_ID,
};
use bytes::Bytes;

/// How many responses are remembered. The oldest is forgotten first.
const MOST: usize = 4096;

/// How many bytes of an answer are read: the id stands near the beginning, in a stream within the first event.
const LONGEST_BEGINNING: usize = 16 * 1024;

/// Which provider made which response. Clones share it.
///
/// It holds at most 4,096 ids of at most 256 bytes each: 2 MB with its overhead.
#[derive(Clone, Default)]
pub(super) struct Responses(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    providers: HashMap<Arc<str>, Arc<str>>,
    /// The ids, oldest first.
    order: VecDeque<Arc<str>>,
}

impl Responses {
    /// The name of the provider that made this response.
    pub(super) fn provider_of(&self, id: &str) -> Option<Arc<str>> {
        self.lock().providers.get(id).map(Arc::clone)
    }

    /// Reads the id of an answer of this provider.
    pub(super) fn learner(&self, provider: &str) -> Learner {
        Learner {
            responses: self.clone(),
            provider: provider.into(),
            beginning: Vec::new(),
            read_at: 0,
            done: false,
        }
    }

    fn keep(&self, id: &str, provider: &Arc<str>) {
        if id.is_empty() || id.len() > LONGEST_ID {
            return;
        }
        let id: Arc<str> = id.into();
        let mut known = self.lock();
        let earlier = known
            .providers
            .insert(Arc::clone(&id), Arc::clone(provider));
        if earlier.is_none() {
            known.order.push_back(id);
        }
        if known.order.len() > MOST {
            if let Some(oldest) = known.order.pop_front() {
                known.providers.remove(&oldest);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the id of a response off the bytes of its answer, whole or a stream, as they pass.
#[derive(Clone)]
pub(super) struct Learner {
    responses: Responses,
    provider: Arc<str>,
    /// What has passed so far, at most [`LONGEST_BEGINNING`] bytes of it.
    beginning: Vec<u8>,
    /// The length of the beginning at the last reading.
    read_at: usize,
    done: bool,
}

impl Learner {
    /// These bytes of the answer pass; they are its `last` ones or not.
    pub(super) fn pass(&mut self, bytes: &Bytes, last: bool) {
        if self.done {
            return;
        }
        let room = LONGEST_BEGINNING - self.beginning.len();
        self.beginning
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        let full = self.beginning.len() == LONGEST_BEGINNING;
        // Each reading begins at the start, so an answer that comes byte by byte is read at each doubling of its length.
        if !last && !full && self.beginning.len() < 2 * self.read_at {
            return;
        }
        self.read_at = self.beginning.len();
        let id = id_of(&self.beginning);
        if let Some(id) = &id {
            self.responses.keep(id, &self.provider);
        }
        if id.is_some() || last || full {
            self.done = true;
            self.beginning = Vec::new();
        }
    }
}

impl fmt::Debug for Learner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learner").finish_non_exhaustive()
    }
}

/// The id in the beginning of an answer: of a body its own, of a stream that of the first `response` in an event.
fn id_of(beginning: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(beginning);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with('{') {
        return text_at(text, &["id"]);
    }
    text.lines()
        .find_map(|line| text_at(line.strip_prefix("data:")?, &["response", "id"]))
}

/// The first string under these keys, from the outermost object on. The JSON may be cut off after it.
fn text_at(json: &str, path: &[&str]) -> Option<String> {
    let mut reader = Tokens::new(json.as_bytes());
    // How many of the keys lead to what is being read.
    let mut matched = 0;
    while let Ok(Some(token)) = reader.next() {
        match token.event {
            Event::Key(key) if token.depth <= matched + 1 => {
                matched = token.depth - 1;
                if path.get(matched).is_some_and(|name| key.name() == *name) {
                    matched += 1;
                }
            }
            Event::Text(text) if matched == path.len() && token.depth == matched => {
                return Some(text.chars().collect());
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"id":"resp_1","object":"response","output":[{"id":"msg_1"}]}"#;
    const STREAM: &str = concat!(
        ": comment\n\nevent: response.created\r\n",
        r#"data: {"type":"response.created","response":{"object":"response","id":"resp_1"}}"#,
        "\n\n",
        r#"data: {"type":"response.completed","response":{"id":"resp_2"}}"#,
        "\n\n",
    );

    #[test]
    fn an_id_is_learnt_over_any_split_of_the_bytes() {
        for answer in [WHOLE, STREAM] {
            for size in 1..=answer.len() {
                let responses = Responses::default();
                let mut learner = responses.learner("p");
                let chunks: Vec<_> = answer.as_bytes().chunks(size).collect();
                for (i, chunk) in chunks.iter().enumerate() {
                    learner.pass(&Bytes::copy_from_slice(chunk), i + 1 == chunks.len());
                }
                assert_eq!(responses.provider_of("resp_1").as_deref(), Some("p"));
                assert_eq!(responses.provider_of("msg_1"), None);
            }
        }
    }

    #[test]
    fn an_id_is_known_as_soon_as_it_has_passed_in_one_piece() {
        for answer in [WHOLE, STREAM] {
            let responses = Responses::default();
            let piece = answer.find("resp_1").unwrap() + "resp_1\"".len();
            responses
                .learner("p")
                .pass(&Bytes::copy_from_slice(&answer.as_bytes()[..piece]), false);
            assert!(responses.provider_of("resp_1").is_some(), "{answer}");
        }
    }

    #[test]
    fn an_answer_without_an_id_is_not_remembered() {
        let responses = Responses::default();
        let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(LONGEST_ID + 1));
        for answer in [
            "",
            "{}",
            r#"{"id":7}"#,
            r#"{"id":""}"#,
            "[{\"id\":\"r\"}]",
            "<html>",
            &long,
        ] {
            responses
                .learner("p")
                .pass(&Bytes::copy_from_slice(answer.as_bytes()), true);
        }
        assert!(responses.lock().providers.is_empty());
    }

    #[test]
    fn no_more_is_held_than_is_read() {
        let mut learner = Responses::default().learner("p");
        for _ in 0..100 {
            learner.pass(&Bytes::from(vec![b' '; 1000]), false);
            assert!(learner.beginning.len() <= LONGEST_BEGINNING);
        }
        assert!(learner.done && learner.beginning.capacity() == 0);
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let responses = Responses::default();
        let provider: Arc<str> = "p".into();
        for n in 0..=MOST {
            responses.keep(&n.to_string(), &provider);
            responses.keep(&n.to_string(), &provider);
        }
        assert_eq!(responses.provider_of("0"), None);
        assert!(responses.provider_of("1").is_some());
        let known = responses.lock();
        assert_eq!((known.providers.len(), known.order.len()), (MOST, MOST));
    }
}
