//! A plain page for people: what is in the pool, and how it is.

use std::{collections::HashSet, fmt::Write as _};

use tower_free_models::Target;

use crate::server::Gateway;

pub(crate) fn page(gateway: &Gateway) -> String {
    let pool = gateway.catalog.snapshot();
    gateway.health.observe(&pool);
    let listed: HashSet<_> = pool.targets().iter().map(Target::id).collect();
    let mut rows = String::new();
    for target in gateway
        .health
        .snapshot()
        .targets
        .iter()
        .filter(|target| listed.contains(&target.id))
    {
        let held_back = target.cooling.map_or_else(String::new, |cooling| {
            let certain = if cooling.stated { "" } else { " (a guess)" };
            format!(
                "{} for {} s{certain}",
                cooling.reason,
                cooling.remaining.as_secs() + 1
            )
        });
        let tally = target.tally;
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{held_back}</td><td>{} of {}</td></tr>",
            escape(target.id.provider()),
            escape(target.id.model()),
            target.state.name(),
            tally.succeeded,
            tally.started,
        );
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Free models</title>\
         <style>body{{font-family:sans-serif;margin:2em}}td,th{{text-align:left;padding:.2em 1em .2em 0}}</style></head>\
         <body><h1>{} free models at {} providers</h1>\n<table><tr><th>provider</th><th>model</th><th>state</th>\
         <th>held back by</th><th>answered</th></tr>\n{rows}</table>\n\
         <p>The same as JSON: <a href=\"/status\">/status</a>, <a href=\"/v1/models\">/v1/models</a>.</p></body></html>\n",
        pool.len(),
        pool.providers().len(),
    )
}

/// Names come from listings, which are not ours.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(escape("<b a=\"&\">"), "&lt;b a=&quot;&amp;&quot;&gt;");
    }
}
