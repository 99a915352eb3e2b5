//! A form (`multipart/form-data`: RFC 7578, RFC 2046 5.1): what to change in it, and what it asks for.
//!
//! A form is read as strictly as any client writes it, and what two upstreams could read in two ways is refused: what one
//! of them takes for a `model` must not pass as the content of a file. Names of parts are compared as the most lenient
//! upstream would, like the keys of JSON.

use std::ops::Range;

use memchr::memmem;

use super::{
    error::ScanError,
    fields::Name,
    recipient::{Recipient, note},
};
use crate::{
    endpoint::Endpoint,
    json::{Splice, unescape_percent},
};

/// How many parts a form may have. An honest one has twenty at most, of them 16 images; each one costs memory.
const MAX_PARTS: usize = 256;

/// How long the headers of a part may be, in bytes. Honest ones are below 300, and the name of a file.
const MAX_PART_HEADERS: usize = 8192;

/// The longest boundary there is (RFC 2046 5.1.1).
const LONGEST_BOUNDARY: usize = 70;

/// The longest value of a part that is read, in bytes. No model has a longer name.
const LONGEST_VALUE: usize = 512;

/// How much is kept of a name, in characters: no service knows a longer one, nor its beginning.
const LONGEST_NAME: usize = 65;

/// What a form asks for, and what can change in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    /// The model that the client asked for.
    pub(crate) requested: Option<String>,
    pub(crate) stream: bool,
    /// The parts that are left out because they could cost money, by the names of their fields.
    pub(crate) guarded: Vec<&'static str>,
    boundary: String,
    /// Where the first delimiter begins.
    first: usize,
    has_model: bool,
    /// In the order of the form, and not overlapping.
    parts: Vec<Part>,
}

/// What becomes of a part.
#[derive(Clone, Debug)]
enum Part {
    /// Its headers and content, this span, become those of the model.
    Model(Range<usize>),
    /// It goes, with the delimiter before it.
    Guarded(Range<usize>),
    /// It goes, with the delimiter before it, if the recipient does not know one of these, which could be its name.
    Other(Vec<String>, Range<usize>),
}

impl Form {
    /// Reads a form once, whose `Content-Type` is this.
    pub(crate) fn read(body: &[u8], content_type: &[u8]) -> Result<Self, ScanError> {
        let boundary = boundary(content_type)?;
        let delimiters = delimiters(body, &boundary)?;
        let mut form = Self {
            first: delimiters.first().map_or(0, |first| first.start),
            boundary,
            ..Self::default()
        };
        for pair in delimiters.windows(2) {
            let [before, after] = pair else { continue };
            // The line break before a delimiter is the delimiter's.
            let span = before.next_line..after.start.saturating_sub(2);
            let part = body
                .get(span.clone())
                .ok_or(ScanError::Form("a part of it has no headers"))?;
            form.part(part, span, before.start..after.start)?;
        }
        Ok(form)
    }

    /// Puts a recipient's model in place of whatever the form asked for. The names of the parts that are left out for
    /// that recipient are added to `dropped`.
    pub(crate) fn rewrite(
        &self,
        endpoint: Endpoint,
        to: &Recipient<'_>,
        splice: &mut Splice,
        dropped: &mut Vec<String>,
    ) {
        let model = format!(
            "Content-Disposition: form-data; name=\"model\"\r\n\r\n{}",
            to.model
        );
        if !self.has_model {
            let part = format!("--{}\r\n{model}\r\n", self.boundary);
            splice.replace(self.first..self.first, part);
        }
        let is_unknown = |name: &&String| !to.knows(endpoint, base(name));
        for part in &self.parts {
            match part {
                Part::Model(span) => splice.replace(span.clone(), model.clone()),
                Part::Guarded(span) => splice.cut(span.clone()),
                Part::Other(names, span) => {
                    if let Some(unknown) = names.iter().find(is_unknown) {
                        note(dropped, unknown);
                        splice.cut(span.clone());
                    }
                }
            }
        }
    }

    /// Reads a part: its bytes, where these stand, and the same with the delimiter before it.
    fn part(
        &mut self,
        part: &[u8],
        span: Range<usize>,
        whole: Range<usize>,
    ) -> Result<(), ScanError> {
        let beginning = &part[..part.len().min(MAX_PART_HEADERS)];
        let Some(end) = memmem::find(beginning, b"\r\n\r\n") else {
            let what = "the headers of a part of it do not end, or are too long";
            return Err(ScanError::Form(what));
        };
        let content = value(&part[end + 4..]);
        let mut names = names(&part[..end])?;
        let fields: Vec<_> = names
            .iter()
            .map(|name| Name::of_plain(base(name)))
            .collect();
        let guarded = fields.iter().find_map(|field| match field {
            Name::Guarded(name) => Some(*name),
            _ => None,
        });
        if fields
            .iter()
            .any(|field| matches!(field, Name::Model { .. }))
        {
            self.has_model = true;
            // Of several, the last one counts, as of keys of JSON.
            self.requested = content.map(str::to_owned);
            self.parts.push(Part::Model(span));
        } else if let Some(name) = guarded {
            self.guarded.push(name);
            self.parts.push(Part::Guarded(whole));
        } else {
            // Python's clients write `True`.
            let is_true =
                content.is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
            self.stream |= is_true && names.iter().any(|name| name == "stream");
            for name in &mut names {
                *name = name.chars().take(LONGEST_NAME).collect();
            }
            names.dedup();
            self.parts.push(Part::Other(names, whole));
        }
        Ok(())
    }
}

/// A line that divides a form.
#[derive(Debug)]
struct Delimiter {
    start: usize,
    /// Where the part after it begins.
    next_line: usize,
}

/// The delimiters of a form, of which the last one ends it.
fn delimiters(body: &[u8], boundary: &str) -> Result<Vec<Delimiter>, ScanError> {
    let needle = [b"\n--", boundary.as_bytes()].concat();
    let at_once = body.starts_with(&needle[1..]).then_some(0);
    let later = memmem::find_iter(body, &needle).map(|newline| newline + 1);
    let mut found: Vec<Delimiter> = Vec::new();
    let mut ended = false;
    for start in at_once.into_iter().chain(later) {
        if start > 0 && !body[..start].ends_with(b"\r\n") {
            return Err(ScanError::Form("a line break in it is no CRLF"));
        }
        if ended {
            return Err(ScanError::Form("it goes on after its end"));
        }
        if found.len() > MAX_PARTS {
            return Err(ScanError::Form("it has more than 256 parts"));
        }
        let after = start + needle.len() - 1;
        let rest = body.get(after..).unwrap_or_default();
        let (rest, closes) = match rest.strip_prefix(b"--") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        if rest.starts_with(b"\n") {
            return Err(ScanError::Form("a line break in it is no CRLF"));
        }
        // RFC 2046 allows spaces in between; no client sends any, and not every upstream reads them.
        if !(rest.starts_with(b"\r\n") || closes && rest.is_empty()) {
            return Err(ScanError::Form("a line in it only begins like a delimiter"));
        }
        ended = closes;
        let next_line = body.len() - rest.len() + 2;
        found.push(Delimiter { start, next_line });
    }
    match ended {
        true => Ok(found),
        false => Err(ScanError::Form("its closing delimiter is missing")),
    }
}

/// The boundary that a `Content-Type` states, made of what a boundary may be made of (RFC 2046 5.1.1), but for spaces,
/// which no client uses and each upstream could read in its own way.
fn boundary(content_type: &[u8]) -> Result<String, ScanError> {
    let missing = ScanError::Form("its Content-Type states no boundary, or more than one");
    let Ok(text) = std::str::from_utf8(content_type) else {
        return Err(missing);
    };
    // Taken apart without regard to quotes, so that an upstream that heeds them finds no other boundary. `boundary*` is
    // another way to write it (RFC 2231).
    let mut stated = text
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
        .filter(|(name, _)| name.starts_with("boundary"));
    let boundary = match (stated.next(), stated.next()) {
        (Some((name, boundary)), None) if name == "boundary" => boundary,
        _ => return Err(missing),
    };
    let quoted = boundary.strip_prefix('"');
    let boundary = quoted
        .and_then(|quoted| quoted.strip_suffix('"'))
        .unwrap_or(boundary);
    let may = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    if boundary.is_empty() || boundary.len() > LONGEST_BOUNDARY || !boundary.bytes().all(may) {
        return Err(ScanError::Form("its Content-Type has no valid boundary"));
    }
    Ok(boundary.to_owned())
}

/// All that an upstream could take for the name of a part.
fn names(headers: &[u8]) -> Result<Vec<String>, ScanError> {
    let mut disposition = None;
    let text = String::from_utf8_lossy(headers).replace("\r\n ", " ");
    for line in text.replace("\r\n\t", " ").split("\r\n") {
        if line.contains(['\r', '\n', '\0']) {
            return Err(ScanError::Form("a line break in it is no CRLF"));
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(ScanError::Form("a part of it has a header without a name"));
        };
        if name.trim().eq_ignore_ascii_case("content-disposition")
            && disposition.replace(value.to_owned()).is_some()
        {
            return Err(ScanError::Form("a part of it has two names"));
        }
    }
    let disposition = disposition.unwrap_or_default();
    let mut names = Vec::new();
    // To some upstreams a backslash escapes, to others it is a part of a Windows path.
    for escapes in [true, false] {
        for (key, value) in parameters(&disposition, escapes) {
            let key = key.to_ascii_lowercase();
            // RFC 5987 and RFC 2231, which RFC 7578 4.2 forbids, and some upstreams read nonetheless.
            if key.starts_with("name*") || key == "name" && value.contains("=?") {
                return Err(ScanError::Form("the name of a part of it is encoded"));
            }
            if key == "name" {
                names.push(unescape_percent(&value));
                names.push(value);
            }
        }
    }
    match names.is_empty() {
        true => Err(ScanError::Form("a part of it has no name")),
        false => Ok(names),
    }
}

/// The parameters of a header's value: `…; name=token; name="quoted \" string"`.
fn parameters(value: &str, escapes: bool) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    let mut piece = String::new();
    // Unquoted space, which counts if something follows it.
    let mut space = String::new();
    let mut quoted = false;
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match char {
            ';' if !quoted => {
                parameters.push(std::mem::take(&mut piece));
                space.clear();
            }
            ' ' | '\t' if !quoted => space.push(char),
            _ => {
                if !piece.is_empty() && !piece.ends_with('=') && char != '=' {
                    piece.push_str(&space);
                }
                space.clear();
                match char {
                    '"' => quoted = !quoted,
                    '\\' if quoted && escapes => piece.extend(chars.next()),
                    _ => piece.push(char),
                }
            }
        }
    }
    parameters.push(piece);
    let parameters = parameters.iter().skip(1);
    parameters
        .filter_map(|piece| piece.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The field that a part of this name is for: `models[]` and `models[0]` are lists of that name.
fn base(name: &str) -> &str {
    let (name, _) = name.split_once('[').unwrap_or((name, ""));
    // Python's `email`, by which Starlette reads forms, takes angle brackets for quotes.
    name.trim().trim_start_matches('<').trim_end_matches('>')
}

/// The content of a part that holds a word.
fn value(content: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(content).ok()?;
    (text.len() <= LONGEST_VALUE).then(|| text.trim())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::{
        capability::Capability,
        provider::{Dialect, dialect::names},
        request::{Envelope, scan_form},
    };

    const TYPE: &str = "multipart/form-data; boundary=XX";
    const MODEL: &str = "Content-Disposition: form-data; name=\"model\"\r\n\r\nnew/model";

    fn scanned(body: &str) -> Result<Envelope, ScanError> {
        scan_form(
            body.as_bytes(),
            Endpoint::AudioTranscriptions,
            TYPE.as_bytes(),
        )
    }

    fn rewrite(body: &Bytes, envelope: &Envelope) -> Vec<Bytes> {
        let dialect = Dialect::OPENAI;
        let to = Recipient::new("new/model", &dialect);
        envelope.rewrite(&body.clone().into(), &to).body.collect()
    }

    /// A form of parts, each its headers and content.
    fn form(boundary: &str, parts: &[String]) -> String {
        let part = |part: &String| format!("--{boundary}\r\n{part}\r\n");
        let parts: String = parts.iter().map(part).collect();
        format!("{parts}--{boundary}--\r\n")
    }

    fn field(name: &str, content: &str) -> String {
        format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}")
    }

    /// The parts after the rewrite.
    fn rewritten(parts: &[String]) -> String {
        let body = form("XX", parts);
        let envelope = scanned(&body).unwrap();
        let sent = rewrite(&Bytes::from(body), &envelope).concat();
        String::from_utf8(sent).unwrap()
    }

    fn assert_refused(body: &str, why: &str) {
        let error = scanned(body).expect_err(body);
        let message = error.to_string();
        assert!(message.contains(why), "{message}: {body:?}");
    }

    #[test]
    fn every_model_is_replaced_however_its_part_is_written() {
        for headers in [
            "Content-Disposition: form-data; name=\"model\"",
            "content-disposition:form-data;NAME=Model",
            "CONTENT-DISPOSITION : form-data; name = model ; x=y",
            "Content-Disposition: form-data;\r\n name=\"model\"\r\nContent-Type: text/plain",
            "Content-Type: text/plain\r\nContent-Disposition: form-data;\r\n\tname=model",
            "Content-Disposition: form-data; name=\"mo\\del\"",
            "Content-Disposition: form-data; name=\"mod%65l\"",
            "Content-Disposition: form-data; name=\"model[]\"",
            "Content-Disposition: form-data; name=<model>",
            "Content-Disposition: form-data; name=\"MODEL\"; filename=\"a;b.txt\"",
            "Content-Disposition: form-data; filename=\"C:\\\"; name=\"model\"",
            "Content-Disposition: form-data; name=x; name=model",
        ] {
            let parts = [
                field("a", "1"),
                format!("{headers}\r\n\r\nold"),
                field("b", "2"),
            ];
            let expected = form("XX", &[field("a", "1"), MODEL.to_owned(), field("b", "2")]);
            assert_eq!(rewritten(&parts), expected, "{headers}");
        }
    }

    #[test]
    fn what_is_not_called_model_stays() {
        for headers in [
            "Content-Disposition: form-data; name=\"file\"; filename=\"model\"",
            "Content-Disposition: form-data; name=\"models_of\"",
            "Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''model",
            "X-Name: name=model\r\nContent-Disposition: form-data; name=x",
        ] {
            let parts = [MODEL.to_owned(), format!("{headers}\r\n\r\nx--XX\0\r\n--X")];
            assert_eq!(rewritten(&parts), form("XX", &parts), "{headers}");
        }
    }

    #[test]
    fn a_missing_model_is_put_in_first() {
        let parts = [field("file", "x")];
        let expected = form("XX", &[MODEL.to_owned(), field("file", "x")]);
        assert_eq!(rewritten(&parts), expected);
        // What stands before the first delimiter is part of no field.
        let body = Bytes::from(format!("preamble\r\n{}", form("XX", &parts)));
        let envelope = scanned(std::str::from_utf8(&body).unwrap()).unwrap();
        let sent = rewrite(&body, &envelope).concat();
        assert_eq!(sent, format!("preamble\r\n{expected}").into_bytes());
    }

    #[test]
    fn a_part_that_could_cost_money_is_left_out_and_named() {
        let parts = [
            field("route", "1"),
            field("a", "1"),
            field("Models[]", "x"),
            field("models[1]", "y"),
            field("b", "2"),
            field("web_search_options", "{}"),
        ];
        let kept = [MODEL.to_owned(), field("a", "1"), field("b", "2")];
        assert_eq!(rewritten(&parts), form("XX", &kept));
        let dropped = scanned(&form("XX", &parts)).unwrap().dropped;
        assert_eq!(dropped, ["models", "route", "web_search_options"]);
    }

    #[test]
    fn a_guarded_part_is_left_out_in_every_spelling() {
        for (name, told) in [
            ("serviceTier", "service_tier"),
            ("MCP-Servers[]", "mcp_servers"),
            ("<api_base>", "api_base"),
            ("prov%69derOptions", "providerOptions"),
            ("x\"; name=\"fallbacks", "fallbacks"),
        ] {
            let parts = [MODEL.to_owned(), field(name, "1")];
            let scanned = scanned(&form("XX", &parts)).unwrap();
            assert_eq!(scanned.dropped, [told], "{name}");
            assert_eq!(rewritten(&parts), form("XX", &[MODEL.to_owned()]), "{name}");
        }
    }

    #[test]
    fn a_service_that_chooses_by_itself_gets_known_parts_only() {
        let dialect = Dialect {
            known: Some(names(&["url"])),
            ..Dialect::OPENAI
        };
        let to = Recipient::new("new/model", &dialect);
        let [file, list, url] = [
            field("file", "x"),
            field("timestamp_granularities[]", "word"),
            field("url", "y"),
        ];
        let sent = [
            field("enabled_tools[]", "1"),
            file.clone(),
            field("Language", "en"),
            list.clone(),
            MODEL.to_owned(),
            url.clone(),
            field("file\"; name=\"image", "z"),
        ];
        let body = Bytes::from(form("XX", &sent));
        let envelope = scan_form(&body, Endpoint::AudioTranscriptions, TYPE.as_bytes()).unwrap();
        let rewritten = envelope.rewrite(&body.into(), &to);
        let left = form("XX", &[file, list, MODEL.to_owned(), url]);
        assert_eq!(rewritten.dropped, ["enabled_tools[]", "Language", "image"]);
        assert_eq!(
            rewritten.body.flatten().collect::<Vec<_>>(),
            left.into_bytes()
        );
    }

    #[test]
    fn of_a_name_that_no_service_knows_only_the_beginning_is_kept() {
        let body = form("XX", &[field(&"x".repeat(5000), "1")]);
        let form = Form::read(body.as_bytes(), TYPE.as_bytes()).unwrap();
        let [Part::Other(names, _)] = &form.parts[..] else {
            panic!("{form:?}");
        };
        assert_eq!(names, &["x".repeat(LONGEST_NAME)]);
    }

    #[test]
    fn model_and_stream_are_read() {
        for (parts, requested, stream) in [
            (
                vec![field("model", "whisper-1"), field("stream", "true")],
                Some("whisper-1"),
                true,
            ),
            (
                vec![
                    field("model", "a"),
                    field("Model", " b\r\n"),
                    field("stream", "True"),
                ],
                Some("b"),
                true,
            ),
            (
                vec![field("model", ""), field("stream", "false")],
                Some(""),
                false,
            ),
            (vec![field("model", &"x".repeat(1000))], None, false),
            (vec![field("file", "stream=true")], None, false),
        ] {
            let envelope = scanned(&form("XX", &parts)).unwrap();
            assert_eq!(envelope.requested.as_deref(), requested);
            assert_eq!(envelope.needs.stream, stream);
        }
    }

    #[test]
    fn each_endpoint_needs_its_own_output() {
        let needs = |endpoint| {
            let body = form("XX", &[field("prompt", "x")]);
            let envelope = scan_form(body.as_bytes(), endpoint, TYPE.as_bytes()).unwrap();
            envelope.needs.hard.iter().collect::<Vec<_>>()
        };
        let transcription = [Capability::Transcription];
        assert_eq!(needs(Endpoint::AudioTranscriptions), transcription);
        assert_eq!(needs(Endpoint::AudioTranslations), transcription);
        let edit = [Capability::ImageOutput, Capability::ImageInput];
        assert_eq!(needs(Endpoint::ImageEdits), edit);
    }

    #[test]
    fn a_broken_form_is_refused_and_says_why() {
        let good = form("XX", &[field("a", "1")]);
        for (body, why) in [
            (String::new(), "closing delimiter"),
            ("--XX\r\n".to_owned(), "closing delimiter"),
            (good.replace("--XX--", "--XX"), "closing delimiter"),
            (good.replace("--XX--", "--XX-"), "like a delimiter"),
            (good.replace("--XX\r\n", "--XXX\r\n"), "like a delimiter"),
            (good.replace("--XX\r\n", "--XX \r\n"), "like a delimiter"),
            (good.replace("--XX--", "--XX--\t"), "like a delimiter"),
            (good.replace("\r\n", "\n"), "no CRLF"),
            (good.replace("1\r\n--XX", "1\n--XX"), "no CRLF"),
            (format!("{good}{good}"), "after its end"),
            (form("XX", &["no header\r\n\r\n".to_owned()]), "without a name"),
            (form("XX", &["\r\n1".to_owned()]), "do not end"),
            (form("XX", &["Content-Type: text/plain\r\n\r\n1".to_owned()]), "no name"),
            (form("XX", &[String::new()]), "do not end"),
            ("--XX\r\n--XX--".to_owned(), "no headers"),
            (form("XX", &["Content-Disposition: form-data; name*=utf-8''model\r\n\r\n1".to_owned()]), "encoded"),
            (form("XX", &["Content-Disposition: form-data; name*0=mo; name*1=del\r\n\r\n1".to_owned()]), "encoded"),
            (form("XX", &["Content-Disposition: form-data; name==?utf-8?B?bW9kZWw=?=\r\n\r\n1".to_owned()]), "encoded"),
            (form("XX", &["Content-Disposition: x; name=a\r\nContent-Disposition: x; name=model\r\n\r\n1".to_owned()]), "two names"),
            (form("XX", &["X: y\nContent-Disposition: x; name=model\r\nContent-Disposition: x; name=a\r\n\r\n1".to_owned()]), "no CRLF"),
            (form("XX", &[format!("X: {}\r\n{}", "y".repeat(MAX_PART_HEADERS), field("a", "1"))]), "too long"),
            (form("XX", &vec![field("a", "1"); MAX_PARTS + 1]), "256 parts"),
        ] {
            assert_refused(&body, why);
        }
        assert!(scanned(&form("XX", &vec![field("a", "1"); MAX_PARTS])).is_ok());
    }

    #[test]
    fn a_boundary_is_stated_once_and_well() {
        let stated = |kind: &str| boundary(kind.as_bytes()).ok();
        for (kind, expected) in [
            ("multipart/form-data; boundary=a", Some("a")),
            (
                "multipart/form-data;charset=utf-8; Boundary = \"a=;b\" ",
                None,
            ),
            (
                "multipart/form-data; boundary=----WebKitFormBoundary7MA4",
                Some("----WebKitFormBoundary7MA4"),
            ),
            ("multipart/form-data; Boundary = \"a=b\" ; x=y", Some("a=b")),
            ("multipart/form-data; boundary=a b", None),
            ("multipart/form-data; boundary=\"a\\b\"", None),
            ("multipart/form-data; boundary=a\"b\"", None),
            ("multipart/form-data; boundary=\"\"a", None),
            ("multipart/form-data; boundary=a; boundary*=utf-8''b", None),
            ("multipart/form-data; boundary*0=a; boundary=b", None),
            ("multipart/form-data; x=\"; boundary=a\"; boundary=b", None),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=a; boundary=b", None),
            ("multipart/form-data; boundary=\"a\\\"b\"", None),
            ("multipart/form-data; boundary=\"a \"", None),
        ] {
            assert_eq!(stated(kind).as_deref(), expected, "{kind}");
        }
        let long = |n| format!("multipart/form-data; boundary={}", "x".repeat(n));
        assert!(stated(&long(70)).is_some());
        assert!(stated(&long(71)).is_none());
    }

    /// Content that looks much like a delimiter, but is not one.
    fn content(boundary: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
        let cut = boundary[..boundary.len() - 1].to_owned();
        let pieces = vec![
            format!("--{boundary}"),
            format!("\r\n--{cut}"),
            format!("\r\n-{boundary}"),
            format!("--{boundary}--"),
            "\r\n".to_owned(),
            "\r".to_owned(),
            "\n".to_owned(),
            "Content-Disposition: form-data; name=\"model\"\r\n\r\n".to_owned(),
        ];
        let piece = prop_oneof![
            select(pieces).prop_map(String::into_bytes),
            vec(any::<u8>(), 0..8),
        ];
        vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    fn any_form() -> impl Strategy<Value = (String, Vec<(&'static str, Vec<u8>)>)> {
        let name = select(
            &[
                "model", "model", "Model", "models", "route", "file", "stream",
            ][..],
        );
        "[0-9A-Za-z'()+_,./:=?-]{1,70}".prop_flat_map(move |boundary| {
            let part = (name.clone(), content(&boundary));
            (Just(boundary), vec(part, 0..5))
        })
    }

    fn written(boundary: &str, parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, content) in parts {
            let head =
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        [&body[..], b"--", boundary.as_bytes(), b"--\r\n"].concat()
    }

    proptest! {
        #[test]
        fn nothing_changes_but_what_must((boundary, parts) in any_form()) {
            let parts: Vec<_> = parts.iter().map(|(name, content)| (*name, &content[..])).collect();
            let body = Bytes::from(written(&boundary, &parts));
            let needle = format!("\n--{boundary}");
            let lines = memmem::find_iter(&body, needle.as_bytes()).count();
            let kind = format!("multipart/form-data; boundary=\"{boundary}\"");
            let scanned = scan_form(&body, Endpoint::AudioTranscriptions, kind.as_bytes());
            // A content that holds a delimiter makes this a form of other parts.
            if lines > parts.len() {
                return Ok(());
            }
            let segments = rewrite(&body, &scanned.unwrap());

            let model: (&str, &[u8]) = ("model", b"new/model");
            let has_model = parts.iter().any(|(name, _)| name.eq_ignore_ascii_case("model"));
            let kept = parts.iter().filter_map(|&(name, content)| match name {
                "model" | "Model" => Some(model),
                "models" | "route" => None,
                _ => Some((name, content)),
            });
            let inserted = (!has_model).then_some(model);
            let expected: Vec<_> = inserted.into_iter().chain(kept).collect();
            prop_assert_eq!(segments.concat(), written(&boundary, &expected));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(body in vec(select(&b"--XX\r\n:; =\"\\name*model%6"[..]), 0..200)) {
            let body = [b"--XX\r\nContent-Disposition: x; name=", &body[..], b"\r\n--XX--"].concat();
            if let Ok(envelope) = scan_form(&body, Endpoint::ImageEdits, TYPE.as_bytes()) {
                let sent = rewrite(&body.into(), &envelope).concat();
                let again = scan_form(&sent, Endpoint::ImageEdits, TYPE.as_bytes()).unwrap();
                let twice = rewrite(&sent.clone().into(), &again).concat();
                prop_assert_eq!(sent, twice);
                prop_assert_eq!(again.requested.as_deref(), Some("new/model"));
            }
        }
    }
}
