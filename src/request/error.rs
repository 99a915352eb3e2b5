//! Why a body is refused.

use std::fmt;

/// Why a body is refused before it reaches any upstream.
///
/// What it displays is meant for the caller. It says where and why, and never quotes the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    /// The body is not UTF-8.
    NotUtf8 {
        /// Where the first byte stands that is not.
        offset: usize,
    },
    /// The body is not JSON.
    Syntax {
        /// Where reading stopped.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The body is not a JSON object.
    NotAnObject,
    /// Arrays and objects nest deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    TooDeep {
        /// Where the one too many begins.
        offset: usize,
    },
    /// The same few top-level fields are given more often than
    /// [`MAX_EDITS`](super::edits::MAX_EDITS). Each costs memory in every attempt.
    TooManyEdits,
    /// An entry of `tools` is neither a function nor a custom tool: the provider would run it,
    /// and may charge for it.
    UnsupportedTool {
        /// Its place in `tools`.
        index: usize,
        /// Its `type`, cut if it is long; empty if it has none that is a string.
        kind: String,
    },
    /// The body is not a form that can be read, for this reason.
    Form(&'static str),
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 { offset } => {
                write!(f, "the body is not valid UTF-8 at byte {offset}")
            }
            Self::Syntax { offset, what } => {
                write!(f, "the body is not valid JSON at byte {offset}: {what}")
            }
            Self::NotAnObject => f.write_str("the body is not a JSON object"),
            Self::TooDeep { offset } => write!(
                f,
                "the body nests deeper than {} levels at byte {offset}",
                super::MAX_DEPTH
            ),
            Self::TooManyEdits => f.write_str(
                "the body gives `model`, `models`, `route`, `preset`, `plugins` or `web_search_options` too often",
            ),
            Self::UnsupportedTool { index, kind } if kind.is_empty() => write!(
                f,
                "tools[{index}] is not supported: its `type` must be \"function\" or \"custom\""
            ),
            Self::Form(what) => write!(f, "the body is not a form that can be read: {what}"),
            Self::UnsupportedTool { index, kind } => write!(
                f,
                "tools[{index}] of type {kind:?} is not supported: only \"function\" and \"custom\" are"
            ),
        }
    }
}

impl std::error::Error for ScanError {}
