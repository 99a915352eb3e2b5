use std::{fmt, sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{config::Config, hedging::Hedges, service::Fallback};
use crate::upstream::Classify;

/// Applies [`Fallback`] to a service.
///
/// Clones, and the services they make, share the bound on the memory of bodies in flight.
///
/// ```
/// use std::time::Duration;
/// use tower::ServiceBuilder;
/// use tower_free_models::{Body, Catalog, FallbackLayer, FreeModelRouteLayer, HealthMap};
///
/// # fn fallback(client: impl Clone) {
/// let route = FreeModelRouteLayer::new(Catalog::new(), HealthMap::new());
/// let service = ServiceBuilder::new()
///     .layer(FallbackLayer::new().max_attempts(3).deadline(Duration::from_secs(60)))
///     .layer(route)
///     .service(client);
/// # }
/// ```
///
/// See the [crate docs](crate) for a complete example.
#[derive(Clone)]
pub struct FallbackLayer {
    config: Arc<Config>,
}

impl FallbackLayer {
    /// A fallback with the defaults that each setter names.
    #[must_use]
    pub fn new() -> Self {
        Self {
            config: Arc::default(),
        }
    }

    /// How failures are told apart. Default: as the router inside does, by
    /// [`FreeModelRouteLayer::classify`](crate::FreeModelRouteLayer::classify).
    #[must_use]
    pub fn classify(self, classify: impl Classify + 'static) -> Self {
        self.with(|config| config.classify = Some(Arc::new(classify)))
    }

    /// The most attempts for one request, the first one included; 0 counts as 1. Default: 6. Each may use up
    /// quota, and providers suspend accounts that send too many requests. Of `n` images that a chat model makes, each is an attempt.
    #[must_use]
    pub fn max_attempts(self, attempts: usize) -> Self {
        self.with(|config| config.max_attempts = attempts.max(1))
    }

    /// The time from the arrival of a whole request until its answer begins, over all attempts. Default: 300 s.
    #[must_use]
    pub fn deadline(self, limit: Duration) -> Self {
        self.with(|config| config.deadline = limit)
    }

    /// How long one attempt for a streamed answer may take until the head of the response. Default: 30 s.
    #[must_use]
    pub fn header_timeout(self, limit: Duration) -> Self {
        self.with(|config| config.header_timeout = limit)
    }

    /// How long one attempt for a streamed answer may take until its first content; comments and empty
    /// events do not count. Default: 120 s, since reasoning models on free tiers do take minutes.
    ///
    /// Where other targets can still be asked, an attempt has at most three times as long as its target usually takes (or
    /// the mean and six mean deviations, if that is longer), but never less than 10 s; 20 s if nothing is known of the
    /// target; and about a second more for each 2,000 tokens of the prompt. If it is given up then, the target has twice as
    /// long the next time.
    #[must_use]
    pub fn first_token_timeout(self, limit: Duration) -> Self {
        self.with(|config| config.first_token_timeout = limit)
    }

    /// How long one attempt may take until the whole of an answer that is not streamed. Default: 300 s.
    ///
    /// Where other targets can still be asked for a text or an embedding, an attempt has less, as with
    /// [`first_token_timeout`](Self::first_token_timeout): never less than 30 s, which is also the default; and five
    /// seconds more for each 1,000 tokens that the request allows the answer.
    #[must_use]
    pub fn answer_timeout(self, limit: Duration) -> Self {
        self.with(|config| config.answer_timeout = limit)
    }

    /// The longest silence within an answer that has begun. Default: 120 s.
    #[must_use]
    pub fn idle_timeout(self, limit: Duration) -> Self {
        self.with(|config| config.idle_timeout = limit)
    }

    /// How long a request may wait for a target to recover when no other is left. After that it is sent to one that
    /// only a guess holds back, or refused. Zero: it does not wait, and is sent to a target that is cooling by a guess
    /// as soon as no other request probes it.
    ///
    /// Default: 25 s. Of a spike for which simulated free tiers had room within 15 s, 99 % and more were served so, and with
    /// 10 s 86 to 99 % (`examples/simulate`).
    #[must_use]
    pub fn max_wait(self, limit: Duration) -> Self {
        self.with(|config| config.max_wait = limit)
    }

    /// Asks a second target beside one that takes longer than usual, for at most this share of the requests: 0.1 is one of
    /// ten, and a good beginning. Default: no request; 0 and what is not a number mean the same.
    ///
    /// The first of both that begins to answer wins, and the other call is dropped at once: it counts as abandoned, and as
    /// one of [`max_attempts`](Self::max_attempts). An attempt takes longer than usual where it has no content (if it is not
    /// streamed: no whole answer) after one and a half times the mean of its target, or the mean and two mean deviations if
    /// that is longer, but at least 1 s (2 s); where nothing is known of the target, after 4 s (10 s). Size counts as for the
    /// timeouts. A target in probation is neither hedged nor asked second, and images and speech have no second call.
    ///
    /// A second call costs quota, whatever comes of it. It is of use where models stall at times, and not where
    /// requests are more than limits allow.
    #[must_use]
    pub fn hedge(self, share: f64) -> Self {
        self.with(|config| config.hedges = (share > 0.0).then(|| Arc::new(Hedges::new(share))))
    }

    /// The most bytes of one answer that are held back before it is passed on, and of one event in a stream.
    /// A larger answer is passed on without being looked at as a whole. Default: 1 MiB.
    #[must_use]
    pub fn peek_limit(self, bytes: usize) -> Self {
        self.with(|config| config.peek_limit = bytes)
    }

    /// The largest request body, in bytes; a larger one is answered with 413. Default: 64 MB.
    #[must_use]
    pub fn max_body(self, bytes: u64) -> Self {
        self.with(|config| config.bounds.max_body = bytes)
    }

    /// How long the upload of a body may take; a slower one is answered with 408. Default: 30 s.
    #[must_use]
    pub fn body_timeout(self, limit: Duration) -> Self {
        self.with(|config| config.bounds.body_timeout = limit)
    }

    /// The most bytes of request bodies held at a time, over all requests; beyond that requests are answered
    /// with 503. Unless it is alone, a body may hold no more than it leaves free, and the last eighth is for bodies of at
    /// most a 512th, so that a few large ones do not shut out the small. Default: 512 MB.
    #[must_use]
    pub fn max_bodies_in_flight(self, bytes: u64) -> Self {
        self.with(|config| config.bounds = config.bounds.clone().max_in_flight(bytes))
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }
}

impl Default for FallbackLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for FallbackLayer {
    type Service = Fallback<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback {
            inner,
            config: Arc::clone(&self.config),
        }
    }
}

impl fmt::Debug for FallbackLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}
