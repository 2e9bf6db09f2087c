//! Damaged and hostile footers: an error or the same answer, never another one, and never a panic.

use nadb_core::Error;

use super::*;
use crate::FORMAT_VERSION;
use crate::checksum::{crc32, mix};
use crate::footer::blocks::{BLOCK_BYTES, block_checksum};
use crate::part::Part;

/// What a row of calls says, each an answer or an error; an error ends what the calls behind it prove.
type Answers = Vec<Result<String, Error>>;

/// What every accessor says, about rows of the model and a few that are not there: rows of calls that depend on nothing but
/// the footer.
fn answers(footer: &Arc<Footer>, model: &Model) -> Vec<Answers> {
    let mut all = vec![vec![Ok(format!("{} {:?}", footer.len(), footer.namespaces()))]];
    let mut add = |answer: Result<String, Error>| all.push(vec![answer]);
    add(footer.system().map(|rows| format!("{rows:?}")));
    add(footer.blob_ids().map(|blobs| format!("{blobs:?}")));
    // Hostile counts are not walked through.
    let rows = footer.len().min(800) + 2;
    for row in 0..rows {
        let offset = model.metas.get(row as usize).map_or(row * 100, |row| row.offset);
        add(footer.meta(Ordinal(row)).map(|row| format!("{row:?}")));
        add(footer.seq(Ordinal(row)).map(|seq| format!("{seq}")));
        add(footer.ordinal_at(Rank(row)).map(|ordinal| format!("{ordinal:?}")));
        add(footer.ordinal_of(offset).map(|ordinal| format!("{ordinal:?}")));
        add(footer.key_at(Rank(row)).map(|key| format!("{key:?}")));
    }
    let part = Part::Footer(Arc::clone(footer));
    for (namespace, prefix) in [(1, ""), (1, "row:0000"), (2, ""), (2, "few"), (9, "")] {
        let mut tags = String::new();
        let shown =
            part.tags(NamespaceId(namespace), prefix, &mut |tag, rows| tags += &format!("{tag} {rows} "));
        add(shown.map(|()| tags));
    }
    for after_ms in [0, 1_700_000_060_000, 1_700_000_060_020, u64::MAX] {
        add(part.next_expiry(after_ms).map(|time| format!("{time:?}")));
        let (mut found, mut count) = (String::new(), 0);
        let shown = part.expiring(after_ms, u64::MAX, &mut |ordinal, time| {
            found += &format!("{ordinal:?} {time} ");
            count += 1;
            count < 1_000
        });
        add(shown.map(|()| found));
    }
    for (namespace, key) in [(0, &b"x"[..]), (1, b"user:05"), (1, b"z"), (2, b""), (9, b"")] {
        add(footer.seek(NamespaceId(namespace), key).map(|rank| format!("{rank:?}")));
    }
    add(footer.check_all().map(|()| "whole".into()));
    all.extend([0, rows / 2, u32::MAX].map(|from| walk(footer, Rank(from), rows)));
    for tag in ["even:0", "even:1", "few:001", "few:003", "row:00007", "row:00039", "none"] {
        all.extend([1, 2, 9].map(|namespace| tagged(&part, NamespaceId(namespace), tag, rows)));
    }
    all
}

/// Whether a tag is there, and then which rows have it.
fn tagged(part: &Part, namespace: NamespaceId, tag: &str, rows: u32) -> Answers {
    let found = match part.postings(namespace, tag) {
        Ok(Some(found)) => found,
        Ok(None) => return vec![Ok("no row".into())],
        Err(error) => return vec![Err(error)],
    };
    let mut within = (0..rows).collect();
    let intersected = found.intersect(&mut within).map(|()| format!("{within:?}"));
    vec![Ok(format!("{}", found.len())), found.to_bitmap().map(|ranks| format!("{ranks:?}")), intersected]
}

/// Up and down from a rank; a step that fails must leave the cursor where it was.
fn walk(footer: &Arc<Footer>, from: Rank, steps: u32) -> Answers {
    let row = |cursor: &FooterCursor| format!("{:?} {:?}", cursor.key(), cursor.ordinal());
    let mut cursor = match footer.cursor(from) {
        Ok(cursor) => cursor,
        Err(error) => return vec![Err(error)],
    };
    let mut answers = vec![Ok(row(&cursor))];
    for step in 0..2 * steps {
        let before = row(&cursor);
        let moved = if step < steps { cursor.next() } else { cursor.previous() };
        if moved.is_err() {
            assert_eq!(row(&cursor), before, "a step that failed has moved the cursor");
        }
        answers.push(moved.map(|()| row(&cursor)));
    }
    answers
}

/// Each answer of the damaged footer is an error or that of the whole one.
fn assert_never_wrong(damaged: &[u8], model: &Model, whole: &[Answers], what: &str) {
    let Ok(footer) = open(damaged, model.at) else {
        return;
    };
    let mut failed = false;
    for (answers, right) in answers(&footer, model).into_iter().zip(whole) {
        for (answer, right) in answers.into_iter().zip(right) {
            match (answer, right) {
                (Ok(answer), Ok(right)) => assert_eq!(answer, *right, "{what}"),
                (Ok(answer), Err(error)) => panic!("{what}: {answer} instead of {error}"),
                (Err(_), right) => {
                    failed |= right.is_ok();
                    break;
                }
            }
        }
    }
    assert!(failed, "{what}: nothing has noticed");
}

fn small() -> Model {
    let mut model =
        Model::new((0..40).map(|row| Spec { namespace: 1 + row / 23, ..spec(row) }).collect(), false);
    model.system = model::system();
    model
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let model = small();
    let bytes = model.encode();
    let whole = answers(&open(&bytes, model.at).unwrap(), &model);
    assert_eq!(whole.iter().filter(|answers| answers[0].is_err()).count(), 8, "rows beyond the last alone");
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_never_wrong(&damaged, &model, &whole, &format!("bit {bit}"));
    }
    for len in 0..bytes.len() {
        let error = open(&bytes[..len], model.at).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "cut to {len}");
        assert_eq!(error.path(), Some(Path::new(PATH)));
        assert!(open(&bytes[len + 1..], model.at).is_err(), "{} bytes cut from the front", len + 1);
    }
    assert!(open(&[&bytes[..], b"\0"].concat(), model.at).is_err(), "a byte behind the end");
}

#[test]
fn damage_to_one_block_of_many_spoils_no_answer_of_another() {
    let specs = (0..700).map(|row| Spec { skipped: u64::from(row * row % 91), ..spec(row) });
    let model = Model::new(specs.collect(), false);
    let bytes = model.encode();
    assert!(bytes.len() > 3 * BLOCK_BYTES);
    let whole = answers(&open(&bytes, model.at).unwrap(), &model);
    for at in (0..bytes.len()).step_by(47) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert_never_wrong(&damaged, &model, &whole, &format!("byte {at}"));
    }
}

#[test]
fn a_footer_of_another_file_or_at_another_place_is_refused() {
    let model = small();
    let bytes = Bytes::from(model.encode());
    let at = |uid, at| Footer::open(bytes.clone(), uid, at, Path::new(PATH));
    assert!(at(UID, model.at).is_ok());
    assert_eq!(at(UID, model.at + 1).unwrap_err().kind(), ErrorKind::Corruption);
    assert_eq!(at(SegmentUid([8; 16]), model.at).unwrap_err().kind(), ErrorKind::Corruption);
    assert!(at(UID, u32::MAX - 5).is_err());
}

#[test]
fn blocks_are_verified_at_first_touch_and_not_before() {
    let model = loaded(5_000, true);
    let bytes = model.encode();
    let intact = open(&bytes, model.at).unwrap();
    let mut damaged = bytes.clone();
    damaged[1] ^= 1; // the first offsets
    let footer = open(&damaged, model.at).unwrap();
    assert_eq!(footer.key_at(Rank(4_000)).unwrap(), intact.key_at(Rank(4_000)).unwrap());
    let error = footer.meta(Ordinal(0)).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(u64::from(model.at))));
    assert_eq!(error.path(), Some(Path::new(PATH)));
    assert!(footer.meta(Ordinal(0)).is_err(), "the second time too");
    assert!(footer.check_all().is_err());

    // Damage inside the keys: the cursor stays at the row before, and the rows of other blocks are there.
    let mut damaged = bytes;
    let keys = Layout::read(&damaged, UID, model.at).unwrap().section(id::KEYS).unwrap();
    damaged[keys.start + keys.len / 2] ^= 1;
    let footer = open(&damaged, model.at).unwrap();
    let mut cursor = footer.cursor(Rank(0)).unwrap();
    let mut passed = 0;
    while cursor.next().is_ok() {
        passed += 1;
    }
    assert_eq!(cursor.rank(), Some(Rank(passed)));
    assert_eq!(cursor.ordinal(), intact.ordinal_at(Rank(passed)).unwrap());
    assert_eq!(cursor.key().map(|(n, k)| (n, k.to_vec())), Some(intact.key_at(Rank(passed)).unwrap()));
    assert!((1_000..4_000).contains(&passed));
    cursor.previous().unwrap();
    assert_eq!(cursor.rank(), Some(Rank(passed - 1)));
    assert!(footer.key_at(Rank(4_999)).is_ok());
}

/// Writes the checksums anew, as far as the trailer's places allow.
fn resum(bytes: &mut [u8], at: u32) -> Option<()> {
    let trailer = bytes.len().checked_sub(FOOTER_TRAILER as usize)?;
    let place = |bytes: &[u8], from: usize| {
        Some(u32::from_le_bytes(*bytes.get(trailer + from..)?.first_chunk()?) as usize)
    };
    let (body, table) = (place(bytes, 4)?, place(bytes, 8)?);
    if body <= table && table <= trailer {
        let sums: Vec<u8> = (at..)
            .step_by(BLOCK_BYTES)
            .zip(bytes[..body].chunks(BLOCK_BYTES))
            .flat_map(|(at, block)| block_checksum(block, UID, at).to_le_bytes())
            .collect();
        let len = sums.len().min(trailer - table);
        bytes[table..table + len].copy_from_slice(&sums[..len]);
    }
    let sum = crc32(bytes.get(body..trailer + 16)?) ^ mix(UID, at + u32::try_from(trailer).ok()?, Seq(0));
    bytes[trailer + 16..trailer + 20].copy_from_slice(&sum.to_le_bytes());
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn hostile_bytes_whose_checksums_hold_never_panic(
        model in any_models(),
        changes in vec((any::<prop::sample::Index>(), prop_oneof![Just(0), Just(0xFF), any::<u8>()]), 1..6),
        at_the_end in any::<bool>(),
    ) {
        let mut bytes = model.encode();
        let len = bytes.len();
        // Directory and trailer are short, and what they claim reaches furthest.
        let from = if at_the_end { len.saturating_sub(250) } else { 0 };
        for (index, byte) in changes {
            bytes[from + index.index(len - from)] = byte;
        }
        resum(&mut bytes, model.at);
        if let Ok(footer) = open(&bytes, model.at) {
            answers(&footer, &model);
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(open(&bytes, 64).is_err());
        let _ = footer_bytes(&bytes);
    }

    #[test]
    fn any_sections_whose_checksums_hold_never_panic(
        rows in 0..300u32,
        sections in vec(vec(prop_oneof![Just(0), any::<u8>()], 0..700), 17),
    ) {
        let sections = (1..).zip(sections).map(|(id, bytes)| NewSection::required(id, bytes)).collect();
        let bytes = assemble(UID, 1 << 20, rows, sections).unwrap();
        if let Ok(footer) = open(&bytes, 1 << 20) {
            answers(&footer, &Model::new(Vec::new(), false));
        }
    }
}

/// The sections of a small footer, changed, with checksums that hold.
fn forged(change: impl FnOnce(&mut Vec<NewSection>, &mut u32)) -> (Vec<u8>, u32) {
    let model = small();
    let mut builder = FooterBuilder::new();
    for ordinal in &model.order {
        let (namespace, key) = model.key(*ordinal);
        let tags = model.tags[ordinal.0 as usize].iter().map(String::as_str);
        builder.push_key(namespace, key, *ordinal, tags).unwrap();
    }
    let (mut rows, mut sections) = builder.sections(model.at, &model.metas, &model.system).unwrap();
    change(&mut sections, &mut rows);
    (assemble(UID, model.at, rows, sections).unwrap(), model.at)
}

fn section(sections: &mut [NewSection], id: u16) -> &mut Vec<u8> {
    &mut sections.iter_mut().find(|section| section.id == id).unwrap().bytes
}

fn cut(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() - 1);
}

#[test]
fn claims_are_refused_though_the_checksums_hold() {
    let check = |what: &str, change: &dyn Fn(&mut Vec<NewSection>, &mut u32)| {
        let (bytes, at) = forged(change);
        let result = open(&bytes, at).and_then(|footer| {
            answers(&footer, &small());
            footer.check_all()
        });
        let error = result.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corruption, "{what}: {error}");
        assert!(error.path().is_some() && error.offset() >= Some(u64::from(at)), "{what}: {error}");
    };
    forged(|_, _| ());
    check("more rows than a segment has", &|_, rows| *rows = u32::MAX);
    check("more rows than the keys bear out", &|_, rows| *rows = 4_000);
    check("one row more", &|_, rows| *rows += 1);
    check("one row less", &|_, rows| *rows -= 1);
    check("no rows", &|_, rows| *rows = 0);
    for id in [id::OFFSETS, id::LENGTHS, id::NUMBERS, id::KINDS, id::SIZES, id::UPDATED] {
        check("a column that is missing", &|s, _| s.retain(|section| section.id != id));
        check("a column without its entries", &|s, _| section(s, id).truncate(15));
        // Every field that has few bits in these rows becomes one that no row can have, or a length that overlaps.
        if id != id::SIZES {
            check("a base that cannot be", &|s, _| section(s, id)[..8].fill(0xFF));
        }
        check("numbers of 127 bits", &|s, _| section(s, id)[12] = 0x7F);
        check("bits beyond the section", &|s, _| {
            section(s, id)[8..12].fill(0xFF);
            section(s, id)[12] |= 1;
        });
    }
    for id in [id::GROUPS, id::KEYS, id::NAMESPACES] {
        check("a part of the keys that is missing", &|s, _| s.retain(|section| section.id != id));
        check("a part of the keys that is empty", &|s, _| section(s, id).clear());
        check("a byte too many or too few", &|s, _| cut(section(s, id)));
    }
    check("a first key that shares", &|s, _| section(s, id::KEYS)[0] = 1);
    check("an empty key", &|s, _| section(s, id::KEYS)[1] = 0);
    check("a key beyond the keys", &|s, _| section(s, id::KEYS)[1] = 0x7F);
    check("keys out of order", &|s, _| section(s, id::KEYS)[2] = b'z');
    check("bytes behind the last key", &|s, _| section(s, id::KEYS).extend_from_slice(b"\0\x01"));
    check("groups that go backwards", &|s, _| section(s, id::GROUPS)[0] = 0xF0);
    check("a row twice", &|s, _| section(s, id::ORDER)[16] ^= 1);
    check("ordinals beyond the rows", &|s, _| section(s, id::ORDER)[0] = 0xF0);
    check("a first rank that is not 0", &|s, _| section(s, id::NAMESPACES)[4] = 1);
    check("namespaces that do not rise", &|s, _| section(s, id::NAMESPACES)[8] = 1);
    check("ranks that do not rise", &|s, _| section(s, id::NAMESPACES)[12] = 0);
    check("ranks beyond the rows", &|s, _| section(s, id::NAMESPACES)[12] = 40);
    check("blobs that are missing", &|s, _| s.retain(|section| section.id != id::BLOBS));
    check("blobs out of order", &|s, _| section(s, id::BLOBS)[0] = 39);
    check("a blob of no row", &|s, _| *section(s, id::BLOBS).iter_mut().rev().nth(19).unwrap() = 200);
    check("half a blob", &|s, _| section(s, id::BLOBS).truncate(30));
    check("a blob of a value", &|s, _| section(s, id::BLOBS)[0] = 2);
    check_claims_of_tags(&check);
    check("a system record of no kind", &|s, _| section(s, id::SYSTEM)[0] = 1);
    check("a system record that is cut short", &|s, _| cut(section(s, id::SYSTEM)));
}

/// Header 8 bytes, two namespaces of 12 each, then groups of 8.
const NAMESPACES_AT: usize = 8;
const GROUPS_AT: usize = 32;

type Change<'a> = &'a dyn Fn(&mut Vec<NewSection>, &mut u32);

fn check_claims_of_tags(check: &dyn Fn(&str, Change<'_>)) {
    let set = |id, at: usize, byte| move |s: &mut Vec<NewSection>, _: &mut u32| section(s, id)[at] = byte;
    let drop_ = |id| move |s: &mut Vec<NewSection>, _: &mut u32| s.retain(|section| section.id != id);
    check("tags that are missing", &drop_(id::TAGS));
    check("postings that are missing", &drop_(id::POSTINGS));
    check("expiries in order that are missing", &drop_(id::EXPIRING));
    check("expiries that are missing", &drop_(id::EXPIRIES));
    for id in [id::TAGS, id::POSTINGS, id::EXPIRING] {
        check("an empty section", &|s, _| section(s, id).clear());
        check("a byte too few", &|s, _| cut(section(s, id)));
    }
    check("a byte behind the tags", &|s, _| section(s, id::TAGS).push(0));
    check("a byte behind the postings", &|s, _| section(s, id::POSTINGS).push(0));
    check("more namespaces than there is room for", &set(id::TAGS, 3, 0xFF));
    check("more groups than there is room for", &set(id::TAGS, 7, 0xFF));
    check("tags of a namespace without rows", &set(id::TAGS, NAMESPACES_AT, 7));
    check("a namespace whose groups begin late", &set(id::TAGS, NAMESPACES_AT + 4, 1));
    check("a namespace without tags", &set(id::TAGS, NAMESPACES_AT + 8, 0));
    check("more tags than groups", &set(id::TAGS, NAMESPACES_AT + 10, 1));
    check("a group beyond the tags", &set(id::TAGS, GROUPS_AT + 3, 0x7F));
    check("a group's postings beyond the postings", &set(id::TAGS, GROUPS_AT + 7, 0x7F));
    let first = |s: &mut Vec<NewSection>| {
        let groups = u32::from_le_bytes(section(s, id::TAGS)[4..8].try_into().unwrap());
        GROUPS_AT + groups as usize * 8
    };
    let at_first = |at: usize, byte: u8| {
        move |s: &mut Vec<NewSection>, _: &mut u32| {
            let first = first(s);
            section(s, id::TAGS)[first + at] = byte;
        }
    };
    // "even:0" stands first, with as many rows as fit into a byte.
    check("a first tag that shares", &at_first(0, 1));
    check("a tag beyond the section", &at_first(1, 0xFF));
    check("an empty tag", &at_first(1, 0));
    check("a tag with a NUL", &at_first(3, 0));
    check("a tag that is not UTF-8", &at_first(3, 0xFF));
    check("tags out of order", &at_first(2, b'z'));
    check("a tag without rows", &at_first(8, 0));
    check("a tag of more rows than there are", &at_first(8, 0x7F));
    check("a tag of another count of rows", &at_first(8, 5));
    check("postings of other bytes", &at_first(9, 1));
    check("ranks beyond the namespace", &set(id::POSTINGS, 1, 0x7F));
    check("no expiries", &set(id::EXPIRING, 0, 0));
    check("more expiries than rows", &set(id::EXPIRING, 1, 1));
    check("one expiry less", &|s, _| section(s, id::EXPIRING)[0] -= 1);
    check("times beyond the section", &set(id::EXPIRING, 7, 1));
    check("a time that is not the row's", &|s, _| section(s, id::EXPIRING)[8] ^= 1);
    check("a row that does not expire then", &|s, _| *section(s, id::EXPIRING).last_mut().unwrap() ^= 0x10);
    check("an expiry that is not the list's", &|s, _| section(s, id::EXPIRIES)[0] ^= 1);
}

/// Of two namespaces with two rows each the first gives a tag the ranks of the second.
#[test]
fn postings_outside_their_namespace_are_refused() {
    let tagged = |row: u32| Spec { namespace: 1 + row / 50, tags: vec!["x".into()], ..spec(row) };
    let model = Model::new((0..100).map(tagged).collect(), false);
    let encode = |swapped: bool| {
        let mut builder = FooterBuilder::new();
        for ordinal in &model.order {
            let (namespace, key) = model.key(*ordinal);
            builder.push_key(namespace, key, *ordinal, ["x"]).unwrap();
        }
        let (rows, mut sections) = builder.sections(model.at, &model.metas, &[]).unwrap();
        let postings = section(&mut sections, id::POSTINGS);
        let half = postings.len() / 2;
        if swapped {
            postings.rotate_left(half);
        }
        open(&assemble(UID, model.at, rows, sections).unwrap(), model.at).unwrap()
    };
    let whole = Part::Footer(encode(false));
    let ranks = whole.postings(NamespaceId(2), "x").unwrap().unwrap().to_bitmap().unwrap();
    assert!(ranks.iter().eq(50..100));
    let swapped = encode(true);
    assert!(swapped.check_all().is_err());
    for namespace in [1, 2].map(NamespaceId) {
        let found = Part::Footer(Arc::clone(&swapped)).postings(namespace, "x").unwrap().unwrap();
        let mut all = (0..100).collect();
        assert_eq!(found.to_bitmap().unwrap_err().kind(), ErrorKind::Corruption);
        assert_eq!(found.intersect(&mut all).unwrap_err().kind(), ErrorKind::Corruption);
        assert_eq!(all.len(), 100);
    }
}

#[test]
fn sections_that_must_be_known_are_told_from_those_that_need_not() {
    let with = |is_required| {
        let (bytes, at) = forged(|s, _| s.push(NewSection { id: 500, is_required, bytes: vec![1, 2, 3] }));
        open(&bytes, at).and_then(|footer| footer.check_all().map(|()| footer.len()))
    };
    assert_eq!(with(false).unwrap(), 40);
    let error = with(true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Version);
    assert!(error.to_string().contains("section 500"), "{error}");
}

#[test]
fn another_version_is_said_to_be_one() {
    let model = small();
    let mut bytes = model.encode();
    let version = bytes.len() - 12;
    bytes[version] = 9;
    let error = open(&bytes, model.at).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Version);
    assert_eq!(error.offset(), Some(u64::from(model.at) + version as u64));
    assert_ne!(FORMAT_VERSION, 9);
}

#[test]
fn a_malformed_directory_is_refused_though_the_checksum_holds() {
    let model = small();
    let bytes = model.encode();
    let body = Layout::read(&bytes, UID, model.at).unwrap().body;
    let check = |what: &str, at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[body + at] = byte;
        resum(&mut bytes, model.at).unwrap();
        assert_eq!(open(&bytes, model.at).expect_err(what).kind(), ErrorKind::Corruption, "{what}");
    };
    check("ids that do not rise", 12, 1);
    check("an unknown flag", 2, 3);
    check("a gap before a section", 4, 1);
    check("a section beyond the body", 11, 0x7F);
    check("a section that leaves a gap", 8, 0);
}
