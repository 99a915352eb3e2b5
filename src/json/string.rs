//! Where a string ends.
//!
//! Most bytes of a body stand in strings, and mean nothing there: a run of these is passed by 32 bytes at a time, and what
//! interrupts it (an escape, characters that are not ASCII) where it stands, so that it goes on at full speed behind it.

use super::{text::Text, utf8};

/// The bytes that are compared at a time where a run may end: those of a register, which also tell where.
const WORD: usize = 8;
/// The same in a long run: two vector registers of any x86-64 or AArch64.
const BLOCK: usize = 4 * WORD;

/// The string that `text` begins with, behind its first quote. `Err`: where something stands that is not valid.
#[inline(always)]
pub(super) fn read(text: &[u8]) -> Result<Text<'_>, usize> {
    // Most keys and words are so short that they are read where they are asked for, without a call.
    if let Some(len) = text.first_chunk().and_then(first_mark) {
        if let Some((raw, [b'"', ..])) = text.split_at_checked(len) {
            let escaped = false;
            return Ok(Text { raw, escaped });
        }
    }
    let (len, escaped) = length(text);
    match text.split_at_checked(len) {
        Some((raw, [b'"', ..])) => Ok(Text { raw, escaped }),
        _ => Err(len),
    }
}

/// The length up to the first byte that is not valid in a string, which the closing quote is too; and whether there are
/// escapes before it. Surrogates need not be paired: they are valid JSON, if not valid text.
#[inline(never)]
fn length(text: &[u8]) -> (usize, bool) {
    let mut rest = text;
    let mut escaped = false;
    loop {
        rest = behind_plain(rest);
        rest = match rest {
            [b'\\', letter, behind @ ..] if IS_ESCAPE[usize::from(*letter)] => {
                escaped = true;
                behind
            }
            [b'\\', b'u', a, b, c, d, behind @ ..]
                if [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit) =>
            {
                escaped = true;
                behind
            }
            [0x80..=0xff, ..] => match utf8::behind_characters(rest) {
                Ok(behind) => behind,
                Err(wrong) => {
                    rest = wrong;
                    break;
                }
            },
            _ => break,
        };
    }
    (text.len() - rest.len(), escaped)
}

/// The letters that are an escape with a backslash before them. A table, because which of them comes next is not to be
/// predicted.
const IS_ESCAPE: [bool; 256] = {
    let mut is_escape = [false; 256];
    let letters = b"\"\\/bfnrt";
    let mut at = 0;
    while at < letters.len() {
        is_escape[letters[at] as usize] = true;
        at += 1;
    }
    is_escape
};

/// What is wrong with the string that ends here without a quote.
#[cold]
pub(super) fn fault(byte: Option<u8>) -> &'static str {
    match byte {
        None => "a string does not end",
        Some(b'\\') => "no such escape",
        Some(0x80..) => "a string must be UTF-8",
        Some(_) => "a control character in a string must be escaped",
    }
}

/// What is left of a text from its first [mark](is_mark) on.
#[inline(always)]
fn behind_plain(mut rest: &[u8]) -> &[u8] {
    while let Some((block, behind)) = rest.split_first_chunk() {
        if let Some(mark) = mark_in(block) {
            return rest.get(mark..).unwrap_or_default();
        }
        rest = behind;
        while let Some((block, behind)) = rest.split_first_chunk() {
            if has_mark(block) {
                break;
            }
            rest = behind;
        }
    }
    while let Some((word, behind)) = rest.split_first_chunk() {
        if let Some(mark) = first_mark(word) {
            return rest.get(mark..).unwrap_or_default();
        }
        rest = behind;
    }
    while let Some((byte, behind)) = rest.split_first() {
        if is_mark(*byte) {
            break;
        }
        rest = behind;
    }
    rest
}

/// Whether a byte of a string must be looked at: a quote, a backslash, a control character, or what is not ASCII.
const fn is_mark(byte: u8) -> bool {
    // Of a third comparison the compiler makes worse vector code. So a bit is turned over, for the quote to stand right
    // above the control characters, and what is not ASCII is below zero.
    ((byte ^ 2) as i8) < 0x21 || byte == b'\\'
}

fn has_mark(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(false, |any, byte| any | is_mark(*byte))
}

/// The place of the first [mark](is_mark) of a block.
#[inline(always)]
fn mark_in(block: &[u8; BLOCK]) -> Option<usize> {
    let mut words = block.chunks_exact(WORD).enumerate();
    words.find_map(|(n, word)| {
        let mark = first_mark(word.first_chunk()?)?;
        Some(n * WORD + mark)
    })
}

/// The place of the first [mark](is_mark) of a word.
///
/// A byte is below a bound if the subtraction of the bound sets its highest bit, which also is set where it is not ASCII. A
/// borrow can only be wrong about bytes behind the first mark (Bit Twiddling Hacks, "Determine if a word has a byte less
/// than n").
#[inline(always)]
fn first_mark(word: &[u8; WORD]) -> Option<usize> {
    const EACH: u64 = u64::from_ne_bytes([1; WORD]);
    let word = u64::from_le_bytes(*word);
    let low = (word ^ (EACH * 2)).wrapping_sub(EACH * 0x21);
    let backslash = (word ^ (EACH * 0x5c)).wrapping_sub(EACH);
    match (low | backslash | word) & (EACH * 0x80) {
        0 => None,
        marks => Some(marks.trailing_zeros() as usize / 8),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn behind_plain_bytewise(text: &[u8]) -> usize {
        let mark = |byte: &u8| !matches!(byte, b' '..=b'\x7f') || b"\"\\".contains(byte);
        text.iter().position(mark).unwrap_or(text.len())
    }

    #[test]
    fn every_byte_that_is_not_plain_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..4 * BLOCK {
                let mut text = [b'a'; 4 * BLOCK];
                text[at] = byte;
                let len = text.len() - behind_plain(&text).len();
                assert_eq!(len, behind_plain_bytewise(&text), "{byte} {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_plain_run_ends_where_a_search_byte_by_byte_finds_its_end(
            plain in 0_usize..300,
            rest in vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), 0x1e_u8..0x24, Just(b'a')], 0..40),
        ) {
            let text = [&vec![b'a'; plain][..], &rest].concat();
            let len = text.len() - behind_plain(&text).len();
            prop_assert_eq!(len, behind_plain_bytewise(&text));
        }

        #[test]
        fn a_string_is_as_long_as_the_reference_finds_it(
            parts in vec(prop_oneof![
                4 => "[a-z ]{0,70}",
                2 => "[é中\u{1f600}\u{10ffff} ]{0,9}",
                2 => prop_oneof![Just(r"\n"), Just(r#"\""#), Just(r"\\"), Just(r"\u00E4"), Just(r"\ud800")]
                    .prop_map(str::to_owned),
            ], 0..8),
            wrong in prop_oneof![4 => Just(&b"\""[..]), 1 => Just(&b"\t\""[..]), 1 => Just(&b"\\x\""[..]), 1 => Just(&b"\xe4\""[..]), 1 => Just(&b""[..])],
        ) {
            let inner = parts.concat();
            let text = [inner.as_bytes(), wrong, b", \"behind it\""].concat();
            let found = read(&text).ok().map(|found| (found.raw.len(), found.escaped));
            let quoted = [&b"\""[..], &text].concat();
            let mut reference = serde_json::Deserializer::from_slice(&quoted)
                .into_iter::<&serde_json::value::RawValue>();
            let expected = match reference.next() {
                Some(Ok(string)) => {
                    let raw = &string.get()[1..string.get().len() - 1];
                    Some((raw.len(), raw.contains('\\')))
                }
                _ => None,
            };
            prop_assert_eq!(found, expected);
        }
    }
}
