//! The memtable against a plain list, alone and with several threads.

use std::sync::atomic::{AtomicBool, Ordering as AtomicOrdering};

use nadb_core::{BlobId, Rank};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::record::RecordKind;
use crate::row::RowCursor;
use crate::tag_list::{TagList, list_of};

/// So small that a few hundred rows freeze tails, merge runs and meet every limit.
const SMALL: Sizes = Sizes { tail_rows: 8, tail_key_bytes: 60, run_rows: 64, run_key_bytes: 400 };

/// Bytes from one record's beginning to the next one's.
const STEP: u32 = 50;

/// The row number `n`; the rest of it follows from the number, and now and then it has what few rows have.
pub(super) fn row(n: u32, namespace: u32, key: &[u8]) -> Row<'_> {
    let number = u64::from(n);
    let kind = match n % 5 {
        3 => RecordKind::Tombstone,
        4 => RecordKind::BlobReference,
        _ => RecordKind::Value,
    };
    let meta = RowMeta {
        kind,
        seq: Seq(1000 + 3 * number),
        offset: 64 + STEP * n,
        len: 30 + n % 7,
        expires_ms: n.is_multiple_of(3).then_some(number),
        size: if n % 10 == 9 { u64::from(u32::MAX) + number } else { number },
        created_ms: number / 2,
        updated_ms: number,
        blob: (kind == RecordKind::BlobReference).then(|| BlobId(u128::from(n).to_le_bytes())),
    };
    Row { namespace: NamespaceId(namespace), key, meta, tags: TagList::default() }
}

/// Namespace and key of each row, by ordinal.
type Model = Vec<(u32, Vec<u8>)>;

fn model_meta(ordinal: u32) -> RowMeta {
    row(ordinal, 0, b"").meta
}

/// The model's ordinals of a range, in key order.
fn in_order(model: &Model, ordinals: Range<u32>) -> Vec<u32> {
    let mut ordinals: Vec<u32> = ordinals.collect();
    ordinals.sort_by_key(|ordinal| (&model[*ordinal as usize], *ordinal));
    ordinals
}

fn under(cursor: &RunCursor) -> Option<(u32, Vec<u8>, u32)> {
    cursor.key().map(|(namespace, key)| (namespace.0, key.to_vec(), cursor.ordinal().0))
}

/// Every row of a run by ordinal, and in key order from both ends.
fn check_run(run: &Arc<Run>, model: &Model) {
    let (first, end) = (run.first().0, run.first().0 + run.len());
    for ordinal in first..end {
        assert_eq!(run.meta(Ordinal(ordinal)), Some(model_meta(ordinal)));
        assert_eq!(run.seq(Ordinal(ordinal)), Some(model_meta(ordinal).seq));
        let (namespace, key) = &model[ordinal as usize];
        assert_eq!(run.key(Ordinal(ordinal)), Some((NamespaceId(*namespace), &key[..])));
    }
    for outside in [first.wrapping_sub(1), end] {
        assert_eq!((run.meta(Ordinal(outside)), run.seq(Ordinal(outside))), (None, None));
    }
    let mut expected: Vec<_> = in_order(model, first..end)
        .into_iter()
        .map(|ordinal| {
            let (namespace, key) = &model[ordinal as usize];
            Some((*namespace, key.clone(), ordinal))
        })
        .collect();
    expected.extend([None, None]);
    let mut cursor = run.cursor(Rank(0));
    for row in &expected {
        assert_eq!(&under(&cursor), row);
        let place = cursor.known_place().map(|place| (place.offset, place.len, place.expires_ms));
        let meta = row.as_ref().and_then(|row| run.meta(Ordinal(row.2)));
        assert_eq!(place, meta.map(|meta| (meta.offset, meta.len, meta.expires_ms)));
        cursor.next().unwrap();
    }
    for row in expected.iter().rev().skip(2).chain([&None, &None]) {
        cursor.previous().unwrap();
        assert_eq!(&under(&cursor), row);
    }
    cursor.next().unwrap();
    assert_eq!(under(&cursor), expected[0]);
}

/// All runs, whose ordinals follow one another without gaps.
fn check_runs(runs: &[Arc<Run>], model: &Model, len: u32) {
    let mut end = 0;
    for run in runs {
        assert_eq!(run.first(), Ordinal(end));
        assert!(run.len() > 0);
        check_run(run, model);
        end += run.len();
    }
    assert_eq!(end, len);
}

/// Neighbours that are not merged: the older is more than twice as large, or they do not fit into one run.
fn check_few(runs: &[Arc<Run>], sizes: Sizes) {
    for pair in runs.windows(2) {
        let [older, newer] = pair else { unreachable!() };
        let key_bytes = older.rows().key_bytes() + newer.rows().key_bytes();
        assert!(
            older.len() > 2 * newer.len()
                || older.len() + newer.len() > sizes.run_rows
                || key_bytes > sizes.run_key_bytes,
        );
    }
}

fn check_points(table: &Memtable, model: &Model) {
    let len = u32::try_from(model.len()).unwrap();
    assert_eq!((table.len(), table.is_empty()), (len, len == 0));
    for ordinal in 0..len {
        let (namespace, key) = &model[ordinal as usize];
        let meta = model_meta(ordinal);
        assert_eq!(table.meta(Ordinal(ordinal)), Some(meta));
        assert_eq!(table.seq(Ordinal(ordinal)), Some(meta.seq));
        let found = table.with_key(Ordinal(ordinal), |namespace, key| (namespace.0, key.to_vec()));
        assert_eq!(found.as_ref(), Some(&(*namespace, key.clone())));
        assert_eq!(table.ordinal_of(meta.offset), Some(Ordinal(ordinal)));
        for between in [meta.offset - 1, meta.offset + 1, meta.offset + STEP - 1] {
            assert_eq!(table.ordinal_of(between), None);
        }
    }
    for offset in [0, 64 + STEP * len, u32::MAX] {
        assert_eq!(table.ordinal_of(offset), None);
    }
    for ordinal in [len, u32::MAX] {
        assert_eq!((table.meta(Ordinal(ordinal)), table.seq(Ordinal(ordinal))), (None, None));
        assert_eq!(table.with_key(Ordinal(ordinal), |_, _| ()), None);
    }
}

fn check_sealing(table: &Memtable, model: &Model) {
    let len = u32::try_from(model.len()).unwrap();
    assert_eq!(table.metas(), (0..len).map(model_meta).collect::<Vec<_>>());
    let mut rows = table.in_key_order();
    for ordinal in in_order(model, 0..len) {
        let (namespace, key) = &model[ordinal as usize];
        assert_eq!(rows.next(), Some((NamespaceId(*namespace), &key[..], Ordinal(ordinal))));
    }
    assert_eq!(rows.next(), None);
    assert_eq!(rows.next(), None);
}

#[derive(Debug, Clone)]
enum Op {
    Push(Vec<(u32, Vec<u8>)>),
    /// Takes the runs and keeps them.
    Hold,
    /// Seeks in all runs or in one, then moves: `true` forward.
    Seek {
        run: Option<usize>,
        to: (u32, Vec<u8>),
        moves: Vec<bool>,
    },
    Points,
    Seal,
}

fn key() -> impl Strategy<Value = (u32, Vec<u8>)> {
    let key = (0..12_usize, vec(prop_oneof![Just(0), Just(b'a'), Just(b'b')], 0..4))
        .prop_map(|(shared, end)| [&b"shared/users/"[..shared], &end].concat());
    (1..4_u32, key)
}

fn op() -> impl Strategy<Value = Op> {
    let moves = vec(any::<bool>(), 0..30);
    prop_oneof![
        4 => vec(key(), 1..3).prop_map(Op::Push),
        2 => vec(key(), 1..60).prop_map(Op::Push),
        2 => Just(Op::Hold),
        4 => (proptest::option::of(any::<usize>()), key(), moves)
            .prop_map(|(run, to, moves)| Op::Seek { run, to, moves }),
        1 => Just(Op::Points),
        1 => Just(Op::Seal),
    ]
}

/// Seeks, walks and compares with where the model stands.
fn check_walk(run: &Arc<Run>, model: &Model, to: &(u32, Vec<u8>), moves: &[bool]) {
    let order = in_order(model, run.first().0..run.first().0 + run.len());
    let rank = order.partition_point(|ordinal| &model[*ordinal as usize] < to);
    assert_eq!(run.seek(NamespaceId(to.0), &to.1), Rank(u32::try_from(rank).unwrap()));
    let mut cursor = run.cursor(Rank(u32::try_from(rank).unwrap()));
    let (mut at, len) = (rank, order.len());
    let mut is_before = false;
    for forward in moves {
        if *forward {
            cursor.next().unwrap();
            at = if is_before { 0 } else { len.min(at + 1) };
            is_before = false;
        } else {
            cursor.previous().unwrap();
            is_before = is_before || at == 0;
            at = at.saturating_sub(1);
        }
        let expected = if is_before { None } else { order.get(at) };
        assert_eq!(under(&cursor).map(|(_, _, ordinal)| ordinal), expected.copied());
    }
}

fn run_ops(ops: Vec<Op>) {
    let table = Memtable::with_sizes(SMALL);
    let mut model = Model::new();
    let mut held: Vec<(Vec<Arc<Run>>, u32)> = Vec::new();
    for op in ops {
        match op {
            Op::Push(keys) => {
                for (namespace, key) in keys {
                    let n = u32::try_from(model.len()).unwrap();
                    assert_eq!(table.push(&row(n, namespace, &key)), Ordinal(n));
                    model.push((namespace, key));
                }
            }
            Op::Hold => {
                let runs = table.runs();
                check_few(&runs, SMALL);
                held.push((runs, table.len()));
            }
            Op::Seek { run, to, moves } => {
                let runs = table.runs();
                let chosen = run.filter(|_| !runs.is_empty()).map(|run| run % runs.len());
                for (at, run) in runs.iter().enumerate() {
                    if chosen.is_none_or(|chosen| chosen == at) {
                        check_walk(run, &model, &to, &moves);
                    }
                }
            }
            Op::Points => check_points(&table, &model),
            Op::Seal => check_sealing(&table, &model),
        }
    }
    check_points(&table, &model);
    held.push((table.runs(), table.len()));
    for (runs, len) in &held {
        check_runs(runs, &model, *len);
    }
    check_sealing(&table, &model);
}

proptest! {
    #[test]
    fn does_as_a_list_does(ops in vec(op(), 0..60)) {
        run_ops(ops);
    }
}

/// Keys that come in no order, each of them several times.
fn scattered(n: u32) -> (u32, Vec<u8>) {
    let scattered = n.wrapping_mul(2_654_435_761) % 10_007;
    (1 + scattered % 2, format!("user:{:06}/profile", scattered % 7001).into_bytes())
}

fn filled(sizes: Sizes, len: u32) -> (Memtable, Model) {
    let table = Memtable::with_sizes(sizes);
    let model: Model = (0..len).map(scattered).collect();
    for (n, (namespace, key)) in (0..).zip(&model) {
        table.push(&row(n, *namespace, key));
    }
    (table, model)
}

#[test]
fn real_sizes_freeze_merge_and_stay_few() {
    let (table, model) = filled(SIZES, 150_000);
    assert_eq!(table.frozen.read().len(), 150_000 / 4096);
    let runs = table.runs();
    check_few(&runs, SIZES);
    assert!(runs.len() <= 6 && runs.iter().all(|run| run.len() <= SIZES.run_rows), "{runs:?}");
    assert_eq!(table.frozen.read().len(), runs.len());
    check_sealing(&table, &model);
}

#[test]
fn long_keys_freeze_a_tail_and_bound_a_run() {
    let table = Memtable::new();
    let key = vec![b'k'; 65_535];
    let model: Model = (0..400).map(|_| (1, key.clone())).collect();
    for n in 0..400 {
        table.push(&row(n, 1, &key));
    }
    let tail_rows = SIZES.tail_key_bytes / 65_535 + 1;
    assert_eq!(table.frozen.read().len(), 400 / tail_rows);
    let runs = table.runs();
    assert!(runs.iter().all(|run| run.rows().key_bytes() <= SIZES.run_key_bytes));
    check_few(&runs, SIZES);
    assert_eq!(table.with_key(Ordinal(399), |_, found| found == key), Some(true));
    check_sealing(&table, &model);
}

#[test]
fn a_computed_order_outlives_merging_and_an_unknown_one_is_left_alone() {
    let sizes = Sizes { tail_key_bytes: 1000, run_key_bytes: 10_000, ..SMALL };
    let (table, mut model) = filled(sizes, 20);
    let unknown = table.runs();
    assert!(unknown.iter().all(|run| !run.is_ordered()), "nobody has asked for an order yet");
    unknown.iter().for_each(|run| assert_eq!(run.seek(NamespaceId(1), b""), Rank(0)));
    for n in 20..41 {
        let (namespace, key) = scattered(n);
        table.push(&row(n, namespace, &key));
        model.push((namespace, key));
    }
    let runs = table.runs();
    let states: Vec<_> = runs.iter().map(|run| (run.len(), run.is_ordered())).collect();
    // The first has 20 rows in two orders and 8 in none; of the second nobody has asked anything.
    assert_eq!(states, [(28, true), (13, false)]);
    check_runs(&runs, &model, 41);
    check_runs(&unknown, &model, 20);
}

#[test]
fn rows_of_one_key_stand_in_the_order_of_writing() {
    let table = Memtable::with_sizes(SMALL);
    let model: Model = (0..300).map(|_| (1, b"counter".to_vec())).collect();
    for n in 0..300 {
        table.push(&row(n, 1, b"counter"));
        if n % 37 == 0 {
            table.runs().iter().for_each(|run| assert_eq!(run.seek(NamespaceId(1), b"counter"), Rank(0)));
        }
    }
    check_runs(&table.runs(), &model, 300);
    check_sealing(&table, &model);
}

#[test]
fn an_empty_memtable_answers() {
    let table = Memtable::default();
    check_points(&table, &Model::new());
    assert!(table.runs().is_empty());
    check_sealing(&table, &Model::new());
    assert_eq!(table.system(), []);
}

#[test]
fn system_rows_are_kept_in_order_and_are_no_rows() {
    let table = Memtable::new();
    let rows: Vec<SystemRow> = (0..3)
        .map(|n| SystemRow {
            kind: RecordKind::NamespaceCreate,
            namespace: NamespaceId(n),
            seq: Seq(u64::from(n)),
            offset: n * STEP,
            len: 30,
            updated_ms: 5,
            content: vec![b'n'; 1000],
        })
        .collect();
    let before = table.memory_bytes();
    rows.iter().for_each(|row| table.push_system(row.clone()));
    assert_eq!(table.system(), rows);
    assert!(table.is_empty());
    assert!(table.memory_bytes() >= before + 3000);
}

#[test]
fn memory_follows_rows_keys_and_orders() {
    let (table, model) = filled(SIZES, 100_000);
    let keys: usize = model.iter().map(|(_, key)| key.len()).sum();
    // Every fifth row has a blob, which takes 32 bytes more.
    let least = 56 * model.len() + 32 * (model.len() / 5) + keys;
    let before = table.memory_bytes();
    assert!((least..least + 600_000).contains(&before), "{before} for {least}");
    table.in_key_order().next();
    let held = table.held_bytes();
    assert!(held.abs_diff(before) < 600_000, "{held} for {before}");
    let with_orders = least + 24 * model.len();
    let after = table.memory_bytes();
    assert!((with_orders..with_orders + 100_000).contains(&after), "{after} for {with_orders}");
}

/// Rows with tags, and what readers have had derived of them, are counted; rows without tags take nothing for them.
#[test]
fn memory_follows_tags_and_what_is_derived_for_readers() {
    let tagged = |tags: &[&str]| {
        let (table, list) = (Memtable::new(), list_of(tags));
        for n in 0..50_000 {
            let (namespace, key) = scattered(n);
            table.push(&Row { tags: TagList::new(&list), ..row(n, namespace, &key) });
        }
        table
    };
    let (plain, table) = (tagged(&[]), tagged(&["one", "two", "three"]));
    // Three numbers for each row, and where they stand.
    let more = table.memory_bytes() - plain.memory_bytes();
    assert!((50_000 * 20..50_000 * 20 + 100_000).contains(&more), "{more}");
    let held = table.held_bytes();
    assert!(held.abs_diff(table.memory_bytes()) < 600_000, "{held}");
    let runs = table.runs();
    let before = table.memory_bytes();
    let mut rows = 0;
    for run in &runs {
        run.tags().unwrap().unwrap().with_prefix(NamespaceId(1), "t", &mut |_, count| rows += count).unwrap();
        run.next_expiry(0);
    }
    assert_eq!(rows, 2 * model_of(50_000, 1));
    // Postings of bitmaps, an index for every third row, and key orders.
    let derived = table.memory_bytes() - before;
    assert!((50_000 / 3 * 4 + 50_000 * 24..50_000 / 3 * 4 + 50_000 * 34).contains(&derived), "{derived}");
    let (before, more) = (table.held_bytes(), derived / 2);
    for n in 50_000..60_000 {
        let (namespace, key) = scattered(n);
        table.push(&row(n, namespace, &key));
    }
    assert!(table.held_bytes() > before + more, "what was derived is noted when the next tail is frozen");
}

/// How many of the first rows are of a namespace.
fn model_of(rows: u32, namespace: u32) -> u32 {
    (0..rows).map(|n| u32::from(scattered(n).0 == namespace)).sum()
}

#[test]
fn a_caller_may_use_the_memtable_while_it_looks_at_a_key() {
    let table = Memtable::with_sizes(SMALL);
    for n in 0..9 {
        table.push(&row(n, 1, b"key"));
    }
    for ordinal in [0, 8] {
        let seen = table.with_key(Ordinal(ordinal), |_, _| {
            let n = table.len();
            table.push(&row(n, 1, b"key"));
            table.runs().len()
        });
        assert!(seen.is_some());
    }
    assert_eq!(table.len(), 11);
}

/// One look of a reader: points below the length, then runs, which have at least as many rows in order.
fn look(table: &Memtable, total: u32, round: u32) {
    let len = table.len();
    for step in 0..8_u32 {
        // The newest rows, and some anywhere below.
        let ordinal = if step < 3 {
            len.checked_sub(step + 1)
        } else {
            (round * 7919 + step * 104_729).checked_rem(len)
        };
        let Some(ordinal) = ordinal else { continue };
        let meta = model_meta(ordinal);
        assert_eq!(table.meta(Ordinal(ordinal)), Some(meta));
        assert_eq!(table.ordinal_of(meta.offset), Some(Ordinal(ordinal)));
        assert_eq!(table.ordinal_of(meta.offset + 1), None);
        let key = table.with_key(Ordinal(ordinal), |namespace, key| (namespace.0, key.to_vec()));
        assert_eq!(key, Some(scattered(ordinal)));
    }
    if !round.is_multiple_of(16) {
        return;
    }
    let runs = table.runs();
    let mut end = 0;
    for run in &runs {
        assert_eq!(run.first().0, end);
        end += run.len();
        let mut cursor = run.cursor(Rank(0));
        let mut last = None;
        for _ in 0..run.len() {
            let row = under(&cursor).unwrap();
            assert_eq!((row.0, row.1.clone()), scattered(row.2));
            let row = Some(row);
            assert!(last < row);
            last = row;
            cursor.next().unwrap();
        }
        assert_eq!(under(&cursor), None);
    }
    assert!((len..=total).contains(&end));
}

/// All of them find the same runs to be merged, and each gets all rows, in the table too.
#[test]
fn scans_that_merge_at_the_same_time_lose_no_row() {
    const ROWS: u32 = 6000;
    const SCANS: u32 = 4;
    let model: Model = (0..ROWS + SCANS).map(scattered).collect();
    for _ in 0..15 {
        let table = Memtable::with_sizes(Sizes { tail_rows: 8, ..SIZES });
        let push = |n: u32| {
            let (namespace, key) = scattered(n);
            table.push(&row(n, namespace, &key));
        };
        (0..ROWS).for_each(push);
        let start = std::sync::Barrier::new(SCANS as usize);
        std::thread::scope(|scope| {
            for _ in 0..SCANS {
                scope.spawn(|| {
                    start.wait();
                    let runs = table.runs();
                    assert_eq!(runs.iter().map(|run| run.len()).sum::<u32>(), ROWS);
                });
            }
        });
        // What comes later stands behind what was merged.
        (ROWS..ROWS + SCANS).for_each(push);
        check_points(&table, &model);
        check_runs(&table.runs(), &model, ROWS + SCANS);
    }
}

#[test]
fn four_threads_read_while_one_pushes() {
    const TOTAL: u32 = 20_000;
    let table = Memtable::with_sizes(Sizes { tail_rows: 64, run_rows: 2048, ..SIZES });
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let (table, is_done) = (&table, &is_done);
            scope.spawn(move || {
                let mut round = reader;
                while !is_done.load(AtomicOrdering::Acquire) {
                    look(table, TOTAL, round);
                    round += 1;
                }
                look(table, TOTAL, 0);
            });
        }
        for n in 0..TOTAL {
            let (namespace, key) = scattered(n);
            assert_eq!(table.push(&row(n, namespace, &key)), Ordinal(n));
        }
        is_done.store(true, AtomicOrdering::Release);
    });
    let model: Model = (0..TOTAL).map(scattered).collect();
    let runs = table.runs();
    check_runs(&runs, &model, TOTAL);
    check_few(&runs, Sizes { tail_rows: 64, run_rows: 2048, ..SIZES });
    check_points(&table, &model);
}
