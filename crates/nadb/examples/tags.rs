//! Tags: records found by what they are, not by their keys.
//!
//! `cargo run --example tags`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::time::Duration;

use nadb::{Filter, Namespace, QueryKeys, SortField, Store};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let store = Store::memory()?; // Store::open("./data")? keeps it on disk
    let photos = store.namespace("photos")?;
    fill(&photos)?;

    println!("all tags, and how many photos have each:");
    for found in photos.tags()? {
        println!("  {:12} {}", found.tag, found.count);
    }
    println!("the places:");
    for found in photos.tags_with_prefix("place:")? {
        println!("  {:12} {}", found.tag, found.count);
    }

    let summer_outside = photos.query().all_of(["summer"]).any_of(["place:sea", "place:hills"]);
    show("in summer, at the sea or in the hills", summer_outside.keys()?)?;
    show("the same without people", summer_outside.none_of(["people"]).keys()?)?;

    // The same as a text, such as a search field gives.
    let typed = "tag:summer AND (tag:place:sea OR tag:place:hills) AND NOT tag:people";
    show(typed, photos.query().matching(typed)?.keys()?)?;
    if let Err(error) = photos.query().matching("tag:summer tag:people") {
        println!("what is wrong is shown at its place:\n{error}");
    }

    // Filters can be built once, combined and asked many times.
    let large = Filter::parse("size>=2k")?;
    let winter_or_large = Filter::tag("winter").or(large);
    let query = photos.query().filter(winter_or_large).order_by(SortField::Size).descending();
    println!("{} are of winter or large", query.count()?);
    show("the largest of them first", query.keys()?)?;

    // Tags go with the record: written without them, it has none.
    photos.set("2026/beach.jpg", vec![0; 900])?;
    println!("of the sea there are {} now", photos.query().tag("place:sea").count()?);
    store.close()?;
    Ok(())
}

fn fill(photos: &Namespace) -> Result<()> {
    let photo = |key: &str, size: usize, tags: &[&str]| -> Result<()> {
        photos.put(key, vec![0; size]).tags(tags.iter().copied()).commit()?;
        Ok(())
    };
    photo("2025/skis.jpg", 2_500, &["winter", "people", "place:hills"])?;
    photo("2026/beach.jpg", 900, &["summer", "place:sea"])?;
    photo("2026/boats.jpg", 3_000, &["summer", "place:sea", "people"])?;
    photo("2026/trail.jpg", 1_500, &["summer", "place:hills"])?;
    // Tags and a lifetime are part of the same atomic record.
    let week = Duration::from_secs(7 * 24 * 3600);
    photos.put("2026/draft.jpg", vec![0; 10]).tags(["draft"]).ttl(week).commit()?;
    Ok(())
}

fn show(what: &str, keys: QueryKeys) -> Result<()> {
    println!("{what}:");
    for key in keys {
        println!("  {}", String::from_utf8_lossy(&key?));
    }
    Ok(())
}
