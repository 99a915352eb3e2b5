//! Vectors that are near to each other where texts share words.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{chance::fnv, request};

/// How long a vector is, unless the caller says, and the most that it may be.
const DIMENSIONS: usize = 64;
const MOST_DIMENSIONS: usize = 1024;

/// A request, as far as it matters here.
#[derive(Deserialize)]
pub(super) struct EmbeddingRequest {
    pub(super) model: String,
    input: Value,
    dimensions: Option<usize>,
    encoding_format: Option<String>,
}

impl EmbeddingRequest {
    /// A vector for each input.
    pub(super) fn answer(&self, bytes: usize) -> Value {
        let dimensions = self.dimensions.unwrap_or(DIMENSIONS);
        let dimensions = dimensions.clamp(1, MOST_DIMENSIONS);
        let in_base64 = self.encoding_format.as_deref() == Some("base64");
        let data = self.inputs().enumerate().map(|(index, input)| {
            let vector = vector(input, dimensions);
            let embedding = if in_base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!(BASE64.encode(bytes))
            } else {
                json!(vector)
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        });
        let tokens = request::tokens(bytes);
        json!({
            "object": "list",
            "data": data.collect::<Vec<_>>(),
            "model": self.model,
            "usage": { "prompt_tokens": tokens, "total_tokens": tokens, "cost": 0 },
        })
    }

    /// One text or a list of texts; tokens as numbers are one input, lists of them are several.
    fn inputs(&self) -> impl Iterator<Item = &Value> {
        let several = self.input.as_array().filter(|list| {
            let first = list.first();
            first.is_some_and(|first| !first.is_number())
        });
        let one = several.is_none().then_some(&self.input);
        several.into_iter().flatten().chain(one)
    }
}

/// Each word moves one number of the vector, and its length is one.
fn vector(input: &Value, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0_f32; dimensions];
    let mut count = |word: &str| {
        let hash = fnv(word.to_lowercase().as_bytes());
        let sign = if hash & 1 == 0 { 1.0 } else { -1.0 };
        let at = (hash >> 1) % dimensions as u64;
        vector[at as usize] += sign;
    };
    match input {
        Value::String(text) => text.split_whitespace().for_each(&mut count),
        tokens => {
            let tokens = tokens.as_array().into_iter().flatten();
            tokens.for_each(|token| count(&token.to_string()));
        }
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
    } else {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: &str, b: &str) -> f32 {
        let [a, b] = [a, b].map(|text| vector(&json!(text), DIMENSIONS));
        a.iter().zip(&b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_that_share_words_are_nearer_than_others() {
        let same = near("the red boat", "the red boat");
        assert!((same - 1.0).abs() < 1e-5, "{same}");
        assert!(near("the red boat", "a red boat") > near("the red boat", "some green hill"));
    }

    #[test]
    fn each_input_has_a_vector_in_the_asked_form() {
        for (input, count) in [
            (json!("one"), 1),
            (json!(["one", "two", "three"]), 3),
            (json!([1, 2, 3]), 1),
            (json!([[1, 2], [3]]), 2),
        ] {
            let request = json!({ "model": "m", "input": input, "dimensions": 8 });
            let request: EmbeddingRequest = serde_json::from_value(request).unwrap();
            let answer = request.answer(100);
            assert_eq!(answer["data"].as_array().unwrap().len(), count, "{input}");
            assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 8);
        }
        let request = json!({ "model": "m", "input": "a", "encoding_format": "base64" });
        let request: EmbeddingRequest = serde_json::from_value(request).unwrap();
        let answer = request.answer(1);
        let bytes = BASE64.decode(answer["data"][0]["embedding"].as_str().unwrap());
        assert_eq!(bytes.unwrap().len(), DIMENSIONS * 4);
    }
}
