//! Much of everything: namespaces, tags, keys in one batch, records of one namespace; and what a user of little power can do.

use nadb_core::{Action, Put};
use nadb_core::{Backend, ErrorKind, Operation, Tags, TagsUpdate, WriteOptions};
use nadb_redis::RedisBackend;

use crate::server::Server;
use crate::stores::{N, get, impatient, kind, one, open, put, set, tagged};

#[test]
fn ten_thousand_namespaces_are_listed_and_each_is_found() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    set(&store, "k", "v").unwrap();
    // As the store makes them, in one go.
    let mut connection = server.connect().unwrap();
    let mut pipe = redis::pipe();
    for number in 1..10_000_u32 {
        let tag = format!("{{nadb:{number:016x}:0}}");
        pipe.cmd("HSET").arg(format!("{tag}m")).arg(&["s", "live", "v", "1", "f", "0"]).ignore();
        pipe.cmd("ZADD").arg(format!("{tag}k")).arg(0).arg("k").ignore();
        pipe.cmd("HSET")
            .arg("{nadb}:ns")
            .arg(format!("ns/{number}"))
            .arg(format!("1 {number:016x} 1 live"))
            .ignore();
    }
    pipe.exec(&mut connection).unwrap();
    let namespaces = store.namespaces().unwrap();
    assert_eq!(namespaces.len(), 10_000);
    assert!(namespaces.iter().all(|namespace| namespace.keys == 1));
    for number in (1..10_000).step_by(2_000) {
        let name = format!("ns/{number}");
        let new = Operation::new(&*name, b"new".as_slice(), Action::Put(Put::new(b"v".as_slice())));
        assert!(!one(&store, new).unwrap().existed);
        assert!(store.drop_namespace(&name).unwrap());
    }
    assert_eq!(store.stats().unwrap().namespaces, 9_995);
}

#[test]
fn a_hundred_thousand_tags_come_in_pages() {
    const RECORDS: usize = 2_000;
    const EACH: usize = 50;
    let server = Server::start(&[]);
    let store = open(&server.url());
    let keys: Vec<String> = (0..RECORDS).map(|record| format!("k{record:04}")).collect();
    for part in keys.chunks(500) {
        let operation = |key: &String| {
            let mut put = Put::new(b"v".as_slice());
            let tags = (0..EACH).map(|tag| format!("t:{key}:{tag}")).chain(["all".to_owned()]);
            put.tags = TagsUpdate::Replace(Tags::new(tags).unwrap());
            Operation::new(N, key.clone().into_bytes(), Action::Put(put))
        };
        let batch: Vec<_> = part.iter().map(operation).collect();
        store.write(&batch, &WriteOptions::default()).unwrap();
    }
    let tags = store.tags(N, "").unwrap();
    assert_eq!(tags.len(), RECORDS * EACH + 1);
    assert_eq!(tags[0], ("all".to_owned(), RECORDS as u64));
    assert!(tags[1..].iter().all(|(_, count)| *count == 1) && tags.is_sorted());
    assert_eq!(store.tags(N, "t:k1999:").unwrap().len(), EACH);
    assert_eq!(
        (tagged(&store, "t:k0007:3"), tagged(&store, "all").len()),
        (vec!["k0007".to_owned()], RECORDS)
    );
}

#[test]
fn what_is_imported_is_as_it_was_elsewhere() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    let record = |key: &str, expires_ms| {
        let mut metadata = nadb_core::Metadata::new(7, 4_000, 1_600_000_000_001);
        (metadata.created_ms, metadata.expires_ms) = (1_500_000_000_000, expires_ms);
        metadata.tags = Tags::new(["a", "b"]).unwrap();
        metadata.attrs = nadb_core::Attrs::new([("owner", "alice")]).unwrap();
        metadata.content_type = Some("text/plain".into());
        nadb_core::Entry::new(key.into(), vec![b'v'; 4_000].into(), metadata)
    };
    let records = [record("a", None), record("b", Some(4_102_444_800_000)), record("c", Some(1))];
    set(&store, "a", "before").unwrap();
    set(&store, "c", "before").unwrap();
    for _ in 0..2 {
        store.import(N, &records).unwrap();
        for record in &records[..2] {
            let mut found = store.get_entry(N, &record.key).unwrap().unwrap();
            assert!(found.metadata.version > 7 && found.metadata.stored_size < 4_000);
            (found.metadata.version, found.metadata.stored_size) = (7, 4_000);
            assert_eq!(found, *record);
        }
        assert_eq!((get(&store, "c").unwrap(), tagged(&store, "a").len()), (None, 2), "it had expired");
    }
    store.import(N, &[]).unwrap();
    set(&store, "a", "after").unwrap();
    let metadata = store.metadata(N, b"a").unwrap().unwrap();
    assert!(metadata.created_ms == 1_500_000_000_000 && metadata.updated_ms > 1_600_000_000_001);
    store.verify().unwrap();
}

#[test]
fn a_batch_that_a_server_would_not_read_is_refused() {
    let server = Server::start(&[]);
    let store = RedisBackend::open(impatient(&server.url())).unwrap();
    let batch = vec![put("k", b"v", &[], None); 200_000];
    assert_eq!(kind(store.write(&batch, &WriteOptions::default())), ErrorKind::Limit);
    assert!(store.namespaces().unwrap().is_empty());
    let all = store.write(&batch[..20_000], &WriteOptions::default()).unwrap();
    assert!(all.iter().skip(1).all(|outcome| outcome.existed) && all.len() == 20_000);
}

#[test]
fn a_user_with_the_rights_of_the_manual_can_do_everything() {
    let manual = include_str!("../../../../docs/redis.md");
    let rights = manual.lines().find_map(|line| line.strip_prefix("ACL SETUSER nadb on >secret ")).unwrap();
    let server = Server::start(&[]);
    let words: Vec<&str> =
        ["ACL", "SETUSER", "nadb", "on", ">secret"].into_iter().chain(rights.split(' ')).collect();
    server.command(&words);
    let store = open(&format!("redis://nadb:secret@{}", server.address()));
    one(&store, put("k", b"v", &["t"], Some(std::time::Duration::from_secs(60)))).unwrap();
    assert_eq!((get(&store, "k").unwrap().as_deref(), tagged(&store, "t").len()), (Some("v"), 1));
    assert_eq!(store.tags(N, "").unwrap().len(), 1);
    store.purge_expired().unwrap();
    store.verify().unwrap();
    assert_eq!(store.stats().unwrap().keys, 1);
    assert!(store.drop_namespace(N).unwrap());
    assert!(server.try_command(&["AUTH", "nadb", "secret"]).is_ok());
}
