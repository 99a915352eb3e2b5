//! The providers whose keys are in the environment, under their usual names.

use std::collections::HashSet;

use tower_free_models::{
    Provider,
    provider::{FreeRule, KnownProvider},
};

use crate::config::Key;

/// `GROQ_API_KEY`, then `GROQ_API_KEY_2` and so on to 9, for further accounts.
const MOST_KEYS: u32 = 9;

/// Says what `--plan` says, where that is not given.
const PLAN: &str = "FREE_MODELS_PLAN";

/// What a variable of the environment holds. Bytes that are not UTF-8 are replaced by a character that no key has.
pub(crate) fn variable(name: &str) -> Option<String> {
    Some(std::env::var_os(name)?.to_string_lossy().into_owned())
}

/// The services of which the operator says that the accounts, all those whose keys are set, cannot be billed.
#[derive(Debug, Default)]
pub(crate) struct Unbilled {
    all: bool,
    names: Vec<&'static str>,
}

impl Unbilled {
    /// Reads `--plan`, or else the variable that stands in for it.
    pub(crate) fn said(
        flags: &[String],
        known: &'static [KnownProvider],
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let (source, list) = match (flags.is_empty(), variable(PLAN)) {
            (false, _) => ("--plan", flags.join(",")),
            (true, Some(list)) => (PLAN, list),
            (true, None) => return Ok(Self::default()),
        };
        Self::read(&list, known).map_err(|why| format!("{source} {why}"))
    }

    fn read(list: &str, known: &'static [KnownProvider]) -> Result<Self, String> {
        let on_a_plan = || known.iter().filter(|known| known.free == FreeRule::Plan);
        let mut unbilled = Self::default();
        let words = list.split(',').map(str::trim);
        for word in words.filter(|word| !word.is_empty()) {
            match on_a_plan().find(|known| known.name == word) {
                Some(known) => unbilled.names.push(known.name),
                None if word == "all" => unbilled.all = true,
                None => {
                    let names: Vec<_> = on_a_plan().map(|known| known.name).collect();
                    return Err(format!(
                        "names {word:?}, but the providers whose free tier is a plan are {}. For all of them say all",
                        names.join(", ")
                    ));
                }
            }
        }
        Ok(unbilled)
    }

    fn holds_for(&self, known: &KnownProvider) -> bool {
        self.all || self.names.contains(&known.name)
    }
}

/// What the environment offers.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    /// The providers, a second key of one service as `name#2`.
    pub(crate) providers: Vec<Provider>,
    /// What was found and is not used, and why, for people.
    pub(crate) left_out: Vec<String>,
    /// The reason why no provider is used, if that is so.
    pub(crate) why_none: &'static str,
}

/// Looks for the keys of all known providers. `keyless` asks for those too that need no key; what is sent to the
/// gateway then goes to them, so they are never asked unless that is wished.
pub(crate) fn offered(
    known: &'static [KnownProvider],
    keyless: bool,
    unbilled: &Unbilled,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Offered {
    let mut offered = Offered::default();
    // A server of one's own is named in a configuration: that a program is installed does not say where it listens.
    for known in known.iter().filter(|known| !known.local) {
        let name = known.name;
        let found = Keys::find(known, variable);
        let is_set = !found.names.is_empty();
        let odd = found.odd.into_iter();
        offered
            .left_out
            .extend(odd.map(|why| format!("{name}: {why}")));
        if unbilled.names.contains(&name) && !is_set {
            let names = known.key_env.join(", ");
            let why = format!("{name}: it is named as a plan, but no key is set ({names})");
            offered.left_out.push(why);
        }
        let may_be_keyless = keyless && known.keyless && !is_set;
        if found.keys.is_empty() && !may_be_keyless {
            continue;
        }
        let account = known.account_env.and_then(variable);
        if let Some(why) = objection(known, &found.names, account.as_deref(), unbilled) {
            offered.left_out.push(format!("{name}: {why}"));
            continue;
        }
        let keys = found.keys.iter().map(Some);
        let keys = keys.chain(may_be_keyless.then_some(None));
        for (n, key) in (1..).zip(keys) {
            match build(known, n, key, account.as_deref()) {
                Ok(provider) => offered.providers.push(provider),
                Err(why) => offered.left_out.push(why),
            }
        }
    }
    offered.why_none = match offered.left_out.is_empty() {
        true => "no provider's key is set (OPENROUTER_API_KEY, GROQ_API_KEY, GEMINI_API_KEY, …)",
        false => "every provider that was found is left out, as said above",
    };
    offered
}

/// Why the keys of a service, which these variables hold, are not used.
fn objection(
    known: &KnownProvider,
    names: &[String],
    account: Option<&str>,
    unbilled: &Unbilled,
) -> Option<String> {
    let (name, names) = (known.name, names.join(", "));
    if known.opt_in {
        return Some(format!(
            "it is off unless asked for, because of its terms: to use {names}, name it in a configuration file"
        ));
    }
    if known.free == FreeRule::Plan && !unbilled.holds_for(known) {
        let card = match known.asks_for_card {
            true => ", and it asks new accounts for a card",
            false => "",
        };
        return Some(format!(
            "its free tier is a plan{card}: an account that has a payment method is billed, and {names} does not tell \
             whether this one has. If this account cannot be billed, use it with --plan {name}"
        ));
    }
    let missing = known.account_env.filter(|_| account.is_none())?;
    Some(format!(
        "it has a key, but its address needs {missing}, which is not set"
    ))
}

/// The `n`th account of a service. Where its free tier is a plan, the operator has said that it cannot be billed.
fn build(
    known: &KnownProvider,
    n: u32,
    key: Option<&Key>,
    account: Option<&str>,
) -> Result<Provider, String> {
    let mut builder = known.builder().free(known.free);
    if n > 1 {
        builder = builder.name(format!("{}#{n}", known.name));
    }
    if let Some(key) = key {
        builder = builder.key(key.as_str());
    }
    if let Some(id) = account {
        builder = builder.account(id);
    }
    builder.build().map_err(|error| error.to_string())
}

/// The keys of one service.
#[derive(Default)]
struct Keys {
    /// Different ones.
    keys: Vec<Key>,
    /// The variables that hold one, also one that cannot be used.
    names: Vec<String>,
    /// Why a variable holds no key.
    odd: Vec<String>,
}

impl Keys {
    fn find(known: &KnownProvider, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let more = |name: &'static str| (2..=MOST_KEYS).map(move |n| format!("{name}_{n}"));
        let names = known
            .key_env
            .iter()
            .flat_map(|name| std::iter::once((*name).to_owned()).chain(more(name)))
            .filter(|name| variable(name).is_some_and(|key| !key.trim().is_empty()));
        let (mut found, mut seen) = (Self::default(), HashSet::new());
        for name in names {
            match Key::from_variable(&name, variable) {
                Ok(key) if seen.insert(key.as_str().to_owned()) => found.keys.push(key),
                Ok(_) => {}
                Err(why) => found.odd.push(why),
            }
            found.names.push(name);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_up(environment: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        move |name: &str| {
            let found = environment.iter().find(|(set, _)| *set == name)?;
            Some(found.1.clone())
        }
    }

    /// The names of the providers, and what is left out, where this is said of accounts.
    fn offer_to(
        plan: &str,
        keyless: bool,
        environment: &[(&str, &str)],
    ) -> (Vec<String>, Vec<String>) {
        let (known, variable) = (KnownProvider::all(), looked_up(environment));
        let unbilled = Unbilled::said(&[plan.to_owned()], known, &variable).expect("known names");
        let offered = offered(known, keyless, &unbilled, &variable);
        let names = offered.providers.iter();
        let names = names.map(|provider| provider.name().to_owned()).collect();
        (names, offered.left_out)
    }

    /// The same, where the operator says that no account can be billed.
    fn offer(keyless: bool, environment: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        offer_to("all", keyless, environment)
    }

    /// All keys of all services, as a shell may hold them.
    fn every_key() -> Vec<(&'static str, &'static str)> {
        let known = KnownProvider::all().iter();
        known
            .flat_map(|known| known.key_env.iter().chain(&known.account_env))
            .map(|name| (*name, "k"))
            .collect()
    }

    #[test]
    fn a_key_that_merely_lies_in_the_environment_enrols_no_provider_that_bills_by_plan() {
        let (names, left_out) = offer_to("", false, &every_key());
        let by_itself = [
            "openrouter",
            "huggingface",
            "kilo",
            "llm7",
            "sambanova",
            "vercel",
            "zai",
        ];
        let services: HashSet<_> = names.iter().map(|name| name.split('#').next()).collect();
        assert_eq!(services, by_itself.iter().map(|name| Some(*name)).collect());
        for known in KnownProvider::all() {
            let lines = left_out
                .iter()
                .filter(|line| line.starts_with(&format!("{}: ", known.name)));
            let lines: Vec<_> = lines.collect();
            let is_plan = known.free == FreeRule::Plan;
            assert_eq!(
                lines.len(),
                usize::from(is_plan || known.opt_in),
                "{lines:?}"
            );
            if is_plan {
                assert!(
                    lines[0].contains(&format!("--plan {}", known.name)),
                    "{lines:?}"
                );
                assert!(lines[0].contains(known.key_env[0]), "{lines:?}");
            }
        }
    }

    #[test]
    fn a_plan_is_taken_in_by_its_name_or_with_all_others() {
        let keys = [
            ("GROQ_API_KEY", "a"),
            ("GEMINI_API_KEY", "b"),
            ("GITHUB_TOKEN", "c"),
        ];
        assert_eq!(offer_to("groq", false, &keys).0, ["groq"]);
        assert_eq!(
            offer_to(" google , groq,", false, &keys).0,
            ["google", "groq"]
        );
        assert_eq!(
            offer_to("all", false, &keys).0,
            ["github", "google", "groq"]
        );
        let (names, left_out) = offer_to("", false, &keys);
        assert_eq!((names.len(), left_out.len()), (0, 3));
    }

    #[test]
    fn the_environment_says_what_the_flag_says_unless_the_flag_does() {
        let variable = looked_up(&[(PLAN, "groq,google")]);
        let said = |flags: &[&str]| {
            let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            let unbilled = Unbilled::said(&flags, KnownProvider::all(), &variable);
            unbilled.expect("known names").names
        };
        assert_eq!(said(&[]), ["groq", "google"]);
        assert_eq!(said(&["cohere"]), ["cohere"]);
        assert_eq!(
            said(&["cohere", "github,mistral"]),
            ["cohere", "github", "mistral"]
        );
        assert_eq!(said(&[""]), [""; 0]);
    }

    #[test]
    fn a_plan_that_is_not_known_is_an_error_that_names_those_that_are() {
        for unknown in ["grok", "groq,openrouter", "groq#2", "GROQ"] {
            let variable = looked_up(&[(PLAN, unknown)]);
            for (flags, whose) in [(vec![unknown.to_owned()], "--plan"), (Vec::new(), PLAN)] {
                let error = Unbilled::said(&flags, KnownProvider::all(), &variable);
                let error = error.expect_err(unknown);
                assert!(error.starts_with(whose), "{error}");
                for name in ["groq", "google", "cerebras", "all"] {
                    assert!(error.contains(name), "{error}");
                }
            }
        }
    }

    #[test]
    fn where_no_provider_is_used_the_reason_is_that_none_was_found_or_that_all_are_left_out() {
        for (environment, why) in [
            (&[][..], "no provider's key is set"),
            (&[("GROQ_API_KEY", "k")][..], "left out"),
            (&[("OPENROUTER_API_KEY", "two words")][..], "left out"),
        ] {
            let variable = looked_up(environment);
            let known = KnownProvider::all();
            let offered = offered(known, false, &Unbilled::default(), &variable);
            assert!(offered.providers.is_empty(), "{environment:?}");
            assert!(offered.why_none.contains(why), "{}", offered.why_none);
        }
    }

    #[test]
    fn a_plan_that_is_named_without_a_key_is_reported() {
        let (names, left_out) = offer_to("groq", false, &[]);
        assert!(names.is_empty());
        assert!(left_out[0].contains("GROQ_API_KEY"), "{left_out:?}");
        assert!(offer_to("all", false, &[]).1.is_empty());
    }

    #[test]
    fn a_service_that_has_to_be_asked_for_is_not_enrolled_by_its_key() {
        let (names, left_out) = offer(true, &[("ZEN_API_KEY", "k")]);
        assert!(
            !names.iter().any(|name| name == "opencode-zen"),
            "{names:?}"
        );
        assert!(left_out[0].contains("ZEN_API_KEY"), "{left_out:?}");
        assert!(left_out[0].contains("configuration file"), "{left_out:?}");
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
    fn a_variable_that_no_header_can_carry_leaves_out_its_provider_only_and_is_not_shown() {
        for odd in ["two words", "two\nlines", "n\u{fffd}ne", "a\0b"] {
            let keys = [("GROQ_API_KEY", odd), ("OPENROUTER_API_KEY", "k")];
            let (names, left_out) = offer(false, &keys);
            assert_eq!(names, ["openrouter"]);
            let [line] = &left_out[..] else {
                panic!("one line: {left_out:?}")
            };
            assert!(
                line.contains("groq") && line.contains("GROQ_API_KEY"),
                "{line}"
            );
            assert!(!line.contains(odd), "{line}");
        }
    }

    #[test]
    fn an_odd_variable_beside_a_good_one_leaves_out_its_own_account_only() {
        let keys = [("GROQ_API_KEY", "a b"), ("GROQ_API_KEY_2", "k")];
        let (names, left_out) = offer(false, &keys);
        assert_eq!((names, left_out.len()), (vec!["groq".to_owned()], 1));
    }

    #[test]
    fn an_account_that_fits_no_address_leaves_out_its_provider_only() {
        let (names, left_out) = offer(
            false,
            &[
                ("CLOUDFLARE_API_TOKEN", "a"),
                ("CLOUDFLARE_ACCOUNT_ID", "../other"),
                ("GROQ_API_KEY", "k"),
            ],
        );
        assert_eq!(names, ["groq"]);
        assert!(left_out[0].contains("cloudflare"), "{left_out:?}");
        assert!(!left_out[0].contains("../other"), "{left_out:?}");
    }
}
