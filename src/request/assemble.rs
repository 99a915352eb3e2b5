//! Makes a body of the frames it comes in.
//!
//! What is to be read has to be in one piece. Frames are kept until the end is there, and then joined in a buffer of the
//! size that they have: so nothing is moved twice, and no memory is taken for what a client only announces. A body of
//! megabytes is for the most part base64 though, which nothing here reads. A long run of it is not joined, but kept
//! by itself, as a [hole](Hole) in the text. The text is read in place of the body, and what is found is the same,
//! because of these facts:
//!
//! 1. A run is of bytes that a JSON string can hold as they are, and its [beginning](KEPT) stays in the text. That has a
//!    [byte](is_only_in_strings) that stands in strings alone, and no quote. If the text is valid JSON, that byte is
//!    inside of a string in it, and so are all bytes from there to the hole. Bytes that are put into a string, and not into
//!    an escape, make no difference to anything around the string: the body is valid too, and has the same tokens. For the
//!    same reason the text is valid if the body is. If the text is not valid, the body is joined and read again, only to
//!    find the right error and its place.
//! 2. A string that has a hole in it begins with as many of its characters as are kept. No name of a field or a type, and
//!    nothing else that a string is compared with, is that long; of an id only the beginning is read. So the text's string
//!    is equal to nothing that is looked for, and neither is the body's. Where whole strings are read or compared with each
//!    other (the names of top-level fields, the model, tools) no hole is left: see
//!    [`Admitted::read`](super::admit::Admitted::read).
//! 3. Where a length counts, [`Collected`] counts what is in the holes.

use std::mem;

use bytes::Bytes;

use super::needs::LONGEST_ID;
use crate::json::{Collected, Hole};

/// How many bytes of a run stay in the text: more than any name has, and than are read of an id. The first five of them
/// may belong to an escape that began before the run.
const KEPT: usize = 512;
const _: () = assert!(KEPT - 5 > LONGEST_ID);

/// The shortest run that is not joined.
const LONG: usize = 16 * 1024;

/// The smallest frame that is kept as it came; of a smaller one, what is kept is copied. A frame is a slice of a server's
/// read buffer, and holds all of that buffer, of which the rest is counted nowhere: a client can fill it with what is no data
/// (of the size of a chunk, any number of zeros in front). hyper's buffers grow to 512 KiB, so what is held is at most four
/// times what is counted.
const LARGE: usize = 128 * 1024;

/// Small frames are joined as they come, to parts of about this size.
const PART: usize = 64 * 1024;

/// A body of which frames have come.
#[derive(Default)]
pub(crate) struct Assembly {
    /// The first frame, until there is a second.
    first: Bytes,
    /// The text: its parts, and the last one, which is made of small frames.
    parts: Vec<Bytes>,
    last: Vec<u8>,
    text_len: usize,
    holes: Vec<Hole>,
    /// The smallest frame that is kept as it came, and the shortest run that is not joined.
    large: usize,
    shortest_run: usize,
}

impl Assembly {
    /// A body that is read as JSON.
    pub(super) fn of_json() -> Self {
        Self {
            large: LARGE,
            shortest_run: LONG,
            ..Self::default()
        }
    }

    /// A body all of which is joined.
    pub(super) fn of_bytes() -> Self {
        Self {
            large: LARGE,
            shortest_run: usize::MAX,
            ..Self::default()
        }
    }

    /// Takes the next frame.
    pub(super) fn push(&mut self, frame: Bytes) {
        if self.text_len == 0 && self.first.is_empty() {
            self.first = frame;
            return;
        }
        let first = mem::take(&mut self.first);
        self.add(first);
        self.add(frame);
    }

    /// The whole body. Each part goes as it is copied.
    pub(super) fn finish(mut self) -> Collected {
        if !self.first.is_empty() {
            return self.first.into();
        }
        if self.parts.is_empty() {
            return Collected::new(self.last.into(), self.holes);
        }
        let mut text = Vec::with_capacity(self.text_len);
        self.parts.push(self.last.into());
        for part in self.parts {
            text.extend_from_slice(&part);
        }
        Collected::new(text.into(), self.holes)
    }

    /// Takes the runs apart that a frame begins and ends with.
    fn add(&mut self, frame: Bytes) {
        if frame.len() < self.shortest_run {
            return self.add_text(frame);
        }
        let head = plain_at_start(&frame);
        let tail = match head == frame.len() {
            true => head,
            false => frame.len() - plain_at_end(&frame),
        };
        let is_large = frame.len() >= self.large;
        self.add_run(frame.slice(..head), is_large);
        self.add_text(frame.slice(head..tail));
        self.add_run(frame.slice(tail..), is_large);
    }

    /// Takes bytes that are all plain, a part of a frame that is large or is not.
    fn add_run(&mut self, run: Bytes, is_large: bool) {
        if run.len() < self.shortest_run {
            return self.add_text(run);
        }
        let continues = (self.holes.last()).is_some_and(|last| last.at == self.text_len);
        let kept = if continues { 0 } else { KEPT.min(run.len()) };
        if !continues && !run[..kept].iter().any(|byte| is_only_in_strings(*byte)) {
            return self.add_text(run);
        }
        self.add_text(run.slice(..kept));
        let bytes = match is_large {
            true => run.slice(kept..),
            false => Bytes::copy_from_slice(&run[kept..]),
        };
        let at = self.text_len;
        self.holes.push(Hole { at, bytes });
    }

    fn add_text(&mut self, text: Bytes) {
        self.text_len += text.len();
        let is_large = text.len() >= self.large;
        if !self.last.is_empty() && (is_large || self.last.len() + text.len() > PART) {
            self.parts.push(mem::take(&mut self.last).into());
        }
        match is_large {
            true => self.parts.push(text),
            false => self.last.extend_from_slice(&text),
        }
    }
}

/// Whether a byte can stand in a JSON string as it is, and is a character by itself.
const fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte.is_ascii() && byte != b'"' && byte != b'\\'
}

/// Whether a byte stands in valid JSON only between quotes.
fn is_only_in_strings(byte: u8) -> bool {
    !b" \t\n\r[]{}:,+-.0123456789eEtruefalsn\"".contains(&byte)
}

/// Runs are measured by blocks of so many bytes, each without a branch, so that it becomes vector instructions.
const BLOCK: usize = 64;

fn is_plain_block(block: &[u8]) -> bool {
    block.iter().fold(true, |all, &byte| all & is_plain(byte))
}

/// How many bytes at the start are plain.
fn plain_at_start(bytes: &[u8]) -> usize {
    let blocks = bytes.chunks_exact(BLOCK);
    let at = blocks.take_while(|block| is_plain_block(block)).count() * BLOCK;
    let rest = bytes[at..].iter();
    at + rest.take_while(|byte| is_plain(**byte)).count()
}

/// How many bytes at the end are plain.
fn plain_at_end(bytes: &[u8]) -> usize {
    let blocks = bytes.rchunks_exact(BLOCK);
    let len = blocks.take_while(|block| is_plain_block(block)).count() * BLOCK;
    let rest = bytes[..bytes.len() - len].iter().rev();
    len + rest.take_while(|byte| is_plain(**byte)).count()
}

#[cfg(test)]
mod tests;
