use std::ops::Range;

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

use super::*;
use crate::{
    endpoint::Endpoint,
    provider::{Dialect, Rule, dialect::rules},
    refusal::Refusal,
    request::{
        Envelope, Recipient,
        admit::{Admitted, Format},
    },
};

/// The shortest run that the tests have: so that short bodies have holes.
const SHORT: usize = KEPT + 50;

/// Of which frames of this size and above are kept as they came.
fn assembled_with(large: usize, frames: &[Bytes]) -> Collected {
    let mut assembly = Assembly {
        large,
        shortest_run: SHORT,
        ..Assembly::default()
    };
    for frame in frames {
        assembly.push(frame.clone());
    }
    assembly.finish()
}

fn assembled(frames: &[Bytes]) -> Collected {
    assembled_with(SHORT, frames)
}

/// The body cut at these places.
fn cut(body: &Bytes, at: &[usize]) -> Vec<Bytes> {
    let mut at = [at, &[0, body.len()]].concat();
    at.sort_unstable();
    let frames = at.windows(2).map(|ends| body.slice(ends[0]..ends[1]));
    frames.collect()
}

fn chat() -> Admitted {
    json(Endpoint::ChatCompletions)
}

fn json(endpoint: Endpoint) -> Admitted {
    Admitted {
        endpoint,
        format: Format::Json,
    }
}

/// All that comes of a body: why it is refused, or what was found in it and what is sent.
fn outcome(endpoint: Endpoint, body: &mut Collected) -> Result<String, String> {
    let refused = |refusal: Refusal| {
        let response = refusal.into_response();
        format!("{} {:?}", response.status(), response.body())
    };
    let found = json(endpoint).read(body).map_err(refused)?;
    let Envelope {
        requested,
        dropped,
        needs,
        ..
    } = &found;
    let said = (
        (requested, dropped, needs.stream, needs.hard, needs.soft),
        (needs.output_tokens, needs.prompt_tokens(), &needs.state),
        [100, 1000, 2000, 3000].map(|window| needs.fits(window)),
    );
    let dialect = Dialect {
        fields: rules(&[
            ("prompt", Rule::Rename("input".into())),
            ("user", Rule::Drop),
        ]),
        message_fields: vec!["name".into(), "images".into()],
        developer_role: false,
        ..Dialect::OPENAI
    };
    let done = found.rewrite(body, &Recipient::new("a/model", &dialect));
    let told = (done.body.len(), done.dropped, done.adjusted);
    let sent = done.body.collect::<Vec<_>>().concat();
    assert_eq!(told.0, sent.len() as u64);
    Ok(format!("{said:?} {told:?} {}", sent.escape_ascii()))
}

/// A question about an image, and where the run of plain bytes is that the image is in.
fn with_image() -> (Bytes, Range<usize>) {
    let image = "iVBORw0KGgo/".repeat(1000);
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{image}"}}}}]}}],"model":"m"}}"#
    );
    let start = body.find("data:").unwrap();
    let end = start + body[start..].find('"').unwrap();
    (body.into(), start..end)
}

#[test]
fn only_the_beginning_of_an_image_is_copied_and_read() {
    let (body, run) = with_image();
    for frames in [&[1000][..], &[3000, 6000, 9000], &[run.start, run.end]] {
        let mut collected = assembled(&cut(&body, frames));
        let kept = body.len() - run.len() + KEPT;
        assert_eq!(
            (collected.text().len(), collected.len()),
            (kept, body.len())
        );
        assert!(
            collected
                .holes()
                .iter()
                .all(|hole| hole.at == run.start + KEPT)
        );
        assert!(chat().read(&mut collected).is_ok());
        assert_eq!(collected.text().len(), kept, "it is not joined to be read");
    }
}

#[test]
fn a_hole_in_no_value_that_may_have_one_is_joined() {
    let run = "A/".repeat(2000);
    for body in [
        format!(r#"{{"{run}":1}}"#),
        format!(r#"{{"model":"{run}"}}"#),
        format!(r#"{{"model":{run}}}"#),
        format!(r#"{{"models":["{run}"]}}"#),
        format!(r#"{{"tools":[{{"type":"function","name":"{run}"}}]}}"#),
        format!(r#"{{"messages":[{run}]}}"#),
        format!(r#"{{"messages":["{run}]}}"#),
        format!(r#"{{"messages":["\{run}"]}}"#),
        format!("{run}{{}}"),
        format!("{{}}{run}"),
        run,
    ] {
        let body = Bytes::from(body);
        let mut collected = assembled(&cut(&body, &[1000, 2000]));
        assert!(!collected.holes().is_empty());
        let expected = outcome(Endpoint::ChatCompletions, &mut body.clone().into());
        assert_eq!(outcome(Endpoint::ChatCompletions, &mut collected), expected);
        assert_eq!((collected.holes().len(), collected.text()), (0, &body));
    }
}

#[test]
fn what_could_stand_between_tokens_is_joined() {
    for run in [" ", "1", "[", "{}", ",", "true ", "-1.5e+7,"] {
        let body = Bytes::from(format!("[{}", run.repeat(3000)));
        let collected = assembled(&cut(&body, &[1500, 2500]));
        assert_eq!(
            (collected.holes().len(), collected.text()),
            (0, &body),
            "{run}"
        );
    }
}

#[test]
fn small_frames_take_no_more_than_the_bytes_that_came() {
    for frame in [1, 7, LONG - 1, LARGE - 1] {
        let mut assembly = Assembly::of_json();
        for came in 1..8.max(100_000 / frame) {
            assembly.push(Bytes::from(vec![b'x'; frame]));
            let parts: usize = assembly.parts.iter().map(Bytes::len).sum();
            let holes = assembly.holes.iter().map(|hole| hole.bytes.len());
            assert_eq!(
                parts + holes.sum::<usize>() + assembly.last.len() + assembly.first.len(),
                came * frame
            );
            assert!(assembly.last.capacity() <= 2 * PART);
        }
        assert!(assembly.parts.len() < 7);
    }
}

#[test]
fn a_small_frame_of_a_large_read_buffer_does_not_hold_the_buffer() {
    for what in [b'x', b'"', b' '] {
        for len in [1, 1000, LONG - 1, LONG, LARGE - 1] {
            for mut assembly in [Assembly::of_json(), Assembly::of_bytes()] {
                let buffers: Vec<_> = (0..3)
                    .map(|_| Bytes::from(vec![what; 400 * 1024]))
                    .collect();
                for buffer in &buffers {
                    assembly.push(buffer.slice(buffer.len() - len..));
                }
                let is_held = |buffer: &&Bytes| !buffer.is_unique();
                assert_eq!(buffers.iter().filter(is_held).count(), 0, "{what} {len}");
                assert_eq!(assembly.finish().len(), 3 * len);
            }
        }
    }
}

#[test]
fn a_large_frame_is_not_copied() {
    let buffer = Bytes::from(vec![b'x'; 2 * LARGE]);
    let mut assembly = Assembly::of_json();
    assembly.push(buffer.slice(..LARGE));
    assembly.push(buffer.slice(LARGE..));
    let holes = assembly.finish().holes().to_vec();
    let places: Vec<_> = holes.iter().map(|hole| hole.bytes.as_ptr()).collect();
    assert_eq!(places, [KEPT, LARGE].map(|at| buffer[at..].as_ptr()));
}

#[test]
fn the_value_of_a_rule_is_compared_with_all_of_a_value_that_has_a_hole() {
    let body = Bytes::from(format!(r#"{{"user":"{}","model":"m"}}"#, "A".repeat(4000)));
    let collected = assembled(&cut(&body, &[1500]));
    assert_eq!(collected.holes().len(), 2);
    let value = |len| format!("\"{}\"", "A".repeat(len));
    let in_text = collected.text().len() - r#"{"user":"","model":"m"}"#.len();
    for (old, is_replaced) in [
        (value(4000), true),
        (value(in_text), false),
        (value(4001), false),
    ] {
        let dialect = Dialect {
            fields: rules(&[("user", Rule::Replace(old, "0".into()))]),
            ..Dialect::OPENAI
        };
        let mut collected = collected.clone();
        let found = chat().read(&mut collected).unwrap();
        assert!(!collected.holes().is_empty());
        let done = found.rewrite(&collected, &Recipient::new("m", &dialect));
        let expected = match is_replaced {
            true => Bytes::from(r#"{"user":0,"model":"m"}"#),
            false => body.clone(),
        };
        assert_eq!(done.body.collect::<Vec<_>>().concat(), expected);
    }
}

#[test]
fn a_body_that_may_be_read_as_a_whole_has_no_holes() {
    let (body, _) = with_image();
    let frames = [body, Bytes::from(vec![b'x'; 2 * LARGE])];
    let holes = |endpoint| {
        let mut assembly = json(endpoint).assembly();
        frames.iter().for_each(|frame| assembly.push(frame.clone()));
        assembly.finish().holes().len()
    };
    assert_eq!(holes(Endpoint::ImageGenerations), 0);
    assert_eq!(holes(Endpoint::ChatCompletions), 1);
}

#[test]
fn large_frames_are_copied_once_to_a_buffer_of_their_size() {
    let frames = [200_000, 100, LARGE, 300_000].map(|len| Bytes::from(vec![b'"'; len]));
    let mut assembly = Assembly::of_bytes();
    for frame in &frames {
        assembly.push(frame.clone());
    }
    let kept: Vec<_> = assembly.parts.iter().map(|part| part.as_ptr()).collect();
    assert_eq!(
        [kept[0], kept[2], kept[3]],
        [0, 2, 3].map(|at| frames[at].as_ptr())
    );
    let text = assembly.finish().joined();
    let len = 500_100 + LARGE;
    assert_eq!(text.len(), len);
    let capacity = text.try_into_mut().unwrap().capacity();
    assert_eq!(capacity, len);
}

/// A piece of a body: a long run of one kind of character, or a few characters that mean something in JSON.
fn piece() -> impl Strategy<Value = String> {
    /// Only the first four can be holes.
    const KINDS: [&str; 10] = ["A", "/b", "_", "A-1 ", " ", "1", ",", "é", "\\n", "\\u0041"];
    let kind = prop_oneof![2 => select(&KINDS[..4]), 1 => select(&KINDS[4..])];
    let much = (kind, 700..1500_usize).prop_map(|(what, times)| what.repeat(times));
    let little = select(vec![
        "model",
        "models",
        "tools",
        "type",
        "developer",
        "image_url",
        "data:",
        "\\",
        "\"",
        "\\\"",
        "ü",
        "\u{7f}",
        "",
    ]);
    prop_oneof![much, little.prop_map(str::to_owned)]
}

fn long() -> impl Strategy<Value = String> {
    vec(piece(), 1..4).prop_map(|pieces| pieces.concat())
}

/// Requests of all kinds in which something is long: most of them are not valid.
fn body() -> impl Strategy<Value = String> {
    let frame = select(vec![
        (
            r#"{"messages":[{"role":"user","content":""#,
            r#""},{"role":"developer"}]}"#,
        ),
        (
            r#"{"messages":[{"role":""#,
            r#"","content":"x","name":"y"}]}"#,
        ),
        (
            r#"{"messages":[{"role":"user","content":[{"type":""#,
            r#"","image_url":"x"}]}]}"#,
        ),
        (
            r#"{"messages":[{"content":[{"type":"input_audio","input_audio":""#,
            r#""}]}],"model":"m"}"#,
        ),
        (
            r#"{"messages":[{"content":[{"type":"text","text":""#,
            r#""},{"type":"image_url"}]}],"stream":true}"#,
        ),
        (
            r#"{"messages":[{"images":[""#,
            r#""],"content":"x"}],"max_tokens":5}"#,
        ),
        (
            r#"{"input":[{"type":"item_reference","id":""#,
            r#""}],"prompt":"x"}"#,
        ),
        (r#"{"input":["a",""#, r#"",{"content":"x"}],"model":"m"}"#),
        (r#"{"prompt":""#, r#"","input":"x","user":"y"}"#),
        (r#"{"previous_response_id":""#, r#"","model":"m"}"#),
        (r#"{"model":""#, r#"","stream":true}"#),
        (
            r#"{"tools":[{"type":"function","function":{"name":""#,
            r#""}},{"type":"x"}],"messages":[]}"#,
        ),
        (
            r#"{"tool_choice":{"type":"function","name":""#,
            r#""},"tools":[{"type":"x"},{"function":{}}]}"#,
        ),
        (r#"{""#, r#"":1,"messages":[{"content":null}]}"#),
        (r#"{"messages":["#, "]}"),
        ("", r#"{"model":"m"}"#),
        (r#"{"model":"m"}"#, ""),
    ]);
    (frame, long()).prop_map(|((start, end), long)| format!("{start}{long}{end}"))
}

fn frames() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 1..4)
}

proptest! {
    #[test]
    fn a_body_is_what_its_frames_are(body in body(), frames in frames()) {
        let body = Bytes::from(body);
        let at: Vec<_> = frames.iter().map(|at| at.index(body.len())).collect();
        let frames = cut(&body, &at);
        let collected = assembled(&frames);
        prop_assert_eq!(collected.len(), body.len());
        let segments = collected.segments();
        prop_assert!(collected.is_sent_as(&segments));
        prop_assert_eq!(segments.len(), body.len() as u64);
        prop_assert_eq!(&segments.collect::<Vec<_>>().concat(), &body);
        prop_assert_eq!(collected.joined(), body);
    }

    #[test]
    fn a_body_of_several_frames_is_read_and_sent_like_one(
        body in body(),
        frames in frames(),
        large in select(&[SHORT, 2 * SHORT, usize::MAX][..]),
        endpoint in select(&Endpoint::ALL[..]),
    ) {
        let body = Bytes::from(body);
        let at: Vec<_> = frames.iter().map(|at| at.index(body.len())).collect();
        let mut collected = assembled_with(large, &cut(&body, &at));
        let expected = outcome(endpoint, &mut body.into());
        prop_assert_eq!(outcome(endpoint, &mut collected), expected);
    }

    #[test]
    fn a_run_ends_at_the_first_byte_that_is_not_plain(
        bytes in vec(prop_oneof![50 => Just(b'A'), 1 => any::<u8>()], 0..300),
    ) {
        let ends = |byte: &u8| !matches!(byte, 0x20..=0x7f) || matches!(byte, b'"' | b'\\');
        let first = bytes.iter().position(ends).unwrap_or(bytes.len());
        let last = bytes.iter().rposition(ends).map_or(0, |last| last + 1);
        prop_assert_eq!(plain_at_start(&bytes), first);
        prop_assert_eq!(plain_at_end(&bytes), bytes.len() - last);
    }
}
