//! `/sdapi/v1/txt2img` of sdnext and AUTOMATIC1111 (vladmandic/sdnext@058a7f0c and
//! AUTOMATIC1111/stable-diffusion-webui@008a8e75, `modules/api`).

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    answer::{Drawing, Picture, Text, no_image},
    few::Few,
    request::{ImageRequest, wrong},
};
use crate::refusal::Refusal;

pub(super) const CHECKPOINTS: &str = "/sdapi/v1/sd-models";
pub(super) const TXT2IMG: &str = "/sdapi/v1/txt2img";
/// Path and query. The unfinished image is left out, because the server would have to decode it for each report.
pub(super) const PROGRESS: (&str, &str) = ("/sdapi/v1/progress", "skip_current_image=true");

/// Fields of a request that only this API takes.
pub(super) const FIELDS: &[&str] = &["negative_prompt", "steps", "seed"];

/// The largest values that both servers' own interfaces offer.
const LARGEST_SIDE: u32 = 2048;
const MOST_STEPS: u64 = 150;
/// Each image of a batch takes memory of the server at the same time, so larger numbers are made in several rounds.
const LARGEST_BATCH: usize = 4;

/// The longest description of images that is read, in bytes: as a tree it takes much more memory.
const LARGEST_INFO: usize = 1024 * 1024;

/// A request to `txt2img`, but for the title of the checkpoint.
pub(super) struct Generation<'a> {
    checkpoint: &'a str,
    fields: Map<String, Value>,
}

/// One of the server's checkpoints.
#[derive(Deserialize)]
struct Checkpoint {
    title: String,
    model_name: Option<String>,
    filename: Option<String>,
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Generated<'a> {
    #[serde(borrow)]
    images: Few<Text<'a>>,
    /// JSON within a string.
    #[serde(borrow)]
    info: Option<Text<'a>>,
}

impl<'a> Generation<'a> {
    /// # Errors
    ///
    /// A 400 that names the field, if the server cannot do what is asked.
    pub(super) fn new(checkpoint: &'a str, request: &ImageRequest) -> Result<Self, Refusal> {
        let batch = batch(request.n);
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        set("prompt", request.prompt().into());
        if let Some(negative) = request.text("negative_prompt")? {
            set("negative_prompt", negative.into());
        }
        set("batch_size", batch.into());
        set("n_iter", (request.n / batch).into());
        if let Some(size) = request.size {
            let fits = |side: u32| side % 8 == 0 && side <= LARGEST_SIDE;
            if !fits(size.width) || !fits(size.height) {
                let must_be = format!(
                    "of sides that are multiples of 8 and at most {LARGEST_SIDE}, like \"512x512\""
                );
                return Err(wrong("size", &must_be));
            }
            set("width", size.width.into());
            set("height", size.height.into());
        }
        if let Some(steps) = request.whole("steps", 1..=MOST_STEPS)? {
            set("steps", steps.into());
        }
        // Without a seed the server picks one and names it in its answer. A seed of -1 means the same.
        let any = request.field("seed").and_then(Value::as_i64) == Some(-1);
        if !any {
            if let Some(seed) = request.whole("seed", 0..=u64::from(u32::MAX))? {
                set("seed", seed.into());
            }
        }
        // By default the server loads the previous checkpoint again after each request.
        set("override_settings_restore_afterwards", false.into());
        Ok(Self { checkpoint, fields })
    }

    /// The body of the request. The checkpoint is named as in `body`, the server's list of its checkpoints.
    ///
    /// # Errors
    ///
    /// A 404 if the list does not have the checkpoint, a 502 if it cannot be read.
    pub(super) fn question(&self, body: &[u8]) -> Result<Value, Refusal> {
        let checkpoints: Vec<Checkpoint> = serde_json::from_slice(body)
            .map_err(|_| no_image("something that is no list of checkpoints"))?;
        let wanted = self.checkpoint;
        let found = checkpoints
            .iter()
            .find(|checkpoint| checkpoint.title == wanted)
            .or_else(|| checkpoints.iter().find(|known| known.is_called(wanted)))
            .ok_or_else(|| missing(wanted))?;
        let mut fields = self.fields.clone();
        fields.insert(
            "override_settings".to_owned(),
            json!({ "sd_model_checkpoint": found.title }),
        );
        Ok(Value::Object(fields))
    }

    /// Reads the answer of `txt2img`.
    pub(super) fn read(&self, body: &Bytes) -> Result<Drawing, Refusal> {
        let Generated { images, info } = serde_json::from_slice(body)
            .map_err(|_| no_image("something that is not what txt2img answers"))?;
        let images = images.0;
        let info: Value = info
            .filter(|info| info.0.len() <= LARGEST_INFO)
            .and_then(|info| serde_json::from_str(&info.0).ok())
            .unwrap_or_default();
        // A server that is set to make a grid of all images puts it first.
        let grids = info["index_of_first_image"].as_u64().unwrap_or_default();
        let grids = usize::try_from(grids).unwrap_or_default();
        let grids = if grids < images.len() { grids } else { 0 };
        let picture = |(at, base64): (usize, Text<'_>)| {
            let mut picture = Picture::from_base64(base64.of(body))?;
            let of_each = [
                ("seed", "all_seeds", at - grids),
                ("infotext", "infotexts", at),
            ];
            for (name, list, at) in of_each {
                if let Some(told) = info[list].get(at).filter(|told| !told.is_null()) {
                    picture.told.insert(name.to_owned(), told.clone());
                }
            }
            Ok(picture)
        };
        let pictures = images
            .into_iter()
            .enumerate()
            .skip(grids)
            .map(picture)
            .collect::<Result<Vec<_>, Refusal>>()?;
        let metadata = match pictures.is_empty() {
            true => Value::Null,
            false => self.metadata(&info),
        };
        Ok(Drawing {
            pictures,
            usage: Value::Null,
            metadata,
        })
    }

    /// What the server says about how the images were made.
    fn metadata(&self, info: &Value) -> Value {
        let mut metadata = json!({ "model": self.checkpoint });
        for (name, of) in [
            ("model", "sd_model_name"),
            ("model_hash", "sd_model_hash"),
            ("seeds", "all_seeds"),
            ("sampler", "sampler_name"),
            ("steps", "steps"),
            ("cfg_scale", "cfg_scale"),
            ("clip_skip", "clip_skip"),
        ] {
            if !info[of].is_null() {
                metadata[name] = info[of].clone();
            }
        }
        metadata
    }
}

impl Checkpoint {
    /// Whether this is one of the names that the server has for the checkpoint, or its title without the hash, which is
    /// missing until the server has computed it.
    fn is_called(&self, name: &str) -> bool {
        let others = [&self.model_name, &self.filename, &self.hash];
        let bare = |title: &'_ str| title.split(" [").next().map(str::to_owned);
        others.iter().any(|other| other.as_deref() == Some(name))
            || bare(&self.title).as_deref() == Some(name)
            || bare(name).as_deref() == Some(self.title.as_str())
    }
}

/// The size of a batch such that whole rounds make exactly `n` images.
fn batch(n: usize) -> usize {
    (1..=LARGEST_BATCH)
        .rev()
        .find(|batch| n % batch == 0)
        .unwrap_or(1)
}

/// OpenAI's error for an unknown model, which classifies as gone; for a minute only, because the owner of the server may
/// be about to copy the checkpoint there.
fn missing(checkpoint: &str) -> Refusal {
    let message = format!("The model `{checkpoint}` does not exist.");
    Refusal::new(StatusCode::NOT_FOUND, "model_not_found", message)
        .param("model")
        .retry_after(Duration::from_secs(60))
}

/// Reads a report of progress: the fraction that is done, and the seconds that are left.
pub(super) fn read_progress(body: &[u8]) -> Option<(f64, f64)> {
    #[derive(Deserialize)]
    struct Report {
        progress: f64,
        #[serde(default)]
        eta_relative: f64,
    }
    let report: Report = serde_json::from_slice(body).ok()?;
    Some((report.progress, report.eta_relative))
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

    use super::*;
    use crate::catalog::Model;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x2c\0\0\0\xc8\x08\x02";
    const MODELS: &str = r#"[
        {"title":"base.safetensors [0123456789]","model_name":"base","filename":"/models/base.safetensors","hash":"0123456789","sha256":null},
        {"title":"me.safetensors","model_name":"me","filename":"/models/me.safetensors","type":"Stable Diffusion"}
    ]"#;

    #[allow(clippy::needless_pass_by_value)]
    fn begin(checkpoint: &str, request: Value) -> Result<Generation<'_>, Refusal> {
        let model = Model::new(checkpoint).build();
        let request = ImageRequest::read(request.to_string().as_bytes(), &model)?;
        Generation::new(checkpoint, &request)
    }

    fn asked(checkpoint: &str, request: Value) -> Value {
        let generation = begin(checkpoint, request).expect("a request");
        generation.question(MODELS.as_bytes()).expect("a question")
    }

    #[allow(clippy::needless_pass_by_value)]
    fn answered(body: Value) -> Result<Drawing, Refusal> {
        let generation = begin("me", json!({ "prompt": "a fox" })).expect("a request");
        generation.read(&body.to_string().into())
    }

    fn answer(body: Value) -> Value {
        let drawing = answered(body).map_err(|refusal| refusal.status);
        let answer = drawing.expect("an answer").into_bytes(7, false);
        serde_json::from_slice(&answer).expect("JSON")
    }

    #[test]
    fn a_request_becomes_txt2img() {
        let request = json!({ "model": "x", "prompt": "a fox", "negative_prompt": "blur", "n": 2, "size": "512x256",
            "steps": 9, "seed": 7, "quality": "hd" });
        assert_eq!(
            asked("me", request),
            json!({
                "prompt": "a fox", "negative_prompt": "blur", "batch_size": 2, "n_iter": 1, "width": 512, "height": 256,
                "steps": 9, "seed": 7, "override_settings": { "sd_model_checkpoint": "me.safetensors" },
                "override_settings_restore_afterwards": false,
            })
        );
    }

    #[test]
    fn what_is_not_asked_for_is_left_to_the_server() {
        let body = asked("me", json!({ "prompt": "a fox", "seed": -1 }));
        for name in ["width", "height", "steps", "seed", "negative_prompt"] {
            assert!(body.get(name).is_none(), "{name}");
        }
    }

    #[test]
    fn exactly_n_images_are_made_in_small_batches() {
        for n in 1..=10 {
            let batch = batch(n);
            assert!(batch <= LARGEST_BATCH && n % batch == 0, "{n}");
        }
        let body = asked("me", json!({ "prompt": "a fox", "n": 10 }));
        assert_eq!(
            (&body["batch_size"], &body["n_iter"]),
            (&json!(2), &json!(5))
        );
    }

    #[test]
    fn a_size_that_the_server_cannot_make_is_refused() {
        for size in ["511x512", "512x2056", "4x8"] {
            let refusal = begin("me", json!({ "prompt": "a fox", "size": size })).err();
            assert_eq!(
                refusal.map(|refusal| refusal.status.as_u16()),
                Some(400),
                "{size}"
            );
        }
    }

    #[test]
    fn a_checkpoint_is_known_by_each_of_its_names_and_asked_for_by_its_title() {
        for (name, title) in [
            (
                "base.safetensors [0123456789]",
                "base.safetensors [0123456789]",
            ),
            ("base.safetensors", "base.safetensors [0123456789]"),
            ("base", "base.safetensors [0123456789]"),
            ("0123456789", "base.safetensors [0123456789]"),
            ("/models/base.safetensors", "base.safetensors [0123456789]"),
            ("me.safetensors [9876543210]", "me.safetensors"),
        ] {
            let body = asked(name, json!({ "prompt": "a fox" }));
            let settings = &body["override_settings"];
            assert_eq!(settings["sd_model_checkpoint"], title, "{name}");
        }
    }

    #[test]
    fn a_checkpoint_that_is_not_there_is_a_model_that_does_not_exist() {
        for name in ["other", "base.safetensors [9999999999]", "bas", ""] {
            let generation = begin(name, json!({ "prompt": "a fox" })).expect("a request");
            let refusal = generation.question(MODELS.as_bytes()).unwrap_err();
            assert_eq!(refusal.status, 404, "{name}");
            let body = refusal.into_response().into_body();
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(body["error"]["code"], "model_not_found");
        }
    }

    #[test]
    fn images_come_with_what_the_server_says_of_them() {
        let png = BASE64.encode(PNG);
        let info = json!({ "all_seeds": [7, 8], "sd_model_name": "me", "sd_model_hash": "98", "steps": 20,
            "infotexts": ["grid", "a fox, Seed: 7", "a fox, Seed: 8"], "index_of_first_image": 1 });
        let body = json!({ "images": [png, png, png], "parameters": {}, "info": info.to_string() });
        let answer = answer(body);
        let data = answer["data"].as_array().expect("a list");
        assert_eq!(data.len(), 2);
        assert_eq!(
            data[1],
            json!({ "b64_json": png, "media_type": "image/png", "width": 300, "height": 200, "seed": 8,
                "infotext": "a fox, Seed: 8" })
        );
        assert_eq!(
            answer["metadata"],
            json!({ "model": "me", "model_hash": "98", "seeds": [7, 8], "steps": 20 })
        );
    }

    #[test]
    fn no_images_are_an_empty_answer() {
        let answer = answer(json!({ "images": [], "info": "{}" }));
        assert_eq!(answer, json!({ "created": 7, "data": [] }));
    }

    #[test]
    fn what_is_no_image_is_no_answer() {
        for body in [
            json!({ "images": ["AAAA"], "info": "{}" }),
            json!({ "images": ["%"], "info": "{}" }),
            json!({ "images": null }),
            json!({ "detail": "Not Found" }),
            json!([]),
        ] {
            let refusal = answered(body.clone()).err().expect("a refusal");
            assert_eq!(refusal.status, 502, "{body}");
        }
    }

    #[test]
    fn an_info_that_cannot_be_read_costs_no_image() {
        for info in [json!(null), json!(""), json!("not JSON"), json!("[1]")] {
            let body = json!({ "images": [BASE64.encode(PNG)], "info": info });
            assert_eq!(answer(body)["data"][0]["width"], 300);
        }
    }

    #[test]
    fn progress_is_read() {
        let body = br#"{"id":"1","progress":0.25,"eta_relative":3.5,"state":{"job_count":1},"current_image":null}"#;
        assert_eq!(read_progress(body), Some((0.25, 3.5)));
        assert_eq!(read_progress(b"{}"), None);
    }
}
