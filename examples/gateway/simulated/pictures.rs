//! Images: stripes in colours that follow from the prompt, as PNG.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::{Value, json};

use super::chance::fnv;

/// The length of a side unless the caller says, and the most that it may be, in pixels.
const SIDE: u32 = 256;
const LONGEST_SIDE: u32 = 2048;
const MOST_IMAGES: usize = 4;

/// A request, as far as it matters here.
#[derive(Deserialize)]
pub(super) struct ImageRequest {
    pub(super) model: String,
    prompt: String,
    size: Option<String>,
    n: Option<usize>,
}

impl ImageRequest {
    /// As many images as are asked for, up to four.
    pub(super) fn answer(&self, created: u64, by: &str) -> Value {
        let (width, height) = self.size();
        let image = |number: usize| {
            let chance = fnv(format!("{number} {}", self.prompt).as_bytes());
            json!({
                "b64_json": BASE64.encode(png(width, height, chance)),
                "revised_prompt": format!("{} — drawn by {by}, simulated", self.prompt),
            })
        };
        let count = self.n.unwrap_or(1).clamp(1, MOST_IMAGES);
        json!({ "created": created, "data": (0..count).map(image).collect::<Vec<_>>() })
    }

    fn size(&self) -> (u32, u32) {
        let sides = self.size.as_deref().and_then(|size| {
            let (width, height) = size.split_once('x')?;
            Some((width.parse().ok()?, height.parse().ok()?))
        });
        let (width, height) = sides.unwrap_or((SIDE, SIDE));
        (width.clamp(1, LONGEST_SIDE), height.clamp(1, LONGEST_SIDE))
    }
}

/// A PNG of 16 colours, four bits a pixel, without compression (W3C PNG, RFC 1950, RFC 1951).
fn png(width: u32, height: u32, chance: u64) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([4, 3, 0, 0, 0]);
    let palette = (0..16).flat_map(|colour: u64| {
        let channel =
            move |which: u64| (chance >> (8 * which)).wrapping_add(colour * (5 + 4 * which));
        [0, 1, 2].map(|which| channel(which) as u8)
    });
    let mut lines = Vec::new();
    for y in 0..height {
        // No filter.
        lines.push(0);
        let colour = |x: u32| ((x + y) / 16 % 16) as u8;
        lines.extend(
            (0..width.div_ceil(2)).map(|pair| colour(2 * pair) << 4 | colour(2 * pair + 1)),
        );
    }
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [
        (b"IHDR", header),
        (b"PLTE", palette.collect()),
        (b"tEXt", b"Comment\0simulated".to_vec()),
        (b"IDAT", stored(&lines)),
        (b"IEND", Vec::new()),
    ] {
        let checked = [kind.as_slice(), &data].concat();
        png.extend((data.len() as u32).to_be_bytes());
        png.extend(&checked);
        png.extend(crc(&checked).to_be_bytes());
    }
    png
}

/// A zlib stream of stored blocks.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x78, 0x01];
    let blocks: Vec<_> = data.chunks(0xffff).collect();
    for (i, block) in blocks.iter().enumerate() {
        let length = block.len() as u16;
        stream.push(u8::from(i + 1 == blocks.len()));
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(*block);
    }
    let (a, b) = data.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

fn crc(data: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !data.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: Value) -> ImageRequest {
        let mut request = json!({ "model": "m", "prompt": "a cat" });
        let fields = fields.as_object().cloned().unwrap_or_default();
        request.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(request).unwrap()
    }

    #[test]
    fn a_checksum_is_that_of_the_standard() {
        assert_eq!(crc(b"IEND"), 0xae42_6082);
        assert_eq!(crc(b"123456789"), 0xcbf4_3926);
        assert!(stored(b"Wikipedia").ends_with(&0x11e6_0398_u32.to_be_bytes()));
    }

    #[test]
    fn an_image_has_the_asked_size_within_bounds() {
        for (asked, sides) in [
            (json!({}), (256, 256)),
            (json!({ "size": "auto" }), (256, 256)),
            (json!({ "size": "300x7" }), (300, 7)),
            (json!({ "size": "0x99999" }), (1, 2048)),
        ] {
            assert_eq!(request(asked.clone()).size(), sides, "{asked}");
        }
        let image = png(300, 7, 1);
        assert!(image.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\x2c\0\0\0\x07"));
        // Seven lines of a filter's byte and 150 of pixels.
        let data = 7 * 151;
        let around = 8 + (12 + 13) + (12 + 48) + (12 + 17) + (12 + 2 + 5 + 4) + 12;
        assert_eq!(image.len(), data + around);
    }

    #[test]
    fn different_prompts_and_numbers_give_different_images() {
        let answer = request(json!({ "n": 2 })).answer(1, "p/m");
        assert_ne!(answer["data"][0]["b64_json"], answer["data"][1]["b64_json"]);
        let prompt = answer["data"][0]["revised_prompt"].as_str().unwrap();
        assert!(prompt.ends_with("simulated"), "{prompt}");
    }
}
