//! Tells an operator of failures: a key that is refused and a model that was billed loudly, the rest in the log.

use tower_free_models::{
    HealthMap, catalog::TargetId, classify::OutcomeKind, health::EndedAttempt,
};

/// Logs what happens to the targets of this map from now on.
pub(crate) fn listen(health: &HealthMap) {
    health.on_outcome(|ended| {
        if let Some(alarm) = refused_key(ended) {
            tracing::error!("{alarm}");
        }
        tracing::debug!("{}", line(ended));
    });
    health.on_quarantine(|target| tracing::error!("{}", billed(target)));
}

/// Of several attempts that were refused at the same time, only the first cools the provider.
fn refused_key(ended: &EndedAttempt) -> Option<String> {
    if ended.outcome.kind != OutcomeKind::Unauthorised {
        return None;
    }
    let cooled = ended.cooled.as_ref()?;
    let retry = jiff::Timestamp::try_from(cooled.until)
        .map_or_else(|_| "later".to_owned(), |until| format!("at {until:.0}"));
    let name = ended.target.id().provider();
    Some(format!(
        "provider {name} refuses its key: check it and restart; it will be tried again {retry}"
    ))
}

fn billed(target: &TargetId) -> String {
    format!("{target} has reported a cost and is quarantined until a restart")
}

fn line(ended: &EndedAttempt) -> String {
    let (target, outcome) = (ended.target.id(), ended.outcome.kind);
    let mut line = format!("{target} {outcome} after {:.1?}", ended.total);
    if let Some(cooled) = &ended.cooled {
        let (scope, guess) = (
            cooled.scope.name(),
            if cooled.stated { "" } else { ", a guess" },
        );
        line += &format!("; its {scope} cools for {:.1?}{guess}", cooled.remaining);
    }
    if ended.recovered {
        line += "; it has recovered";
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tower_free_models::{Model, Provider, classify::Outcome, provider::FreeRule};

    use super::*;

    #[test]
    fn a_refused_key_is_an_alarm_once_and_an_overload_is_none() {
        let provider = Provider::new("p")
            .free(FreeRule::All)
            .base_url("http://p.test/v1")
            .key("secret")
            .build()
            .unwrap();
        let target = |model: &str| provider.target(Model::new(model)).unwrap();
        let health = HealthMap::seeded(1);
        let said = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        health.on_outcome({
            let said = Arc::clone(&said);
            move |ended| {
                let mut said = said.lock().unwrap();
                said.0.extend(refused_key(ended));
                said.1.push(line(ended));
            }
        });
        let [a, b, c] = ["a", "b", "c"].map(|model| health.begin(&target(model)).unwrap());
        a.fail(&Outcome::of(OutcomeKind::Unavailable));
        b.fail(&Outcome::of(OutcomeKind::Unauthorised).provider());
        c.fail(&Outcome::of(OutcomeKind::Unauthorised).provider());
        let (alarms, lines) = &*said.lock().unwrap();
        assert_eq!(alarms.len(), 1, "{alarms:?}");
        assert!(alarms[0].contains("provider p refuses its key"));
        let [a, b, c] = [0, 1, 2].map(|n| lines[n].as_str());
        assert!(
            a.starts_with("p/a unavailable after") && a.ends_with("a guess"),
            "{a}"
        );
        assert!(b.contains("its provider cools for 3600.0s"), "{b}");
        assert!(!c.contains("cools"), "{c}");
        assert!(!format!("{alarms:?}{lines:?}").contains("secret"));
    }
}
