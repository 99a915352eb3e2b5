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
        for pair in text.windows(2) {
            let (row, bit) = place(pair);
            pairs.0[row] |= bit;
        }
        pairs
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
    }
}
