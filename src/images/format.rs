//! Recognises images by their first bytes.

use super::request::Size;

/// The format of an image, by its name in OpenAI's `output_format`, and its size in pixels; `None` if it is no image.
pub(super) fn recognise(bytes: &[u8]) -> Option<(&'static str, Size)> {
    let (format, (width, height)) = png(bytes)
        .map(|size| ("png", size))
        .or_else(|| jpeg(bytes).map(|size| ("jpeg", size)))
        .or_else(|| webp(bytes).map(|size| ("webp", size)))?;
    (width > 0 && height > 0).then_some((format, Size { width, height }))
}

/// The signature and the header chunk (PNG specification, 5.2 and 11.2.2).
fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR")?;
    let number = |at| Some(u32::from_be_bytes(*header.get(at..)?.first_chunk()?));
    Some((number(0)?, number(4)?))
}

/// The segments up to the frame header, which has the size (ITU-T T.81, B.1.1.3 and B.2.2).
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.strip_prefix(b"\xff\xd8")?;
    loop {
        rest = rest.strip_prefix(b"\xff")?;
        match *rest.first()? {
            // Any number of these may stand before a marker.
            0xff => {}
            // Without a length: TEM and the restart markers.
            0x01 | 0xd0..=0xd7 => rest = &rest[1..],
            // The frame headers, SOF0 to SOF15, without what lies between them: DHT, JPG and DAC.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let number = |at| {
                    let two = *rest.get(at..)?.first_chunk()?;
                    Some(u32::from(u16::from_be_bytes(two)))
                };
                return Some((number(6)?, number(4)?));
            }
            // The image's data comes after its frame header, and its end after that.
            0xd8..=0xda => return None,
            _ => {
                let length = u16::from_be_bytes(*rest.get(1..)?.first_chunk()?);
                rest = rest.get(1 + usize::from(length)..)?;
            }
        }
    }
}

/// The first chunk (RFC 9649, 2.4 to 2.7; for a lossy one RFC 6386, 9.1).
fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    let riff = bytes.strip_prefix(b"RIFF")?;
    let chunk = riff.get(4..)?.strip_prefix(b"WEBP")?;
    let data = chunk.get(8..)?;
    let byte = |at: usize| data.get(at).map(|&byte| u32::from(byte));
    let three = |at| Some(byte(at)? | byte(at + 1)? << 8 | byte(at + 2)? << 16);
    match &chunk[..4] {
        b"VP8X" => Some((three(4)? + 1, three(7)? + 1)),
        b"VP8L" if data.first() == Some(&0x2f) => {
            let bits = u32::from_le_bytes(*data.get(1..)?.first_chunk()?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8 " if data.get(3..6)? == b"\x9d\x01\x2a" => {
            let side = |at| Some((byte(at)? | byte(at + 1)? << 8) & 0x3fff);
            Some((side(6)?, side(8)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(bytes: &[u8]) -> Option<(&'static str, u32, u32)> {
        recognise(bytes).map(|(format, size)| (format, size.width, size.height))
    }

    /// The first bytes of each format, for 300 by 200 pixels.
    const HEADS: &[(&str, &[u8])] = &[
        (
            "png",
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x2c\0\0\0\xc8\x08\x02",
        ),
        // JFIF, a comment with a marker in it, then the frame.
        (
            "jpeg",
            b"\xff\xd8\xff\xe0\0\x04JF\xff\xff\xfe\0\x06\xff\xc0\0\0\xff\xc0\0\x11\x08\0\xc8\x01\x2c\x03",
        ),
        (
            "webp",
            b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0\x30\x01\0\x9d\x01\x2a\x2c\x01\xc8\0",
        ),
        // 299 | 199 << 14
        (
            "webp",
            b"RIFF\x24\0\0\0WEBPVP8L\x18\0\0\0\x2f\x2b\xc1\x31\0",
        ),
        (
            "webp",
            b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\x2b\x01\0\xc7\0\0",
        ),
    ];

    #[test]
    fn an_image_is_known_by_its_bytes_with_its_size() {
        for &(format, head) in HEADS {
            assert_eq!(size(head), Some((format, 300, 200)), "{head:?}");
        }
    }

    #[test]
    fn half_a_header_is_no_image() {
        for &(_, head) in HEADS {
            for end in 0..head.len() - 3 {
                assert_eq!(size(&head[..end]), None, "{head:?} to {end}");
            }
        }
    }

    #[test]
    fn what_is_something_else_is_no_image() {
        for bytes in [
            &b""[..],
            b"GIF89a\x01\0\x01\0",
            b"<html></html>",
            b"{\"error\": \"no\"}",
            b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\0\0\0\0",
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\0\0\0\0\xc8",
            b"\xff\xd8\xff\xda\0\x04\0\0",
        ] {
            assert_eq!(size(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(which in 0..HEADS.len(), keep in 0..40usize, tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            let head = HEADS[which].1;
            let bytes = [&head[..keep.min(head.len())], &tail[..]].concat();
            recognise(&bytes);
        }
    }
}
