//! What a namespace has on its servers, read key by key: whether the sorted sets say of every record what it says itself.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Connection, Value};

type Bytes = Vec<u8>;

fn all(connection: &mut Connection, words: &[&[u8]]) -> Vec<Bytes> {
    let mut command = redis::cmd(std::str::from_utf8(words[0]).unwrap());
    command.arg(&words[1..]).query(connection).unwrap()
}

/// The tags that the field `m` of a record lists, and its expiry.
fn tags_and_expiry(m: &[u8]) -> (Bytes, u64) {
    let number = |at: usize, len: usize| m[at..at + len].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
    let len = usize::try_from(number(36, 2)).unwrap();
    (m[38..38 + len].to_vec(), number(22, 6))
}

fn members_of(tags: &[u8], key: &[u8]) -> Vec<Bytes> {
    let (mut members, mut rest) = (Vec::new(), tags);
    while let Some((len, behind)) = rest.split_first() {
        let (tag, behind) = behind.split_at(usize::from(*len));
        members.push([tag, b"\0", key].concat());
        rest = behind;
    }
    members
}

/// Asserts that `r`, `k`, `t`, `x` and `y` of every bucket on these servers agree. What has expired must have been purged before.
pub(crate) fn assert_agree<'s>(servers: impl IntoIterator<Item = &'s crate::server::Server>) -> usize {
    servers.into_iter().map(|server| assert_server(&mut server.connect().unwrap())).sum()
}

fn assert_server(connection: &mut Connection) -> usize {
    let names = all(connection, &[b"KEYS", b"*"]);
    let mut buckets: BTreeMap<Bytes, Vec<Bytes>> = BTreeMap::new();
    for name in names {
        let end = name.iter().position(|&byte| byte == b'}').unwrap();
        if name[..end].contains(&b':') {
            buckets.entry(name[..=end].to_vec()).or_default().push(name[end + 1..].to_vec());
        }
    }
    buckets.into_iter().map(|(tag, names)| assert_bucket(connection, &tag, &names)).sum()
}

fn assert_bucket(connection: &mut Connection, tag: &[u8], names: &[Bytes]) -> usize {
    let whole = |name: &[u8]| [tag, name].concat();
    let state = all(connection, &[b"HKEYS", &whole(b"m")]);
    assert!(state.contains(&b"s".to_vec()), "a bucket has its state");
    let (mut keys, mut tags, mut expiring, mut brief) =
        <(BTreeSet<_>, BTreeSet<_>, BTreeMap<_, _>, BTreeMap<_, _>)>::default();
    for name in names.iter().filter_map(|name| name.strip_prefix(b"r:")) {
        let record = whole(&[b"r:", name].concat());
        let m: Value = redis::cmd("HGET").arg(&record).arg("m").query(connection).unwrap();
        let Value::BulkString(m) = m else { continue };
        let (packed, expiry) = tags_and_expiry(&m);
        keys.insert(name.to_vec());
        tags.extend(members_of(&packed, name));
        if expiry > 0 {
            expiring.insert(name.to_vec(), expiry);
            if !packed.is_empty() {
                brief.insert(name.to_vec(), packed);
            }
        }
    }
    let set = |connection: &mut Connection, name: &[u8]| -> BTreeSet<Bytes> {
        all(connection, &[b"ZRANGE", &whole(name), b"0", b"-1"]).into_iter().collect()
    };
    assert_eq!(set(connection, b"k"), keys, "k lists the records");
    assert_eq!(set(connection, b"t"), tags, "t lists the tags of the records");
    let scores = all(connection, &[b"ZRANGE", &whole(b"x"), b"0", b"-1", b"WITHSCORES"]);
    let score = |pair: &[Bytes]| (pair[0].clone(), std::str::from_utf8(&pair[1]).unwrap().parse().unwrap());
    assert_eq!(scores.chunks(2).map(score).collect::<BTreeMap<_, u64>>(), expiring, "x has the expiries");
    let pairs = all(connection, &[b"HGETALL", &whole(b"y")]);
    let pairs = pairs.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
    assert_eq!(pairs.collect::<BTreeMap<_, _>>(), brief, "y has the tags of what expires");
    keys.len()
}
