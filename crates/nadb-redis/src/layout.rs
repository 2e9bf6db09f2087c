//! Names: which keys a namespace has on the server, and which bucket a key of the user belongs to.
//!
//! What stands here is the format: it never changes for a layout version. All keys of a bucket have one hash tag, so they are in
//! one slot of a cluster; no text of the user stands in it. It leaves to others what the keys hold.

use nadb_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_64;

/// The layout that is written, and read.
const VERSION: &str = "1";
/// Buckets of a namespace, at most.
pub(crate) const BUCKETS_MAX: u32 = 1024;
/// Slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// The slot of a cluster in which a key lives: CRC-16 (XMODEM) of what stands between its first `{` and the next `}` if that is not
/// empty, else of all of it. (Redis cluster specification, "Hash tags".)
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    let crc = tagged(key).iter().fold(0u16, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS
}

/// What stands between the first `{` and the next `}`, if that is not empty; else all.
fn tagged(key: &[u8]) -> &[u8] {
    let inner = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        rest.get(..rest.iter().position(|&byte| byte == b'}')?)
    });
    inner.filter(|inner| !inner.is_empty()).unwrap_or(key)
}

/// What one store, which is one prefix, has beside its namespaces.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    prefix: String,
}

impl Store {
    pub(crate) fn new(prefix: &str) -> Store {
        Store { prefix: prefix.to_owned() }
    }

    /// The list of namespaces.
    pub(crate) fn list(&self) -> String {
        format!("{{{}}}:ns", self.prefix)
    }

    /// The last version of any namespace that was dropped.
    pub(crate) fn versions(&self) -> String {
        format!("{{{}}}:versions", self.prefix)
    }

    /// What the names of all records match, as SCAN takes it: no byte of a prefix has a meaning there.
    pub(crate) fn record_pattern(&self) -> String {
        format!("{{{}:*}}r:*", self.prefix)
    }

    /// Namespace, bucket and key of the user, from the name of a record.
    pub(crate) fn record_of<'n>(&self, name: &'n [u8]) -> Option<(u64, usize, &'n [u8])> {
        let rest = name.strip_prefix(format!("{{{}:", self.prefix).as_bytes())?;
        let (tag, rest) = rest.split_at_checked(rest.iter().position(|&byte| byte == b'}')?)?;
        let (id, number) = std::str::from_utf8(tag).ok()?.split_once(':')?;
        Some((u64::from_str_radix(id, 16).ok()?, number.parse().ok()?, rest.strip_prefix(b"}r:")?))
    }

    /// The last reply of a session, where all keys are on one server.
    pub(crate) fn reply(&self, session: u64) -> String {
        format!("{{{}}}:o:{session:016x}", self.prefix)
    }
}

/// A namespace that is in the list: its number, and how many buckets it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: u64,
    pub(crate) buckets: u32,
    pub(crate) is_dropping: bool,
}

impl Listed {
    /// As it stands in the list.
    pub(crate) fn text(self) -> String {
        let state = if self.is_dropping { "dropping" } else { "live" };
        format!("{VERSION} {:016x} {} {state}", self.id, self.buckets)
    }

    /// Reads what stands in the list.
    ///
    /// # Errors
    /// `Version` for a layout that this build does not know, `Backend` for anything else that makes no sense.
    pub(crate) fn parse(name: &str, text: &[u8]) -> Result<Listed> {
        let shown = || text.get(..64).unwrap_or(text).escape_ascii();
        let wrong = || {
            let what = format!("the list of namespaces says {:?} of {name:?}, which makes no sense", shown());
            Error::new(ErrorKind::Backend, what.replace('\\', ""))
        };
        let parts: Vec<&str> = std::str::from_utf8(text).map_err(|_| wrong())?.split(' ').collect();
        let [version, id, buckets, state] = parts[..] else { return Err(wrong()) };
        if version != VERSION {
            let what =
                format!("the namespace {name:?} has layout version {version}, this build knows {VERSION}");
            return Err(Error::new(ErrorKind::Version, what));
        }
        let id = u64::from_str_radix(id, 16).map_err(|_| wrong())?;
        let buckets =
            buckets.parse().ok().filter(|count| (1..=BUCKETS_MAX).contains(count)).ok_or_else(wrong)?;
        let is_dropping = match state {
            "live" => false,
            "dropping" => true,
            _ => return Err(wrong()),
        };
        Ok(Listed { id, buckets, is_dropping })
    }
}

/// The keys of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    tag: String,
    pub(crate) slot: u16,
}

impl Bucket {
    fn new(prefix: &str, id: u64, number: u32) -> Bucket {
        let tag = format!("{{{prefix}:{id:016x}:{number}}}");
        let slot = slot_of(tag.as_bytes());
        Bucket { tag, slot }
    }

    /// State and last version.
    pub(crate) fn state(&self) -> Vec<u8> {
        self.named(b"m", b"")
    }

    /// All keys, in order.
    pub(crate) fn keys(&self) -> Vec<u8> {
        self.named(b"k", b"")
    }

    /// Tags with their keys.
    pub(crate) fn tags(&self) -> Vec<u8> {
        self.named(b"t", b"")
    }

    /// Keys by expiry.
    pub(crate) fn expiries(&self) -> Vec<u8> {
        self.named(b"x", b"")
    }

    /// The tags of what expires.
    pub(crate) fn brief_tags(&self) -> Vec<u8> {
        self.named(b"y", b"")
    }

    /// `m`, `k`, `t`, `x` and `y`: all but records and replies.
    pub(crate) fn own(&self) -> [Vec<u8>; 5] {
        [self.state(), self.keys(), self.tags(), self.expiries(), self.brief_tags()]
    }

    /// The record of a key.
    pub(crate) fn record(&self, key: &[u8]) -> Vec<u8> {
        self.named(b"r:", key)
    }

    /// The last reply of a session.
    pub(crate) fn reply(&self, session: u64) -> Vec<u8> {
        self.named(b"o:", format!("{session:016x}").as_bytes())
    }

    fn named(&self, kind: &[u8], rest: &[u8]) -> Vec<u8> {
        [self.tag.as_bytes(), kind, rest].concat()
    }
}

/// A namespace as it is on the server.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) listed: Listed,
    pub(crate) buckets: Vec<Bucket>,
}

impl Space {
    pub(crate) fn new(store: &Store, listed: Listed) -> Space {
        let buckets =
            (0..listed.buckets).map(|number| Bucket::new(&store.prefix, listed.id, number)).collect();
        Space { listed, buckets }
    }

    /// The number of the bucket that a key of the user belongs to.
    pub(crate) fn bucket_number(&self, key: &[u8]) -> usize {
        bucket_number(key, self.listed.buckets)
    }
}

/// The number of the bucket that a key of the user belongs to, of so many: XXH3 of what stands between its first `{` and the next `}`
/// if that is not empty, else of all of it.
pub(crate) fn bucket_number(key: &[u8], buckets: u32) -> usize {
    usize::try_from(xxh3_64(tagged(key)) % u64::from(buckets.max(1))).unwrap_or_default()
}

/// Refuses a prefix that could not stand in a hash tag.
///
/// # Errors
/// `InvalidInput`.
pub(crate) fn check_prefix(prefix: &str) -> Result<()> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if (1..=64).contains(&prefix.len()) && prefix.chars().all(is_fine) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the prefix {prefix:?} is not of 1 to 64 letters, digits, '-', '_', '.' and '/'"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // "123456789" is the test vector of the specification; the others were asked of a server by CLUSTER KEYSLOT.
        assert_eq!(slot_of(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), slot_of(b"foo{}{bar}"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b""), 0);
    }

    #[test]
    fn keys_of_a_bucket_share_its_slot() {
        let store = Store::new("nadb");
        let space = Space::new(&store, Listed { id: 7, buckets: 64, is_dropping: false });
        for bucket in &space.buckets {
            for key in [bucket.state(), bucket.record(b"a}{b"), bucket.reply(9), bucket.brief_tags()] {
                assert_eq!(slot_of(&key), bucket.slot);
            }
        }
        assert_eq!(space.buckets[3].record(b"k"), b"{nadb:0000000000000007:3}r:k");
        assert_eq!(store.record_of(&space.buckets[3].record(b"a}r:")), Some((7, 3, &b"a}r:"[..])));
        assert_eq!(store.record_of(&space.buckets[3].keys()), None);
        assert_eq!(Store::new("nad").record_of(&space.buckets[3].record(b"k")), None);
        // Part of the format: these never change.
        assert_eq!(space.bucket_number(b"user:1"), space.bucket_number(b"{user:1}:x"));
        assert_eq!(space.bucket_number(b"{}a"), usize::try_from(xxh3_64(b"{}a") % 64).unwrap());
    }

    #[test]
    fn what_the_list_says_is_read_or_refused() {
        let listed = Listed { id: u64::MAX, buckets: 64, is_dropping: true };
        assert_eq!(listed.text(), "1 ffffffffffffffff 64 dropping");
        assert_eq!(Listed::parse("n", listed.text().as_bytes()).unwrap(), listed);
        let kind = |text: &[u8]| Listed::parse("n", text).unwrap_err().kind();
        assert_eq!(kind(b"2 00 1 live"), ErrorKind::Version);
        for bad in
            [&b""[..], b"1 0 1", b"1 x 1 live", b"1 0 0 live", b"1 0 1025 live", b"1 0 1 asleep", b"\xFF"]
        {
            assert_eq!(kind(bad), ErrorKind::Backend, "{bad:?}");
        }
    }

    #[test]
    fn prefixes_have_no_braces() {
        assert!(check_prefix("app/users-1").is_ok());
        for bad in ["", "{a}", "a b", "a:b", &"p".repeat(65)] {
            assert_eq!(check_prefix(bad).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}
