//! What survives a power cut, and what a killed process leaves.

use nadb_vfs::{CrashMode, Fs, LockError, SimFs};

use crate::{create, disk, durable, outcomes};

const UNKIND: [CrashMode; 3] = [CrashMode::DropAll, CrashMode::Torn, CrashMode::Reordered];

#[test]
fn what_is_synced_survives_every_mode() {
    let fs = disk();
    let _file = durable(&fs, "/db/f", &[5; 3000]);
    for mode in CrashMode::ALL {
        assert_eq!(outcomes(&fs, mode, "/db/f"), [Some(vec![5; 3000])], "{mode:?}");
    }
}

#[test]
fn keep_all_keeps_what_was_never_synced() {
    let fs = disk();
    let _file = create(&fs, "/db/f", b"abc");
    assert_eq!(outcomes(&fs, CrashMode::KeepAll, "/db/f"), [Some(b"abc".to_vec())]);
}

#[test]
fn a_file_without_a_synced_name_is_lost() {
    let fs = disk();
    let file = create(&fs, "/db/f", b"abc");
    file.sync_all().unwrap();
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [None]);
    for mode in [CrashMode::Torn, CrashMode::Reordered] {
        assert_eq!(outcomes(&fs, mode, "/db/f"), [None, Some(b"abc".to_vec())], "{mode:?}");
    }
}

#[test]
fn a_directory_without_a_synced_name_is_lost_with_its_files() {
    let fs = SimFs::new(1);
    fs.create_dir_all("/a/b".as_ref()).unwrap();
    let file = create(&fs, "/a/b/f", b"abc");
    file.sync_all().unwrap();
    fs.sync_dir("/a/b".as_ref()).unwrap();
    fs.sync_dir("/a".as_ref()).unwrap();
    assert!(fs.power_cut(CrashMode::DropAll, 0).list("/a".as_ref()).is_err());
    let kept = fs.process_kill();
    kept.sync_dir("/".as_ref()).unwrap();
    assert_eq!(kept.power_cut(CrashMode::DropAll, 0).read_file("/a/b/f").unwrap(), b"abc");
}

#[test]
fn a_name_without_synced_bytes_has_no_bytes() {
    let fs = disk();
    let _file = create(&fs, "/db/f", b"abc");
    fs.sync_dir("/db".as_ref()).unwrap();
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [Some(Vec::new())]);
}

#[test]
fn drop_all_reverts_to_the_last_sync() {
    let fs = disk();
    let file = durable(&fs, "/db/f", &[1; 1000]);
    file.write_all_at(&[2; 600], 300).unwrap();
    file.set_len(5000).unwrap();
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [Some(vec![1; 1000])]);
}

#[test]
fn a_rename_without_a_synced_directory_may_be_lost_or_leave_both_names() {
    let fs = disk();
    let _old = durable(&fs, "/db/M", b"old");
    let file = create(&fs, "/db/tmp", b"new");
    file.sync_all().unwrap();
    fs.rename("/db/tmp".as_ref(), "/db/M".as_ref()).unwrap();
    assert_eq!(fs.read_file("/db/M").unwrap(), b"new");
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/M"), [Some(b"old".to_vec())]);
    assert_eq!(outcomes(&fs, CrashMode::KeepAll, "/db/M"), [Some(b"new".to_vec())]);
    let (mut both, mut neither) = (false, false);
    for seed in 0..300 {
        let after = fs.power_cut(CrashMode::Reordered, seed);
        let (m, tmp) = (after.read_file("/db/M").unwrap(), after.read_file("/db/tmp").ok());
        assert!(m == b"old" || m == b"new");
        both |= m == b"new" && tmp.as_deref() == Some(b"new");
        neither |= m == b"old" && tmp.is_none();
    }
    assert!(both, "a rename may leave both names");
    assert!(neither, "a name that was never durable may be lost by its rename");
}

#[test]
fn a_rename_of_a_durable_file_never_loses_it() {
    let fs = disk();
    let _file = durable(&fs, "/db/a", b"x");
    fs.rename("/db/a".as_ref(), "/db/b".as_ref()).unwrap();
    fs.rename("/db/b".as_ref(), "/db/c".as_ref()).unwrap();
    for mode in CrashMode::ALL {
        for seed in 0..200 {
            let after = fs.power_cut(mode, seed);
            assert!(
                after.files().iter().any(|(path, len)| path.starts_with("/db") && *len == 1),
                "{mode:?} {seed}"
            );
        }
    }
}

#[test]
fn both_names_left_by_a_crash_are_one_file() {
    let fs = disk();
    let _file = durable(&fs, "/db/a", b"x");
    fs.rename("/db/a".as_ref(), "/db/b".as_ref()).unwrap();
    let mut cuts = (0..100).map(|seed| fs.power_cut(CrashMode::Reordered, seed));
    let after = cuts.find(|after| after.files().len() == 2).unwrap();
    after.open_write("/db/a".as_ref()).unwrap().write_all_at(b"y", 0).unwrap();
    assert_eq!(after.read_file("/db/b").unwrap(), b"y");
    after.rename("/db/a".as_ref(), "/db/b".as_ref()).unwrap();
    assert_eq!(after.files().len(), 2, "as rename(2) has it");
    after.remove("/db/a".as_ref()).unwrap();
    assert_eq!(after.read_file("/db/b").unwrap(), b"y");
    assert_eq!(after.used_bytes(), 512);
}

#[test]
fn a_removal_without_a_synced_directory_may_come_back() {
    let fs = disk();
    drop(durable(&fs, "/db/f", b"abc"));
    fs.remove("/db/f".as_ref()).unwrap();
    assert_eq!(fs.used_bytes(), 0);
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [Some(b"abc".to_vec())]);
    assert_eq!(outcomes(&fs, CrashMode::Reordered, "/db/f"), [None, Some(b"abc".to_vec())]);
    let fs = fs.process_kill();
    fs.sync_dir("/db".as_ref()).unwrap();
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [None]);
}

#[test]
fn a_name_used_again_is_one_file_or_the_other() {
    let fs = disk();
    drop(durable(&fs, "/db/f", b"first"));
    fs.remove("/db/f".as_ref()).unwrap();
    create(&fs, "/db/f", b"second").sync_all().unwrap();
    for mode in UNKIND {
        for found in outcomes(&fs, mode, "/db/f").into_iter().flatten() {
            assert!(found == b"first" || found == b"second", "{mode:?}");
        }
    }
}

#[test]
fn torn_mixes_images_at_any_byte() {
    let fs = disk();
    let file = durable(&fs, "/db/f", &[b'a'; 512]);
    file.write_all_at(&[b'b'; 512], 0).unwrap();
    file.write_all_at(&[b'c'; 512], 0).unwrap();
    let found = outcomes(&fs, CrashMode::Torn, "/db/f");
    let count = |bytes: &[u8], wanted| bytes.iter().filter(|&&b| b == wanted).count();
    let has = |f: &dyn Fn(usize, usize, usize) -> bool| {
        found.iter().flatten().any(|x| f(count(x, b'a'), count(x, b'b'), count(x, b'c')))
    };
    assert!(has(&|a, _, _| a == 512) && has(&|_, b, _| b == 512) && has(&|_, _, c| c == 512));
    assert!(
        has(&|a, b, _| a > 0 && b > 0) && has(&|a, _, c| a > 0 && c > 0) && has(&|_, b, c| b > 0 && c > 0)
    );
    for image in found.iter().flatten() {
        assert!(image.is_sorted_by(|x, y| x >= y), "the front is the newer one");
    }
}

#[test]
fn torn_blocks_are_independent() {
    let fs = disk();
    let file = durable(&fs, "/db/f", &[0; 1024]);
    file.write_all_at(&[1; 1024], 0).unwrap();
    let found = outcomes(&fs, CrashMode::Torn, "/db/f");
    let whole = |a, b| found.iter().flatten().any(|x| x[..512] == [a; 512] && x[512..] == [b; 512]);
    assert!(whole(0, 0) && whole(0, 1) && whole(1, 0) && whole(1, 1));
}

#[test]
fn torn_lengths_are_a_prefix_of_what_was_asked() {
    let fs = disk();
    let file = durable(&fs, "/db/f", b"");
    for len in [100, 1000, 10] {
        file.set_len(len).unwrap();
    }
    let lens = |mode| outcomes(&fs, mode, "/db/f").into_iter().map(|x| x.unwrap().len()).collect::<Vec<_>>();
    assert_eq!(lens(CrashMode::Torn), [0, 10, 100, 1000]);
    assert_eq!(lens(CrashMode::Reordered), [0, 10, 100, 1000]);
    assert_eq!(lens(CrashMode::DropAll), [0]);
    assert_eq!(lens(CrashMode::KeepAll), [10]);
}

#[test]
fn reordered_keeps_late_blocks_without_early_ones_and_zeros_under_a_length() {
    let fs = disk();
    let file = durable(&fs, "/db/f", b"");
    for block in 0..8 {
        file.write_all_at(&[block as u8 + 1; 512], block * 512).unwrap();
    }
    let found = outcomes(&fs, CrashMode::Reordered, "/db/f");
    let found = || found.iter().flatten();
    assert!(found().any(|x| x.len() == 4096 && x[..2048].iter().all(|&b| b == 0) && x[3584..] == [8; 512]));
    assert!(found().any(|x| x.len() == 4096 && x.iter().all(|&b| b == 0)));
    assert!(found().any(Vec::is_empty));
    assert!(found().any(|x| x.len() == 4096 && !x.contains(&0)));
}

#[test]
fn reordered_keeps_one_file_and_drops_another() {
    let fs = disk();
    let (a, b) = (durable(&fs, "/db/a", b"-"), durable(&fs, "/db/b", b"-"));
    a.write_all_at(b"1", 0).unwrap();
    b.write_all_at(b"2", 0).unwrap();
    let mut seen: Vec<_> = (0..100)
        .map(|seed| fs.power_cut(CrashMode::Reordered, seed))
        .map(|after| (after.read_file("/db/a").unwrap(), after.read_file("/db/b").unwrap()))
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}

#[test]
fn sync_data_makes_growth_durable_but_not_a_cut() {
    let fs = disk();
    let file = durable(&fs, "/db/f", b"");
    file.write_all_at(&[1; 2000], 0).unwrap();
    file.sync_data().unwrap();
    file.set_len(700).unwrap();
    file.write_all_at(&[2; 10], 690).unwrap();
    file.sync_data().unwrap();
    let mut long = vec![1; 2000];
    long[690..700].fill(2);
    let short = long[..700].to_vec();
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [Some(long)]);
    assert_eq!(outcomes(&fs, CrashMode::KeepAll, "/db/f"), [Some(short.clone())]);
    let fs = fs.process_kill();
    fs.open_write("/db/f".as_ref()).unwrap().sync_all().unwrap();
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [Some(short)]);
}

#[test]
fn what_was_cut_reads_as_zeros_when_the_file_grows_after_a_crash() {
    let fs = disk();
    let file = durable(&fs, "/db/f", b"abc");
    file.write_all_at(&[9; 2000], 3).unwrap();
    for mode in UNKIND {
        for seed in 0..50 {
            let after = fs.power_cut(mode, seed);
            let len = usize::try_from(after.files()[0].1).unwrap();
            after.open_write("/db/f".as_ref()).unwrap().set_len(4000).unwrap();
            assert!(after.read_file("/db/f").unwrap()[len..].iter().all(|&b| b == 0));
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_but_what_was_unsynced_stays_so() {
    let fs = disk();
    let file = durable(&fs, "/db/f", b"old");
    file.write_all_at(b"new", 0).unwrap();
    let _new = create(&fs, "/db/g", b"g");
    let lock = fs.lock("/db/LOCK".as_ref(), "me").unwrap();
    let next = fs.process_kill();
    assert!(fs.crashed() && file.read_at(&mut [0], 0).is_err() && fs.list("/db".as_ref()).is_err());
    assert!(!next.crashed());
    assert_eq!(next.read_file("/db/f").unwrap(), b"new");
    assert_eq!(next.read_file("/db/g").unwrap(), b"g");
    drop(next.lock("/db/LOCK".as_ref(), "you").unwrap());
    drop(lock);

    let after = next.power_cut(CrashMode::DropAll, 0);
    assert_eq!(after.read_file("/db/f").unwrap(), b"old");
    assert!(after.read_file("/db/g").is_err());

    // A sync by the next process covers what the killed one wrote.
    let next = next.process_kill();
    next.open_read("/db/f".as_ref()).unwrap().sync_data().unwrap();
    next.sync_dir("/db".as_ref()).unwrap();
    let after = next.power_cut(CrashMode::DropAll, 0);
    assert_eq!(after.read_file("/db/f").unwrap(), b"new");
    assert_eq!(after.read_file("/db/g").unwrap(), b"", "its bytes were never synced");
}

#[test]
fn an_open_file_without_a_name_ends_with_its_process() {
    let fs = disk();
    let file = durable(&fs, "/db/f", &[1; 5000]);
    fs.remove("/db/f".as_ref()).unwrap();
    fs.sync_dir("/db".as_ref()).unwrap();
    assert_eq!(fs.used_bytes(), 5120);
    assert_eq!(file.len().unwrap(), 5000);
    assert_eq!(fs.process_kill().used_bytes(), 0);
    assert_eq!(fs.power_cut(CrashMode::KeepAll, 0).used_bytes(), 0);
}

#[test]
fn handles_end_with_their_process() {
    let fs = disk();
    let _open = durable(&fs, "/db/f", &[1; 5000]);
    let next = fs.process_kill();
    next.remove("/db/f".as_ref()).unwrap();
    assert_eq!(next.used_bytes(), 0);
}

#[test]
fn emptying_a_file_is_durable_after_sync_all() {
    let fs = disk();
    let file = durable(&fs, "/db/f", b"abc");
    file.set_len(0).unwrap();
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [Some(b"abc".to_vec())]);
    let fs = fs.process_kill();
    fs.open_write("/db/f".as_ref()).unwrap().sync_all().unwrap();
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [Some(Vec::new())]);
}

#[test]
fn locks_end_with_the_power() {
    let fs = disk();
    let guard = fs.lock("/db/LOCK".as_ref(), "me").unwrap();
    assert!(matches!(fs.lock("/db/LOCK".as_ref(), "you"), Err(LockError::Held { owner }) if owner == "me"));
    let after = fs.power_cut(CrashMode::KeepAll, 0);
    let second = after.lock("/db/LOCK".as_ref(), "you").unwrap();
    drop(guard);
    assert!(after.lock("/db/LOCK".as_ref(), "third").is_err(), "a dead guard frees nothing");
    drop(second);
}

/// A bit of everything.
fn workload(fs: &SimFs) {
    for i in 0..20_u64 {
        let file = create(fs, &format!("/db/{i}"), &vec![i as u8 + 1; 300 * i as usize]);
        if i % 3 == 0 {
            file.sync_data().unwrap();
        }
        file.write_all_at(b"more", i * 100).unwrap();
        if i % 4 == 0 {
            fs.rename(format!("/db/{i}").as_ref(), format!("/db/{}r", i / 8).as_ref()).unwrap();
        }
        if i == 9 {
            fs.sync_dir("/db".as_ref()).unwrap();
            fs.remove("/db/7".as_ref()).unwrap();
        }
    }
}

fn everything(fs: &SimFs) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    fs.files().into_iter().map(|(path, _)| (path.clone(), fs.read_file(path).unwrap())).collect()
}

#[test]
fn the_same_seed_gives_the_same_crash_and_another_one_does_not() {
    let run = |mode, seed| {
        let fs = disk();
        workload(&fs);
        everything(&fs.power_cut(mode, seed))
    };
    for mode in CrashMode::ALL {
        assert_eq!(run(mode, 42), run(mode, 42), "{mode:?}");
    }
    for mode in [CrashMode::Torn, CrashMode::Reordered] {
        assert_ne!(run(mode, 42), run(mode, 43), "{mode:?}");
    }
}

#[test]
fn what_survived_is_synced() {
    for mode in CrashMode::ALL {
        let fs = disk();
        workload(&fs);
        let once = fs.power_cut(mode, 7);
        assert_eq!(everything(&once), everything(&once.power_cut(CrashMode::DropAll, 8)), "{mode:?}");
    }
}
