//! Asks the providers: all at once, or each when it is due.

use std::{convert::Infallible, future::poll_fn, pin::Pin, task::Poll, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tower_service::Service;

use super::{
    account,
    fetch::{Answer, Bounds, Fault, get},
    report::Report,
    settings::{Refresh, Source},
};
use crate::{
    body::{Body, BoxError},
    clock::later,
    provider::Provider,
};

/// The answer about a key's own quota is short, and not worth a longer wait.
const ACCOUNT: Bounds = Bounds {
    timeout: Duration::from_secs(5),
    size: 64 * 1024,
};

/// What a provider answered.
pub(super) struct Answered {
    pub(super) listing: Result<Answer, Fault>,
    pub(super) account: Option<Answer>,
}

impl Refresh {
    /// Asks all providers now and at once, whether they are due or not.
    ///
    /// When the last has answered or failed, their models are brought into the catalog, in the order in which the
    /// providers were given, so that a seeded choice among them is reproducible. Dropped before that, it has changed
    /// nothing.
    pub async fn once<S, B>(&mut self, client: S) -> Vec<Report>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        self.once_within(client, Duration::MAX).await
    }

    /// The same, but waits for so long at most: providers that have neither answered nor failed by then are not reported,
    /// and are still due, so that [`run`](Self::run) asks them at once.
    pub async fn once_within<S, B>(&mut self, client: S, limit: Duration) -> Vec<Report>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let until = later(Instant::now(), limit);
        let bounds = self.bounds;
        let ask = |source: &Source| {
            let provider = source.provider.clone();
            Some(Box::pin(ask(provider, bounds, client.clone())))
        };
        let mut asks: Vec<_> = self.sources.iter().map(ask).collect();
        let mut answers: Vec<_> = asks.iter().map(|_| None).collect();
        while asks.iter().any(Option::is_some) {
            let Ok((index, answer)) = timeout_at(until, first(&mut asks)).await else {
                break;
            };
            asks[index] = None;
            answers[index] = Some(answer);
        }
        let answers = answers.into_iter().enumerate();
        let reports = answers.filter_map(|(index, answer)| Some(self.settle(index, answer?)));
        let reports = reports.collect();
        self.expire();
        reports
    }

    /// Asks each provider whenever it is due, for ever.
    ///
    /// It never returns, and is stopped by being dropped, at any time: what is under way is then forgotten. The
    /// future is `Send` where the client's are.
    pub async fn run<S, B>(mut self, client: S) -> Infallible
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let bounds = self.bounds;
        let ask = |source: &Source| {
            let (due, provider) = (source.schedule.due, source.provider.clone());
            let client = client.clone();
            Some(Box::pin(async move {
                sleep_until(due).await;
                ask(provider, bounds, client).await
            }))
        };
        let mut asks: Vec<_> = self.sources.iter().map(ask).collect();
        loop {
            self.expire();
            if let Ok((index, answer)) = timeout(self.next_look(), first(&mut asks)).await {
                self.settle(index, answer);
                asks[index] = ask(&self.sources[index]);
            }
        }
    }
}

/// Asks a provider for its listing, and for its key's own quota.
async fn ask<S, B>(provider: Provider, bounds: Bounds, client: S) -> Answered
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let listing = match provider.listing_request() {
        Some(request) => get(client.clone(), request, bounds).await,
        None => Err(Fault::NoAddress),
    };
    let account = match account::request(&provider) {
        Some(request) => get(client, request, ACCOUNT).await.ok(),
        None => None,
    };
    Answered { listing, account }
}

/// The first of these futures that is ready, and its place. With none, pending for ever.
async fn first<F: Future>(futures: &mut [Option<Pin<Box<F>>>]) -> (usize, F::Output) {
    poll_fn(|cx| {
        for (index, future) in futures.iter_mut().enumerate() {
            if let Some(Poll::Ready(output)) =
                future.as_mut().map(|future| future.as_mut().poll(cx))
            {
                return Poll::Ready((index, output));
            }
        }
        Poll::Pending
    })
    .await
}
