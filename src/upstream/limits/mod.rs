//! What an upstream states of its limits: in the headers of any response, and in the body of a refusal.
//!
//! | file | |
//! |---|---|
//! | `statement` | one limit as it was stated |
//! | `headers` | the statements of headers, and of the same names in a body |
//! | `hit` | the limit that a refusal names |
//! | `refusal` | the statements of the body of a refusal |

mod headers;
mod hit;
mod refusal;
mod statement;
#[cfg(test)]
mod tests;

pub(crate) use self::{headers::of, refusal::of_refusal, statement::Statement};
pub(super) use self::{hit::hit, hit::largest_request};
