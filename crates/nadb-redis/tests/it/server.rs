//! Servers for tests: started on a free port of the loopback, asked until they answer, killed when they are dropped. The environment's
//! `NADB_REDIS_SERVER` names another program than `redis-server`, such as `valkey-server`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// For how long a server may start.
const START: Duration = Duration::from_secs(20);

/// A running redis-server with an empty data set.
pub(crate) struct Server {
    pub(crate) port: u16,
    options: Vec<String>,
    dir: TempDir,
    child: Mutex<Child>,
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    // Below those that outgoing connections take, and each process begins elsewhere, so that none is taken meanwhile.
    static NEXT: OnceLock<Mutex<u16>> = OnceLock::new();
    let begin = || Mutex::new(10_000 + u16::try_from(std::process::id() * 37 % 12_000).unwrap());
    let mut next = NEXT.get_or_init(begin).lock().unwrap();
    loop {
        *next = if *next >= 22_000 { 10_000 } else { *next + 1 };
        // The bus of a cluster is 10,000 above.
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(*next) && is_free(*next + 10_000) {
            return *next;
        }
    }
}

fn spawn(dir: &TempDir, port: u16, options: &[String]) -> Child {
    // A configuration goes first; sentinels know nothing of `save`.
    let (config, options): (Vec<&String>, Vec<&String>) =
        options.iter().partition(|option| option.starts_with('/'));
    let mut command = redis_server();
    command.args(config).args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]).arg(dir.path());
    if !options.iter().any(|option| *option == "--sentinel") {
        command.args(["--save", ""]);
    }
    command.args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is missing: apt-get install redis-server")
}

/// The command that starts a server which does not outlive the test that starts it, whatever ends that.
fn redis_server() -> Command {
    let has_setpriv = || Command::new("setpriv").arg("--version").stdout(Stdio::null()).status().is_ok();
    let program = std::env::var("NADB_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
    if cfg!(target_os = "linux") && has_setpriv() {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", &program]);
        return command;
    }
    Command::new(program)
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Server {
        let server = Server::begin(options);
        server.wait();
        server
    }

    /// Starts it without waiting until it answers.
    pub(crate) fn begin(options: &[&str]) -> Server {
        Server::begin_with(options, |_| None)
    }

    /// The same with a configuration that is made in its folder.
    pub(crate) fn begin_with(options: &[&str], config: impl FnOnce(&Path) -> Option<PathBuf>) -> Server {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let config = config(dir.path()).map(|path| path.display().to_string());
        let options = options.iter().map(|option| (*option).to_owned());
        let options: Vec<String> = config.into_iter().chain(options).collect();
        let child = Mutex::new(spawn(&dir, port, &options));
        Server { port, options, dir, child }
    }

    pub(crate) fn wait(&self) {
        let begin = Instant::now();
        while self.try_command(&["PING"]).is_err() {
            assert!(begin.elapsed() < START, "redis-server on port {} does not answer", self.port);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it at once, without a word to its clients.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        _ = child.kill();
        _ = child.wait();
    }

    /// Starts it again on the same port with what it has in its files.
    pub(crate) fn restart(&self) {
        self.restart_with(&[]);
    }

    /// The same as a replica of another one.
    pub(crate) fn restart_behind(&self, master: &Server) {
        self.restart_with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    }

    fn restart_with(&self, more: &[&str]) {
        let options: Vec<String> =
            self.options.iter().cloned().chain(more.iter().map(|&option| option.to_owned())).collect();
        *self.child.lock().unwrap() = spawn(&self.dir, self.port, &options);
        self.wait();
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub(crate) fn connect(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(2))
    }

    pub(crate) fn try_command(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.connect()?)
    }

    pub(crate) fn command(&self, words: &[&str]) -> redis::Value {
        self.try_command(words).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
