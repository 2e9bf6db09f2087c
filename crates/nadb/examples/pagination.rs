//! Pages: by the last key, by cursor in any order, and by number with a total.
//!
//! `cargo run --example pagination`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;

use nadb::{Cursor, Entry, Namespace, SortField, Store};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PAGE: u64 = 4;

fn main() -> Result<()> {
    let store = Store::memory()?; // Store::open("./data")? keeps it on disk
    let notes = store.namespace("notes")?;
    for n in 0..10_usize {
        notes.put(format!("note:{n:02}"), "x".repeat(n * 7 % 10)).tags(["note"]).commit()?;
    }
    by_key(&notes)?;
    by_cursor(&notes)?;
    by_number(&notes)?;
    store.close()?;
    Ok(())
}

/// The cheapest: the last key is all that is kept between two pages.
fn by_key(notes: &Namespace) -> Result<()> {
    println!("in the order of keys:");
    let query = notes.query().tag("note").limit(PAGE);
    let mut last: Option<Vec<u8>> = None;
    loop {
        let page = match &last {
            Some(key) => query.clone().after_key(key),
            None => query.clone(),
        };
        let keys = page.keys()?.collect::<nadb::Result<Vec<_>>>()?;
        println!("  {}", words(keys.iter().map(Vec::as_slice)));
        match keys.last() {
            Some(key) if keys.len() as u64 == PAGE => last = Some(key.clone()),
            _ => return Ok(()),
        }
    }
}

/// In any order, while others write: a cursor is a text that goes to the client and comes back with the next request.
fn by_cursor(notes: &Namespace) -> Result<()> {
    println!("by size, the largest first, while the list changes:");
    let mut sent: Option<String> = None;
    loop {
        let mut query = notes.query().tag("note").order_by(SortField::Size).descending().limit(PAGE);
        if let Some(text) = &sent {
            query = query.after(text.parse::<Cursor>()?);
        }
        let mut entries = query.entries()?;
        let page = entries.by_ref().collect::<nadb::Result<Vec<Entry>>>()?;
        println!("  {}", sizes(&page));
        match entries.cursor() {
            Some(cursor) if page.len() as u64 == PAGE => sent = Some(cursor.to_string()),
            _ => break,
        }
        // The last record of the page goes, and a larger one comes: no page slips.
        if let Some(entry) = page.last() {
            notes.delete(&entry.key)?;
        }
        notes.put("note:new", "x".repeat(20)).tags(["note"]).commit()?;
    }
    let kept = sent.ok_or("there were two pages")?;
    let other = notes.query().tag("note").order_by(SortField::Updated).after(kept.parse()?);
    if let Err(error) = other.keys() {
        println!("another query refuses it: {error}");
    }
    Ok(())
}

/// With numbers and a total, all of one moment: for lists in which people leaf.
fn by_number(notes: &Namespace) -> Result<()> {
    let query = notes.query().tag("note").order_by(SortField::Size);
    for number in 1.. {
        let page = query.page(number, PAGE)?;
        println!("page {number} of {} ({} notes): {}", page.pages, page.total, sizes(&page.entries));
        if page.next.is_none() {
            break;
        }
    }
    Ok(())
}

fn sizes(entries: &[Entry]) -> String {
    let shown = |entry: &Entry| format!("{} ({})", String::from_utf8_lossy(&entry.key), entry.metadata.size);
    entries.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn words<'a>(keys: impl Iterator<Item = &'a [u8]>) -> String {
    keys.map(|key| String::from_utf8_lossy(key).into_owned()).collect::<Vec<_>>().join(", ")
}
