//! What `nadb stats` prints: every figure with its name, and a table of the operations.

use std::time::Duration;

use nadb::{OpTimes, RecoveryReport, Stats, WriteTime};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::fields::Fields;
use crate::{present, table};

/// The figures of a store, as they were at one moment.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) stats: Stats,
    pub(super) recovery: RecoveryReport,
}

impl Figures {
    /// As one JSON object.
    pub(super) fn json(&self, context: &Context) -> Fields {
        let operation = |(name, times): (&str, OpTimes)| (name.to_owned(), operation_json(&times));
        let operations: Map<String, Value> = self.stats.ops.by_name().into_iter().map(operation).collect();
        self.fields(context).with("operations", operations)
    }

    /// As two tables.
    pub(super) fn text(&self, context: &Context) -> String {
        let heading =
            ["OPERATION", "COUNT", "BYTES", "SAMPLED", "MEAN", "P50", "P95", "P99", "MAX"].map(str::to_owned);
        let mut rows = vec![heading.to_vec()];
        rows.extend(self.stats.ops.by_name().into_iter().map(|(name, times)| operation_row(name, &times)));
        format!("{}\n{}", self.fields(context).to_table(), table::render(&rows, &[1, 2, 3, 4, 5, 6, 7, 8]))
    }

    fn fields(&self, context: &Context) -> Fields {
        let fields = Fields::default().with("path", context.shown());
        let fields = self.with_times(self.with_work(self.with_memory(self.with_files(fields))));
        fields
            .with("clean_open", self.recovery.clean)
            .with("replayed_frames", self.recovery.frames)
            .with("cut_bytes", self.recovery.cut_bytes)
    }

    /// What is in the files.
    fn with_files(&self, fields: Fields) -> Fields {
        let stats = &self.stats;
        fields
            .with("keys", stats.keys)
            .with("namespaces", stats.namespaces)
            .with("segments", stats.segments)
            .with("unsealed_segments", stats.unsealed_segments)
            .with("records", stats.records)
            .with("log_bytes", stats.log_bytes)
            .with("live_bytes", stats.live_bytes)
            .with("footer_bytes", stats.footer_bytes)
            .with("space_amplification", ratio(stats.space_amplification()))
            .with("mapped_bytes", stats.mapped_bytes)
            .with("rebuilt_footers", stats.rebuilt_footers)
    }

    fn with_memory(&self, fields: Fields) -> Fields {
        let stats = &self.stats;
        fields
            .with("memory_bytes", stats.memory_bytes())
            .with("memory_limit", stats.memory_limit)
            .with("index_bytes", stats.index_bytes)
            .with("live_set_bytes", stats.live_set_bytes)
            .with("versions_bytes", stats.versions_bytes)
            .with("tag_counts_bytes", stats.tag_counts_bytes)
            .with("access_bytes", stats.access_bytes)
            .with("footer_memory_bytes", stats.footer_memory_bytes)
            .with("fixed_bytes", stats.fixed_bytes)
            .with("memtable_bytes", stats.memtable_bytes)
            .with("sealing_bytes", stats.sealing_bytes)
            .with("buffer_bytes", stats.buffer_bytes)
            .with("frame_bytes", stats.frame_bytes)
    }

    /// What was done since the store was opened.
    fn with_work(&self, fields: Fields) -> Fields {
        let stats = &self.stats;
        let oldest_view_ms =
            stats.oldest_view.map(|open| u64::try_from(open.as_millis()).unwrap_or(u64::MAX));
        fields
            .with("views", stats.views)
            .with("oldest_view_ms", oldest_view_ms)
            .with("remembered_deaths", stats.remembered_deaths)
            .with("pinned_bytes", stats.pinned_bytes)
            .with("reaped_records", stats.reaped_records)
            .with("time_mark_ms", stats.time_mark_ms)
            .with("reaping_refused", stats.reaping_refused.clone())
            .with("compactions", stats.compactions)
            .with("compacted_bytes", stats.compacted_bytes)
            .with("compaction_written_bytes", stats.compaction_written_bytes)
            .with("filtered_records", stats.filtered_records)
            .with("filter_failures", stats.filter_failures)
            .with("compaction_failure", stats.compaction_failure.clone())
            .with("retired_segments", stats.retired_segments)
            .with("retired_bytes", stats.retired_bytes)
            .with("seals", stats.seals)
            .with("seal_waits", stats.seal_waits)
            .with("early_rotations", stats.early_rotations)
            .with("segment_waits", stats.segment_waits)
            .with("appends", stats.appends)
            .with("scans", stats.scans)
            .with("slow_operations", stats.slow_operations)
            .with("user_bytes", stats.user_bytes())
            .with("written_bytes", stats.written_bytes)
            .with("write_amplification", ratio(stats.write_amplification()))
            .with("value_bytes", stats.value_bytes)
            .with("value_stored_bytes", stats.value_stored_bytes)
            .with("compression_ratio", ratio(stats.compression_ratio()))
            .with("buffered_bytes", stats.buffered_bytes)
            .with("published_seq", stats.published_seq)
            .with("durable_seq", stats.durable_seq)
    }

    /// Where the time went.
    fn with_times(&self, fields: Fields) -> Fields {
        let time = &self.stats.time;
        let fields = with_write_time(fields, WRITE_NAMES, &time.writes);
        let fields = with_write_time(fields, BATCH_NAMES, &time.batches);
        let nanos = |total| mean_nanos(total, time.gets.sampled);
        fields
            .with("get_samples", time.gets.sampled)
            .with("get_index_ns", nanos(time.gets.index))
            .with("get_record_ns", nanos(time.gets.record))
            .with("get_verify_ns", nanos(time.gets.verify))
    }
}

fn operation_json(times: &OpTimes) -> Value {
    let nanos = |time: Duration| match times.sampled {
        0 => Value::Null,
        _ => u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).into(),
    };
    let figures = [
        ("count", times.count.into()),
        ("bytes", times.bytes.into()),
        ("sampled", times.sampled.into()),
        ("mean_ns", nanos(times.mean)),
        ("p50_ns", nanos(times.p50)),
        ("p95_ns", nanos(times.p95)),
        ("p99_ns", nanos(times.p99)),
        ("max_ns", nanos(times.max)),
    ];
    Value::Object(figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn operation_row(name: &str, times: &OpTimes) -> Vec<String> {
    let shown = |time| if times.sampled == 0 { "-".to_owned() } else { present::time(time) };
    let counts = [times.count, times.bytes, times.sampled].map(|count| count.to_string());
    let spent = [times.mean, times.p50, times.p95, times.p99, times.max].map(shown);
    [name.replace('_', " ")].into_iter().chain(counts).chain(spent).collect()
}

/// To two places.
fn ratio(ratio: Option<f64>) -> Option<f64> {
    ratio.map(|ratio| (ratio * 100.0).round() / 100.0)
}

const WRITE_NAMES: [&str; 6] = [
    "write_samples",
    "write_encode_ns",
    "write_wait_ns",
    "write_append_ns",
    "write_index_ns",
    "write_sync_ns",
];
const BATCH_NAMES: [&str; 6] = [
    "batch_samples",
    "batch_encode_ns",
    "batch_wait_ns",
    "batch_append_ns",
    "batch_index_ns",
    "batch_sync_ns",
];

/// How many were timed, and how long each phase took on average.
fn with_write_time(fields: Fields, names: [&'static str; 6], time: &WriteTime) -> Fields {
    let [samples, phases @ ..] = names;
    let spent = [time.encode, time.wait, time.append, time.index, time.sync];
    let fields = fields.with(samples, time.sampled);
    phases
        .into_iter()
        .zip(spent)
        .fold(fields, |fields, (name, spent)| fields.with(name, mean_nanos(spent, time.sampled)))
}

/// Nothing where nothing was timed.
fn mean_nanos(total: Duration, samples: u64) -> Value {
    let mean = total.as_nanos().checked_div(u128::from(samples));
    mean.and_then(|nanos| u64::try_from(nanos).ok()).map_or(Value::Null, Value::from)
}
