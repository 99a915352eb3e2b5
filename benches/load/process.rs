//! The processes that take part: how they are started, pinned, watched and ended.

use std::{
    ffi::OsStr,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

/// Which cores a process may use, as `taskset` has it ("0,2"); `None`: those that the bench may.
pub(crate) type CoreList = Option<String>;

/// Ends this process when its stdin ends: when the bench has ended, in whatever way.
pub(crate) fn exit_with_stdin() {
    thread::spawn(|| {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

/// A command that runs on these cores only.
pub(crate) fn pinned(program: &OsStr, cores: &CoreList) -> Command {
    match cores {
        // It becomes the program, under the same number.
        Some(list) => {
            let mut command = Command::new("taskset");
            command.args(["-c", list]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// The bench's own program in one of its roles.
pub(crate) fn role<'a>(
    cores: &CoreList,
    arguments: impl IntoIterator<Item = &'a str>,
) -> io::Result<Command> {
    let mut command = pinned(std::env::current_exe()?.as_os_str(), cores);
    command.args(arguments);
    Ok(command)
}

/// A server that is a child of the bench. Dropping it ends it.
pub(crate) struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it, and waits for the line on its stdout that says where it listens. Its stderr goes to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(log)?)
            .spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(io::Error::other("a child without pipes"));
        };
        let mut server = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            address: ([127, 0, 0, 1], 0).into(),
        };
        loop {
            let line = server.line()?;
            if line.is_empty() {
                return Err(ended(&command, log));
            }
            if let Some(address) = line.trim().strip_prefix("listening on http://") {
                server.address = address.parse().map_err(io::Error::other)?;
                return Ok(server);
            }
        }
    }

    /// Writes a line to its stdin and reads one from its stdout.
    pub(crate) fn ask(&mut self, line: &str) -> io::Result<String> {
        writeln!(self.stdin, "{line}")?;
        self.line()
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line)
    }

    /// What its threads have spent so far; `None` where the system does not say.
    pub(crate) fn spent(&self) -> Option<Spent> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let mut spent = Spent::default();
        for task in tasks.flatten() {
            // Nanoseconds on a core and in its queue, and a count. A thread may have ended by now.
            let Ok(line) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let mut nanos = line.split(' ').map_while(|field| field.parse().ok());
            spent.on_core += Duration::from_nanos(nanos.next()?);
            spent.in_queue += Duration::from_nanos(nanos.next()?);
        }
        (!spent.on_core.is_zero()).then_some(spent)
    }

    /// Its memory now, and at its peak, in bytes; `None` where the system does not say.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let bytes = |key| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
            Some(kib * 1024)
        };
        Some(Memory {
            now: bytes("VmRSS:")?,
            peak: bytes("VmHWM:")?,
        })
    }
}

/// What the threads of a process have spent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) on_core: Duration,
    /// Ready to run, while the core had something else to do.
    pub(crate) in_queue: Duration,
}

/// In bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ended(command: &Command, log: &Path) -> io::Error {
    let said = fs::read_to_string(log).unwrap_or_default();
    io::Error::other(format!("{command:?} ended before it listened:\n{said}"))
}
