//! Which of the equally good models a request gets: the strategies by their names.

use clap::ValueEnum;
use tower_free_models::{
    FreeModelRouteLayer,
    select::{Fastest, Ordered, Random, Sticky, Uniform},
};

/// A strategy of the library, by its name in the configuration and on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Selector {
    /// At random, in proportion to what the limits of each model leave
    #[default]
    Random,
    /// At random, each with the same probability
    Uniform,
    /// Of two random models the one that should begin to answer sooner
    Fastest,
    /// The same model for all requests of a conversation
    Sticky,
    /// The first one: providers in the order of the configuration, their models as they are written or listed
    Ordered,
}

impl Selector {
    /// The strategy of this name; else what is wrong with the name.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        if let Ok(selector) = Self::from_str(name, false) {
            return Ok(selector);
        }
        let all = Self::value_variants().iter().map(Self::name);
        let names: Vec<_> = all.map(|name| format!("\"{name}\"")).collect();
        let all = Self::value_variants().iter().map(Self::name);
        let nearest = all.min_by_key(|known| edits(name, known));
        let nearest = nearest.filter(|known| edits(name, known) <= known.len() / 2);
        let hint = nearest.map_or_else(String::new, |known| format!(": did you mean \"{known}\"?"));
        // What was written is not repeated: it may be a key in the wrong place.
        Err(format!(
            "this is not a selector, which is one of {}{hint}",
            names.join(", ")
        ))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Uniform => "uniform",
            Self::Fastest => "fastest",
            Self::Sticky => "sticky",
            Self::Ordered => "ordered",
        }
    }

    /// Has the layer pick by this strategy, of `providers` in their order.
    pub(crate) fn set(
        self,
        layer: FreeModelRouteLayer,
        providers: &[String],
    ) -> FreeModelRouteLayer {
        match self {
            Self::Random => layer.select(Random),
            Self::Uniform => layer.select(Uniform),
            Self::Fastest => layer.select(Fastest),
            Self::Sticky => layer.select(Sticky),
            Self::Ordered => layer.select(Ordered::new(providers)),
        }
    }
}

/// How many characters have to be put in, taken out or replaced to make one text of another.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<_> = to.chars().collect();
    let mut row: Vec<_> = (0..=to.len()).collect();
    // More is no slip of the keyboard.
    for (n, a) in from.chars().take(32).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], n + 1);
        for (at, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_selector_has_the_same_name_in_a_file_and_on_the_command_line() {
        for selector in Selector::value_variants() {
            let value = selector.to_possible_value().expect("a value");
            assert_eq!(value.get_name(), selector.name());
            assert_eq!(Selector::named(selector.name()), Ok(*selector));
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused_with_all_names_and_the_nearest() {
        for (wrong, nearest) in [
            ("stikcy", "sticky"),
            ("Random", "random"),
            ("fast", "fastest"),
            ("order", "ordered"),
        ] {
            let error = Selector::named(wrong).expect_err(wrong);
            assert!(
                error.ends_with(&format!("did you mean \"{nearest}\"?")),
                "{error}"
            );
        }
        for wrong in ["sk-secret-key", "", &"x".repeat(100_000)] {
            let error = Selector::named(wrong).expect_err(wrong);
            assert!(error.ends_with("\"sticky\", \"ordered\""), "{error}");
        }
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, n) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!((edits(a, b), edits(b, a)), (n, n), "{a} {b}");
        }
    }
}
