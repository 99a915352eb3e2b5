//! Falling back from one model to the next.

mod classify;
#[allow(dead_code)]
mod error_body;
mod signs;

pub use classify::{Classify, DefaultClassify, Evidence};
#[allow(unused_imports)]
pub(crate) use error_body::message;
