//! A store of counts: rows that are live or dead, in segments, without a byte of theirs. What a policy decides is done at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use nadb_compact::{Choice, Decision, Demand, ExpiryGroup, Moment, Policy, PolicyOptions, SegmentFacts};
use nadb_core::{SegmentId, Seq};

/// Bytes of a key and a value that users see: 21 and 128.
pub(crate) const USER_BYTES: u64 = 149;
/// Bytes of their record.
const RECORD_BYTES: u64 = USER_BYTES + 24;
/// Bytes of the header of a frame of one record.
const FRAME_BYTES: u64 = 24;
/// Bytes of a row in a footer.
const FOOTER_BYTES: u64 = 28;
/// Bytes of a row of a compacted segment.
pub(crate) const COMPACTED_BYTES: u64 = RECORD_BYTES + FOOTER_BYTES;

/// A generator of numbers (SplitMix64).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u32) -> u32 {
        u32::try_from((u128::from(self.next()) * u128::from(end)) >> 64).unwrap()
    }

    fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

/// Keys drawn by Zipf's law, the popular ones scattered.
pub(crate) struct Zipf {
    /// Sums of the probabilities.
    upto: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(keys: u32, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let mut upto: Vec<f64> = (1..=keys)
            .map(|rank| {
                sum += f64::from(rank).powf(-exponent);
                sum
            })
            .collect();
        upto.iter_mut().for_each(|upto| *upto /= sum);
        Zipf { upto }
    }

    pub(crate) fn draw(&self, rng: &mut Rng) -> u32 {
        let keys = u32::try_from(self.upto.len()).unwrap();
        let chosen = rng.unit();
        let rank = self.upto.partition_point(|upto| *upto < chosen);
        let rank = u64::try_from(rank).unwrap().min(u64::from(keys) - 1);
        // A factor that no number of keys here shares a divisor with.
        u32::try_from(rank * 1_000_003 % u64::from(keys)).unwrap()
    }
}

#[derive(Clone)]
struct Row {
    key: u32,
    seq: u64,
    expires_ms: Option<u64>,
}

#[derive(Clone, Default)]
struct Segment {
    rows: Vec<Row>,
    live: u32,
    markers: u32,
    expired: u32,
    written_ms: u64,
    is_compacted: bool,
    last_seq: u64,
    /// How often the record was copied that was copied most often.
    copies: u32,
}

/// Where a key's record stands: segment and row.
type Place = (u32, u32);

/// The store.
pub(crate) struct Model {
    pub(crate) policy: Policy,
    pub(crate) now_ms: u64,
    pub(crate) room_bytes: u64,
    rows_max: usize,
    segments: BTreeMap<u32, Segment>,
    active: u32,
    places: Vec<Option<Place>>,
    expiries: BinaryHeap<Reverse<(u64, u32, Place)>>,
    seq: u64,
    pub(crate) user_bytes: u64,
    pub(crate) log_bytes: u64,
    pub(crate) copied_bytes: u64,
    pub(crate) compactions: u32,
    pub(crate) peak_bytes: u64,
    /// How often the record was copied that was copied most often.
    pub(crate) times_copied: u32,
}

impl Model {
    /// An empty store whose segments have `rows_max` rows when full. The policy's sizes fit those of the segments as they do in
    /// a store with the defaults.
    pub(crate) fn new(rows_max: u32, options: PolicyOptions) -> Model {
        let full = u64::from(rows_max) * (RECORD_BYTES + FRAME_BYTES);
        let options = PolicyOptions {
            output_bytes_min: full,
            output_bytes_max: full * 32,
            copied_bytes_max: full * 4,
            gain_bytes_min: full / 1024,
            ..options
        };
        Model {
            policy: Policy::new(options).unwrap(),
            now_ms: 0,
            room_bytes: u64::MAX,
            rows_max: usize::try_from(rows_max).unwrap(),
            segments: BTreeMap::from([(0, Segment::default())]),
            active: 0,
            places: Vec::new(),
            expiries: BinaryHeap::new(),
            seq: 0,
            user_bytes: 0,
            log_bytes: 0,
            copied_bytes: 0,
            compactions: 0,
            peak_bytes: 0,
            times_copied: 0,
        }
    }

    /// Writes `key`. When the active segment is full, a new one takes its place, and the compactor works as `demand` says.
    pub(crate) fn write(&mut self, key: u32, expires_ms: Option<u64>, demand: Demand) {
        let at = usize::try_from(key).unwrap();
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
        }
        self.kill(key);
        self.seq += 1;
        let (now_ms, seq) = (self.now_ms, self.seq);
        let active = self.segments.entry(self.active).or_default();
        let place = (self.active, u32::try_from(active.rows.len()).unwrap());
        active.rows.push(Row { key, seq, expires_ms });
        active.live += 1;
        active.last_seq = seq;
        active.written_ms = now_ms;
        let is_full = active.rows.len() >= self.rows_max;
        *self.places.get_mut(at).unwrap() = Some(place);
        if let Some(expires_ms) = expires_ms {
            self.expiries.push(Reverse((expires_ms, key, place)));
        }
        self.user_bytes += USER_BYTES;
        self.log_bytes += RECORD_BYTES + FRAME_BYTES + FOOTER_BYTES;
        if is_full {
            self.rotate();
            self.compact(demand);
        }
    }

    /// Deletes `key` with a marker that stays as long as the segment does, or until [`Model::clear_markers`].
    pub(crate) fn delete(&mut self, key: u32) {
        self.kill(key);
        self.seq += 1;
        let seq = self.seq;
        let active = self.segments.get_mut(&self.active).unwrap();
        active.rows.push(Row { key: u32::MAX, seq, expires_ms: None });
        active.markers += 1;
        active.last_seq = seq;
        if active.rows.len() >= self.rows_max {
            self.rotate();
        }
    }

    /// No older segment has any of the keys that are marked.
    pub(crate) fn clear_markers(&mut self) {
        self.segments.values_mut().for_each(|segment| segment.markers = 0);
    }

    /// Lets time pass; what expires meanwhile dies.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        while let Some(Reverse((expires_ms, key, place))) = self.expiries.peek().copied() {
            if expires_ms > self.now_ms {
                break;
            }
            self.expiries.pop();
            let at = usize::try_from(key).unwrap();
            if self.places.get(at).copied().flatten() == Some(place) {
                self.kill(key);
                self.segments.get_mut(&place.0).unwrap().expired += 1;
            }
        }
    }

    fn kill(&mut self, key: u32) {
        let place = self.places.get_mut(usize::try_from(key).unwrap()).and_then(Option::take);
        if let Some((segment, _)) = place {
            self.segments.get_mut(&segment).unwrap().live -= 1;
        }
    }

    pub(crate) fn rotate(&mut self) {
        self.active = self.segments.last_key_value().map_or(0, |(id, _)| id + 1);
        self.segments.insert(self.active, Segment::default());
    }

    /// Does what the policy decides until it rests; at rest, the active segment is sealed where the policy says so.
    pub(crate) fn compact(&mut self, demand: Demand) {
        self.peak_bytes = self.peak_bytes.max(self.file_bytes());
        for _ in 0..100_000 {
            match self.decide(demand) {
                Decision::Compact(choice) => self.apply(&choice),
                Decision::Rest | Decision::NoRoom { .. } => return,
            }
        }
        panic!("no rest after 100,000 compactions");
    }

    pub(crate) fn decide(&mut self, demand: Demand) -> Decision {
        let moment = self.moment(demand);
        let facts = self.facts();
        let active = facts.iter().find(|facts| facts.id == SegmentId(self.active)).unwrap();
        if self.policy.should_seal(active, &facts, &moment) {
            self.rotate();
        }
        self.policy.decide(&self.facts(), &moment)
    }

    pub(crate) fn moment(&self, demand: Demand) -> Moment {
        Moment { now_ms: self.now_ms, newest_seq: Seq(self.seq), room_bytes: self.room_bytes, demand }
    }

    pub(crate) fn apply(&mut self, choice: &Choice) {
        let before = self.file_bytes();
        let inputs: Vec<Segment> =
            choice.inputs.iter().map(|id| self.segments.remove(&id.0).unwrap()).collect();
        let written_ms = inputs.iter().map(|input| input.written_ms).max().unwrap();
        let copies = inputs.iter().map(|input| input.copies).max().unwrap() + 1;
        let markers = inputs.iter().map(|input| input.markers).sum::<u32>();
        let mut kept: Vec<Row> = Vec::new();
        for (id, input) in choice.inputs.iter().zip(inputs) {
            let rows = input.rows.into_iter().enumerate();
            kept.extend(rows.filter_map(|(at, row)| {
                let place = (id.0, u32::try_from(at).unwrap());
                let of_key = usize::try_from(row.key).ok().and_then(|key| self.places.get(key));
                (of_key.copied().flatten() == Some(place)).then_some(row)
            }));
        }
        for _ in 0..markers {
            kept.push(Row { key: u32::MAX, seq: 1, expires_ms: None });
        }
        let now_ms = self.now_ms;
        let bytes: u64 = kept.iter().map(|_| COMPACTED_BYTES).sum();
        assert_eq!(bytes, choice.copied_bytes);
        let mut by_group = [0; ExpiryGroup::COUNT];
        for row in &kept {
            *by_group.get_mut(ExpiryGroup::of(row.expires_ms, now_ms).index()).unwrap() += COMPACTED_BYTES;
        }
        let outputs = ExpiryGroup::outputs(&by_group, choice.output_bytes);
        let output_of = |row: &Row| outputs[ExpiryGroup::of(row.expires_ms, now_ms).index()];
        kept.sort_by_key(|row| (output_of(row), row.key));
        for rows in kept.chunk_by(|a, b| output_of(a) == output_of(b)) {
            let rows_max = usize::try_from(choice.output_bytes.div_ceil(COMPACTED_BYTES)).unwrap();
            for rows in rows.chunks(rows_max) {
                self.install(rows, written_ms, copies);
            }
        }
        self.copied_bytes += bytes;
        self.compactions += 1;
        self.peak_bytes = self.peak_bytes.max(before + bytes);
        if self.file_bytes() + choice.freed_bytes != before {
            panic!("{} + {} is not {before}", self.file_bytes(), choice.freed_bytes);
        }
    }

    fn install(&mut self, rows: &[Row], written_ms: u64, copies: u32) {
        let id = self.segments.last_key_value().map_or(0, |(id, _)| id + 1);
        let mut output = Segment { written_ms, copies, is_compacted: true, ..Segment::default() };
        for (at, row) in rows.iter().enumerate() {
            let place = (id, u32::try_from(at).unwrap());
            match usize::try_from(row.key).ok().and_then(|key| self.places.get_mut(key)) {
                Some(of_key) => {
                    *of_key = Some(place);
                    output.live += 1;
                    if let Some(expires_ms) = row.expires_ms {
                        self.expiries.push(Reverse((expires_ms, row.key, place)));
                    }
                }
                None => output.markers += 1,
            }
        }
        output.last_seq = rows.iter().map(|row| row.seq).max().unwrap_or(0);
        output.rows = rows.to_vec();
        self.times_copied = self.times_copied.max(copies);
        self.segments.insert(id, output);
    }

    pub(crate) fn facts(&self) -> Vec<SegmentFacts> {
        self.segments.iter().map(|(id, segment)| self.facts_of(*id, segment)).collect()
    }

    fn facts_of(&self, id: u32, segment: &Segment) -> SegmentFacts {
        let rows = u32::try_from(segment.rows.len()).unwrap();
        let place = |at: usize| (id, u32::try_from(at).unwrap());
        let is_live = |at: usize, row: &Row| {
            let of_key = usize::try_from(row.key).ok().and_then(|key| self.places.get(key));
            of_key.copied().flatten() == Some(place(at))
        };
        let expires = segment.rows.first().is_some_and(|row| row.expires_ms.is_some());
        let last_expiry = |rows: &[Row]| {
            let live = rows.iter().enumerate().filter(|(at, row)| is_live(*at, row));
            live.map(|(_, row)| row.expires_ms).try_fold(0, |last, expiry| Some(expiry?.max(last)))
        };
        let frames = if segment.is_compacted { 0 } else { FRAME_BYTES };
        SegmentFacts {
            id: SegmentId(id),
            file_bytes: u64::from(rows) * (COMPACTED_BYTES + frames),
            footer_bytes: u64::from(rows) * FOOTER_BYTES,
            rows,
            row_bytes: u64::from(rows) * RECORD_BYTES,
            live_rows: segment.live,
            live_bytes: u64::from(segment.live) * RECORD_BYTES,
            markers: segment.markers,
            marker_bytes: None,
            expired_bytes: u64::from(segment.expired) * RECORD_BYTES,
            last_seq: Seq(segment.last_seq),
            written_ms: segment.written_ms,
            all_expire_by_ms: if expires { last_expiry(&segment.rows) } else { None },
            is_compacted: segment.is_compacted,
            is_damaged: false,
            is_held: id == self.active,
        }
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        let bytes = |segment: &Segment| {
            let frames = if segment.is_compacted { 0 } else { FRAME_BYTES };
            u64::try_from(segment.rows.len()).unwrap() * (COMPACTED_BYTES + frames)
        };
        self.segments.values().map(bytes).sum()
    }

    /// What the live rows would take in compacted segments.
    pub(crate) fn compacted_bytes(&self) -> u64 {
        self.segments.values().map(|segment| u64::from(segment.live) * COMPACTED_BYTES).sum()
    }

    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }
}

/// `of / to`.
pub(crate) fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to as f64
}
