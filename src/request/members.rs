//! The members of objects that may be left out, and the commas that go with them.

use std::ops::Range;

use crate::json::{Event, Token};

/// A member of an object, and what it takes to leave it out.
#[derive(Clone, Debug)]
pub(crate) struct Member<T> {
    /// What it is to us.
    pub(crate) what: T,
    /// Its key, with the quotes.
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
    /// Where the comma before it stands, unless it is the first of its object.
    comma: usize,
    /// One past the comma after it, or its own end if there is none.
    next: usize,
    /// Where its object begins.
    object: usize,
    /// Whether a member that is not listed stands before it in its object.
    behind_unlisted: bool,
}

/// Lists members as their tokens come, of one object after the other.
#[derive(Debug)]
pub(crate) struct Members<T> {
    pub(crate) list: Vec<Member<T>>,
    /// Whether the current object has a member that is not listed.
    pub(crate) any_unlisted: bool,
    /// Where the current object begins.
    object: usize,
    /// Where the current value begins, if that is an array or object.
    value: usize,
    /// Whether the current object's last member so far is listed.
    last_is_listed: bool,
}

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            any_unlisted: false,
            object: 0,
            value: 0,
            last_is_listed: false,
        }
    }
}

impl<T> Members<T> {
    /// An object begins here.
    pub(crate) fn begin(&mut self, object: usize) {
        self.object = object;
        self.any_unlisted = false;
        self.last_is_listed = false;
    }

    /// The key of its next member, which is listed if it is something to us.
    pub(crate) fn key(&mut self, token: &Token<'_>, what: Option<T>) {
        if self.last_is_listed {
            if let Some(last) = self.list.last_mut() {
                last.next = token.comma + 1;
            }
        }
        self.last_is_listed = what.is_some();
        let Some(what) = what else {
            self.any_unlisted = true;
            return;
        };
        self.list.push(Member {
            what,
            key: token.start..token.end,
            value: token.end..token.end,
            comma: token.comma,
            next: token.end,
            object: self.object,
            behind_unlisted: self.any_unlisted,
        });
    }

    /// A token of a member's value that stands as deep as its key.
    pub(crate) fn value(&mut self, token: &Token<'_>) {
        let start = match token.event {
            Event::Begin(_) => {
                self.value = token.start;
                return;
            }
            Event::End(_) => self.value,
            _ => token.start,
        };
        if self.last_is_listed {
            if let Some(last) = self.list.last_mut() {
                last.value = start..token.end;
                last.next = token.end;
            }
        }
    }
}

/// Finds the bytes that go with each member that is left out, where members come in their order.
///
/// Such a member takes one comma along: the one before it, or, as long as nothing is left before it, the one after it.
#[derive(Debug, Default)]
pub(crate) struct Commas {
    object: Option<usize>,
    /// Whether a member is left so far, of the current object.
    pub(crate) any_left: bool,
}

impl Commas {
    /// The bytes that go, if the member does not stay.
    pub(crate) fn pass<T>(&mut self, member: &Member<T>, stays: bool) -> Option<Range<usize>> {
        if self.object != Some(member.object) {
            self.object = Some(member.object);
            self.any_left = false;
        }
        self.any_left |= member.behind_unlisted;
        if stays {
            self.any_left = true;
            return None;
        }
        Some(if self.any_left {
            member.comma..member.value.end
        } else {
            member.key.start..member.next
        })
    }
}
