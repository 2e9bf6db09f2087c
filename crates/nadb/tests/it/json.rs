//! JSON: what goes in comes out, what does not fit is an error that keeps the value to itself.

use std::collections::BTreeMap;

use nadb::Store;

use crate::typed::keeps_the_secret;

#[test]
fn json_comes_back_and_other_bytes_are_refused() {
    let store = Store::memory().unwrap();
    let users = store.namespace("app/users").unwrap();
    let value = BTreeMap::from([("name".to_owned(), vec![1, 2, 3]), ("\u{1F980}".to_owned(), vec![])]);
    users.set_json("k", &value).unwrap();
    assert_eq!(users.get_json("k").unwrap(), Some(value));
    users.set_json("k", "a str").unwrap();
    assert_eq!(users.get_json::<String>("k").unwrap().unwrap(), "a str");
    assert_eq!(users.metadata("k").unwrap().unwrap().content_type.as_deref(), Some("application/json"));
    assert_eq!(users.get_json::<String>("other").unwrap(), None);
    for (bytes, words) in [
        (&b"\"secret\""[..], &["not of the type", "line 1, column 8"]),
        (b"[1,\n\"secret\"", &["ends too early", "line 2, column 8"]),
        (b"secret", &["no JSON", "line 1, column 1"]),
        (b"", &["ends too early", "line 1, column 0"]),
        (b"1 secret", &["no JSON", "line 1, column 3"]),
    ] {
        users.set("k", bytes).unwrap();
        let wanted_a_list = bytes.starts_with(b"[");
        let error = if wanted_a_list {
            users.get_json::<Vec<serde::de::IgnoredAny>>("k").map(drop).unwrap_err()
        } else {
            users.get_json::<u8>("k").unwrap_err()
        };
        keeps_the_secret(&error, words);
        assert!(error.to_string().contains("\"app/users\""), "{error}");
    }
}

#[test]
fn what_cannot_be_json_is_the_error_of_the_commit() {
    let store = Store::memory().unwrap();
    let users = store.namespace("users").unwrap();
    let no_json = BTreeMap::from([(vec!["secret"], 1)]);
    keeps_the_secret(&users.set_json("k", &no_json).unwrap_err(), &["\"users\"", "JSON"]);
    keeps_the_secret(&users.put_json("k", &no_json).tags(["t"]).commit().unwrap_err(), &["JSON"]);
    let mut batch = store.batch();
    batch.put_json("users", "a", &1).tags(["t"]);
    batch.put_json("users", "b", &no_json);
    keeps_the_secret(&batch.commit().unwrap_err(), &["\"users\"", "operation 2"]);
    assert!(store.namespaces().unwrap().is_empty());
}
