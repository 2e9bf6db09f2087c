//! Records with tags: written one by one, some overwritten with other tags, and found by one tag or two. Every query's number of answers
//! is compared with what is known of all records, and the answers of some key by key, outside of what is timed.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{AT_MOST, Work, Written, with_value};
use crate::data::{SEED, Values, key_of, uniform};
use crate::engines::{Class, Tagged};
use crate::measure::timed;
use crate::tagged::{
    Answers, Draw, Model, Names, Record, TAG_BYTES, TAGS, TAGS_OF_ONE, TagNumber, TagsOfOne, even_pairs,
    frequent_pairs,
};

/// The share of the records that is overwritten is one in so many.
const OVERWRITTEN: u64 = 10;
/// Queries of a row; a slow engine does less of them.
const QUERIES: usize = 20_000;
/// Queries whose keys are looked at one by one.
const LOOKED_AT: usize = 100;
/// Records that are loaded at once where they are not timed.
const BATCH: usize = 1000;

/// Two tags whose answer is known.
struct Asked {
    tags: [TagNumber; 2],
    count: u64,
}

type Answer<'a> = &'a dyn Fn([TagNumber; 2]) -> u64;

impl Work {
    pub(super) fn tags(&self) -> Result<()> {
        let (values, names) = (Values::small(), Names::new());
        let mut model = Model::new(self.tagged_keys);
        let engine = self.kind.open_tagged(&self.setup(Class::Flushed, false))?;
        self.load_tagged(&*engine, &values, &names, &model, ("8 tags: load", &|_| 0))?;
        self.overwrite_tagged(&*engine, &values, &names, &mut model)?;
        // What is left of background work is waited for.
        std::thread::sleep(Duration::from_secs(3));
        let answers = model.answers(|_| true);
        self.ask(&*engine, &names, &answers)?;
        check_keys(&*engine, &names, &answers)?;
        check_values(&*engine, &values, |_| true, self.tagged_keys)?;
        engine.close()
    }

    /// Writes every record once, in scrambled order; what is not done in time is loaded in batches and not counted.
    pub(super) fn load_tagged(
        &self,
        engine: &dyn Tagged,
        values: &Values,
        names: &Names,
        model: &Model,
        (row, expires_ms): (&str, &(dyn Fn(u64) -> u64 + Sync)),
    ) -> Result<()> {
        let before = Written::of(engine)?;
        let timed = timed(usize::try_from(model.len())?, 1, AT_MOST, |n| {
            let key = key_of(n as u64);
            let (tags, expires_ms) = (names.of(model.tags_of(n as u64)), expires_ms(n as u64));
            with_value(values, &key, n, |value| {
                engine.insert(&[Record { key: &key, value, tags, expires_ms }])
            })
        })?;
        let remark = (timed.count < model.len()).then(|| format!("stopped after {} records", timed.count));
        self.show(row, 1, &timed, Some((before, engine, row_bytes(values))), remark)?;
        let rest: Vec<u64> = (timed.count..model.len()).collect();
        for part in rest.chunks(BATCH) {
            let rows = super::rows(values, part);
            let mut records = Vec::with_capacity(rows.len());
            for (number, (key, value)) in part.iter().zip(&rows) {
                let (tags, expires_ms) = (names.of(model.tags_of(*number)), expires_ms(*number));
                records.push(Record { key, value, tags, expires_ms });
            }
            engine.insert(&records)?;
        }
        Ok(())
    }

    fn overwrite_tagged(
        &self,
        engine: &dyn Tagged,
        values: &Values,
        names: &Names,
        model: &mut Model,
    ) -> Result<()> {
        let count = usize::try_from(model.len() / OVERWRITTEN)?;
        let mut draw = Draw::new(SEED ^ 21);
        let drawn: Vec<(u64, TagsOfOne)> = uniform(count, model.len(), SEED ^ 22)
            .into_iter()
            .map(|number| (number, draw.different()))
            .collect();
        let before = Written::of(engine)?;
        let timed = timed(count, 1, AT_MOST, |n| {
            let (number, tags) = drawn[n];
            let (key, tags) = (key_of(number), names.of(tags));
            with_value(values, &key, n, |value| {
                engine.replace(Record { key: &key, value, tags, expires_ms: 0 })
            })
        })?;
        let done = usize::try_from(timed.count)?;
        drawn[..done].iter().for_each(|(number, tags)| model.retag(*number, *tags));
        let remark = (done < count).then(|| format!("stopped after {done} records"));
        self.show("8 tags: overwrite 10 %", 1, &timed, Some((before, engine, row_bytes(values))), remark)
    }

    fn ask(&self, engine: &dyn Tagged, names: &Names, answers: &Answers) -> Result<()> {
        let even = even_pairs(QUERIES, SEED ^ 23);
        let frequent = frequent_pairs(QUERIES / 4, SEED ^ 24);
        let all = |tags: [&str; 2]| counted(|see| engine.all_of(tags, see));
        let any = |tags: [&str; 2]| counted(|see| engine.any_of(tags, see));
        let (of_all, of_any): (Answer, Answer) =
            (&|tags| answers.count_all(tags), &|tags| answers.count_any(tags));
        self.ask_row("8 tags: all of 2, drawn evenly", names, asked(&even, of_all), &all)?;
        self.ask_row("8 tags: all of 2, drawn as they occur", names, asked(&frequent, of_all), &all)?;
        self.ask_row("8 tags: any of 2, keys", names, asked(&even, of_any), &any)?;
        self.ask_row("8 tags: any of 2, count", names, asked(&even, of_any), &|tags| {
            engine.count_any_of(tags)
        })?;
        let one = asked(&even, &|[tag, _]| answers.count(tag));
        self.ask_row("8 tags: count of one", names, one, &|[tag, _]| engine.count(tag))
    }

    fn ask_row(
        &self,
        row: &str,
        names: &Names,
        asked: Vec<Asked>,
        answer: &(dyn Fn([&str; 2]) -> Result<u64> + Sync),
    ) -> Result<()> {
        let timed = timed(asked.len(), 1, AT_MOST / 4, |n| {
            let found = answer(names.of(asked[n].tags))?;
            ensure!(found == asked[n].count, "{row}: {found} for {} at query {n}", asked[n].count);
            Ok(())
        })?;
        let done = usize::try_from(timed.count)?;
        let found: u64 = asked[..done].iter().map(|asked| asked.count).sum();
        let mut remark = format!("{:.1} found on average", found as f64 / done.max(1) as f64);
        if done < asked.len() {
            remark += &format!("; stopped after {done} queries");
        }
        self.show(row, 1, &timed, None, Some(remark))
    }
}

/// How many keys a query shows.
fn counted(query: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<()>) -> Result<u64> {
    let mut count = 0;
    query(&mut |_| count += 1)?;
    Ok(count)
}

fn asked(pairs: &[[TagNumber; 2]], answer: Answer) -> Vec<Asked> {
    pairs.iter().map(|tags| Asked { tags: *tags, count: answer(*tags) }).collect()
}

/// Bytes of a record as its user sees them.
fn row_bytes(values: &Values) -> usize {
    values.row_bytes() + TAGS_OF_ONE * TAG_BYTES
}

/// Looks at every key of some answers, and at their order; and at the count of every tag.
pub(super) fn check_keys(engine: &dyn Tagged, names: &Names, answers: &Answers) -> Result<()> {
    let even = even_pairs(LOOKED_AT, SEED ^ 25);
    for tags in even.into_iter().chain(frequent_pairs(LOOKED_AT, SEED ^ 26)) {
        let words = names.of(tags);
        let (mut all, mut any): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        engine.all_of(words, &mut |key| all.push(key.to_vec()))?;
        engine.any_of(words, &mut |key| any.push(key.to_vec()))?;
        ensure!(all == answers.all(tags), "all of {words:?} are other keys");
        ensure!(any == answers.any(tags), "any of {words:?} are other keys");
        ensure!(engine.count_any_of(words)? == answers.count_any(tags), "any of {words:?} are more or less");
    }
    for tag in 0..TAGS as TagNumber {
        let [word] = names.of([tag]);
        let found = engine.count(word)?;
        ensure!(found == answers.count(tag), "{found} of {} have {word}", answers.count(tag));
    }
    Ok(())
}

/// Looks at every byte of some values, and for those that must be gone.
pub(super) fn check_values(
    engine: &dyn Tagged,
    values: &Values,
    is_there: impl Fn(u64) -> bool,
    of: u64,
) -> Result<()> {
    for number in uniform(10_000, of, SEED ^ 27) {
        let key = key_of(number);
        let mut checked = Ok(());
        let found = engine.get(&key, &mut |value| checked = values.check(&key, value))?;
        ensure!(found == is_there(number), "record {number}: found {found}");
        checked?;
    }
    Ok(())
}
