//! The same commands on a store behind a URL.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::sandbox::Sandbox;

/// A redis-server on a socket in the sandbox; the command waits until it answers.
pub(crate) struct Server {
    child: Child,
    socket: PathBuf,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(sandbox: &Sandbox) -> Server {
        let socket = sandbox.path("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(&socket);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("redis-server is missing: apt-get install redis-server");
        Server { child, url: format!("redis+unix://{}", socket.display()), socket }
    }

    /// Sends a command of plain words, and waits for the server to say that it is done.
    pub(crate) fn command(&self, line: &str) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+OK", "{line}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn commands_work_behind_a_url_as_in_a_directory() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox);
    sandbox.write("tree/a.txt", "alpha");
    sandbox.write("tree/b/c.txt", "gamma");
    let check = |line: &str, code: i32, out: &str| {
        let ran = sandbox.sh(&format!("--url {} {line}", server.url));
        assert_eq!(
            (ran.code, String::from_utf8_lossy(&ran.out).as_ref()),
            (code, out),
            "{line}: {}",
            ran.err
        );
    };
    check("set user:1 Alice --tag user --ttl 2h", 0, "");
    check("set user:2 Bob --tag user", 0, "");
    check("get user:1", 0, "Alice");
    check("get nobody", 1, "");
    check("set user:1 Eve --if-absent", 6, "");
    check("incr visits 9007199254740993", 0, "9007199254740993\n");
    check("incr visits", 0, "9007199254740994\n");
    check("list --prefix user:", 0, "user:1\nuser:2\n");
    check("query tag:user --count", 0, "2\n");
    check("delete user:2", 0, "");
    check("query tag:user --count", 0, "1\n");
    assert_eq!(sandbox.sh(&format!("--url {} import tree -n files", server.url)).code, 0);
    check("get b/c.txt -n files", 0, "gamma");
    check("drop-namespace files --yes", 0, "");
    check("get b/c.txt -n files", 1, "");
    assert!(!sandbox.store().exists(), "nothing is made on disk");
}

#[test]
fn what_is_about_files_says_so_and_shows_no_password() {
    let sandbox = Sandbox::new();
    let server = Server::start(&sandbox);
    let ran = sandbox.sh(&format!("--url {} inspect", server.url));
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("does not support segments"), "{}", ran.err);
    let ran = sandbox.sh(&format!("--url {} repair", server.url));
    assert_eq!(ran.code, 2, "{}", ran.err);
    let ran = sandbox.sh(&format!("--url {} --durability synced set k v", server.url));
    assert_eq!(ran.code, 2, "{}", ran.err);
    let ran = sandbox.sh("--url redis://alice:hunter2@127.0.0.1:1/0?retry_for_ms=1 get k");
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("127.0.0.1:1") && !ran.err.contains("hunter2"), "{}", ran.err);
}
