//! Says loudly what an operator has to see to: a key that is refused, a model that was billed.

use std::{collections::HashSet, time::Duration};

use tower_free_models::{HealthMap, HealthSnapshot, OutcomeKind, TargetState};

const INTERVAL: Duration = Duration::from_secs(1);

/// Logs each alarm when it begins.
pub(crate) async fn watch(health: HealthMap) {
    let mut known = HashSet::new();
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let now = alarms(&health.snapshot());
        for alarm in now.difference(&known) {
            tracing::error!("{alarm}");
        }
        known = now;
    }
}

fn alarms(health: &HealthSnapshot) -> HashSet<String> {
    let refused = health.providers.iter().filter_map(|provider| {
        let cooling = provider
            .cooling
            .filter(|cooling| cooling.reason == OutcomeKind::Unauthorised)?;
        let retry = jiff::Timestamp::try_from(cooling.until)
            .map_or_else(|_| "later".to_owned(), |until| format!("at {until:.0}"));
        let name = &provider.name;
        Some(format!(
            "provider {name} refuses its key: check it and restart; it will be tried again {retry}"
        ))
    });
    let billed = health
        .targets
        .iter()
        .filter(|target| target.state == TargetState::Quarantined);
    let billed = billed.map(|target| {
        format!(
            "{} has reported a cost and is quarantined until a restart",
            target.id
        )
    });
    refused.chain(billed).collect()
}

#[cfg(test)]
mod tests {
    use tower_free_models::{FreeRule, Model, Outcome, Provider};

    use super::*;

    #[test]
    fn a_refused_key_and_a_cost_are_alarms_and_an_overload_is_not() {
        let provider = Provider::new("p")
            .free(FreeRule::All)
            .base_url("http://p.test/v1")
            .key("k")
            .build()
            .unwrap();
        let health = HealthMap::seeded(1);
        let begin = |model: &str| {
            health
                .begin(&provider.target(Model::new(model)).unwrap())
                .unwrap()
        };
        begin("a").fail(&Outcome::of(OutcomeKind::Unavailable));
        assert!(alarms(&health.snapshot()).is_empty());
        begin("b").billed();
        begin("c").fail(&Outcome::of(OutcomeKind::Unauthorised).provider());
        let alarms = alarms(&health.snapshot());
        assert_eq!(alarms.len(), 2, "{alarms:?}");
        assert!(!format!("{alarms:?}").contains("\"k\""));
    }
}
