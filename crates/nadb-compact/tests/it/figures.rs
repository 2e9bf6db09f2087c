//! The figures of docs/decisions/0016-compaction-policy.md:
//! `cargo test -p nadb-compact --release --test it -- --ignored --nocapture figures`.

use nadb_compact::{Demand, PolicyOptions};

use crate::model::{Model, Rng, USER_BYTES, Zipf, ratio};
use crate::ttl::{HOUR, churn};

/// What overwriting cost.
pub(crate) struct Cost {
    /// Bytes of the files at rest, by what the same live rows take freshly compacted.
    pub(crate) at_rest: f64,
    /// Bytes written by the log and by the compactor, by bytes of keys and values that were written.
    pub(crate) written: f64,
    /// Of them, those of the compactor.
    pub(crate) copied: f64,
    /// The most that the files ever took, outputs beside their inputs included, by what the live rows take compacted.
    pub(crate) peak: f64,
    /// The same by bytes of live keys and values.
    pub(crate) peak_user: f64,
    pub(crate) segments: usize,
    pub(crate) times_copied: u32,
}

/// Loads `keys`, overwrites them `rounds` times while `demand` is all that is wanted, and lets the store come to rest. Segments have
/// `rows_max` rows. Figures of bytes written are those of the overwrites and the rest, without the load.
pub(crate) fn overwrite(
    keys: u32,
    (rows_max, rounds): (u32, u32),
    zipf: Option<f64>,
    demand: Demand,
    options: PolicyOptions,
) -> Cost {
    let mut rng = Rng(7);
    let zipf = zipf.map(|exponent| Zipf::new(keys, exponent));
    let mut model = Model::new(rows_max, options);
    (0..keys).for_each(|key| model.write(key, None, demand));
    let (user, log, copied) = (model.user_bytes, model.log_bytes, model.copied_bytes);
    for _ in 0..u64::from(keys) * u64::from(rounds) {
        let key = match &zipf {
            Some(zipf) => zipf.draw(&mut rng),
            None => rng.below(keys),
        };
        model.write(key, None, demand);
    }
    model.compact(Demand::AtRest);
    let user = model.user_bytes - user;
    Cost {
        at_rest: ratio(model.file_bytes(), model.compacted_bytes()),
        written: ratio(model.log_bytes + model.copied_bytes - log - copied, user),
        copied: ratio(model.copied_bytes - copied, user),
        peak: ratio(model.peak_bytes, model.compacted_bytes()),
        peak_user: ratio(model.peak_bytes, u64::from(keys) * USER_BYTES),
        segments: model.segments(),
        times_copied: model.times_copied,
    }
}

/// Prints one line of a table in Markdown.
#[expect(clippy::print_stdout, reason = "figures for people")]
fn line(
    name: &str,
    (rows_max, rounds): (u32, u32),
    zipf: Option<f64>,
    demand: Demand,
    options: PolicyOptions,
) {
    let cost = overwrite(300_000, (rows_max, rounds), zipf, demand, options);
    println!(
        "| {name} | {} | {rounds} N | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
        if zipf.is_some() { "zipf 0.99" } else { "uniform" },
        options.dead_share,
        options.lag,
        cost.at_rest,
        cost.written,
        cost.copied,
        cost.peak,
        cost.peak_user,
        cost.segments,
        cost.times_copied,
    );
}

#[test]
#[ignore = "prints figures, checks nothing"]
fn figures_of_overwrites() {
    let with = |dead_share, lag| PolicyOptions { dead_share, lag, ..PolicyOptions::default() };
    for zipf in [None, Some(0.99)] {
        for (dead_share, rounds) in [(0.1, 3), (0.2, 3), (0.4, 3), (0.1, 10), (0.2, 10), (0.4, 10)] {
            line("20", (15_000, rounds), zipf, Demand::UnderLoad, with(dead_share, 2.0));
        }
        for lag in [1.6, 1.8, 2.2, 2.6] {
            line("20", (15_000, 3), zipf, Demand::UnderLoad, with(0.2, lag));
        }
        line("3", (90_000, 3), zipf, Demand::UnderLoad, with(0.2, 2.0));
        line("3", (90_000, 10), zipf, Demand::UnderLoad, with(0.2, 2.0));
        for dead_share in [0.1, 0.2, 0.4] {
            line("20, never busy", (15_000, 3), zipf, Demand::AtRest, with(dead_share, 2.0));
        }
    }
}

#[test]
#[ignore = "prints figures, checks nothing"]
fn figures_of_lifetimes() {
    let line = |name, hours, ttl_ms: &dyn Fn(&mut Rng) -> u64| {
        let (copied, space) = churn(hours, ttl_ms);
        println!("| {name} | {:.1} % | {space:.2} |", copied * 100.0);
    };
    line("1 h", 12, &|_| HOUR);
    line("1 to 3 h", 12, &|rng| HOUR + u64::from(rng.below(7_200_000)));
    line("0 to 2 h", 12, &|rng| 1 + u64::from(rng.below(7_200_000)));
    line("80 % 1 h, 20 % 4 h", 20, &|rng| if rng.below(10) < 8 { HOUR } else { 4 * HOUR });
    line("80 % 1 h, 20 % 24 h", 60, &|rng| if rng.below(10) < 8 { HOUR } else { 24 * HOUR });
    line("75 % 1 h, 25 % stay", 12, &|rng| if rng.below(4) == 0 { 1_000 * HOUR } else { HOUR });
}
