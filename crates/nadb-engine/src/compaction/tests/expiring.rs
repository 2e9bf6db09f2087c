//! Records that expire together are compacted into segments of their own.

use super::*;

const HOUR_MS: u64 = 3_600_000;
/// Records of each kind: more than a quarter of an output.
const RECORDS: usize = 500;
/// The kinds: when they expire.
const EXPIRIES: [Option<u64>; 3] = [Some(NOW_MS + HOUR_MS), Some(NOW_MS + 24 * HOUR_MS), None];

fn key(number: usize) -> String {
    format!("{number:05}")
}

/// Bytes that do not compress.
fn value(number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..ABOVE - 200).map(step).collect()
}

/// Two segments, with records of all kinds side by side, tombstones of keys that are elsewhere, and the namespace's making.
fn mixed() -> Store {
    let store = Store::new();
    for number in 0..EXPIRIES.len() * RECORDS {
        let mut put = Put::new(value(number));
        if let Some(at_ms) = EXPIRIES[number % EXPIRIES.len()] {
            put.expiry = ExpiryUpdate::AtMs(at_ms);
        }
        store.act(&key(number), Action::Put(put));
        if number % 700 == 699 {
            store.seal();
        }
    }
    store.seal();
    store
}

/// The expiries of the rows of each sealed segment, and whether its keys rise.
fn divided(store: &Store) -> Vec<Vec<Option<u64>>> {
    let mut segments = Vec::new();
    for slot in store.sealed() {
        let rows = slot.rows();
        let (mut expiries, mut last) = (Vec::new(), Vec::new());
        for mut cursor in rows.cursors(NamespaceId(0), b"", Direction::Forward).unwrap() {
            while let Some((_, key)) = cursor.key() {
                assert!(*last < *key, "keys of a compacted segment rise");
                last = key.to_vec();
                expiries.push(rows.meta(cursor.ordinal()).unwrap().expires_ms);
                cursor.next().unwrap();
            }
        }
        expiries.sort_unstable();
        expiries.dedup();
        segments.push(expiries);
    }
    segments
}

#[test]
fn what_expires_together_stands_together_and_dies_whole() {
    let store = mixed();
    assert!(divided(&store).iter().all(|expiries| expiries.len() == 3));
    let before = store.content();
    store.compact_all();
    assert!(divided(&store).iter().all(|expiries| expiries.len() == 1), "{:?}", divided(&store));
    assert_eq!(store.content(), before);
    store.engine.verify().unwrap();

    let store = store.reopened();
    assert_eq!(store.content(), before);
    let written = store.engine.stats().unwrap().compaction_written_bytes;
    for (hours, left) in [(1, 2 * RECORDS), (24, RECORDS)] {
        store.place.clock.set_ms(NOW_MS + hours * HOUR_MS);
        store.engine.maintain().unwrap();
        assert_eq!(store.content().len(), left);
        let gone = store
            .sealed()
            .iter()
            .filter(|slot| slot.live.live_count() == 0 && !slot.rows().is_empty())
            .count();
        assert!(gone > 0);
        store.engine.compact_due().unwrap();
        assert_eq!(
            divided(&store)
                .iter()
                .filter(|expiries| expiries[..] == [Some(NOW_MS + hours * HOUR_MS)])
                .count(),
            0
        );
    }
    // They went without a byte of theirs being copied.
    assert_eq!(store.engine.stats().unwrap().compaction_written_bytes, written);
    store.engine.verify().unwrap();
}

/// At the third look, every seventh record is overwritten, deleted or given another expiry.
struct Meddler<'a> {
    store: &'a Store,
    looks: u32,
}

impl Control for Meddler<'_> {
    fn spent(&mut self, _: u64) -> Result<()> {
        self.looks += 1;
        if self.looks == 3 {
            for number in (0..EXPIRIES.len() * RECORDS).step_by(7) {
                match number % 4 {
                    0 => self.store.delete(&key(number)),
                    1 => {
                        self.store.act(&key(number), Action::Expire(ExpiryUpdate::AtMs(NOW_MS + 2 * HOUR_MS)))
                    }
                    _ => self.store.set(&key(number), "new"),
                }
            }
        }
        Ok(())
    }
}

#[test]
fn what_dies_while_it_is_divided_is_dead_in_the_right_place() {
    let store = mixed();
    let inputs = store.sealed();
    let mut meddler = Meddler { store: &store, looks: 0 };
    {
        let _running = store.shared().compactor.wait();
        store.shared().compact_slots(&inputs, 0, &mut meddler).unwrap();
    }
    assert!(meddler.looks > 3);
    assert!(divided(&store).iter().filter(|expiries| !expiries.is_empty()).count() >= 3);
    store.engine.verify().unwrap();
    for number in 0..EXPIRIES.len() * RECORDS {
        let value = store.get(&key(number));
        match (number % 7, number % 4) {
            (0, 0) => assert_eq!(value, None),
            (0, 2 | 3) => assert_eq!(value.unwrap(), b"new"),
            _ => assert_eq!(value.unwrap().len(), ABOVE - 200),
        }
    }
    let before = store.content();
    assert_eq!(store.reopened().content(), before);
}

#[test]
fn too_little_is_not_divided() {
    let store = Store::new();
    store.set_expiring("a", HOUR_MS);
    store.set_expiring("b", 24 * HOUR_MS);
    store.set("c", "stays");
    store.compact_all();
    assert_eq!(store.sealed().len(), 1);
}
