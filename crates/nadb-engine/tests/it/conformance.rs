//! The conformance suite on the engine: in memory, and on disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nadb_conformance::{Backend, Subject};
use nadb_core::ManualClock;
use nadb_engine::{Engine, Options};
use nadb_vfs::{Fs, MemFs, RealFs};

const START_MS: u64 = 1_700_000_000_000;

fn subject(fs: Arc<dyn Fs>, dir: Arc<dyn AsRef<Path>>, memtable_size: u64, track_access: bool) -> Subject {
    let clock = Arc::new(ManualClock::new(START_MS));
    let mut options = Options::default();
    options.memtable_size = memtable_size;
    options.track_access = track_access;
    options.clock = clock.clone();
    let open = move || -> Arc<dyn Backend> {
        Arc::new(Engine::open(Arc::clone(&fs), (*dir).as_ref(), options.clone()).unwrap())
    };
    let pass_time = move |time: Duration| clock.advance_ms(time.as_millis().try_into().unwrap());
    Subject::new(open()).with_time(pass_time).with_reopen(open)
}

mod in_memory {
    use super::*;

    fn in_memory() -> Subject {
        let memtable_size = Options::default().memtable_size;
        subject(Arc::new(MemFs::default()), Arc::new(Path::new("store")), memtable_size, false)
    }

    nadb_conformance::tests!(in_memory, excluded: "last access");
}

mod on_disk {
    use super::*;

    /// With segments so small that many checks run over several, and keeping when keys were last read.
    fn on_disk() -> Subject {
        subject(Arc::new(RealFs), Arc::new(tempfile::tempdir().unwrap()), 16 << 10, true)
    }

    nadb_conformance::tests!(on_disk, excluded: "");
}

mod with_the_system_clock {
    use super::*;

    /// As users open it: real time, large segments.
    fn as_it_comes() -> Subject {
        let open = || Engine::open(Arc::new(MemFs::default()), Path::new("store"), Options::default());
        Subject::new(Arc::new(open().unwrap()))
    }

    nadb_conformance::tests!(as_it_comes, excluded: "last access\nopening again\n");
}
