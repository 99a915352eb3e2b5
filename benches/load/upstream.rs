//! The upstream: it reads requests as cheaply as can be and gives canned answers, because it shares its core with the load
//! generator. One thread a connection, blocking; a thread sleeps more exactly than a timer wheel, so paced events are exact.
//!
//! Each line on its stdin is a [`Mode`], and is answered by a line with the [`Counts`] since the last one. At the end of
//! stdin it exits.

use std::{
    collections::HashSet,
    io::{self, BufRead as _, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use clap::ValueEnum;
use memchr::memmem;
use tokio::time::Instant;

use crate::bodies::{BEFORE_NUMBER, DIGITS};

/// How many events a stream has, `[DONE]` included.
const EVENTS: usize = 200;

/// From one event of a paced stream to the next.
const PACE: Duration = Duration::from_millis(1);

/// Requests up to this size stay in one piece.
const BUFFER: usize = 256 * 1024;

/// How requests are answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Mode {
    /// By one JSON document.
    Answer,
    /// By all events in one write.
    Events,
    /// By one event each millisecond.
    Paced,
    /// The first attempt of each number by a 429, the second by a document.
    LimitedFirst,
}

/// How many requests were answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    /// By a 200.
    pub(crate) answered: u64,
    /// By a 429.
    pub(crate) limited: u64,
}

impl Counts {
    /// Reads what the upstream has written.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (answered, limited) = line.trim().split_once(' ')?;
        Some(Self {
            answered: answered.parse().ok()?,
            limited: limited.parse().ok()?,
        })
    }
}

/// How many bytes of a stream have arrived when the first event with text has.
pub(crate) fn first_text_ends() -> usize {
    event(0).len() + event(1).len()
}

struct Upstream {
    mode: AtomicU8,
    answered: AtomicU64,
    limited: AtomicU64,
    /// The numbers whose first attempt was answered.
    limited_numbers: Mutex<HashSet<[u8; DIGITS]>>,
    answer: Vec<u8>,
    /// The head of a stream, and its events in chunks.
    stream_head: &'static [u8],
    chunks: Vec<Vec<u8>>,
    whole_stream: Vec<u8>,
}

/// Serves until its stdin ends.
pub(crate) fn run() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on http://{}", listener.local_addr()?);
    let upstream = Arc::new(Upstream::new());
    let accepting = Arc::clone(&upstream);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let upstream = Arc::clone(&accepting);
            // A client that goes away in the middle of a request is its own business.
            thread::spawn(move || upstream.serve(stream));
        }
    });
    for line in io::stdin().lock().lines() {
        let mode = Mode::from_str(line?.trim(), false).map_err(io::Error::other)?;
        upstream.mode.store(mode as u8, Relaxed);
        let answered = upstream.answered.swap(0, Relaxed);
        println!("{answered} {}", upstream.limited.swap(0, Relaxed));
    }
    process::exit(0)
}

impl Upstream {
    fn new() -> Self {
        let answer = format!(
            r#"{{"id":"gen-1","object":"chat.completion","created":1700000000,"model":"acme/model","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":200,"completion_tokens":60,"total_tokens":260}}}}"#,
            "What the river is given it takes. ".repeat(8)
        );
        let stream_head =
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
                            x-request-id: req-1\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunks: Vec<_> = (0..EVENTS).map(|n| chunk(&event(n))).collect();
        let parts = [&stream_head[..], &chunks.concat(), END];
        Self {
            mode: AtomicU8::new(Mode::Answer as u8),
            answered: AtomicU64::new(0),
            limited: AtomicU64::new(0),
            limited_numbers: Mutex::default(),
            answer: document("200 OK", "", &answer),
            stream_head,
            whole_stream: parts.concat(),
            chunks,
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; BUFFER];
        let mut filled = 0;
        loop {
            let head = loop {
                if let Some(at) = memmem::find(&buffer[..filled], b"\r\n\r\n") {
                    break at + 4;
                }
                filled += read_some(&mut stream, &mut buffer[filled..])?;
            };
            let end = head + content_length(&buffer[..head])?;
            if end <= BUFFER {
                while filled < end {
                    filled += read_some(&mut stream, &mut buffer[filled..])?;
                }
                self.answer(&mut stream, &buffer[head..end])?;
                buffer.copy_within(end..filled, 0);
                filled -= end;
            } else {
                let mut left = end - filled;
                while left > 0 {
                    let room = left.min(BUFFER);
                    left -= read_some(&mut stream, &mut buffer[..room])?;
                }
                filled = 0;
                self.answer(&mut stream, b"")?;
            }
        }
    }

    fn answer(&self, stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
        let mode = self.mode.load(Relaxed);
        if mode == Mode::LimitedFirst as u8 && self.is_first_attempt(body)? {
            self.limited.fetch_add(1, Relaxed);
            return stream.write_all(&LIMITED);
        }
        // Before it is written: else the line with the counts could go first.
        self.answered.fetch_add(1, Relaxed);
        if mode == Mode::Events as u8 {
            stream.write_all(&self.whole_stream)
        } else if mode == Mode::Paced as u8 {
            self.write_paced(stream)
        } else {
            stream.write_all(&self.answer)
        }
    }

    /// The first event goes with the head, the second one [`PACE`] later, and so on.
    fn write_paced(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut due = Instant::now();
        stream.write_all(&[self.stream_head, &self.chunks[0]].concat())?;
        for chunk in &self.chunks[1..] {
            due += PACE;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            stream.write_all(chunk)?;
        }
        stream.write_all(END)
    }

    /// Attempts of one number are its first and its second by turns.
    fn is_first_attempt(&self, body: &[u8]) -> io::Result<bool> {
        let before = BEFORE_NUMBER.as_bytes();
        let number = memmem::find(body, before)
            .and_then(|at| body[at + before.len()..].first_chunk())
            .ok_or_else(|| io::Error::other("a request without a number"))?;
        let mut numbers = self
            .limited_numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_first = numbers.insert(*number);
        if !is_first {
            numbers.remove(number);
        }
        Ok(is_first)
    }
}

/// The last chunk.
const END: &[u8] = b"0\r\n\r\n";

/// A limit of the model that states its end, ten microseconds from now, so that the pool does not shrink while it is measured:
/// at full speed even a millisecond would close all 60 targets at once.
static LIMITED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    document(
        "429 Too Many Requests",
        "retry-after-ms: 0.01\r\n",
        r#"{"error":{"message":"Rate limit reached for this model on requests per minute. Please slow down.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
    )
});

fn document(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: req-1\r\n{headers}\
         content-length: {len}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

/// The role, text, the reason of the end, `[DONE]`.
fn event(n: usize) -> String {
    let (delta, finish) = match n {
        0 => (r#"{"role":"assistant","content":""}"#, "null"),
        n if n == EVENTS - 1 => return "data: [DONE]\n\n".to_owned(),
        n if n == EVENTS - 2 => ("{}", "\"stop\""),
        _ => (r#"{"content":" river"}"#, "null"),
    };
    format!(
        "data: {{\"id\":\"gen-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"acme/model\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn read_some(stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    match stream.read(into)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => Ok(n),
    }
}

/// All that is measured here states the length of a body.
fn content_length(head: &[u8]) -> io::Result<usize> {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:"));
    length
        .and_then(|length| length.trim().parse().ok())
        .ok_or_else(|| io::Error::other("a request without a content-length"))
}
