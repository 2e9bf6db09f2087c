//! Verification: every record is read and decoded, and the sorted sets are compared with the records in both directions.
//!
//! Each key is looked at in one moment, so reads and writes may go on. What has expired and was not let go of yet is no fault.

use std::collections::HashMap;

use nadb_core::{Error, ErrorKind, Result, VerifyReport};
use redis::Value;

use crate::call::{Answer, Call};
use crate::core::{Core, PAGE, Said, bytes_of};
use crate::failure::unexpected;
use crate::layout::{Bucket, Space};
use crate::scripts::Script;

/// Keys that are compared in one call.
const COMPARED: usize = 100;

/// A key, and a tag where a member of `t` is what led to it.
type Suspect = (Vec<u8>, Vec<u8>);

fn fault(name: &str, key: &[u8], what: &[u8]) -> Error {
    let shown = key.get(..64).unwrap_or(key).escape_ascii();
    let what = match what {
        b"k" => "is not in the list of keys (k)",
        b"t" => "has other tags than the tags say (t)",
        b"x" => "has another expiry than the expiries say (x)",
        b"y" => "has other tags than those of what expires say (y)",
        _ => "is listed and has no record (r)",
    };
    Error::new(ErrorKind::Corruption, format!("the key \"{shown}\" in namespace {name:?} {what}"))
}

impl Core {
    /// Compares everything of this store.
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        let live = self.list()?.into_iter().filter(|(_, listed)| !listed.is_dropping);
        let spaces: Vec<(String, Space)> =
            live.map(|(name, listed)| (name, Space::new(&self.store, listed))).collect();
        for (name, space) in &spaces {
            for number in 0..space.buckets.len() {
                // A bucket that is not live any more was dropped meanwhile, or is looked after by whoever uses it next.
                self.verify_bucket(name, space, number, &mut report)?;
            }
        }
        self.verify_records(&spaces)?;
        report.keys = report.records;
        Ok(report)
    }

    fn verify_bucket(
        &self,
        name: &str,
        space: &Space,
        number: usize,
        report: &mut VerifyReport,
    ) -> Result<()> {
        let Some(bucket) = space.buckets.get(number) else { return Ok(()) };
        let (mut keys_from, mut tags_from) = (b"-".to_vec(), b"-".to_vec());
        loop {
            let keys = self.members(bucket, &bucket.keys(), &keys_from)?;
            let Some(last) = keys.last() else { break };
            keys_from = [b"(", last.as_slice()].concat();
            self.verify_values(space, &keys, report)?;
            self.compare(name, bucket, &keys.into_iter().map(|key| (key, Vec::new())).collect::<Vec<_>>())?;
        }
        loop {
            let members = self.members(bucket, &bucket.tags(), &tags_from)?;
            let Some(last) = members.last() else { break };
            tags_from = [b"(", last.as_slice()].concat();
            self.compare(
                name,
                bucket,
                &members.iter().filter_map(|member| suspect(member)).collect::<Vec<_>>(),
            )?;
        }
        for (command, of) in [("ZSCAN", bucket.expiries()), ("HSCAN", bucket.brief_tags())] {
            let mut cursor = b"0".to_vec();
            loop {
                let call = Call::command(bucket.slot, &[command.as_bytes(), &of, &cursor]);
                let (next, pairs) = scanned(self.link.ask(call)?)?;
                let keys = pairs.into_iter().step_by(2).map(|key| (key, Vec::new()));
                self.compare(name, bucket, &keys.collect::<Vec<_>>())?;
                cursor = next;
                if cursor == b"0" {
                    break;
                }
            }
        }
        Ok(())
    }

    fn members(&self, bucket: &Bucket, of: &[u8], from: &[u8]) -> Result<Vec<Vec<u8>>> {
        let count = PAGE.to_string();
        let page = [b"ZRANGE", of, from, b"+", b"BYLEX", b"LIMIT", b"0", count.as_bytes()];
        bytes_of(self.link.ask(Call::command(bucket.slot, &page))?).ok_or_else(|| unexpected("for keys"))
    }

    /// Decodes the records and values of keys.
    fn verify_values(&self, space: &Space, keys: &[Vec<u8>], report: &mut VerifyReport) -> Result<()> {
        for keys in keys.chunks(16) {
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let Said::This(entries) = self.entries(space, &keys)? else { return Ok(()) };
            for entry in entries.into_iter().flatten() {
                report.records += 1;
                report.bytes += entry.key.len() as u64 + entry.metadata.stored_size;
            }
        }
        Ok(())
    }

    fn compare(&self, name: &str, bucket: &Bucket, suspects: &[Suspect]) -> Result<()> {
        for suspects in suspects.chunks(COMPARED) {
            let records = suspects.iter().map(|(key, _)| bucket.record(key));
            let keys: Vec<Vec<u8>> = bucket.own().into_iter().chain(records).collect();
            let arguments: Vec<&[u8]> =
                suspects.iter().flat_map(|(key, tag)| [key.as_slice(), tag.as_slice()]).collect();
            let answer = self.link.ask(Call::script(bucket.slot, Script::Check, &keys, &arguments))?;
            let wrong = || unexpected("for a comparison");
            let mut parts = answer.list().ok_or_else(wrong)?.into_iter();
            if parts.next().and_then(Answer::bytes).flatten().as_deref() != Some(&[0]) {
                return Ok(());
            }
            let mut faults = parts.next().and_then(Answer::list).ok_or_else(wrong)?.into_iter();
            if let (Some(number), Some(what)) = (faults.next(), faults.next()) {
                let at = number.number().and_then(|number| usize::try_from(number).ok()).ok_or_else(wrong)?;
                let (key, _) = at.checked_sub(1).and_then(|at| suspects.get(at)).ok_or_else(wrong)?;
                return Err(fault(name, key, &what.bytes().flatten().ok_or_else(wrong)?));
            }
        }
        Ok(())
    }

    /// Looks at every record that the servers have, whether it is listed or not.
    fn verify_records(&self, spaces: &[(String, Space)]) -> Result<()> {
        let by_id: HashMap<u64, &(String, Space)> =
            spaces.iter().map(|space| (space.1.listed.id, space)).collect();
        let pattern = self.store.record_pattern();
        for node in self.link.masters()? {
            let mut cursor = b"0".to_vec();
            loop {
                let scan = [b"SCAN", &*cursor, b"MATCH", pattern.as_bytes(), b"COUNT", b"1000"];
                let (next, names) = scanned(self.link.ask_node(&node, &Call::command(0, &scan))?)?;
                for name in names {
                    let Some((id, number, key)) = self.store.record_of(&name) else { continue };
                    let Some((name, space)) = by_id.get(&id) else { continue };
                    if let Some(bucket) = space.buckets.get(number) {
                        self.compare(name, bucket, &[(key.to_vec(), Vec::new())])?;
                    }
                }
                cursor = next;
                if cursor == b"0" {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Tag and key of a member of `t`.
fn suspect(member: &[u8]) -> Option<Suspect> {
    let end = member.iter().position(|&byte| byte == 0)?;
    let (tag, key) = member.split_at_checked(end)?;
    Some((key.get(1..)?.to_vec(), tag.to_vec()))
}

/// Where to go on, and what was found.
fn scanned(answer: Value) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let wrong = || unexpected("for a scan");
    let mut parts = answer.list().ok_or_else(wrong)?.into_iter();
    let cursor = parts.next().and_then(Answer::bytes).flatten().ok_or_else(wrong)?;
    let found = parts.next().and_then(bytes_of).ok_or_else(wrong)?;
    Ok((cursor, found))
}
