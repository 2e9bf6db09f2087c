//! What a store on Redis costs beside the bare commands: time of a set, a get and a query by tag, and memory of a record.
//!
//! ```sh
//! redis-server --port 7399 --save "" &
//! cargo run --release -p nadb-redis --example measure -- redis://127.0.0.1:7399
//! ```
//!
//! It writes under the prefix `measure` and drops what it wrote. The figures of docs/redis.md are its own.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss)]

use std::time::Instant;

use nadb_core::{
    Action, Backend, ExpiryUpdate, Filter, Operation, Put, QueryRequest, Tags, TagsUpdate, WriteOptions,
};
use nadb_redis::{RedisBackend, RedisOptions};
use redis::{Connection, Pipeline, Value};

const COUNT: u32 = 20_000;
const VALUE: [u8; 100] = [7; 100];

fn operation(namespace: &'static str, number: u32, tags: usize, expires: bool) -> Operation<'static> {
    let mut put = Put::new(&VALUE[..]);
    put.tags = TagsUpdate::Replace(Tags::new((0..tags).map(|tag| format!("tag-{tag:04}"))).unwrap());
    put.expiry = if expires { ExpiryUpdate::AtMs(4_102_444_800_000) } else { ExpiryUpdate::Never };
    Operation::new(namespace, format!("key:{number:013}").into_bytes(), Action::Put(put))
}

fn memory(connection: &mut Connection) -> f64 {
    let info: String = redis::cmd("INFO").arg("memory").query(connection).unwrap();
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
}

/// Microseconds of one of `count`, in the best tenth of them: the others share the machine with who knows what.
fn timed(count: u32, mut work: impl FnMut(u32)) -> f64 {
    let part = |part: u32| {
        let begin = Instant::now();
        (part * count / 10..(part + 1) * count / 10).for_each(&mut work);
        begin.elapsed().as_secs_f64() * 1e7 / f64::from(count)
    };
    (0..10).map(part).fold(f64::INFINITY, f64::min)
}

fn print(what: &str, ours: f64, bare: f64, plain: Option<f64>) {
    let plain = plain.map_or(String::new(), |plain| format!(", one plain command {plain:.1} µs"));
    println!(
        "{what}: {ours:.1} µs, the same commands in one pipeline {bare:.1} µs ({:+.0} %){plain}",
        (ours / bare - 1.0) * 100.0
    );
}

/// The commands that the script of a set runs.
fn set_pipeline(key: &str) -> Pipeline {
    let mut pipe = redis::pipe();
    let record = format!("{{bare}}r:{key}");
    pipe.cmd("GET").arg("{bare}o").cmd("TIME").cmd("HMGET").arg("{bare}m").arg(&["s", "v", "f"]);
    pipe.cmd("HGET").arg(&record).arg("m").cmd("ZSCORE").arg("{bare}x").arg(key);
    pipe.cmd("HSET").arg(&record).arg("m").arg(&[7u8; 38][..]).arg("v").arg(&VALUE[..]);
    pipe.cmd("ZADD")
        .arg("{bare}k")
        .arg(0)
        .arg(key)
        .cmd("HSET")
        .arg("{bare}m")
        .arg("v")
        .arg("1764000000000000");
    pipe.cmd("SET").arg("{bare}o").arg(&[7u8; 18][..]).arg("PX").arg(600_000);
    pipe
}

fn times(store: &RedisBackend, connection: &mut Connection) {
    let options = WriteOptions::default();
    let key = |number: u32| format!("key:{number:013}");
    let plain = timed(COUNT, |number| {
        let mut set = redis::cmd("HSET");
        set.arg(format!("plain:{}", key(number))).arg("v").arg(&VALUE[..]).exec(connection).unwrap();
    });
    let bare =
        timed(COUNT, |number| drop(set_pipeline(&key(number)).query::<Vec<Value>>(connection).unwrap()));
    let ours =
        timed(COUNT, |number| drop(store.write(&[operation("times", number, 0, false)], &options).unwrap()));
    print("set", ours, bare, Some(plain));
    let plain = timed(COUNT, |number| {
        let mut get = redis::cmd("HGET");
        drop(get.arg(format!("plain:{}", key(number))).arg("v").query::<Vec<u8>>(connection).unwrap());
    });
    let bare = timed(COUNT, |number| {
        let mut pipe = redis::pipe();
        pipe.cmd("HMGET")
            .arg(format!("{{bare}}r:{}", key(number)))
            .arg(&["m", "v"])
            .cmd("HGET")
            .arg("{bare}m")
            .arg("s");
        drop(pipe.query::<Vec<Value>>(connection).unwrap());
    });
    let ours = timed(COUNT, |number| assert!(store.get("times", key(number).as_bytes()).unwrap().is_some()));
    print("get", ours, bare, Some(plain));
}

/// A thousand of ten thousand records by a tag, keys alone.
fn query(store: &RedisBackend, connection: &mut Connection) {
    let options = WriteOptions::default();
    for number in 0..10_000 {
        let tags = usize::from(number % 10 == 0);
        store.write(&[operation("query", number, tags, false)], &options).unwrap();
    }
    let members: Vec<String> = (0..1000).map(|number| format!("tag-0000\0key:{:013}", number * 10)).collect();
    for member in &members {
        redis::cmd("ZADD").arg("{bare}t").arg(0).arg(member).exec(connection).unwrap();
    }
    let bare = timed(300, |_| {
        let mut pipe = redis::pipe();
        for part in members.chunks(100) {
            pipe.cmd("ZRANGE")
                .arg("{bare}t")
                .arg(format!("[{}", part[0]))
                .arg("+")
                .arg(&["BYLEX", "LIMIT", "0", "100"]);
            pipe.cmd("ZMSCORE").arg("{bare}x").arg(part);
        }
        drop(pipe.query::<Vec<Value>>(connection).unwrap());
    });
    let request = QueryRequest::new(Filter::tag("tag-0000"));
    let ours = timed(300, |_| {
        let mut matches = store.query("query", &request).unwrap();
        assert_eq!(std::iter::from_fn(|| matches.next_key()).count(), 1000);
    });
    print("query of 1,000 keys by tag", ours, bare, None);
}

fn bytes(store: &RedisBackend, connection: &mut Connection) {
    let options = WriteOptions::default();
    for (tags, expires) in [(0, false), (1, false), (3, false), (10, false), (0, true), (3, true)] {
        let before = memory(connection);
        for number in 0..COUNT {
            store.write(&[operation("bytes", number, tags, expires)], &options).unwrap();
        }
        let each = (memory(connection) - before) / f64::from(COUNT);
        println!("a record with {tags} tags{}: {each:.0} bytes", if expires { " and an expiry" } else { "" });
        store.drop_namespace("bytes").unwrap();
        // What is freed is freed in the background.
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

fn main() {
    let url = std::env::args().nth(1).expect("the URL of a server, such as redis://127.0.0.1:7399");
    let mut connection = redis::Client::open(url.as_str()).unwrap().get_connection().unwrap();
    let store = RedisBackend::open(RedisOptions::from_url(&url).unwrap().prefix("measure")).unwrap();
    bytes(&store, &mut connection);
    times(&store, &mut connection);
    query(&store, &mut connection);
    for name in store.namespaces().unwrap() {
        store.drop_namespace(&name.name).unwrap();
    }
    for pattern in ["plain:*", "{bare}*"] {
        let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg(pattern).query(&mut connection).unwrap();
        names.chunks(1000).for_each(|names| redis::cmd("DEL").arg(names).exec(&mut connection).unwrap());
    }
}
