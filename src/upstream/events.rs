//! Finds the events of a stream, however its bytes are split.
//!
//! The format is <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>: lines end in
//! LF, CR or CRLF, an event ends in an empty line, a line that starts with a colon is a comment.

use memchr::memchr2;

use crate::{
    json::is_json,
    upstream::{follow::Follow, meaning::Meaning, template::Template},
};

/// An event's name is cut beyond this many bytes; the names that are known are shorter.
const MAX_NAME: usize = 64;

/// What a line may hold besides the value of its field: a byte order mark, the field's name, and an event's name.
const MAX_FIELD: usize = 16 + MAX_NAME;

/// Buffers above this many bytes are released after the event that needed them.
const KEEP: usize = 16 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Reads the events of a stream. Holds at most one event, of at most `max_event` bytes of data.
#[derive(Debug)]
pub(crate) struct EventReader {
    max_event: usize,
    /// The start of a line whose end has not been seen.
    line: Vec<u8>,
    /// That line was too long to be held: it is followed as it passes, for the cost that it may report.
    line_followed: bool,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    /// No line has ended yet: a byte order mark may stand here.
    at_start: bool,
    event: Pending,
    template: Template,
}

/// The event whose fields are being read.
#[derive(Debug, Default)]
struct Pending {
    name: Vec<u8>,
    data: Vec<u8>,
    /// There was a `data` field, be it empty.
    has_data: bool,
    /// There was a field that counts; cutting the stream here would leave it dangling.
    open: bool,
    /// The data outgrew the reader and is not held: it is followed as it passes, for the cost that it may report.
    overflown: Option<Box<Follow>>,
}

impl EventReader {
    /// A reader for a new stream.
    pub(crate) fn new(max_event: usize) -> Self {
        Self {
            max_event,
            line: Vec::new(),
            line_followed: false,
            after_cr: false,
            at_start: true,
            event: Pending::default(),
            template: Template::default(),
        }
    }

    /// Feeds the next bytes of the stream.
    ///
    /// Calls `each` for every event that these bytes complete, with what it means and the offset in `chunk` just past
    /// the empty line that ends it. An empty line ends with its CR: of a CRLF the LF is not waited for, and not counted
    /// in. By the standard, an event without data is not dispatched.
    ///
    /// Returns how many bytes of `chunk` end at a point where the stream may be cut: past an event, or past comments
    /// and empty lines with no field before them; 0 if there is no such point in this chunk.
    pub(crate) fn push(&mut self, chunk: &[u8], each: &mut dyn FnMut(Meaning, usize)) -> usize {
        let mut at = 0;
        let mut safe = 0;
        while let Some(&first) = chunk.get(at) {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                at += 1;
                if !self.event.open {
                    safe = at;
                }
                continue;
            }
            let rest = &chunk[at..];
            let Some(length) = memchr2(b'\n', b'\r', rest) else {
                self.hold(rest);
                break;
            };
            self.after_cr = rest[length] == b'\r';
            at += length + 1;
            if let Some(meaning) = self.end_line(&rest[..length]) {
                each(meaning, at);
            }
            if !self.event.open {
                safe = at;
            }
        }
        safe
    }

    /// Whether the stream may end here: no event is pending, or one that lacks nothing but its blank line. Ends the
    /// last line, so nothing may be pushed after this.
    pub(crate) fn ends_whole(&mut self) -> bool {
        if !self.line.is_empty() {
            self.end_line(&[]);
        }
        self.event.is_whole()
    }

    /// Ends the stream. Returns the event that was not terminated, if there is one.
    ///
    /// A server may end `data: [DONE]` without an empty line. JSON that was cut says nothing.
    pub(crate) fn finish(&mut self) -> Option<Meaning> {
        if !self.line.is_empty() {
            self.end_line(&[]);
        }
        self.event.dispatch(&mut self.template)
    }

    /// Whether a field or a partial line stands without its end.
    #[cfg(test)]
    pub(crate) fn pending(&self) -> bool {
        self.event.open || !self.line.is_empty()
    }

    /// Holds the start of a line. A line longer than the longest event is cut, and its value is then too long as well.
    fn hold(&mut self, part: &[u8]) {
        let room = (self.max_event - self.event.data.len().min(self.max_event) + MAX_FIELD)
            .saturating_sub(self.line.len());
        let (held, over) = part.split_at(part.len().min(room));
        self.line.extend_from_slice(held);
        if over.is_empty() {
            return;
        }
        let line = self.line.strip_prefix(BYTE_ORDER_MARK);
        let line = line.filter(|_| self.at_start).unwrap_or(&self.line);
        // Only `data` can report a cost; the cut end of another field is not needed.
        if let Some(value) = line.strip_prefix(b"data:") {
            let follow = self.event.outgrow();
            if !std::mem::replace(&mut self.line_followed, true) {
                follow.push(value);
            }
            follow.push(over);
        }
    }

    /// Takes a line, of which `tail` was not held yet. Returns the event that it ends, if it is empty.
    fn end_line(&mut self, tail: &[u8]) -> Option<Meaning> {
        let mut held = Vec::new();
        let mut line = tail;
        if !self.line.is_empty() {
            self.hold(tail);
            held = std::mem::take(&mut self.line);
            line = &held;
        }
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        let followed = std::mem::take(&mut self.line_followed);
        let meaning = if line.is_empty() {
            self.event.dispatch(&mut self.template)
        } else {
            self.event.field(line, self.max_event, followed);
            None
        };
        if held.capacity() > 0 {
            held.clear();
            held.shrink_to(KEEP);
            self.line = held;
        }
        meaning
    }
}

impl Pending {
    /// Takes a line that is not empty. One that was too long is cut, and was `followed`.
    fn field(&mut self, line: &[u8], max_event: usize, followed: bool) {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                self.open = true;
                if let Some(follow) = &mut self.overflown {
                    if !followed {
                        follow.push(value);
                    }
                    self.has_data = true;
                    return;
                }
                // One line feed for each line but the first.
                let length = self.data.len() + usize::from(self.has_data) + value.len();
                if length > max_event {
                    self.outgrow().push(value);
                } else {
                    if self.has_data {
                        self.data.push(b'\n');
                    }
                    self.data.extend_from_slice(value);
                }
                self.has_data = true;
            }
            b"event" => {
                self.open = true;
                self.name.clear();
                self.name
                    .extend_from_slice(&value[..value.len().min(MAX_NAME)]);
            }
            b"id" => self.open = true,
            // A comment, `retry`, or something to ignore.
            _ => {}
        }
    }

    /// Lets go of the data that is held, and follows it and what comes after it.
    fn outgrow(&mut self) -> &mut Follow {
        let Self {
            data, overflown, ..
        } = self;
        overflown.get_or_insert_with(|| {
            let mut follow = Box::new(Follow::event());
            follow.push(&std::mem::take(data));
            follow
        })
    }

    /// Whether the data, if there is any, is complete.
    fn is_whole(&self) -> bool {
        if !self.has_data {
            return true;
        }
        let data = self.data.trim_ascii();
        match data.first() {
            Some(b'{' | b'[') => data == b"[DONE]" || is_json(&String::from_utf8_lossy(data)),
            Some(_) => true,
            None => false,
        }
    }

    /// Ends the event.
    fn dispatch(&mut self, template: &mut Template) -> Option<Meaning> {
        let meaning = self.has_data.then(|| match self.overflown.take() {
            Some(follow) => Meaning::too_long(&follow),
            None => template.read(&self.name, &self.data),
        });
        self.name.clear();
        self.data.clear();
        self.data.shrink_to(KEEP);
        self.has_data = false;
        self.open = false;
        self.overflown = None;
        meaning
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1 << 20;

    /// Everything a reader tells of a stream: the events at their absolute offsets, the last safe point, what the end
    /// means.
    #[derive(Debug, PartialEq)]
    struct Told {
        events: Vec<(Meaning, usize)>,
        safe: usize,
        pending: bool,
        end: Option<Meaning>,
    }

    fn tell<'a>(max: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Told {
        let mut reader = EventReader::new(max);
        let (mut events, mut safe, mut base) = (Vec::new(), 0, 0);
        for chunk in chunks {
            let cut = reader.push(chunk, &mut |meaning, at| events.push((meaning, base + at)));
            assert!(cut <= chunk.len());
            if cut > 0 {
                safe = base + cut;
            }
            base += chunk.len();
        }
        Told {
            events,
            safe,
            pending: reader.pending(),
            end: reader.finish(),
        }
    }

    fn whole(stream: &[u8]) -> Told {
        tell(MAX, [stream])
    }

    fn byte_by_byte(stream: &[u8]) -> Told {
        tell(MAX, stream.chunks(1))
    }

    fn recorded() -> Vec<(String, Vec<u8>)> {
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/streams");
        let theirs = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../shared/data/streams/extracted"
        );
        let ours = std::fs::read_dir(ours).expect("our own are always there");
        let mut streams: Vec<_> = ours
            .chain(std::fs::read_dir(theirs).into_iter().flatten())
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

    const CHAT: &str = concat!(
        ": PROCESSING\n\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"né 🦀\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n",
    );

    fn content() -> Meaning {
        Meaning {
            content: true,
            ..Meaning::default()
        }
    }

    #[test]
    fn the_first_content_of_a_chat_is_its_first_text() {
        let told = whole(CHAT.as_bytes());
        let contents: Vec<_> = told.events.iter().map(|(m, _)| m.content).collect();
        assert_eq!(contents, [false, true, false, false]);
        let finished: Vec<_> = told.events.iter().map(|(m, _)| m.finished).collect();
        assert_eq!(finished, [false, false, true, true]);
        assert_eq!(told.safe, CHAT.len());
        assert_eq!(told.end, None);
    }

    #[test]
    fn every_split_in_two_tells_the_same() {
        for ending in ["\n", "\r", "\r\n"] {
            let stream = CHAT.replace('\n', ending);
            let expected = whole(stream.as_bytes());
            for at in 0..=stream.len() {
                let (a, b) = stream.as_bytes().split_at(at);
                assert_eq!(tell(MAX, [a, b]), expected, "{ending:?} at {at}");
            }
            assert_eq!(byte_by_byte(stream.as_bytes()), expected, "{ending:?}");
        }
    }

    #[test]
    fn a_lone_cr_ends_a_line_at_once() {
        let mut reader = EventReader::new(MAX);
        let mut seen = Vec::new();
        assert_eq!(
            reader.push(b"data: [DONE]\r", &mut |_, at| seen.push(at)),
            0
        );
        assert_eq!(reader.push(b"\r", &mut |_, at| seen.push(at)), 1);
        assert_eq!(seen, [1]);
        // The LF of a CRLF completes nothing.
        assert_eq!(reader.push(b"\n", &mut |_, at| seen.push(at)), 1);
        assert_eq!(seen, [1]);
    }

    #[test]
    fn an_event_is_joined_from_its_data_lines() {
        let told =
            whole(b"data: {\"choices\":[{\"delta\":\ndata:{\"content\"\ndata::\"x\"}}]}\n\n");
        let (meaning, at) = &told.events[0];
        assert_eq!((told.events.len(), meaning.content, *at), (1, true, 59));
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_start_only() {
        assert!(whole(b"\xEF\xBB\xBFdata: [DONE]\n\n").events[0].0.done);
        assert_eq!(whole(b"\n\xEF\xBB\xBFdata: [DONE]\n\n").events, []);
    }

    #[test]
    fn keep_alives_mean_nothing() {
        for line in [
            ": ping",
            ":",
            "data: : keepalive",
            "data: {\"type\":\"ping\"}",
            "event: ping\ndata: {}",
            "data:",
            "data",
            "event: ping",
            "retry: 100",
            "nonsense",
        ] {
            let told = whole(format!("{line}\n\n").as_bytes());
            for (meaning, _) in &told.events {
                assert_eq!(*meaning, Meaning::default(), "{line}");
            }
            assert_eq!(told.safe, line.len() + 2);
            assert!(!told.pending);
        }
    }

    #[test]
    fn a_stream_may_be_cut_after_comments_but_not_after_a_field() {
        let safe = |stream: &str| whole(stream.as_bytes()).safe;
        assert_eq!(safe(": a\n"), 4);
        assert_eq!(safe(": a\n: b"), 4);
        assert_eq!(safe("\n\n"), 2);
        assert_eq!(safe("data: x\n"), 0);
        assert_eq!(safe("data: x\n: a\n"), 0);
        assert_eq!(safe("event: x\n"), 0);
        assert_eq!(safe("id: 1\n"), 0);
        assert_eq!(safe("data: x\n\n: a\ndata"), 13);
    }

    #[test]
    fn an_unterminated_end_is_read_when_the_stream_ends() {
        for end in ["data: [DONE]", "data: [DONE]\n", "data:[DONE]\r"] {
            let told = whole(end.as_bytes());
            assert!(told.pending, "{end:?}");
            assert!(told.end.unwrap().done, "{end:?}");
        }
        assert_eq!(whole(b": comment").end, None);
        assert_eq!(whole(b"").end, None);
        assert_eq!(
            whole(b"data: {\"choices\":[{\"finish_reason\":\"stop\"").end,
            Some(Meaning::default())
        );
    }

    #[test]
    fn an_event_that_outgrows_the_reader_is_content_and_is_not_held() {
        let mut reader = EventReader::new(100);
        let mut seen = Vec::new();
        reader.push(b"data: ", &mut |m, _| seen.push(m));
        for _ in 0..1000 {
            reader.push(&[b'x'; 100], &mut |m, _| seen.push(m));
            assert!(reader.line.len() + reader.event.data.len() <= 100 + MAX_FIELD);
        }
        reader.push(b"\ndata: y", &mut |m, _| seen.push(m));
        reader.push(b"\n\ndata: [DONE]\n\n", &mut |m, _| seen.push(m));
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], content());
        assert!(seen[1].done);
    }

    #[test]
    fn a_cost_is_seen_in_an_event_that_outgrows_the_reader() {
        let image = "x".repeat(500);
        for (stream, billed) in [
            (
                format!("data: {{\"b64_json\":\"{image}\",\"usage\":{{\"cost\":0.1}}}}\n\n"),
                true,
            ),
            (
                format!("data: {{\"b64_json\":\"{image}\",\"usage\":{{\"cost\":0}}}}\n\n"),
                false,
            ),
            (
                format!("data:{{\"usage\":{{\"cost\":0.1}},\ndata:\"b64_json\":\"{image}\"}}\n\n"),
                true,
            ),
            (
                format!(
                    "data: {{\"b64_json\":\ndata: \"{image}\"\ndata: ,\"usage\":{{\"cost\":0.1}}}}\n\n"
                ),
                true,
            ),
            (
                format!(
                    ": {image}{{\"usage\":{{\"cost\":1}}}}\n\ndata: {{\"b64_json\":\"{image}\"}}\n\n"
                ),
                false,
            ),
        ] {
            for size in [1, 7, 100, 10_000] {
                let told = tell(100, stream.as_bytes().chunks(size));
                let (meaning, _) = &told.events[0];
                assert_eq!(
                    (meaning.billed, meaning.content),
                    (billed, true),
                    "{stream} by {size}"
                );
                assert_eq!(told.events.len(), 1, "{stream} by {size}");
            }
        }
    }

    #[test]
    fn finished_is_seen_only_when_the_finishing_event_is_complete() {
        let stream = CHAT.as_bytes();
        let complete = CHAT.find("\"stop\"}]}").unwrap() + "\"stop\"}]}".len();
        for at in 0..stream.len() {
            let told = whole(&stream[..at]);
            let finished =
                told.events.iter().any(|(m, _)| m.finished) || told.end.is_some_and(|m| m.finished);
            assert_eq!(finished, at >= complete, "cut at {at}");
        }
    }

    #[test]
    fn recorded_streams_finish_with_content_at_every_split_alike() {
        for (name, stream) in recorded() {
            let expected = whole(&stream);
            assert!(expected.events.iter().any(|(m, _)| m.content), "{name}");
            let ended = expected
                .events
                .iter()
                .any(|(m, _)| m.finished || m.error.is_some());
            assert!(ended, "{name}");
            assert_eq!(byte_by_byte(&stream), expected, "{name}");
            // At the end of an event the reader is as new, so a split of the stream is a split of one event. The
            // events in the middle of a stream are alike.
            let mut ends: Vec<_> = expected.events.iter().map(|&(_, at)| at).collect();
            ends.insert(0, 0);
            let events: Vec<_> = ends
                .windows(2)
                .map(|pair| &stream[pair[0]..pair[1]])
                .collect();
            let middle = 8..events.len().saturating_sub(4);
            for (nth, event) in events
                .iter()
                .enumerate()
                .filter(|(nth, _)| !middle.contains(nth))
            {
                let expected = whole(event);
                // A sample: this walk is quadratic, and every split of a small stream stands above.
                for at in (0..=event.len()).step_by(1 + event.len() / 16) {
                    let (a, b) = event.split_at(at);
                    assert_eq!(tell(MAX, [a, b]), expected, "{name}, event {nth}, at {at}");
                }
            }
        }
    }

    #[test]
    fn recorded_events_mean_the_same_alone_and_among_others() {
        for (name, stream) in recorded() {
            let mut from = 0;
            for (meaning, at) in whole(&stream).events {
                let alone = whole(&stream[from..at]).events;
                assert_eq!(alone, [(meaning, at - from)], "{name} at {from}");
                from = at;
            }
        }
    }

    #[test]
    fn recorded_streams_can_be_cut_anywhere() {
        for (name, stream) in recorded() {
            let expected = whole(&stream);
            let Some(&(_, end)) = expected.events.iter().find(|(m, _)| m.finished) else {
                continue;
            };
            let mut reader = EventReader::new(MAX);
            let mut finished = false;
            for (at, byte) in stream[..end].iter().enumerate() {
                assert!(!finished, "{name} at {at}");
                reader.push(&[*byte], &mut |meaning, _| finished |= meaning.finished);
            }
            assert!(finished, "{name}");
        }
    }

    #[test]
    fn recorded_chunks_of_other_vendors_have_content_and_an_end() {
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/answers");
        let theirs = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../shared/data/streams/vercel-ai"
        );
        let ours = std::fs::read_dir(ours).expect("our own are always there");
        let theirs = std::fs::read_dir(theirs).into_iter().flatten();
        for file in ours
            .chain(theirs)
            .flatten()
            .flat_map(|vendor| std::fs::read_dir(vendor.path()).unwrap())
            .flatten()
        {
            let name = file.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".chunks.txt") {
                continue;
            }
            let lines = std::fs::read_to_string(file.path()).unwrap();
            let stream: String = lines
                .lines()
                .map(|line| format!("data: {line}\n\n"))
                .collect();
            let events = whole(stream.as_bytes()).events;
            let any = |of: fn(&Meaning) -> bool| events.iter().any(|(meaning, _)| of(meaning));
            assert!(any(|m| m.content) || name.contains("-error"), "{name}");
            // Interactions and realtime sessions are APIs of their own; the wrapper was recorded in part.
            let foreign = ["interactions", "speech-translation", "wrapper"];
            if !foreign.iter().any(|api| name.contains(api)) {
                assert!(any(|m| m.finished || m.error.is_some()), "{name}");
            }
        }
    }

    /// Bytes in which the signs that mean something are common.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            prop::sample::select(vec![
                "\n",
                "\r",
                "\r\n",
                "\n\n",
                "data:",
                "data: ",
                "event: error",
                "id: 1",
                ":",
                "[DONE]",
                "{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}",
                "{\"error\":\"e\"}",
                "\u{feff}",
                "🦀",
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_tell_the_same_in_any_split(
            stream in noise(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            max in prop_oneof![Just(MAX), 0..40_usize],
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
            prop_assert_eq!(tell(max, chunks), tell(max, [&stream[..]]));
        }
    }
}
