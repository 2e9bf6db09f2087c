//! `nadb stats`: counts and sizes.

use std::time::Duration;

use clap::Args;
use nadb::WriteTime;
use serde_json::Value;

use crate::context::Context;
use crate::failure::Result;
use crate::fields::Fields;

const EXAMPLES: &str = "\
Examples:
  nadb stats
  nadb --json stats

Bytes of log, live records and footers are in files, mapped bytes are files too. Memory bytes are all that the store holds
in memory, and index bytes and what follows are its parts: the limit is for memtables, sealing, buffers and frames.
Times are in nanoseconds, on average of the operations that were timed. Views, seals, times and what belongs to them begin
at zero when the store is opened, so here they show this command alone; programs ask for them with Store::stats.";

/// Print counts and sizes of the store
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stats {}

impl Stats {
    /// One line for each figure.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let (stats, segments, recovery) = context
            .with_existing(|store| Ok((store.stats()?, store.segments()?, store.recovery().clone())))?;
        let footer_bytes: u64 = segments.iter().map(|segment| segment.footer_bytes).sum();
        let oldest_view_ms =
            stats.oldest_view.map(|open| u64::try_from(open.as_millis()).unwrap_or(u64::MAX));
        let fields = Fields::default()
            .with("path", context.path.display().to_string())
            .with("keys", stats.keys)
            .with("namespaces", stats.namespaces)
            .with("segments", stats.segments)
            .with("unsealed_segments", stats.unsealed_segments)
            .with("records", stats.records)
            .with("log_bytes", stats.log_bytes)
            .with("live_bytes", stats.live_bytes)
            .with("footer_bytes", footer_bytes)
            .with("mapped_bytes", stats.mapped_bytes)
            .with("memory_bytes", stats.memory_bytes())
            .with("memory_limit", stats.memory_limit)
            .with("index_bytes", stats.index_bytes)
            .with("live_set_bytes", stats.live_set_bytes)
            .with("rebuilt_footers", stats.rebuilt_footers)
            .with("versions_bytes", stats.versions_bytes)
            .with("footer_memory_bytes", stats.footer_memory_bytes)
            .with("fixed_bytes", stats.fixed_bytes)
            .with("memtable_bytes", stats.memtable_bytes)
            .with("sealing_bytes", stats.sealing_bytes)
            .with("buffer_bytes", stats.buffer_bytes)
            .with("frame_bytes", stats.frame_bytes)
            .with("views", stats.views)
            .with("oldest_view_ms", oldest_view_ms)
            .with("remembered_deaths", stats.remembered_deaths)
            .with("seals", stats.seals)
            .with("seal_waits", stats.seal_waits)
            .with("early_rotations", stats.early_rotations)
            .with("segment_waits", stats.segment_waits)
            .with("published_seq", stats.published_seq)
            .with("durable_seq", stats.durable_seq)
            .with("clean_open", recovery.clean)
            .with("replayed_frames", recovery.frames)
            .with("cut_bytes", recovery.cut_bytes);
        let time = &stats.time;
        let fields = with_write_time(fields, WRITE_NAMES, &time.writes);
        let fields = with_write_time(fields, BATCH_NAMES, &time.batches);
        let nanos = |total| mean_nanos(total, time.gets.sampled);
        let fields = fields
            .with("get_samples", time.gets.sampled)
            .with("get_index_ns", nanos(time.gets.index))
            .with("get_record_ns", nanos(time.gets.record))
            .with("get_verify_ns", nanos(time.gets.verify));
        let mut out = context.output();
        out.either(&fields, || fields.to_table())?;
        out.finish()
    }
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
