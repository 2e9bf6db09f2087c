//! Groups of servers: a cluster of three masters with a replica each, and a master with two replicas that three sentinels watch.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use crate::server::Server;

/// For how long a group may take to agree.
const AGREE: Duration = Duration::from_secs(30);

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < AGREE, "{what} does not come true");
        thread::sleep(Duration::from_millis(20));
    }
}

fn text(value: redis::RedisResult<Value>) -> String {
    match value {
        Ok(Value::BulkString(bytes)) => String::from_utf8(bytes).unwrap(),
        Ok(Value::SimpleString(text)) => text,
        Ok(Value::VerbatimString { text, .. }) => text,
        _ => String::new(),
    }
}

/// Three masters, then their replicas.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Cluster {
        let options = [
            ["--cluster-enabled", "yes"],
            ["--cluster-node-timeout", "1000"],
            ["--cluster-replica-validity-factor", "0"],
            ["--repl-diskless-sync-delay", "0"],
            ["--appendonly", "no"],
        ];
        let servers: Vec<Server> = (0..6).map(|_| Server::begin(options.as_flattened())).collect();
        servers.iter().for_each(Server::wait);
        for (number, slots) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")].into_iter().enumerate()
        {
            servers[number].command(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]);
            servers[number].command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        }
        for other in &servers[1..] {
            servers[0].command(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]);
        }
        let cluster = Cluster { servers };
        until("that all know all", || cluster.all_say("cluster_known_nodes:6\r"));
        for (replica, master) in (3..6).zip(0..3) {
            let id = text(cluster.servers[master].try_command(&["CLUSTER", "MYID"]));
            until("that a replica has its master", || {
                cluster.servers[replica].try_command(&["CLUSTER", "REPLICATE", &id]).is_ok()
            });
        }
        until("that the cluster is fine", || cluster.all_say("cluster_state:ok\r"));
        let is_linked = |server: &Server| {
            text(server.try_command(&["INFO", "replication"])).contains("master_link_status:up")
        };
        until("that replicas are in step", || cluster.servers[3..].iter().all(is_linked));
        until("that masters know their replicas", || {
            let nodes = text(cluster.servers[0].try_command(&["CLUSTER", "NODES"]));
            nodes.lines().filter(|line| line.contains("slave")).count() == 3
        });
        cluster
    }

    fn all_say(&self, words: &str) -> bool {
        self.servers.iter().all(|server| text(server.try_command(&["CLUSTER", "INFO"])).contains(words))
    }

    pub(crate) fn url(&self) -> String {
        let some: Vec<String> = [0, 4].map(|number: usize| self.servers[number].address()).into();
        format!("redis+cluster://{}", some.join(","))
    }

    pub(crate) fn masters(&self) -> Vec<&Server> {
        self.servers.iter().filter(|server| is_master(server)).collect()
    }
}

pub(crate) fn is_master(server: &Server) -> bool {
    text(server.try_command(&["INFO", "replication"])).contains("role:master")
}

/// A master and two replicas, and the sentinels.
pub(crate) struct Watched {
    pub(crate) servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Watched {
    pub(crate) fn start() -> Watched {
        let master = Server::begin(&["--repl-diskless-sync-delay", "0"]);
        let port = master.port.to_string();
        let replica =
            |_| Server::begin(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"]);
        let servers: Vec<Server> = std::iter::once(master).chain((0..2).map(replica)).collect();
        servers.iter().for_each(Server::wait);
        let in_step =
            || text(servers[0].try_command(&["INFO", "replication"])).matches("state=online").count() == 2;
        until("that replicas are in step", in_step);
        let config = format!(
            "sentinel monitor main 127.0.0.1 {port} 2\nsentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 3000\nsentinel parallel-syncs main 2\n"
        );
        let sentinels: Vec<Server> = (0..3).map(|_| Server::begin_sentinel(&config)).collect();
        sentinels.iter().for_each(Server::wait);
        let watched = Watched { servers, sentinels };
        let knows = |sentinel: &Server, field: &str, wanted: &str| match sentinel
            .try_command(&["SENTINEL", "MASTER", "main"])
        {
            Ok(Value::Array(parts)) => parts.chunks(2).any(|pair| {
                pair[0] == Value::BulkString(field.into()) && pair[1] == Value::BulkString(wanted.into())
            }),
            _ => false,
        };
        until("that sentinels know each other", || {
            watched
                .sentinels
                .iter()
                .all(|s| knows(s, "num-other-sentinels", "2") && knows(s, "num-slaves", "2"))
        });
        watched
    }

    pub(crate) fn url(&self) -> String {
        let all: Vec<String> = self.sentinels.iter().map(Server::address).collect();
        format!("redis+sentinel://{}/main", all.join(","))
    }

    pub(crate) fn master(&self) -> Option<&Server> {
        self.servers.iter().find(|server| is_master(server))
    }
}

impl Server {
    /// A sentinel, which keeps what it knows in its configuration.
    fn begin_sentinel(config: &str) -> Server {
        Server::begin_with(&["--sentinel"], |dir| {
            let path = dir.join("sentinel.conf");
            fs::write(&path, config).unwrap();
            Some(path)
        })
    }
}
