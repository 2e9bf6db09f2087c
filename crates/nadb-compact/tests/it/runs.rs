//! Lives of the model: overwrites until the store rests, and records that expire. The tests bound what they cost, the example `policy` prints it.

use nadb_compact::{Demand, PolicyOptions};

use crate::model::{Model, Rng, USER_BYTES, Zipf, ratio};

/// Milliseconds.
pub(crate) const HOUR: u64 = 3_600_000;
/// Records written in an hour.
const AN_HOUR: u32 = 4_000;
/// Rows of a segment of records that expire.
const ROWS_MAX: u32 = 400;

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
