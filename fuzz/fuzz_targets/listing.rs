//! No listing brings a model into the pool that is not free.
#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use tower_free_models::Provider;

fuzz_target!(|body: &[u8]| {
    let openrouter = Provider::openrouter().build().unwrap();
    if let Ok(listing) = openrouter.read_listing(body, SystemTime::UNIX_EPOCH) {
        for target in listing.targets() {
            assert!(target.id().model().ends_with(":free"), "{target:?}");
        }
    }
});
