//! What may cross threads, checked by the compiler.

use nadb::{
    Batch, Entry, Error, Iter, Keys, Namespace, Snapshot, SnapshotNamespace, Store, StoreBuilder, Value,
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
    sent::<Iter>();
    sent::<Keys>();
    sent::<Batch>();
    sent::<StoreBuilder>();
    sent::<Error>();
}
