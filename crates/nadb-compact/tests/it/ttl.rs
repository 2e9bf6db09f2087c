//! Records that expire: their segments die whole, and next to nothing of them is copied.

use nadb_compact::{Demand, PolicyOptions};

use crate::model::{Model, Rng, ratio};

const ROWS_MAX: u32 = 400;
pub(crate) const HOUR: u64 = 3_600_000;
/// Records written in an hour.
const AN_HOUR: u32 = 4_000;

/// Bytes copied by bytes written, and the most bytes there were by those that lived.
pub(crate) fn churn(hours: u32, ttl_ms: impl Fn(&mut Rng) -> u64) -> (f64, f64) {
    let mut rng = Rng(11);
    let mut model = Model::new(ROWS_MAX, PolicyOptions::default());
    let mut space: f64 = 0.0;
    for key in 0..hours * AN_HOUR {
        model.pass(HOUR / u64::from(AN_HOUR));
        let ttl_ms = ttl_ms(&mut rng);
        model.write(key, Some(model.now_ms + ttl_ms), Demand::UnderLoad);
        if key % ROWS_MAX == 0 {
            model.compact(Demand::AtRest); // it is never so busy that it would not have time
        }
        if key > hours * AN_HOUR / 2 {
            space = space.max(ratio(model.file_bytes(), model.compacted_bytes()));
        }
    }
    (ratio(model.copied_bytes, model.log_bytes), space)
}

/// Checks how much was copied, and how much space was taken.
fn check(name: &str, hours: u32, ttl_ms: impl Fn(&mut Rng) -> u64, copied_max: f64, space_max: f64) {
    let (copied, space) = churn(hours, ttl_ms);
    assert!(copied <= copied_max, "{name}: {copied} copied");
    assert!(space <= space_max, "{name}: {space} taken");
}

#[test]
fn records_of_one_lifetime_die_where_they_are() {
    check("1 h", 6, |_| HOUR, 0.0, 1.4);
    check("3 h", 12, |_| 3 * HOUR, 0.0, 1.3);
}

#[test]
fn records_of_random_lifetimes_die_where_they_are() {
    check("1 to 3 h", 12, |rng| HOUR + u64::from(rng.below(7_200_000)), 0.0, 2.0);
    check("up to 2 h", 12, |rng| 1 + u64::from(rng.below(7_200_000)), 0.05, 3.0);
}

#[test]
fn of_short_and_long_lifetimes_little_is_copied() {
    let two = |rng: &mut Rng| if rng.below(10) < 8 { HOUR } else { 4 * HOUR };
    check("1 or 4 h", 20, two, 0.05, 3.3);
    // Most live for an hour, the rest for a day: whatever is done, either is copied or holds space.
    let far = |rng: &mut Rng| if rng.below(10) < 8 { HOUR } else { 24 * HOUR };
    check("1 or 24 h", 60, far, 0.25, 2.0);
}

#[test]
fn what_stays_does_not_hold_what_expires() {
    // Every fourth record stays; after one copy each those are apart.
    let (copied, space) = churn(12, |rng| if rng.below(4) == 0 { HOUR * 1_000 } else { HOUR });
    assert!(copied <= 0.25, "{copied}");
    assert!(space <= 1.3, "{space}");
}
