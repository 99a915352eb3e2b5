//! Any bytes are either refused as the reference refuses them, or changed only in what must change.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tower_free_models::{__private::{Refusal, rewrite}, provider::{self, Dialect, Rule}};

#[path = "../../src/request/oracle.rs"]
mod oracle;

/// One with every kind of rule.
fn busy() -> Dialect {
    let mut dialect = Dialect::OPENAI;
    dialect.fields = vec![
        ("seed".into(), Rule::Drop),
        (
            "max_tokens".into(),
            Rule::Rename("max_completion_tokens".into()),
        ),
        ("max_completion_tokens".into(), Rule::AtMost(400)),
        ("n".into(), Rule::Default("1".into())),
        ("store".into(), Rule::Replace("true".into(), "false".into())),
    ];
    dialect.message_fields = vec!["name".into(), "reasoning".into()];
    dialect.developer_role = false;
    dialect.null_content = false;
    dialect
}

/// One that lets little through.
fn strict() -> Dialect {
    let mut dialect = Dialect::OPENAI;
    dialect.fields = vec![("seed".into(), Rule::Rename("random_seed".into()))];
    dialect.only = vec!["temperature".into(), "max_tokens".into()];
    dialect
}

/// One of a service that gets known fields only.
fn closed() -> Dialect {
    let mut dialect = Dialect::OPENAI;
    dialect.known = Some(vec!["top_k".into()]);
    dialect
}

fuzz_target!(|input: &[u8]| {
    let Some((which, body)) = input.split_last() else {
        return;
    };
    let dialect = match which % 4 {
        0 => busy(),
        1 => strict(),
        2 => closed(),
        _ => Dialect::OPENAI,
    };
    let expected = oracle::Expected {
        model: "vendor/model:free",
        dialect: &dialect,
        max_output: (which & 4 != 0).then_some(100),
    };
    let body = Bytes::copy_from_slice(body);
    match rewrite(&body, expected.model, &dialect, expected.max_output) {
        Ok(segments) => {
            assert!(oracle::is_json(&body));
            oracle::assert_rewritten(&body, &expected, &segments);
        }
        Err(Refusal::NotJson) => assert!(!oracle::is_json(&body)),
        Err(Refusal::NotRouted) => {}
    }
});
