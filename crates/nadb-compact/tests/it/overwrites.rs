//! Overwrites: space at rest, space at most, bytes written.

use nadb_compact::{Decision, Demand, PolicyOptions};

use crate::model::{Model, Rng, ratio};
use crate::runs::overwrite;

const KEYS: u32 = 60_000;
const ROWS_MAX: u32 = 3_000;

#[test]
fn three_overwrites_of_each_key_cost_little_and_leave_little() {
    for (zipf, written) in [(None, 2.15), (Some(0.99), 2.2)] {
        let cost = overwrite(KEYS, (ROWS_MAX, 3), zipf, Demand::UnderLoad, PolicyOptions::default());
        assert!(cost.at_rest <= 1.3, "{zipf:?}: {} at rest", cost.at_rest);
        assert!(cost.written <= written, "{zipf:?}: {} written", cost.written);
        assert!(cost.copied <= 0.7, "{zipf:?}: {} copied", cost.copied);
        assert!(cost.times_copied <= 4, "{zipf:?}: one record {} times", cost.times_copied);
    }
}

#[test]
fn ten_overwrites_of_each_key_never_take_three_times_the_space() {
    for zipf in [None, Some(0.99)] {
        let cost = overwrite(KEYS, (ROWS_MAX, 10), zipf, Demand::UnderLoad, PolicyOptions::default());
        assert!(cost.peak <= 2.3 && cost.peak_user <= 3.0, "{zipf:?}: {}, {}", cost.peak, cost.peak_user);
        assert!(cost.written <= 2.15, "{zipf:?}: {} written", cost.written);
        assert!(cost.segments <= 50, "{zipf:?}: {} segments", cost.segments);
    }
}

#[test]
fn a_store_of_a_few_segments_keeps_the_bounds_too() {
    for zipf in [None, Some(0.99)] {
        let cost = overwrite(KEYS, (KEYS * 3 / 10, 10), zipf, Demand::UnderLoad, PolicyOptions::default());
        assert!(cost.at_rest <= 1.3, "{zipf:?}: {} at rest", cost.at_rest);
        assert!(cost.written <= 2.2, "{zipf:?}: {} written", cost.written);
        assert!(cost.peak <= 2.7, "{zipf:?}: {}", cost.peak);
    }
}

#[test]
fn the_bound_is_kept_at_rest_whatever_it_is() {
    for dead_share in [0.05, 0.1, 0.4] {
        let options = PolicyOptions { dead_share, ..PolicyOptions::default() };
        let cost = overwrite(KEYS, (ROWS_MAX, 2), None, Demand::UnderLoad, options);
        assert!(cost.at_rest <= 1.0 / (1.0 - dead_share) + 0.01, "{dead_share}: {}", cost.at_rest);
    }
}

#[test]
fn what_was_just_loaded_is_left_alone() {
    for dead_share in [0.05, 0.2] {
        let mut model = Model::new(ROWS_MAX, PolicyOptions { dead_share, ..PolicyOptions::default() });
        (0..KEYS).for_each(|key| model.write(key, None, Demand::UnderLoad));
        model.compact(Demand::AtRest);
        assert_eq!((model.copied_bytes, model.compactions), (0, 0));
    }
}

#[test]
fn deletes_give_their_space_back_once_nothing_is_marked_any_more() {
    let mut model = Model::new(ROWS_MAX, PolicyOptions::default());
    (0..KEYS).for_each(|key| model.write(key, None, Demand::UnderLoad));
    (0..KEYS).filter(|key| key % 10 > 0).for_each(|key| model.delete(key));
    model.compact(Demand::AtRest);
    let marked = ratio(model.file_bytes(), model.compacted_bytes());
    assert!(marked > 5.0, "{marked}: markers are kept");
    model.clear_markers();
    model.compact(Demand::AtRest);
    let cleared = ratio(model.file_bytes(), model.compacted_bytes());
    assert!(cleared <= 1.25, "{cleared}");
}

#[test]
fn segments_with_nothing_kept_go_without_a_byte_copied() {
    let mut model = Model::new(ROWS_MAX, PolicyOptions::default());
    (0..KEYS).for_each(|key| model.write(key, None, Demand::UnderLoad));
    (0..KEYS).for_each(|key| model.delete(key));
    model.clear_markers();
    model.rotate();
    model.compact(Demand::UnderLoad);
    assert_eq!((model.file_bytes(), model.copied_bytes, model.compactions), (0, 0, 1));
}

#[test]
fn a_full_compaction_leaves_nothing_to_gain() {
    let mut rng = Rng(3);
    let mut model = Model::new(ROWS_MAX, PolicyOptions::default());
    (0..KEYS).for_each(|key| model.write(key, None, Demand::UnderLoad));
    (0..KEYS / 3).for_each(|_| model.write(rng.below(KEYS), None, Demand::UnderLoad));
    model.rotate();
    model.compact(Demand::Full);
    assert_eq!(model.file_bytes(), model.compacted_bytes());
    assert_eq!(model.times_copied, 1);
}

#[test]
fn what_does_not_fit_is_done_in_parts_and_what_fits_nowhere_is_said() {
    let mut rng = Rng(5);
    let mut model = Model::new(ROWS_MAX, PolicyOptions { lag: 3.0, ..PolicyOptions::default() });
    (0..KEYS).for_each(|key| model.write(key, None, Demand::UnderLoad));
    (0..KEYS / 2).for_each(|_| model.write(rng.below(KEYS), None, Demand::UnderLoad));
    model.room_bytes = 1_000;
    let Decision::NoRoom { needed_bytes } = model.decide(Demand::AtRest) else {
        panic!("there is no room");
    };
    assert!(needed_bytes > 1_000);
    model.room_bytes = needed_bytes;
    let choice = model.decide(Demand::AtRest).choice().unwrap();
    assert_eq!((choice.inputs.len(), choice.copied_bytes), (1, needed_bytes));
    model.room_bytes = needed_bytes * 3;
    let before = model.file_bytes();
    model.compact(Demand::AtRest);
    assert!(model.peak_bytes <= before + needed_bytes * 3);
    assert!(ratio(model.file_bytes(), model.compacted_bytes()) <= 1.25);
}
