//! What a store on Redis costs beside the bare commands: time of a set, a get and a query by tag, and memory of a record:
//! `cargo bench -p nadb-benches --bench redis`.
//!
//! It starts a redis-server of its own on a socket, without persistence, or takes the empty one that NADB_BENCH_REDIS names.
//! NADB_BENCH_KEYS says how many records each part has, 20,000 where it is not set. One client, one call at a time. Each time is that
//! of the best tenth of the calls, since client and server share the machine with who knows what, and beside it stand the same commands sent as
//! one pipeline by one client of the `redis` crate, and one plain `HSET` or `HGET`. Memory is what the server's `used_memory` rose
//! by, for each record.
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark's program says what it measured")]

use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nadb::{RedisOptions, Store};
use redis::{Connection, Pipeline, Value};
use tempfile::TempDir;

const VALUE: [u8; 100] = [7; 100];
/// One record in so many has the tag that is asked for.
const TAGGED: u64 = 10;
const QUERIES: u64 = 300;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    // Where tests are run, it only has to be there.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let keys = std::env::var("NADB_BENCH_KEYS").ok().map_or(Ok(20_000), |text| text.parse())?;
    let server = Server::new()?;
    let connection = redis::Client::open(server.bare.as_str())?.get_connection()?;
    let options = RedisOptions::from_url(&server.url)?.prefix("bench").sweep_interval(None);
    let mut bench = Bench { store: Store::redis_with(options)?, connection, keys };
    println!("{keys} records, keys of 17 bytes, values of {} bytes", VALUE.len());
    bench.memory()?;
    bench.sets()?;
    bench.gets()?;
    bench.queries()
}

/// A server that ends with the program, or somebody else's.
struct Server {
    /// As the store takes it, and as the `redis` crate does.
    url: String,
    bare: String,
    own: Option<(Child, TempDir)>,
}

impl Server {
    fn new() -> Outcome<Server> {
        if let Ok(url) = std::env::var("NADB_BENCH_REDIS") {
            return Ok(Server { bare: url.clone(), url, own: None });
        }
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("redis-server: {error}; apt-get install redis-server"))?;
        let (url, bare) =
            (format!("redis+unix://{}", socket.display()), format!("unix://{}", socket.display()));
        let server = Server { url, bare, own: Some((child, folder)) };
        let begun = Instant::now();
        while redis::Client::open(server.bare.as_str())?.get_connection().is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err("redis-server does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

struct Bench {
    store: Store,
    connection: Connection,
    keys: u64,
}

fn key(number: u64) -> String {
    format!("key:{number:013}")
}

/// Microseconds of one of `count` calls, in the best tenth of them.
#[expect(clippy::cast_precision_loss, reason = "a figure for people to read")]
fn timed(count: u64, mut call: impl FnMut(u64) -> Outcome<()>) -> Outcome<f64> {
    let mut best = f64::INFINITY;
    for part in 0..10 {
        let calls = part * count / 10..(part + 1) * count / 10;
        let (begun, len) = (Instant::now(), calls.end - calls.start);
        for number in calls {
            call(number)?;
        }
        best = best.min(begun.elapsed().as_secs_f64() * 1e6 / len.max(1) as f64);
    }
    Ok(best)
}

fn print(what: &str, ours: f64, bare: f64, plain: Option<f64>) {
    let plain = plain.map_or(String::new(), |plain| format!(", one plain command {plain:.1} µs"));
    let more = (ours / bare - 1.0) * 100.0;
    println!("{what}: {ours:.1} µs, the same commands in one pipeline {bare:.1} µs ({more:+.0} %){plain}");
}

impl Bench {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people to read")]
    fn memory(&mut self) -> Outcome<()> {
        let namespace = self.store.namespace("memory")?;
        for (tags, expires) in [(0, false), (1, false), (3, false), (10, false), (0, true), (3, true)] {
            // The first record makes what every namespace has.
            namespace.set("first", "")?;
            let before = self.used()?;
            for number in 0..self.keys {
                let put =
                    namespace.put(key(number), VALUE).tags((0..tags).map(|tag| format!("tag-{tag:04}")));
                let put = if expires { put.ttl(Duration::from_secs(86_400)) } else { put };
                put.commit()?;
            }
            let each = self.used()?.saturating_sub(before) as f64 / self.keys as f64;
            println!(
                "a record with {tags} tags{}: {each:.0} bytes",
                if expires { " and an expiry" } else { "" }
            );
            self.store.drop_namespace("memory")?;
            self.wait_until_freed()?;
        }
        Ok(())
    }

    fn info(&mut self, section: &str, field: &str) -> Outcome<u64> {
        let info: String = redis::cmd("INFO").arg(section).query(&mut self.connection)?;
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(line.ok_or("INFO says nothing of it")?.trim().parse()?)
    }

    fn used(&mut self) -> Outcome<u64> {
        self.info("memory", "used_memory")
    }

    /// What is dropped is freed in the background.
    fn wait_until_freed(&mut self) -> Outcome<()> {
        while self.info("memory", "lazyfree_pending_objects")? > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn sets(&mut self) -> Outcome<()> {
        let (namespace, connection) = (self.store.namespace("times")?, &mut self.connection);
        let plain = timed(self.keys, |number| {
            let mut set = redis::cmd("HSET");
            Ok(set.arg(format!("plain:{}", key(number))).arg("v").arg(&VALUE[..]).exec(connection)?)
        })?;
        let bare = timed(self.keys, |number| Ok(set_pipeline(&key(number)).exec(connection)?))?;
        let ours = timed(self.keys, |number| Ok(namespace.set(key(number), VALUE).map(drop)?))?;
        print("set", ours, bare, Some(plain));
        Ok(())
    }

    fn gets(&mut self) -> Outcome<()> {
        let (namespace, connection) = (self.store.namespace("times")?, &mut self.connection);
        let plain = timed(self.keys, |number| {
            let mut get = redis::cmd("HGET");
            let get = get.arg(format!("plain:{}", key(number))).arg("v");
            get.query::<Vec<u8>>(connection)?;
            Ok(())
        })?;
        let bare = timed(self.keys, |number| {
            let mut pipe = redis::pipe();
            pipe.cmd("HMGET").arg(format!("{{bare}}r:{}", key(number))).arg(&["m", "v"]);
            pipe.cmd("HGET").arg("{bare}m").arg("s");
            pipe.query::<Vec<Value>>(connection)?;
            Ok(())
        })?;
        let ours = timed(self.keys, |number| match namespace.get(key(number))? {
            Some(_) => Ok(()),
            None => Err("a record is missing".into()),
        })?;
        print("get", ours, bare, Some(plain));
        Ok(())
    }

    /// A tenth of the records by a tag, keys alone.
    fn queries(&mut self) -> Outcome<()> {
        let namespace = self.store.namespace("query")?;
        let mut members = Vec::new();
        for number in 0..self.keys {
            let is_tagged = number.is_multiple_of(TAGGED);
            namespace.put(key(number), VALUE).tags(is_tagged.then_some("tag-0000")).commit()?;
            members.extend(is_tagged.then(|| format!("tag-0000\0{}", key(number))));
        }
        for member in &members {
            redis::cmd("ZADD").arg("{bare}t").arg(0).arg(member).exec(&mut self.connection)?;
        }
        let pipe = query_pipeline(&members);
        let bare =
            timed(QUERIES, |_| pipe.query::<Vec<Value>>(&mut self.connection).map(drop).map_err(Into::into))?;
        let ours = timed(QUERIES, |_| {
            let mut found = 0;
            for found_key in namespace.query().tag("tag-0000").keys()? {
                found_key?;
                found += 1;
            }
            if found == members.len() { Ok(()) } else { Err("a record was not found".into()) }
        })?;
        print(&format!("query of {} keys by tag", members.len()), ours, bare, None);
        Ok(())
    }
}

/// The commands that the script of a set runs.
fn set_pipeline(key: &str) -> Pipeline {
    let mut pipe = redis::pipe();
    let record = format!("{{bare}}r:{key}");
    pipe.cmd("GET").arg("{bare}o").cmd("TIME").cmd("HMGET").arg("{bare}m").arg(&["s", "v", "f"]);
    pipe.cmd("HGET").arg(&record).arg("m").cmd("ZSCORE").arg("{bare}x").arg(key);
    pipe.cmd("HSET").arg(&record).arg("m").arg(&[7u8; 38][..]).arg("v").arg(&VALUE[..]);
    pipe.cmd("ZADD").arg("{bare}k").arg(0).arg(key);
    pipe.cmd("HSET").arg("{bare}m").arg("v").arg("1764000000000000");
    pipe.cmd("SET").arg("{bare}o").arg(&[7u8; 18][..]).arg("PX").arg(600_000);
    pipe
}

/// The commands that the pages of a query run.
fn query_pipeline(members: &[String]) -> Pipeline {
    let mut pipe = redis::pipe();
    for part in members.chunks(100) {
        let from = format!("[{}", part.first().map_or("", String::as_str));
        pipe.cmd("ZRANGE").arg("{bare}t").arg(from).arg("+").arg(&["BYLEX", "LIMIT", "0", "100"]);
        pipe.cmd("ZMSCORE").arg("{bare}x").arg(part);
    }
    pipe
}
