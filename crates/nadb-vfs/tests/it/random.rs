//! Random calls: the simulated disk must look like the one in memory, and never invent a byte at a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nadb_vfs::{CrashMode, Fs, MemFs, SimFs};

const NAMES: [&str; 4] = ["/a", "/b", "/c", "/d"];

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Does the same random thing on both; returns a description of what was done.
fn step(rng: &mut Rng, sim: &SimFs, mem: &MemFs) -> String {
    let name = NAMES[rng.below(4) as usize];
    let (a, b, fill) = (rng.below(3000), 1 + rng.below(1500), 1 + rng.below(255) as u8);
    let bytes = vec![fill; b as usize];
    let both = |f: &dyn Fn(&dyn Fs) -> Result<(), std::io::ErrorKind>| {
        let (x, y) = (f(sim), f(mem));
        assert_eq!(x, y, "{name}");
    };
    let open = |fs: &dyn Fs| fs.open_write(name.as_ref()).map_err(|e| e.kind());
    let kind = |e: std::io::Error| e.kind();
    match rng.below(12) {
        0 | 1 => both(&|fs| fs.create_new(name.as_ref()).map(drop).map_err(kind)),
        2 => both(&|fs| fs.remove(name.as_ref()).map_err(kind)),
        3 => both(&|fs| fs.rename(name.as_ref(), NAMES[b as usize % 4].as_ref()).map_err(kind)),
        4 => both(&|fs| open(fs)?.set_len(a).map_err(kind)),
        5 => both(&|fs| open(fs)?.allocate(a, b).map_err(kind)),
        6 => both(&|fs| open(fs)?.sync_data().map_err(kind)),
        7 => both(&|fs| open(fs)?.sync_all().map_err(kind)),
        8 => both(&|fs| fs.sync_dir("/".as_ref()).map_err(kind)),
        _ => both(&|fs| open(fs)?.write_all_at(&bytes, a).map_err(|e| e.source.kind())),
    }
    format!("{name} {a} {b} {fill}")
}

fn contents(fs: &dyn Fs) -> BTreeMap<PathBuf, Vec<u8>> {
    let names = fs.list("/".as_ref()).unwrap().into_iter().map(|entry| PathBuf::from("/").join(entry.name));
    names
        .map(|path| {
            let file = fs.open_read(&path).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            (path, bytes)
        })
        .collect()
}

#[test]
fn looks_like_memory_and_keeps_all() {
    for seed in 0..100 {
        let (mut rng, sim, mem) = (Rng(seed), SimFs::new(seed), MemFs::default());
        for _ in 0..60 {
            let what = step(&mut rng, &sim, &mem);
            assert_eq!(contents(&sim), contents(&mem), "seed {seed}: {what}");
        }
        assert_eq!(contents(&sim.process_kill()), contents(&mem), "seed {seed}");
        assert_eq!(contents(&sim.power_cut(CrashMode::KeepAll, seed)), contents(&mem), "seed {seed}");
    }
}

#[test]
fn synced_files_survive_everything() {
    for seed in 0..100 {
        let (mut rng, sim, mem) = (Rng(seed), SimFs::new(seed), MemFs::default());
        (0..60).for_each(|_| drop(step(&mut rng, &sim, &mem)));
        for path in contents(&mem).keys() {
            sim.open_read(path).unwrap().sync_all().unwrap();
        }
        sim.sync_dir("/".as_ref()).unwrap();
        for mode in CrashMode::ALL {
            let after = sim.power_cut(mode, seed);
            assert_eq!(contents(&after), contents(&mem), "seed {seed} {mode:?}");
            assert_eq!(after.used_bytes(), sim.used_bytes(), "seed {seed} {mode:?}");
        }
    }
}

/// Whatever survives, each byte was at its place since the last sync of the file, or is a zero.
#[test]
fn no_crash_invents_bytes() {
    for seed in 0..60 {
        let (mut rng, sim) = (Rng(seed), SimFs::new(seed));
        let file = sim.create_new("/f".as_ref()).unwrap();
        sim.sync_dir("/".as_ref()).unwrap();
        let mut possible: Vec<BTreeSet<u8>> = vec![BTreeSet::from([0]); 5000];
        let mut lens = BTreeSet::from([0]);
        for _ in 0..30 {
            let (at, len) = (rng.below(3000), 1 + rng.below(1500));
            match rng.below(8) {
                0 => file.set_len(at).unwrap(),
                1 => {
                    file.sync_all().unwrap();
                    let bytes = sim.read_file("/f").unwrap();
                    lens = BTreeSet::from([bytes.len()]);
                    for (place, set) in possible.iter_mut().enumerate() {
                        *set = BTreeSet::from([bytes.get(place).copied().unwrap_or(0)]);
                    }
                }
                _ => file.write_all_at(&vec![1 + rng.below(255) as u8; len as usize], at).unwrap(),
            }
            let bytes = sim.read_file("/f").unwrap();
            lens.insert(bytes.len());
            for (place, set) in possible.iter_mut().enumerate() {
                set.insert(bytes.get(place).copied().unwrap_or(0));
            }
        }
        for mode in CrashMode::ALL {
            for cut in 0..20 {
                let bytes = sim.power_cut(mode, cut).read_file("/f").unwrap();
                assert!(lens.contains(&bytes.len()), "seed {seed} {mode:?} {cut}");
                for (place, byte) in bytes.iter().enumerate() {
                    assert!(possible[place].contains(byte), "seed {seed} {mode:?} {cut} at {place}");
                }
            }
        }
    }
}
