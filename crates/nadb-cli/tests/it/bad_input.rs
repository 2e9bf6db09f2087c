//! Bad input: a clear sentence, the right exit code, and nothing written.

use std::fs;

use crate::sandbox::Sandbox;

#[test]
fn keys_out_of_bounds() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(["set", "", "v"]);
    ran.check_failure(2, "empty key");
    assert_eq!(ran.err, "nadb: key has 0 bytes, the limit is 1 to 65535 bytes\n");
    let ran = sandbox.run(["set", &"k".repeat(65_536), "v"]);
    ran.check_failure(2, "64 KiB key");
    assert!(ran.err.contains("65536") && ran.err.contains("65535"), "{}", ran.err);
    assert!(!sandbox.store().exists());
    assert_eq!(sandbox.run(["set", &"k".repeat(65_535), "v"]).code, 0);
    assert_eq!(sandbox.run(["get", &"k".repeat(65_535)]).text(), "v");
}

#[test]
fn a_sparse_file_of_5_gib_is_refused_before_it_is_read() {
    let sandbox = Sandbox::new();
    let file = fs::File::create(sandbox.path("sparse")).unwrap();
    file.set_len(5 << 30).unwrap();
    let mut command = sandbox.command(["set", "k", "--file", "sparse"]);
    limit_memory(&mut command);
    let ran: crate::sandbox::Ran = command.output().unwrap().into();
    ran.check_failure(2, "sparse file");
    assert!(ran.err.contains("value has 5368709120 bytes, the limit is 4293918720 bytes"), "{}", ran.err);
    assert!(!sandbox.store().exists());
}

/// Runs the command where 1 GiB of address space is all there is.
fn limit_memory(command: &mut std::process::Command) {
    let program = command.get_program().to_owned();
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let dir = command.get_current_dir().unwrap().to_owned();
    if cfg!(target_os = "linux") {
        *command = std::process::Command::new("sh");
        command
            .args(["-c", "ulimit -v 1048576; exec \"$0\" \"$@\""])
            .arg(program)
            .args(args)
            .current_dir(dir);
    }
}

#[test]
fn settings_out_of_bounds() {
    let sandbox = Sandbox::new();
    let said = sandbox.fails(2, "set k v --ttl 0s");
    assert!(said.contains("must be above zero"), "{said}");
    sandbox.fails(2, "set k v --ttl 9999999d");
    sandbox.run(["set", "k", "v", "--tag", ""]).check_failure(2, "empty tag");
    sandbox.run(["set", "k", "v", "--tag", &"t".repeat(256)]).check_failure(2, "long tag");
    let many: Vec<String> = (0..65).map(|i| format!("--tag=t{i}")).collect();
    sandbox
        .run(["set", "k", "v"].into_iter().chain(many.iter().map(String::as_str)))
        .check_failure(2, "65 tags");
    sandbox.run(["-n", "", "set", "k", "v"]).check_failure(2, "empty namespace");
    sandbox.run(["-n", &"n".repeat(256), "set", "k", "v"]).check_failure(2, "long namespace");
    let nul = br#"{"op":"set","key":"k","value":"v","namespace":"a\u0000b"}"#;
    let ran = sandbox.with_input("batch -", nul);
    ran.check_failure(2, "namespace with NUL");
    assert!(ran.err.contains("NUL at byte 1"), "{}", ran.err);
    sandbox.fails(2, "set k --file missing");
    sandbox.fails(2, "set k --file .");
    sandbox.fails(2, "import missing");
    assert!(!sandbox.store().exists());
}

#[test]
fn commands_that_read_make_no_store() {
    let sandbox = Sandbox::new();
    for line in [
        "get k",
        "list",
        "namespaces",
        "stats",
        "inspect",
        "verify",
        "extract out",
        "delete k",
        "drop-namespace n --yes",
    ] {
        let said = sandbox.fails(2, line);
        assert!(said.contains("nadb-data"), "{line}: {said}");
        assert!(!sandbox.store().exists() && !sandbox.path("out").exists(), "{line}");
    }
}

#[test]
fn a_directory_that_is_no_store_is_left_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("nadb-data/letter.txt", "dear");
    for line in ["set k v", "get k", "verify"] {
        sandbox.fails(2, line);
    }
    let names: Vec<_> =
        fs::read_dir(sandbox.store()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["letter.txt"]);
    sandbox.write("file", "");
    sandbox.fails(2, "--path file set k v");
}

#[test]
fn segments_without_a_manifest_are_corruption() {
    let sandbox = Sandbox::new();
    sandbox.ok("set k v");
    fs::remove_file(sandbox.path("nadb-data/MANIFEST")).unwrap();
    for line in ["get k", "set k v", "verify"] {
        sandbox.fails(3, line);
    }
}

#[test]
fn damage_is_corruption_with_file_and_offset() {
    let sandbox = Sandbox::new();
    sandbox.ok("set k a-value-that-is-easy-to-find");
    let segments = fs::read_dir(sandbox.store()).unwrap().map(|entry| entry.unwrap().path());
    let needle = b"a-value-that-is-easy-to-find";
    for path in segments.filter(|path| path.extension().is_some_and(|e| e == "seg")) {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let said = sandbox.fails(3, "get k");
    assert!(said.contains(".seg, offset "), "{said}");
    sandbox.fails(3, "verify");
}

#[test]
fn a_second_process_is_told_who_holds_the_lock() {
    let sandbox = Sandbox::new();
    sandbox.ok("set k v");
    let lock = fs::OpenOptions::new().read(true).write(true).open(sandbox.path("nadb-data/LOCK")).unwrap();
    lock.try_lock().unwrap();
    for line in ["get k", "set k w", "list", "verify"] {
        let said = sandbox.fails(4, line);
        assert!(said.contains("nadb-data"), "{line}: {said}");
    }
    drop(lock);
    assert_eq!(sandbox.ok("get k"), "v");
}

#[test]
#[cfg(unix)]
fn a_read_only_directory_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let sandbox = Sandbox::new();
    sandbox.ok("set k v");
    let mode =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&sandbox.path(""), 0o755); // others may look, and only look
    mode(&sandbox.store(), 0o555);
    for entry in fs::read_dir(sandbox.store()).unwrap() {
        mode(&entry.unwrap().path(), 0o444);
    }
    // Root may write everywhere, so it becomes nobody; the program must be where nobody can run it.
    let is_root =
        fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0).unwrap_or(false);
    let program = tempfile::tempdir().unwrap();
    let nadb = program.path().join("nadb");
    fs::copy(env!("CARGO_BIN_EXE_nadb"), &nadb).unwrap();
    mode(program.path(), 0o755);
    mode(&nadb, 0o755);
    for args in [vec!["set", "k", "w"], vec!["--path", "new", "set", "k", "w"]] {
        let mut command = std::process::Command::new(&nadb);
        command.current_dir(sandbox.path("")).args(&args);
        if is_root {
            command.uid(65_534).gid(65_534);
        } else {
            mode(&sandbox.path(""), 0o555);
        }
        let ran: crate::sandbox::Ran = command.output().unwrap().into();
        ran.check_failure(5, &args.join(" "));
    }
    mode(&sandbox.path(""), 0o755);
    mode(&sandbox.store(), 0o755);
    for entry in fs::read_dir(sandbox.store()).unwrap() {
        mode(&entry.unwrap().path(), 0o644);
    }
    assert!(!sandbox.path("new").exists());
    assert_eq!(sandbox.ok("get k"), "v");
}
