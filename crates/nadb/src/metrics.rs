//! Statistics for the recorder of the crate `metrics`.
//!
//! They are reported when the user asks for it and not by each operation, so that an operation costs the same with the feature as
//! without it. Names, units and meaning stand in docs/metrics.md; the test beside this file compares them. No label has anything that
//! users have stored: only the name that the caller gives the store, and the names of operations.

use std::time::Duration;

use metrics::{Label, counter, gauge};
use nadb_core::{OpTimes, Result, Stats};

use crate::Store;

impl Store {
    /// Reports what [`stats`](Store::stats) has to the recorder that the process has installed with the crate `metrics`; without
    /// one nothing happens. `name` tells stores of one process apart: it is the label `store` of every metric.
    ///
    /// Call it as often as somebody looks at the figures: from a timer, or when metrics are about to be scraped. It takes as long
    /// as [`stats`](Store::stats).
    ///
    /// # Errors
    /// As [`stats`](Store::stats).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// store.namespace("n")?.set("k", "v")?;
    /// store.report_metrics("sessions")?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn report_metrics(&self, name: &str) -> Result<()> {
        report(&self.stats()?, name);
        Ok(())
    }
}

fn report(stats: &Stats, store: &str) {
    let labels = vec![Label::new("store", store.to_owned())];
    for (name, value) in counters(stats) {
        counter!(name, labels.clone()).absolute(value);
    }
    for (name, value) in sizes(stats) {
        gauge!(name, labels.clone()).set(float(value));
    }
    for (name, value) in ratios(stats) {
        if let Some(value) = value {
            gauge!(name, labels.clone()).set(value);
        }
    }
    for (operation, times) in stats.ops.by_name() {
        let mut labels = labels.clone();
        labels.push(Label::from_static_parts("operation", operation));
        report_operation(&times, &labels);
    }
}

fn report_operation(times: &OpTimes, labels: &[Label]) {
    counter!("nadb_operations_total", labels.to_vec()).absolute(times.count);
    counter!("nadb_operation_bytes_total", labels.to_vec()).absolute(times.bytes);
    if times.sampled == 0 {
        return;
    }
    gauge!("nadb_operation_mean_seconds", labels.to_vec()).set(times.mean.as_secs_f64());
    let quantiles: [(&'static str, Duration); 4] =
        [("0.5", times.p50), ("0.95", times.p95), ("0.99", times.p99), ("1", times.max)];
    for (quantile, time) in quantiles {
        let mut labels = labels.to_vec();
        labels.push(Label::from_static_parts("quantile", quantile));
        gauge!("nadb_operation_seconds", labels).set(time.as_secs_f64());
    }
}

/// What only rises while a store is open.
fn counters(stats: &Stats) -> [(&'static str, u64); 14] {
    [
        ("nadb_batches_total", stats.batches),
        ("nadb_scans_total", stats.scans),
        ("nadb_slow_operations_total", stats.slow_operations),
        ("nadb_compactions_total", stats.compactions),
        ("nadb_compacted_bytes_total", stats.compacted_bytes),
        ("nadb_compaction_written_bytes_total", stats.compaction_written_bytes),
        ("nadb_value_bytes_total", stats.value_bytes),
        ("nadb_value_stored_bytes_total", stats.value_stored_bytes),
        ("nadb_written_bytes_total", stats.written_bytes),
        ("nadb_appends_total", stats.appends),
        ("nadb_seals_total", stats.seals),
        ("nadb_seal_waits_total", stats.seal_waits),
        ("nadb_segment_waits_total", stats.segment_waits),
        ("nadb_rebuilt_footers_total", stats.rebuilt_footers),
    ]
}

/// What rises and falls.
fn sizes(stats: &Stats) -> [(&'static str, u64); 19] {
    [
        ("nadb_keys", stats.keys),
        ("nadb_namespaces", stats.namespaces),
        ("nadb_records", stats.records),
        ("nadb_segments", stats.segments),
        ("nadb_unsealed_segments", stats.unsealed_segments),
        ("nadb_log_bytes", stats.log_bytes),
        ("nadb_live_bytes", stats.live_bytes),
        ("nadb_footer_bytes", stats.footer_bytes),
        ("nadb_mapped_bytes", stats.mapped_bytes),
        ("nadb_memory_bytes", stats.memory_bytes()),
        ("nadb_limited_memory_bytes", stats.limited_bytes()),
        ("nadb_memory_limit_bytes", stats.memory_limit),
        ("nadb_index_bytes", stats.index_bytes),
        ("nadb_buffered_bytes", stats.buffered_bytes),
        ("nadb_views", stats.views),
        ("nadb_pinned_bytes", stats.pinned_bytes),
        ("nadb_retired_bytes", stats.retired_bytes),
        ("nadb_published_seq", stats.published_seq),
        ("nadb_durable_seq", stats.durable_seq),
    ]
}

fn ratios(stats: &Stats) -> [(&'static str, Option<f64>); 4] {
    [
        ("nadb_compression_ratio", stats.compression_ratio()),
        ("nadb_write_amplification", stats.write_amplification()),
        ("nadb_space_amplification", stats.space_amplification()),
        ("nadb_oldest_view_seconds", Some(stats.oldest_view.unwrap_or_default().as_secs_f64())),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "gauges are of this type; exact to nine petabytes")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    use super::*;

    /// Keeps the last value of each metric by its name and labels.
    #[derive(Debug, Default)]
    struct Kept(Arc<Mutex<BTreeMap<String, f64>>>);

    struct One(Arc<Mutex<BTreeMap<String, f64>>>, String);

    impl One {
        fn keep(&self, value: f64) {
            self.0.lock().unwrap().insert(self.1.clone(), value);
        }
    }

    impl CounterFn for One {
        fn increment(&self, _: u64) {}
        fn absolute(&self, value: u64) {
            self.keep(float(value));
        }
    }

    impl GaugeFn for One {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}
        fn set(&self, value: f64) {
            self.keep(value);
        }
    }

    impl Kept {
        fn one(&self, key: &Key) -> Arc<One> {
            let labels: Vec<String> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            Arc::new(One(Arc::clone(&self.0), format!("{}{{{}}}", key.name(), labels.join(","))))
        }
    }

    impl Recorder for Kept {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.one(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.one(key))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    const SECRET: &str = "hunter2";

    /// Everything that is reported of a store whose keys, values, tags and namespaces all have the secret in them.
    fn reported() -> BTreeMap<String, f64> {
        let kept = Kept::default();
        metrics::with_local_recorder(&kept, || {
            let store = Store::memory().unwrap();
            let secrets = store.namespace(SECRET).unwrap();
            for nth in 0..3 {
                secrets.put(format!("{SECRET}{nth}"), SECRET).tags([SECRET]).commit().unwrap();
            }
            assert!(secrets.get(format!("{SECRET}1")).unwrap().is_some());
            store.flush().unwrap();
            store.report_metrics("vault").unwrap();
        });
        let kept = kept.0.lock().unwrap();
        kept.clone()
    }

    #[test]
    fn what_is_reported_is_what_the_statistics_say() {
        let reported = reported();
        for (name, value) in [
            ("nadb_keys{store=vault}", 3.0),
            ("nadb_operations_total{store=vault,operation=set}", 3.0),
            ("nadb_operation_bytes_total{store=vault,operation=set}", 45.0),
            ("nadb_operations_total{store=vault,operation=get}", 1.0),
            ("nadb_operation_bytes_total{store=vault,operation=get}", 7.0),
            ("nadb_operations_total{store=vault,operation=flush}", 1.0),
            ("nadb_compression_ratio{store=vault}", 1.0),
        ] {
            assert_eq!(reported.get(name), Some(&value), "{name} in {reported:?}");
        }
        assert!(reported.contains_key("nadb_operation_seconds{store=vault,operation=flush,quantile=0.99}"));
        // Nothing was timed, so nothing is said.
        assert!(!reported.contains_key("nadb_operation_mean_seconds{store=vault,operation=merge}"));
    }

    #[test]
    fn nothing_that_users_have_stored_is_reported() {
        assert!(reported().keys().all(|name| !name.contains(SECRET)));
    }

    #[test]
    fn every_metric_is_documented_and_no_other() {
        let text = include_str!("../../../docs/metrics.md");
        let documented: std::collections::BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `nadb_")?.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        let reported = reported();
        let reported: std::collections::BTreeSet<&str> = reported
            .keys()
            .filter_map(|key| key.strip_prefix("nadb_")?.split_once('{'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(documented, reported);
    }
}
