//! Full disks: writes fail, nothing else does, and writing resumes when there is room.

use std::sync::Arc;

use nadb_core::{Durability, ErrorKind};
use nadb_testkit::model::Model;
use nadb_testkit::script::{delete, set};
use nadb_testkit::workload::{Runner, Setup, Step, Trouble};
use nadb_vfs::SimFs;

use super::{disk, opened, take};

fn plain() -> Setup {
    Setup { compression: nadb_core::Compression::None, ..Setup::default() }
}

fn fill(runner: &mut Runner, class: Durability) -> u64 {
    for n in 0..2000 {
        let step = Step::Write(vec![set("app/users", &format!("fill:{n}"), &[7; 300])], Some(class));
        match runner.step(&step) {
            Ok(_) => {}
            Err(Trouble::Store(error)) if error.kind() == ErrorKind::NoSpace => return n,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the disk does not fill up");
}

#[test]
fn a_full_disk_fails_writes_and_nothing_else_and_writing_resumes() {
    for class in [Durability::Buffered, Durability::Flushed, Durability::Synced] {
        let disk = disk(1);
        let mut runner = opened(&disk, plain(), 1, Model::default());
        take(&mut runner, &Step::Write(vec![set("app/users", "a", b"1")], None));
        disk.set_capacity(Some(disk.used_bytes() + 9000));
        let written = fill(&mut runner, class);
        assert!(written > 10, "{written}");
        runner.check_content().unwrap();
        for _ in 0..5 {
            let step = Step::Write(vec![set("app/users", "too much", &[1; 900])], Some(Durability::Flushed));
            assert!(matches!(runner.step(&step), Err(Trouble::Store(e)) if e.kind() == ErrorKind::NoSpace));
        }
        runner.check_content().unwrap();
        disk.set_capacity(None);
        take(&mut runner, &Step::Write(vec![set("app/users", "b", &[2; 900])], Some(Durability::Synced)));
        runner.check_content().unwrap();
        runner.verify().unwrap();
        take(&mut runner, &Step::Close);
        take(&mut runner, &Step::Open);
        runner.check_content().unwrap();
        runner.verify().unwrap();
    }
}

/// A store that has grown until it keeps a ballast, on a disk that has `room` more.
fn grown(disk: &SimFs, room: u64) -> Runner {
    let mut runner = opened(disk, plain(), 1, Model::default());
    for n in 0..240 {
        let step = Step::Write(vec![set("app/users", &format!("old:{n}"), &[5; 300])], None);
        take(&mut runner, &step);
        if n % 8 == 0 {
            take(&mut runner, &Step::Maintain);
        }
    }
    let files = disk.files();
    assert!(files.iter().any(|(path, _)| path.ends_with("BALLAST")), "{files:?}");
    disk.set_capacity(Some(disk.used_bytes() + room));
    runner
}

#[test]
fn deletes_work_on_a_full_disk_where_there_is_a_ballast() {
    let disk = disk(1);
    let mut runner = grown(&disk, 6000);
    fill(&mut runner, Durability::Flushed);
    let put = Step::Write(vec![set("app/users", "too much", &[1; 300])], Some(Durability::Flushed));
    for n in 0..200 {
        let step = Step::Write(vec![delete("app/users", &format!("old:{n}"))], Some(Durability::Synced));
        take(&mut runner, &step);
        assert!(matches!(runner.step(&put), Err(Trouble::Store(e)) if e.kind() == ErrorKind::NoSpace));
    }
    runner.check_content().unwrap();
    runner.verify().unwrap();
    disk.set_capacity(None);
    take(&mut runner, &put);
    runner.check_content().unwrap();
    take(&mut runner, &Step::Close);
    take(&mut runner, &Step::Open);
    runner.check_content().unwrap();
}

#[test]
fn a_store_with_a_ballast_is_recovered_on_a_full_disk() {
    let disk = disk(1);
    let mut runner = grown(&disk, 6000);
    fill(&mut runner, Durability::Flushed);
    let image = disk.process_kill();
    image.set_capacity(Some(image.used_bytes()));
    let mut after = opened(&image, plain(), 2, runner.model.clone());
    after.check_content().unwrap();
    let put = Step::Write(vec![set("app/users", "too much", &[1; 300])], Some(Durability::Flushed));
    assert!(matches!(after.step(&put), Err(Trouble::Store(e)) if e.kind() == ErrorKind::NoSpace));
    for n in 0..100 {
        let step = Step::Write(vec![delete("app/users", &format!("old:{n}"))], Some(Durability::Synced));
        take(&mut after, &step);
    }
    image.set_capacity(None);
    take(&mut after, &put);
    take(&mut after, &Step::Close);
    take(&mut after, &Step::Open);
    after.check_content().unwrap();
    runner.abandon_without_close();
}

#[test]
fn a_store_without_a_ballast_opens_again_when_there_is_room() {
    let disk = disk(1);
    let mut runner = opened(&disk, plain(), 1, Model::default());
    take(&mut runner, &Step::Write(vec![set("app/users", "a", b"1")], None));
    disk.set_capacity(Some(disk.used_bytes() + 6000));
    fill(&mut runner, Durability::Flushed);
    let image = disk.process_kill();
    image.set_capacity(Some(image.used_bytes()));
    let mut after = Runner::new(Arc::new(image.clone()), plain(), 2, runner.model.clone());
    assert!(matches!(after.open(), Err(Trouble::Store(e)) if e.kind() == ErrorKind::NoSpace));
    image.set_capacity(None);
    after.open().unwrap();
    after.check_content().unwrap();
    runner.abandon_without_close();
}

/// The manifest may need the room of the ballast; the write on whose way that happens must not take the rest of it.
#[test]
fn a_write_on_whose_way_the_ballast_is_given_up_leaves_its_room_to_deletes() {
    let disk = disk(1);
    let mut runner = grown(&disk, 0);
    disk.set_capacity(None);
    take(&mut runner, &Step::Close);
    take(&mut runner, &Step::Open);
    disk.set_capacity(Some(disk.used_bytes()));
    let large = Step::Write(vec![set("app/users", "large", &vec![1; 60_000])], None);
    assert!(matches!(runner.step(&large), Err(Trouble::Store(e)) if e.kind() == ErrorKind::NoSpace));
    for n in 0..200 {
        let step = Step::Write(vec![delete("app/users", &format!("old:{n}"))], Some(Durability::Synced));
        take(&mut runner, &step);
    }
    runner.check_content().unwrap();
}
