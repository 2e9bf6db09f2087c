//! The quick start: this repository's own files go into a store on disk and come back.
//!
//! `cargo run --release --example quickstart [DIR]`: the store is in DIR, by default in a new temporary directory that is
//! removed at the end.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "an example that reads files and prints")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nadb::{Namespace, Store};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn main() -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = given
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("nadb-quickstart-{}", std::process::id())));
    let mut files = BTreeMap::new();
    collect(&repository, &repository, &mut files)?;
    let bytes: usize = files.values().map(Vec::len).sum();
    println!("read {} files ({}) of {}", files.len(), mib(bytes as f64), repository.display());

    let store = Store::open(&dir)?;
    let repo = store.namespace("repository")?;
    println!("opened a store in {}", dir.display());

    let before = store.snapshot()?.namespace("repository")?;
    timed("wrote every file as a record with tags and a lifetime of a week", files.len(), bytes, || {
        import(&store, &repo, &files)
    })?;
    println!(
        "a snapshot from before has {} records, the store {}",
        before.iter()?.count(),
        repo.iter()?.count()
    );
    drop(before);
    timed("read every record and compared it byte for byte", files.len(), bytes, || compare(&repo, &files))?;

    let manifest = repo.get_entry("Cargo.toml")?.ok_or("Cargo.toml is gone")?.metadata;
    let tags: Vec<&str> = manifest.tags.iter().collect();
    println!(
        "Cargo.toml: version {}, {} bytes ({} stored), tags {tags:?}, expires {} h after it was written",
        manifest.version,
        manifest.size,
        manifest.stored_size,
        (manifest.expires_ms.unwrap_or(0) - manifest.updated_ms) / 3_600_000
    );
    println!("the first keys that begin with crates/nadb/:");
    for key in repo.prefix("crates/nadb/")?.keys().take(5) {
        println!("  {}", String::from_utf8_lossy(&key?));
    }

    store.close()?;
    let started = Instant::now();
    let store = Store::open(&dir)?;
    println!("closed the store and opened it again in {:.1?}", started.elapsed());
    let repo = store.namespace("repository")?;
    timed("read and compared everything once more", files.len(), bytes, || compare(&repo, &files))?;
    let checked = store.verify()?;
    println!("verified {} segments with {} records: nothing wrong", checked.segments, checked.records);
    store.close()?;

    if given.is_none() {
        fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

/// Writes all files in atomic batches of about 4 MiB.
fn import(store: &Store, repo: &Namespace, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let (mut batch, mut bytes) = (store.batch(), 0);
    for (name, value) in files {
        let (directory, file) = name.rsplit_once('/').unwrap_or((".", name));
        let extension = file.rsplit_once('.').map_or("none", |(_, extension)| extension);
        let tags = [format!("ext:{extension}"), format!("dir:{directory}")];
        batch.put(repo.name(), name, value).tags(tags).ttl(WEEK).attr("source", "quickstart");
        bytes += value.len();
        if bytes > 4 << 20 {
            std::mem::replace(&mut batch, store.batch()).commit()?;
            bytes = 0;
        }
    }
    batch.commit()?;
    Ok(store.flush()?)
}

fn compare(repo: &Namespace, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    for (name, expected) in files {
        let value = repo.get(name)?.ok_or_else(|| format!("{name} is gone"))?;
        if value != *expected {
            return Err(format!("{name} came back with other bytes").into());
        }
    }
    Ok(())
}

/// Every file below `dir`, except build output, version control and what no record can hold.
fn collect(dir: &Path, root: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && !["target", ".git", "nadb-data"].map(Some).contains(&entry.file_name().to_str()) {
            collect(&path, root, files)?;
        } else if kind.is_file() && entry.metadata()?.len() <= nadb::limits::VALUE_BYTES_MAX as u64 {
            let name = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            files.insert(name, fs::read(&path)?);
        }
    }
    Ok(())
}

fn timed(what: &str, count: usize, bytes: usize, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    work()?;
    let elapsed = started.elapsed();
    let per_second = |number: f64| number / elapsed.as_secs_f64().max(1e-9);
    println!(
        "{what}: {elapsed:.1?}, {:.0} records/s, {}/s",
        per_second(count as f64),
        mib(per_second(bytes as f64))
    );
    Ok(())
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
