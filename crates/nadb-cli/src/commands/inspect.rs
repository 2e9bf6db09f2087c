//! `nadb inspect`: the segments of the log.

use clap::Args;
use nadb::{SegmentInfo, SegmentState, Strip, StripSegment, StripStyle};

use crate::context::Context;
use crate::failure::Result;
use crate::fields::Fields;
use crate::table;

const EXAMPLES: &str = "\
Examples:
  nadb inspect
  nadb --json inspect

A segment is a spare, then active, then full, and for good sealed: its FOOTER says what is in it. LIVE counts records that
are the newest of their keys, DEAD the others: overwritten, deleted, or marking a deletion. Below the table the log is drawn, from
dead to live, and COMPACTION says of each segment whether the next compaction takes it, and why or why not.";

const HEADINGS: [&str; 12] = [
    "SEGMENT",
    "STATE",
    "RECORDS",
    "LIVE",
    "DEAD",
    "BYTES",
    "LIVE BYTES",
    "DEAD %",
    "FOOTER",
    "SEQUENCE",
    "FILE",
    "COMPACTION",
];

/// Characters of a line of the drawing.
const WIDTH: usize = 80;

/// Print the segments of the log
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Inspect {}

impl Inspect {
    /// One row for each segment.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let segments = context.with_existing(|store| Ok(store.segments()?))?;
        let mut out = context.output();
        if context.json {
            for segment in &segments {
                out.json(&fields(segment))?;
            }
        } else {
            let mut rows = vec![HEADINGS.map(str::to_owned).to_vec()];
            rows.extend(segments.iter().map(row));
            out.bytes(table::render(&rows, &[0, 2, 3, 4, 5, 6, 7, 8]).as_bytes())?;
            out.bytes(format!("\n{}", strip(&segments)).as_bytes())?;
        }
        out.finish()
    }
}

fn fields(segment: &SegmentInfo) -> Fields {
    Fields::default()
        .with("segment", segment.id)
        .with("state", state(segment.state))
        .with("records", segment.records)
        .with("live_records", segment.live_records)
        .with("dead_records", segment.dead_records())
        .with("bytes", segment.bytes)
        .with("live_bytes", segment.live_bytes)
        .with("footer_bytes", segment.footer_bytes)
        .with("first_seq", segment.first_seq)
        .with("last_seq", segment.last_seq)
        .with("file", segment.path.display().to_string())
        .with("compacted", segment.is_compacted)
        .with("gain_bytes", segment.gain_bytes)
        .with("chosen", segment.is_chosen)
        .with("compaction", segment.verdict.clone())
}

/// The log as it is drawn in a terminal.
fn strip(segments: &[SegmentInfo]) -> Strip {
    let drawn: Vec<StripSegment> = segments
        .iter()
        .filter(|segment| segment.records > 0)
        .map(|segment| {
            let file_bytes = segment.bytes + segment.footer_bytes;
            let kept_bytes = file_bytes.saturating_sub(segment.gain_bytes);
            StripSegment { file_bytes, kept_bytes, is_chosen: segment.is_chosen }
        })
        .collect();
    Strip::draw(&drawn, WIDTH, StripStyle::Unicode)
}

fn row(segment: &SegmentInfo) -> Vec<String> {
    let sequence = match (segment.first_seq, segment.last_seq) {
        (Some(first), Some(last)) => format!("{first}..={last}"),
        _ => "-".to_owned(),
    };
    let dead = match segment.records {
        0 => "-".to_owned(),
        _ => format!("{:.1}", segment.dead_share() * 100.0),
    };
    let footer = match segment.footer_bytes {
        0 => "-".to_owned(),
        bytes => bytes.to_string(),
    };
    let file = segment.path.file_name().unwrap_or(segment.path.as_os_str());
    vec![
        segment.id.to_string(),
        state(segment.state).to_owned(),
        segment.records.to_string(),
        segment.live_records.to_string(),
        segment.dead_records().to_string(),
        segment.bytes.to_string(),
        segment.live_bytes.to_string(),
        dead,
        footer,
        sequence,
        file.display().to_string(),
        if segment.verdict.is_empty() { "-".to_owned() } else { segment.verdict.clone() },
    ]
}

fn state(state: SegmentState) -> &'static str {
    match state {
        SegmentState::Spare => "spare",
        SegmentState::Active => "active",
        SegmentState::Full => "full",
        SegmentState::Sealed => "sealed",
        _ => "other",
    }
}
