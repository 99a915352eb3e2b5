//! A text in which many phrases are looked for.

/// A text in lower case that knows which pairs of bytes stand in it. Nearly every phrase has a pair that does not, and is
/// then known to be missing without a look at the text.
#[derive(Debug, Default)]
pub(super) struct Searchable {
    text: String,
    pairs: Pairs,
}

impl Searchable {
    /// Of a text in lower case.
    pub(super) fn new(text: String) -> Self {
        let pairs = Pairs::of(text.as_bytes());
        Self { text, pairs }
    }

    /// These texts, each in a line of its own.
    pub(super) fn lines<'a>(lines: impl Iterator<Item = &'a Self>) -> Self {
        let mut joined = Self::default();
        for (nth, Self { text, pairs }) in lines.enumerate() {
            if nth > 0 {
                joined.text.push('\n');
            }
            let at = joined.text.len();
            joined.text.push_str(text);
            joined.pairs.join(pairs);
            // The pairs that the line feed before it is in.
            let end = joined.text.len().min(at + 1);
            let around = &joined.text.as_bytes()[at.saturating_sub(2)..end];
            joined.pairs.add(around);
        }
        joined
    }

    pub(super) fn contains(&self, phrase: &str) -> bool {
        self.pairs.may_hold(phrase) && self.text.contains(phrase)
    }

    /// What follows the phrase, wherever it stands.
    pub(super) fn all_after<'a>(&'a self, phrase: &'a str) -> impl Iterator<Item = &'a str> {
        let text = &*self.text;
        let found = self
            .pairs
            .may_hold(phrase)
            .then(|| text.match_indices(phrase));
        let found = found.into_iter().flatten();
        found.map(move |(at, _)| &text[at + phrase.len()..])
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

/// The pairs of bytes that stand in a text: a bit for each, by the low five bits of both, which tell letters apart.
#[derive(Debug, Default)]
struct Pairs([u32; 32]);

impl Pairs {
    fn of(text: &[u8]) -> Self {
        let mut pairs = Self::default();
        pairs.add(text);
        pairs
    }

    fn add(&mut self, text: &[u8]) {
        for pair in text.windows(2) {
            let (row, bit) = place(pair);
            self.0[row] |= bit;
        }
    }

    fn join(&mut self, other: &Self) {
        let rows = self.0.iter_mut().zip(other.0);
        rows.for_each(|(row, other)| *row |= other);
    }

    /// False only of what does not stand in the text.
    fn may_hold(&self, phrase: &str) -> bool {
        let mut pairs = phrase.as_bytes().windows(2);
        pairs.all(|pair| {
            let (row, bit) = place(pair);
            self.0[row] & bit != 0
        })
    }
}

fn place(pair: &[u8]) -> (usize, u32) {
    (usize::from(pair[0] % 32), 1 << (pair[1] % 32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pair_that_is_missing_rules_a_phrase_out() {
        let text = Searchable::new("please retry in 5s".into());
        for phrase in ["", "p", "retry in ", "5s", "please retry in 5s"] {
            assert!(text.pairs.may_hold(phrase), "{phrase}");
        }
        for phrase in [
            "please retry in 5s.",
            "sp",
            "rate limit",
            "é",
            "retry after ",
        ] {
            assert!(!text.pairs.may_hold(phrase), "{phrase}");
        }
        // Nothing stands in a text without pairs but what has none itself.
        assert!(Searchable::new("a".into()).contains("a"));
        assert!(!Searchable::new(String::new()).contains("a"));
    }

    proptest! {
        #[test]
        fn a_phrase_is_found_wherever_it_stands(text in "[a-d `é]{0,30}", phrase in "[a-d `é]{0,3}") {
            let searchable = Searchable::new(text.clone());
            prop_assert_eq!(searchable.contains(&phrase), text.contains(&phrase));
            let after = text.match_indices(&phrase).map(|(at, _)| &text[at + phrase.len()..]);
            let after: Vec<_> = after.collect();
            prop_assert_eq!(searchable.all_after(&phrase).collect::<Vec<_>>(), after);
        }

        #[test]
        fn lines_are_as_the_joined_text(texts in prop::collection::vec("[a-c]{0,3}", 0..5)) {
            let lines: Vec<_> = texts.iter().cloned().map(Searchable::new).collect();
            let lines = Searchable::lines(lines.iter());
            let joined = Searchable::new(texts.join("\n"));
            prop_assert_eq!(lines.text, joined.text);
            prop_assert_eq!(lines.pairs.0, joined.pairs.0);
        }
    }
}
