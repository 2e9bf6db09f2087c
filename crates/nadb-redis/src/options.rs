//! How a store on Redis is reached: what can be set, and the URLs that say it in a line.

use std::fmt;
use std::time::Duration;

use nadb_core::{Compression, Error, Result};

use crate::layout::{BUCKETS_MAX, check_prefix};

/// The default port of servers, and of sentinels.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Buckets of a new namespace on a cluster.
const CLUSTER_BUCKETS: u32 = 64;

/// A word that is shown to no one.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Option<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "(set)" } else { "(none)" })
    }
}

/// Which servers there are, and how they stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Servers {
    /// One server.
    One(Address),
    /// A group with a master that sentinels name.
    Sentinel { sentinels: Vec<Address>, master: String },
    /// A cluster, by some of its members.
    Cluster(Vec<Address>),
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Address {
    /// Host and port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => f.write_str(path),
        }
    }
}

impl Address {
    /// Reads `host:port`, `[host]:port` or `host`; as servers write it, also an IPv6 address without brackets.
    pub(crate) fn parse(text: &str, port: u16) -> Option<Address> {
        let (host, given) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']')?;
                (host, behind.strip_prefix(':').or_else(|| behind.is_empty().then_some(""))?)
            }
            None => text.rsplit_once(':').unwrap_or((text, "")),
        };
        let port = if given.is_empty() { port } else { given.parse().ok()? };
        (!host.is_empty()).then(|| Address::Tcp(host.to_owned(), port))
    }
}

/// How a store on Redis is reached and what it does in trouble. Begin with [`RedisOptions::from_url`].
///
/// # URLs
/// `redis://[user:password@]host[:port][/database][?options]` is one server, `redis+unix:///path/of/socket` one on a socket of
/// this machine, `redis+sentinel://[user:password@]host[:port],…/master[/database]` a group that sentinels watch,
/// `redis+cluster://[user:password@]host[:port],…` a cluster. In user, password and options `%XX` stands for a byte. The options are
/// those of the methods here: `prefix`, `buckets`, `pool`, `client_name`, `allow_eviction`, `database`, `connect_timeout_ms`,
/// `response_timeout_ms`, `retry_for_ms`, `wait_replicas`, `wait_timeout_ms`, `sentinel_user`, `sentinel_password`.
///
/// ```
/// use nadb_redis::RedisOptions;
/// let options = RedisOptions::from_url("redis://:secret@localhost:6380/5?prefix=shop&pool=4")?;
/// assert!(!format!("{options:?}").contains("secret"));
/// assert!(RedisOptions::from_url("redis+cluster://a:1,b:2/5").is_err(), "a cluster has one database");
/// # Ok::<(), nadb_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RedisOptions {
    pub(crate) servers: Servers,
    pub(crate) user: Option<String>,
    pub(crate) password: Secret,
    pub(crate) sentinel_user: Option<String>,
    pub(crate) sentinel_password: Secret,
    pub(crate) database: u32,
    pub(crate) prefix: String,
    pub(crate) buckets: u32,
    pub(crate) pool: usize,
    pub(crate) client_name: Option<String>,
    pub(crate) allow_eviction: bool,
    pub(crate) compression: Compression,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) retry_for: Duration,
    pub(crate) wait_replicas: u32,
    pub(crate) wait_timeout: Duration,
    pub(crate) value_bytes_max: u64,
    pub(crate) sweep_interval: Option<Duration>,
}

impl RedisOptions {
    fn new(servers: Servers) -> RedisOptions {
        let buckets = if matches!(servers, Servers::Cluster(_)) { CLUSTER_BUCKETS } else { 1 };
        RedisOptions {
            servers,
            user: None,
            password: Secret::default(),
            sentinel_user: None,
            sentinel_password: Secret::default(),
            database: 0,
            prefix: "nadb".to_owned(),
            buckets,
            pool: 16,
            client_name: None,
            allow_eviction: false,
            compression: Compression::default(),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(5),
            retry_for: Duration::from_secs(30),
            wait_replicas: 0,
            wait_timeout: Duration::from_secs(1),
            value_bytes_max: nadb_core::limits::VALUE_BYTES_MAX as u64,
            sweep_interval: Some(Duration::from_secs(10)),
        }
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// `InvalidInput`, which says what is wrong and shows nothing of user or password.
    pub fn from_url(url: &str) -> Result<RedisOptions> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| invalid("it has no scheme, such as redis://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let mut options = match scheme {
            "redis" => one(rest)?,
            "redis+unix" => RedisOptions::new(Servers::One(Address::Unix(decoded(rest)?))),
            "redis+sentinel" => sentinel(rest)?,
            "redis+cluster" => cluster(rest)?,
            "rediss" | "rediss+sentinel" | "rediss+cluster" => {
                return Err(invalid("this build has no TLS; use a tunnel, or a socket"));
            }
            other => {
                return Err(invalid(&format!(
                    "the scheme {other:?} is none of redis, redis+unix, redis+sentinel, redis+cluster"
                )));
            }
        };
        if let Some(login) = login {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            options.user = (!user.is_empty()).then(|| decoded(user)).transpose()?;
            options.password = Secret((!password.is_empty()).then(|| decoded(password)).transpose()?);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(name, &decoded(value)?)?;
        }
        options.check()?;
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let number = || {
            value
                .parse::<u32>()
                .map_err(|_| invalid(&format!("the option {name} is {value:?}, which is no number")))
        };
        let time = || Ok::<_, Error>(Duration::from_millis(number()?.into()));
        let text = || value.to_owned();
        match name {
            "prefix" => self.prefix = text(),
            "buckets" => self.buckets = number()?,
            "pool" => self.pool = usize::try_from(number()?).unwrap_or(usize::MAX),
            "client_name" => self.client_name = Some(text()),
            "database" => self.database = number()?,
            "allow_eviction" => {
                self.allow_eviction =
                    value.parse().map_err(|_| invalid("allow_eviction is true or false"))?;
            }
            "connect_timeout_ms" => self.connect_timeout = time()?,
            "response_timeout_ms" => self.response_timeout = time()?,
            "retry_for_ms" => self.retry_for = time()?,
            "wait_replicas" => self.wait_replicas = number()?,
            "wait_timeout_ms" => self.wait_timeout = time()?,
            "sentinel_user" => self.sentinel_user = Some(text()),
            "sentinel_password" => self.sentinel_password = Secret(Some(text())),
            other => return Err(invalid(&format!("there is no option {other:?}"))),
        }
        Ok(())
    }

    /// Refuses what makes no sense together.
    pub(crate) fn check(&self) -> Result<()> {
        check_prefix(&self.prefix)?;
        let is_cluster = matches!(self.servers, Servers::Cluster(_));
        if is_cluster && self.database != 0 {
            return Err(invalid(&format!("a cluster has database 0 alone, not {}", self.database)));
        }
        if !(1..=BUCKETS_MAX).contains(&self.buckets) {
            return Err(Error::limit(format!(
                "buckets is {}, the limit is 1 to {BUCKETS_MAX}",
                self.buckets
            )));
        }
        if self.pool == 0 || self.connect_timeout.is_zero() || self.response_timeout.is_zero() {
            return Err(invalid("pool, connect_timeout and response_timeout are above zero"));
        }
        if self.wait_replicas > 0 && self.wait_timeout >= self.response_timeout {
            return Err(invalid("wait_timeout is shorter than response_timeout"));
        }
        Ok(())
    }

    /// What all keys of the store begin with: two stores of different prefixes have nothing in common. `nadb` where it is not set.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> RedisOptions {
        self.prefix = prefix.into();
        self
    }

    /// Buckets of namespaces that come into being: into so many parts a cluster can spread them. 64 on a cluster where it is not
    /// set, else 1; at most 1,024.
    #[must_use]
    pub fn buckets(mut self, buckets: u32) -> RedisOptions {
        self.buckets = buckets;
        self
    }

    /// The user (ACL) and the password.
    #[must_use]
    pub fn login(mut self, user: Option<String>, password: impl Into<String>) -> RedisOptions {
        (self.user, self.password) = (user, Secret(Some(password.into())));
        self
    }

    /// The user (ACL) and the password for sentinels.
    #[must_use]
    pub fn sentinel_login(mut self, user: Option<String>, password: impl Into<String>) -> RedisOptions {
        (self.sentinel_user, self.sentinel_password) = (user, Secret(Some(password.into())));
        self
    }

    /// The number of the database. 0 where it is not set; a cluster has no other.
    #[must_use]
    pub fn database(mut self, number: u32) -> RedisOptions {
        self.database = number;
        self
    }

    /// What the servers list the connections under.
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> RedisOptions {
        self.client_name = Some(name.into());
        self
    }

    /// Connections to each server, at most. 16 where it is not set.
    #[must_use]
    pub fn pool(mut self, connections: usize) -> RedisOptions {
        self.pool = connections;
        self
    }

    /// Whether a server may be used that forgets keys when its memory is full, so that records vanish.
    #[must_use]
    pub fn allow_eviction(mut self, allow: bool) -> RedisOptions {
        self.allow_eviction = allow;
        self
    }

    /// Whether values are compressed.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> RedisOptions {
        self.compression = compression;
        self
    }

    /// How long connecting may take, and how long a server may be silent while it is asked something. 2 s and 5 s where it is not set.
    #[must_use]
    pub fn timeouts(mut self, connect: Duration, response: Duration) -> RedisOptions {
        (self.connect_timeout, self.response_timeout) = (connect, response);
        self
    }

    /// For how long a call is tried again while a server is gone, starting, or being replaced. 30 s where it is not set.
    #[must_use]
    pub fn retry_for(mut self, time: Duration) -> RedisOptions {
        self.retry_for = time;
        self
    }

    /// A write is acknowledged when so many replicas have it; where they do not within `timeout` it is `OutcomeUnknown`.
    #[must_use]
    pub fn wait_replicas(mut self, replicas: u32, timeout: Duration) -> RedisOptions {
        (self.wait_replicas, self.wait_timeout) = (replicas, timeout);
        self
    }

    /// Bytes of a value, at most: 64 MiB where it is not set, 512 MB at most.
    #[must_use]
    pub fn value_bytes_max(mut self, bytes: u64) -> RedisOptions {
        self.value_bytes_max = bytes.min(512_000_000);
        self
    }

    /// How often what has expired is let go of in the background; never with `None`. 10 s where it is not set.
    #[must_use]
    pub fn sweep_interval(mut self, interval: Option<Duration>) -> RedisOptions {
        self.sweep_interval = interval;
        self
    }
}

fn invalid(why: &str) -> Error {
    Error::invalid(format!("the URL of the store cannot be used: {why}"))
}

fn addresses(hosts: &str, port: u16) -> Result<Vec<Address>> {
    let address = |text: &str| {
        Address::parse(text, port).ok_or_else(|| invalid(&format!("{text:?} is no host, and no host:port")))
    };
    hosts.split(',').map(address).collect()
}

fn database(text: &str) -> Result<u32> {
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| invalid("the database is no number")) }
}

fn one(rest: &str) -> Result<RedisOptions> {
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut all = addresses(hosts, PORT)?;
    let (Some(address), None) = (all.pop(), all.pop()) else {
        return Err(invalid("redis:// takes one host; several are redis+sentinel:// or redis+cluster://"));
    };
    let mut options = RedisOptions::new(Servers::One(address));
    options.database = database(path)?;
    Ok(options)
}

fn sentinel(rest: &str) -> Result<RedisOptions> {
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (master, path) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        return Err(invalid("redis+sentinel:// needs the name of the master behind the hosts, /name"));
    }
    let servers = Servers::Sentinel { sentinels: addresses(hosts, SENTINEL_PORT)?, master: decoded(master)? };
    let mut options = RedisOptions::new(servers);
    options.database = database(path)?;
    Ok(options)
}

fn cluster(rest: &str) -> Result<RedisOptions> {
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut options = RedisOptions::new(Servers::Cluster(addresses(hosts, PORT)?));
    options.database = database(path)?;
    Ok(options)
}

/// `%XX` becomes the byte.
fn decoded(text: &str) -> Result<String> {
    let wrong = || invalid("a % is not followed by two hexadecimal digits of UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_first_chunk::<2>().ok_or_else(wrong)?;
        rest = behind;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> RedisOptions {
        RedisOptions::from_url(url).unwrap()
    }

    #[test]
    fn urls_say_where_and_who() {
        let tcp = |host: &str, port| Address::Tcp(host.into(), port);
        let all = options("redis://alice:s%40cret@localhost:6380/5?prefix=p&pool=3&retry_for_ms=50");
        assert_eq!(all.servers, Servers::One(tcp("localhost", 6380)));
        assert_eq!((all.user.as_deref(), all.password.0.as_deref()), (Some("alice"), Some("s@cret")));
        assert_eq!((all.database, &*all.prefix, all.pool, all.buckets), (5, "p", 3, 1));
        assert_eq!(all.retry_for, Duration::from_millis(50));
        assert_eq!(options("redis://[::1]:7").servers, Servers::One(tcp("::1", 7)));
        assert_eq!(options("redis://h").servers, Servers::One(tcp("h", 6379)));
        assert_eq!(
            options("redis+unix:///tmp/a.sock").servers,
            Servers::One(Address::Unix("/tmp/a.sock".into()))
        );
        let sentinel = options("redis+sentinel://:pw@a,b:1/main/2?sentinel_password=other");
        let sentinels = vec![tcp("a", 26379), tcp("b", 1)];
        assert_eq!(sentinel.servers, Servers::Sentinel { sentinels, master: "main".into() });
        assert_eq!(sentinel.database, 2);
        let cluster = options("redis+cluster://a,b:1?buckets=16");
        assert_eq!(
            (cluster.servers, cluster.buckets),
            (Servers::Cluster(vec![tcp("a", 6379), tcp("b", 1)]), 16)
        );
    }

    #[test]
    fn secrets_are_never_shown() {
        let url = "redis://alice:hunter2@h?sentinel_password=hunter3";
        assert!(!format!("{:?}", options(url)).contains("hunter"));
        for bad in [
            "redis+x://a:hunter2@h",
            "redis://a:hunter2@h:port",
            "redis://a:hunter2%4@h",
            "redis://a:hunter2@h?x=1",
        ] {
            let error = RedisOptions::from_url(bad).unwrap_err();
            assert_eq!(error.kind(), nadb_core::ErrorKind::InvalidInput);
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "localhost:6379",
            "rediss://h",
            "redis://",
            "redis://a,b",
            "redis://h/x",
            "redis://h?pool=many",
            "redis://h?pool=0",
            "redis://h?prefix={a}",
            "redis://h?buckets=0",
            "redis://h?buckets=1025",
            "redis+cluster://h/1",
            "redis+cluster://h?database=1",
            "redis+sentinel://h",
        ] {
            assert!(RedisOptions::from_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn servers_name_addresses_in_their_own_way() {
        assert_eq!(Address::parse("127.0.0.1:7000", 1).unwrap().to_string(), "127.0.0.1:7000");
        assert_eq!(Address::parse("::1:7000", 1).unwrap().to_string(), "[::1]:7000");
        assert!(Address::parse(":7000", 1).is_none() && Address::parse("", 1).is_none());
    }
}
