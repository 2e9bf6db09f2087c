//! Replays the fuzz corpora, so that they count where no nightly toolchain is.

use std::fs;
use std::path::PathBuf;

use nadb_testkit::fuzz;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

fn replay(target: &str, run: fn(&[u8])) {
    let mut count = 0;
    for entry in fs::read_dir(corpus(target)).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 4, "{target}: {count} inputs");
}

#[test]
fn the_corpus_of_blob_decode_holds() {
    replay("blob_decode", fuzz::blob_decode);
}

#[test]
fn the_corpus_of_checkpoint_decode_holds() {
    replay("checkpoint_decode", fuzz::checkpoint_decode);
}

#[test]
fn the_corpus_of_footer_decode_holds() {
    replay("footer_decode", fuzz::footer_decode);
}

#[test]
fn the_corpus_of_frame_decode_holds() {
    replay("frame_decode", fuzz::frame_decode);
}

#[test]
fn the_corpus_of_manifest_decode_holds() {
    replay("manifest_decode", fuzz::manifest_decode);
}

#[test]
fn the_corpus_of_open_directory_holds() {
    replay("open_directory", fuzz::open_directory);
}

#[test]
fn the_corpus_of_query_parse_holds() {
    replay("query_parse", fuzz::query_parse);
}

/// With UPDATE=1 it writes them.
#[test]
fn the_corpora_begin_with_the_seeds() {
    let update = std::env::var_os("UPDATE").is_some();
    for (target, name, bytes) in fuzz::seeds() {
        let path = corpus(target).join(format!("seed-{name}"));
        if update {
            fs::write(&path, &bytes).unwrap();
        }
        let found = fs::read(&path).unwrap_or_default();
        assert_eq!(found, bytes, "{}: run again with UPDATE=1", path.display());
    }
}

/// A little fuzzing with every run: bytes of the seeds changed, cut and doubled by a fixed rule.
#[test]
fn neighbours_of_the_seeds_hold() {
    for (target, _, seed) in fuzz::seeds() {
        let run = match target {
            "blob_decode" => fuzz::blob_decode,
            "checkpoint_decode" => fuzz::checkpoint_decode,
            "footer_decode" => fuzz::footer_decode,
            "frame_decode" => fuzz::frame_decode,
            "manifest_decode" => fuzz::manifest_decode,
            "query_parse" => fuzz::query_parse,
            _ => fuzz::open_directory,
        };
        // Those that open a store, or sum whole blocks, take longer.
        let step = if matches!(target, "blob_decode" | "checkpoint_decode") { 11 } else { 1 };
        for at in (0..seed.len()).step_by(step) {
            for mask in [0x01, 0x10, 0x80, 0xFF] {
                let mut bytes = seed.clone();
                bytes[at] ^= mask;
                run(&bytes);
            }
            run(&seed[..at]);
            run(&[&seed[..at], &seed[at / 2..]].concat());
        }
    }
}
