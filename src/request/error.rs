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
    /// There is more to change in the body than [`MAX_EDITS`](super::edits::MAX_EDITS) allows. Each change costs memory
    /// in every attempt.
    TooManyEdits,
    /// There are more than [`MAX_FIELDS`](super::edits::MAX_FIELDS) other top-level fields.
    TooManyFields,
    /// `tools` is something else than a list: what an upstream would make of it is not known.
    ToolsNotAList,
    /// `tool_choice` demands a tool that is left out, since the provider would run it, and may charge for it.
    DemandedTool {
        /// Its type or its name, cut if it is long.
        what: String,
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
                "the body gives `model`, tools that cannot be sent, or fields that could cost money too often",
            ),
            Self::TooManyFields => write!(
                f,
                "the body has more than {} top-level fields",
                super::edits::MAX_FIELDS
            ),
            Self::ToolsNotAList => f.write_str("`tools` is not a list"),
            Self::DemandedTool { what } => write!(
                f,
                "`tool_choice` demands {what:?}, which is none of the tools that can be sent: an entry of `tools` \
                 that is not of the type \"function\" or \"custom\", or has a member such as `web_search`, is left \
                 out, since the provider would run it and may charge for it"
            ),
            Self::Form(what) => write!(f, "the body is not a form that can be read: {what}"),
        }
    }
}

impl ScanError {
    /// The field that is at fault, where it is one.
    pub(crate) const fn param(&self) -> Option<&'static str> {
        match self {
            Self::ToolsNotAList => Some("tools"),
            Self::DemandedTool { .. } => Some("tool_choice"),
            _ => None,
        }
    }
}

impl std::error::Error for ScanError {}
