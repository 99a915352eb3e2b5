//! Any bytes are either refused as a form, or become one that asks for nothing but our model.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tower_free_models::__private::rewrite_form;

const KIND: &str = "multipart/form-data; boundary=XX";
const MODEL: &str = "vendor/model:free";

fuzz_target!(|body: &[u8]| {
    let body = Bytes::copy_from_slice(body);
    let Some(segments) = rewrite_form(&body, KIND, MODEL) else {
        return;
    };
    let sent = segments.concat();

    // Read once more it stays as it is.
    let again = rewrite_form(&sent.clone().into(), KIND, MODEL).expect("what is sent is a form");
    assert_eq!(again.concat(), sent);

    // As a simple upstream reads it, there is a model, and it is ours.
    let text = format!("\r\n{}", String::from_utf8_lossy(&sent));
    let is_model = |headers: &str| {
        let line = "content-disposition: form-data; name=\"model\"";
        headers.split("\r\n").any(|header| header.eq_ignore_ascii_case(line))
    };
    let models: Vec<_> = text
        .split("\r\n--XX")
        .skip(1)
        .filter(|part| !part.starts_with("--"))
        .filter_map(|part| part.split_once("\r\n\r\n"))
        .filter(|(headers, _)| is_model(headers))
        .map(|(_, content)| content)
        .collect();
    assert!(!models.is_empty());
    assert!(models.iter().all(|model| *model == MODEL), "{models:?}");
});
