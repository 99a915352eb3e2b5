//! The gateway under test: built as users build it, with its default settings and a pool at the mock upstream.

use std::{
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::process::{CoreList, Server, pinned};

/// How many targets the large pool has.
const TARGETS: usize = 60;

/// Their providers.
const PROVIDERS: [&str; 6] = ["amber", "birch", "cedar", "delta", "ember", "fjord"];

/// The variable with the providers' key.
const KEY_ENV: &str = "LOAD_BENCH_KEY";

/// What the models of the pool say of themselves, by turns: windows in tokens, or none stated.
const WINDOWS: [Option<u32>; 7] = [
    Some(131_072),
    Some(8_192),
    Some(1_048_576),
    None,
    Some(32_768),
    Some(262_144),
    Some(65_536),
];
const INPUTS: [&str; 3] = [
    "",
    "input = [\"text\", \"image\"]\n",
    "input = [\"text\"]\n",
];
const PARAMETERS: [&str; 2] = [
    "",
    "parameters = [\"max_tokens\", \"temperature\", \"top_p\", \"stop\", \"tools\", \"tool_choice\", \
     \"parallel_tool_calls\", \"response_format\"]\n",
];

/// Builds the gateway with cargo and says where it is. A bench with debug assertions, as `cargo test --benches` builds it,
/// takes the debug build.
pub(crate) fn build() -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--example", "gateway"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(std::process::Stdio::inherit());
    // `cargo bench` sets these for the bench. A build script that watches them would make all that follows be built anew
    // at each run.
    for (name, _) in std::env::vars_os() {
        let is_of_the_bench =
            |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if name.to_str().is_some_and(is_of_the_bench) {
            command.env_remove(name);
        }
    }
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let built = command.output()?;
    if !built.status.success() {
        return Err(io::Error::other("the gateway does not build"));
    }
    let path = String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "gateway")
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    path.ok_or_else(|| io::Error::other("cargo does not say where the gateway is"))
}

/// Which pool it has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pool {
    /// Sixty targets of six providers, with mixed windows and abilities.
    Mixed,
    /// One target that states nothing.
    One,
}

/// Starts a gateway on these cores.
pub(crate) fn start(
    program: &Path,
    upstream: SocketAddr,
    pool: Pool,
    cores: &CoreList,
    directory: &Path,
) -> io::Result<Server> {
    let name = format!("gateway-{pool:?}").to_lowercase();
    let config = directory.join(format!("{name}.toml"));
    fs::write(&config, configuration(upstream, pool))?;
    let mut command = pinned(program.as_os_str(), cores);
    command
        .arg("--config")
        .arg(config)
        .args(["--listen", "127.0.0.1:0"])
        .env(KEY_ENV, "a-key-of-the-providers")
        .env_remove("RUST_LOG");
    Server::start(command, &directory.join(format!("{name}.log")))
}

fn configuration(upstream: SocketAddr, pool: Pool) -> String {
    let mut text = String::new();
    let provider = |text: &mut String, name| {
        let _ = write!(
            text,
            "[[provider]]\nname = \"{name}\"\nbase_url = \"http://{upstream}/v1\"\nkey_env = \"{KEY_ENV}\"\n\
             free = \"all\"\n\n"
        );
    };
    let model = |text: &mut String, n| {
        let _ = write!(text, "[[provider.model]]\nid = \"acme/model-{n:02}\"\n");
    };
    match pool {
        Pool::One => {
            provider(&mut text, PROVIDERS[0]);
            model(&mut text, 0);
        }
        Pool::Mixed => {
            let each = TARGETS / PROVIDERS.len();
            for n in 0..TARGETS {
                if n % each == 0 {
                    provider(&mut text, PROVIDERS[n / each]);
                }
                model(&mut text, n);
                if let Some(tokens) = WINDOWS[n % WINDOWS.len()] {
                    let _ = writeln!(text, "context_length = {tokens}");
                }
                text.push_str(INPUTS[n % INPUTS.len()]);
                text.push_str(PARAMETERS[n / 3 % PARAMETERS.len()]);
                text.push('\n');
            }
        }
    }
    text
}
