//! Prints `PROVIDERS.md`, which is made from the table of providers and the fixtures of the tests:
//! `cargo run --example providers > PROVIDERS.md`. A test compares the file with it.

use std::{fmt, fs};

use serde::Deserialize;
use tower_free_models::{
    classify::Scope,
    provider::{Auth, Day, Endpoint, FreeRule, KnownProvider, Limit, Period, Quantity, Rule},
};

#[allow(dead_code, reason = "a test includes this file for its page")]
fn main() {
    print!("{}", page());
}

/// Where each shape is from.
#[derive(Clone, Copy, Deserialize)]
struct Provenance {
    listing: Source,
    success: Option<Source>,
    stream: Option<Source>,
    errors: Source,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Source {
    Recorded,
    Documented,
}

/// The part of a fixture that the page tells of.
#[derive(Deserialize)]
struct Fixture {
    seen: Provenance,
}

impl Provenance {
    fn of(known: &KnownProvider) -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let path = format!("{root}/tests/fixtures/providers/{}.json", known.name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let fixture: Fixture =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        fixture.seen
    }
}

const OPENING: &str = "\
# Providers

Providers of free models, as this crate knows them. The page is made from the table in
`src/provider/table.rs` and the fixtures in `tests/fixtures/providers`: a test compares it, and
`cargo run --example providers > PROVIDERS.md` writes it anew.

Free plans change without notice: what is stated here is as old as its source. A limit is counted for the
whole account, or for each model by itself. Sources that are cited often: freellmapi is
tashfeenahmed/freellmapi at 291556df (2026-08-22), survey a probe of the rate limits of 13 providers
(2026-07-26), list cheahjs/free-llm-api-resources at e6765bc9 (2026-07-18), peers what the sources of other
free gateways state (read 2026-11-21).

Where the free tier is a **plan**, the service bills an account that has a payment method, and its key does not tell.
Such a provider is used only if you say that its account cannot be billed: `--plan groq,google` or `--plan all`,
`FREE_MODELS_PLAN=groq,google`, `free = \"plan\"` in a configuration file, `FreeRule::Plan` in Rust. What it lists at a
price above zero, and what is known to be outside of its plan, stays out even then, unless its section says that the
plan covers it; `free = \"all\"` takes it in.
";

const CLOSING: &str = "
## What has no entry

| who | why |
|---|---|
| LLM.API, deepinfra, xAI, zenmux, venice and other services that bill each call | no free tier is documented that a rule could tell from what is billed: a key that lies in the environment would spend |
| scaleway, alibaba-dashscope, chutes | a grant that is used up once, or an account that answers 402 |
| novita, morph | nothing is listed at zero any more (2026-08) |
| modelscope, siliconflow, together, requesty, routeway, longcat, iflow and other free tiers | not read closely enough yet: what is free there has to be certain |
| blockrun, septor, lucidity | they answer with another model than the one that was asked for |
| relays of product logins (g4f, Copilot, Cursor, Kiro, …) | the account of a product is used against its terms |

## How to add a provider

1. Add an entry to `src/provider/table.rs`: what it does not say is as `usual()` has it. State only what you
   have read, and where and when, in `source`. What decides whether a model is free has to be certain.
2. Add `tests/fixtures/providers/NAME.json`: its listing, an answer, a stream and its errors, in words of your own.
   `tests/fixtures/providers/README.md` says how.
3. Run `cargo test --test suite providers`. It shows every law on the new entry: what is free, where the key goes, what
   arrives, and what each error means.
4. Run `cargo run --example providers > PROVIDERS.md` for this page.

No other code is needed. If an error is taken for what it is not, its sign belongs into `src/upstream/patterns.rs`.
";

/// The whole page.
///
/// # Panics
///
/// If an entry has no fixture.
pub(crate) fn page() -> String {
    let entries = KnownProvider::all();
    let (local, remote): (Vec<_>, Vec<_>) = entries.iter().partition(|known| known.local);
    let mut page = OPENING.to_owned();
    for (title, entries) in [("Services", remote), ("Servers of one's own", local)] {
        page.push_str(&format!(
            "\n## {title}\n\n| name | free | key | endpoints | limits |\n|---|---|---|---|---|\n"
        ));
        for known in entries {
            row(
                &mut page,
                [
                    format!("[{}](#{})", known.name, known.name),
                    free(known),
                    key(known),
                    endpoints(known),
                    limits(known),
                ],
            );
        }
    }
    page.push_str("\n## One by one\n");
    for known in entries {
        page.push_str(&section(known));
    }
    page.push_str(CLOSING);
    page
}

fn row(page: &mut String, cells: [String; 5]) {
    page.push_str(&format!(
        "| {} |\n",
        cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
    ));
}

fn free(known: &KnownProvider) -> String {
    match known.free {
        FreeRule::OpenRouter => "ids that end in `:free`, listed at zero".into(),
        FreeRule::Priced => "what is listed at a price of zero".into(),
        FreeRule::Suffix(suffix) => format!("ids that end in `{suffix}`"),
        FreeRule::Ids(ids) => format!("only {}", quoted(ids)),
        FreeRule::Keyless => "everything, without a key".into(),
        FreeRule::Plan => format!("its free plan, with `--plan {}`", known.name),
        FreeRule::All => "everything".into(),
        other => panic!("how is {other:?} said?"),
    }
}

fn key(known: &KnownProvider) -> String {
    let mut names: Vec<_> = known
        .key_env
        .iter()
        .chain(&known.account_env)
        .map(|name| format!("`{name}`"))
        .collect();
    if known.account_env.is_some() {
        let account = names.pop().unwrap_or_default();
        names = vec![format!("{} and {account}", names.join(" or "))];
    }
    if known.auth == Auth::Basic {
        names.push("`user:password`".to_owned());
    }
    match (names.is_empty(), known.keyless) {
        (true, _) => "none".into(),
        (false, true) => format!("none, or {}", names.join(" or ")),
        (false, false) => names.join(" or "),
    }
}

fn endpoints(known: &KnownProvider) -> String {
    let words = known.endpoints.iter().map(|endpoint| match endpoint {
        Endpoint::ChatCompletions => "chat",
        Endpoint::Completions => "completions",
        Endpoint::Responses => "responses",
        Endpoint::Embeddings => "embeddings",
        Endpoint::ImageGenerations => "images",
        Endpoint::ImageEdits => "image edits",
        Endpoint::AudioTranscriptions => "transcriptions",
        Endpoint::AudioTranslations => "translations",
        other => panic!("how is {other} said?"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn limits(known: &KnownProvider) -> String {
    let of = |scope| {
        let limits = known
            .limits
            .iter()
            .filter(move |limit| limit.scope == scope);
        limits.map(in_words).collect::<Vec<_>>().join(", ")
    };
    let both = [
        (of(Scope::Provider), "the account"),
        (of(Scope::Target), "each model"),
    ];
    let said: Vec<_> = both
        .into_iter()
        .filter(|(limits, _)| !limits.is_empty())
        .map(|(limits, whose)| format!("{whose}: {limits}"))
        .collect();
    match (said.is_empty(), known.local) {
        (true, true) => "none".into(),
        (true, false) => "not known".into(),
        (false, _) => said.join("; "),
    }
}

fn in_words(limit: &Limit) -> String {
    let of = match limit.of {
        Quantity::Requests => "requests",
        Quantity::Tokens => "tokens",
        other => panic!("how is {other:?} said?"),
    };
    let per = match limit.per {
        Period::AtOnce => return format!("{} at once", grouped(limit.amount)),
        Period::Second => "second",
        Period::Minute => "minute",
        Period::Hour => "hour",
        Period::Day => "day",
        Period::Month => "month",
        other => panic!("how is {other:?} said?"),
    };
    format!("{} {of}/{per}", grouped(limit.amount))
}

/// `1,000,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn section(known: &KnownProvider) -> String {
    let mut lines = vec![format!("base URL: `{}`", known.base_url)];
    let by_day = known.limits.iter().any(|limit| limit.per == Period::Day);
    if by_day || known.day != Day::Unknown {
        lines.push(format!("its day {}", day(known.day)));
    }
    lines.extend(terms(known));
    lines.extend(quirks(known));
    if !known.note.is_empty() {
        lines.push(known.note.to_owned());
    }
    lines.push(seen(Provenance::of(known)));
    lines.push(format!("source: {}", known.source));
    let lines: String = lines.iter().map(|line| format!("- {line}\n")).collect();
    format!("\n### {}\n\n{lines}", known.name)
}

fn day(day: Day) -> &'static str {
    match day {
        Day::Unknown => {
            "ends at a time that is not known: after its quota is used up, the provider is not asked for 24 hours"
        }
        Day::Utc => "ends at midnight UTC",
        Day::Pacific => "ends at midnight in California",
        other => panic!("how is {other:?} said?"),
    }
}

/// What has to be known before it is used.
fn terms(known: &KnownProvider) -> Vec<String> {
    let mut terms = Vec::new();
    if known.asks_for_card {
        terms.push(
            "**asks a new account for a card**: an account with a card may be billed".to_owned(),
        );
    }
    if known.opt_in {
        terms.push(
            "**off unless asked for**: it is used only if a configuration file names it, and not because its key is in the environment"
                .to_owned(),
        );
    }
    if known.plan.covers_priced {
        terms.push(
            "its free plan also covers models that are listed at a price, up to a grant; the service refuses requests beyond it"
                .to_owned(),
        );
    }
    if !known.plan.outside.is_empty() {
        let words = quoted(known.plan.outside);
        terms.push(format!(
            "not in its free plan: models whose id has one of the words {words}"
        ));
    }
    terms
}

fn quirks(known: &KnownProvider) -> Vec<String> {
    let dialect = &known.dialect;
    let mut quirks = Vec::new();
    let of = |wanted: fn(&Rule) -> bool| {
        let fields = dialect.fields.iter().filter(move |(_, rule)| wanted(rule));
        fields.map(|(name, _)| name).collect::<Vec<_>>()
    };
    let dropped = of(|rule| *rule == Rule::Drop);
    if !dropped.is_empty() {
        quirks.push(format!("fields that are not sent: {}", quoted(&dropped)));
    }
    for (name, rule) in &dialect.fields {
        quirks.push(match rule {
            Rule::Drop => continue,
            Rule::Rename(to) => format!("`{name}` is sent as `{to}`"),
            Rule::AtMost(most) => format!("`{name}` is at most {most}"),
            Rule::Default(json) => format!("`{name}` is {json} where it is missing"),
            Rule::DefaultLimit {
                answer,
                with_thoughts,
            } => format!(
                "`{name}` is {answer} where it is missing, and up to {with_thoughts} for a model that may think"
            ),
            other => panic!("how is {other:?} said?"),
        });
    }
    for (endpoint, fields) in &dialect.elsewhere {
        for (name, rule) in fields {
            quirks.push(match rule {
                Rule::Default(json) => {
                    format!("at `{endpoint}` `{name}` is {json} where it is missing")
                }
                Rule::Replace(from, to) => {
                    format!("at `{endpoint}` `{name}` is {to} where it was {from}")
                }
                other => panic!("how is {other:?} said?"),
            });
        }
    }
    if let Some(known) = &dialect.known {
        quirks.push(format!(
            "only these fields are sent: those of OpenAI's API, and {}",
            quoted(known)
        ));
    }
    if !dialect.developer_role {
        quirks.push("the role `developer` is sent as `system`".to_owned());
    }
    if !dialect.null_content {
        quirks.push("a `content` that is null is sent as an empty string".to_owned());
    }
    if !dialect.schema_keywords.is_empty() {
        quirks.push(format!(
            "keywords that are removed from the schemas of tools: {}",
            quoted(&dialect.schema_keywords)
        ));
    }
    if known.bills_files {
        quirks.push("a file is sent only to a model that is listed to read files: for others the service reads it, and bills that".to_owned());
    }
    if !dialect.only.is_empty() {
        quirks.push(format!(
            "only these fields are sent: {}",
            quoted(&dialect.only)
        ));
    }
    if !dialect.message_fields.is_empty() {
        quirks.push(format!(
            "fields that are removed from messages: {}",
            quoted(&dialect.message_fields)
        ));
    }
    if !dialect.lacks.is_empty() {
        let lacks: Vec<_> = dialect.lacks.iter().map(|lack| lack.name()).collect();
        quirks.push(format!("no model has: {}", lacks.join(", ")));
    }
    quirks
}

fn quoted(names: &[impl fmt::Display]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn seen(seen: Provenance) -> String {
    let shapes = [
        ("listing", Some(seen.listing)),
        ("success", seen.success),
        ("stream", seen.stream),
        ("errors", Some(seen.errors)),
    ];
    let of = |wanted: Source| {
        let shapes = shapes.iter().filter(|(_, source)| *source == Some(wanted));
        shapes.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    let both = [
        ("from recordings", of(Source::Recorded)),
        ("from documentation", of(Source::Documented)),
    ];
    let said: Vec<_> = both
        .into_iter()
        .filter(|(_, shapes)| !shapes.is_empty())
        .map(|(how, shapes)| format!("{how}: {shapes}"))
        .collect();
    said.join("; ")
}
