//! How long text is to a model.
//!
//! A guess without a vocabulary. Four bytes a token, the usual one, is right for English prose and
//! wrong by a factor of two or three for code, JSON and most of the world's languages. So text is
//! cut into runs of one class of character, as a tokenizer's own pattern does, and each class has
//! its price. The class of a character is that of its first UTF-8 byte, which is enough to tell
//! scripts apart.
//!
//! Prices are in sixteenths of a token. They are fitted to `o200k_base`, a vocabulary of middling
//! density: the tests hold what it counts for samples of eight kinds.

use super::text::{Piece, Text};

/// What a message costs beside its text: its role and the marks around it.
const MESSAGE: u64 = 4 * TOKEN;
const TOKEN: u64 = 16;

/// A part of a prompt that is not text. In the order of what it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Media {
    Audio,
    Image,
    File,
    Video,
}

impl Media {
    /// What a part of `len` bytes costs, in tokens.
    ///
    /// The bytes of an image say nothing of its tokens: providers scale it, and bill some 250 to
    /// 1600. The others grow with their length at about the rate of common encodings (base64 of MP3
    /// at 128 kbit/s and 32 tokens a second; of a PDF of 50 kB and 1000 tokens a page; of video at
    /// 1 Mbit/s and 260 tokens a second), between bounds, since both a link and an uncompressed
    /// file have a length that says nothing.
    fn tokens(self, len: usize) -> u64 {
        let len = len as u64;
        match self {
            Self::Audio => (len / 700).clamp(200, 20_000),
            Self::Image => 1000,
            Self::File => (len / 64).clamp(1000, 50_000),
            Self::Video => (len / 640).clamp(1000, 50_000),
        }
    }
}

/// Sums up the length of a prompt.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    sixteenths: u64,
}

impl Estimate {
    /// A string that the model reads.
    pub(super) fn text(&mut self, text: Text<'_>) {
        let mut runs = Runs::default();
        for piece in text.pieces() {
            match piece {
                Piece::Run(run) => runs.feed(run.as_bytes()),
                Piece::Char(char) => runs.feed(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        self.sixteenths += runs.finish();
    }

    /// JSON that the model reads, such as a schema. Templates write it anew, so its layout is free.
    pub(super) fn json(&mut self, raw: &str) {
        let mut runs = Runs::default();
        for line in raw.lines() {
            runs.feed(line.trim_start().as_bytes());
        }
        self.sixteenths += runs.finish();
    }

    /// Something that is not text, `len` bytes of it.
    pub(super) fn media(&mut self, media: Media, len: usize) {
        self.sixteenths += media.tokens(len) * TOKEN;
    }

    /// The frame of one message.
    pub(super) fn message(&mut self) {
        self.sixteenths += MESSAGE;
    }

    /// In tokens.
    pub(super) fn finish(self) -> u64 {
        self.sixteenths.div_ceil(TOKEN)
    }
}

/// The class of a character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Class {
    /// Not the first byte of a character.
    #[default]
    Within,
    Space,
    Lower,
    Upper,
    Digit,
    Mark,
    /// Latin letters with accents.
    Accented,
    /// Two bytes: Greek, Cyrillic, Hebrew, Arabic.
    Alphabet,
    /// Three bytes: the scripts of India and South-East Asia, and Vietnamese.
    Syllable,
    /// Dashes, quotes, arrows, boxes.
    Symbol,
    /// Chinese, Japanese, Korean.
    Wide,
    /// Emoji, and what is rarer.
    Rare,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Within; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            b'0'..=b'9' => Class::Digit,
            b' ' | b'\t' | b'\n' | b'\r' => Class::Space,
            0..=0x7f => Class::Mark,
            0x80..=0xbf => Class::Within,
            0xc2 | 0xe2 => Class::Symbol,
            0xc0..=0xcd => Class::Accented,
            0xce..=0xdf => Class::Alphabet,
            0xe0 | 0xe1 => Class::Syllable,
            0xe3..=0xef => Class::Wide,
            0xf0..=0xff => Class::Rare,
        };
        byte += 1;
    }
    classes
};

/// Cuts text into runs and adds up their prices.
#[derive(Debug, Default)]
struct Runs {
    sixteenths: u64,
    class: Class,
    len: u64,
}

impl Runs {
    fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let class = CLASSES[usize::from(byte)];
            if class == self.class {
                self.len += 1;
            } else if class != Class::Within {
                self.turn(class);
            }
        }
    }

    /// Ends the run and begins another.
    fn turn(&mut self, class: Class) {
        match (self.class, class) {
            // A capital begins a word with what follows it, and an accent breaks none.
            (Class::Upper, Class::Lower) if self.len == 1 => self.len = 2,
            (Class::Lower, Class::Accented) => {
                self.sixteenths += 6;
                self.len += 1;
                return;
            }
            _ => {
                self.sixteenths += self.price();
                self.len = 1;
            }
        }
        self.class = class;
    }

    /// What the run costs.
    fn price(&self) -> u64 {
        let len = self.len;
        match self.class {
            Class::Within => 0,
            // One space belongs to the word behind it; an indent or a line's end is a token.
            Class::Space => 16 * u64::from(len > 1) + len / 16,
            // Most words are one token, long ones two or three.
            Class::Lower => 16 + 3 * len.saturating_sub(6),
            Class::Upper => 16 + 6 * len.saturating_sub(2),
            Class::Digit => 16 * len.div_ceil(3),
            Class::Mark => 16 + 6 * (len - 1),
            Class::Accented => 16 * len,
            Class::Alphabet => 8 + 4 * len,
            Class::Syllable => 8 * len,
            Class::Symbol => 14 * len,
            Class::Wide => 13 * len,
            Class::Rare => 26 * len,
        }
    }

    fn finish(mut self) -> u64 {
        self.turn(Class::Within);
        self.sixteenths
    }
}
