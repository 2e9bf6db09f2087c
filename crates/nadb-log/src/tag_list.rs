//! The tags of one record, in the record's bytes.
//!
//! Promises that reading takes no allocation, and that what [`TagIter`] gives is what a writer makes: tags within their limits,
//! each above the one before. Leaves to others which rows have which tags.

use nadb_core::limits::{TAGS_MAX, check_tag};

use crate::bytes::Reader;
use crate::record::RecordError;

/// The tags of one record: a byte of length and the tag, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TagList<'a>(&'a [u8]);

impl<'a> TagList<'a> {
    /// `bytes` may be any.
    pub(crate) fn new(bytes: &'a [u8]) -> TagList<'a> {
        TagList(bytes)
    }

    /// Whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The tags in order, checked.
    #[must_use]
    pub fn iter(self) -> TagIter<'a> {
        TagIter { reader: Reader::new(self.0), last: None, count: 0 }
    }

    /// The bytes of each tag, unchecked; it ends where the list does or is malformed.
    #[inline]
    pub(crate) fn unchecked(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (len, behind) = rest.split_first()?;
            let (tag, behind) = behind.split_at_checked(usize::from(*len))?;
            rest = behind;
            Some(tag)
        })
    }
}

/// Goes over the tags of a record; see [`crate::RecordRef::tag_iter`].
#[derive(Debug, Clone)]
pub struct TagIter<'a> {
    reader: Reader<'a>,
    last: Option<&'a str>,
    count: usize,
}

impl<'a> TagIter<'a> {
    fn read(&mut self) -> Option<&'a str> {
        let len = self.reader.u8()?;
        let tag = std::str::from_utf8(self.reader.take(usize::from(len))?).ok()?;
        let is_next = self.count < TAGS_MAX && self.last.is_none_or(|last| last < tag);
        (is_next && check_tag(tag).is_ok()).then_some(tag)
    }
}

impl<'a> Iterator for TagIter<'a> {
    type Item = Result<&'a str, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_at_end() {
            return None;
        }
        let Some(tag) = self.read() else {
            // Nothing behind it means anything.
            self.reader = Reader::new(&[]);
            return Some(Err(RecordError::Malformed("tag list")));
        };
        (self.last, self.count) = (Some(tag), self.count + 1);
        Some(Ok(tag))
    }
}

/// A list as a record has it, of tags that come in order.
#[cfg(test)]
pub(crate) fn list_of(tags: &[&str]) -> Vec<u8> {
    let len = |tag: &str| u8::try_from(tag.len()).unwrap();
    tags.iter().flat_map(|tag| [&[len(tag)], tag.as_bytes()].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Vec<Option<&str>> {
        TagList::new(bytes).iter().map(Result::ok).collect()
    }

    #[test]
    fn tags_come_in_order_and_the_first_wrong_one_ends_the_list() {
        assert_eq!(read(&[]), []);
        assert_eq!(read(&list_of(&["a", "b", "ba"])), [Some("a"), Some("b"), Some("ba")]);
        for wrong in [&["b", "a"][..], &["b", "b"], &["b", ""], &["b", "c\0"]] {
            assert_eq!(read(&list_of(&[wrong, &["z"]].concat())), [Some("b"), None], "{wrong:?}");
        }
        assert_eq!(read(&[1, b'a', 2, b'b']), [Some("a"), None], "cut short");
        assert_eq!(read(&[1, 0xFF, 1, b'b']), [None], "not UTF-8");
        let many: Vec<String> = (0..=TAGS_MAX).map(|n| format!("{n:03}")).collect();
        let many = list_of(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(read(&many).iter().position(Option::is_none), Some(TAGS_MAX));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in vec(prop_oneof![0..4u8, any::<u8>()], 0..60)) {
            let list = TagList::new(&bytes);
            let tags = read(&bytes);
            prop_assert!(tags.iter().rev().skip(1).all(Option::is_some));
            if tags.iter().all(Option::is_some) {
                let unchecked: Vec<_> = list.unchecked().map(|tag| std::str::from_utf8(tag).ok()).collect();
                prop_assert_eq!(unchecked, tags);
            }
        }
    }
}
