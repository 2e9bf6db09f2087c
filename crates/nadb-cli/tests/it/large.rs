//! Values that the command does not hold in memory: in and out, by file, pipe and tree, and killed in the middle.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::sandbox::Sandbox;
use crate::trees::files;

/// Above a quarter of a memtable, so that it has a file of its own.
const LARGE: usize = 40 << 20;

fn large() -> Vec<u8> {
    (0..u32::try_from(LARGE / 4).unwrap()).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn blobs(sandbox: &Sandbox) -> usize {
    let names = fs::read_dir(sandbox.store()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".blob")).count()
}

#[test]
fn a_large_value_goes_in_and_out_every_way() {
    let sandbox = Sandbox::new();
    let value = large();
    sandbox.write("in/film.mp4", &value);
    assert_eq!(sandbox.sh("set by-file --file in/film.mp4 --tag film").code, 0);
    let piped = sandbox.with_input("set by-pipe -", &value);
    assert_eq!(piped.code, 0, "{}", piped.err);
    sandbox.ok("import in");
    assert_eq!(blobs(&sandbox), 3);
    for key in ["by-file", "by-pipe", "film.mp4"] {
        assert!(sandbox.run(["get", key]).out == value, "{key}");
    }
    sandbox.ok("get by-file -o copy");
    assert!(fs::read(sandbox.path("copy")).unwrap() == value);
    assert!(sandbox.ok("get film.mp4 --meta").contains("video/mp4"));
    sandbox.ok("verify");
    sandbox.ok("delete by-file");
    sandbox.ok("delete by-pipe");
    sandbox.ok("extract out");
    assert_eq!(files(&sandbox.path("out")), files(&sandbox.path("in")));
}

#[test]
fn a_large_set_that_is_killed_leaves_no_trace() {
    let sandbox = Sandbox::new();
    sandbox.ok("set small before");
    let mut child = sandbox.command(["set", "large", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&large()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while blobs(&sandbox) == 0 {
        assert!(Instant::now() < deadline, "the value does not get into a file");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(blobs(&sandbox), 1);
    sandbox.fails(1, "get large");
    assert_eq!(blobs(&sandbox), 0);
    assert_eq!(sandbox.ok("get small"), "before");
    sandbox.ok("verify");
}
