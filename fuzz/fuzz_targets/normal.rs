//! What is made of an answer is JSON, and needs no second change; nothing else is made of anything but JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use tower_free_models::__private::normal;

fuzz_target!(|body: &[u8]| {
    if let Some(made) = normal(body) {
        assert!(serde_json::from_slice::<&RawValue>(body).is_ok());
        assert!(serde_json::from_slice::<&RawValue>(&made).is_ok());
        assert!(normal(&made).is_none());
    }
});
