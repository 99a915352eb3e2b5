//! A stream means the same however its bytes are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_free_models::__private::events;

fuzz_target!(|input: (u16, &[u8])| {
    let (at, stream) = input;
    let whole = events(&[stream]);
    let (a, b) = stream.split_at(usize::from(at).min(stream.len()));
    assert_eq!(events(&[a, b]), whole);
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(events(&bytes), whole);
});
