//! NADB with its defaults: tags and expiry are parts of the record, so that a write is the same whether its key is new or not. Only its
//! reaper sleeps through the run: what has expired is to go by the purge that is timed.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use nadb::{Durability, Namespace, PutBuilder, Query, Store};

use super::{Counted, Tagged};
use crate::tagged::Record;

pub(super) struct Nadb {
    store: Store,
    namespace: Namespace,
}

impl Nadb {
    pub(super) fn open(dir: &Path) -> Result<Nadb> {
        let builder = Store::builder().path(dir).durability(Durability::Flushed);
        let store = builder.reap_interval(Duration::from_secs(60 * 60)).open()?;
        let namespace = store.namespace("bench")?;
        Ok(Nadb { store, namespace })
    }

    fn put<'r>(&self, record: &Record<'r>) -> PutBuilder<'_, &'r [u8], &'r [u8]> {
        let put = self.namespace.put(record.key, record.value).tags(record.tags);
        match record.expires_ms {
            0 => put,
            at => put.expires_at(UNIX_EPOCH + Duration::from_millis(at)),
        }
    }
}

impl Counted for Nadb {
    fn seals(&self) -> Option<u64> {
        self.store.stats().ok().map(|stats| stats.seals)
    }

    fn written_bytes(&self) -> Option<u64> {
        self.store.stats().ok().map(|stats| stats.written_bytes)
    }
}

impl Tagged for Nadb {
    fn insert(&self, records: &[Record]) -> Result<()> {
        for record in records {
            self.put(record).commit()?;
        }
        Ok(())
    }

    fn replace(&self, record: Record) -> Result<()> {
        self.put(&record).commit()?;
        Ok(())
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.namespace.get_with(key, see)?.is_some())
    }

    fn all_of(&self, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        each(&self.namespace.query().all_of(tags), see)
    }

    fn any_of(&self, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        each(&self.namespace.query().any_of(tags), see)
    }

    fn count_any_of(&self, tags: [&str; 2]) -> Result<u64> {
        Ok(self.namespace.query().any_of(tags).count()?)
    }

    fn count(&self, tag: &str) -> Result<u64> {
        Ok(self.namespace.query().tag(tag).count()?)
    }

    fn purge(&self, _upto_ms: u64) -> Result<u64> {
        Ok(self.store.purge_expired()?.records)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.store.close()?)
    }
}

fn each(query: &Query, see: &mut dyn FnMut(&[u8])) -> Result<()> {
    for key in query.keys()? {
        see(&key?);
    }
    Ok(())
}
