//! The command is killed in the middle of an import: what it had acknowledged is there and whole.

use std::fs;
use std::time::{Duration, Instant};

use crate::sandbox::Sandbox;
use crate::trees::files;

#[test]
fn a_killed_import_keeps_what_it_acknowledged_and_can_be_run_again() {
    for acknowledged_at_least in [1, 600] {
        let sandbox = Sandbox::new();
        for i in 0..2000 {
            sandbox.write(format!("tree/{}/{i}.txt", i % 7), format!("file {i} ").repeat(i % 300));
        }
        let mut child = sandbox.command(["import", "tree", "--ack-log", "acks"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while acknowledged(&sandbox).len() < acknowledged_at_least {
            assert!(Instant::now() < deadline, "the import acknowledges nothing");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        let expected = files(&sandbox.path("tree"));
        let acknowledged = acknowledged(&sandbox);
        assert_eq!(sandbox.sh("extract partial").code, 0);
        let survived = files(&sandbox.path("partial"));
        assert!(survived.iter().all(|(name, bytes)| expected.get(name) == Some(bytes)));
        for key in &acknowledged {
            assert!(survived.contains_key(key.as_bytes()), "{key} was acknowledged and is lost");
        }
        sandbox.ok("verify");
        sandbox.ok("import tree");
        sandbox.ok("extract whole");
        assert_eq!(files(&sandbox.path("whole")), expected);
    }
}

/// The keys in the log, without a last line that is not whole.
fn acknowledged(sandbox: &Sandbox) -> Vec<String> {
    let log = fs::read_to_string(sandbox.path("acks")).unwrap_or_default();
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    whole.lines().map(str::to_owned).collect()
}
