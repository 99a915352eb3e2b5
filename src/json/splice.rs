//! Changes to a body by the spans of what they replace, applied without copying what stays.

use std::ops::Range;

use bytes::Bytes;

use super::{collected::Collected, segments::Segments};

/// Changes to one body, in any order. A change inside a span that another change replaces is ignored.
#[derive(Debug, Default)]
pub(crate) struct Splice(Vec<Edit>);

#[derive(Debug)]
struct Edit {
    span: Range<usize>,
    with: Bytes,
    /// The span is a whole member of a JSON object or element of an array, so a comma goes with it.
    with_comma: bool,
}

impl Splice {
    /// Puts `with` in the place of a span; in front of what stands there if the span is empty.
    pub(crate) fn replace(&mut self, span: Range<usize>, with: impl Into<Bytes>) {
        self.0.push(Edit {
            span,
            with: with.into(),
            with_comma: false,
        });
    }

    /// Leaves a span out.
    pub(crate) fn cut(&mut self, span: Range<usize>) {
        self.replace(span, Bytes::new());
    }

    /// Leaves out a member of a JSON object, or an element of an array, and one comma: the one after it, or, if it is
    /// the last, the one after the last that stays before it.
    pub(crate) fn cut_item(&mut self, span: Range<usize>) {
        self.0.push(Edit {
            span,
            with: Bytes::new(),
            with_comma: true,
        });
    }

    /// The body after all changes.
    pub(crate) fn apply(mut self, body: &Collected) -> Segments {
        // What is put in at a place comes before a change of what stands there.
        self.0
            .sort_by_key(|edit| (edit.span.start, !edit.span.is_empty()));
        let mut edits: Vec<Edit> = Vec::with_capacity(self.0.len());
        for mut edit in self.0 {
            if edits
                .last()
                .is_some_and(|last| edit.span.start < last.span.end)
            {
                continue;
            }
            if edit.with_comma {
                take_comma(body.text(), &mut edit.span, &mut edits);
            }
            edits.push(edit);
        }
        let mut segments = Segments::with_capacity(2 * edits.len() + 1);
        let mut at = 0;
        for Edit { span, with, .. } in edits {
            body.append(at..span.start, &mut segments);
            segments.push(with);
            at = span.end;
        }
        body.append(at..body.text().len(), &mut segments);
        segments
    }
}

/// Widens the span of an item that goes by its comma. `edits` are those before it, in order.
fn take_comma(body: &[u8], span: &mut Range<usize>, edits: &mut Vec<Edit>) {
    let after = body.get(span.end..).unwrap_or_default();
    let spaces = after.len() - after.trim_ascii_start().len();
    if after.get(spaces) == Some(&b',') {
        span.end += spaces + 1;
        return;
    }
    loop {
        let before = body.get(..span.start).unwrap_or_default().trim_ascii_end();
        match edits.last() {
            // The items right before it go too, and took the commas behind them.
            Some(last) if last.with_comma && last.span.end >= before.len() => {
                span.start = last.span.start;
                edits.pop();
            }
            _ if before.ends_with(b",") => {
                span.start = before.len() - 1;
                return;
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `text` without the items that are in capital letters.
    fn without_capitals(text: &str) -> String {
        let mut splice = Splice::default();
        let items = text.match_indices(|char: char| char.is_ascii_uppercase());
        for (at, item) in items {
            splice.cut_item(at..at + item.len());
        }
        let segments = splice.apply(&Bytes::copy_from_slice(text.as_bytes()).into());
        String::from_utf8(segments.flatten().collect()).unwrap()
    }

    #[test]
    fn each_item_that_goes_takes_one_comma_along() {
        for (before, after) in [
            ("[A]", "[]"),
            ("[ A , B ]", "[  ]"),
            ("[A,b]", "[b]"),
            ("[a,B]", "[a]"),
            ("[a , B ]", "[a  ]"),
            ("[a,B,c]", "[a,c]"),
            ("[A,b,C,D,e,F,G]", "[b,e]"),
            ("[A , B, c]", "[  c]"),
            ("[a,[B],C]", "[a,[]]"),
            ("[[a,B],C,[D,e],F]", "[[a],[e]]"),
        ] {
            assert_eq!(without_capitals(before), after, "{before}");
        }
    }

    #[test]
    fn a_change_inside_of_what_goes_is_ignored() {
        let body = Bytes::from_static(b"[a,[b,c],d]").into();
        let mut splice = Splice::default();
        splice.cut_item(4..5);
        splice.replace(6..7, "x");
        splice.cut_item(3..8);
        splice.replace(9..10, "y");
        splice.replace(1..1, "z");
        let segments = splice.apply(&body);
        assert_eq!(segments.len(), 6);
        assert_eq!(segments.collect::<Vec<_>>().concat(), b"[za,y]");
    }

    #[test]
    fn len_is_what_is_left() {
        let mut splice = Splice::default();
        splice.cut(2..3);
        let mut segments = splice.apply(&Bytes::from_static(b"ab-cde").into());
        let mut left = Vec::new();
        while !segments.is_empty() {
            left.push(segments.len());
            segments.next();
        }
        assert_eq!(left, [5, 3]);
        assert_eq!(segments.len(), 0);
    }
}
