//! Whatever segments there are: a decision is sound, and doing what is decided comes to an end.

use nadb_compact::{Choice, Decision, Demand, Moment, Policy, PolicyOptions, SegmentFacts, Why};
use nadb_core::{SegmentId, Seq};
use proptest::prelude::*;

const ROW_BYTES: u64 = 1_000;
const FOOTER_BYTES: u64 = 50;
const FRAME_BYTES: u64 = 100;
/// Bytes of a file without rows.
const HEADER_BYTES: u64 = 100;

fn policy() -> Policy {
    let options = PolicyOptions {
        output_bytes_min: 200_000,
        output_bytes_max: 3_000_000,
        copied_bytes_max: 800_000,
        gain_bytes_min: 0,
        ..PolicyOptions::default()
    };
    Policy::new(options).unwrap()
}

fn segment(id: u32, rows: u32, live: u32, markers: u32) -> SegmentFacts {
    let bytes = |rows: u32, each: u64| u64::from(rows) * each;
    SegmentFacts {
        id: SegmentId(id),
        file_bytes: HEADER_BYTES + bytes(rows, ROW_BYTES + FOOTER_BYTES + FRAME_BYTES),
        footer_bytes: bytes(rows, FOOTER_BYTES),
        rows,
        row_bytes: bytes(rows, ROW_BYTES),
        live_rows: live,
        live_bytes: bytes(live, ROW_BYTES),
        markers,
        last_seq: Seq(u64::from(id) * 1_000 + 999),
        ..SegmentFacts::default()
    }
}

/// The outputs in place of the inputs.
fn apply(segments: &mut Vec<SegmentFacts>, choice: &Choice, next: &mut u32) {
    let (mut live, mut markers) = (0, 0);
    segments.retain(|segment| {
        let goes = choice.inputs.contains(&segment.id);
        if goes {
            live += segment.live_rows;
            markers += segment.markers;
        }
        !goes
    });
    let rows_max = u32::try_from(choice.output_bytes.div_ceil(ROW_BYTES + FOOTER_BYTES)).unwrap();
    while live + markers > 0 {
        let of_live = live.min(rows_max);
        let of_markers = markers.min(rows_max - of_live);
        let mut output = segment(*next, of_live + of_markers, of_live, of_markers);
        output.file_bytes -= u64::from(output.rows) * FRAME_BYTES;
        output.is_compacted = true;
        segments.push(output);
        (live, markers, *next) = (live - of_live, markers - of_markers, *next + 1);
    }
}

fn some_segment() -> impl Strategy<Value = SegmentFacts> {
    let rows = prop_oneof![0_u32..10, 10_u32..300, 300_u32..3_000];
    (rows, 0.0..=1.0, 0.0..=1.0, 0_u8..30, any::<bool>()).prop_map(
        |(rows, live, markers, special, expires)| {
            let some = |share: f64, of: u32| {
                (0..=of).take_while(|count| f64::from(*count) <= share * f64::from(of)).last().unwrap_or(0)
            };
            let live = some(live, rows);
            let markers = some(markers, rows - live) / 4;
            let mut segment = segment(0, rows, live, markers);
            segment.is_held = special == 0;
            segment.is_damaged = special == 1;
            segment.all_expire_by_ms = expires.then_some(u64::from(rows) * 10_000);
            segment.expired_bytes = if special % 2 == 0 { segment.dead_bytes() } else { 0 };
            segment
        },
    )
}

fn some_demand() -> impl Strategy<Value = Demand> {
    prop_oneof![Just(Demand::UnderLoad), Just(Demand::AtRest), Just(Demand::Full)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_decision_is_sound_and_all_of_them_come_to_rest(
        mut segments in prop::collection::vec(some_segment(), 0..60),
        demand in some_demand(),
        room_bytes in prop_oneof![Just(u64::MAX), 0_u64..4_000_000],
        now_ms in 0_u64..20_000_000,
    ) {
        let policy = policy();
        for (id, segment) in (0..).zip(&mut segments) {
            segment.id = SegmentId(id);
        }
        let moment = Moment { now_ms, newest_seq: Seq(100_000), room_bytes, demand };
        let mut next = 1_000;
        let mut copied = 0;
        let live: u64 = segments.iter().map(SegmentFacts::kept_bytes).sum();
        for _ in 0..200 {
            let Decision::Compact(choice) = policy.decide(&segments, &moment) else {
                break;
            };
            let inputs: Vec<&SegmentFacts> =
                segments.iter().filter(|segment| choice.inputs.contains(&segment.id)).collect();
            prop_assert_eq!(inputs.len(), choice.inputs.len());
            prop_assert!(inputs.iter().all(|segment| !segment.is_held));
            prop_assert!(choice.inputs.is_sorted());
            prop_assert!(choice.copied_bytes <= room_bytes);
            prop_assert_eq!(choice.copied_bytes + choice.freed_bytes, choice.input_bytes);
            let total: u64 = segments.iter().map(|segment| segment.file_bytes).sum();
            let one = inputs.iter().map(|segment| segment.kept_bytes()).max().unwrap();
            let most = policy.options().copied_bytes_max.max(policy.output_bytes(total)).max(one);
            prop_assert!(demand == Demand::Full || choice.copied_bytes <= most);
            prop_assert!(choice.why != Why::Empty || choice.copied_bytes == 0);
            copied += choice.copied_bytes;
            apply(&mut segments, &choice, &mut next);
        }
        prop_assert!(!matches!(policy.decide(&segments, &moment), Decision::Compact(_)), "no rest");
        // Once for what is dead, and then by doubling.
        prop_assert!(copied <= live * 6, "{copied} bytes copied of {live}");
    }

    #[test]
    fn few_small_segments_are_left(sizes in prop::collection::vec(1_u32..150, 0..200)) {
        let policy = policy();
        let mut segments: Vec<SegmentFacts> =
            (0..).zip(&sizes).map(|(id, rows)| segment(id, *rows, *rows, 0)).collect();
        let mut next = 1_000;
        while let Some(choice) = policy.decide(&segments, &Moment::default()).choice() {
            prop_assert_eq!(choice.why, Why::Small);
            apply(&mut segments, &choice, &mut next);
        }
        let small = segments.iter().filter(|segment| segment.kept_bytes() < 50_000).count();
        prop_assert!(small <= 6, "{} small ones", small);
    }
}

#[test]
fn a_small_segment_now_and_then_is_not_joined_with_a_large_one_each_time() {
    let policy = policy();
    let mut segments = vec![];
    let (mut next, mut copied, mut written) = (0, 0, 0);
    for _ in 0..2_000 {
        segments.push(segment(next, 3, 3, 0));
        (next, written) = (next + 1, written + 3 * (ROW_BYTES + FOOTER_BYTES));
        while let Some(choice) = policy.decide(&segments, &Moment::default()).choice() {
            copied += choice.copied_bytes;
            apply(&mut segments, &choice, &mut next);
        }
    }
    assert!(copied <= written * 8, "{copied} of {written}");
    let large = usize::try_from(written / 50_000).unwrap();
    assert!(segments.len() <= large + 6, "{} segments", segments.len());
}

#[test]
fn damaged_segments_go_first_and_held_ones_never() {
    let mut segments = vec![segment(1, 500, 450, 0), segment(2, 100, 10, 0), segment(3, 100, 5, 0)];
    segments[0].is_damaged = true;
    segments[2].is_held = true;
    let choice = policy().decide(&segments, &Moment::default()).choice().unwrap();
    assert_eq!((choice.inputs, choice.why), (vec![SegmentId(1)], Why::Damaged));
    segments[0].is_held = true;
    let choice = policy().decide(&segments, &Moment::default()).choice().unwrap();
    assert_eq!((choice.inputs, choice.why), (vec![SegmentId(2)], Why::Dead));
}

#[test]
fn a_damaged_segment_without_room_does_not_hold_up_what_frees_space() {
    let mut segments = vec![segment(1, 1_000, 1_000, 0), segment(2, 1_000, 100, 0)];
    segments[0].is_damaged = true;
    let moment = Moment { room_bytes: 200_000, ..Moment::default() };
    let choice = policy().decide(&segments, &moment).choice().unwrap();
    assert_eq!((choice.inputs, choice.why), (vec![SegmentId(2)], Why::Dead));
}

#[test]
fn under_load_only_the_limit_counts() {
    let segments = [segment(1, 1_000, 1_000, 0), segment(2, 1_000, 300, 0)];
    let under_load = Moment { demand: Demand::UnderLoad, ..Moment::default() };
    assert_eq!(policy().decide(&segments, &under_load), Decision::Rest);
    let segments = [segment(1, 1_000, 100, 0), segment(2, 1_000, 300, 0)];
    let choice = policy().decide(&segments, &under_load).choice().unwrap();
    assert_eq!((choice.inputs, choice.why), (vec![SegmentId(1)], Why::Lag));
}

#[test]
fn what_expires_is_waited_for_up_to_the_limit_and_no_further() {
    let expires = |id, live| {
        let segment = segment(id, 1_000, live, 0);
        let expired_bytes = segment.dead_bytes();
        SegmentFacts { all_expire_by_ms: Some(20_000), expired_bytes, ..segment }
    };
    let moment = Moment { now_ms: 10_000, ..Moment::default() };
    // Below three times what is kept.
    assert_eq!(policy().decide(&[expires(1, 500), expires(2, 420)], &moment), Decision::Rest);
    // Above it, until it is below again.
    let choice =
        policy().decide(&[expires(1, 300), expires(2, 250), expires(3, 350)], &moment).choice().unwrap();
    assert_eq!((choice.inputs, choice.why), (vec![SegmentId(2)], Why::Lag));
    // Too far ahead to be waited for.
    let early = Moment { now_ms: 3_000, ..moment };
    let choice = policy().decide(&[expires(1, 500), expires(2, 420)], &early).choice().unwrap();
    assert_eq!((choice.inputs, choice.why), (vec![SegmentId(2)], Why::Dead));
}

#[test]
fn outputs_are_of_one_size_and_none_is_a_rest() {
    let segments = [segment(1, 1_000, 210, 0)];
    let choice = policy().decide(&segments, &Moment::default()).choice().unwrap();
    assert_eq!((choice.copied_bytes, choice.output_bytes), (220_500, 110_250));
}

#[test]
fn outputs_grow_with_the_store() {
    let policy = Policy::new(PolicyOptions::default()).unwrap();
    assert_eq!(policy.output_bytes(0), 64 << 20);
    assert_eq!(policy.output_bytes(64 << 30), 1 << 30);
    assert_eq!(policy.output_bytes(u64::MAX), 2 << 30);
}

#[test]
fn the_active_segment_is_sealed_where_the_store_is_at_rest_and_it_is_among_the_dead() {
    let policy = policy();
    let active = SegmentFacts { is_held: true, ..segment(9, 1_000, 100, 0) };
    let at_rest = Moment::default();
    assert!(policy.should_seal(&active, &[segment(1, 1_000, 900, 0)], &at_rest));
    assert!(policy.should_seal(&active, &[segment(1, 1_000, 900, 0), active.clone()], &at_rest));
    let under_load = Moment { demand: Demand::UnderLoad, ..at_rest };
    assert!(!policy.should_seal(&active, &[segment(1, 1_000, 900, 0)], &under_load));
    assert!(!policy.should_seal(&active, &[segment(1, 20_000, 20_000, 0)], &at_rest));
    let live = SegmentFacts { is_held: true, ..segment(9, 1_000, 990, 0) };
    assert!(!policy.should_seal(&live, &[segment(1, 1_000, 100, 0)], &at_rest));
    let least = Policy::new(PolicyOptions { gain_bytes_min: 2_000, ..*policy.options() }).unwrap();
    let tiny = SegmentFacts { is_held: true, ..segment(9, 1, 0, 0) };
    assert!(policy.should_seal(&tiny, &[], &at_rest) && !least.should_seal(&tiny, &[], &at_rest));
}
