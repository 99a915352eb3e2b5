//! The small load generator, for what others do not measure: the first text of a stream, and requests that are complete at
//! one instant. It also stands in where no other is installed.
//!
//! It runs in a process of its own, so that it can be pinned, and writes a [`Timing`] to stdout.

use std::{convert::Infallible, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use http::{Request, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, runtime, sync::Barrier, time::Instant};

use crate::{
    bodies::{BEFORE_NUMBER, DIGITS},
    figures::percentile,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

/// A piece of a body that arrives little by little.
const PIECE: usize = 64 * 1024;

/// What is complete but for its last byte has arrived everywhere after this.
const ARRIVED: Duration = Duration::from_millis(400);

/// What to send, and for how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    /// The file with the request's body.
    pub(crate) body: PathBuf,
    /// How many requests are under way at a time, each on a connection of its own.
    #[arg(long)]
    pub(crate) connections: usize,
    /// No request begins later than this.
    #[arg(long)]
    pub(crate) millis: u64,
    /// The first text of an answer is there when so many bytes of its body are.
    #[arg(long, default_value_t = 1)]
    pub(crate) first_text: usize,
    /// Numbers the requests, from here on.
    #[arg(long, default_value_t = 0)]
    pub(crate) number: u64,
    /// One request a connection, all of which are complete at the same instant.
    #[arg(long)]
    pub(crate) at_a_time: bool,
}

/// What came of it. Times are in microseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Timing {
    pub(crate) requests: u64,
    /// From the first request's beginning to the last one's end.
    pub(crate) micros: f64,
    /// Medians: until the first text, and until the end.
    pub(crate) first_p50: Option<f64>,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Until the first text and until the end.
type Latency = (Duration, Duration);

/// Sends the load, and prints what came of it.
pub(crate) fn run(load: Load) -> Result<(), BoxError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let timing = runtime.block_on(send(load))?;
    println!("{}", serde_json::to_string(&timing)?);
    Ok(())
}

async fn send(load: Load) -> Result<Timing, BoxError> {
    let body = Bytes::from(std::fs::read(&load.body)?);
    let barrier = Arc::new(Barrier::new(load.connections));
    let callers = (0..load.connections as u64).map(|n| {
        let caller = Caller {
            load: load.clone(),
            body: body.clone(),
            number: load.number + n * 1_000_000,
            barrier: Arc::clone(&barrier),
        };
        tokio::spawn(caller.run())
    });
    let callers: Vec<_> = callers.collect();
    let (mut latencies, mut begin, mut end) = (Vec::new(), None::<Instant>, None::<Instant>);
    for caller in callers {
        let (begun, ended, of_caller) = caller.await??;
        begin = Some(begin.map_or(begun, |begin| begin.min(begun)));
        end = Some(end.map_or(ended, |end| end.max(ended)));
        latencies.extend(of_caller);
    }
    let (Some(begin), Some(end)) = (begin, end) else {
        return Err("no connection".into());
    };
    let micros = |part: fn(&Latency) -> Duration| -> Vec<f64> {
        let all = latencies.iter().map(part);
        all.map(|latency| latency.as_secs_f64() * 1e6).collect()
    };
    let (first, whole) = (micros(|latency| latency.0), micros(|latency| latency.1));
    Ok(Timing {
        requests: latencies.len() as u64,
        micros: (end - begin).as_secs_f64() * 1e6,
        first_p50: Some(percentile(first, 0.5)),
        p50: percentile(whole.clone(), 0.5),
        p99: percentile(whole, 0.99),
    })
}

/// One connection and its requests, one after another.
struct Caller {
    load: Load,
    body: Bytes,
    /// The number of its next request.
    number: u64,
    barrier: Arc<Barrier>,
}

impl Caller {
    async fn run(mut self) -> Result<(Instant, Instant, Vec<Latency>), BoxError> {
        let stream = TcpStream::connect(self.load.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut latencies = Vec::new();
        if !self.load.at_a_time {
            // The first request of a connection opens another one to the upstream.
            self.request(&mut sender).await?;
            self.barrier.wait().await;
        }
        let begun = Instant::now();
        let until = begun + Duration::from_millis(self.load.millis);
        loop {
            latencies.push(self.request(&mut sender).await?);
            let now = Instant::now();
            if now >= until {
                return Ok((begun, now, latencies));
            }
        }
    }

    async fn request(&mut self, sender: &mut SendRequest<AnyBody>) -> Result<Latency, BoxError> {
        let request = Request::post("/v1/chat/completions")
            .header(header::HOST, self.load.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, "Bearer a-key-of-the-client")
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_LENGTH, self.body.len())
            .body(self.next_body()?)?;
        let begun = Instant::now();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let (mut len, mut first) = (0, None);
        while let Some(frame) = body.frame().await {
            len += frame?.data_ref().map_or(0, Bytes::len);
            if len >= self.load.first_text {
                first.get_or_insert_with(|| begun.elapsed());
            }
        }
        if status != 200 {
            return Err(format!("a request was answered with {status}").into());
        }
        let first = first.ok_or("an answer was too short")?;
        Ok((first, begun.elapsed()))
    }

    fn next_body(&mut self) -> io::Result<AnyBody> {
        if self.load.at_a_time {
            return Ok(self.at_a_time());
        }
        let body = match self.load.number {
            0 => self.body.clone(),
            _ => {
                self.number += 1;
                let before = BEFORE_NUMBER.as_bytes();
                let at = memchr::memmem::find(&self.body, before)
                    .ok_or_else(|| io::Error::other("a body without a number"))?;
                let (head, tail) = self.body.split_at(at + before.len());
                let number = format!("{:0DIGITS$}", self.number);
                [head, number.as_bytes(), &tail[DIGITS..]].concat().into()
            }
        };
        Ok(http_body_util::Full::new(body).boxed_unsync())
    }

    /// The body in pieces. Its last byte goes when all connections have sent the rest, and that has arrived.
    fn at_a_time(&self) -> AnyBody {
        let last = self.body.len() - 1;
        let pieces: Vec<_> = (0..last)
            .step_by(PIECE)
            .map(|at| self.body.slice(at..last.min(at + PIECE)))
            .collect();
        let (byte, barrier) = (self.body.slice(last..), Arc::clone(&self.barrier));
        let end = async move {
            barrier.wait().await;
            tokio::time::sleep(ARRIVED).await;
            byte
        };
        let pieces = stream::StreamExt::chain(stream::iter(pieces), stream::once(end));
        let frames = stream::StreamExt::map(pieces, |piece| Ok(Frame::data(piece)));
        StreamBody::new(frames).boxed_unsync()
    }
}
