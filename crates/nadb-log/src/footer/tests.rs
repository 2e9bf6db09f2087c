//! A footer against a sorted vector, at every size where something begins anew; sizes on disk; what is refused.

mod damage;
mod model;
mod questions;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use nadb_core::limits::{KEY_BYTES_MAX, SEQ_MAX};
use nadb_core::{BlobId, ErrorKind, NamespaceId, Ordinal, Rank, SegmentUid, Seq};
use proptest::collection::vec;
use proptest::prelude::*;

use super::blocks::{Blocks, Section};
use super::column::{Base, Column, encode_column, unzigzag, zigzag};
use super::layout::{Layout, NewSection, assemble};
use super::*;
use crate::record::{RecordFields, RecordKind, RecordRef, address};
use crate::row::{Row, RowCursor};
use model::{Model, Spec, UID, any_models, models, spec};

const PATH: &str = "store/0000000007.seg";

fn open(bytes: &[u8], at: u32) -> Result<Arc<Footer>> {
    Footer::open(Bytes::copy_from_slice(bytes), UID, at, Path::new(PATH)).map(Arc::new)
}

/// Every answer of the footer against the model's.
fn assert_same(footer: &Arc<Footer>, model: &Model) {
    assert_eq!((footer.len() as usize, footer.is_empty()), (model.metas.len(), model.metas.is_empty()));
    footer.check_all().unwrap();
    for (row, ordinal) in model.metas.iter().zip(0..) {
        let ordinal = Ordinal(ordinal);
        assert_eq!(footer.meta(ordinal).unwrap(), *row);
        assert_eq!(footer.seq(ordinal).unwrap(), row.seq);
        assert_eq!(footer.ordinal_of(row.offset).unwrap(), Some(ordinal));
        assert_eq!(footer.ordinal_of(row.offset + 1).unwrap(), None);
    }
    assert_eq!(footer.ordinal_of(0).unwrap(), None);
    assert_eq!(footer.ordinal_of(u32::MAX).unwrap(), None);
    for (ordinal, rank) in model.order.iter().zip(0..) {
        let (namespace, key) = model.key(*ordinal);
        assert_eq!(footer.key_at(Rank(rank)).unwrap(), (namespace, key.to_vec()));
        assert_eq!(footer.ordinal_at(Rank(rank)).unwrap(), *ordinal);
        assert_eq!(footer.seek(namespace, key).unwrap(), model.seek(namespace, key));
    }
    let blobs: Vec<BlobId> = model.metas.iter().filter_map(|row| row.blob).collect();
    assert_eq!(footer.blob_ids().unwrap(), blobs);
    assert_eq!(footer.namespaces(), model.namespaces());
    assert_eq!(footer.system().unwrap(), model.system);
}

/// The row under a cursor, as the model knows it.
fn assert_at(cursor: &mut FooterCursor, model: &Model, place: usize) {
    let ordinal = place.checked_sub(1).and_then(|rank| model.order.get(rank)).copied();
    assert_eq!(cursor.key(), ordinal.map(|ordinal| model.key(ordinal)));
    assert_eq!(cursor.rank().map(|rank| rank.0 as usize + 1), ordinal.map(|_| place));
    if let Some(ordinal) = ordinal {
        assert_eq!(cursor.ordinal(), ordinal);
        let RowMeta { offset, len, expires_ms, .. } = model.metas[ordinal.0 as usize];
        let place = RowPlace { offset, len, expires_ms };
        assert_eq!(cursor.place(cursor.ordinal()).unwrap(), place);
        assert_eq!(cursor.known_place(), model.order.is_sorted().then_some(place));
    } else {
        assert_eq!(cursor.known_place(), None);
        assert_eq!(cursor.place(Ordinal(u32::MAX)).unwrap_err().kind(), ErrorKind::Corruption);
    }
}

/// All the way up and down.
fn assert_walks(footer: &Arc<Footer>, model: &Model) {
    let rows = model.order.len();
    let mut cursor = footer.cursor(Rank(0)).unwrap();
    for place in 1..=rows {
        assert_at(&mut cursor, model, place);
        cursor.next().unwrap();
    }
    assert_at(&mut cursor, model, rows + 1);
    cursor.next().unwrap();
    assert_at(&mut cursor, model, rows + 1);
    for place in (0..=rows).rev() {
        cursor.previous().unwrap();
        assert_at(&mut cursor, model, place);
    }
    cursor.previous().unwrap();
    assert_at(&mut cursor, model, 0);
    cursor.next().unwrap();
    assert_at(&mut cursor, model, 1.min(rows + 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_footer_answers_as_a_sorted_vector_does(model in any_models()) {
        let footer = open(&model.encode(), model.at).unwrap();
        assert_same(&footer, &model);
        assert_walks(&footer, &model);
    }

    #[test]
    fn any_way_of_seeking_and_moving_leads_where_it_does_in_a_vector(
        model in any_models(),
        namespace in 0..6u32,
        key in vec(b'a'..b'd', 0..6),
        from in 0..700u32,
        steps in vec(any::<bool>(), 0..80),
    ) {
        let footer = open(&model.encode(), model.at).unwrap();
        let namespace = NamespaceId(namespace);
        prop_assert_eq!(footer.seek(namespace, &key).unwrap(), model.seek(namespace, &key));
        let (mut cursor, rows) = (footer.cursor(Rank(from)).unwrap(), model.order.len());
        let mut place = (from as usize).min(rows) + 1;
        assert_at(&mut cursor, &model, place);
        for up in steps {
            if up { cursor.next() } else { cursor.previous() }.unwrap();
            place = if up { (place + 1).min(rows + 1) } else { place.saturating_sub(1) };
            assert_at(&mut cursor, &model, place);
        }
    }

    #[test]
    fn columns_give_back_any_numbers(
        numbers in prop_oneof![
            vec(any::<u64>(), 0..600),
            vec(0..5000u64, 0..600),
            (any::<u64>(), vec(0..300u64, 0..600)).prop_map(|(mut at, steps)| {
                steps.iter().map(|step| { at = at.wrapping_add(*step); at }).collect()
            }),
        ],
        first in any::<bool>(),
    ) {
        let base = if first { Base::First } else { Base::Narrowest };
        let bytes = encode_column(base, numbers.iter().copied());
        let section = Section { start: 0, len: bytes.len() };
        let blocks = blocks_of(bytes);
        let column = Column::new(section, u32::try_from(numbers.len()).unwrap()).unwrap();
        for (number, row) in numbers.iter().zip(0..) {
            prop_assert_eq!(column.value(&blocks, row).unwrap(), *number);
        }
        prop_assert!(column.value(&blocks, u32::try_from(numbers.len()).unwrap()).is_err());
    }

    #[test]
    fn rising_numbers_are_found_and_what_lies_between_is_not(
        start in 0..1u64 << 40,
        steps in vec(prop_oneof![6 => 2..300u64, 2 => Just(200), 1 => 2..1u64 << 33], 0..600),
    ) {
        let numbers: Vec<u64> = steps
            .iter()
            .scan(start, |at, step| {
                *at += step;
                Some(*at)
            })
            .collect();
        let bytes = encode_column(Base::First, numbers.iter().copied());
        let section = Section { start: 0, len: bytes.len() };
        let blocks = blocks_of(bytes);
        let column = Column::new(section, u32::try_from(numbers.len()).unwrap()).unwrap();
        for (number, row) in numbers.iter().zip(0..) {
            prop_assert_eq!(column.find(&blocks, *number).unwrap(), Some(row));
            prop_assert_eq!(column.find(&blocks, number - 1).unwrap(), None);
            prop_assert_eq!(column.find(&blocks, number + 1).unwrap(), None);
        }
    }

    #[test]
    fn zigzag_is_its_own_way_back(difference: i64) {
        prop_assert_eq!(unzigzag(zigzag(difference)), difference);
    }
}

/// The blocks of a footer with one section.
fn blocks_of(section: Vec<u8>) -> Blocks {
    let bytes =
        assemble(UID, 64, 0, vec![NewSection { id: 99, is_required: false, bytes: section }]).unwrap();
    let layout = Layout::read(&bytes, UID, 64).unwrap();
    Blocks::new(bytes.into(), UID, 64, Path::new(PATH), (layout.body, layout.table))
}

#[test]
fn rising_numbers_of_equal_steps_need_no_bits_and_ties_go_to_the_floor() {
    let entries = |numbers: std::ops::Range<u32>, step: u64| {
        encode_column(Base::First, numbers.map(|number| 1_000_000 + u64::from(number) * step)).len()
    };
    assert_eq!(entries(0..256, 197), 16);
    assert_eq!(entries(0..257, 1), 32);
    assert_eq!(encode_column(Base::Narrowest, [7; 300].into_iter()).len(), 32);
}

#[test]
fn every_size_around_groups_and_blocks_round_trips() {
    for rows in [0, 1, 2, 15, 16, 17, 31, 32, 33, 255, 256, 257, 511, 512, 513] {
        for compacted in [false, true] {
            let specs = (0..rows).map(|row: u32| Spec { namespace: 1 + row / 100, ..spec(row) });
            let model = Model::new(specs.collect(), compacted);
            let footer = open(&model.encode(), model.at).unwrap();
            assert_same(&footer, &model);
            assert_walks(&footer, &model);
        }
    }
}

#[test]
fn one_key_over_and_over_is_in_order_of_its_numbers() {
    let model = Model::new((0..50).map(|row| Spec { key: b"same".to_vec(), ..spec(row) }).collect(), false);
    let footer = open(&model.encode(), model.at).unwrap();
    assert_same(&footer, &model);
    assert_eq!(footer.seek(NamespaceId(1), b"same").unwrap(), Rank(0));
    assert_eq!(footer.seek(NamespaceId(1), b"samf").unwrap(), Rank(50));
    let seqs: Vec<Seq> =
        (0..50).map(|rank| footer.seq(footer.ordinal_at(Rank(rank)).unwrap()).unwrap()).collect();
    assert!(seqs.is_sorted_by(|a, b| a < b));
}

#[test]
fn the_longest_keys_go_in_and_come_out() {
    let key = |last: u8, len: usize| [vec![b'k'; len - 1], vec![last]].concat();
    let keys = (0..40u8).map(|row| key(row, if row % 7 == 0 { 1 + usize::from(row) } else { KEY_BYTES_MAX }));
    let specs = keys.zip(0..).map(|(key, row)| Spec { key, namespace: row / 20, ..spec(row) });
    let model = Model::new(specs.collect(), false);
    let footer = open(&model.encode(), model.at).unwrap();
    assert_same(&footer, &model);
    assert_walks(&footer, &model);
}

#[test]
fn fields_at_their_limits_survive() {
    let time = (1 << 48) - 1;
    let mut model = Model::new((0..4).map(spec).collect(), false);
    for (row, (created, updated, expires)) in model.metas.iter_mut().zip([
        (0, time, Some(0)),
        (time, 0, Some(time)),
        (0, 0, None),
        (time, time, Some(1)),
    ]) {
        (row.created_ms, row.updated_ms, row.expires_ms) = (created, updated, expires);
        (row.kind, row.blob) = (RecordKind::BlobReference, Some(BlobId([0xB0; 16])));
    }
    for (row, size) in model.metas.iter_mut().zip([0, u64::MAX, 1 << 63, 5 << 30]) {
        row.size = size;
    }
    model.metas[3].seq = Seq(SEQ_MAX);
    model.metas[0].seq = Seq(1);
    assert_same(&open(&model.encode(), model.at).unwrap(), &model);
}

/// Bytes of keys behind what they share with the key before them, in groups of sixteen.
fn suffix_bytes(model: &Model) -> usize {
    let keys: Vec<_> = model.order.iter().map(|ordinal| model.key(*ordinal).1).collect();
    let suffix = |rank: usize| {
        let before =
            rank.checked_sub(1).filter(|_| !rank.is_multiple_of(16)).map_or(&[][..], |before| keys[before]);
        keys[rank].len() - before.iter().zip(keys[rank]).take_while(|(a, b)| a == b).count()
    };
    (0..keys.len()).map(suffix).sum()
}

/// A segment as a load of single writes leaves it, with an expiry on every row up to an hour ahead, or without.
fn loaded(rows: u32, with_expiry: bool) -> Model {
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut draw = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random ^ random >> 29
    };
    let specs = (0..rows).map(|row| Spec {
        key: format!("user:{:016x}", draw()).into_bytes(),
        size: 128,
        created_ago: 0,
        updated_ms: 1_700_000_000_000 + u64::from(row / 300) + draw() % 2,
        expires_in: with_expiry.then(|| (draw() % 3_600_000).cast_signed()),
        frame_bytes: 24,
        kind: RecordKind::Value,
        tags: Vec::new(),
        ..spec(row)
    });
    Model::new(specs.collect(), false)
}

#[test]
fn a_row_takes_at_most_24_bytes_and_its_keys_suffix() {
    for with_expiry in [false, true] {
        let model = loaded(300_000, with_expiry);
        let footer = model.encode();
        let (all, suffix) = (footer.len() as f64 / 300_000.0, suffix_bytes(&model) as f64 / 300_000.0);
        println!("expiry: {with_expiry}, {all:.2} bytes a row, {suffix:.2} of them key suffix");
        assert!(
            all - suffix <= 24.0,
            "expiry: {with_expiry}, {all} bytes a row, {suffix} of them key suffix"
        );
    }
}

#[test]
fn what_is_not_a_segments_content_is_not_written() {
    let check = |what: &str, change: &dyn Fn(&mut Model)| {
        let mut model = Model::new((0..20).map(spec).collect(), false);
        model.system = model::system();
        model.try_encode().unwrap();
        change(&mut model);
        let error = model.try_encode().expect_err(what);
        assert!([ErrorKind::InvalidInput, ErrorKind::Limit].contains(&error.kind()), "{what}: {error}");
    };
    check("keys out of order", &|m| m.order.swap(3, 9));
    check("a row twice", &|m| m.order[3] = m.order[4]);
    check("a key too few", &|m| m.order.truncate(19));
    check("rows that overlap", &|m| m.metas[5].offset = m.metas[4].offset + 1);
    check("a row inside the header", &|m| m.metas[0].offset = 63);
    check("a row behind the records", &|m| m.at = m.metas[19].offset + 3);
    check("number 0", &|m| m.metas[0].seq = Seq(0));
    check("a number beyond 56 bits", &|m| m.metas[0].seq = Seq(SEQ_MAX + 1));
    check("a time beyond 48 bits", &|m| m.metas[0].updated_ms = 1 << 48);
    check("a blob on a value", &|m| {
        (m.metas[0].kind, m.metas[0].blob) = (RecordKind::Value, Some(BlobId([1; 16])));
    });
    check("a reference without blob", &|m| {
        (m.metas[0].kind, m.metas[0].blob) = (RecordKind::BlobReference, None);
    });
    check("a system record as a row", &|m| m.metas[0].kind = RecordKind::Clock);
    check("a row as a system record", &|m| m.system[0].kind = RecordKind::Value);
    check("system records out of order", &|m| m.system.swap(0, 1));
    check("a clock of 7 bytes", &|m| m.system[2].content.truncate(7));
    check("a name with a NUL", &|m| m.system[0].content[0] = 0);
    check("a footer beyond the largest segment", &|m| m.at = u32::MAX - 100);
    check("an empty key", &|m| m.keys[0].1.clear());
    check("a key of 64 KiB", &|m| {
        let last = m.order[19].0 as usize;
        m.keys[last].1 = vec![0xFF; KEY_BYTES_MAX + 1];
    });

    let mut model =
        Model::new((0..9).map(|row| Spec { key: b"same".to_vec(), ..spec(row) }).collect(), false);
    model.order.swap(3, 4);
    assert_eq!(
        model.try_encode().unwrap_err().kind(),
        ErrorKind::InvalidInput,
        "numbers of a key out of order"
    );
}

#[test]
fn system_records_are_told_from_rows() {
    let fields = |kind, key, value| RecordFields::new(kind, NamespaceId(3), key, value, 77);
    let check = |fields: &RecordFields<'_>, content: Option<&[u8]>| {
        let mut bytes = Vec::new();
        fields.encode(&mut bytes);
        address(&mut bytes, 0, UID, 100, Seq(9));
        let record = RecordRef::decode(&bytes).unwrap();
        let row = SystemRow::of(&record, 100);
        assert_eq!(row.as_ref().map(|row| &row.content[..]), content);
        assert!(row.is_none() || Row::of(&record, 100).is_none());
        if let Some(row) = row {
            assert_eq!((row.kind, row.namespace, row.seq), (fields.kind, NamespaceId(3), Seq(9)));
            assert_eq!((row.offset, row.len as usize, row.updated_ms), (100, bytes.len(), 77));
            let footer = FooterBuilder::new().finish(UID, 1000, &[], std::slice::from_ref(&row)).unwrap();
            assert_eq!(open(&footer, 1000).unwrap().system().unwrap(), [row]);
        }
    };
    check(&fields(RecordKind::NamespaceCreate, b"app", b""), Some(b"app"));
    check(&fields(RecordKind::NamespaceDrop, b"", b""), Some(b""));
    check(&fields(RecordKind::Clock, b"", &[7; 8]), Some(&[7; 8]));
    check(&fields(RecordKind::Value, b"k", b"v"), None);
}

#[test]
fn the_trailer_tells_how_long_the_footer_is() {
    let model = Model::new((0..20).map(spec).collect(), false);
    let bytes = model.encode();
    let len = u32::try_from(bytes.len()).unwrap();
    assert_eq!(footer_bytes(&bytes), Some(len));
    assert_eq!(footer_bytes(&bytes[bytes.len() - FOOTER_TRAILER as usize..]), Some(len));
    assert_eq!(footer_bytes(&bytes[bytes.len() - FOOTER_TRAILER as usize + 1..]), None);
    assert_eq!(footer_bytes(&bytes[..bytes.len() - 1]), None);
}

#[test]
fn memory_does_not_follow_the_rows_but_by_a_bit_per_block() {
    let memory = |rows| {
        let model = loaded(rows, true);
        open(&model.encode(), model.at).unwrap().memory_bytes()
    };
    assert!(memory(20_000) < memory(10) + 128);
}
