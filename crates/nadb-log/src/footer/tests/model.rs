//! The model of a footer: rows by ordinal, and a sorted vector of their ordinals.

use std::cmp::Ordering;

use nadb_core::{BlobId, NamespaceId, Ordinal, Rank, Result, SegmentUid, Seq};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::footer::{FooterSource, NamespaceRows, encode_footer};
use crate::record::RecordKind;
use crate::row::{RowMeta, SystemRow};

pub(super) const UID: SegmentUid = SegmentUid([7; 16]);
/// Bytes of a record beside key and value.
const RECORD_BYTES: u32 = 24;

/// What a row is made from.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) namespace: u32,
    pub(super) key: Vec<u8>,
    pub(super) kind: RecordKind,
    pub(super) size: u32,
    pub(super) updated_ms: u64,
    pub(super) created_ago: u64,
    pub(super) expires_in: Option<i64>,
    /// Bytes before the record that belong to none.
    pub(super) frame_bytes: u32,
    /// Numbers before the record's that are not a row's.
    pub(super) skipped: u64,
    /// In order.
    pub(super) tags: Vec<String>,
}

/// An ordinary row, some with an expiry, a tombstone or a blob among them, keys in scrambled order.
pub(super) fn spec(row: u32) -> Spec {
    let kinds = [RecordKind::Tombstone, RecordKind::BlobReference];
    Spec {
        namespace: 1,
        key: format!("user:{:06}", row.wrapping_mul(7_919) % 1_009).into_bytes(),
        kind: kinds.get(row as usize % 9).copied().unwrap_or(RecordKind::Value),
        size: 100 + row % 50,
        updated_ms: 1_700_000_000_000 + u64::from(row) / 3,
        created_ago: u64::from(row % 5) * 1000,
        expires_in: row.is_multiple_of(3).then_some(60_000 + i64::from(row)),
        frame_bytes: 24,
        skipped: 0,
        tags: some_tags(row),
    }
}

/// Tags of which some have a single row, some few, some many; every fourth row has none.
fn some_tags(row: u32) -> Vec<String> {
    let many = format!("even:{}", row % 2);
    let few = format!("few:{:03}", row / 9);
    let one = format!("row:{row:05}");
    match row % 4 {
        0 => Vec::new(),
        1 => vec![many],
        2 => vec![many, few],
        _ => vec![many, few, one],
    }
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) metas: Vec<RowMeta>,
    pub(super) keys: Vec<(NamespaceId, Vec<u8>)>,
    pub(super) order: Vec<Ordinal>,
    /// By ordinal.
    pub(super) tags: Vec<Vec<String>>,
    pub(super) system: Vec<SystemRow>,
    /// Where the records end and the footer begins.
    pub(super) at: u32,
}

impl Model {
    /// Numbers rise with the rows; a compacted segment has them in key order.
    pub(super) fn new(specs: Vec<Spec>, compacted: bool) -> Model {
        let mut seq = 41;
        let mut rows: Vec<(Spec, u64)> = specs
            .into_iter()
            .map(|spec| {
                seq += 1 + spec.skipped;
                (spec, seq)
            })
            .collect();
        let in_order = |a: &(Spec, u64), b: &(Spec, u64)| {
            (a.0.namespace, &a.0.key, a.1).cmp(&(b.0.namespace, &b.0.key, b.1))
        };
        if compacted {
            rows.sort_by(in_order);
        }
        let mut at = 500;
        let metas = rows.iter().map(|(spec, seq)| meta(spec, *seq, &mut at)).collect();
        let mut order: Vec<Ordinal> = (0..u32::try_from(rows.len()).unwrap()).map(Ordinal).collect();
        order.sort_by(|a, b| in_order(&rows[a.0 as usize], &rows[b.0 as usize]));
        let tags = rows.iter().map(|(spec, _)| spec.tags.clone()).collect();
        let keys = rows.into_iter().map(|(spec, _)| (NamespaceId(spec.namespace), spec.key)).collect();
        Model { metas, keys, order, tags, system: Vec::new(), at }
    }

    pub(super) fn key(&self, ordinal: Ordinal) -> (NamespaceId, &[u8]) {
        let (namespace, key) = &self.keys[ordinal.0 as usize];
        (*namespace, key)
    }

    pub(super) fn seek(&self, namespace: NamespaceId, key: &[u8]) -> Rank {
        let rank =
            self.order.partition_point(|ordinal| self.key(*ordinal).cmp(&(namespace, key)) == Ordering::Less);
        Rank(u32::try_from(rank).unwrap())
    }

    pub(super) fn namespaces(&self) -> Vec<NamespaceRows> {
        let mut all: Vec<NamespaceRows> = Vec::new();
        for (ordinal, rank) in self.order.iter().zip(0..) {
            let namespace = self.key(*ordinal).0;
            match all.last_mut() {
                Some(last) if last.namespace == namespace => last.rows += 1,
                _ => all.push(NamespaceRows { namespace, first: Rank(rank), rows: 1 }),
            }
        }
        all
    }

    pub(super) fn try_encode(&self) -> Result<Vec<u8>> {
        let in_key_order = self.order.iter().map(|ordinal| {
            let (namespace, key) = self.key(*ordinal);
            (namespace, key, *ordinal, self.tags[ordinal.0 as usize].iter().map(String::as_str))
        });
        encode_footer(UID, self.at, FooterSource { metas: &self.metas, in_key_order, system: &self.system })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.try_encode().unwrap()
    }
}

fn meta(spec: &Spec, seq: u64, at: &mut u32) -> RowMeta {
    let value = match spec.kind {
        RecordKind::Value => spec.size,
        RecordKind::BlobReference => 24,
        _ => 0,
    };
    let is_blob = spec.kind == RecordKind::BlobReference;
    let offset = *at + spec.frame_bytes;
    let len = RECORD_BYTES + u32::try_from(spec.key.len()).unwrap() + value;
    *at = offset + len;
    RowMeta {
        kind: spec.kind,
        seq: Seq(seq),
        offset,
        len,
        expires_ms: spec.expires_in.map(|span| spec.updated_ms.saturating_add_signed(span)),
        size: if is_blob { u64::from(spec.size) << 20 } else { u64::from(value) },
        created_ms: spec.updated_ms - spec.created_ago,
        updated_ms: spec.updated_ms,
        blob: is_blob.then(|| BlobId(u128::from(seq).to_le_bytes())),
    }
}

/// Some system records, which stand before all rows of a model.
pub(super) fn system() -> Vec<SystemRow> {
    let row = |kind, namespace, number: u32, content: &[u8]| SystemRow {
        kind,
        namespace: NamespaceId(namespace),
        seq: Seq(u64::from(number)),
        offset: 64 + number * 60,
        len: 40,
        updated_ms: 1_700_000_000_000,
        content: content.to_vec(),
    };
    vec![
        row(RecordKind::NamespaceCreate, 300, 1, "app/usersß".as_bytes()),
        row(RecordKind::NamespaceDrop, 300, 2, b""),
        row(RecordKind::Clock, 0, 3, &[9; 8]),
    ]
}

/// Tags of which some are on many rows, some on one, some begin with others.
fn tags() -> impl Strategy<Value = Vec<String>> {
    let often = (0..4u8).prop_map(|n| format!("often-{n}"));
    let seldom = vec(prop_oneof![Just('a'), Just('b'), Just('ß'), Just('\u{1F600}')], 1..5)
        .prop_map(|text| text.into_iter().collect());
    let long = (0..4u8, 200..255usize).prop_map(|(n, len)| format!("{}{n}", "t".repeat(len - 1)));
    let tag = prop_oneof![4 => often, 3 => seldom, 1 => long];
    let set = proptest::collection::btree_set(tag, 0..5).prop_map(|set| set.into_iter().collect());
    prop_oneof![2 => set, 1 => Just(Vec::new())]
}

prop_compose! {
    fn specs()(
        namespace in prop_oneof![Just(1u32), 0..5u32],
        key in prop_oneof![8 => vec(b'a'..b'd', 1..6), 4 => vec(any::<u8>(), 1..40), 1 => vec(b'a'..b'c', 900..1200)],
        kind in prop_oneof![
            6 => Just(RecordKind::Value), 2 => Just(RecordKind::Tombstone), 1 => Just(RecordKind::BlobReference)
        ],
        size in 0..5000u32,
        updated_ms in (1u64 << 40)..(1 << 41),
        created_ago in prop_oneof![Just(0), 0..1u64 << 39],
        expires_in in proptest::option::of(-(1i64 << 39)..1 << 40),
        frame_bytes in prop_oneof![Just(0u32), 0..60u32, 0..100_000u32],
        skipped in prop_oneof![4 => Just(0u64), 1 => 0..1u64 << 34],
        tags in tags(),
    ) -> Spec {
        Spec { namespace, key, kind, size, updated_ms, created_ago, expires_in, frame_bytes, skipped, tags }
    }
}

/// Any segment's rows, written or compacted.
pub(super) fn any_models() -> impl Strategy<Value = Model> {
    any::<bool>().prop_flat_map(models)
}

/// The rows of any segment that was compacted, or was not.
pub(super) fn models(compacted: bool) -> impl Strategy<Value = Model> {
    let rows = prop_oneof![4 => 0..40usize, 2 => Just(256), 2 => Just(257), 1 => 250..600usize];
    let specs = rows.prop_flat_map(|rows| vec(specs(), rows));
    (specs, any::<bool>()).prop_map(move |(specs, with_system)| {
        let mut model = Model::new(specs, compacted);
        model.system = if with_system { system() } else { Vec::new() };
        model
    })
}
