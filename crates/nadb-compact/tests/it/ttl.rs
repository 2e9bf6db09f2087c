//! Records that expire: their segments die whole, and next to nothing of them is copied.

use crate::model::Rng;
use crate::runs::{HOUR, churn};

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
