//! What of an error's words for people is evidence.
//!
//! Upstreams quote the request in their errors: field names, values, whole prompts, in quotes or without, with the line
//! breaks that the caller wrote. Words of the caller must not be taken for words of the upstream, so that only the
//! first line of a message counts, and of it only what stands outside of quotes. What is left may still hold words of
//! the caller, where an upstream quotes without quotes; the table says under which statuses
//! words are believed at all ([`patterns`](super::patterns)).

use memchr::memchr3;

use crate::upstream::searchable::Searchable;

/// A quoted part with more than this many bytes, or more words than two, is not the name of a parameter.
const MAX_NAME: usize = 64;
const MAX_NAME_WORDS: usize = 2;

/// What ends a line, in any of the ways in which Unicode spells it.
const LINE_ENDS: [char; 7] = [
    '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
];

/// Quotes that open, and what closes each.
const QUOTES: &[(char, &[char])] = &[
    ('"', &['"']),
    ('\'', &['\'']),
    ('`', &['`']),
    ('“', &['”', '“']),
    ('”', &['”']),
    ('„', &['“', '”']),
    ('‘', &['’', '‘']),
    ('‚', &['‘', '’']),
    ('«', &['»']),
    ('»', &['«']),
    ('‹', &['›']),
    ('›', &['‹']),
    ('「', &['」']),
    ('『', &['』']),
    ('＂', &['＂']),
    ('＇', &['＇']),
];

/// One message of an error, as evidence.
#[derive(Debug)]
pub(super) struct Message {
    /// Its first line in lower case, without what stands in quotes; the quotes themselves stay.
    pub(super) open: Searchable,
    /// The same with quoted names in it, for phrases that hold one: "unknown variant `image_url`". `None` if it quotes
    /// nothing.
    named: Option<Searchable>,
    /// The first line is all that was said.
    whole: bool,
}

impl Message {
    /// Reads a message. One that `may_be_whole` is the error's own, and not cut short.
    pub(super) fn of(text: &str, may_be_whole: bool) -> Self {
        let text = text.trim();
        let line = first_line(text).trim_end();
        let lower = line.to_ascii_lowercase();
        let open = without_quoted(&lower, |_| false);
        let quotes = open.len() < lower.len();
        Self {
            open: Searchable::new(open),
            named: quotes.then(|| Searchable::new(without_quoted(&lower, is_name))),
            whole: may_be_whole && line.len() == text.len(),
        }
    }

    /// What was read was cut short: more may have been said.
    pub(super) fn is_cut(&mut self) {
        self.whole = false;
    }

    /// Whether all of these phrases stand in it.
    pub(super) fn holds(&self, phrases: &[&str]) -> bool {
        phrases
            .iter()
            .all(|phrase| self.line_for(phrase).contains(phrase))
    }

    /// Whether it opens with one of these phrases.
    pub(super) fn opens_with(&self, phrases: &[&str]) -> bool {
        let open = self.open.as_str();
        phrases.iter().any(|phrase| open.starts_with(phrase))
    }

    /// Whether it is this sentence and nothing else: `*` stands for one word or a quoted part, `*/*` for a word with a
    /// slash in it, `**` for any words.
    pub(super) fn is(&self, sentence: &str) -> bool {
        if !self.whole {
            return false;
        }
        let line = self.open.as_str().trim_end_matches('.');
        let line: Vec<_> = line.split_whitespace().collect();
        let sentence: Vec<_> = sentence.split_whitespace().collect();
        matches(&line, &sentence)
    }

    /// What follows the phrase.
    pub(super) fn after<'a>(&'a self, phrase: &'a str) -> Option<&'a str> {
        self.line_for(phrase).all_after(phrase).next()
    }

    /// The first name that stands in quotes.
    pub(super) fn first_name(&self) -> Option<&str> {
        let named = self.named().as_str();
        let (at, close) = named.char_indices().find_map(|(i, c)| {
            let close = QUOTES.iter().find(|(open, _)| *open == c)?.1;
            Some((i + c.len_utf8(), close))
        })?;
        let rest = &named[at..];
        rest.split_once(close)
            .map(|(name, _)| name)
            .filter(|name| !name.is_empty())
    }

    /// A phrase that holds a quote is looked for where names are.
    fn line_for(&self, phrase: &str) -> &Searchable {
        match &self.named {
            Some(named) if next_quote(phrase).is_some() => named,
            _ => &self.open,
        }
    }

    fn named(&self) -> &Searchable {
        self.named.as_ref().unwrap_or(&self.open)
    }
}

/// The text up to the first end of a line.
fn first_line(text: &str) -> &str {
    let end = match text.is_ascii() {
        // Most messages; bytes are compared faster than characters.
        true => text.bytes().position(|byte| matches!(byte, b'\n'..=b'\r')),
        false => text.find(LINE_ENDS),
    };
    &text[..end.unwrap_or(text.len())]
}

/// Where the next quote of ASCII is.
fn next_quote(text: &str) -> Option<usize> {
    memchr3(b'"', b'\'', b'`', text.as_bytes())
}

/// How many bytes there are before the next character that may be a quote.
fn before_quote(text: &str) -> usize {
    let end = next_quote(text).unwrap_or(text.len());
    let bytes = &text.as_bytes()[..end];
    match bytes.is_ascii() {
        true => end,
        false => bytes.iter().take_while(|byte| byte.is_ascii()).count(),
    }
}

/// Goes no deeper than the sentence, which is the table's, has words.
fn matches(line: &[&str], sentence: &[&str]) -> bool {
    match (line, sentence) {
        ([], []) => true,
        (_, ["**", rest @ ..]) => (1..=line.len()).any(|words| matches(&line[words..], rest)),
        ([_, line @ ..], ["*", rest @ ..]) => matches(line, rest),
        ([word, line @ ..], ["*/*", rest @ ..]) => {
            word.split_once('/')
                .is_some_and(|(author, name)| !author.is_empty() && !name.is_empty())
                && matches(line, rest)
        }
        ([word, line @ ..], [expected, rest @ ..]) => word == expected && matches(line, rest),
        _ => false,
    }
}

fn is_name(quoted: &str) -> bool {
    quoted.len() <= MAX_NAME && quoted.split_whitespace().count() <= MAX_NAME_WORDS
}

/// The line without what stands in quotes, but for what is to be kept. A quote that is not closed quotes the rest.
fn without_quoted(line: &str, keep: impl Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    let mut before = None;
    loop {
        let (plain, after) = rest.split_at(before_quote(rest));
        out.push_str(plain);
        before = plain.chars().next_back().or(before);
        rest = after;
        let Some(c) = rest.chars().next() else { break };
        out.push(c);
        rest = &rest[c.len_utf8()..];
        let close = QUOTES
            .iter()
            .find(|(open, _)| *open == c && !is_apostrophe(c, before))
            .map(|(_, close)| *close);
        before = Some(c);
        let Some(close) = close else { continue };
        let Some((end, quote)) = end_of_quoted(rest, close) else {
            break;
        };
        if keep(&rest[..end]) {
            out.push_str(&rest[..end]);
        }
        out.push(quote);
        rest = &rest[end + quote.len_utf8()..];
        before = Some(quote);
    }
    out
}

/// "you've", "models'", and what closes a quote that was never opened: none of them opens one.
fn is_apostrophe(c: char, before: Option<char>) -> bool {
    matches!(c, '\'' | '”' | '»' | '›') && before.is_some_and(char::is_alphanumeric)
}

/// Where the quoted part ends, and the quote that closes it. An escaped quote closes nothing, and neither does an
/// apostrophe within a word.
fn end_of_quoted(text: &str, close: &[char]) -> Option<(usize, char)> {
    let mut escaped = false;
    let mut before = None;
    for (at, c) in text.char_indices() {
        let next = text[at + c.len_utf8()..].chars().next();
        let within_word = matches!(c, '\'' | '’')
            && before.is_some_and(char::is_alphanumeric)
            && next.is_some_and(char::is_alphanumeric);
        if close.contains(&c) && !escaped && !within_word {
            return Some((at, c));
        }
        escaped = c == '\\' && !escaped;
        before = Some(c);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> String {
        Message::of(text, true).open.as_str().to_owned()
    }

    #[test]
    fn only_the_first_line_outside_of_quotes_counts() {
        for (text, expected) in [
            (
                "Invalid role: 'a b c'. Try again",
                "invalid role: ''. try again",
            ),
            (
                "Invalid \"a\" and `b` and «c»",
                "invalid \"\" and `` and «»",
            ),
            ("“a” ‘b’ „c“ ‚d‘ ‹e› 「f」", "“” ‘’ „“ ‚‘ ‹› 「」"),
            ("one\ntwo", "one"),
            ("one\r\ntwo", "one"),
            ("one\u{2028}two", "one"),
            ("one \u{85}two", "one"),
            ("Invalid 'a and no end", "invalid '"),
            ("Invalid \"it\\\"s quota\" here", "invalid \"\" here"),
            (
                "You've reached the model's limit",
                "you've reached the model's limit",
            ),
            ("the models' limit", "the models' limit"),
            ("Invalid 'don't do' here", "invalid '' here"),
            ("", ""),
        ] {
            assert_eq!(open(text), expected, "{text}");
        }
    }

    #[test]
    fn a_sentence_that_is_not_all_of_a_message_is_not_the_message() {
        let sentence = "model * does not exist";
        for text in ["Model m does not exist", "Model `a b` does not exist."] {
            assert!(Message::of(text, true).is(sentence), "{text}");
            assert!(!Message::of(text, false).is(sentence), "{text}");
        }
        for text in [
            "Model does not exist",
            "Model m does not exist\nmore",
            "Invalid role: Model m does not exist",
            "Model m does not exist: extra inputs",
        ] {
            assert!(!Message::of(text, true).is(sentence), "{text}");
        }
        assert!(Message::of("x/y:free is fine", true).is("*/* is fine"));
        assert!(!Message::of("Role: is fine", true).is("*/* is fine"));
        assert!(Message::of("Names are a or b, but c", true).is("names are ** but *"));
        let long = format!("Names are{}", " a".repeat(100_000));
        assert!(!Message::of(&long, true).is("names are ** but *"));
    }

    #[test]
    fn a_name_in_quotes_is_found_only_by_a_phrase_that_has_one() {
        let message = Message::of("unknown variant `image_url`, expected `text`", true);
        assert!(message.holds(&["unknown variant `image_url`"]));
        assert!(!message.holds(&["image_url"]));
        assert_eq!(message.first_name(), Some("image_url"));
        let prompt = Message::of("odd value `image_url and a whole prompt`", true);
        assert!(!prompt.holds(&["`image_url"]) || prompt.first_name().is_none());
    }
}
