//! The top-level fields that must not pass, and how their names are compared.

use crate::json::Text;

/// Top-level fields that can spend money, leave the pool, or send the request or its credential elsewhere.
///
/// `models` and `route` name other models, and a `preset` holds such names on OpenRouter's side. `providerOptions`
/// (Vercel's gateway) and `fallbacks` (LiteLLM, as are `api_base`, `base_url` and `api_key`) name models, providers and
/// addresses. Plugins, searches and remote tool servers are billed whatever the model costs: `web_search_options` is
/// OpenAI's, `search_parameters` xAI's, `enable_search` Alibaba's, `mcp_servers` Anthropic's. A `service_tier` has a
/// price of its own.
///
/// Each with its name as it is compared: in lower case, without underscores.
const GUARDED: [(&str, &str); 16] = [
    ("models", "models"),
    ("route", "route"),
    ("preset", "preset"),
    ("plugins", "plugins"),
    ("web_search_options", "websearchoptions"),
    ("providerOptions", "provideroptions"),
    ("provider_options", "provideroptions"),
    ("fallbacks", "fallbacks"),
    ("search_parameters", "searchparameters"),
    ("enable_search", "enablesearch"),
    ("web_search", "websearch"),
    ("mcp_servers", "mcpservers"),
    ("api_base", "apibase"),
    ("base_url", "baseurl"),
    ("api_key", "apikey"),
    ("service_tier", "servicetier"),
];

/// Which of [`GUARDED`] a parser could take a name for, one that ignores case, or one that reads `mcpServers` and
/// `mcp_servers` as the same field (as every reader of protobuf's JSON does).
pub(crate) fn guarded(name: Text<'_>) -> Option<&'static str> {
    let plain = Plain::of(name)?;
    let alike = |&&(_, guarded): &&(&str, &str)| plain.is(guarded);
    let mut alike = GUARDED.iter().filter(alike).map(|&(name, _)| name);
    let first = alike.next()?;
    // Of two spellings of one field, the one that the caller used is told.
    let has_underscore = name.chars().any(|char| char == '_');
    let as_written = |told: &&str| told.contains('_') == has_underscore;
    Some(alike.find(as_written).unwrap_or(first))
}

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    GUARDED.iter().map(|&(name, _)| name)
}

/// Whether a parser could take a name for one that is `plain` in lower case and without underscores.
pub(crate) fn is_like(name: Text<'_>, plain: &str) -> bool {
    is_like_any(name, &[plain])
}

/// The same of several names.
pub(crate) fn is_like_any(name: Text<'_>, plain: &[&str]) -> bool {
    Plain::of(name).is_some_and(|name| plain.iter().any(|plain| name.is(plain)))
}

/// A name in lower case, without underscores and hyphens.
struct Plain {
    bytes: [u8; Self::LONGEST],
    len: usize,
}

impl Plain {
    /// The longest name that anything is compared with is shorter.
    const LONGEST: usize = 24;

    /// `None` for what is no name of ours: too long, or with letters that no case makes ASCII.
    fn of(name: Text<'_>) -> Option<Self> {
        let mut plain = Self {
            bytes: [0; Self::LONGEST],
            len: 0,
        };
        if name.escaped || !name.raw.is_ascii() {
            for char in name.folded() {
                plain.push(u8::try_from(char).ok().filter(u8::is_ascii)?)?;
            }
        } else {
            for byte in name.raw.bytes() {
                plain.push(byte.to_ascii_lowercase())?;
            }
        }
        Some(plain)
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        if !matches!(byte, b'_' | b'-') {
            *self.bytes.get_mut(self.len)? = byte;
            self.len += 1;
        }
        Some(())
    }

    fn is(&self, plain: &str) -> bool {
        self.bytes.get(..self.len) == Some(plain.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(raw: &str) -> Option<&'static str> {
        let escaped = raw.contains('\\');
        guarded(Text { raw, escaped })
    }

    #[test]
    fn a_guarded_name_is_known_in_every_spelling() {
        for (name, plain) in GUARDED {
            assert_eq!(plain, name.to_lowercase().replace('_', ""));
            let lower = name.to_lowercase();
            let mut camel = String::new();
            for word in name.split('_') {
                let (first, rest) = word.split_at(1);
                match camel.is_empty() {
                    true => camel += first,
                    false => camel += &first.to_uppercase(),
                }
                camel += rest;
            }
            let escaped: String = name
                .chars()
                .map(|c| format!("\\u{:04x}", c as u32))
                .collect();
            let long_s = lower.replace('s', "\u{17f}");
            let kebab = lower.replace('_', "-");
            for raw in [
                &*lower,
                &name.to_uppercase(),
                &camel,
                &escaped,
                &long_s,
                &kebab,
            ] {
                assert!(named(raw).is_some(), "{raw}");
            }
            assert_eq!(named(name), Some(name));
        }
    }

    #[test]
    fn of_two_spellings_the_callers_is_told() {
        for (raw, name) in [
            ("providerOptions", "providerOptions"),
            ("PROVIDEROPTIONS", "providerOptions"),
            ("provider_options", "provider_options"),
            ("Provider_Options", "provider_options"),
            (r"provider\u005foptions", "provider_options"),
            ("mcpServers", "mcp_servers"),
            ("serviceTier", "service_tier"),
        ] {
            assert_eq!(named(raw), Some(name), "{raw}");
        }
    }

    #[test]
    fn other_names_are_not_guarded() {
        for raw in [
            "",
            "_",
            "model",
            "provider",
            "web",
            "search",
            "tools",
            "messages",
            "modelsx",
            "xmodels",
            "routé",
            "api.key",
            "a name that is longer than any of ours",
        ] {
            assert_eq!(named(raw), None, "{raw}");
        }
    }
}
