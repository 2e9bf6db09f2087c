//! Footers from hostile bytes, as they are and with checksums that hold.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use nadb_core::{NamespaceId, Ordinal, Rank, SegmentUid, Seq};
use nadb_log::{FOOTER_TRAILER, Footer, FooterBuilder, Part, RecordKind, RowCursor, RowMeta, SystemRow};

use super::{crc32, mix};

const UID: SegmentUid = SegmentUid([0x5A; 16]);
/// Where the footers stand: behind all records that their rows may claim.
const AT: u32 = 1 << 20;
const BLOCK: usize = 4096;
/// Steps of a cursor: more than the rows that so few bytes have room for.
const STEPS_MAX: u32 = 1 << 20;

/// Opens a footer and asks it everything. It may refuse anything; it may not panic, loop, or disagree with itself.
///
/// # Panics
/// When a promise of the code is broken.
pub fn footer_decode(data: &[u8]) {
    explore(data);
    let mut bytes = data.to_vec();
    if resum(&mut bytes).is_some() {
        explore(&bytes);
    }
}

fn explore(bytes: &[u8]) {
    let Ok(footer) = Footer::open(Bytes::copy_from_slice(bytes), UID, AT, Path::new("footer")) else {
        return;
    };
    let footer = Arc::new(footer);
    let is_whole = footer.check_all().is_ok();
    let mut offsets = Vec::new();
    for ordinal in (0..footer.len()).map(Ordinal) {
        let meta = footer.meta(ordinal);
        if let (Ok(meta), Ok(seq)) = (&meta, footer.seq(ordinal)) {
            assert_eq!(meta.seq, seq);
            assert!(meta.offset + meta.len <= AT, "a record reaches behind the footer");
            offsets.push((ordinal, meta.offset));
        }
        assert!(meta.is_ok() || !is_whole);
    }
    for (ordinal, offset) in offsets {
        let found = footer.ordinal_of(offset);
        assert!(!is_whole || found.is_ok_and(|found| found == Some(ordinal)));
    }
    walk(&footer, is_whole);
    let part = Part::Footer(Arc::clone(&footer));
    tags(&footer, &part, is_whole);
    expiries(&part, is_whole);
    let _ = (footer.system(), footer.blob_ids(), footer.namespaces(), footer.memory_bytes());
}

/// Up and down again; of a footer that calls itself whole the keys rise and are found.
fn walk(footer: &Arc<Footer>, is_whole: bool) {
    let Ok(mut cursor) = footer.cursor(Rank(0)) else { return };
    let mut keys: Vec<(NamespaceId, Vec<u8>)> = Vec::new();
    while let Some((namespace, key)) = cursor.key() {
        keys.push((namespace, key.to_vec()));
        assert!(cursor.ordinal().0 < footer.len());
        assert!(keys.len() <= STEPS_MAX as usize, "a cursor without end");
        if cursor.next().is_err() {
            break;
        }
    }
    if is_whole {
        assert_eq!(keys.len(), footer.len() as usize);
        assert!(keys.is_sorted());
    }
    for (namespace, key) in keys.iter().rev() {
        let rank = footer.seek(*namespace, key);
        assert!(!is_whole || rank.is_ok_and(|rank| rank.0 < footer.len()));
        if cursor.previous().is_err() {
            return;
        }
        assert!(!is_whole || cursor.key() == Some((*namespace, &key[..])));
    }
}

/// Every tag that is listed has as many rows as the list says, all of them of its namespace, and narrows any rows to those.
fn tags(footer: &Footer, part: &Part, is_whole: bool) {
    for namespace in footer.namespaces() {
        let mut listed: Vec<(String, u32)> = Vec::new();
        let all = part.tags(namespace.namespace, "", &mut |tag, rows| listed.push((tag.to_owned(), rows)));
        assert!(!is_whole || (all.is_ok() && listed.is_sorted() && (listed.is_empty() || part.has_tags())));
        for (tag, rows) in &listed {
            let found = part.postings(namespace.namespace, tag);
            assert!(!is_whole || found.as_ref().is_ok_and(Option::is_some));
            let Ok(Some(found)) = found else { continue };
            let ranks = found.to_bitmap();
            let mut narrowed = (namespace.first.0..part.len()).step_by(2).collect();
            let intersected = found.intersect(&mut narrowed);
            let Ok(ranks) = ranks else {
                assert!(!is_whole);
                continue;
            };
            let end = namespace.first.0 + namespace.rows;
            assert!(ranks.iter().all(|rank| (namespace.first.0..end).contains(&rank)));
            assert_eq!((ranks.len(), u64::from(found.len())), (u64::from(found.len()), ranks.len()));
            assert!(!is_whole || found.len() == *rows);
            assert!(intersected.is_err() || narrowed.is_subset(&ranks));
            let mut shown = 0;
            let with_it = part.tags(namespace.namespace, tag, &mut |_, _| shown += 1);
            assert!(!is_whole || (with_it.is_ok() && shown > 0));
        }
    }
    let _ = (part.postings(NamespaceId(u32::MAX), "none"), part.postings(NamespaceId(1), ""));
}

/// In order, between the times asked for, each of a row that has this expiry.
fn expiries(part: &Part, is_whole: bool) {
    let mut all: Vec<(Ordinal, u64)> = Vec::new();
    let result = part.expiring(0, u64::MAX, &mut |ordinal, time| {
        all.push((ordinal, time));
        all.len() < STEPS_MAX as usize
    });
    assert!(all.iter().all(|(ordinal, _)| ordinal.0 < part.len()));
    if is_whole {
        assert!(result.is_ok() && all.is_sorted_by_key(|(_, time)| *time));
        for (ordinal, time) in &all {
            let place = part.place(*ordinal);
            assert!(place.is_ok_and(|place| place.expires_ms == Some(*time)));
        }
    }
    for (_, time) in all.iter().step_by(all.len() / 8 + 1) {
        let next = part.next_expiry(*time);
        let mut first = None;
        let shown = part.expiring(*time, u64::MAX, &mut |_, time| {
            first = Some(time);
            false
        });
        assert!(!is_whole || (shown.is_ok() && next.is_ok_and(|next| next == first)));
    }
}

/// Gives a footer checksums that hold, as docs/format.md has them.
fn resum(bytes: &mut [u8]) -> Option<()> {
    let trailer = bytes.len().checked_sub(FOOTER_TRAILER as usize)?;
    let field = |bytes: &[u8], from: usize| {
        let bytes = bytes.get(trailer + from..trailer + from + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let (body, table) = (field(bytes, 4)?, field(bytes, 8)?);
    if body <= table && table <= trailer {
        let blocks = bytes.get(..body)?.chunks(BLOCK).zip((AT..).step_by(BLOCK));
        let sums: Vec<u8> =
            blocks.flat_map(|(block, at)| (crc32(&[block]) ^ mix(UID, at, Seq(0))).to_le_bytes()).collect();
        let len = sums.len().min(trailer - table);
        bytes.get_mut(table..table + len)?.copy_from_slice(sums.get(..len)?);
    }
    let at = AT.checked_add(u32::try_from(trailer).ok()?)?;
    let sum = crc32(&[bytes.get(body..trailer + 16)?]) ^ mix(UID, at, Seq(0));
    bytes.get_mut(trailer + 16..trailer + 20)?.copy_from_slice(&sum.to_le_bytes());
    Some(())
}

/// Footers to begin with.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", encode(0, false)),
        ("one-row", encode(1, false)),
        ("a-group-and-one", encode(17, true)),
        ("a-block-and-one", encode(257, true)),
        ("mixed", encode(40, true)),
        ("plain", encode(40, false)),
    ]
}

/// A footer of `rows` rows with keys in a mixed order; `is_full` adds expiries, blobs, tombstones, a second namespace.
fn encode(rows: u32, is_full: bool) -> Vec<u8> {
    let meta = |n: u32| RowMeta {
        kind: match n % 5 {
            3 if is_full => RecordKind::Tombstone,
            4 if is_full => RecordKind::BlobReference,
            _ => RecordKind::Value,
        },
        seq: Seq(u64::from(n) + 2),
        offset: 100 + n * 90,
        len: 60 + n % 9,
        expires_ms: (is_full && n.is_multiple_of(3)).then(|| 1_700_000_060_000 + u64::from(n)),
        size: if is_full && n % 5 == 3 { 0 } else { u64::from(n % 50) },
        created_ms: 1_700_000_000_000,
        updated_ms: 1_700_000_000_000 + u64::from(n % 4),
        blob: (is_full && n % 5 == 4).then_some(nadb_core::BlobId([7; 16])),
    };
    let metas: Vec<RowMeta> = (0..rows).map(meta).collect();
    let key = |n: u32| format!("key:{:03}", n.wrapping_mul(37) % 101).into_bytes();
    let namespace = |n: u32| NamespaceId(if is_full { 1 + n % 2 } else { 1 });
    let mut order: Vec<u32> = (0..rows).collect();
    order.sort_by_key(|n| (namespace(*n), key(*n), *n));
    let mut builder = FooterBuilder::new();
    for n in order {
        let tags = [format!("parity:{}", n % 2), format!("some:{:02}", n / 40), format!("one:{n:03}")];
        let tags = tags.iter().take(if is_full { n as usize % 4 } else { 0 }).map(String::as_str);
        builder.push_key(namespace(n), &key(n), Ordinal(n), tags).expect("they are in order");
    }
    let system = SystemRow {
        kind: RecordKind::NamespaceCreate,
        namespace: NamespaceId(1),
        seq: Seq(1),
        offset: 70,
        len: 30,
        updated_ms: 1_700_000_000_000,
        content: b"users".to_vec(),
    };
    builder.finish(UID, AT, &metas, &[system]).expect("rows that can be")
}
