//! Whether characters of more than one byte are UTF-8.

/// What follows the characters that are not ASCII at the front of a text, and single spaces between them. `Err`: what begins with the first of them that is
/// not UTF-8.
///
/// It accepts what [`str::from_utf8`] does. That one has to be told where the run ends, so each byte would be read twice,
/// and it decodes the common characters of three bytes at half the speed.
#[inline]
pub(super) fn behind_characters(mut text: &[u8]) -> Result<&[u8], &[u8]> {
    loop {
        let word = match text.first_chunk() {
            Some(word) => u32::from_le_bytes(*word),
            // No character goes on with a zero, which is ASCII, so it ends the run like what follows it elsewhere.
            None => {
                let bytes = text.iter().rev();
                bytes.fold(0, |word, byte| word << 8 | u32::from(*byte))
            }
        };
        text = match length(word) {
            // A space between two words, so that these are one run.
            0 if word & 0x80ff == 0x8020 => text.get(1..).unwrap_or_default(),
            0 if word & 0x80 == 0 => return Ok(text),
            0 => return Err(text),
            length => text.get(length..).unwrap_or_default(),
        };
    }
}

/// The length of the character of more than one byte at the front of a word, its first byte being the lowest; 0 if there
/// is none.
///
/// The forms are those of RFC 3629: each code point in its shortest form, no surrogates, none above U+10FFFF.
const fn length(word: u32) -> usize {
    if word & 0x00c0_c0f0 == 0x0080_80e0 {
        // The upper five bits of the code point: zero would be too long a form, and 0x1b a surrogate.
        return match word & 0x200f {
            0 | 0x200d => 0,
            _ => 3,
        };
    }
    if word & 0xc0e0 == 0x80c0 {
        // The upper four bits: the others fit one byte.
        return match word & 0x1e {
            0 => 0,
            _ => 2,
        };
    }
    if word & 0xc0c0_c0f8 == 0x8080_80f0 {
        // The plane: the first one has shorter forms, and there are 16 more.
        return match (word & 7) << 2 | (word >> 12) & 3 {
            1..=16 => 4,
            _ => 0,
        };
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn each_word_is_the_character_that_the_standard_library_finds_there() {
        // Of each byte the bits that matter, and some that do not.
        let leads = 0x80..=0xff_u32;
        let others = [
            0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xe4, 0xff,
        ];
        for lead in leads {
            for second in 0..=0xff {
                for (third, fourth) in others.iter().flat_map(|a| others.map(|b| (*a, b))) {
                    let bytes = [lead as u8, second as u8, third, fourth];
                    let expected = (2..=4).find(|len| {
                        let text = std::str::from_utf8(&bytes[..*len]);
                        text.is_ok_and(|text| text.chars().count() == 1)
                    });
                    let found = length(u32::from_le_bytes(bytes));
                    assert_eq!(found, expected.unwrap_or(0), "{bytes:x?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_run_ends_where_the_standard_library_finds_its_end(
            text in "[é中\u{1f600}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{10ffff}]{0,8}",
            rest in prop_oneof![
                Just(vec![]),
                vec(any::<u8>(), 0..6),
                "[a é中\u{1f600}]{0,4}".prop_map(String::into_bytes),
            ],
            cut in 0_usize..4,
        ) {
            let mut bytes = [text.as_bytes(), &rest].concat();
            bytes.truncate(bytes.len().saturating_sub(cut));
            let char_at = |at: usize| {
                let is_char = |len: &usize| {
                    let char = bytes.get(at..at + len).map(std::str::from_utf8);
                    matches!(char, Some(Ok(char)) if char.chars().count() == 1)
                };
                (2..=4).find(is_char)
            };
            let mut at = 0;
            let expected = loop {
                at += match bytes[at..] {
                    [b' ', 0x80..=0xff, ..] => 1,
                    [] | [0..=0x7f, ..] => break Ok(at),
                    _ => match char_at(at) {
                        Some(len) => len,
                        None => break Err(at),
                    },
                };
            };
            let place = |rest: &[u8]| bytes.len() - rest.len();
            prop_assert_eq!(behind_characters(&bytes).map(place).map_err(place), expected);
        }
    }
}
