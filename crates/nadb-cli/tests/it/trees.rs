//! `nadb import` and `nadb extract`: trees of files, there and back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::sandbox::Sandbox;

/// Every file below `dir` with its bytes.
pub(crate) fn files(dir: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    fn collect(dir: &Path, root: &Path, all: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, root, all);
            } else {
                let name = path.strip_prefix(root).unwrap().as_os_str().as_encoded_bytes().to_vec();
                all.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    collect(dir, dir, &mut all);
    all
}

fn odd_tree(sandbox: &Sandbox) {
    sandbox.write("tree/README.md", "# hello");
    sandbox.write("tree/empty", "");
    sandbox.write("tree/a/b/c/deep.txt", "deep");
    sandbox.write("tree/a/.hidden", "h");
    sandbox.write("tree/with space/größe 日本.html", "<p>");
    sandbox.write("tree/a-b", "between a and a/");
    sandbox.write("tree/back\\slash\nline", "odd");
    sandbox.write("tree/big.bin", (0..=255).cycle().take(5 << 20).collect::<Vec<u8>>());
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(b"\xff\xfe.bin");
        sandbox.write(Path::new("tree").join(name), b"\0\xff");
    }
    for i in 0..600 {
        sandbox.write(format!("tree/many/{i}.txt"), format!("file {i}"));
    }
}

#[test]
fn import_and_extract_round_trip() {
    let sandbox = Sandbox::new();
    odd_tree(&sandbox);
    let expected = files(&sandbox.path("tree"));
    let ran = sandbox.sh("--json import tree");
    let report = ran.json();
    assert_eq!((&report["imported"], &report["failed"]), (&json!(expected.len()), &json!(0)));
    assert_eq!(ran.err, "");
    assert_eq!(sandbox.keys().len(), expected.len());
    let text = sandbox.ok("extract copy");
    assert!(text.starts_with(&format!("extracted {} files (", expected.len())), "{text}");
    assert_eq!(files(&sandbox.path("copy")), expected);
    // Both again: they overwrite.
    assert!(sandbox.ok("import tree").starts_with(&format!("imported {} files (", expected.len())));
    sandbox.ok("extract copy");
    assert_eq!(files(&sandbox.path("copy")), expected);
    sandbox.ok("verify");
}

#[test]
fn prefixes_are_put_before_and_taken_off() {
    let sandbox = Sandbox::new();
    sandbox.write("tree/a/x", "1");
    sandbox.write("tree/y", "2");
    sandbox.ok("import tree --prefix www/");
    sandbox.ok("set other 3");
    assert_eq!(sandbox.ok("list"), "other\nwww/a/x\nwww/y\n");
    sandbox.ok("extract copy --prefix www/");
    assert_eq!(files(&sandbox.path("copy")), files(&sandbox.path("tree")));
}

#[test]
fn files_get_tags_from_their_names() {
    let sandbox = Sandbox::new();
    sandbox.write("tree/a/b/Page.HTML", "");
    sandbox.write("tree/Makefile", "");
    sandbox.ok("import tree");
    let meta = sandbox.sh("--json get a/b/Page.HTML --meta").json();
    assert_eq!(meta["tags"], json!(["dir:a/b", "ext:html", "mime:text/html"]));
    assert_eq!(meta["content_type"], json!("text/html"));
    assert_eq!(sandbox.sh("--json get Makefile --meta").json()["tags"], json!(["dir:."]));
}

#[test]
#[cfg(unix)]
fn links_special_files_and_the_store_itself_are_skipped() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "1");
    std::os::unix::fs::symlink("file", sandbox.path("link")).unwrap();
    std::os::unix::fs::symlink(".", sandbox.path("loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(sandbox.path("socket")).unwrap();
    let report = sandbox.sh("--json import .").json();
    assert_eq!((&report["imported"], &report["skipped"]), (&json!(1), &json!(3)));
    assert_eq!(sandbox.keys(), ["file"]);
    let said = sandbox.fails(2, "import nadb-data");
    assert!(said.contains("the store"), "{said}");
}

#[test]
fn a_file_above_the_limit_is_named_and_the_rest_is_imported() {
    let sandbox = Sandbox::new();
    sandbox.write("tree/a", "1");
    sandbox.write("tree/huge", "");
    sandbox.write("tree/z", "2");
    let huge = fs::OpenOptions::new().write(true).open(sandbox.path("tree/huge")).unwrap();
    huge.set_len(5 << 30).unwrap();
    let ran = sandbox.sh("import tree");
    assert_eq!(ran.code, 5);
    assert!(ran.text().starts_with("imported 2 files (2 B) in "), "{}", ran.text());
    assert!(ran.text().ends_with(", skipped 0, failed 1\n"), "{}", ran.text());
    let first = ran.err.lines().next().unwrap();
    assert!(first.contains("tree/huge was not imported") && first.contains("5368709120"), "{}", ran.err);
    assert_eq!(sandbox.keys(), ["a", "z"]);
}

#[test]
fn keys_that_are_no_path_are_refused_and_the_rest_is_extracted() {
    let sandbox = Sandbox::new();
    let keys =
        ["/etc/passwd", "../up", "a/../../up", "a//b", "good", "good/below", "nul\\u0000", "x/", "z/fine"];
    let lines: String =
        keys.iter().map(|key| format!("{{\"op\":\"set\",\"key\":\"{key}\",\"value\":\"v\"}}\n")).collect();
    assert_eq!(sandbox.with_input("batch -", lines.as_bytes()).code, 0);
    let ran = sandbox.sh("--json extract deep/er/out");
    assert_eq!(ran.code, 5);
    let report: serde_json::Value = serde_json::from_slice(&ran.out).unwrap();
    assert_eq!((&report["extracted"], &report["failed"]), (&json!(2), &json!(7)));
    assert_eq!(ran.err.lines().count(), 8, "{}", ran.err);
    assert!(
        ran.err.contains("key \"good/below\" was not extracted: \"good\" is a file there"),
        "{}",
        ran.err
    );
    let out = files(&sandbox.path("deep"));
    assert_eq!(out.keys().collect::<Vec<_>>(), [b"er/out/good".as_slice(), b"er/out/z/fine"]);
    assert!(!sandbox.path("up").exists());
}

#[test]
#[cfg(unix)]
fn extract_does_not_follow_links_out_of_its_directory() {
    let sandbox = Sandbox::new();
    sandbox.ok("set inside/file v");
    sandbox.ok("set linked v");
    sandbox.write("elsewhere/file", "old");
    fs::create_dir(sandbox.path("out")).unwrap();
    std::os::unix::fs::symlink(sandbox.path("elsewhere"), sandbox.path("out/inside")).unwrap();
    std::os::unix::fs::symlink(sandbox.path("elsewhere/file"), sandbox.path("out/linked")).unwrap();
    let ran = sandbox.sh("extract out");
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("symbolic link"), "{}", ran.err);
    assert_eq!(fs::read(sandbox.path("elsewhere/file")).unwrap(), b"old");
    assert!(fs::symlink_metadata(sandbox.path("out/linked")).unwrap().is_file());
}
