//! Pools of targets, and health maps with a history.

use std::time::Duration;

use tower_free_models::{
    Catalog, HealthMap, Model, Provider, Target,
    classify::{Outcome, OutcomeKind, Recovery},
    provider::FreeRule,
};

/// How much the targets of a pool differ.
#[derive(Clone, Copy)]
pub(crate) enum Mix {
    /// All have the same window, and nothing else is stated.
    Uniform,
    /// Windows, longest answers and capabilities differ, as in a public listing.
    Mixed,
}

impl Mix {
    pub(crate) const ALL: [Self; 2] = [Self::Uniform, Self::Mixed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Mixed => "mixed",
        }
    }

    /// The target of this number at a provider.
    fn target(self, n: usize, provider: &Provider) -> Target {
        let model = Model::new(format!("author/model-{n}:free"));
        let model = match self {
            Self::Uniform => model.context_length(131_072),
            Self::Mixed => {
                let windows = [
                    4_096, 8_192, 32_768, 40_960, 131_072, 163_840, 262_144, 1_048_576,
                ];
                let model = model
                    .context_length(windows[n * 7 % 8])
                    .max_output([0, 2_048, 8_192, 65_536][n * 5 % 4])
                    .output(&["text"]);
                match n % 3 {
                    0 => model.parameters(&["tools", "response_format"]),
                    1 => model.input(&["text", "image"]),
                    _ => model,
                }
            }
        };
        provider.target(model).expect("a free model")
    }
}

/// So many targets, at five providers.
pub(crate) fn pool(size: usize, mix: Mix) -> Vec<Target> {
    let providers: Vec<_> = (0..5)
        .map(|n| {
            Provider::new(format!("provider-{n}"))
                .base_url(&format!("https://provider-{n}.example/v1"))
                .key("key")
                .free(FreeRule::All)
                .build()
                .expect("a provider")
        })
        .collect();
    (0..size)
        .map(|n| mix.target(n, &providers[n % 5]))
        .collect()
}

/// A map in which every third target has failed and the others have succeeded.
pub(crate) fn history(targets: &[Target]) -> HealthMap {
    let health = HealthMap::seeded(7);
    for (n, target) in targets.iter().enumerate() {
        let attempt = health.begin(target).expect("nothing is held against it");
        match n % 3 {
            // One must be left to pick.
            1 if n > 1 => {
                let hour = Recovery::After(Duration::from_secs(3600));
                attempt.fail(&Outcome::of(OutcomeKind::RateLimited).until(hour));
            }
            _ => attempt.succeed(),
        }
    }
    health
}

/// Twenty targets at one provider.
pub(crate) fn at_one_provider() -> Catalog {
    let provider = Provider::new("acme")
        .base_url("https://acme.example/v1")
        .key("acme-key")
        .free(FreeRule::All)
        .build()
        .expect("a provider");
    let targets = (0..20).map(|n| provider.target(Model::new(format!("model-{n}"))));
    let targets: Result<Vec<_>, _> = targets.collect();
    Catalog::from_targets(targets.expect("free models"))
}
