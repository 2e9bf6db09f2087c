//! A small store stays small, however often it is opened.

use std::fs;

use crate::sandbox::Sandbox;

#[test]
fn a_store_of_one_record_is_small() {
    let sandbox = Sandbox::new();
    sandbox.ok("set key value");
    let bytes: u64 =
        fs::read_dir(sandbox.store()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 64 << 10, "{bytes} bytes");
}

#[test]
fn many_single_commands_leave_one_segment() {
    let sandbox = Sandbox::new();
    for n in 0..60 {
        sandbox.ok(&format!("set key:{n} value"));
    }
    let names = fs::read_dir(sandbox.store()).unwrap().map(|entry| entry.unwrap().file_name());
    let segments = names.filter(|name| name.to_string_lossy().ends_with(".seg")).count();
    assert_eq!(segments, 1);
    assert_eq!(sandbox.keys().len(), 60);
}
