//! Lifetimes: sessions that end, one that is prolonged, one that stays.
//!
//! `cargo run --example ttl`
#![allow(clippy::print_stdout, reason = "an example that prints")]

use std::thread::sleep;
use std::time::Duration;

use nadb::{Namespace, Store, Ttl};

const BRIEF: Duration = Duration::from_millis(200);

fn main() -> nadb::Result<()> {
    let store = Store::memory()?;
    let sessions = store.namespace("sessions")?;
    for name in ["alice", "bob", "carol"] {
        sessions.put(name, "token").tags(["web"]).ttl(BRIEF).commit()?;
    }
    show(&sessions, "three sessions, with a short life each")?;

    assert!(sessions.expire("bob", Duration::from_secs(3600))?);
    assert!(sessions.persist("carol")?);
    assert!(!sessions.expire("mallory", BRIEF)?, "who is not there gets no session");
    show(&sessions, "bob's was prolonged, carol's stays")?;

    sleep(BRIEF + Duration::from_millis(20));
    show(&sessions, "some time later")?;
    assert!(sessions.get("alice")?.is_none());
    assert!(sessions.metadata("bob")?.is_some_and(|metadata| metadata.tags.contains("web")));

    // In the background that happens by itself.
    let purged = store.purge_expired()?;
    println!("let go of {} records; {} keys are left", purged.records, store.stats()?.keys);
    assert_eq!(store.stats()?.keys, 2);
    store.close()
}

fn show(sessions: &Namespace, title: &str) -> nadb::Result<()> {
    println!("{title}:");
    for name in ["alice", "bob", "carol"] {
        let left = match sessions.ttl(name)? {
            Ttl::Absent => "absent".to_owned(),
            Ttl::Never => "stays".to_owned(),
            Ttl::Left(left) => format!("{left:?} left"),
        };
        println!("  {name}: {left}");
    }
    Ok(())
}
