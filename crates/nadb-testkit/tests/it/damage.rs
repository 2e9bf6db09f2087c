//! Damage of the medium: every byte flipped, every file cut at every length or extended, files missing and exchanged. The
//! store refuses with an error that names file and offset, and touches nothing; or it opens, and everything it answers is
//! right. Which of the two is known beforehand from the frames that are left.

mod footers;
mod repair;
mod sample;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use nadb_core::{Action, Error, ErrorKind, ExpiryUpdate, Operation, Put, guard};
use nadb_engine::Engine;
use nadb_log::{FrameKind, RecordKind, SEGMENT_HEADER};
use nadb_vfs::{Fs, MemFs};

use sample::{DIR, Files, FrameAt, Sample, SealedAt, Verdict, all_keys, disk, files, open, state};

const HEADER: usize = SEGMENT_HEADER as usize;

#[test]
fn corruption_the_sample_has_what_it_is_for() {
    for (sample, is_closed) in [(Sample::closed(), true), (Sample::killed(), false)] {
        assert!(sample.written_segments().len() >= 3, "{:?}", sample.segments());
        assert_eq!(sample.manifest.clean.is_some(), is_closed);
        let marks = sample.frames.iter().filter(|frame| frame.kind == FrameKind::EndMark).count();
        assert!(marks >= 2, "{marks} end marks");
        check_sealed_segments(&sample);
        let undamaged = sample.verdict(|_| true);
        assert_eq!(undamaged.last_seq, sample.newest());
        assert_eq!(undamaged.durable_upto == undamaged.last_seq, is_closed, "{undamaged:?}");
        expect(&sample, &sample.files, Expected::Opens(undamaged.last_seq), || "undamaged".into());
        let entries = sample.state_at(sample.newest()).entries.values();
        assert!(entries.clone().any(|entry| entry.metadata.stored_size < entry.metadata.size));
        assert!(entries.clone().any(|entry| entry.metadata.expires_ms.is_some()));
        assert!(entries.clone().any(|entry| entry.metadata.tags.len() == 3));
        let bytes: usize = sample.files.values().map(Vec::len).sum();
        println!("{} files, {bytes} bytes, {} frames", sample.files.len(), sample.frames.len());
    }
}

fn check_sealed_segments(sample: &Sample) {
    assert!(sample.sealed.len() >= 2, "{:?}", sample.sealed);
    let is_rich = |sealed: &SealedAt| {
        let own = || sample.records.iter().filter(|record| record.file == sealed.file);
        let has = |kind| own().any(|record| record.kind == kind);
        let keys: BTreeSet<_> =
            own().filter(|r| r.is_of_key()).map(|record| (record.namespace, &record.key)).collect();
        let namespaces: BTreeSet<_> = keys.iter().map(|(namespace, _)| *namespace).collect();
        has(RecordKind::Tombstone)
            && has(RecordKind::NamespaceDrop)
            && namespaces.len() >= 2
            && keys.len() < own().filter(|record| record.is_of_key()).count()
    };
    assert!(sample.sealed.iter().any(is_rich));
    let open: Vec<_> =
        sample.written_segments().into_iter().filter(|name| sample.sealed(name).is_none()).collect();
    assert!(open.len() >= 2, "one is full and one active: {open:?}");
    assert!(sample.manifest.durable_upto >= sample.sealed.last().unwrap().last_seq);
}

#[test]
fn corruption_every_byte_flipped_of_a_closed_store() {
    flip_every_byte(&Sample::closed());
}

#[test]
fn corruption_every_byte_flipped_of_a_killed_store() {
    flip_every_byte(&Sample::killed());
}

#[test]
fn corruption_every_file_cut_at_every_length_of_a_closed_store() {
    cut_at_every_length(&Sample::closed());
}

#[test]
fn corruption_every_file_cut_at_every_length_of_a_killed_store() {
    cut_at_every_length(&Sample::killed());
}

#[test]
fn corruption_every_file_extended() {
    for sample in [Sample::closed(), Sample::killed()] {
        for name in sample.files.keys() {
            let own = &sample.files[name];
            let first_frame = sample.frames.iter().find(|frame| frame.file == *name && frame.last_seq.0 > 0);
            let repeated = first_frame.map_or_else(Vec::new, |frame| own[frame.from..frame.to].to_vec());
            let noise: Vec<u8> = (0..900u32).map(|n| ((n * n) >> 3) as u8 | 1).collect();
            let tails = [vec![0], vec![1], vec![0; 700], vec![0; 5000], noise, own.clone(), repeated];
            for (index, tail) in tails.iter().enumerate().filter(|(_, tail)| !tail.is_empty()) {
                let mut damaged = sample.files.clone();
                damaged.get_mut(name).unwrap().extend_from_slice(tail);
                let expected = match name.as_str() {
                    "MANIFEST" => Expected::Refuses(name.clone()),
                    _ if sample.sealed(name).is_some() => Expected::OpensWithoutFooter(name.clone()),
                    _ => Expected::Opens(sample.newest()),
                };
                expect(&sample, &damaged, expected, || format!("{name} with tail {index}"));
            }
        }
    }
}

#[test]
fn corruption_under_an_open_store_is_never_an_answer() {
    let sample = Sample::closed();
    let fs = disk(&sample.files);
    let engine = open(&fs, 3).unwrap();
    let right = sample.state_at(sample.newest());
    for name in sample.written_segments() {
        let path = Path::new(DIR).join(&name);
        let file = fs.open_write(&path).unwrap();
        for (offset, byte) in sample.files[&name].iter().enumerate() {
            file.write_all_at(&[byte ^ 1 << (offset % 8)], offset as u64).unwrap();
            let what = || format!("byte {offset} of {name}");
            let mut refused = 0;
            for (namespace, key) in &sample.keys {
                match engine.get_entry(namespace, key) {
                    Ok(found) => assert_eq!(
                        found.as_ref(),
                        right.entries.get(&(namespace.clone(), key.clone())),
                        "{}",
                        what()
                    ),
                    Err(error) => {
                        refused += 1;
                        assert_eq!(
                            (error.kind(), error.path()),
                            (ErrorKind::Corruption, Some(&*path)),
                            "{}",
                            what()
                        );
                        assert!(error.offset().unwrap() <= offset as u64, "{}: {error}", what());
                    }
                }
            }
            // Hashes of 4 bits make readers meet records that are not theirs.
            assert!(refused <= 1 || !guard::on("hash.whole"), "{}: {refused} keys refused", what());
            for (namespace, _) in &right.namespaces {
                match engine.scan(namespace, all_keys()).and_then(|scan| scan.collect::<Result<Vec<_>, _>>())
                {
                    Ok(found) => {
                        let expected = right.entries.iter().filter(|((have, _), _)| have == namespace);
                        assert!(found.iter().eq(expected.map(|(_, entry)| entry)), "{}", what());
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption, "{}", what()),
                }
            }
            let error = engine.verify().err().unwrap_or_else(|| panic!("verify missed {}", what()));
            let kind = if (8..12).contains(&offset) { ErrorKind::Version } else { ErrorKind::Corruption };
            assert_eq!((error.kind(), error.path()), (kind, Some(&*path)), "{}", what());
            let found = error.offset().unwrap();
            match sample.sealed(&name).filter(|sealed| sealed.frames_end <= offset) {
                Some(sealed) => assert!(found >= sealed.frames_end as u64, "{}: {error}", what()),
                None => assert!(found <= offset as u64, "{}: {error}", what()),
            }
            file.write_all_at(&[*byte], offset as u64).unwrap();
        }
    }
    engine.verify().unwrap();
}

#[test]
fn corruption_of_the_manifest_or_a_spare_under_an_open_store_is_found_by_verify() {
    let sample = Sample::killed();
    let fs = disk(&sample.files);
    let engine = open(&fs, 3).unwrap();
    let now = files(&fs);
    for name in now.keys() {
        let path = Path::new(DIR).join(name);
        let file = fs.open_write(&path).unwrap();
        for offset in (0..now[name].len()).filter(|offset| name == "MANIFEST" || *offset < HEADER) {
            let byte = now[name][offset];
            file.write_all_at(&[byte ^ 0x10], offset as u64).unwrap();
            let error =
                engine.verify().err().unwrap_or_else(|| panic!("verify missed byte {offset} of {name}"));
            assert!(matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Version), "{error:?}");
            assert_eq!(error.path(), Some(&*path), "{error:?}");
            assert!(error.offset().is_some(), "{error:?}");
            file.write_all_at(&[byte], offset as u64).unwrap();
        }
    }
    engine.verify().unwrap();
}

#[test]
fn corruption_by_missing_and_exchanged_files_is_a_clear_error() {
    let foreign = Sample::foreign().files;
    for sample in [Sample::closed(), Sample::killed()] {
        let segments = sample.segments();
        for name in &segments {
            let mut damaged = sample.files.clone();
            damaged.remove(name);
            expect(&sample, &damaged, Expected::Refuses(name.clone()), || format!("{name} is missing"));
            for with in segments.iter().filter(|with| *with > name) {
                let mut damaged = sample.files.clone();
                damaged.insert(name.clone(), sample.files[with].clone());
                damaged.insert(with.clone(), sample.files[name].clone());
                let what = || format!("{name} and {with} exchanged");
                expect(&sample, &damaged, Expected::Refuses(name.clone()), what);
            }
        }
        let mut damaged = sample.files.clone();
        damaged.remove("MANIFEST");
        expect(&sample, &damaged, Expected::Refuses("MANIFEST".into()), || "no manifest".into());
        // The same script with other random numbers: equal names and lengths, another store.
        for name in &segments {
            let mut damaged = sample.files.clone();
            damaged.insert(name.clone(), foreign[name].clone());
            let what = || format!("{name} of another store");
            expect(&sample, &damaged, Expected::Refuses(name.clone()), what);
        }
        let mut damaged = sample.files.clone();
        damaged.insert("MANIFEST".into(), foreign["MANIFEST"].clone());
        let first = segments[0].clone();
        expect(&sample, &damaged, Expected::Refuses(first), || "the manifest of another store".into());
    }
}

#[test]
fn corruption_by_an_older_manifest_loses_nothing() {
    for sample in [Sample::closed(), Sample::killed()] {
        assert!(sample.old_manifests.len() >= 4, "{}", sample.old_manifests.len());
        for (index, manifest) in sample.old_manifests.iter().enumerate() {
            let mut damaged = sample.files.clone();
            damaged.insert("MANIFEST".into(), manifest.clone());
            let named = nadb_log::Manifest::decode(manifest).unwrap().segments.len();
            let expected = match named >= sample.written_segments().len() {
                true => Expected::Opens(sample.newest()),
                false => Expected::Refuses("MANIFEST".into()),
            };
            expect(&sample, &damaged, expected, || format!("older manifest {index} with {named} segments"));
        }
    }
}

/// A listing does not read large values, and must not take a damaged key or expiry for a right one all the same.
#[test]
fn corruption_of_a_large_record_is_no_listing() {
    let fs = MemFs::default();
    let engine = open(&fs, 1).unwrap();
    let mut lasting = Put::new(vec![7; 20]);
    lasting.value = (0..40_000u32).map(|n| ((n * n) >> 7) as u8).collect::<Vec<_>>().into();
    let mut passing = lasting.clone();
    passing.expiry = ExpiryUpdate::After(Duration::from_secs(60));
    for (key, put) in [(b"large-1", lasting), (b"large-2", passing)] {
        engine.write(&[Operation::new("n", key.as_slice(), Action::Put(put))], None).unwrap();
    }
    let keys =
        || engine.scan("n", all_keys()).map(|scan| scan.keys().collect::<Result<Vec<_>, _>>().unwrap());
    let right = keys().unwrap();
    assert_eq!(right, [b"large-1", b"large-2"]);
    for (name, bytes) in files(&fs).iter().filter(|(name, _)| name.ends_with(".seg")) {
        let file = fs.open_write(&Path::new(DIR).join(name)).unwrap();
        for (offset, byte) in bytes.iter().enumerate().take(300) {
            for bit in 0..8 {
                file.write_all_at(&[byte ^ 1 << bit], offset as u64).unwrap();
                match keys() {
                    Ok(found) => assert_eq!(found, right, "byte {offset} bit {bit} of {name}"),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corruption),
                }
            }
            file.write_all_at(&[*byte], offset as u64).unwrap();
        }
    }
}

/// What a damaged store must do.
#[derive(Debug)]
enum Expected {
    /// It opens and holds exactly what it held at this number.
    Opens(u64),
    /// It opens with a warning that names this file, whose footer is not read; everything it answers is right; `verify` says
    /// corruption.
    OpensWithoutFooter(String),
    /// It opens. A frame of this sealed file, which nobody reads before it is asked for, is damaged at this offset.
    OpensOverDamage(String, usize),
    /// An error names this file, and nothing is changed.
    Refuses(String),
    /// An error names some file of the store, and nothing is changed: where frames are missing, it is the one before.
    RefusesSomewhere,
}

impl Expected {
    fn after(verdict: Verdict, refused: Expected) -> Expected {
        if verdict.is_corruption() { refused } else { Expected::Opens(verdict.last_seq) }
    }

    /// Where a byte of a segment behind its header is another one.
    fn after_flip(sample: &Sample, name: &str, offset: usize) -> Expected {
        let name = name.to_owned();
        match sample.sealed(&name) {
            Some(sealed) if offset < sealed.frames_end => Expected::OpensOverDamage(name, offset),
            Some(_) => Expected::OpensWithoutFooter(name),
            None => {
                let is_whole =
                    |frame: &FrameAt| frame.file != name || !(frame.from..frame.to).contains(&offset);
                Expected::after(sample.verdict(is_whole), Expected::Refuses(name.clone()))
            }
        }
    }

    /// Where a segment ends at `len`, at or behind its header.
    fn after_cut(sample: &Sample, name: &str, len: usize) -> Expected {
        let name = name.to_owned();
        match sample.sealed(&name) {
            Some(sealed) if len < sealed.frames_end => Expected::Refuses(name),
            Some(_) => Expected::OpensWithoutFooter(name),
            None if len == HEADER => {
                Expected::after(sample.verdict(|frame| frame.file != name), Expected::RefusesSomewhere)
            }
            None => {
                let verdict = sample.verdict(|frame| frame.file != name || frame.to <= len);
                Expected::after(verdict, Expected::Refuses(name.clone()))
            }
        }
    }
}

fn flip_every_byte(sample: &Sample) {
    for (name, bytes) in &sample.files {
        let mut outcomes = BTreeMap::new();
        for offset in 0..bytes.len() {
            let masks: Vec<u8> = match offset % 29 {
                0 => (0..8).map(|bit| 1 << bit).chain([0xFF]).collect(),
                _ => vec![1 << (offset % 8)],
            };
            for mask in masks {
                let mut damaged = sample.files.clone();
                damaged.get_mut(name).unwrap()[offset] ^= mask;
                let expected = match name.as_str() {
                    "MANIFEST" => Expected::Refuses(name.clone()),
                    _ if offset < HEADER => Expected::Refuses(name.clone()),
                    _ => Expected::after_flip(sample, name, offset),
                };
                count(&mut outcomes, &expected);
                expect(sample, &damaged, expected, || format!("{name} byte {offset} mask {mask:#x}"));
            }
        }
        println!("{name}: {outcomes:?}");
    }
}

fn cut_at_every_length(sample: &Sample) {
    for (name, bytes) in &sample.files {
        let mut outcomes = BTreeMap::new();
        for len in 0..bytes.len() {
            let mut damaged = sample.files.clone();
            damaged.get_mut(name).unwrap().truncate(len);
            let expected = match name.as_str() {
                "MANIFEST" => Expected::Refuses(name.clone()),
                _ if len < HEADER => Expected::Refuses(name.clone()),
                _ => Expected::after_cut(sample, name, len),
            };
            count(&mut outcomes, &expected);
            expect(sample, &damaged, expected, || format!("{name} cut to {len}"));
        }
        println!("{name}: {outcomes:?}");
    }
}

fn count(outcomes: &mut BTreeMap<&'static str, usize>, expected: &Expected) {
    let outcome = match expected {
        Expected::Opens(_) => "opens",
        Expected::OpensWithoutFooter(_) => "opens without a footer",
        Expected::OpensOverDamage(..) => "opens over damage",
        Expected::Refuses(_) | Expected::RefusesSomewhere => "refuses",
    };
    *outcomes.entry(outcome).or_default() += 1;
}

fn expect(sample: &Sample, damaged: &Files, expected: Expected, what: impl Fn() -> String) {
    let fs = disk(damaged);
    match (open(&fs, 7), expected) {
        (Ok(engine), Expected::Opens(last_seq)) => {
            assert_eq!(engine.recovery().warnings, [""; 0], "{}", what());
            engine.verify().unwrap_or_else(|e| panic!("{}: {e:?}", what()));
            check_opened(sample, &fs, engine, last_seq, &what);
        }
        (Ok(engine), Expected::OpensWithoutFooter(file)) => {
            check_warning(&engine, &file, &what);
            let error = engine.verify().err().unwrap_or_else(|| panic!("{}: verified", what()));
            check_error(&error, &file, &what);
            let SealedAt { frames_end, file_len, .. } = *sample.sealed(&file).unwrap();
            let offset = usize::try_from(error.offset().unwrap()).unwrap();
            assert!((frames_end..=file_len).contains(&offset), "{}: {error:?}", what());
            check_opened(sample, &fs, engine, sample.newest(), &what);
        }
        (Ok(engine), Expected::OpensOverDamage(file, offset)) => {
            check_damaged_record(sample, &engine, &file, offset, &what);
        }
        (Ok(engine), expected) => {
            panic!("{}: opened ({:?}), expected {expected:?}", what(), engine.recovery())
        }
        // Hashes of 4 bits make a replay read records that are not of its key.
        (Err(error), Expected::OpensOverDamage(file, _)) if !guard::on("hash.whole") => {
            check_error(&error, &file, &what);
        }
        (
            Err(error),
            Expected::Opens(_) | Expected::OpensWithoutFooter(_) | Expected::OpensOverDamage(..),
        ) => {
            panic!("{}: {error:?}, expected an open store", what())
        }
        (Err(error), expected) => {
            let kinds = [ErrorKind::Corruption, ErrorKind::Version, ErrorKind::InvalidInput];
            assert!(kinds.contains(&error.kind()), "{}: {error:?}", what());
            let name = error.path().and_then(|path| path.file_name()).and_then(|name| name.to_str());
            let name = name.unwrap_or_else(|| panic!("{}: no path: {error:?}", what()));
            assert!(error.offset().is_some(), "{}: no offset: {error:?}", what());
            match expected {
                Expected::Refuses(file) => assert_eq!(name, file, "{}: {error:?}", what()),
                _ => assert!(sample.files.contains_key(name), "{}: {error:?}", what()),
            }
            assert!(files(&fs) == *damaged, "{}: files were changed: {error:?}", what());
        }
    }
}

fn check_warning(engine: &Engine, file: &str, what: &dyn Fn() -> String) {
    let [warning] = &engine.recovery().warnings[..] else {
        panic!("{}: {:?}", what(), engine.recovery().warnings)
    };
    assert!(warning.contains(file), "{}: {warning}", what());
}

/// The error says that this file is corrupt, and where.
fn check_error(error: &Error, file: &str, what: &dyn Fn() -> String) {
    let path = Path::new(DIR).join(file);
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(&*path)), "{}: {error:?}", what());
    assert!(error.offset().is_some(), "{}: {error:?}", what());
}

fn check_opened(sample: &Sample, fs: &MemFs, engine: Engine, last_seq: u64, what: &dyn Fn() -> String) {
    let right = sample.state_at(last_seq);
    assert_eq!(engine.recovery().last_seq, last_seq, "{}", what());
    assert!(state(&engine) == *right, "{}: {:?}, expected {right:?}", what(), state(&engine));
    let put = Action::Put(Put::new(b"new".as_slice()));
    let outcomes = engine.write(&[Operation::new("after", b"k".as_slice(), put)], None).unwrap();
    let version = outcomes[0].version.unwrap();
    assert!(version > sample.newest(), "{}: version {version} was given before", what());
    engine.drop_namespace("after").unwrap();
    engine.close().unwrap();
    // Nothing that was cut off comes back.
    let engine = open(fs, 8).unwrap_or_else(|e| panic!("{}: second opening: {e:?}", what()));
    assert!(engine.recovery().clean, "{}", what());
    assert!(state(&engine) == *right, "{}: second opening: {:?}", what(), state(&engine));
}

/// A frame of a sealed segment is damaged: whoever reads the record that was hit hears of it, and everybody who does not has
/// the right answer.
fn check_damaged_record(
    sample: &Sample,
    engine: &Engine,
    file: &str,
    offset: usize,
    what: &dyn Fn() -> String,
) {
    assert_eq!(engine.recovery().warnings, [""; 0], "{}", what());
    let right = sample.state_at(sample.newest());
    let hit = sample.record(file, offset);
    let hit_seq = hit.map(|record| record.seq);
    let mut refused = BTreeSet::new();
    for (namespace, key) in &sample.keys {
        let truth = right.entries.get(&(namespace.clone(), key.clone()));
        match engine.get_entry(namespace, key) {
            Ok(found) => {
                assert_eq!(found.as_ref(), truth, "{}", what());
                assert!(truth.is_none_or(|entry| Some(entry.metadata.version) != hit_seq), "{}", what());
            }
            Err(error) => {
                check_error(&error, file, what);
                assert_eq!(error.offset(), hit.map(|record| record.from as u64), "{}: {error:?}", what());
                // Hashes of 4 bits make readers meet records that are not theirs.
                let is_it = truth.is_some_and(|entry| Some(entry.metadata.version) == hit_seq);
                assert!(is_it || !guard::on("hash.whole"), "{}: {error:?}", what());
                refused.insert(namespace.clone());
            }
        }
    }
    for (namespace, _) in &right.namespaces {
        let scan = || engine.scan(namespace, all_keys()).unwrap();
        let expected = || right.entries.iter().filter(|((have, _), _)| have == namespace);
        let keys: Vec<_> = scan().keys().collect::<Result<_, _>>().unwrap();
        assert!(keys.iter().eq(expected().map(|((_, key), _)| key)), "{}", what());
        match scan().collect::<Result<Vec<_>, _>>() {
            Ok(found) => assert!(found.iter().eq(expected().map(|(_, entry)| entry)), "{}", what()),
            Err(error) => {
                check_error(&error, file, what);
                assert!(refused.contains(namespace), "{}: {error:?}", what());
            }
        }
    }
    let error = engine.verify().err().unwrap_or_else(|| panic!("{}: verified", what()));
    check_error(&error, file, what);
    let frame = sample
        .frames
        .iter()
        .find(|frame| frame.file == file && (frame.from..frame.to).contains(&offset))
        .unwrap();
    assert_eq!(error.offset(), Some(frame.from as u64), "{}: {error:?}", what());
}
