//! Makes a body of the frames it comes in.
//!
//! What is to be read has to be in one piece, so frames are copied to where those before them are. A body of megabytes is
//! for the most part base64 though, which is read by nobody here. A long run of it is kept as it came, as a
//! [hole](Hole) in the text. The text is read in place of the body, and what is found is the same, because of these facts:
//!
//! 1. A run is of bytes that a JSON string can hold as they are, and its [beginning](KEPT) stays in the text. That has a
//!    [byte](is_only_in_strings) that stands in strings alone, and no quote. If the text is valid JSON, that byte is
//!    inside of a string in it, and so are all bytes from there to the hole. Bytes that are put into a string, and not into
//!    an escape, make no difference to anything around the string: the body is valid too, and has the same tokens. For the
//!    same reason the text is valid if the body is. If the text is not valid, the body is joined and read again, only to
//!    find the right error and its place.
//! 2. A string that has a hole in it begins with as many of its characters as are kept. No name of a field or a type, and
//!    nothing else that a string is compared with, is that long; of ids and names only the beginning is read. So the text's
//!    string is equal to nothing that is looked for, and neither is the body's. Where whole strings are read or compared
//!    with each other (the names of top-level fields, the model, tools) no hole is left: see
//!    [`Admitted::read`](super::admit::Admitted::read).
//! 3. Where a length counts, [`Collected`] counts what is in the holes.

use std::mem;

use bytes::Bytes;

use crate::json::{Collected, Hole};

/// How many bytes of a run stay in the text. It is more than any name has, all of it escaped, and more than the longest
/// id that is remembered.
const KEPT: usize = 512;

/// The shortest run that is kept as it came. A run that is a slice of a server's read buffer holds all of the buffer: one
/// that is small would hold much memory that is counted nowhere.
const SHORTEST_RUN: usize = 16 * 1024;

/// The text grows to so many times what it holds, but for no more than was announced: so it is moved seldom, and what a
/// client only announces takes no memory.
const GROWTH: usize = 4;

/// A body of which frames have come.
#[derive(Default)]
pub(crate) struct Assembly {
    /// The first frame, until there is a second.
    first: Bytes,
    text: Vec<u8>,
    holes: Vec<Hole>,
    shortest_run: usize,
}

impl Assembly {
    /// A body that is read as JSON.
    pub(super) fn of_json() -> Self {
        Self {
            shortest_run: SHORTEST_RUN,
            ..Self::default()
        }
    }

    /// A body all of which is joined.
    pub(super) fn of_bytes() -> Self {
        Self {
            shortest_run: usize::MAX,
            ..Self::default()
        }
    }

    /// Takes the next frame, after which so many bytes are still announced.
    pub(super) fn push(&mut self, frame: Bytes, announced: u64) {
        if self.text.is_empty() && self.first.is_empty() {
            self.first = frame;
            return;
        }
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        let first = mem::take(&mut self.first);
        self.add(first, announced.saturating_add(frame.len()));
        self.add(frame, announced);
    }

    /// The whole body.
    pub(super) fn finish(self) -> Collected {
        match self.first.is_empty() {
            true => Collected::new(self.text.into(), self.holes),
            false => self.first.into(),
        }
    }

    /// Takes the runs apart that a frame begins and ends with.
    fn add(&mut self, frame: Bytes, announced: usize) {
        if frame.len() < self.shortest_run {
            return self.join(&frame, announced);
        }
        let head = plain_at_start(&frame);
        let tail = match head == frame.len() {
            true => head,
            false => frame.len() - plain_at_end(&frame),
        };
        self.add_run(frame.slice(..head), announced);
        self.join(&frame[head..tail], announced);
        self.add_run(frame.slice(tail..), announced);
    }

    /// Takes bytes that are all plain.
    fn add_run(&mut self, run: Bytes, announced: usize) {
        if run.len() < self.shortest_run {
            return self.join(&run, announced);
        }
        let at = self.text.len();
        if self.holes.last().is_some_and(|last| last.at == at) {
            return self.holes.push(Hole { at, bytes: run });
        }
        let kept = KEPT.min(run.len());
        match run[..kept].iter().any(|byte| is_only_in_strings(*byte)) {
            true => {
                self.join(&run[..kept], announced);
                self.holes.push(Hole {
                    at: self.text.len(),
                    bytes: run.slice(kept..),
                });
            }
            false => self.join(&run, announced),
        }
    }

    /// Appends bytes to the text, after which no more than so many can come.
    fn join(&mut self, bytes: &[u8], announced: usize) {
        let needed = self.text.len() + bytes.len();
        if needed > self.text.capacity() {
            let most = needed.saturating_add(announced);
            let capacity = match announced {
                // The end, or no length is announced.
                0 => needed.max(2 * self.text.capacity()),
                _ => most.min(needed.saturating_mul(GROWTH)),
            };
            self.text.reserve_exact(capacity - self.text.len());
        }
        self.text.extend_from_slice(bytes);
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
