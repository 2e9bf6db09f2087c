//! `nadb repair`: saves what can be read out of a store that does not open, or does not verify.

use std::path::PathBuf;

use clap::Args;
use nadb::{
    AfterLoss, BrokenBatch, DamagedRange, LostKind, LostRecord, ManifestFound, RepairOutcome, RepairReport,
};
use serde_json::Value;

use crate::context::Context;
use crate::escape::escape;
use crate::failure::{Failure, Result};
use crate::fields::Fields;
use crate::present::count;

const EXAMPLES: &str = "\
Examples:
  nadb repair --dry-run
  nadb repair
  nadb --json repair | jq .lost_records

A store that opens and verifies is left as it is. Where only the manifest or footers of sealed segments are damaged, those are
made anew and nothing else changes. Otherwise the log is written anew; the files as they were are copied into a folder
repair-0001 (or a higher number) inside the store's directory first, which takes room for two more copies of the log. Files of
large values stay where they are, but for those that are damaged or that nothing refers to any more: they go to the folder.

With --dry-run the exit code is 3 if there is damage.";

/// Save what can be read out of a damaged store, and make it open and verify again
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Repair {
    /// Change nothing, say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Repair {
    /// Repairs, and tells what was lost.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        context.directory_only("repair")?;
        let report =
            if self.dry_run { nadb::plan_repair(&context.path) } else { nadb::repair(&context.path) }?;
        let mut out = context.output();
        out.either(&fields(&report), || text(&report))?;
        out.finish()?;
        if self.dry_run && !report.is_intact() {
            let worst = report.damage.first();
            let at = worst.map_or(String::new(), |DamagedRange { path, offset, .. }| {
                format!(" ({}, offset {offset})", path.display())
            });
            return Err(Failure::Damage(format!("the store is damaged and was not changed{at}")));
        }
        Ok(())
    }
}

fn text(report: &RepairReport) -> String {
    let mut lines = vec![summary(report)];
    for DamagedRange { path, offset, len, what, .. } in &report.damage {
        lines.push(match len {
            0 => format!("damage: {}: {what}", path.display()),
            _ => format!("damage: {} at offset {offset} of {}: {what}", bytes(*len), path.display()),
        });
    }
    lines.extend(report.lost_records.iter().map(lost));
    if report.unidentified > 0 {
        lines.push(format!(
            "lost: {} of which nothing can be read; keys may have older values, and deleted ones may be back",
            count(report.unidentified, "record", "records")
        ));
    }
    lines.extend(
        report.unknown_losses.iter().map(|path| {
            format!("lost: it is not known what of {}; deleted keys may be back", path.display())
        }),
    );
    for BrokenBatch { path, offset, records, kept, .. } in &report.broken_batches {
        let of = records.map_or("?".to_owned(), |records| records.to_string());
        lines.push(format!(
            "broken batch: {kept} of {of} records saved, at offset {offset} of {}",
            path.display()
        ));
    }
    for found in &report.found_namespaces {
        lines.push(format!("namespace {} has lost its name and is called \"{}\" now", found.id, found.name));
    }
    if !report.unused_blobs.is_empty() {
        let moved = if report.dry_run { "would be put aside" } else { "put aside" };
        let files = count(report.unused_blobs.len() as u64, "file", "files");
        lines.push(format!("{moved}: {files} of large values, damaged or with nothing that refers to them"));
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    lines.push(String::new());
    lines.join("\n")
}

fn summary(report: &RepairReport) -> String {
    let saved = count(report.records_kept, "record", "records");
    let done = match (report.outcome, report.dry_run) {
        (RepairOutcome::Intact, _) if report.torn_bytes > 0 => {
            let torn = bytes(report.torn_bytes);
            format!("nothing to repair: {saved}, and {torn} of unfinished writes, which opening cuts off")
        }
        (RepairOutcome::Intact, _) => format!("nothing to repair: {saved}"),
        (RepairOutcome::ManifestRebuilt, true) => {
            format!("the manifest would be made anew, nothing else would change: {saved}")
        }
        (RepairOutcome::ManifestRebuilt, false) => {
            format!("the manifest was made anew, nothing else was changed: {saved}")
        }
        (RepairOutcome::FootersRebuilt, true) => {
            format!("footers would be made anew, nothing else would change: {saved}")
        }
        (RepairOutcome::FootersRebuilt, false) => {
            format!("footers were made anew, nothing else was changed: {saved}")
        }
        (_, true) => format!("{saved} would be saved"),
        (_, false) => format!("{saved} saved"),
    };
    match &report.aside {
        Some(aside) => format!("{done}; the files as they were are in {}", aside.display()),
        None => done,
    }
}

fn bytes(len: u64) -> String {
    count(len, "byte", "bytes")
}

fn lost(lost: &LostRecord) -> String {
    let what = match lost.kind {
        LostKind::Value => "value of key",
        LostKind::Tombstone => "deletion of key",
        LostKind::NamespaceCreate => "creation of namespace",
        LostKind::NamespaceDrop => "drop of namespace",
        _ => "record of key",
    };
    let name = match (&lost.namespace, lost.kind) {
        (Some(name), LostKind::NamespaceDrop) => name.as_bytes(),
        _ => &lost.key,
    };
    let inside = match (&lost.namespace, lost.kind) {
        (_, LostKind::NamespaceDrop | LostKind::NamespaceCreate) => format!(" (id {})", lost.namespace_id),
        (Some(namespace), _) => format!(" in namespace \"{}\"", escape(namespace.as_bytes())),
        (None, _) => format!(" in namespace {}, which is gone", lost.namespace_id),
    };
    let after = match lost.after {
        AfterLoss::Older { version } => format!("; version {version} is back"),
        AfterLoss::Newer => "; a newer one was saved".to_owned(),
        _ => String::new(),
    };
    let blob =
        lost.blob.as_ref().map_or(String::new(), |blob| format!(", with its value in {}", blob.display()));
    let (offset, path) = (lost.offset, lost.path.display());
    format!("lost: {what} \"{}\"{inside}, at offset {offset} of {path}{blob}{after}", escape(name))
}

fn fields(report: &RepairReport) -> Fields {
    let list = |items: Vec<Fields>| -> Vec<Value> {
        items.iter().map(|item| serde_json::to_value(item).unwrap_or_default()).collect()
    };
    let damage = report.damage.iter().map(|range| {
        Fields::default()
            .with("file", range.path.display().to_string())
            .with("offset", range.offset)
            .with("bytes", range.len)
            .with("what", range.what.as_str())
    });
    let numbers = report
        .lost_numbers
        .iter()
        .map(|range| Fields::default().with("first", range.first).with("last", range.last));
    let batches = report.broken_batches.iter().map(|batch| {
        Fields::default()
            .with("file", batch.path.display().to_string())
            .with("offset", batch.offset)
            .with("records", batch.records)
            .with("kept", batch.kept)
    });
    let found = report
        .found_namespaces
        .iter()
        .map(|found| Fields::default().with("id", found.id).with("name", found.name.as_str()));
    Fields::default()
        .with("outcome", outcome(report.outcome))
        .with("dry_run", report.dry_run)
        .with("manifest", manifest(report.manifest))
        .with("aside", report.aside.as_ref().map(|path| path.display().to_string()))
        .with("segments_read", report.segments_read)
        .with("segments_written", report.segments_written)
        .with("records_kept", report.records_kept)
        .with("torn_bytes", report.torn_bytes)
        .with("damage", list(damage.collect()))
        .with("lost_numbers", list(numbers.collect()))
        .with("lost_records", list(report.lost_records.iter().map(lost_fields).collect()))
        .with("unidentified", report.unidentified)
        .with("unknown_losses", paths(&report.unknown_losses))
        .with("broken_batches", list(batches.collect()))
        .with("found_namespaces", list(found.collect()))
        .with("unused_blobs", paths(&report.unused_blobs))
        .with("notes", report.notes.clone())
}

fn paths(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

fn lost_fields(lost: &LostRecord) -> Fields {
    let older = match lost.after {
        AfterLoss::Older { version } => Some(version),
        _ => None,
    };
    let kind = match lost.kind {
        LostKind::Value => "value",
        LostKind::Tombstone => "tombstone",
        LostKind::NamespaceCreate => "namespace-create",
        LostKind::NamespaceDrop => "namespace-drop",
        _ => "other",
    };
    Fields::default()
        .with("file", lost.path.display().to_string())
        .with("offset", lost.offset)
        .with("seq", lost.seq)
        .with("kind", kind)
        .with("namespace_id", lost.namespace_id)
        .with("namespace", lost.namespace.clone())
        .with_bytes("key", "key_base64", &lost.key)
        .with("blob", lost.blob.as_ref().map(|path| path.display().to_string()))
        .with("older_version", older)
        .with("superseded", lost.after == AfterLoss::Newer)
}

fn outcome(outcome: RepairOutcome) -> &'static str {
    match outcome {
        RepairOutcome::Intact => "intact",
        RepairOutcome::ManifestRebuilt => "manifest-rebuilt",
        RepairOutcome::FootersRebuilt => "footers-rebuilt",
        _ => "rewritten",
    }
}

fn manifest(found: ManifestFound) -> &'static str {
    match found {
        ManifestFound::Whole => "whole",
        ManifestFound::Missing => "missing",
        ManifestFound::Outdated => "outdated",
        _ => "damaged",
    }
}
