//! Footers and manifest that do not fit together: a footer that no manifest tells of, one of another segment, extents that
//! are not those of the file, and what repair makes of damage to sealed segments.

use std::path::Path;

use nadb_core::{Action, Operation, Put};
use nadb_engine::{ManifestFound, RepairOutcome};
use nadb_log::{Manifest, SealedExtent};
use nadb_vfs::{Fs, MemFs};

use super::repair::repair;
use super::sample::{DIR, Files, Sample, SealedAt, State, disk, files, open, state};
use super::{Expected, check_error, check_warning, expect};

/// A store just before and just after its full segments were sealed.
struct BeforeAndAfter {
    before: Files,
    after: Files,
    state: State,
}

fn before_and_after() -> BeforeAndAfter {
    let fs = MemFs::default();
    let engine = open(&fs, 1).unwrap();
    for n in 0..40u32 {
        let put = Action::Put(Put::new(vec![7; 200]));
        engine.write(&[Operation::new("n", format!("k{}", n % 30).into_bytes(), put)], None).unwrap();
    }
    engine.write(&[Operation::new("n", b"k3".to_vec(), Action::Delete)], None).unwrap();
    engine.flush().unwrap();
    // The next frame says what was durable.
    engine
        .write(&[Operation::new("n", b"last".to_vec(), Action::Put(Put::new(b"".as_slice())))], None)
        .unwrap();
    assert!(engine.stats().unwrap().unsealed_segments >= 2);
    let (before, state) = (files(&fs), state(&engine));
    engine.maintain().unwrap();
    assert_eq!(engine.stats().unwrap().unsealed_segments, 0);
    BeforeAndAfter { before, after: files(&fs), state }
}

fn extents(files: &Files) -> Vec<(String, SealedExtent)> {
    let manifest = Manifest::decode(&files["MANIFEST"]).unwrap();
    let sealed =
        manifest.segments.iter().filter_map(|named| Some((super::sample::file_of(named), named.sealed?)));
    sealed.collect()
}

/// A crash between the footer and the manifest, or inside the footer: whatever stands behind the frames does not count, and the
/// segment is sealed again.
#[test]
fn a_complete_footer_under_an_old_manifest_is_ignored_and_the_segment_sealed_again() {
    let store = before_and_after();
    for (file, extent) in extents(&store.after) {
        for len in extent.frames_end..=extent.file_len {
            let mut crashed = store.before.clone();
            crashed.insert(file.clone(), store.after[&file][..len as usize].to_vec());
            let fs = disk(&crashed);
            let engine = open(&fs, 3).unwrap_or_else(|e| panic!("{file} cut to {len}: {e:?}"));
            assert_eq!(engine.recovery().warnings, [""; 0]);
            assert!(state(&engine) == store.state, "{file} cut to {len}");
            engine.verify().unwrap();
            assert!(engine.stats().unwrap().unsealed_segments >= 2);
            engine.maintain().unwrap();
            engine.verify().unwrap();
            engine.close().unwrap();
            let now = files(&fs);
            assert!(
                extents(&now).iter().any(|sealed| *sealed == (file.clone(), extent)),
                "{file} cut to {len}"
            );
            assert_eq!(now[&file], store.after[&file], "{file} cut to {len}");
            let engine = open(&fs, 4).unwrap();
            assert!(engine.recovery().clean && state(&engine) == store.state, "{file} cut to {len}");
        }
    }
}

#[test]
fn all_complete_footers_under_an_old_manifest_are_no_damage_to_repair() {
    let store = before_and_after();
    let mut crashed = store.after.clone();
    crashed.insert("MANIFEST".into(), store.before["MANIFEST"].clone());
    let fs = disk(&crashed);
    assert!(repair(&fs).is_intact());
    // Where something else is, no footer counts as damage.
    let (file, extent) = extents(&store.after).remove(0);
    crashed.get_mut(&file).unwrap()[extent.frames_end as usize - 1] ^= 1;
    let fs = disk(&crashed);
    let report = repair(&fs);
    assert_eq!((report.outcome, report.damage.len()), (RepairOutcome::Rewritten, 1), "{report}");
    assert!(report.damage[0].offset + report.damage[0].len <= u64::from(extent.frames_end), "{report}");
    open(&fs, 3).unwrap().verify().unwrap();
}

/// The files with the footer of segment `of` put behind the frames of `to`; with `told` the manifest has its length.
fn with_footer_of(sample: &Sample, to: &SealedAt, of: (&Files, &SealedAt), told: bool) -> Files {
    let mut damaged = sample.files.clone();
    let footer = &of.0[&of.1.file][of.1.frames_end..of.1.file_len];
    let bytes = damaged.get_mut(&to.file).unwrap();
    bytes.truncate(to.frames_end);
    bytes.extend_from_slice(footer);
    let file_len = u32::try_from(bytes.len()).unwrap();
    if told {
        change_extent(&mut damaged, &to.file, |extent| extent.file_len = file_len);
    }
    damaged
}

fn change_manifest(files: &mut Files, change: impl FnOnce(&mut Manifest)) {
    let mut manifest = Manifest::decode(&files["MANIFEST"]).unwrap();
    change(&mut manifest);
    files.insert("MANIFEST".into(), manifest.encode());
}

fn change_extent(files: &mut Files, file: &str, change: impl FnOnce(&mut SealedExtent)) {
    change_manifest(files, |manifest| {
        let is_it = |named: &&mut nadb_log::NamedSegment| super::sample::file_of(named) == file;
        change(manifest.segments.iter_mut().find(is_it).unwrap().sealed.as_mut().unwrap());
    });
}

#[test]
fn the_footer_of_another_segment_is_not_believed() {
    let (sample, foreign) = (Sample::closed(), Sample::foreign());
    let mut tried = 0;
    for to in &sample.sealed {
        let own = sample.sealed.iter().filter(|of| of.file != to.file).map(|of| (&sample.files, of));
        let others = foreign.sealed.iter().map(|of| (&foreign.files, of));
        for of in own.chain(others) {
            for told in [false, true] {
                let damaged = with_footer_of(&sample, to, of, told);
                let what = || format!("{} with the footer of {}, told: {told}", to.file, of.1.file);
                let fs = disk(&damaged);
                let engine = open(&fs, 7).unwrap_or_else(|e| panic!("{}: {e:?}", what()));
                check_warning(&engine, &to.file, &what);
                assert!(state(&engine) == *sample.state_at(sample.newest()), "{}", what());
                check_error(&engine.verify().err().unwrap(), &to.file, &what);
                engine.close().unwrap();
                drop(engine);
                assert_eq!(repair(&fs).outcome, RepairOutcome::FootersRebuilt, "{}", what());
                assert_eq!(files(&fs)[&to.file], sample.files[&to.file], "{}", what());
                open(&fs, 8).unwrap().verify().unwrap();
                tried += 1;
            }
        }
    }
    assert!(tried >= 8, "{tried}");
}

#[test]
fn extents_that_are_not_those_of_the_file_are_noticed() {
    let sample = Sample::closed();
    for sealed in &sample.sealed {
        let own: Vec<_> = sample.frames.iter().filter(|frame| frame.file == sealed.file).collect();
        let boundary = u32::try_from(own[own.len() - 2].to).unwrap();
        let refused: [fn(&mut SealedExtent, u32); 4] = [
            |extent, _| extent.frames_end -= 1,
            |extent, _| extent.frames_end += 1,
            // All frames up to there verify.
            |extent, boundary| extent.frames_end = boundary,
            |extent, _| extent.frames_end = extent.file_len - 1,
        ];
        for (index, change) in refused.iter().enumerate() {
            let mut damaged = sample.files.clone();
            change_extent(&mut damaged, &sealed.file, |extent| change(extent, boundary));
            let what = || format!("{} with change {index}", sealed.file);
            expect(&sample, &damaged, Expected::Refuses(sealed.file.clone()), what);
        }
        for change in [-1i32, 1] {
            let mut damaged = sample.files.clone();
            change_extent(&mut damaged, &sealed.file, |e| {
                e.file_len = e.file_len.wrapping_add_signed(change)
            });
            let what = || format!("{} with {change} bytes", sealed.file);
            expect(&sample, &damaged, Expected::OpensWithoutFooter(sealed.file.clone()), what);
        }
    }
    // A last number that is too low shows in `verify`; one that is too high is above that of all.
    let (first, last) = (&sample.sealed[0].file, &sample.sealed.last().unwrap().file);
    for file in [first, last] {
        let mut damaged = sample.files.clone();
        change_extent(&mut damaged, file, |extent| extent.last_seq.0 -= 1);
        let engine = open(&disk(&damaged), 7).unwrap();
        assert!(state(&engine) == *sample.state_at(sample.newest()));
        check_error(&engine.verify().err().unwrap(), file, &|| "a lower last number".into());
    }
    let mut damaged = sample.files.clone();
    change_extent(&mut damaged, last, |extent| extent.last_seq.0 += 1);
    expect(&sample, &damaged, Expected::RefusesSomewhere, || "a higher last number".into());
    // The number behind which the others go on is not where they do.
    for change in [-1i64, 1] {
        let mut damaged = sample.files.clone();
        change_manifest(&mut damaged, |m| m.sealed_upto.0 = m.sealed_upto.0.wrapping_add_signed(change));
        expect(&sample, &damaged, Expected::RefusesSomewhere, || format!("sealed up to {change} more"));
    }
}

#[test]
fn a_footer_and_a_frame_that_are_damaged_are_an_error_that_names_repair() {
    let sample = Sample::killed();
    let newest = sample.state_at(sample.newest());
    for sealed in &sample.sealed {
        let own = || sample.frames.iter().filter(|frame| frame.file == sealed.file);
        for frame in own() {
            let mut damaged = sample.files.clone();
            let bytes = damaged.get_mut(&sealed.file).unwrap();
            bytes[frame.to - 1] ^= 4;
            bytes[sealed.frames_end + 3] ^= 4;
            let what = || format!("{} frame at {}", sealed.file, frame.from);
            let fs = disk(&damaged);
            let error = open(&fs, 7).expect_err("neither is whole");
            check_error(&error, &sealed.file, &what);
            assert_eq!(error.offset(), Some(frame.from as u64), "{}: {error:?}", what());
            assert!(error.to_string().contains("`nadb repair`"), "{}: {error}", what());
            assert!(files(&fs) == damaged, "{}", what());
            let report = repair(&fs);
            assert_eq!(report.outcome, RepairOutcome::Rewritten, "{}: {report}", what());
            // Both are told, and what was lost is one record at most: the last one of its frame.
            assert_eq!(report.damage.len(), 2, "{}: {report}", what());
            assert!(report.damage.iter().any(|range| range.offset == sealed.frames_end as u64), "{report}");
            let lost: u64 = report.lost_numbers.iter().map(|range| range.last - range.first + 1).sum();
            assert!(lost <= 1, "{}: {report}", what());
            let engine = open(&fs, 8).unwrap();
            engine.verify().unwrap();
            let found = state(&engine);
            for (at, entry) in newest.entries.iter().filter(|_| lost == 0) {
                assert_eq!(found.entries.get(at), Some(entry), "{}: {report}", what());
            }
        }
    }
}

#[test]
fn a_damaged_footer_is_repaired_in_its_place() {
    for sample in [Sample::closed(), Sample::killed()] {
        for sealed in &sample.sealed {
            for at in (sealed.frames_end..sealed.file_len).step_by(7).chain([sealed.file_len - 10]) {
                let mut damaged = sample.files.clone();
                damaged.get_mut(&sealed.file).unwrap()[at] ^= 0x21;
                let fs = disk(&damaged);
                let report = repair(&fs);
                assert_eq!(
                    (report.outcome, report.manifest),
                    (RepairOutcome::FootersRebuilt, ManifestFound::Whole)
                );
                assert!(!report.has_losses(), "{report}");
                let [range] = &report.damage[..] else { panic!("{report}") };
                assert_eq!(range.path, Path::new(DIR).join(&sealed.file));
                assert_eq!(range.offset, sealed.frames_end as u64);
                assert_eq!(range.len, (sealed.file_len - sealed.frames_end) as u64);
                assert!(
                    files(&fs) == sample.files,
                    "byte {at} of {}: the footer is what it was",
                    sealed.file
                );
                let aside = report.aside.clone().unwrap().join(&sealed.file);
                assert_eq!(fs.open_read(&aside).unwrap().len().unwrap(), sealed.file_len as u64);
                assert!(repair(&fs).is_intact());
            }
        }
    }
}

#[test]
fn two_damaged_footers_and_one_that_was_cut_off_are_repaired_together() {
    let sample = Sample::closed();
    let mut damaged = sample.files.clone();
    for (index, sealed) in sample.sealed.iter().enumerate() {
        let bytes = damaged.get_mut(&sealed.file).unwrap();
        if index == 0 { bytes.truncate(sealed.frames_end) } else { bytes[sealed.frames_end] ^= 1 }
    }
    let fs = disk(&damaged);
    let engine = open(&fs, 7).unwrap();
    assert_eq!(engine.recovery().warnings.len(), sample.sealed.len());
    engine.close().unwrap();
    drop(engine);
    let report = repair(&fs);
    assert_eq!(report.damage.len(), sample.sealed.len(), "{report}");
    assert!(files(&fs) == sample.files);
    open(&fs, 8).unwrap().verify().unwrap();
}

#[test]
fn a_lost_manifest_of_sealed_segments_is_made_anew_and_they_are_sealed_again() {
    for sample in [Sample::closed(), Sample::killed()] {
        let sealed = &sample.sealed[0];
        let intact: &dyn Fn(&mut Files) = &|_| {};
        let damaged_footer: &dyn Fn(&mut Files) =
            &|files| files.get_mut(&sealed.file).unwrap()[sealed.frames_end + 5] ^= 1;
        let damaged_trailer: &dyn Fn(&mut Files) =
            &|files| files.get_mut(&sealed.file).unwrap()[sealed.file_len - 1] ^= 1;
        for damage in [intact, damaged_footer, damaged_trailer] {
            let mut damaged = sample.files.clone();
            damaged.remove("MANIFEST");
            damage(&mut damaged);
            let fs = disk(&damaged);
            let error = open(&fs, 7).unwrap_err();
            assert!(error.to_string().contains("`nadb repair`"), "{error}");
            let report = repair(&fs);
            let outcome = (report.outcome, report.manifest, report.has_losses());
            assert_eq!(outcome, (RepairOutcome::ManifestRebuilt, ManifestFound::Missing, false), "{report}");
            assert!(report.damage.is_empty(), "{report}");
            let engine = open(&fs, 8).unwrap();
            assert!(state(&engine) == *sample.state_at(sample.newest()));
            engine.verify().unwrap();
            engine.maintain().unwrap();
            engine.verify().unwrap();
            engine.close().unwrap();
            drop(engine);
            // With the footers that they had.
            let now = files(&fs);
            for sealed in &sample.sealed {
                assert_eq!(now[&sealed.file], sample.files[&sealed.file]);
            }
            let engine = open(&fs, 9).unwrap();
            assert!(engine.recovery().clean && state(&engine) == *sample.state_at(sample.newest()));
        }
    }
}

/// The last segment with frames can be a sealed one: after an unclean opening nothing was written.
#[test]
fn a_lost_manifest_behind_a_sealed_last_segment_is_made_anew() {
    let store = before_and_after();
    let fs = disk(&store.after);
    let engine = open(&fs, 5).unwrap();
    engine.maintain().unwrap();
    engine.close().unwrap();
    drop(engine);
    let all = extents(&files(&fs));
    fs.remove(&Path::new(DIR).join("MANIFEST")).unwrap();
    let report = repair(&fs);
    assert_eq!(report.outcome, RepairOutcome::ManifestRebuilt, "{report}");
    assert!(report.damage.is_empty() && !report.has_losses() && all.len() >= 3, "{report}");
    let engine = open(&fs, 6).unwrap();
    assert!(state(&engine) == store.state);
    engine.verify().unwrap();
}

#[test]
fn a_damaged_frame_of_a_sealed_segment_without_a_manifest_loses_what_was_hit() {
    let sample = Sample::closed();
    let newest = sample.state_at(sample.newest());
    let mut tried = 0;
    for hit in sample.records.iter().filter(|record| sample.sealed(&record.file).is_some()) {
        let mut damaged = sample.files.clone();
        damaged.remove("MANIFEST");
        damaged.get_mut(&hit.file).unwrap()[hit.to - 1] ^= 2;
        let fs = disk(&damaged);
        let report = repair(&fs);
        assert_eq!(report.outcome, RepairOutcome::Rewritten, "{report}");
        // Only the frame is damaged: its footer is known for what it is.
        let [range] = &report.damage[..] else { panic!("{report}") };
        assert!(range.offset < hit.to as u64 && hit.to as u64 <= range.offset + range.len, "{report}");
        assert!(range.offset + range.len <= sample.sealed(&hit.file).unwrap().frames_end as u64, "{report}");
        let [lost] = &report.lost_numbers[..] else { panic!("{report}") };
        assert_eq!((lost.first, lost.last), (hit.seq, hit.seq), "{report}");
        let engine = open(&fs, 8).unwrap();
        engine.verify().unwrap();
        if hit.is_of_key() {
            let found = state(&engine);
            for (at, entry) in newest.entries.iter().filter(|((_, key), _)| *key != hit.key) {
                assert_eq!(found.entries.get(at), Some(entry), "{report}");
            }
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}
