//! The pool of a scenario with all copies made, and as the layers see it.

use tower_free_models::{Catalog, Model, Provider, Target, provider::FreeRule};

use crate::{
    demand::Ask,
    dice::number_of,
    scenario::{BoxError, Counts, LimitRule, ModelRule, Of, ProviderRule, Scenario},
    window::Millis,
};

/// All providers, models and limits of a scenario.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) providers: Vec<ProviderRule>,
    pub(crate) models: Vec<PoolModel>,
    pub(crate) limits: Vec<PoolLimit>,
}

/// One model at one provider.
#[derive(Debug)]
pub(crate) struct PoolModel {
    pub(crate) provider: usize,
    /// By which its chance is drawn.
    pub(crate) number: u64,
    pub(crate) rule: ModelRule,
    /// Those that its calls count against.
    pub(crate) limits: Vec<usize>,
}

/// One limit: of an account, or of one model.
#[derive(Debug)]
pub(crate) struct PoolLimit {
    pub(crate) number: u64,
    pub(crate) rule: LimitRule,
}

impl Pool {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut pool = Self {
            providers: Vec::new(),
            models: Vec::new(),
            limits: Vec::new(),
        };
        for rule in &scenario.providers {
            for copy in 0..rule.copies {
                let mut rule = rule.clone();
                rule.name = numbered(&rule.name, copy, rule.copies);
                pool.add(rule);
            }
        }
        pool
    }

    fn add(&mut self, provider: ProviderRule) {
        let name = &provider.name;
        let account: Vec<_> = provider
            .limits
            .iter()
            .filter(|limit| limit.of == Of::Account)
            .collect();
        let first = self.limits.len();
        for rule in &account {
            self.limits.push(PoolLimit::new(name, rule));
        }
        let account = first..self.limits.len();
        for rule in &provider.models {
            for copy in 0..rule.copies {
                let id = numbered(&rule.id, copy, rule.copies);
                let mut limits: Vec<_> = account.clone().collect();
                let applies = |limit: &&LimitRule| {
                    limit.of == Of::Model
                        && (limit.models.is_empty() || limit.models.contains(&rule.id))
                };
                for limit in provider.limits.iter().filter(applies) {
                    limits.push(self.limits.len());
                    self.limits
                        .push(PoolLimit::new(&format!("{name}/{id}"), limit));
                }
                self.models.push(PoolModel {
                    provider: self.providers.len(),
                    number: number_of(&format!("{name}/{id}")),
                    rule: ModelRule { id, ..rule.clone() },
                    limits,
                });
            }
        }
        self.providers.push(provider);
    }

    /// The number of a model by the host that a request is sent to, and the id.
    pub(crate) fn find(&self, host: &str, id: &str) -> Option<usize> {
        let provider = host.strip_suffix(DOMAIN)?;
        self.models.iter().position(|model| {
            model.rule.id == id && self.providers[model.provider].name == provider
        })
    }

    /// The models that say of themselves that they can serve this.
    pub(crate) fn fit<'a>(&'a self, ask: &'a Ask) -> impl Iterator<Item = usize> + 'a {
        (0..self.models.len()).filter(move |model| self.models[*model].fits(ask))
    }

    /// All moments at which a model appears or vanishes.
    pub(crate) fn changes(&self) -> Vec<Millis> {
        let times = self
            .models
            .iter()
            .flat_map(|model| [model.rule.from_s, model.rule.until_s]);
        let mut times: Vec<_> = times
            .filter(|time| *time > 0.0 && time.is_finite())
            .map(millis)
            .collect();
        times.sort_unstable();
        times.dedup();
        times
    }
}

impl PoolModel {
    pub(crate) fn is_there(&self, at: Millis) -> bool {
        at as f64 >= self.rule.from_s * 1e3 && (at as f64) < self.rule.until_s * 1e3
    }

    pub(crate) fn fits(&self, ask: &Ask) -> bool {
        let knows = |name: &str| self.rule.parameters.iter().any(|known| known == name);
        ask.tokens() <= self.rule.window
            && (!ask.image || self.rule.input.iter().any(|input| input == "image"))
            && (!ask.tools || knows("tools"))
            && (!ask.schema || knows("structured_outputs"))
    }
}

impl PoolLimit {
    fn new(whose: &str, rule: &LimitRule) -> Self {
        Self {
            number: number_of(&format!("{whose} {}", rule.name)),
            rule: rule.clone(),
        }
    }

    /// What a request uses of it.
    pub(crate) const fn use_of(&self, ask: &Ask) -> u64 {
        match self.rule.counts {
            Counts::Tokens => ask.tokens(),
            Counts::Requests | Counts::InFlight => 1,
        }
    }
}

/// The pool as the layers know it: what providers list, and where they are.
pub(crate) struct Listed {
    providers: Vec<Provider>,
    pub(crate) catalog: Catalog,
}

impl Listed {
    pub(crate) fn new(pool: &Pool) -> Result<Self, BoxError> {
        let providers: Result<Vec<_>, _> = pool.providers.iter().map(provider).collect();
        let listed = Self {
            providers: providers?,
            catalog: Catalog::new(),
        };
        listed.refresh(pool, 0)?;
        Ok(listed)
    }

    /// Replaces the catalog with what there is at `at`.
    pub(crate) fn refresh(&self, pool: &Pool, at: Millis) -> Result<(), BoxError> {
        for (number, provider) in self.providers.iter().enumerate() {
            let own = pool.models.iter().filter(|model| model.provider == number);
            let targets: Result<Vec<_>, _> = own
                .filter(|model| model.is_there(at))
                .map(|model| target(provider, &model.rule))
                .collect();
            match targets? {
                none if none.is_empty() => self.catalog.remove(provider.name()),
                targets => drop(self.catalog.replace(provider, targets)?),
            }
        }
        Ok(())
    }
}

const DOMAIN: &str = ".example";

fn provider(rule: &ProviderRule) -> Result<Provider, BoxError> {
    let builder = match &rule.known {
        Some(known) => Provider::known(known)
            .ok_or_else(|| format!("no provider is known as {known}"))?
            .name(&*rule.name),
        None => Provider::new(&*rule.name),
    };
    let url = format!("https://{}{DOMAIN}/v1", rule.name);
    Ok(builder
        .base_url(&url)
        .key("key")
        .free(FreeRule::All)
        .build()?)
}

fn target(provider: &Provider, rule: &ModelRule) -> Result<Target, BoxError> {
    let model = Model::new(&*rule.id)
        .context_length(rule.window)
        .input(&rule.input)
        .output(["text"])
        .parameters(&rule.parameters);
    Ok(provider.target(model)?)
}

fn numbered(name: &str, copy: usize, copies: usize) -> String {
    match copies {
        1 => name.to_owned(),
        _ => format!("{name}-{}", copy + 1),
    }
}

/// Seconds in whole milliseconds: tokio's timers have no others.
pub(crate) fn millis(seconds: f64) -> Millis {
    (seconds * 1e3).round() as Millis
}
