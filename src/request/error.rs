//! Why a body is refused.

use std::fmt;

use super::fields::{MAX_FIELDS, MAX_GUARDED};
use crate::json::{JsonError, MAX_DEPTH};

/// Why a body is refused before it reaches any upstream.
///
/// The message is meant for the client. It says where and why, and never quotes the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScanError {
    /// The body is not UTF-8.
    NotUtf8 {
        /// Where the first invalid byte stands.
        offset: usize,
    },
    /// The body is not JSON, or nests too deep.
    Json(JsonError),
    /// The body is not a JSON object.
    NotAnObject,
    /// More than [`MAX_GUARDED`] fields or tools have to be changed. Each change costs memory in every attempt.
    TooManyEdits,
    /// There are more than [`MAX_FIELDS`] other top-level fields.
    TooManyFields,
    /// `tools` is not a list: what an upstream would make of it is not known.
    ToolsNotAList,
    /// `tool_choice` demands a tool that is left out, because the provider would run it and may charge for it.
    DemandedTool {
        /// The tool's type or name, cut if it is long.
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
            Self::Json(JsonError::Syntax { offset, what }) => {
                write!(f, "the body is not valid JSON at byte {offset}: {what}")
            }
            Self::Json(JsonError::TooDeep { offset }) => write!(
                f,
                "the body nests deeper than {MAX_DEPTH} levels at byte {offset}"
            ),
            Self::NotAnObject => f.write_str("the body is not a JSON object"),
            Self::TooManyEdits => write!(
                f,
                "the body has `model`, fields that could cost money, or tools that cannot be sent, more than \
                 {MAX_GUARDED} times"
            ),
            Self::TooManyFields => {
                write!(f, "the body has more than {MAX_FIELDS} top-level fields")
            }
            Self::ToolsNotAList => f.write_str("`tools` is not a list"),
            Self::DemandedTool { what } => write!(
                f,
                "`tool_choice` demands {what:?}, which is not among the tools that can be sent: an entry of `tools` \
                 that is not of the type \"function\" or \"custom\", or has a member such as `web_search`, is left \
                 out, because the provider would run it and may charge for it"
            ),
            Self::Form(what) => write!(f, "the body is not a form that can be read: {what}"),
        }
    }
}

impl ScanError {
    /// The field that is at fault, if it is one field.
    pub(crate) const fn param(&self) -> Option<&'static str> {
        match self {
            Self::ToolsNotAList => Some("tools"),
            Self::DemandedTool { .. } => Some("tool_choice"),
            _ => None,
        }
    }
}

impl From<JsonError> for ScanError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl std::error::Error for ScanError {}
