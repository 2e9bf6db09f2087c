//! The figures of docs/decisions/0016-compaction-policy.md:
//! `cargo test -p nadb-compact --release --test it -- --ignored --nocapture figures`.

use nadb_compact::{Demand, PolicyOptions};

use crate::model::{Model, Rng, USER_BYTES, Zipf, ratio};

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

/// Loads `keys`, overwrites them `rounds` times under load, and lets the store come to rest. Figures of bytes written are those of
/// the overwrites and the rest, without the load.
pub(crate) fn overwrite(keys: u32, rows_max: u32, rounds: u32, zipf: Option<f64>, options: PolicyOptions) -> Cost {
    let mut rng = Rng(7);
    let zipf = zipf.map(|exponent| Zipf::new(keys, exponent));
    let mut model = Model::new(rows_max, options);
    (0..keys).for_each(|key| model.write(key, None, Demand::UnderLoad));
    let (user, log, copied) = (model.user_bytes, model.log_bytes, model.copied_bytes);
    for _ in 0..u64::from(keys) * u64::from(rounds) {
        let key = match &zipf {
            Some(zipf) => zipf.draw(&mut rng),
            None => rng.below(keys),
        };
        model.write(key, None, Demand::UnderLoad);
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

#[test]
#[ignore = "prints figures, checks nothing"]
fn figures_of_overwrites() {
    println!("{:>9} {:>8} {:>6} {:>5} {:>5} {:>8} {:>8} {:>8} {:>6} {:>9} {:>8} {:>6}", "keys", "keys", "rounds",
        "bound", "lag", "at rest", "written", "copied", "peak", "peak/user", "segments", "copies");
    let lags: Vec<f64> = std::env::var("LAGS").map_or(vec![2.0], |s| s.split(',').map(|x| x.parse().unwrap()).collect());
    for (keys, rows_max) in [(300_000, 90_000), (300_000, 15_000)] {
        for zipf in [None, Some(0.99)] {
            for rounds in [3, 10] {
                for dead_share in std::env::var("DS").map_or(vec![0.1,0.2,0.4],|s| s.split(',').map(|x| x.parse().unwrap()).collect()) {
                    for &lag in &lags {
                        let options = PolicyOptions { dead_share, lag, ..PolicyOptions::default() };
                        let cost = overwrite(keys, rows_max, rounds, zipf, options);
                        println!(
                            "{keys:>9} {:>8} {rounds:>6} {dead_share:>5} {lag:>5} {:>8.2} {:>8.2} {:>8.2} {:>6.2} {:>9.2} {:>8} {:>6}",
                            if zipf.is_some() { "zipf" } else { "uniform" },
                            cost.at_rest, cost.written, cost.copied, cost.peak, cost.peak_user, cost.segments, cost.times_copied,
                        );
                    }
                }
            }
        }
    }
}

#[test]
#[ignore = "prints figures, checks nothing"]
fn figures_of_lifetimes() {
    use crate::ttl::{HOUR, churn};
    println!("copied {:?}", churn(6, |_| HOUR));
    println!("copied {:?}", churn(12, |rng| HOUR + u64::from(rng.below(7_200_000))));
    println!("copied {:?}", churn(12, |rng| 1 + u64::from(rng.below(7_200_000))));
    println!("copied {:?}", churn(20, |rng| if rng.below(10) < 8 { HOUR } else { 4 * HOUR }));
    println!("copied {:?}", churn(60, |rng| if rng.below(10) < 8 { HOUR } else { 24 * HOUR }));
    println!("copied {:?}", churn(12, |rng| if rng.below(4) == 0 { HOUR * 1_000 } else { HOUR }));
}
