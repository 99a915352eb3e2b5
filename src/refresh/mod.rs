//! The live catalog: asks providers for their listings, again and again.
//!
//! `settings` is what is refreshed and how often, `schedule` knows when a provider is due, `run` asks, `fetch` keeps one
//! request within bounds, `settle` brings the answer into the catalog, `account` reads what a key says of its quota, and
//! `report` tells what came of it.

mod account;
mod fetch;
mod report;
mod run;
mod schedule;
mod settings;
mod settle;

pub use self::{
    account::{AccountStatus, DailyRequests},
    report::{RefreshError, Report, Reports},
    settings::Refresh,
};
