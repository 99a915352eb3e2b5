//! The providers whose keys are in the environment, under their usual names.

use std::collections::HashSet;

use tower_free_models::{KnownProvider, ProviderBuilder};

use crate::config::Key;

/// `GROQ_API_KEY`, then `GROQ_API_KEY_2` and so on to 9, for further accounts.
const MOST_KEYS: u32 = 9;

/// What the environment offers.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    /// The providers, a second key of one service as `name#2`.
    pub(crate) providers: Vec<ProviderBuilder>,
    /// What was found and cannot be used, for people.
    pub(crate) unused: Vec<String>,
}

/// Looks for the keys of all known providers. `keyless` asks for those too that need no key; what is sent to the
/// gateway then goes to them, so nobody gets them unasked.
pub(crate) fn offered(
    known: &[KnownProvider],
    keyless: bool,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Offered, String> {
    let mut offered = Offered::default();
    // A server of one's own is named in a configuration: that a program is installed does not say where it listens.
    for known in known.iter().filter(|known| !known.local) {
        let account = known.account_env.and_then(variable);
        let keys = keys(known, variable)?;
        if let (Some(missing), None) = (known.account_env, &account) {
            if !keys.is_empty() {
                let name = known.name;
                offered.unused.push(format!(
                    "{name} has a key, but its address needs {missing}, which is not set"
                ));
            }
            continue;
        }
        let builder = || match &account {
            Some(id) => known.builder().account(id),
            None => known.builder(),
        };
        if keys.is_empty() && known.keyless && keyless {
            offered.providers.push(builder());
        }
        for (n, key) in (1..).zip(&keys) {
            let builder = builder().key(key.as_str());
            offered.providers.push(match n {
                1 => builder,
                n => builder.name(format!("{}#{n}", known.name)),
            });
        }
    }
    Ok(offered)
}

/// The different keys of one service.
fn keys(
    known: &KnownProvider,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Key>, String> {
    let more = |name: &'static str| (2..=MOST_KEYS).map(move |n| format!("{name}_{n}"));
    let mut seen = HashSet::new();
    known
        .key_env
        .iter()
        .flat_map(|name| std::iter::once((*name).to_owned()).chain(more(name)))
        .filter(|name| variable(name).is_some_and(|key| !key.trim().is_empty()))
        .map(|name| Key::from_variable(&name, variable))
        .filter(|key| match key {
            Ok(key) => seen.insert(key.as_str().to_owned()),
            Err(_) => true,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the providers, and what is not used.
    fn offer(keyless: bool, environment: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let variable = |name: &str| {
            let found = environment.iter().find(|(set, _)| *set == name)?;
            Some(found.1.to_owned())
        };
        let offered = offered(KnownProvider::all(), keyless, &variable).expect("good keys");
        let built = offered
            .providers
            .into_iter()
            .map(|builder| builder.build().expect("a provider"));
        let names = built.map(|provider| provider.name().to_owned()).collect();
        (names, offered.unused)
    }

    #[test]
    fn every_key_is_a_provider_and_a_second_one_is_another() {
        let (names, _) = offer(
            false,
            &[
                ("GROQ_API_KEY", "a"),
                ("GROQ_API_KEY_2", "b"),
                ("GROQ_API_KEY_3", " "),
                ("OPENROUTER_API_KEY", "c"),
            ],
        );
        assert_eq!(names, ["openrouter", "groq", "groq#2"]);
    }

    #[test]
    fn one_key_under_two_names_is_one_provider() {
        let (names, _) = offer(false, &[("GEMINI_API_KEY", "a"), ("GOOGLE_API_KEY", "a")]);
        assert_eq!(names, ["google"]);
        let (names, _) = offer(false, &[("GEMINI_API_KEY", "a"), ("GOOGLE_API_KEY", "b")]);
        assert_eq!(names, ["google", "google#2"]);
    }

    #[test]
    fn who_needs_no_key_is_asked_only_where_that_is_wished() {
        assert!(offer(false, &[]).0.is_empty());
        let (names, _) = offer(true, &[]);
        assert!(names.iter().any(|name| name == "ovh"), "{names:?}");
        assert!(!names.iter().any(|name| name == "ollama"), "{names:?}");
    }

    #[test]
    fn a_key_without_the_account_it_needs_is_reported_and_not_used() {
        let (names, unused) = offer(false, &[("CLOUDFLARE_API_TOKEN", "a")]);
        assert!(names.is_empty());
        assert!(unused[0].contains("CLOUDFLARE_ACCOUNT_ID"), "{unused:?}");
        let account = ("CLOUDFLARE_ACCOUNT_ID", "0123abc");
        let (names, unused) = offer(false, &[("CLOUDFLARE_API_TOKEN", "a"), account]);
        assert_eq!((names, unused), (vec!["cloudflare".to_owned()], Vec::new()));
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_an_error_that_names_its_variable_only() {
        let variable = |name: &str| (name == "GROQ_API_KEY").then(|| "two words".to_owned());
        let error = offered(KnownProvider::all(), false, &variable).expect_err("an error");
        assert!(
            error.contains("GROQ_API_KEY") && !error.contains("two words"),
            "{error}"
        );
    }
}
