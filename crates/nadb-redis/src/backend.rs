//! The backend: every verb of the trait, by the parts that know how.

use std::sync::Arc;

use nadb_core::limits::{BATCH_BYTES_MAX, check_key, check_namespace};
use nadb_core::{
    Backend, BatchAtomicity, Capabilities, ClockSource, Entry, Error, ErrorKind, Feature, Filter, Listing,
    Matches, Metadata, NamespaceInfo, Operation, Outcome, PurgeReport, QueryRequest, RecoveryReport, Result,
    ScanRequest, Stats, Value, ValueReader, ValueWriter, VerifyReport, WriteBatch, WriteOptions,
};

use crate::call::Answer;
use crate::core::Core;
use crate::counters::{add, of};
use crate::listing::Records;
use crate::matches::Answers;
use crate::options::{RedisOptions, Servers};
use crate::stream::{Reader, Writer};
use crate::sweep::Sweeper;

/// A store on Redis: one server, a group that sentinels watch, or a cluster.
///
/// One object serves any number of threads, each of which has a connection of the pool while it waits for an answer. What is durable is
/// up to the servers: see docs/redis.md.
pub struct RedisBackend {
    core: Arc<Core>,
    sweeper: Option<Sweeper>,
    recovery: RecoveryReport,
}

impl std::fmt::Debug for RedisBackend {
    /// The kind of store and nothing else: addresses and passwords have no place in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RedisBackend").field(&self.core.capabilities.backend).finish()
    }
}

fn capabilities(options: &RedisOptions) -> Capabilities {
    let is_cluster = matches!(options.servers, Servers::Cluster(_));
    let name = if is_cluster { "redis cluster" } else { "redis" };
    let mut capabilities = Capabilities::new(name)
        .with(Feature::Stats)
        .with(Feature::Recovery)
        .with(Feature::Streams)
        .with(Feature::Verify)
        .with(Feature::Expire)
        .with(Feature::Purge)
        .with(Feature::Import);
    capabilities.clock = ClockSource::Server;
    if is_cluster {
        capabilities.batches = BatchAtomicity::PerBucket;
    }
    capabilities.value_bytes_max = options.value_bytes_max;
    capabilities.batch_bytes_max = (BATCH_BYTES_MAX as u64).max(options.value_bytes_max + (1 << 20));
    capabilities
}

impl RedisBackend {
    /// Connects, and looks whether the servers can be trusted with data: their version is 7.0 or later, and they do not forget keys
    /// when their memory is full.
    ///
    /// # Errors
    /// `InvalidInput` for options that make no sense, `Unavailable` where nobody answers within
    /// [`retry_for`](RedisOptions::retry_for), `Version` and `Unsupported` for servers that will not do, `Backend` for a wrong password.
    pub fn open(options: RedisOptions) -> Result<RedisBackend> {
        options.check()?;
        let capabilities = capabilities(&options);
        let core = Arc::new(Core::new(options, capabilities));
        let mut warnings = Vec::new();
        for (server, info) in core.info(b"server")? {
            check_version(&server, &info)?;
        }
        for (server, info) in core.info(b"memory")? {
            check_eviction(&server, &info, core.options.allow_eviction, &mut warnings)?;
        }
        let sweeper = core.options.sweep_interval.map(|interval| Sweeper::start(&core, interval));
        let mut recovery = RecoveryReport::default();
        (recovery.clean, recovery.warnings) = (true, warnings);
        Ok(RedisBackend { core, sweeper, recovery })
    }
}

impl Core {
    /// A section of what each master says of itself.
    fn info(&self, section: &[u8]) -> Result<Vec<(String, String)>> {
        let text = |(server, answer): (String, redis::Value)| {
            (server, String::from_utf8_lossy(&answer.bytes().flatten().unwrap_or_default()).into_owned())
        };
        Ok(self.link.ask_masters(&[b"INFO", section])?.into_iter().map(text).collect())
    }
}

/// What INFO says of a field.
fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn check_version(server: &str, info: &str) -> Result<()> {
    let version = field(info, "redis_version").unwrap_or("unknown");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 7) {
        return Ok(());
    }
    let words =
        format!("the server {server} has version {version}; NADB needs Redis 7.0 or Valkey, or later");
    Err(Error::new(ErrorKind::Version, words))
}

fn check_eviction(server: &str, info: &str, is_allowed: bool, warnings: &mut Vec<String>) -> Result<()> {
    match field(info, "maxmemory_policy") {
        Some("noeviction") => {}
        Some(policy) if is_allowed => {
            warnings.push(format!("the server {server} forgets keys when its memory is full ({policy})"));
        }
        Some(policy) => {
            let words = format!(
                "the server {server} forgets keys when its memory is full (maxmemory-policy {policy}); set noeviction, or allow_eviction to put up with it"
            );
            return Err(Error::new(ErrorKind::Unsupported, words));
        }
        None => {
            warnings.push(format!("the server {server} does not say what it does when its memory is full"))
        }
    }
    Ok(())
}

impl Backend for RedisBackend {
    fn capabilities(&self) -> &Capabilities {
        &self.core.capabilities
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        self.core.capabilities.check_write(batch, options)?;
        self.core.write(batch)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        Ok(self.core.values(namespace, &[key])?.pop().flatten())
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.core.entry(namespace, key)
    }

    fn metadata(&self, namespace: &str, key: &[u8]) -> Result<Option<Metadata>> {
        self.core.metadata(namespace, key)
    }

    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        self.core.values(namespace, keys)
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        check_namespace(namespace)?;
        self.core.link.check_open()?;
        add(&self.core.counters.scans, 1);
        Ok(Box::new(Records::new(&self.core, namespace, &request)))
    }

    fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        check_namespace(namespace)?;
        request.filter.check()?;
        self.core.capabilities.check_filter(&request.filter)?;
        self.core.link.check_open()?;
        Ok(Box::new(Answers::new(&self.core, namespace, request)))
    }

    fn count(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        check_namespace(namespace)?;
        filter.check()?;
        self.core.capabilities.check_filter(filter)?;
        self.core.count(namespace, filter)
    }

    fn tags(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        self.core.tags(namespace, prefix)
    }

    fn touch(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        check_key(key)?;
        self.contains(namespace, key)
    }

    /// On a cluster one atomic batch per bucket.
    fn import(&self, namespace: &str, entries: &[Entry]) -> Result<()> {
        check_namespace(namespace)?;
        self.core.import(namespace, entries)
    }

    fn now_ms(&self) -> Result<u64> {
        self.core.now_ms()
    }

    fn writer(&self, operation: Operation<'static>, options: &WriteOptions) -> Result<Box<dyn ValueWriter>> {
        self.core.capabilities.check_write(std::slice::from_ref(&operation), options)?;
        self.core.link.check_open()?;
        Ok(Box::new(Writer::new(&self.core, operation)?))
    }

    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        let entry = self.core.entry(namespace, key)?;
        Ok(entry.map(|entry| Box::new(Reader::new(entry)) as Box<dyn ValueReader>))
    }

    fn purge_expired(&self) -> Result<PurgeReport> {
        self.core.purge()
    }

    fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        self.core.namespaces()
    }

    fn drop_namespace(&self, name: &str) -> Result<bool> {
        self.core.drop_namespace(name)
    }

    fn close(&self) -> Result<()> {
        if let Some(sweeper) = &self.sweeper {
            sweeper.stop();
        }
        self.core.link.close();
        Ok(())
    }

    /// What is not as it should be with the servers, and is no reason not to use them, is among its warnings.
    fn recovery(&self) -> Result<&RecoveryReport> {
        Ok(&self.recovery)
    }

    fn verify(&self) -> Result<VerifyReport> {
        self.core.verify()
    }

    fn stats(&self) -> Result<Stats> {
        let namespaces = self.core.namespaces()?;
        let mut stats = Stats::default();
        stats.namespaces = namespaces.len() as u64;
        stats.keys = namespaces.iter().map(|namespace| namespace.keys).sum();
        let counters = &self.core.counters;
        (stats.gets, stats.scans) = (of(&counters.gets), of(&counters.scans));
        (stats.batches, stats.operations) = (of(&counters.batches), of(&counters.operations));
        Ok(stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_and_forgetful_ones_are_refused() {
        assert!(check_version("s", "# Server\r\nredis_version:7.0.15\r\n").is_ok());
        for old in ["redis_version:6.2.1\r\n", ""] {
            assert_eq!(check_version("s", old).unwrap_err().kind(), ErrorKind::Version);
        }
        let check = |info: &str, is_allowed| {
            let mut warnings = Vec::new();
            check_eviction("s", info, is_allowed, &mut warnings).map(|()| warnings.len())
        };
        assert_eq!(check("maxmemory_policy:noeviction\r\n", false).unwrap(), 0);
        assert_eq!(check("maxmemory_policy:allkeys-lru\r\n", true).unwrap(), 1);
        assert_eq!(
            check("maxmemory_policy:allkeys-lru\r\n", false).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
        assert_eq!(check("", false).unwrap(), 1);
    }
}
