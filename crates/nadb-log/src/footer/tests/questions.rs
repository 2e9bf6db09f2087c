//! Every question of a part, of runs of a memtable and of the footer that is made of them, against rows in a plain list.

use std::collections::BTreeMap;
use std::ops::Range;

use roaring::RoaringBitmap;

use super::*;
use crate::footer::postings::LIST_ROWS_MAX;
use crate::memtable::Memtable;
use crate::part::Part;
use crate::row_sum::RowSum;
use crate::rows::Rows as SegmentRows;
use crate::tag_list::{TagList, list_of};

/// A memtable of the model's rows, whose runs are asked for behind each of these counts of rows.
fn memtable(model: &Model, asked: &[usize]) -> Arc<Memtable> {
    let table = Memtable::new();
    for (at, (meta, tags)) in model.metas.iter().zip(&model.tags).enumerate() {
        if asked.contains(&at) {
            // Whatever was derived for a reader must not outlive the merge of its run.
            for run in table.runs().into_iter().map(Part::Run) {
                run.tags(NamespaceId(1), "", &mut |_, _| ()).unwrap();
                run.next_expiry(0).unwrap();
            }
        }
        let (namespace, key) = model.key(Ordinal(u32::try_from(at).unwrap()));
        let list = list_of(&tags.iter().map(String::as_str).collect::<Vec<_>>());
        table.push(&Row { namespace, key, meta: *meta, tags: TagList::new(&list) });
    }
    Arc::new(table)
}

/// The model's rows of a part, by rank.
fn ranked(model: &Model, ordinals: Range<u32>) -> Vec<Ordinal> {
    model.order.iter().copied().filter(|ordinal| ordinals.contains(&ordinal.0)).collect()
}

fn rank_of(at: usize) -> Rank {
    Rank(u32::try_from(at).unwrap())
}

fn check_rows(part: &Part, model: &Model, order: &[Ordinal]) {
    assert_eq!((part.len() as usize, part.is_empty()), (order.len(), order.is_empty()));
    let mut cursor = part.cursor(Rank(0)).unwrap();
    for (at, ordinal) in order.iter().enumerate().rev() {
        let (namespace, key) = model.key(*ordinal);
        let meta = model.metas[ordinal.0 as usize];
        assert_eq!(part.ordinal_at(rank_of(at)).unwrap(), *ordinal);
        assert_eq!(part.key_at(rank_of(at)).unwrap(), (namespace, key.to_vec()));
        assert_eq!((part.meta(*ordinal).unwrap(), part.seq(*ordinal).unwrap()), (meta, meta.seq));
        let RowMeta { offset, len, expires_ms, .. } = meta;
        assert_eq!(part.place(*ordinal).unwrap(), RowPlace { offset, len, expires_ms });
        let first = order.partition_point(|other| model.key(*other) < (namespace, key));
        assert_eq!(part.seek(namespace, key).unwrap(), rank_of(first));
        cursor.move_to(rank_of(at)).unwrap();
        assert_eq!((cursor.rank(), cursor.key()), (Some(rank_of(at)), Some((namespace, key))));
        assert_eq!(cursor.ordinal(), *ordinal);
    }
    for beyond in [rank_of(order.len()), Rank(u32::MAX)] {
        assert!(part.ordinal_at(beyond).is_err() && part.key_at(beyond).is_err());
        cursor.move_to(beyond).unwrap();
        assert_eq!((cursor.rank(), cursor.key()), (None, None));
        cursor.previous().unwrap();
        assert_eq!(cursor.rank(), order.len().checked_sub(1).map(rank_of));
    }
    assert!(part.meta(Ordinal(u32::MAX)).is_err() && part.seq(Ordinal(u32::MAX)).is_err());
}

/// Ranks by namespace and tag.
fn tagged<'m>(model: &'m Model, order: &[Ordinal]) -> BTreeMap<(NamespaceId, &'m str), RoaringBitmap> {
    let mut all: BTreeMap<_, RoaringBitmap> = BTreeMap::new();
    for (ordinal, rank) in order.iter().zip(0..) {
        for tag in &model.tags[ordinal.0 as usize] {
            all.entry((model.key(*ordinal).0, tag.as_str())).or_default().insert(rank);
        }
    }
    all
}

fn check_tags(part: &Part, model: &Model, order: &[Ordinal]) {
    let expected = tagged(model, order);
    assert_eq!(part.has_tags(), !expected.is_empty());
    let every_third: RoaringBitmap = (0..part.len()).step_by(3).collect();
    for ((namespace, tag), ranks) in &expected {
        let postings = part.postings(*namespace, tag).unwrap().unwrap();
        assert_eq!(u64::from(postings.len()), ranks.len());
        assert_eq!(postings.to_bitmap().unwrap(), *ranks);
        for with in [RoaringBitmap::new(), every_third.clone(), (0..part.len()).collect()] {
            let mut both = with.clone();
            postings.intersect(&mut both).unwrap();
            assert_eq!(both, with & ranks, "{namespace:?} {tag}");
        }
    }
    let namespaces: Vec<NamespaceId> = (0..7).map(NamespaceId).collect();
    let mut words: Vec<&str> = model.tags.iter().flatten().map(String::as_str).collect();
    words.sort_unstable();
    words.dedup();
    words.extend(["", "often", "often-", "zzz", "\0", "row:", "few:0"]);
    for namespace in namespaces {
        for word in &words {
            let is_there = expected.contains_key(&(namespace, *word));
            assert_eq!(part.postings(namespace, word).unwrap().is_some(), is_there, "{namespace:?} {word}");
            let mut shown = Vec::new();
            part.tags(namespace, word, &mut |tag, rows| shown.push((tag.to_owned(), u64::from(rows))))
                .unwrap();
            let of = expected.iter().filter(|((of, tag), _)| *of == namespace && tag.starts_with(word));
            let of: Vec<_> = of.map(|((_, tag), ranks)| ((*tag).to_owned(), ranks.len())).collect();
            assert_eq!(shown, of, "{namespace:?} {word}");
        }
    }
}

fn check_expiries(part: &Part, model: &Model, order: &[Ordinal]) {
    let time_of = |ordinal: &Ordinal| model.metas[ordinal.0 as usize].expires_ms.map(|time| (time, *ordinal));
    let mut expected: Vec<(u64, Ordinal)> = order.iter().filter_map(time_of).collect();
    expected.sort_unstable();
    let mut times: Vec<u64> =
        expected.iter().step_by(1 + expected.len() / 9).map(|(time, _)| *time).collect();
    times.extend(times.clone().into_iter().flat_map(|time| [time.saturating_sub(1), time + 1]));
    times.extend([0, u64::MAX]);
    for after in &times {
        let next = expected.iter().find(|(time, _)| time > after);
        assert_eq!(part.next_expiry(*after).unwrap(), next.map(|(time, _)| *time));
        for upto in &times {
            let within = expected.iter().filter(|(time, _)| time > after && time <= upto);
            let within: Vec<(Ordinal, u64)> = within.map(|(time, ordinal)| (*ordinal, *time)).collect();
            for most in [1, 3, usize::MAX] {
                let mut shown = Vec::new();
                let mut show = |ordinal, time| {
                    shown.push((ordinal, time));
                    shown.len() < most
                };
                part.expiring(*after, *upto, &mut show).unwrap();
                assert_eq!(shown, within[..most.min(within.len())]);
            }
        }
    }
}

fn check(parts: &[Part], model: &Model) {
    let mut end = 0;
    for part in parts {
        let order = ranked(model, end..end + part.len());
        end += part.len();
        check_rows(part, model, &order);
        check_tags(part, model, &order);
        check_expiries(part, model, &order);
    }
    assert_eq!(end as usize, model.metas.len());
}

/// Of the memtable, and of the two footers that are made of it and of the model; gives what a query sees of both.
fn check_all(model: &Model, asked: &[usize]) {
    let table = memtable(model, asked);
    let sealed =
        table.footer_builder().unwrap().finish(UID, model.at, &table.metas(), &model.system).unwrap();
    assert!(sealed == model.encode(), "the memtable's footer is not that of its rows");
    let (in_memory, footer) =
        (SegmentRows::Memtable(table), SegmentRows::Footer(open(&sealed, model.at).unwrap()));
    check(&in_memory.parts().unwrap(), model);
    check(&footer.parts().unwrap(), model);
    assert_eq!(RowSum::of(&in_memory).unwrap(), RowSum::of(&footer).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn runs_and_their_footer_answer_as_a_list_does(model in models(false), asked in vec(0..200usize, 0..5)) {
        check_all(&model, &asked);
    }

    #[test]
    fn a_compacted_segments_footer_answers_as_a_list_does(model in models(true)) {
        let footer = SegmentRows::Footer(open(&model.encode(), model.at).unwrap());
        check(&footer.parts().unwrap(), &model);
    }
}

#[test]
fn every_count_of_rows_around_lists_and_bitmaps_is_read_back() {
    for rows in [1, 2, LIST_ROWS_MAX - 1, LIST_ROWS_MAX, LIST_ROWS_MAX + 1, 100] {
        let tags = |row: u32| if row % 3 == 1 && row / 3 < rows { vec!["x".to_owned()] } else { Vec::new() };
        let specs =
            (0..3 * rows + 5).map(|row| Spec { namespace: 1 + row % 2, tags: tags(row), ..spec(row) });
        check_all(&Model::new(specs.collect(), false), &[10]);
    }
}

#[test]
fn every_count_of_tags_around_groups_is_read_back() {
    for tags in [1, 15, 16, 17, 31, 32, 33, 64] {
        let tag = |row: u32| vec![format!("tag-{:04}", row % tags * 7)];
        let specs = (0..2 * tags).map(|row| Spec { namespace: 1 + row % 3, tags: tag(row), ..spec(row) });
        check_all(&Model::new(specs.collect(), false), &[]);
    }
}

/// More rows than a container of a bitmap holds, and tags that fill one, half of one and little of several.
#[test]
fn tags_of_very_many_rows_are_read_back() {
    let tags = |row: u32| {
        let often = [(2, "half"), (19, "some"), (700, "rare"), (33_000, "twice")];
        let mut tags = vec!["all".to_owned()];
        tags.extend(often.into_iter().filter(|(n, _)| row.is_multiple_of(*n)).map(|(_, tag)| tag.to_owned()));
        tags.sort_unstable();
        tags
    };
    let spec = |row: u32| Spec {
        key: format!("key:{row:06}").into_bytes(),
        namespace: 1 + row / 66_000,
        tags: tags(row),
        expires_in: (!row.is_multiple_of(5)).then_some(i64::from(row.wrapping_mul(7_919) % 100_000)),
        ..spec(row)
    };
    let model = Model::new((0..70_000).map(spec).collect(), false);
    let footer = open(&model.encode(), model.at).unwrap();
    footer.check_all().unwrap();
    let (footer, table) = (SegmentRows::Footer(footer), memtable(&model, &[30_000]));
    assert_eq!(RowSum::of(&footer).unwrap(), RowSum::of(&SegmentRows::Memtable(Arc::clone(&table))).unwrap());
    for part in footer.parts().unwrap().iter().chain(&SegmentRows::Memtable(table).parts().unwrap()) {
        let first = part.ordinal_at(Rank(0)).unwrap().0;
        let order = ranked(&model, first..first + part.len());
        check_tags(part, &model, &order);
        check_expiries(part, &model, &order);
    }
}

#[test]
fn rows_without_tags_and_expiries_have_no_section_for_them() {
    let plain = |row| Spec { tags: Vec::new(), expires_in: None, ..spec(row) };
    let model = Model::new((0..40).map(plain).collect(), false);
    let layout = Layout::read(&model.encode(), UID, model.at).unwrap();
    for id in [id::TAGS, id::POSTINGS, id::EXPIRING] {
        assert_eq!(layout.section(id), None);
    }
    check_all(&model, &[]);
    // Of tags that have one row each there are no postings.
    let single = |row: u32| Spec { tags: vec![format!("{row}")], ..plain(row) };
    let model = Model::new((0..40).map(single).collect(), false);
    let layout = Layout::read(&model.encode(), UID, model.at).unwrap();
    assert!(layout.section(id::TAGS).is_some() && layout.section(id::POSTINGS).is_none());
    check_all(&model, &[]);
}

#[test]
fn an_expiry_takes_five_bytes_and_a_tag_of_a_row_about_two() {
    const ROWS: u32 = 250_000;
    let len = |model: &Model, ids: &[u16]| {
        let layout = Layout::read(&model.encode(), UID, model.at).unwrap();
        ids.iter().filter_map(|id| layout.section(*id)).map(|section| section.len).sum::<usize>()
    };
    let mut model = loaded(ROWS, true);
    let expiring = len(&model, &[id::EXPIRING]) as f64 / f64::from(ROWS);
    let sum = |row: u32, n: u32| (row.wrapping_mul(2_654_435_761) ^ n.wrapping_mul(40_503)) >> 8;
    for (row, tags) in (0..).zip(&mut model.tags) {
        // Of a thousand tags the number n is about as frequent as 1/n.
        let exponent = |n| f64::from(sum(row, n) % 6_908) / 1_000.0;
        let mut some: Vec<String> = (0..3).map(|n| format!("tag:{:03.0}", exponent(n).exp())).collect();
        some.sort_unstable();
        some.dedup();
        *tags = some;
    }
    let uses: usize = model.tags.iter().map(Vec::len).sum();
    let postings = len(&model, &[id::TAGS, id::POSTINGS]) as f64 / uses as f64;
    for (row, tags) in (0u32..).zip(&mut model.tags) {
        *tags = vec![format!("session:{row:08}")];
    }
    let single = len(&model, &[id::TAGS, id::POSTINGS]) as f64 / f64::from(ROWS);
    println!("bytes: {expiring:.2} an expiry, {postings:.2} a tag of a row, {single:.2} a tag of one row");
    assert!(expiring <= 5.0, "{expiring} bytes an expiry");
    assert!(postings <= 2.3, "{postings} bytes a tag of a row");
    assert!(single <= 12.0, "{single} bytes a tag of one row");
}
