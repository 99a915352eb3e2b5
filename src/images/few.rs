use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

/// The most elements of a list that are kept. No API makes as many images for one request.
const MOST: usize = 256;

/// The first elements of a list in an upstream's answer. The others are skipped: an empty element takes far more memory
/// than its two or three bytes in the answer, which are what is counted.
pub(super) struct Few<T>(pub(super) Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(First(PhantomData))
    }
}

struct First<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for First<T> {
    type Value = Few<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Few<T>, A::Error> {
        let mut few = Vec::new();
        while few.len() < MOST {
            match list.next_element()? {
                Some(element) => few.push(element),
                None => return Ok(Few(few)),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Few(few))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Vec<u32>> {
        serde_json::from_str::<Few<u32>>(json).ok().map(|few| few.0)
    }

    #[test]
    fn a_list_without_end_is_kept_in_part_and_read_to_its_end() {
        assert_eq!(read("[]"), Some(vec![]));
        assert_eq!(read("[1,2]"), Some(vec![1, 2]));
        let long = format!("[{}0]", "7,".repeat(1_000_000));
        assert_eq!(read(&long), Some(vec![7; MOST]));
        for no_list in ["null", "{}", "7", &long[..long.len() - 1]] {
            assert_eq!(read(no_list), None);
        }
    }
}
