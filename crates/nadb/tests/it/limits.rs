//! Bad input is an error that names field, value and limit, and nothing is written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nadb::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use nadb::{ErrorKind, Result, Store};

#[test]
fn input_beyond_a_limit_is_refused() {
    let store = Store::memory().unwrap();
    let n = store.namespace("n").unwrap();
    let check = |result: Result<()>, kind: ErrorKind, words: [&str; 2]| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{word}: {error}");
        }
        assert!(store.namespaces().unwrap().is_empty(), "{error}");
    };
    use ErrorKind::{InvalidInput, Limit};
    let put = || n.put("k", "v");
    let long_key = vec![b'k'; KEY_BYTES_MAX + 1];
    check(n.set("", "v").map(drop), Limit, ["key has 0 bytes", "1 to 65535"]);
    check(n.set(&long_key, "v").map(drop), Limit, ["key has 65536 bytes", "1 to 65535"]);
    check(n.get("").map(drop), Limit, ["key has 0 bytes", "65535"]);
    check(n.get(&long_key).map(drop), Limit, ["key has 65536", "65535"]);
    check(n.contains("").map(drop), Limit, ["key", "65535"]);
    check(n.metadata("").map(drop), Limit, ["key", "65535"]);
    check(n.get_entry("").map(drop), Limit, ["key", "65535"]);
    check(n.delete("").map(drop), Limit, ["key", "65535"]);
    check(n.incr("", 1).map(drop), Limit, ["key", "65535"]);
    check(put().tags([""]).commit().map(drop), Limit, ["tag has 0 bytes", "255"]);
    check(put().tags(["t".repeat(256)]).commit().map(drop), Limit, ["tag has 256", "255"]);
    check(put().tags(["a\0"]).commit().map(drop), InvalidInput, ["tag", "NUL at byte 1"]);
    let many = (0..65).map(|i| i.to_string());
    check(put().tags(many).commit().map(drop), Limit, ["tags has 65 tags", "64"]);
    check(put().ttl(Duration::ZERO).commit().map(drop), InvalidInput, ["ttl is 0 s", "above zero"]);
    check(put().ttl(Duration::MAX).commit().map(drop), Limit, ["ttl is", "year 9999"]);
    check(put().expires_at(year_10_000()).commit().map(drop), Limit, ["expiry is", "year 9999"]);
    check(n.expire("", Duration::from_secs(1)).map(drop), Limit, ["key", "65535"]);
    check(n.expire("k", Duration::ZERO).map(drop), InvalidInput, ["ttl is 0 s", "above zero"]);
    check(n.expire("k", Duration::MAX).map(drop), Limit, ["ttl is", "year 9999"]);
    check(n.expire_at("k", year_10_000()).map(drop), Limit, ["expiry is", "year 9999"]);
    check(n.persist("").map(drop), Limit, ["key", "65535"]);
    check(n.ttl("").map(drop), Limit, ["key", "65535"]);
    check(n.touch("").map(drop), Limit, ["key", "65535"]);
    let batched = |change: &dyn Fn(&mut nadb::Batch)| {
        let mut batch = store.batch();
        batch.set("n", "k", "v");
        change(&mut batch);
        batch.commit().map(drop)
    };
    let ttl_of = |ttl| batched(&move |batch| _ = batch.expire("n", "k", ttl));
    check(ttl_of(Duration::ZERO), InvalidInput, ["operation 2 of 2", "ttl is 0 s"]);
    check(ttl_of(Duration::MAX), Limit, ["operation 2 of 2", "year 9999"]);
    check(batched(&|batch| _ = batch.expire_at("n", "k", year_10_000())), Limit, ["2 of 2", "year 9999"]);
    check(put().content_type("").commit().map(drop), Limit, ["content type has 0", "255"]);
    check(put().content_type("x".repeat(256)).commit().map(drop), Limit, ["content type has 256", "255"]);
    check(put().attr("", "v").commit().map(drop), Limit, ["attribute name has 0", "4096"]);
    check(put().attr("a", "v".repeat(4096)).commit().map(drop), Limit, ["attrs has 4097 bytes", "4096"]);
    let many = (0..17).fold(put(), |put, i| put.attr(i.to_string(), ""));
    check(many.commit().map(drop), Limit, ["attrs has 17", "16"]);
    check(store.namespace("").map(drop), Limit, ["namespace has 0", "255"]);
    check(store.namespace("n".repeat(256)).map(drop), Limit, ["namespace has 256", "255"]);
    check(store.namespace("a\0b").map(drop), InvalidInput, ["namespace", "NUL at byte 1"]);
    check(store.drop_namespace("").map(drop), Limit, ["namespace has 0", "255"]);
}

fn year_10_000() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(nadb::limits::EXPIRY_MS_MAX + 1)
}

#[test]
fn input_at_the_limit_is_taken() {
    let store = Store::memory().unwrap();
    let n = store.namespace("n".repeat(255)).unwrap();
    let key = vec![0xFF; KEY_BYTES_MAX];
    let tags = (0..64).map(|i| format!("{i:0>255}"));
    let put = n.put(&key, "v").tags(tags).content_type("c".repeat(255)).attr("a", "v".repeat(4095));
    put.expires_at(UNIX_EPOCH + Duration::from_millis(nadb::limits::EXPIRY_MS_MAX)).commit().unwrap();
    let entry = n.get_entry(&key).unwrap().unwrap();
    assert_eq!((entry.key, entry.metadata.tags.len()), (key, 64));
    let large = vec![7; VALUE_BYTES_MAX];
    n.set("large", &large).unwrap();
    assert!(n.get("large").unwrap().unwrap() == large);
}

#[test]
fn what_is_too_large_for_the_log_has_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("data")).unwrap();
    let n = store.namespace("n").unwrap();
    let large = vec![7; VALUE_BYTES_MAX + 1];
    n.set("large", &large).unwrap();
    assert!(n.get("large").unwrap().unwrap() == large);
    assert_eq!(n.metadata("large").unwrap().unwrap().size, large.len() as u64);
    assert!(store.stats().unwrap().log_bytes < 1000);
}

#[test]
fn a_batch_has_a_limit_of_its_own() {
    let store = Store::memory().unwrap();
    let mut batch = store.batch();
    let value = vec![7; VALUE_BYTES_MAX];
    for i in 0..5 {
        batch.set("n", format!("k{i}"), &value);
    }
    let error = batch.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("268435456"), "{error}");
    assert!(store.namespaces().unwrap().is_empty());
}

#[test]
fn options_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let builder = || Store::builder().path(&path);
    let kind = |builder: nadb::StoreBuilder| builder.open().unwrap_err().kind();
    assert_eq!(kind(Store::builder()), ErrorKind::InvalidInput);
    assert_eq!(kind(builder().memtable_size(1)), ErrorKind::Limit);
    assert_eq!(kind(builder().memtable_size(2 << 30)), ErrorKind::Limit);
    assert_eq!(kind(builder().sync_interval(Duration::ZERO)), ErrorKind::Limit);
    assert_eq!(kind(builder().flush_interval(Duration::ZERO)), ErrorKind::Limit);
    assert_eq!(kind(builder().create(false)), ErrorKind::InvalidInput);
    assert!(!path.exists());
    builder().open().unwrap().close().unwrap();
    builder().create(false).open().unwrap();
}
