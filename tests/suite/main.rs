//! The behaviour of the crate as a whole, one module for each part of it, in one binary.

mod answers;
mod cancellation;
mod catalog;
mod compat;
mod crowd;
mod dialects;
mod endpoints;
mod errors;
mod foreign_router;
mod forms;
mod free;
mod health_model;
mod hostile_callers;
mod images;
mod laws;
mod loopback;
mod multiplied;
mod normalise;
mod outcomes;
mod providers;
mod readiness;
mod refresh;
mod streams;
mod support;
mod time;
mod waiting;
