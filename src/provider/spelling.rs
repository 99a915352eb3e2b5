//! How JSON may spell a secret.

/// The most backslashes that stand before one character of a secret.
const MAX_BACKSLASHES: usize = 8;
/// The longest spelling of one character, in bytes: backslashes, and `u002b`.
pub(super) const LONGEST_CHARACTER: usize = MAX_BACKSLASHES + 5;

/// How much of a secret stands at the start of a text.
pub(super) enum Spelled {
    /// All of it, in so many bytes.
    Whole(usize),
    /// As much as fits into the text.
    Beginning,
    No,
}

/// Looks for the secret at the start of `text`, however JSON spells it: before each of its characters may be
/// backslashes, and behind these `uXXXX` instead of the character.
pub(super) fn spelled(text: &[u8], secret: &str) -> Spelled {
    let backslashes = |at: usize| {
        let rest = text[at..].iter().take(MAX_BACKSLASHES);
        rest.take_while(|byte| **byte == b'\\').count()
    };
    let mut at = 0;
    // Backslashes of the secret's own before the next character: JSON doubles them.
    let mut own = 0;
    for c in secret.chars() {
        if c == '\\' {
            own += 1;
            continue;
        }
        let before = backslashes(at);
        at += before;
        let rest = &text[at..];
        let mut utf8 = [0; 4];
        let plain = c.encode_utf8(&mut utf8).as_bytes();
        let may_be_code = before > 0 && rest.first() == Some(&b'u');
        if rest.len() < plain.len() && plain.starts_with(rest)
            || rest.len() < 5 && may_be_code && rest != plain
        {
            return Spelled::Beginning;
        }
        if before < std::mem::take(&mut own) {
            return Spelled::No;
        }
        at += match rest {
            [b'u', digits @ ..] if may_be_code && code(digits) == Some(u32::from(c)) => 5,
            _ if rest.starts_with(plain) => plain.len(),
            _ => return Spelled::No,
        };
    }
    match (own, backslashes(at)) {
        (0, _) => Spelled::Whole(at),
        (own, after) if after >= own => Spelled::Whole(at + after),
        (_, after) if at + after == text.len() => Spelled::Beginning,
        _ => Spelled::No,
    }
}

/// The number that four hexadecimal digits are.
fn code(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}
