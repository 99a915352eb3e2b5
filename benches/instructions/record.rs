//! The numbers that are recorded, and how new ones compare.

use std::{collections::BTreeMap, fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::Error;

pub(crate) const PATH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/instructions/record.toml"
);

const HEAD: &str = "\
# Instructions and allocations of one turn of each case of this bench. Made by
#     cargo bench --bench instructions -- --record
";

/// How new numbers compare with the recorded ones.
pub(crate) enum Comparison {
    /// None is over by more than the tolerance.
    NoMore,
    /// One is, or has no number to compare with.
    More,
}

/// One turn of each case, by its name.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The compiler that the bench was built with, and what for.
    compiler: String,
    pub(crate) instructions: BTreeMap<String, u64>,
    /// How often memory is allocated.
    pub(crate) allocations: BTreeMap<String, u64>,
    /// How much memory is allocated, all in all.
    pub(crate) bytes: BTreeMap<String, u64>,
}

impl Record {
    pub(crate) fn of_this_compiler() -> Result<Self, Error> {
        let said = Command::new("rustc").arg("-vV").output()?.stdout;
        let said = String::from_utf8(said)?;
        let field = |name| {
            said.lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
        };
        Ok(Self {
            compiler: format!("rustc {}, {}", field("release: "), field("host: ")),
            instructions: BTreeMap::new(),
            allocations: BTreeMap::new(),
            bytes: BTreeMap::new(),
        })
    }

    pub(crate) fn read() -> Result<Self, Error> {
        let text = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
        Ok(toml::from_str(&text)?)
    }

    pub(crate) fn write(&self) -> Result<(), Error> {
        Ok(fs::write(
            PATH,
            format!("{HEAD}{}", toml::to_string(self)?),
        )?)
    }

    /// Prints these numbers beside the recorded ones. `tolerance` is in per cent.
    pub(crate) fn compare(&self, recorded: &Self, tolerance: f64) -> Comparison {
        let tables = [
            ("instructions", &self.instructions, &recorded.instructions),
            ("allocations", &self.allocations, &recorded.allocations),
            ("bytes allocated", &self.bytes, &recorded.bytes),
        ];
        let (mut over, mut under) = (false, false);
        for (what, counted, recorded) in tables {
            println!("\n{what:<28}{:>12}{:>12}", "recorded", "counted");
            for (name, &counted) in counted {
                let Some(&recorded) = recorded.get(name) else {
                    over = true;
                    println!("{name:<28}{:>12}{counted:>12}  NOT RECORDED", "-");
                    continue;
                };
                let change = (counted as f64 / recorded as f64 - 1.0) * 100.0;
                let is_over = change > tolerance;
                over |= is_over;
                under |= change < -tolerance;
                let mark = if is_over { "  MORE" } else { "" };
                println!("{name:<28}{recorded:>12}{counted:>12}{change:>+8.1} %{mark}");
            }
        }
        if self.compiler != recorded.compiler {
            println!(
                "\nrecorded with {}, counted with {}: that alone may be the difference",
                recorded.compiler, self.compiler
            );
        }
        let record = "cargo bench --bench instructions -- --record";
        if over {
            println!(
                "\nmore than recorded by over {tolerance} %, or not recorded. If that is meant: {record}"
            );
            return Comparison::More;
        }
        if under {
            println!("\nless than recorded by over {tolerance} %. So that it stays so: {record}");
        }
        Comparison::NoMore
    }
}
