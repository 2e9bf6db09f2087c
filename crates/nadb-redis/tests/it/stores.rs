//! Short verbs on a store, for tests that are about something else.

use std::sync::Arc;
use std::time::Duration;

use nadb_core::{
    Action, Add, Backend, Condition, Error, ExpiryUpdate, Filter, Merge, Operation, Outcome, Put, Result,
    ScanRequest, Tags, TagsUpdate, WriteOptions,
};
use nadb_redis::{RedisBackend, RedisOptions};

pub(crate) const N: &str = "n";

/// A store that gives up soon.
pub(crate) fn impatient(url: &str) -> RedisOptions {
    let options = RedisOptions::from_url(url).unwrap();
    options.retry_for(Duration::from_millis(150)).sweep_interval(None)
}

pub(crate) fn open(url: &str) -> RedisBackend {
    RedisBackend::open(RedisOptions::from_url(url).unwrap().sweep_interval(None)).unwrap()
}

pub(crate) fn one(store: &dyn Backend, operation: Operation<'_>) -> Result<Outcome> {
    Ok(store.write(&[operation], &WriteOptions::default())?.remove(0))
}

pub(crate) fn put<'a>(key: &'a str, value: &'a [u8], tags: &[&str], ttl: Option<Duration>) -> Operation<'a> {
    let mut put = Put::new(value);
    put.tags = TagsUpdate::Replace(Tags::new(tags.iter().copied()).unwrap());
    put.expiry = ttl.map_or(ExpiryUpdate::Never, ExpiryUpdate::After);
    Operation::new(N, key.as_bytes(), Action::Put(put))
}

pub(crate) fn set(store: &dyn Backend, key: &str, value: &str) -> Result<Outcome> {
    one(store, put(key, value.as_bytes(), &[], None))
}

pub(crate) fn set_new(store: &dyn Backend, key: &str, value: &str) -> Result<Outcome> {
    one(store, put(key, value.as_bytes(), &[], None).when(Condition::IfAbsent))
}

pub(crate) fn delete(store: &dyn Backend, key: &str) -> Result<Outcome> {
    one(store, Operation::new(N, key.as_bytes(), Action::Delete))
}

pub(crate) fn increment(store: &dyn Backend, key: &str) -> Result<Outcome> {
    let merge = Action::Merge(Merge::new(Arc::new(Add), b"1".as_slice()));
    one(store, Operation::new(N, key.as_bytes(), merge))
}

pub(crate) fn get(store: &dyn Backend, key: &str) -> Result<Option<String>> {
    Ok(store.get(N, key.as_bytes())?.map(|value| String::from_utf8(value.to_vec()).unwrap()))
}

pub(crate) fn keys(store: &dyn Backend) -> Vec<String> {
    let mut listing = store.scan(N, ScanRequest::all()).unwrap();
    std::iter::from_fn(|| listing.next_key()).map(|key| String::from_utf8(key.unwrap()).unwrap()).collect()
}

pub(crate) fn tagged(store: &dyn Backend, tag: &str) -> Vec<String> {
    let mut matches = store.query(N, &nadb_core::QueryRequest::new(Filter::tag(tag))).unwrap();
    std::iter::from_fn(|| matches.next_key()).map(|key| String::from_utf8(key.unwrap()).unwrap()).collect()
}

pub(crate) fn kind<T>(result: Result<T>) -> nadb_core::ErrorKind {
    result.map_err(|error: Error| error.kind()).err().expect("it should fail")
}
