//! What a request is routed to.

use std::{
    error::Error,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use tokio::time::Instant;

use crate::{
    capability::Capability,
    catalog::{belief::Belief, model::Model},
    headers::{HeaderNames, percent_decoded},
    provider::{FreeRule, ImageApi, Provider},
};

/// A model at a provider: what a request is routed to, and what health is kept for.
///
/// Only its [`Provider`] makes it, because the provider knows what is free. Clones are cheap.
#[derive(Clone)]
pub struct Target {
    inner: Arc<Inner>,
    /// When its listing last said that it costs nothing, if that is what makes it free.
    price_read: Option<Instant>,
}

struct Inner {
    provider: Provider,
    model: Model,
    id: TargetId,
    header_names: HeaderNames,
    row: u64,
}

impl Provider {
    /// A target for a model that the operator wrote down, and vouches for by writing it.
    ///
    /// # Errors
    ///
    /// If the provider's rule says that the id cannot be free, as on OpenRouter without `:free` at its end, or under
    /// [`FreeRule::Plan`] if the service is [known](crate::provider::Plan) to leave it out of its free plan; or if the id is empty, longer
    /// than 256 bytes, or holds control characters.
    ///
    /// ```
    /// use tower_free_models::{Model, Provider};
    ///
    /// let openrouter = Provider::openrouter().build()?;
    /// assert!(openrouter.target(Model::new("acme/chat:free")).is_ok());
    /// assert!(openrouter.target(Model::new("acme/chat")).is_err());
    /// # Ok::<(), tower_free_models::provider::ProviderError>(())
    /// ```
    pub fn target(&self, model: impl Into<Model>) -> Result<Target, NotFree> {
        Target::written(self, model.into())
    }
}

impl Target {
    /// A target of a listing, after its price was found to be zero; `row` is a fingerprint of its row.
    pub(crate) fn listed(provider: &Provider, model: Model, row: u64) -> Result<Self, BadId> {
        BadId::check(model.id())?;
        let model = model.without(provider.dialect().lacks);
        let model = match provider.dialect().images {
            // Such a server has nothing else.
            ImageApi::Sdapi => model.with(Capability::ImageOutput),
            _ => model,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                provider: provider.clone(),
                header_names: HeaderNames::new(provider.name(), model.id()),
                id: TargetId::new(provider.shared_name(), model.id().into()),
                model,
                row,
            }),
            price_read: None,
        })
    }

    /// This target, free only because its listing says so at `now`.
    pub(crate) fn free_by_price(self, now: Instant) -> Self {
        let price_read = Some(now);
        Self { price_read, ..self }
    }

    /// When its price is believed no more, if its price is what makes it free.
    pub(crate) fn price_ends(&self) -> Option<Instant> {
        self.price_read.map(Belief::end)
    }

    /// How far it can be taken for free at `now`. What is not free by its price does not age.
    pub(crate) fn belief(&self, now: Instant) -> Belief {
        self.price_read
            .map_or(Belief::Fresh, |read| Belief::at(read, now))
    }

    /// When its listing last said that it costs nothing, if that is what makes it free.
    pub(super) const fn price_read(&self) -> Option<Instant> {
        self.price_read
    }

    /// A target that the operator wrote down.
    fn written(provider: &Provider, model: Model) -> Result<Self, NotFree> {
        let id = model.id().to_owned();
        let refused = |reason| NotFree {
            provider: provider.shared_name(),
            id,
            reason,
        };
        if !provider.may_be_free(model.id()) {
            return Err(refused(Reason::Rule(provider.free_rule())));
        }
        let row = model.fingerprint();
        Self::listed(provider, model, row).map_err(|bad| refused(Reason::Id(bad)))
    }

    /// Where it is.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.inner.provider
    }

    /// What it is.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.inner.model
    }

    /// Both by name.
    #[must_use]
    pub fn id(&self) -> &TargetId {
        &self.inner.id
    }

    /// Both as they stand in the headers of a response.
    pub(crate) fn header_names(&self) -> &HeaderNames {
        &self.inner.header_names
    }

    /// Whether a request with this `model` asks for this target: by the exact id of its model, or by
    /// `provider/id`. Both may be written as in a URL, as they are in `x-free-model`. A name that
    /// [means any](crate::catalog::means_any) names none in particular.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let is = |name: &str| {
            let there = || name.strip_prefix(self.id().provider())?.strip_prefix('/');
            self.id().model() == name || there() == Some(self.id().model())
        };
        let is_decoded = || percent_decoded(name).is_some_and(|name| is(&name));
        !means_any(name) && (is(name) || (name.contains('%') && is_decoded()))
    }

    /// A fingerprint of what the listing said of it: another one means that the provider changed something.
    pub(crate) fn row(&self) -> u64 {
        self.inner.row
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("provider", &self.inner.provider.name())
            .field("model", &self.inner.model)
            .finish_non_exhaustive()
    }
}

/// Whether this `model` of a request means any model.
///
/// ```
/// use tower_free_models::catalog::means_any;
///
/// assert!(means_any("free") && means_any("openrouter/free") && means_any(""));
/// assert!(!means_any("acme/chat:free"));
/// ```
#[must_use]
pub fn means_any(model: &str) -> bool {
    matches!(model, "" | "free" | "auto" | "openrouter/free")
}

/// The name of a target, a cheap key: `provider/model`.
#[derive(Clone, PartialEq, Eq)]
pub struct TargetId {
    // The hash comes first, so that two different ids rarely compare as strings.
    hash: u64,
    provider: Arc<str>,
    model: Arc<str>,
}

impl TargetId {
    pub(crate) fn new(provider: Arc<str>, model: Arc<str>) -> Self {
        let mut hasher = DefaultHasher::new();
        (&*provider, &*model).hash(&mut hasher);
        Self {
            hash: hasher.finish(),
            provider,
            model,
        }
    }

    /// The provider's name.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The model's id.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    pub(crate) const fn hashed(&self) -> u64 {
        self.hash
    }
}

impl Hash for TargetId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

impl fmt::Debug for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetId({self})")
    }
}

/// Why an id cannot name a model in `x-free-model`, where it stands as in a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadId;

impl BadId {
    /// The longest id in bytes: real ones have less than a hundred.
    const LONGEST: usize = 256;

    pub(crate) fn check(id: &str) -> Result<(), Self> {
        let fits = (1..=Self::LONGEST).contains(&id.len());
        // A header's value loses the spaces around it.
        let whole = id.trim_matches(' ').len() == id.len();
        // U+FFFD stands where a listing held bytes that are no UTF-8: the provider knows no model of that name.
        let is_odd = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
        match fits && whole && !id.contains(is_odd) {
            true => Ok(()),
            false => Err(Self),
        }
    }
}

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an id is 1 to {} bytes without control characters, and no space at either end",
            Self::LONGEST
        )
    }
}

/// Why a model is no target of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFree {
    provider: Arc<str>,
    id: String,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Rule(FreeRule),
    Id(BadId),
}

impl fmt::Display for NotFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, id, .. } = self;
        write!(f, "{id:?} is no free model of {provider}: ")?;
        match self.reason {
            Reason::Rule(FreeRule::Suffix(suffix)) => {
                write!(f, "the id of a free model ends in `{suffix}` there")
            }
            Reason::Rule(FreeRule::Plan) => f.write_str(
                "the free plan of the service does not cover it; only the rule `all` takes it in",
            ),
            Reason::Rule(_) => f.write_str(
                "the id of a free model is `author/model:free` there, and a router is not free",
            ),
            Reason::Id(bad) => bad.fmt(f),
        }
    }
}

impl Error for NotFree {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::catalog::model::ModelBuilder;

    fn provider(name: &str) -> Provider {
        Provider::new(name).build().expect("a provider")
    }

    #[test]
    fn an_id_is_both_names() {
        let target = provider("p").target(Model::new("a/b")).expect("a target");
        assert_eq!(target.id().to_string(), "p/a/b");
        let same = TargetId::new("p".into(), "a/b".into());
        assert!(HashSet::from([same]).contains(target.id()));
        assert_ne!(TargetId::new("p/a".into(), "b".into()), *target.id());
    }

    #[test]
    fn an_id_that_no_header_can_carry_is_no_target() {
        let long = "x".repeat(257);
        for id in [
            "",
            " a",
            "a ",
            "a\nb",
            "a\u{85}",
            "a\u{7f}",
            "\u{fffd}",
            long.as_str(),
        ] {
            let error = provider("p").target(Model::new(id)).expect_err(id);
            assert_eq!(error.reason, Reason::Id(BadId), "{id:?}");
        }
        for id in ["/models/my model.gguf", "grün", "模型 [ab12]"] {
            assert!(provider("p").target(Model::new(id)).is_ok(), "{id}");
        }
    }

    #[test]
    fn a_name_that_is_written_as_in_a_url_names_the_same_target() {
        let target = provider("p")
            .target(Model::new("grün/a%b"))
            .expect("a target");
        for name in [
            "grün/a%b",
            "p/grün/a%b",
            "gr%C3%BCn/a%25b",
            "p/gr%c3%bcn%2Fa%b",
        ] {
            assert!(target.is_named(name), "{name}");
        }
        for name in ["grun/a%b", "gr%C3%BCn", "q/gr%C3%BCn/a%25b", "%"] {
            assert!(!target.is_named(name), "{name}");
        }
    }

    #[test]
    fn what_a_server_of_images_has_makes_images() {
        let sdnext = Provider::known("sdnext").expect("it is known");
        let sdnext = sdnext.build().expect("a provider");
        let target = |model: ModelBuilder| sdnext.target(model).expect("a target");
        assert!(
            target(Model::new("me"))
                .model()
                .is_for(Capability::ImageOutput)
        );
        let stated = target(Model::new("me").output(["text"]));
        assert!(!stated.model().is_for(Capability::ImageOutput));
    }

    #[test]
    fn a_written_model_of_openrouter_must_be_a_free_variant() {
        let openrouter = Provider::openrouter().build().expect("a provider");
        for id in [
            "acme/chat",
            "openrouter/free",
            "openrouter/auto",
            "~acme/latest",
        ] {
            let error = openrouter.target(Model::new(id)).expect_err(id);
            assert_eq!(error.reason, Reason::Rule(FreeRule::OpenRouter), "{id}");
        }
        assert!(openrouter.target(Model::new("acme/chat:free")).is_ok());
    }

    #[test]
    fn a_written_model_outside_of_a_free_plan_needs_the_rule_all() {
        let google = |rule| {
            let known = Provider::known("google").expect("it is known").free(rule);
            known.build().expect("a provider")
        };
        for id in [
            "gemini-3-pro",
            "GEMINI-3-PRO",
            "models/gemini-3-pro",
            "veo-3.1",
        ] {
            let error = google(FreeRule::Plan).target(Model::new(id)).expect_err(id);
            assert!(error.to_string().contains("`all`"), "{error}");
            assert!(google(FreeRule::All).target(Model::new(id)).is_ok(), "{id}");
        }
        let flash = Model::new("gemini-3-flash");
        assert!(google(FreeRule::Plan).target(flash).is_ok());
    }
}
