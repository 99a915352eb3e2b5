//! How long text is to a model.
//!
//! A guess without a vocabulary. Four bytes a token, the usual one, is right for English prose and
//! wrong by a factor of two or three for code, JSON and most of the world's languages. What a
//! tokenizer does can be told from the text all the same: it cuts where the class of the character
//! changes, and knows most short runs by heart. So each byte has a price that depends on its own
//! class and on that of the byte before it: the first letter of a word pays for the word, the
//! letters behind it little.
//!
//! That needs no branch and no state but the last class, and so costs well under a nanosecond a
//! byte. The class of a character is that of its first UTF-8 byte, which is enough to tell scripts
//! apart.
//!
//! Prices are in sixteenths of a token. They are fitted to `o200k_base`, a vocabulary of middling
//! density: the tests hold what it counts for samples of twelve kinds.

use crate::json::{Piece, Text};

/// What a message costs beside its text: its role and the marks around it.
const MESSAGE: u64 = 4 * TOKEN;
/// What the quotes around a string cost, and the colon, comma or bracket next to them.
const QUOTES: u64 = TOKEN;
const TOKEN: u64 = 16;

/// A part of a prompt that is not text. In the order of what it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Media {
    Audio,
    Image,
    File,
    Video,
}

impl Media {
    /// What a part of `len` bytes costs, in tokens.
    ///
    /// The bytes of an image say nothing of its tokens: providers scale it, and bill some 250 to
    /// 1600. The others grow with their length at about the rate of common encodings (base64 of MP3
    /// at 128 kbit/s and 32 tokens a second; of a PDF of 50 kB and 1000 tokens a page; of video at
    /// 1 Mbit/s and 260 tokens a second), between bounds, since both a link and an uncompressed
    /// file have a length that says nothing.
    fn tokens(self, len: usize) -> u64 {
        let len = len as u64;
        match self {
            Self::Audio => (len / 700).clamp(200, 20_000),
            Self::Image => 1000,
            Self::File => (len / 64).clamp(1000, 50_000),
            Self::Video => (len / 640).clamp(1000, 50_000),
        }
    }
}

/// Sums up the length of a prompt.
#[derive(Debug, Default)]
pub(crate) struct Estimate {
    sixteenths: u64,
    /// The current one of several inputs that are served one by one, and the longest of them so far.
    input: u64,
    longest: u64,
}

impl Estimate {
    /// A string that the model reads.
    pub(crate) fn text(&mut self, text: Text<'_>) {
        self.sixteenths += measure(text);
    }

    /// A whole input, of several that are served one by one: only the longest has to fit.
    pub(crate) fn input(&mut self, text: Text<'_>) {
        self.input += measure(text);
        self.end_input();
    }

    /// One token of an input that was sent as tokens.
    pub(crate) fn input_token(&mut self) {
        self.input += TOKEN;
    }

    /// The end of an input that was sent as tokens.
    pub(crate) fn end_input(&mut self) {
        self.longest = self.longest.max(std::mem::take(&mut self.input));
    }

    /// A string of some JSON that the model reads, such as a schema, with the quotes and what else
    /// stands around it. Templates write such JSON anew, so its layout costs nothing.
    pub(crate) fn quoted(&mut self, text: Text<'_>) {
        self.text(text);
        self.sixteenths += QUOTES;
    }

    /// A number or a word of such JSON.
    pub(crate) fn literal(&mut self) {
        self.sixteenths += TOKEN;
    }

    /// Something that is not text, `len` bytes of it.
    pub(crate) fn media(&mut self, media: Media, len: usize) {
        self.sixteenths += media.tokens(len) * TOKEN;
    }

    /// The frame of one message.
    pub(crate) fn message(&mut self) {
        self.sixteenths += MESSAGE;
    }

    /// In tokens.
    pub(crate) fn finish(self) -> u64 {
        (self.sixteenths + self.longest).div_ceil(TOKEN)
    }
}

fn measure(text: Text<'_>) -> u64 {
    let mut meter = Meter::default();
    for piece in text.pieces() {
        match piece {
            Piece::Run(run) => meter.feed(run),
            Piece::Char(char) => meter.feed(char.encode_utf8(&mut [0; 4])),
        }
    }
    meter.sixteenths
}

/// The class of a byte: that of the character that it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    /// Not the first byte of a character.
    Within,
    /// What text begins behind, too.
    #[default]
    Space,
    Line,
    Lower,
    Upper,
    Digit,
    Mark,
    /// Latin letters with accents.
    Accented,
    /// Two bytes: Greek, Cyrillic, Hebrew, Arabic.
    Alphabet,
    /// Three bytes: the scripts of India and South-East Asia, and Vietnamese.
    Syllable,
    /// Dashes, quotes, arrows, boxes.
    Symbol,
    /// Chinese, Japanese, Korean.
    Wide,
    /// Emoji, and what is rarer.
    Rare,
}

impl Class {
    const ALL: [Self; 13] = [
        Self::Within,
        Self::Space,
        Self::Line,
        Self::Lower,
        Self::Upper,
        Self::Digit,
        Self::Mark,
        Self::Accented,
        Self::Alphabet,
        Self::Syllable,
        Self::Symbol,
        Self::Wide,
        Self::Rare,
    ];

    const fn of(byte: u8) -> Self {
        match byte {
            b'a'..=b'z' => Self::Lower,
            b'A'..=b'Z' => Self::Upper,
            b'0'..=b'9' => Self::Digit,
            b' ' | b'\t' => Self::Space,
            b'\n' | b'\r' => Self::Line,
            0..=0x7f => Self::Mark,
            0x80..=0xbf => Self::Within,
            0xc2 | 0xe2 => Self::Symbol,
            0xc0..=0xcd => Self::Accented,
            0xce..=0xdf => Self::Alphabet,
            0xe0 | 0xe1 => Self::Syllable,
            0xe3..=0xef => Self::Wide,
            0xf0..=0xff => Self::Rare,
        }
    }

    /// What a byte of this class costs behind one of class `last`, in sixteenths of a token.
    #[expect(clippy::match_same_arms, reason = "equal prices are a coincidence")]
    const fn price(self, last: Self) -> u8 {
        match (last, self) {
            // The space before a word is part of it, and an indent is a token or two.
            (_, Self::Within) => 0,
            (Self::Space, Self::Space) => 3,
            (_, Self::Space) => 0,
            (Self::Line, Self::Line) => 2,
            (_, Self::Line) => 15,
            // Most words are one token, long ones two or three; a capital begins another.
            (Self::Lower | Self::Upper, Self::Lower) => 1,
            (Self::Within, Self::Lower) => 4,
            (_, Self::Lower) => 13,
            (Self::Upper, Self::Upper) => 6,
            (_, Self::Upper) => 14,
            // Three digits are a token.
            (Self::Digit, Self::Digit) => 4,
            (_, Self::Digit) => 14,
            // The usual pairs of marks are one.
            (Self::Mark, Self::Mark) => 6,
            (_, Self::Mark) => 15,
            (_, Self::Accented) => 8,
            (Self::Within, Self::Alphabet) => 4,
            (_, Self::Alphabet) => 12,
            (_, Self::Syllable) => 7,
            (_, Self::Symbol) => 14,
            (_, Self::Wide) => 13,
            (_, Self::Rare) => 26,
        }
    }
}

/// [`Class::of`] every byte.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Within; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = Class::of(byte as u8);
        byte += 1;
    }
    classes
};

/// [`Class::price`] by the last class, in the upper four bits, and the class.
const PRICES: [u8; 256] = {
    let mut prices = [0; 256];
    let mut at = 0;
    while at < Class::ALL.len() * Class::ALL.len() {
        let (last, class) = (
            Class::ALL[at / Class::ALL.len()],
            Class::ALL[at % Class::ALL.len()],
        );
        prices[(last as usize) << 4 | class as usize] = class.price(last);
        at += 1;
    }
    prices
};

/// Adds up the price of a text that comes in pieces.
#[derive(Debug, Default)]
struct Meter {
    sixteenths: u64,
    last: Class,
}

impl Meter {
    fn feed(&mut self, text: &str) {
        for &byte in text.as_bytes() {
            let class = CLASSES[usize::from(byte)];
            self.sixteenths += u64::from(PRICES[(self.last as usize) << 4 | class as usize]);
            self.last = class;
        }
    }
}

#[cfg(test)]
mod tests {
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

    fn tokens(raw: &str, escaped: bool) -> u64 {
        let mut estimate = Estimate::default();
        estimate.text(Text { raw, escaped });
        estimate.finish()
    }

    #[test]
    fn the_estimate_is_fair_to_every_kind_of_text() {
        for (kind, counted, sample) in SAMPLES {
            let estimated = tokens(sample, false);
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
            let plain = tokens(sample, false);
            assert_eq!(tokens(&quoted[1..quoted.len() - 1], true), plain, "{kind}");
            assert_eq!(tokens(&ascii, true), plain, "{kind}");
        }
    }

    #[test]
    fn a_schema_is_counted_whatever_its_layout() {
        let schema = r#"{"tools":[{"type":"function","function":{"name":"get_weather","description":"Get the current weather for a city.","parameters":{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1}},"required":["city"],"additionalProperties":false}}}]}"#;
        let value: serde_json::Value = serde_json::from_str(schema).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let [compact, pretty] = [schema, &pretty].map(|body| {
            let scanned = crate::request::scan(body.as_bytes(), crate::Endpoint::ChatCompletions);
            scanned.unwrap().needs.prompt_tokens
        });
        assert_eq!(compact, pretty);
        // Counted as above, for the value of `tools`.
        let counted = 60;
        assert!(compact.abs_diff(counted) * 100 <= 35 * counted, "{compact}");
    }

    #[test]
    fn more_text_is_never_less() {
        for (kind, _, sample) in SAMPLES {
            let mut last = 0;
            for (end, _) in sample.char_indices() {
                let now = tokens(&sample[..end], false);
                assert!(now + 1 >= last, "{kind}: {end}");
                last = now;
            }
        }
    }
}
