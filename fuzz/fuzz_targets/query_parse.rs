//! Fuzzes the reading of filters and cursors. The work is in the testkit, so that a plain test replays the corpus.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nadb_testkit::fuzz::query_parse(data));
