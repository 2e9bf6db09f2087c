//! The hot paths under valgrind: `cargo xtask counts` runs it, as `nadb-counts DIR SIZE`.
//!
//! Each section runs within a call of [`counted`], which callgrind is told to look for; for each call a line goes to stdout: the
//! number of operations and the section's name. What the instructions are compared with is no matter of this program.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "it tells xtask what it runs")]

use std::error::Error;
use std::path::PathBuf;

use nadb_benches::{Section, Timer, hot_paths};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(dir), Some(size)) = (words.next(), words.next()) else {
        return Err("usage: nadb-counts DIR SIZE".into());
    };
    Ok(hot_paths(&PathBuf::from(dir), size.parse()?, &mut Counted)?)
}

struct Counted;

impl Timer for Counted {
    fn run(&mut self, section: Section, work: &mut dyn FnMut() -> nadb::Result<()>) -> nadb::Result<()> {
        println!("{} {}", section.operations, section.name);
        counted(work)
    }
}

/// What is counted. It is found by its name, so it must stay a function.
#[inline(never)]
fn counted(work: &mut dyn FnMut() -> nadb::Result<()>) -> nadb::Result<()> {
    // Without the box it would be a tail call: a jump, whose end callgrind does not see.
    std::hint::black_box(work())
}
