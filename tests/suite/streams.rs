//! Event streams: the same bytes and the same moment of commit however they are split, one end however they are cut.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use crate::support::*;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_free_models::{
    Classify, HealthMap, Stack, Target,
    classify::{DefaultClassify, Evidence},
    health::{Tally, TargetState},
    provider::Endpoint,
};

/// A stream up to this long is tried at every byte. A cut costs a reading of the whole stream, so that every byte costs its
/// square: of a longer one each event's edges are tried, and so many places between. `EVERY_BYTE` tries all (`.ci/full`).
const EXHAUSTIVE: usize = if cfg!(debug_assertions) { 256 } else { 4096 };
const PLACES: usize = if cfg!(debug_assertions) { 40 } else { 1000 };

/// What the second target says.
const OTHER: &[&str] = &["another", "answer"];

/// A stream of our own, with each ending that a line may have, and every recorded one.
fn streams() -> Vec<(String, Bytes)> {
    let mut streams = Vec::new();
    for (name, stream) in stored(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/streams"
    )) {
        let stream = String::from_utf8(stream).unwrap().replace("\r\n", "\n");
        for (ending, kind) in [("\n", "LF"), ("\r", "CR"), ("\r\n", "CRLF")] {
            streams.push((
                format!("{name} {kind}"),
                stream.replace('\n', ending).into(),
            ));
        }
        if streams.len() < 5 {
            streams.push((format!("{name} BOM"), format!("\u{feff}{stream}").into()));
        }
        let unended = stream.trim_end().to_owned();
        streams.push((
            format!("{name} without its last line's end"),
            unended.into(),
        ));
    }
    assert!(streams.len() >= 25, "our own streams are always there");
    for (name, stream) in stored(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/data/streams/extracted"
    )) {
        streams.push((name, stream.into()));
    }
    streams
}

fn stored(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut streams: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|e| e == "sse"))
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(file.path()).unwrap())
        })
        .collect();
    streams.sort();
    streams
}

/// An event, as a standard parser reads it.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    name: String,
    data: String,
}

/// The events of a stream, each with the offset at which it is complete. Written after the standard, for whole
/// streams only.
fn parse(stream: &[u8]) -> Vec<(Event, usize)> {
    let mut events = Vec::new();
    let (mut name, mut data) = (Vec::new(), None::<Vec<u8>>);
    let mut at = if stream.starts_with(b"\xEF\xBB\xBF") {
        3
    } else {
        0
    };
    while let Some(length) = stream[at..].iter().position(|b| matches!(b, b'\n' | b'\r')) {
        let line = &stream[at..at + length];
        let end = at + length + 1;
        at = if stream[end - 1] == b'\r' && stream.get(end) == Some(&b'\n') {
            end + 1
        } else {
            end
        };
        if line.is_empty() {
            let name = std::mem::take(&mut name);
            if let Some(data) = data.take() {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                let event = Event {
                    name: text(&name),
                    data: text(&data),
                };
                events.push((event, end));
            }
            continue;
        }
        let colon = line.iter().position(|&b| b == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"event" => name = value.to_vec(),
            b"data" => match &mut data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend(value);
                }
                None => data = Some(value.to_vec()),
            },
            _ => {}
        }
    }
    events
}

/// The events that a client sees which takes the end of a stream for the end of its last event.
fn parse_to_the_end(stream: &[u8]) -> Vec<Event> {
    let ended = [stream, b"\n\n"].concat();
    parse(&ended).into_iter().map(|(event, _)| event).collect()
}

impl Event {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_default()
    }

    fn kind(&self) -> String {
        match self.json()["type"].as_str() {
            Some(kind) => kind.to_owned(),
            None => self.name.clone(),
        }
    }

    /// Whether it says something.
    fn speaks(&self) -> bool {
        let event = self.json();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let choice = |choice: Value| {
            let cut = matches!(
                choice["finish_reason"].as_str(),
                Some("length" | "content_filter" | "model_length")
            );
            let delta = ["delta", "message"]
                .iter()
                .flat_map(|key| choice[key].as_object().cloned().unwrap_or_default());
            let mut said = delta.filter(|(key, _)| key != "role");
            cut || said.any(|(_, value)| has_text(&value))
        };
        match self.kind().as_str() {
            kind if kind.starts_with("response.") => {
                (kind.ends_with(".delta") && has_text(&event["delta"]))
                    || (kind == "response.output_item.done" && has_text(&event["item"]))
            }
            "content-delta" | "tool-plan-delta" | "tool-call-start" => has_text(&event["delta"]),
            _ => {
                list(&event["choices"]).into_iter().any(choice)
                    || list(&event["candidates"])
                        .iter()
                        .any(|candidate| has_text(&candidate["content"]["parts"]))
            }
        }
    }

    /// Whether nothing has to follow it, however many choices there are.
    fn ends_all(&self) -> bool {
        let candidates = self.json()["candidates"].clone();
        let reason = |candidate: &Value| candidate["finishReason"].is_string();
        self.data == "[DONE]"
            || self.fails()
            || matches!(self.kind().as_str(), "response.completed" | "message-end")
            || candidates
                .as_array()
                .is_some_and(|all| all.iter().any(reason))
    }

    /// The choices that it speaks of, and whether it ends each.
    fn choices(&self) -> Vec<(u64, bool)> {
        let choices = self.json()["choices"].as_array().cloned();
        let choice = |choice: &Value| {
            let index = choice["index"].as_u64().unwrap_or(0);
            (index, choice["finish_reason"].is_string())
        };
        choices.iter().flatten().map(choice).collect()
    }

    fn fails(&self) -> bool {
        self.name == "error" || self.json()["error"].is_object()
    }
}

fn has_text(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => items.iter().any(has_text),
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            !matches!(&**key, "type" | "role" | "id" | "format") && has_text(value)
        }),
        _ => false,
    }
}

/// Whether these events are a whole answer: each choice has its end, or one event ends all.
fn is_whole(events: &[Event]) -> bool {
    let choices: Vec<_> = events.iter().flat_map(Event::choices).collect();
    let ended = |index| choices.contains(&(index, true));
    let all_ended = !choices.is_empty() && choices.iter().all(|&(index, _)| ended(index));
    all_ended || events.iter().any(Event::ends_all)
}

/// Where the first event that says something is complete.
fn commit_of(stream: &[u8]) -> Option<usize> {
    let mut events = parse(stream).into_iter();
    events.find(|(event, _)| event.speaks()).map(|(_, end)| end)
}

/// The places at which a stream is split or cut: all, or, of a long one, those around its events' ends and a sample.
fn places(stream: &[u8]) -> Vec<usize> {
    if stream.len() <= EXHAUSTIVE || std::env::var_os("EVERY_BYTE").is_some() {
        return (0..=stream.len()).collect();
    }
    let mut places: Vec<_> = (0..=stream.len())
        .step_by(stream.len() / PLACES + 1)
        .collect();
    let events = parse(stream);
    let commit = commit_of(stream).into_iter();
    let ends = events.iter().map(|&(_, end)| end);
    let ends = ends.clone().take(5).chain(ends.rev().take(5)).chain(commit);
    places.extend(ends.flat_map(|end| end.saturating_sub(3)..=end + 3));
    places.push(stream.len());
    places.retain(|&at| at <= stream.len());
    places.sort_unstable();
    places.dedup();
    places
}

fn data(bytes: &Bytes, range: impl std::ops::RangeBounds<usize>) -> Step {
    Step::Data(bytes.slice(range))
}

fn bytewise(bytes: &Bytes) -> Vec<Step> {
    (0..bytes.len()).map(|at| data(bytes, at..=at)).collect()
}

/// Two targets: the first one asked answers with these steps, the other one with [`OTHER`].
struct Pool {
    stack: Stack,
    health: HealthMap,
    upstream: Upstream,
}

fn pool(steps: impl IntoIterator<Item = Step>) -> Pool {
    static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| targets(&["a", "b"], &["m"]));
    let (stack, health) = seeded(TARGETS.iter().cloned());
    Pool {
        stack,
        health,
        upstream: Upstream::script([Reply::stream(steps), Reply::words(OTHER)]),
    }
}

impl Pool {
    /// The response, if it comes without waiting.
    fn open(
        &self,
    ) -> Option<Response<impl http_body::Body<Data = Bytes, Error = BoxError> + use<>>> {
        let service = self.stack.layer(self.upstream.clone());
        let response = service.oneshot(streamed_chat()).now_or_never()?;
        Some(response.expect("a response"))
    }

    /// The whole of it.
    fn whole(&self) -> Whole {
        let response = self.open().expect("it comes at once");
        read(response).now_or_never().expect("it ends at once")
    }

    fn counts(&self) -> Tally {
        let mut sum = Tally::default();
        for target in self.health.snapshot().targets {
            sum.started += target.tally.started;
            sum.succeeded += target.tally.succeeded;
            sum.failed += target.tally.failed;
            sum.abandoned += target.tally.abandoned;
        }
        sum
    }

    /// Started, succeeded, failed.
    #[track_caller]
    fn assert_counts(&self, started: u64, succeeded: u64, failed: u64, why: &str) {
        let counts = self.counts();
        let counted = (counts.started, counts.succeeded, counts.failed);
        assert_eq!(counted, (started, succeeded, failed), "{why}");
        assert_eq!(counts.abandoned, 0, "{why}");
    }
}

fn other() -> Vec<u8> {
    let mut bytes = Vec::new();
    for step in Reply::words(OTHER).steps {
        if let Step::Data(data) = step {
            bytes.extend(data);
        }
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn every_split_in_two_passes_the_same_bytes() {
    for (name, stream) in streams() {
        for at in places(&stream) {
            let pool = pool([data(&stream, ..at), data(&stream, at..)]);
            let whole = pool.whole();
            assert_eq!(whole.body, stream, "{name} split at {at}");
            assert_eq!(whole.header("x-free-attempts"), Some("1"), "{name} at {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn byte_by_byte_a_stream_passes_the_same_bytes() {
    for (name, stream) in streams() {
        let whole = pool(bytewise(&stream)).whole();
        assert_eq!(whole.body, stream, "{name}");
        assert_eq!(whole.header("x-free-attempts"), Some("1"), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_commits_when_its_first_semantic_event_is_complete_and_not_before() {
    for (name, stream) in streams() {
        let Some(commit) = commit_of(&stream) else {
            panic!("{name} says nothing")
        };
        for at in places(&stream) {
            let begun = pool([data(&stream, ..at), Step::Hang]).open().is_some();
            assert_eq!(
                begun,
                at >= commit,
                "{name}: {at} bytes, commit at {commit}"
            );
        }
        for at in [commit - 1, commit] {
            let mut steps = bytewise(&stream.slice(..at));
            steps.push(Step::Hang);
            let begun = pool(steps).open().is_some();
            assert_eq!(
                begun,
                at >= commit,
                "{name}: {at} single bytes, commit at {commit}"
            );
        }
    }
}

/// What must be known of a stream to judge what is left of it.
struct Known {
    name: String,
    stream: Bytes,
    commit: usize,
    events: Vec<Event>,
    /// The first event that says something, that is an error.
    speaks: usize,
    fails: Option<usize>,
}

impl Known {
    fn of((name, stream): (String, Bytes)) -> Self {
        let events = parse_to_the_end(&stream);
        let first = |is: fn(&Event) -> bool| events.iter().position(is);
        Self {
            commit: commit_of(&stream).expect("it says something"),
            speaks: first(Event::speaks).expect("it says something"),
            fails: first(Event::fails),
            name,
            stream,
            events,
        }
    }
}

/// Cuts a stream at a place, and checks all that must hold of what the caller gets.
fn cut(known: &Known, at: usize, broken: bool) {
    let Known { name, stream, .. } = known;
    let how = if broken { "broken" } else { "ended" };
    let why = &format!("{name} {how} after {at} bytes");
    let mut steps = vec![data(stream, ..at)];
    if broken {
        steps.push(Step::Break);
    }
    let pool = pool(steps);
    let whole = pool.whole();
    assert_eq!(whole.broken, None, "{why}");
    assert_eq!(whole.status(), 200, "{why}");
    let original = &known.events;
    if whole.header("x-free-attempts") == Some("2") {
        assert!(at < known.commit, "{why}");
        assert_eq!(whole.body, other(), "{why}");
        pool.assert_counts(2, 1, 1, why);
        return;
    }
    let mut seen = parse_to_the_end(&whole.body);
    let appended = seen
        .last()
        .is_some_and(|event| event.fails() && !original.contains(event));
    let mut passed = whole.body.len();
    if appended {
        let event = seen.pop().unwrap();
        let error = &event.json()["error"];
        for (key, is) in [
            ("message", error["message"].is_string()),
            ("type", error["type"] == "server_error"),
            ("param", error["param"].is_null()),
            ("code", error["code"] == "interrupted"),
        ] {
            assert!(is, "{why}: {key} of {error}");
        }
        // It is complete by itself, and all that was added.
        let added = format!("data: {}\n\n", event.data);
        assert!(whole.body.ends_with(added.as_bytes()), "{why}");
        passed -= added.len();
    }
    assert!(passed <= at, "{why}");
    assert_eq!(whole.body[..passed], stream[..passed], "{why}");
    // No half event, not even for a client that takes the end for an event's end.
    assert!(seen.len() > known.speaks, "{why}");
    assert_eq!(seen, original[..seen.len()], "{why}");
    assert_eq!(appended, !is_whole(&seen), "{why}");
    let failed = appended || known.fails.is_some_and(|error| seen.len() > error);
    pool.assert_counts(1, u64::from(!failed), u64::from(failed), why);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_at_any_byte_has_one_end_and_no_invented_done() {
    for known in streams().into_iter().map(Known::of) {
        for at in places(&known.stream) {
            cut(&known, at, false);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_at_any_byte_has_one_end_and_no_invented_done() {
    for known in streams().into_iter().map(Known::of) {
        for at in places(&known.stream) {
            cut(&known, at, true);
        }
    }
}

fn text(stream: &str) -> Step {
    Step::Data(Bytes::copy_from_slice(stream.as_bytes()))
}

/// A whole event that says this in its delta.
#[allow(clippy::needless_pass_by_value)]
fn says(delta: Value) -> Step {
    event(
        &json!({ "object": "chat.completion.chunk", "choices": [{ "index": 0, "delta": delta }] }),
    )
}

#[tokio::test(start_paused = true)]
async fn after_commit_comments_pass_at_once_and_as_they_are() {
    for comment in [
        ": PROCESSING\n\n",
        ":\n",
        ": ping\r\n\r\n",
        ":a\r",
        "data: : keepalive\n\n",
    ] {
        let pool = pool([delta("a"), text(comment), Step::Hang]);
        let mut body = Box::pin(pool.open().unwrap().into_body());
        let mut next = || body.frame().now_or_never();
        let first = next().unwrap().unwrap().unwrap().into_data().unwrap();
        assert!(first.starts_with(b"data: {"));
        let second = next().expect("not held back").unwrap().unwrap();
        assert_eq!(second.into_data().unwrap(), comment, "{comment:?}");
        assert!(next().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_comment_between_the_lines_of_an_event_does_not_end_it() {
    let half = "data: {\"choices\":[{\"delta\":\n: ping\n";
    assert!(pool([text(half), Step::Hang]).open().is_none());
    let rest = "data: {\"content\":\"a\"}}]}\n\n";
    let pool = pool([text(half), text(rest), done()]);
    assert_eq!(pool.whole().text(), format!("{half}{rest}data: [DONE]\n\n"));
}

#[tokio::test(start_paused = true)]
async fn an_error_event_before_content_is_a_failover_and_nothing_of_it_leaks() {
    let error = json!({ "error": { "message": "SECRET overloaded", "code": 503 } });
    let named = text(&format!("event: error\ndata: {error}\n\n"));
    let choice = json!({ "choices": [{ "index": 0, "delta": { "content": "" }, "finish_reason": "error",
        "error": { "code": 502, "message": "SECRET" } }] });
    for failing in [event(&error), named, event(&choice)] {
        for before in [vec![], vec![comment()], vec![comment(), role()]] {
            for after in [vec![], vec![done()], vec![delta("SECRET"), done()]] {
                let steps = [before.clone(), vec![failing.clone()], after].concat();
                let why = format!("{steps:?}");
                let pool = pool(steps);
                let whole = pool.whole();
                assert_eq!(whole.body, other(), "{why}");
                assert!(
                    !format!("{:?}", whole.parts.headers).contains("SECRET"),
                    "{why}"
                );
                pool.assert_counts(2, 1, 1, &why);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_event_after_content_passes_as_it_is_and_counts_as_a_failure() {
    let error = json!({ "error": { "message": "overloaded", "code": 503 } });
    for after in [
        vec![],
        vec![done()],
        vec![finish(), done()],
        vec![Step::Break],
    ] {
        let mut steps = vec![role(), delta("a"), event(&error)];
        steps.extend(after.clone());
        let mut expected = String::new();
        for step in &steps {
            if let Step::Data(data) = step {
                expected.push_str(std::str::from_utf8(data).unwrap());
            }
        }
        let pool = pool(steps);
        assert_eq!(pool.whole().text(), expected, "{after:?}");
        pool.assert_counts(1, 0, 1, &format!("{after:?}"));
        let targets = pool.health.snapshot().targets;
        let cooling = targets.iter().find_map(|target| target.cooling).unwrap();
        assert_eq!(cooling.reason.name(), "unavailable", "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_says_nothing_is_empty_and_fails_over() {
    let usage = event(&json!({ "choices": [], "usage": { "total_tokens": 3, "cost": 0 } }));
    for silent in [
        vec![role(), finish(), done()],
        vec![role(), finish()],
        vec![
            role(),
            says(json!({ "content": "" })),
            finish(),
            usage,
            done(),
        ],
        vec![
            says(json!({ "content": null, "tool_calls": [], "refusal": null })),
            finish(),
            done(),
        ],
        vec![says(json!({ "content": " \n" })), finish(), done()],
        vec![done()],
        vec![text("data: [DONE]")],
        vec![comment(), comment(), done()],
    ] {
        let why = format!("{silent:?}");
        let pool = pool(silent);
        let whole = pool.whole();
        assert_eq!(whole.body, other(), "{why}");
        let trail = whole.header("x-free-trail").unwrap();
        assert!(trail.contains("=empty, "), "{trail}: {why}");
        pool.assert_counts(2, 1, 1, &why);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_before_it_says_anything_is_a_failover() {
    for broken in [
        vec![],
        vec![comment()],
        vec![role()],
        vec![Step::Break],
        vec![role(), Step::Break],
        vec![text("<html>busy</html>")],
        vec![text("data: {\"choices\":[{\"delta\":{\"content\":\"half")],
    ] {
        let why = format!("{broken:?}");
        let pool = pool(broken);
        let whole = pool.whole();
        assert_eq!(whole.body, other(), "{why}");
        let trail = whole.header("x-free-trail").unwrap();
        assert!(trail.contains("=unavailable, "), "{trail}: {why}");
        pool.assert_counts(2, 1, 1, &why);
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_an_answer_may_say_commits() {
    for delta in [
        json!({ "content": "a" }),
        json!({ "content": [{ "type": "text", "text": "a" }] }),
        json!({ "tool_calls": [{ "index": 0, "id": "c", "type": "function", "function": { "name": "f", "arguments": "" } }] }),
        json!({ "function_call": { "name": "f", "arguments": "" } }),
        json!({ "reasoning": "hm" }),
        json!({ "reasoning_content": "hm" }),
        json!({ "reasoning_details": [{ "type": "reasoning.text", "text": "hm" }] }),
        json!({ "reasoning_details": [{ "type": "reasoning.encrypted", "data": "aa==" }] }),
        json!({ "refusal": "no" }),
        json!({ "audio": { "data": "UklG" } }),
        json!({ "images": [{ "type": "image_url", "image_url": { "url": "data:image/png;base64,AA" } }] }),
    ] {
        let pool = pool([role(), says(delta.clone()), Step::Hang]);
        assert!(pool.open().is_some(), "{delta}");
    }
}

#[tokio::test(start_paused = true)]
async fn cut_off_by_a_limit_before_its_first_word_is_an_answer() {
    for reason in ["length", "content_filter"] {
        let cut =
            event(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] }));
        let pool = pool([role(), cut, done()]);
        let whole = pool.whole();
        assert_eq!(whole.header("x-free-attempts"), Some("1"), "{reason}");
        assert!(whole.text().contains(reason));
        pool.assert_counts(1, 1, 0, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_finish_reason_without_done_is_a_whole_stream() {
    let pool = pool([role(), delta("a"), finish()]);
    let whole = pool.whole();
    assert!(!whole.text().contains("DONE") && !whole.text().contains("error"));
    pool.assert_counts(1, 1, 0, "finished");
}

#[tokio::test(start_paused = true)]
async fn a_usage_event_without_its_last_line_end_still_arrives() {
    let usage = "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}";
    let pool = pool([delta("a"), finish(), text(usage)]);
    assert!(pool.whole().text().ends_with(usage));
    pool.assert_counts(1, 1, 0, "finished");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_comments_beyond_the_peek_limit_commits() {
    let mut pool = pool((0..100).map(|_| comment()).chain([Step::Hang]));
    pool.stack = pool.stack.clone().fallback(|f| f.peek_limit(2000));
    assert!(pool.open().is_none(), "1400 bytes are no reason");
    pool.stack = pool.stack.clone().fallback(|f| f.peek_limit(1400));
    pool.upstream = Upstream::script([Reply::stream(
        (0..100).map(|_| comment()).chain([Step::Hang]),
    )]);
    assert!(pool.open().is_some());
}

/// A stream of one event of so many chunks, and what of it has been produced and not yet read, at most.
fn huge_event(limit: usize, chunks: usize) -> (usize, usize) {
    const CHUNK: Bytes = Bytes::from_static(&[b'x'; 1000]);
    let produced = Arc::new(AtomicUsize::new(0));
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let stack = stack.fallback(|f| f.peek_limit(limit));
    let counter = Arc::clone(&produced);
    let service = stack.layer(tower::service_fn(move |_: http::Request<_>| {
        let counter = Arc::clone(&counter);
        let before = Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"");
        let after = Bytes::from_static(b"\"}}]}\n\ndata: [DONE]\n\n");
        let parts = std::iter::once(before)
            .chain(std::iter::repeat_n(CHUNK, chunks))
            .chain([after]);
        let frames = parts.map(move |part| {
            counter.fetch_add(part.len(), Ordering::SeqCst);
            Ok::<_, BoxError>(Frame::data(part))
        });
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let response = Response::builder().header("content-type", "text/event-stream");
        std::future::ready(Ok::<_, BoxError>(response.body(body).unwrap()))
    }));
    let response = service
        .oneshot(streamed_chat())
        .now_or_never()
        .unwrap()
        .unwrap();
    let mut body = std::pin::pin!(response.into_body());
    let (mut read, mut most) = (0, 0);
    while let Some(frame) = body.frame().now_or_never().unwrap() {
        most = most.max(produced.load(Ordering::SeqCst) - read);
        read += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(read, produced.load(Ordering::SeqCst));
    assert_eq!(health.snapshot().targets[0].tally.succeeded, 1);
    (read, most)
}

#[tokio::test(start_paused = true)]
async fn an_event_beyond_the_peek_limit_passes_whole_in_bounded_memory() {
    let (read, most) = huge_event(10_000, 5000);
    assert!(read > 5_000_000);
    // By the fallback the peek limit, by the router 4 KiB of a line, and the frames that pass both bounds.
    assert!(most <= 16_000, "{most} bytes are held");
}

#[tokio::test(start_paused = true)]
async fn a_stream_cut_within_an_event_beyond_the_peek_limit_ends_in_an_error_of_its_own() {
    let long = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}",
        "x".repeat(5000)
    );
    let mut pool = pool([text(&long), Step::Break]);
    pool.stack = pool.stack.clone().fallback(|f| f.peek_limit(1000));
    let whole = pool.whole();
    let events = parse(&whole.body);
    let (last, end) = events.last().unwrap();
    assert_eq!(last.json()["error"]["code"], "interrupted");
    assert_eq!(*end, whole.body.len());
    pool.assert_counts(1, 0, 1, "cut");
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_no_content_length() {
    let reply = Reply::words(&["a"]).header("content-length", "12345");
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let whole = send(&stack, &Upstream::script([reply]), streamed_chat()).await;
    assert_eq!(whole.header("content-length"), None);
    assert_eq!(whole.header("content-type"), Some("text/event-stream"));
}

#[tokio::test(start_paused = true)]
async fn trailers_of_a_stream_survive() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let service = stack.layer(tower::service_fn(|_: http::Request<_>| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "abc".parse().unwrap());
        trailers.insert("x-free-model", "another".parse().unwrap());
        let data = [delta("a"), done()]
            .into_iter()
            .filter_map(|step| match step {
                Step::Data(data) => Some(Frame::data(data)),
                _ => None,
            });
        let frames = data
            .chain([Frame::trailers(trailers)])
            .map(Ok::<_, BoxError>);
        let body = StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>()));
        let response = Response::builder().header("content-type", "text/event-stream");
        std::future::ready(Ok::<_, BoxError>(response.body(body).unwrap()))
    }));
    let response = service.oneshot(streamed_chat()).await.unwrap();
    let whole = response.into_body().collect().await.unwrap();
    let trailers = whole.trailers().unwrap();
    assert_eq!(trailers["x-checksum"], "abc");
    assert_eq!(
        trailers.get("x-free-model"),
        None,
        "only the router says that"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cost_in_the_last_chunk_quarantines_the_target() {
    let usage = json!({ "choices": [], "usage": { "total_tokens": 3, "cost": 0.0001 } });
    for ending in ["\n\ndata: [DONE]\n\n", "\n\n", "\n", ""] {
        let pool = pool([
            delta("a"),
            finish(),
            text(&format!("data: {usage}{ending}")),
        ]);
        pool.whole();
        let targets = pool.health.snapshot().targets;
        let quarantined = targets
            .iter()
            .filter(|t| t.state == TargetState::Quarantined);
        assert_eq!(quarantined.count(), 1, "{ending:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_costs_nothing_quarantines_nobody() {
    let usage = json!({ "choices": [], "usage": { "total_tokens": 3, "cost": 0 } });
    let pool = pool([delta("a"), finish(), event(&usage), done()]);
    pool.whole();
    let targets = pool.health.snapshot().targets;
    assert!(targets.iter().all(|t| t.state != TargetState::Quarantined));
}

#[tokio::test(start_paused = true)]
async fn a_cost_in_any_event_quarantines_the_target_at_once() {
    let surrogate = r#"data: {"choices":[{"delta":{"content":"\ud83d"}}],"usage":{"cost":0.1}}"#;
    let gateway = r#"data: {"choices":[{"delta":{"content":"a","provider_metadata":{"gateway":{"cost":"0.1"}}}}]}"#;
    for paid in [surrogate, gateway] {
        let pool = pool([delta("a"), text(&format!("{paid}\n\n")), Step::Hang]);
        let mut body = Box::pin(pool.open().unwrap().into_body());
        while body.frame().now_or_never().is_some() {}
        let targets = pool.health.snapshot().targets;
        let quarantined = targets
            .iter()
            .filter(|t| t.state == TargetState::Quarantined);
        assert_eq!(quarantined.count(), 1, "{paid}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cost_in_an_event_beyond_the_peek_limit_quarantines_the_target() {
    let image = format!(
        "data: {{\"choices\":[{{\"delta\":{{\"images\":[\"{}\"]}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"cost\":0.04}}}}\n\n",
        "x".repeat(5000)
    );
    for steps in [vec![text(&image)], bytewise(&Bytes::from(image.clone()))] {
        let mut pool = pool(steps.into_iter().chain([done()]));
        pool.stack = pool.stack.clone().fallback(|f| f.peek_limit(1000));
        assert!(pool.whole().text().starts_with(&image));
        let targets = pool.health.snapshot().targets;
        let quarantined = targets
            .iter()
            .filter(|t| t.state == TargetState::Quarantined);
        assert_eq!(quarantined.count(), 1);
    }
}

/// A chunk about one of several choices.
fn of_choice(index: u32, text: &str, finish: Option<&str>) -> Step {
    event(
        &json!({ "choices": [{ "index": index, "delta": { "content": text }, "finish_reason": finish }] }),
    )
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_several_choices_is_whole_when_each_has_its_end() {
    let (first, second) = (of_choice(0, "a", None), of_choice(1, "b", None));
    let (end, other_end) = (
        of_choice(0, "", Some("stop")),
        of_choice(1, "", Some("length")),
    );
    for (steps, whole) in [
        (vec![first.clone(), second.clone(), end.clone()], false),
        (
            vec![
                first.clone(),
                second.clone(),
                end.clone(),
                other_end.clone(),
            ],
            true,
        ),
        // One after the other.
        (vec![first.clone(), end.clone(), second.clone()], false),
        (
            vec![first.clone(), end.clone(), second.clone(), other_end],
            true,
        ),
        (vec![first, second, end, done()], true),
    ] {
        let why = format!("{steps:?}");
        let pool = pool(steps);
        let seen = pool.whole();
        assert_eq!(!seen.text().contains("interrupted"), whole, "{why}");
        pool.assert_counts(1, u64::from(whole), u64::from(!whole), &why);
    }
}

#[tokio::test(start_paused = true)]
async fn a_choice_that_ends_without_its_last_line_end_does_not_run_into_the_error_that_is_appended()
{
    let end = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let pool = pool([of_choice(0, "a", None), of_choice(1, "b", None), text(end)]);
    let whole = pool.whole();
    let events = parse(&whole.body);
    let (last, at) = events.last().unwrap();
    assert_eq!(
        (&last.json()["error"]["code"], *at),
        (&json!("interrupted"), whole.body.len())
    );
    pool.assert_counts(1, 0, 1, "cut");
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_in_json_is_no_first_token() {
    for notice in [
        json!({ "status": "queued" }),
        json!({ "status": "processing", "queue_position": 2, "message": "soon" }),
        json!({ "type": "keep-alive" }),
    ] {
        let pool = pool([event(&notice), event(&notice), Step::Hang]);
        assert!(pool.open().is_none(), "{notice}");
    }
    let notice = event(&json!({ "status": "queued" }));
    let pool = pool([notice, delta("a"), finish(), done()]);
    assert!(
        pool.whole()
            .text()
            .starts_with("data: {\"status\":\"queued\"}")
    );
    pool.assert_counts(1, 1, 0, "it passes in front of the answer");
}

/// What a caller sees of a stream whose error event echoes the key, after content.
fn echoed(steps: Vec<Step>) -> String {
    let pool = pool(steps);
    let whole = pool.whole();
    pool.assert_counts(1, 0, 1, "it fails");
    whole.text().to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_error_event_after_content_is_redacted_however_it_is_split() {
    for error in [
        r#"data: {"error":{"message":"bad key key-of-a, or key-of-b","code":401}}"#,
        r#"data: {"error":{"message":"bad key \u006bey-of-a, or key\u002dof-b","code":401}}"#,
    ] {
        let error = Bytes::from(format!("{error}\n\n"));
        for at in 0..=error.len() {
            let steps = vec![delta("a"), data(&error, ..at), data(&error, at..), done()];
            let seen = echoed(steps);
            // One of the two answers; its own key is the one that it was given.
            assert!(seen.contains("redacted"), "{at}: {seen}");
            assert!(
                seen.ends_with("\"code\":401}}\n\ndata: [DONE]\n\n"),
                "{at}: {seen}"
            );
        }
        // In one frame with the content before it, and without its last line end.
        let Step::Data(content) = delta("a") else {
            panic!("a delta is data")
        };
        let together = Bytes::from([&content[..], &error[..]].concat());
        assert!(echoed(vec![Step::Data(together)]).contains("redacted"));
        let unended = error.slice(..error.len() - 2);
        assert!(echoed(vec![delta("a"), Step::Data(unended)]).contains("redacted"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_error_passes_as_it_is_whatever_it_says() {
    let pool = pool([delta("key-of-a key-of-b"), finish(), done()]);
    assert!(pool.whole().text().contains("key-of-a key-of-b"));
}

#[tokio::test(start_paused = true)]
async fn an_error_in_mid_stream_is_classified_with_the_head_and_the_endpoint_of_its_response() {
    // GitHub Models says in a header whose limit it is.
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let classify = move |evidence: &Evidence<'_>| {
        let whose = evidence.headers.get("x-ratelimit-type").cloned();
        noted.lock().unwrap().push((whose, evidence.endpoint));
        DefaultClassify.classify(evidence)
    };
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let stack = stack.fallback(|f| f.classify(classify));
    let error = event(&json!({ "error": { "message": "slow down", "code": 429 } }));
    let reply = Reply::stream([delta("a"), error]).header("x-ratelimit-type", "UserByMinute");
    send(&stack, &Upstream::script([reply]), streamed_chat()).await;
    let whose = Some(http::HeaderValue::from_static("UserByMinute"));
    assert_eq!(*seen.lock().unwrap(), [(whose, Endpoint::ChatCompletions)]);
}
