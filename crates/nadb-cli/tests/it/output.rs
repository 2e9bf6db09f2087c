//! Output whose reader goes away or whose device is full.

#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::sandbox::Sandbox;

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let sandbox = Sandbox::new();
    let lines: String = (0..50_000)
        .map(|i| format!("{{\"op\":\"set\",\"key\":\"a rather long key number {i:09}\",\"value\":\"\"}}\n"))
        .collect();
    assert_eq!(sandbox.with_input("batch -", lines.as_bytes()).code, 0);
    let mut child = sandbox.command(["list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "a rather long key number 000000000\n");
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(0), vec![]));
    sandbox.ok("verify");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_device_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.ok("set k v");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran: crate::sandbox::Ran = sandbox.command(["get", "k"]).stdout(full).output().unwrap().into();
    ran.check_failure(5, "get to a full device");
    sandbox.fails(5, "get k -o /dev/full");
}
