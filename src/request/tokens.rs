//! How long text is to a model.
//!
//! An estimate without a vocabulary: each character has a fixed price by its class, and the prices add up, so a text can
//! be counted in blocks and in any order. Four bytes a token, the usual rule, is right for English prose and wrong by a
//! factor of two or three for code, JSON and most of the world's languages. The prices here are fitted to `o200k_base`,
//! a vocabulary of middling density: the tests hold what it counts for samples of twelve kinds.
//!
//! Of a long text only some blocks are counted, evenly spread over it. That adds an error of one or two per cent, seldom
//! of five, to an estimate that is often wrong by twenty, and a long text costs no more time than a short one.

use std::ops::RangeInclusive;

use crate::json::{unescape, unescape_letter};

/// Prices are in sixteenths of a token, by the first byte of a character; the other bytes of it cost nothing.
const PRICES: [u8; 256] = {
    let mut prices = [0; 256];
    let mut byte = 0;
    while byte < prices.len() {
        prices[byte] = price(byte as u8);
        byte += 1;
    }
    prices
};

#[expect(clippy::match_same_arms, reason = "equal prices are a coincidence")]
const fn price(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => 3,
        b'A'..=b'Z' => 6,
        b'0'..=b'9' => 8,
        b' ' | b'\t' => 4,
        b'\n' | b'\r' => 8,
        // Marks.
        0..=0x7f => 7,
        0x80..=0xbf => 0,
        // Dashes, quotes, arrows, boxes.
        0xc2 | 0xe2 => 10,
        // Latin letters with accents.
        0xc0..=0xcd => 8,
        // Two bytes: Greek, Cyrillic, Hebrew, Arabic.
        0xce..=0xdf => 5,
        // Three bytes: the scripts of India and South-East Asia, and Vietnamese.
        0xe0 | 0xe1 => 5,
        // Chinese, Japanese, Korean.
        0xe3..=0xef => 13,
        // Emoji, and what is rarer.
        0xf0..=0xff => 26,
    }
}

/// What the estimate of so many bytes of text can be at least and at most, because no byte costs more than a digit or a
/// line break does, and none less than one of the six that an ASCII letter can be escaped with.
pub(crate) fn bounds(bytes: u64) -> RangeInclusive<u64> {
    bytes / 32..=bytes.div_ceil(2)
}

/// How many bytes are counted at most, apart from what is left over at the ends of texts. A text that is not longer is
/// counted whole.
const MOST_COUNTED: u64 = 16 * 1024;

/// The estimated number of tokens of these texts, parts of a JSON document as they are written there, which have so many
/// bytes together.
pub(crate) fn estimate<'a>(texts: impl Iterator<Item = &'a [u8]>, bytes: u64) -> u64 {
    let one_in = bytes.div_ceil(MOST_COUNTED).max(1);
    let one_in = usize::try_from(one_in).unwrap_or(usize::MAX);
    let sixteenths: i64 = texts.map(|text| sixteenths(text, one_in)).sum();
    let bounds = bounds(bytes);
    let tokens = sixteenths.max(0).unsigned_abs().div_ceil(16);
    tokens.clamp(*bounds.start(), *bounds.end())
}

/// What a text costs. One block in so many is counted, and stands for those next to it.
fn sixteenths(text: &[u8], one_in: usize) -> i64 {
    let stripe = BLOCK.saturating_mul(one_in);
    let stripes = if one_in > 1 { text.len() / stripe } else { 0 };
    let of_block = |n: usize| {
        let at = n * stripe + BLOCK * any_below(one_in, n);
        of_front(text.get(at..).unwrap_or_default(), BLOCK)
    };
    let of_blocks: i64 = (0..stripes).map(of_block).sum();
    let rest = text.get(stripes * stripe..).unwrap_or_default();
    of_blocks * one_in as i64 + of_front(rest, rest.len())
}

/// A number below a bound that depends on `n` without a pattern, so that no pattern in a text goes along with it
/// (Knuth, The Art of Computer Programming, 6.4: multiplicative hashing).
const fn any_below(bound: usize, n: usize) -> usize {
    let hash = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    hash as usize % bound
}

/// What the first `len` bytes of a text cost, and the escapes that begin in them.
///
/// An escape costs what the character costs that it stands for: all bytes are counted as they are, and then what is wrong
/// about escapes is added, because to count run by run between them takes twice as long. This is also why an escape may
/// cross the end of a block: its bytes count where they stand, and what is wrong about it counts where it begins.
fn of_front(text: &[u8], len: usize) -> i64 {
    let front = text.get(..len).unwrap_or(text);
    let mut blocks = front.chunks_exact(BLOCK);
    let whole: i64 = blocks.by_ref().map(of_rows).sum();
    whole + one_by_one(blocks.remainder()) + of_escapes(text, front.len())
}

/// By how much the escapes that begin in the first `len` bytes of a text are counted wrong byte by byte.
#[inline(never)]
fn of_escapes(text: &[u8], len: usize) -> i64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const LOW: u64 = EACH * 0x7f;
    let mut all = 0;
    // Where the next escape can begin: of two backslashes the second begins none.
    let mut next = 0;
    let front = text.get(..len).unwrap_or(text);
    let mut rest = front;
    while let Some((block, behind)) = rest.split_first_chunk::<64>() {
        let start = front.len() - rest.len();
        rest = behind;
        if !block.iter().fold(false, |any, byte| any | (*byte == b'\\')) {
            continue;
        }
        for (n, word) in block.chunks_exact(8).enumerate() {
            let word = word.first_chunk().copied().unwrap_or_default();
            // The highest bit of each byte that is zero, and of no other (Hacker's Delight, 6-1).
            let other = u64::from_le_bytes(word) ^ (EACH * 0x5c);
            let mut backslashes = !(((other & LOW) + LOW) | other | LOW);
            while backslashes != 0 {
                let at = start + 8 * n + backslashes.trailing_zeros() as usize / 8;
                if at >= next {
                    let (len, difference) = of_escape(text, at);
                    all += difference;
                    next = at + len;
                }
                backslashes &= backslashes - 1;
            }
        }
    }
    next = next.max(front.len() - rest.len());
    while let Some(byte) = front.get(next) {
        let (len, difference) = match byte {
            b'\\' => of_escape(text, next),
            _ => (1, 0),
        };
        all += difference;
        next += len;
    }
    all
}

/// The length of the escape that begins here, and by how much it is counted wrong.
#[inline(always)]
fn of_escape(text: &[u8], at: usize) -> (usize, i64) {
    match text.get(at + 1) {
        Some(b'u') | None => of_unicode(text.get(at..).unwrap_or_default()),
        Some(letter) => (2, i64::from(OF_ESCAPES[usize::from(*letter)])),
    }
}

/// By how much an escape of a backslash and this byte is counted wrong byte by byte.
const OF_ESCAPES: [i8; 256] = {
    let mut differences = [0; 256];
    let mut byte = 0;
    while byte < differences.len() {
        let written = price(b'\\') + price(byte as u8);
        differences[byte] = price(unescape_letter(byte as u8)) as i8 - written as i8;
        byte += 1;
    }
    differences
};

/// The length of an escape that begins with `\u`, and the same of it.
#[cold]
fn of_unicode(escape: &[u8]) -> (usize, i64) {
    let (char, len) = unescape(escape);
    let written = escape.get(..len).unwrap_or_default();
    let mut meant = [0; 4];
    let meant = char.encode_utf8(&mut meant).as_bytes();
    (len, one_by_one(meant) - one_by_one(written))
}

fn one_by_one(text: &[u8]) -> i64 {
    let prices = text.iter().map(|byte| PRICES[usize::from(*byte)]);
    prices.map(i64::from).sum()
}

/// A vector register of bytes, and so many of them that can be added up without one byte of the sum running over.
const ROW: usize = 16;
const BLOCK: usize = 8 * ROW;

fn of_rows(rows: &[u8]) -> i64 {
    let is_common = !rows
        .iter()
        .fold(false, |other, byte| other | ((*byte as i8) < 0x20));
    if !is_common {
        return one_by_one(rows);
    }
    let mut sums = [0; ROW];
    for row in rows.chunks_exact(ROW) {
        for (sum, byte) in sums.iter_mut().zip(row) {
            *sum += common_price(*byte);
        }
    }
    sums.into_iter().map(i64::from).sum()
}

/// The [`price`] of ASCII without control characters, and without branches, for the compiler to make it of comparisons of
/// vectors.
const fn common_price(byte: u8) -> u8 {
    let lower = if byte.wrapping_sub(b'a') < 26 { 4 } else { 0 };
    let upper = if byte.wrapping_sub(b'A') < 26 { 1 } else { 0 };
    let digit = if byte.wrapping_sub(b'0') < 10 { 1 } else { 0 };
    let space = if byte == b' ' { 3 } else { 0 };
    7 + digit - lower - upper - space
}

/// A part of a prompt that is not text, in the order of what it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Media {
    Audio,
    Image,
    File,
    Video,
}

impl Media {
    /// The estimated number of tokens of a part of `len` bytes.
    ///
    /// The bytes of an image say nothing of its tokens: providers scale it, and bill some 250 to 1600. The others grow
    /// with their length at about the rate of common encodings (base64 of MP3 at 128 kbit/s and 32 tokens a second; of a
    /// PDF of 50 kB and 1000 tokens a page; of video at 1 Mbit/s and 260 tokens a second), between bounds, because the
    /// length of a link or of an uncompressed file says nothing.
    pub(crate) fn tokens(self, len: usize) -> u64 {
        let len = len as u64;
        match self {
            Self::Audio => (len / 700).clamp(200, 20_000),
            Self::Image => 1000,
            Self::File => (len / 64).clamp(1000, 50_000),
            Self::Video => (len / 640).clamp(1000, 50_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// Samples, and how many tokens each is in `o200k_base`, as counted by version 4.0.0 of the npm
    /// package `gpt-tokenizer`.
    const SAMPLES: [(&str, u64, &str); 12] = [
        (
            "English",
            116,
            r##"The committee had been sitting since nine o'clock in the morning, and by the time the lamps were lit nobody could remember who had first proposed that the bridge be moved. It was an old bridge, narrow and slightly crooked, and the people of the town were fond of it in the way one is fond of a relative who tells the same story every winter. "If we leave it where it is," said the engineer, "the river will take it within ten years." Nobody answered. Outside, the rain had stopped, and a cart was crossing very slowly towards the market."##,
        ),
        (
            "Rust",
            164,
            r##"impl<S, B> Service<Request<B>> for Timeout<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self.inner.poll_ready(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(result) => Poll::Ready(result.map_err(Into::into)),
        }
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let response = self.inner.call(request);
        let sleep = tokio::time::sleep(self.timeout);
        ResponseFuture::new(response, sleep)
    }
}
"##,
        ),
        (
            "JSON",
            173,
            r##"{"id": 48213, "customer": {"name": "Marta Lindqvist", "email": "marta.l@example.org", "vip": false}, "items": [{"sku": "AX-1093", "qty": 2, "unit_price": 19.95, "tags": ["garden", "tools"]}, {"sku": "BK-0007", "qty": 1, "unit_price": 4.5, "tags": []}], "shipping": {"method": "express", "address": {"street": "12 Harbour Road", "zip": "21119", "city": "Malmö"}, "eta": "2026-03-04T10:15:00Z"}, "total": 44.4, "currency": "EUR", "notes": null}"##,
        ),
        (
            "Chinese",
            121,
            r##"委员会从早上九点就开始开会，等到灯点亮的时候，已经没有人记得是谁最先提议把那座桥搬走的了。那是一座老桥，又窄又有点歪，镇上的人喜欢它，就像喜欢一个每年冬天都讲同一个故事的亲戚。“如果让它留在原地，”工程师说，“十年之内河水就会把它冲走。”没有人回答。外面的雨已经停了，一辆马车正慢慢地驶向市场。"##,
        ),
        (
            "Japanese",
            154,
            r##"委員会は朝の九時から続いていて、明かりがともる頃には、橋を移そうと最初に言い出したのが誰だったのか、もう誰も覚えていなかった。それは狭くて少し曲がった古い橋で、町の人々は、毎年冬になると同じ話をする親戚を好むように、その橋を愛していた。「このままにしておけば、十年のうちに川に流されるでしょう」と技師は言った。誰も答えなかった。外では雨がやみ、荷車が市場へ向かってゆっくりと渡っていた。"##,
        ),
        (
            "Russian",
            128,
            r##"Комитет заседал с девяти часов утра, и к тому времени, когда зажгли лампы, никто уже не мог вспомнить, кто первым предложил перенести мост. Это был старый мост, узкий и немного кривой, и жители города любили его так, как любят родственника, который каждую зиму рассказывает одну и ту же историю. «Если оставить его на месте, — сказал инженер, — река унесёт его в течение десяти лет». Никто не ответил. На улице дождь прекратился, и телега очень медленно ехала к рынку."##,
        ),
        (
            "Korean",
            120,
            r##"위원회는 아침 아홉 시부터 계속되고 있었고, 등불이 켜질 무렵에는 누가 처음 다리를 옮기자고 제안했는지 아무도 기억하지 못했다. 그것은 좁고 조금 비뚤어진 오래된 다리였고, 마을 사람들은 해마다 겨울이면 같은 이야기를 들려주는 친척을 좋아하듯 그 다리를 좋아했다. 기술자가 말했다. 그대로 두면 십 년 안에 강물이 휩쓸어 갈 것입니다. 아무도 대답하지 않았다."##,
        ),
        (
            "German",
            103,
            r##"Der Ausschuss tagte seit neun Uhr morgens, und als die Lampen angezündet wurden, konnte sich niemand mehr erinnern, wer zuerst vorgeschlagen hatte, die Brücke zu versetzen. Es war eine alte Brücke, schmal und ein wenig schief, und die Bürger der Stadt mochten sie so, wie man einen Verwandten mag, der jeden Winter dieselbe Geschichte erzählt. „Wenn wir sie stehen lassen“, sagte der Ingenieur, „nimmt sie der Fluss innerhalb von zehn Jahren mit.“"##,
        ),
        (
            "Arabic",
            96,
            r##"كانت اللجنة مجتمعة منذ التاسعة صباحا، وعندما أضيئت المصابيح لم يعد أحد يتذكر من الذي اقترح أولا نقل الجسر. كان جسرا قديما ضيقا ومائلا قليلا، وكان أهل المدينة يحبونه كما يحب المرء قريبا يروي القصة نفسها كل شتاء. قال المهندس: إذا تركناه في مكانه فسيأخذه النهر خلال عشر سنوات. لم يجب أحد."##,
        ),
        (
            "Hindi",
            85,
            r##"समिति सुबह नौ बजे से बैठी हुई थी, और जब तक दीपक जलाए गए, किसी को याद नहीं रहा कि पुल को हटाने का प्रस्ताव सबसे पहले किसने रखा था। वह एक पुराना पुल था, संकरा और थोड़ा टेढ़ा, और शहर के लोग उसे वैसे ही चाहते थे जैसे कोई उस रिश्तेदार को चाहता है जो हर सर्दी में वही कहानी सुनाता है।"##,
        ),
        (
            "Python",
            173,
            r##"def percentile(values: list[float], q: float) -> float:
    """Return the q-th percentile (0 <= q <= 100) of `values`."""
    if not values:
        raise ValueError("empty sample")
    ordered = sorted(values)
    rank = (len(ordered) - 1) * q / 100
    low, high = math.floor(rank), math.ceil(rank)
    if low == high:
        return ordered[low]
    return ordered[low] * (high - rank) + ordered[high] * (rank - low)

if __name__ == "__main__":
    for q in (50, 90, 99):
        print(f"p{q}: {percentile([1.5, 2.25, 10.0], q):.2f}")
"##,
        ),
        (
            "Markdown",
            113,
            r##"## Changes in 0.4.2

- **Fixed**: `retry_after` is now honoured when it is sent as an HTTP date ([#231](https://example.org/issues/231)).
- **Added**: `--max-wait 30s` on the command line; see `docs/limits.md`.

| option | default | meaning |
|---|---|---|
| `max_wait` | `0s` | how long to wait |
| `attempts` | `6` | how often to try |
"##,
        ),
    ];

    fn tokens(raw: &str) -> u64 {
        estimate([raw.as_bytes()].into_iter(), raw.len() as u64)
    }

    #[test]
    fn the_estimate_is_fair_to_every_kind_of_text() {
        for (kind, counted, sample) in SAMPLES {
            let estimated = tokens(sample);
            let off = estimated.abs_diff(counted) * 100;
            assert!(off <= 35 * counted, "{kind}: {estimated}, not {counted}");
        }
    }

    #[test]
    fn escapes_change_nothing() {
        for (kind, _, sample) in SAMPLES {
            let quoted = serde_json::Value::from(sample).to_string();
            let ascii: String = sample
                .encode_utf16()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect();
            let plain = tokens(sample);
            assert_eq!(tokens(&quoted[1..quoted.len() - 1]), plain, "{kind}");
            assert_eq!(tokens(&ascii), plain, "{kind}");
        }
    }

    #[test]
    fn a_schema_is_counted_as_it_is_written() {
        let schema = r#"[{"type":"function","function":{"name":"get_weather","description":"Get the current weather for a city.","parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1}},"required":["city"],"additionalProperties":false}}}]"#;
        // Counted as above.
        let counted = 60;
        let estimated = tokens(schema);
        assert!(
            estimated.abs_diff(counted) * 100 <= 35 * counted,
            "{estimated}"
        );
    }

    /// The estimate as it is defined: character by character.
    fn plainly(raw: &str) -> u64 {
        let (mut raw, mut all) = (raw.as_bytes(), 0);
        while let [first, ..] = raw {
            let (price, len) = match first {
                b'\\' => {
                    let (char, len) = unescape(raw);
                    let mut utf8 = [0; 4];
                    (price(char.encode_utf8(&mut utf8).as_bytes()[0]), len)
                }
                first => (price(*first), 1),
            };
            all += u64::from(price);
            raw = &raw[len..];
        }
        all.div_ceil(16)
    }

    proptest! {
        #[test]
        fn what_is_counted_in_blocks_is_the_sum_of_the_prices(
            parts in vec(prop_oneof![
                4 => "[a-zA-Z0-9 .,]{0,150}",
                2 => "[é中\u{1f600}ж—\u{0}\n\t]{0,9}",
                4 => select(&[r"\n", r#"\""#, r"\\", r"\t", r"\b", r"\/", r"\u00e4", r"\ud83d\ude00", r"\ud800", r"\u005c"][..])
                    .prop_map(str::to_owned),
            ], 0..30),
        ) {
            let raw = parts.concat();
            prop_assert_eq!(tokens(&raw), plainly(&raw));
            let bounds = bounds(raw.len() as u64);
            prop_assert!(bounds.contains(&tokens(&raw)), "{:?}", bounds);
        }
    }

    /// A sample as it may be written in JSON: with the fewest escapes, or with one for each character that needs one in ASCII.
    fn written(sample: &str, in_ascii: bool) -> String {
        let quoted = serde_json::Value::from(sample).to_string();
        let mut written = String::new();
        for char in quoted[1..quoted.len() - 1].chars() {
            match in_ascii && !char.is_ascii() {
                true => (char.encode_utf16(&mut [0; 2]).iter())
                    .for_each(|unit| written += &format!("\\u{unit:04x}")),
                false => written.push(char),
            }
        }
        written
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_sample_of_a_long_text_costs_nearly_what_all_of_it_does(
            parts in vec((0..SAMPLES.len(), 1..20_usize, any::<bool>()), 10..60),
            cuts in vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let parts = parts.into_iter();
            let raw: String = parts
                .map(|(kind, times, in_ascii)| written(SAMPLES[kind].2, in_ascii).repeat(times))
                .collect();
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(raw.len())).collect();
            ends.push(raw.len());
            ends.sort_unstable();
            let mut start = 0;
            let texts = ends.into_iter().map(|end| {
                let text = &raw.as_bytes()[start..end];
                start = end;
                text
            });
            let (estimated, all) = (estimate(texts, raw.len() as u64), plainly(&raw));
            prop_assert!(estimated.abs_diff(all) * 100 <= 8 * all, "{estimated}, not {all} of {}", raw.len());
        }
    }

    #[test]
    fn a_text_with_a_pattern_is_sampled_without_one() {
        // Of each period one part costs more than twice what the other does.
        for period in [128, 256, 512, 1024, 4096] {
            let dear = "1".repeat(period / 2);
            let raw = (dear + &"a".repeat(period / 2)).repeat(1_000_000 / period);
            let (estimated, all) = (tokens(&raw), plainly(&raw));
            assert!(
                estimated.abs_diff(all) * 100 <= 8 * all,
                "{period}: {estimated}, not {all}"
            );
        }
    }

    #[test]
    fn no_character_is_estimated_out_of_bounds() {
        for char in (char::MIN..=char::MAX).step_by(7) {
            let units: String = char
                .encode_utf16(&mut [0; 2])
                .iter()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect();
            for text in [char.to_string(), units] {
                let (sixteenths, len) = (sixteenths(text.as_bytes(), 1), text.len() as i64);
                let is_within = 2 * sixteenths >= len && sixteenths <= 8 * len;
                assert!(is_within, "{text:?}: {sixteenths}");
            }
        }
    }

    #[test]
    fn more_text_is_never_less() {
        for (kind, _, sample) in SAMPLES {
            let mut last = 0;
            for (end, _) in sample.char_indices() {
                let now = tokens(&sample[..end]);
                assert!(now + 1 >= last, "{kind}: {end}");
                last = now;
            }
        }
    }
}
