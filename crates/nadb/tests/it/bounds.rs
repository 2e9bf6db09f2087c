//! What may cross threads, checked by the compiler.

use nadb::{
    Batch, Cursor, Entry, Error, Filter, Iter, Keys, Namespace, Page, Query, QueryEntries, QueryKeys,
    Snapshot, SnapshotNamespace, Store, StoreBuilder, TagCount, Value,
};

#[test]
fn handles_are_shared_and_cloned_and_iterators_sent() {
    fn handle<T: Send + Sync + Clone + 'static>() {}
    fn sent<T: Send + 'static>() {}
    handle::<Store>();
    handle::<Namespace>();
    handle::<Snapshot>();
    handle::<SnapshotNamespace>();
    handle::<Value>();
    handle::<Entry>();
    handle::<Query>();
    handle::<Filter>();
    handle::<Cursor>();
    handle::<Page>();
    handle::<TagCount>();
    sent::<QueryEntries>();
    sent::<QueryKeys>();
    sent::<Iter>();
    sent::<Keys>();
    sent::<Batch>();
    sent::<StoreBuilder>();
    sent::<Error>();
}
