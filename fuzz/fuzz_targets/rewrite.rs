//! Any bytes are either refused as the reference refuses them, or changed only in what must change.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tower_free_models::__private::{Refusal, rewrite};

#[path = "../../src/request/oracle.rs"]
mod oracle;

fuzz_target!(|body: &[u8]| {
    let body = Bytes::copy_from_slice(body);
    match rewrite(&body, "vendor/model:free") {
        Ok(segments) => {
            assert!(oracle::is_json(&body));
            oracle::assert_rewritten(&body, "vendor/model:free", &segments);
        }
        Err(Refusal::NotJson) => assert!(!oracle::is_json(&body)),
        Err(Refusal::NotRouted) => {}
    }
});
