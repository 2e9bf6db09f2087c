//! Backends that are wrong in one way each: the check that is about it must notice. So the suite can fail, and where.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nadb_conformance::Subject;
use nadb_core::{
    Action, Attrs, Backend, Capabilities, Clock, Condition, Entry, Error, ErrorKind, ExpiryUpdate, Feature,
    Listing, Merge, MergeKind, Metadata, NamespaceInfo, Operation, Outcome, Put, Result, ScanRequest, Stats,
    Tags, TagsUpdate, Value, WriteBatch, WriteOptions,
};

use crate::map_backend::MapBackend;

/// How it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    AppendAddsABlank,
    BatchesAreDoneOneByOne,
    BatchesAreDoneTwice,
    BatchesAreReversed,
    BatchesStayInANamespace,
    ClassesAreIgnored,
    ClosingIsForgotten,
    ConditionsAreIgnored,
    ConditionsOfDeletesAreIgnored,
    CountersCountInFloatingPoint,
    CreatedIsUpdated,
    CreatedIsForEver,
    CurrentVersionIsKeptSecret,
    DeletesCreateNamespaces,
    DropsKeepTheRecords,
    DropsSayTrue,
    DropsTakeWhatIsBelow,
    DropsStartVersionsAgain,
    EmptyValuesAreAbsent,
    ErrorsDoNotNameTheLimit,
    EveryDeleteFoundSomething,
    ExpectedIsALimit,
    ExpiredAreContained,
    ExpiredAreListed,
    FlushClaims,
    GetManySortsItsKeys,
    KeepForgets,
    KeysAreCaseBlind,
    KeysEndAtNul,
    LifetimesInSeconds,
    ListingsAreReversed,
    ListingsHaveTheirEnd,
    ListingsForgetTheirOtherEnd,
    ListingsIgnoreTheirBounds,
    ListingsOfAllNamespaces,
    ListingsRepeatThemselves,
    ListingsSeeLaterWrites,
    ListingsShowNoTags,
    LongKeysAreCut,
    LongValuesAreCut,
    MergesDropTags,
    MergesDoNotGiveTheValue,
    MetadataOfAnotherVersion,
    NamespacesBelowAreShared,
    NoKeyIsTooLong,
    PastExpiryIsWritten,
    PutsKeepTags,
    StatsAreHidden,
    UnicodeIsNormal,
    ValuesHaveALowerLimit,
    VersionsStandStill,
    WritesAreNotAtomic,
}

struct Wrong {
    map: Arc<MapBackend>,
    clock: Arc<dyn Clock>,
    fault: Fault,
    capabilities: Capabilities,
    /// The highest version so far, and the one that counts as zero.
    highest: AtomicU64,
    offset: AtomicU64,
    /// Keys that were seen, and when they were made.
    seen: Mutex<BTreeMap<Vec<u8>, u64>>,
}

impl Wrong {
    fn new(fault: Fault, clock: Arc<dyn Clock>) -> Wrong {
        let map = Arc::new(MapBackend::new(clock.clone()));
        let mut capabilities = map.capabilities().clone();
        if fault == Fault::FlushClaims {
            capabilities = capabilities.with(Feature::Flush);
        }
        let (highest, offset) = (AtomicU64::new(0), AtomicU64::new(0));
        Wrong { map, clock, fault, capabilities, highest, offset, seen: Mutex::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        match self.fault {
            Fault::KeysAreCaseBlind => key.to_ascii_lowercase(),
            Fault::KeysEndAtNul if key.len() > 1 => {
                let end = key.iter().position(|&byte| byte == 0).unwrap_or(key.len());
                key[..end.max(1)].to_vec()
            }
            Fault::LongKeysAreCut => key[..key.len().min(65_534)].to_vec(),
            Fault::NoKeyIsTooLong if key.len() > 65_535 => b"long".to_vec(),
            Fault::UnicodeIsNormal => String::from_utf8_lossy(key).into_owned().into_bytes(),
            _ => key.to_vec(),
        }
    }

    fn namespace<'n>(&self, name: &'n str) -> &'n str {
        match self.fault {
            Fault::NamespacesBelowAreShared => {
                name.split_once('/').map_or(name, |(above, _)| if above.is_empty() { name } else { above })
            }
            _ => name,
        }
    }

    fn put<'b>(&self, put: &Put<'b>) -> Put<'b> {
        let mut put = put.clone();
        match self.fault {
            Fault::KeepForgets => {
                if put.tags == TagsUpdate::Keep {
                    put.tags = TagsUpdate::default();
                }
                if put.expiry == ExpiryUpdate::Keep {
                    put.expiry = ExpiryUpdate::Never;
                }
            }
            Fault::LongValuesAreCut => put.value.to_mut().truncate(4999),
            Fault::PutsKeepTags => put.tags = TagsUpdate::Keep,
            Fault::LifetimesInSeconds => {
                if let ExpiryUpdate::After(ttl) = put.expiry {
                    put.expiry = ExpiryUpdate::After(std::time::Duration::from_secs(ttl.as_secs() + 1));
                }
            }
            Fault::PastExpiryIsWritten => {
                if let ExpiryUpdate::AtMs(at) = put.expiry {
                    put.expiry = ExpiryUpdate::AtMs(at.max(self.clock.now_ms() + 1));
                }
            }
            _ => {}
        }
        put
    }

    fn operation<'b>(&self, operation: &Operation<'b>) -> Operation<'b> {
        let action = match &operation.action {
            Action::Put(put) => Action::Put(self.put(put)),
            Action::Merge(merge) => Action::Merge(self.merge(merge)),
            other => other.clone(),
        };
        let is_ignored = match self.fault {
            Fault::ConditionsAreIgnored => true,
            Fault::ConditionsOfDeletesAreIgnored => matches!(action, Action::Delete),
            _ => false,
        };
        let condition = if is_ignored { Condition::Always } else { operation.condition };
        let namespace = self.namespace(&operation.namespace).to_owned();
        Operation::new(namespace, self.key(&operation.key), action).when(condition)
    }

    fn merge<'b>(&self, merge: &Merge<'b>) -> Merge<'b> {
        let mut merge = merge.clone();
        if self.is(Fault::AppendAddsABlank) && merge.operator.kind() == MergeKind::Append {
            merge.operand.to_mut().push(b' ');
        }
        merge
    }

    /// What is wrong about a batch before it is done.
    fn prepare(&self, batch: &WriteBatch<'_>) -> Result<()> {
        match self.fault {
            Fault::DeletesCreateNamespaces => {
                for operation in batch {
                    let name = operation.namespace.clone().into_owned();
                    let set = |action| Operation::new(name.clone(), b"tmp".as_slice(), action);
                    self.map
                        .write(&[set(Action::Put(Put::new(b"".as_slice())))], &WriteOptions::default())?;
                    self.map.write(&[set(Action::Delete)], &WriteOptions::default())?;
                }
            }
            Fault::MergesDropTags => {
                for operation in batch.iter().filter(|o| matches!(o.action, Action::Merge(_))) {
                    if let Some(entry) = self.map.get_entry(&operation.namespace, &operation.key)? {
                        let put = Action::Put(Put::new(entry.value.to_vec()));
                        let set = Operation::new(operation.namespace.clone(), entry.key, put);
                        self.map.write(&[set], &WriteOptions::default())?;
                    }
                }
            }
            Fault::BatchesAreDoneTwice => drop(self.map.write(batch, &WriteOptions::default())?),
            _ => {}
        }
        Ok(())
    }

    fn falsify(&self, mut outcome: Outcome) -> Outcome {
        match self.fault {
            Fault::VersionsStandStill => outcome.version = outcome.version.map(|_| 7),
            Fault::DropsStartVersionsAgain => {
                self.highest.fetch_max(outcome.version.unwrap_or(0), Ordering::SeqCst);
                outcome.version = outcome.version.map(|version| version - self.offset.load(Ordering::SeqCst));
            }
            Fault::EveryDeleteFoundSomething => outcome.existed |= !outcome.exists,
            Fault::MergesDoNotGiveTheValue => {
                outcome.merged = outcome.merged.map(|value| value[..value.len().min(1)].to_vec());
            }
            Fault::CountersCountInFloatingPoint => {
                let rounded = |value: Vec<u8>| match std::str::from_utf8(&value).unwrap_or("").parse::<f64>()
                {
                    #[allow(clippy::cast_possible_truncation)]
                    Ok(number) => (number as i64).to_string().into_bytes(),
                    Err(_) => value,
                };
                outcome.merged = outcome.merged.map(rounded);
            }
            _ => {}
        }
        outcome
    }

    fn metadata_of(&self, key: &[u8], mut metadata: Metadata) -> Metadata {
        match self.fault {
            Fault::CreatedIsUpdated => metadata.created_ms = metadata.updated_ms,
            Fault::CreatedIsForEver => {
                let mut seen = self.seen.lock().unwrap();
                metadata.created_ms = *seen.entry(key.to_vec()).or_insert(metadata.created_ms);
            }
            Fault::MetadataOfAnotherVersion => metadata.version += 1,
            Fault::DropsStartVersionsAgain => metadata.version -= self.offset.load(Ordering::SeqCst),
            Fault::VersionsStandStill => metadata.version = 7,
            _ => {}
        }
        metadata
    }

    fn fail(&self, error: Error) -> Error {
        match (self.fault, error.kind()) {
            (Fault::CurrentVersionIsKeptSecret, ErrorKind::PreconditionFailed { .. }) => {
                Error::new(ErrorKind::PreconditionFailed { current: None }, error.to_string())
            }
            (Fault::ErrorsDoNotNameTheLimit, kind) => Error::new(kind, "no"),
            _ => error,
        }
    }
}

impl Backend for Wrong {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        let unchecked = [Fault::NoKeyIsTooLong, Fault::BatchesAreDoneOneByOne, Fault::ClassesAreIgnored];
        if !unchecked.contains(&self.fault) {
            self.capabilities.check_write(batch, options).map_err(|error| self.fail(error))?;
        }
        if self.is(Fault::ValuesHaveALowerLimit) {
            let is_long = |o: &Operation<'_>| matches!(&o.action, Action::Put(p) if p.value.len() > 100_000);
            if batch.iter().any(is_long) {
                return Err(Error::limit("value has too many bytes"));
            }
        }
        if self.is(Fault::BatchesStayInANamespace) && batch.iter().any(|o| o.namespace != batch[0].namespace)
        {
            return Err(self.capabilities.unsupported("batches across namespaces"));
        }
        self.prepare(batch)?;
        let defaults = WriteOptions::default();
        let options = if self.is(Fault::ClassesAreIgnored) { &defaults } else { options };
        let mut batch: Vec<_> = batch.iter().map(|operation| self.operation(operation)).collect();
        let outcomes = match self.fault {
            Fault::BatchesAreDoneOneByOne => {
                let each = batch.iter().map(|o| self.map.write(std::slice::from_ref(o), options));
                each.collect::<Result<Vec<_>>>().map(|outcomes| outcomes.concat())
            }
            Fault::WritesAreNotAtomic if batch.len() == 1 && matches!(batch[0].action, Action::Merge(_)) => {
                let before = self.map.get(&batch[0].namespace, &batch[0].key)?;
                std::thread::sleep(std::time::Duration::from_millis(1));
                let Action::Merge(merge) = &batch[0].action else { unreachable!() };
                let value = merge.operator.merge(&batch[0].key, before.as_deref(), &merge.operand)?;
                let put = Action::Put(Put::new(value.clone()));
                let set = Operation::new(batch[0].namespace.clone(), batch[0].key.clone(), put);
                self.map.write(&[set], options).map(|mut outcomes| {
                    outcomes[0].merged = Some(value);
                    outcomes
                })
            }
            Fault::BatchesAreReversed => {
                batch.reverse();
                self.map.write(&batch, options).map(|outcomes| outcomes.into_iter().rev().collect())
            }
            _ => self.map.write(&batch, options),
        };
        let outcomes = outcomes.map_err(|error| self.fail(error))?;
        Ok(outcomes.into_iter().map(|outcome| self.falsify(outcome)).collect())
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        let value = self.map.get(self.namespace(namespace), &self.key(key)).map_err(|e| self.fail(e))?;
        Ok(value.filter(|value| !(self.is(Fault::EmptyValuesAreAbsent) && value.is_empty())))
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        let entry =
            self.map.get_entry(self.namespace(namespace), &self.key(key)).map_err(|e| self.fail(e))?;
        Ok(entry.map(|entry| Entry::new(key.to_vec(), entry.value, self.metadata_of(key, entry.metadata))))
    }

    fn contains(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        let is_there = self.get_entry(namespace, key)?.is_some();
        if is_there && self.is(Fault::ExpiredAreContained) {
            self.seen.lock().unwrap().insert(key.to_vec(), 0);
        }
        Ok(is_there || self.is(Fault::ExpiredAreContained) && self.seen.lock().unwrap().contains_key(key))
    }

    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        let mut keys = keys.to_vec();
        if self.is(Fault::GetManySortsItsKeys) {
            keys.sort_unstable();
        }
        keys.iter().map(|key| self.get(namespace, key)).collect()
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        let namespace = self.namespace(namespace);
        let end = request.expected().filter(|_| self.is(Fault::ExpectedIsALimit)).unwrap_or(usize::MAX);
        let asked =
            if self.is(Fault::ListingsIgnoreTheirBounds) { ScanRequest::all() } else { request.clone() };
        let mut entries = self.map.scan(namespace, asked)?.collect::<Result<Vec<_>>>()?;
        match self.fault {
            Fault::ListingsAreReversed => entries.reverse(),
            Fault::ListingsRepeatThemselves => {
                entries = entries.into_iter().flat_map(|e| [e.clone(), e]).collect()
            }
            Fault::ListingsOfAllNamespaces => {
                for other in self.map.namespaces()?.iter().filter(|n| n.name != namespace) {
                    entries.extend(self.map.scan(&other.name, request.clone())?.map(Result::unwrap));
                }
            }
            Fault::ListingsHaveTheirEnd => {
                if let std::ops::Bound::Excluded(end) = request.bounds().1 {
                    entries.extend(self.map.get_entry(namespace, end).unwrap_or_default());
                }
            }
            Fault::ListingsShowNoTags => {
                entries.iter_mut().for_each(|entry| entry.metadata.tags = Tags::default());
                entries.iter_mut().for_each(|entry| entry.metadata.attrs = Attrs::default());
            }
            Fault::ExpiredAreListed => {
                let mut seen = self.seen.lock().unwrap();
                for entry in &entries {
                    seen.insert(entry.key.clone(), 0);
                }
                for key in seen.keys().filter(|key| request.contains(key)) {
                    if !entries.iter().any(|entry| entry.key == *key) {
                        entries.push(Entry::new(key.clone(), Value::default(), Metadata::new(1, 0, 1)));
                    }
                }
            }
            _ => {}
        }
        entries.truncate(end);
        let later = self.is(Fault::ListingsSeeLaterWrites).then(|| (Arc::clone(&self.map), namespace.into()));
        let forgets = self.is(Fault::ListingsForgetTheirOtherEnd);
        Ok(Box::new(WrongListing { back: entries.clone(), front: entries.into(), forgets, later }))
    }

    fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        self.map.namespaces()
    }

    fn drop_namespace(&self, name: &str) -> Result<bool> {
        let was_there = match self.fault {
            Fault::DropsKeepTheRecords => self.map.namespaces()?.iter().any(|n| n.name == name),
            Fault::DropsTakeWhatIsBelow => {
                for below in self.map.namespaces()? {
                    if below.name.starts_with(&format!("{name}/")) {
                        self.map.drop_namespace(&below.name)?;
                    }
                }
                self.map.drop_namespace(name)?
            }
            _ => self.map.drop_namespace(name)?,
        };
        self.offset.store(self.highest.load(Ordering::SeqCst), Ordering::SeqCst);
        Ok(was_there || self.is(Fault::DropsSayTrue))
    }

    fn close(&self) -> Result<()> {
        if self.is(Fault::ClosingIsForgotten) { Ok(()) } else { self.map.close() }
    }

    fn stats(&self) -> Result<Stats> {
        if self.is(Fault::StatsAreHidden) {
            return Err(self.capabilities.unsupported("stats"));
        }
        self.map.stats()
    }
}

struct WrongListing {
    front: std::collections::VecDeque<Entry>,
    back: Vec<Entry>,
    forgets: bool,
    later: Option<(Arc<MapBackend>, String)>,
}

impl Iterator for WrongListing {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if let Some((map, namespace)) = self.later.take() {
            let all = map.scan(&namespace, ScanRequest::all()).unwrap().map(Result::unwrap);
            let first = self.front.pop_front()?;
            self.front = all.filter(|entry| entry.key > first.key).collect();
            self.later = Some((map, namespace));
            return Some(Ok(first));
        }
        self.front.pop_front().map(Ok)
    }
}

impl DoubleEndedIterator for WrongListing {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        if self.forgets { self.back.pop().map(Ok) } else { self.front.pop_back().map(Ok) }
    }
}

impl Listing for WrongListing {}

fn subject(fault: Fault) -> Subject {
    crate::subject_of(|clock| Wrong::new(fault, clock))
}

/// A `#[test]` for each line: the fault, and the checks that must notice.
macro_rules! faults {
    ($($name:ident: $fault:ident => $($check:ident),+;)+) => {
        $(
            #[test]
            fn $name() {
                $(
                    let check = || nadb_conformance::check(stringify!($check), || subject(Fault::$fault));
                    let is_noticed = catch_unwind(AssertUnwindSafe(check)).is_err();
                    assert!(is_noticed, "{} does not notice {:?}", stringify!($check), Fault::$fault);
                )+
            }
        )+
    };
}

faults! {
    append_adds_a_blank: AppendAddsABlank => append_min_and_max_do_as_they_say;
    batches_are_done_one_by_one: BatchesAreDoneOneByOne =>
        a_failed_condition_leaves_nothing_of_a_batch,
        a_failed_merge_leaves_nothing_of_a_batch,
        a_wrong_operation_leaves_nothing_of_a_batch,
        no_version_matches_what_the_batch_itself_wrote,
        a_batch_beyond_the_limit_is_refused;
    batches_are_done_twice: BatchesAreDoneTwice =>
        what_was_set_is_read_by_every_read,
        a_missing_counter_counts_from_zero,
        counters_lose_no_step_among_threads,
        later_operations_see_earlier_ones;
    batches_are_reversed: BatchesAreReversed => the_last_write_to_a_key_counts, later_operations_see_earlier_ones;
    batches_stay_in_a_namespace: BatchesStayInANamespace => batches_span_namespaces_or_are_refused;
    classes_are_ignored: ClassesAreIgnored => durability_classes_work_or_are_refused;
    closing_is_forgotten: ClosingIsForgotten => a_closed_store_says_so;
    conditions_are_ignored: ConditionsAreIgnored =>
        if_absent_holds_for_absent_keys_alone,
        if_present_holds_for_present_keys_alone,
        if_version_holds_for_that_version_alone,
        an_expired_key_is_absent_to_conditions,
        a_failed_condition_creates_no_namespace,
        of_many_if_absent_one_wins;
    conditions_of_deletes_are_ignored: ConditionsOfDeletesAreIgnored => deletes_and_merges_obey_conditions;
    counters_count_in_floating_point: CountersCountInFloatingPoint => counters_are_exact_up_to_their_limits;
    created_is_updated: CreatedIsUpdated =>
        a_put_replaces_all_but_created,
        a_merge_changes_the_value_alone;
    created_is_for_ever: CreatedIsForEver =>
        created_begins_anew_after_a_delete,
        created_begins_anew_after_an_expiry,
        a_namespace_made_again_is_empty;
    current_version_is_kept_secret: CurrentVersionIsKeptSecret =>
        if_absent_holds_for_absent_keys_alone,
        if_version_holds_for_that_version_alone,
        a_failed_condition_leaves_nothing_of_a_batch;
    deletes_create_namespaces: DeletesCreateNamespaces => what_is_absent_is_no_error_and_creates_nothing;
    drops_keep_the_records: DropsKeepTheRecords => a_dropped_namespace_is_gone_and_others_stay;
    drops_say_true: DropsSayTrue => a_dropped_namespace_is_gone_and_others_stay;
    drops_take_what_is_below: DropsTakeWhatIsBelow => a_dropped_namespace_is_gone_and_others_stay;
    drops_start_versions_again: DropsStartVersionsAgain => versions_are_not_reused_after_a_drop;
    empty_values_are_absent: EmptyValuesAreAbsent => values_may_be_any_bytes;
    errors_do_not_name_the_limit: ErrorsDoNotNameTheLimit =>
        writes_beyond_a_limit_are_refused,
        reads_beyond_a_limit_are_refused,
        a_value_beyond_the_limit_is_refused,
        a_batch_beyond_the_limit_is_refused;
    every_delete_found_something: EveryDeleteFoundSomething =>
        a_delete_says_whether_the_key_was_there,
        what_is_absent_is_no_error_and_creates_nothing;
    expected_is_a_limit: ExpectedIsALimit => pages_go_on_after_the_last_key;
    expired_are_contained: ExpiredAreContained => an_expired_record_is_absent_everywhere;
    expired_are_listed: ExpiredAreListed => an_expired_record_is_absent_everywhere;
    flush_is_claimed: FlushClaims => optional_methods_work_or_are_refused;
    get_many_sorts_its_keys: GetManySortsItsKeys => get_many_answers_in_the_order_of_the_keys;
    keep_forgets: KeepForgets => tags_are_kept_when_told_so, expiry_is_kept_when_told_so;
    keys_are_case_blind: KeysAreCaseBlind => keys_may_be_any_bytes, keys_come_in_the_order_of_their_bytes;
    keys_end_at_nul: KeysEndAtNul => keys_may_be_any_bytes;
    lifetimes_in_seconds: LifetimesInSeconds =>
        a_lifetime_counts_from_the_write,
        an_expired_record_is_absent_everywhere,
        a_put_without_expiry_lives_on,
        an_expired_record_leaves_nothing_behind,
        a_merge_on_an_expired_key_begins_anew,
        versions_are_not_reused_after_an_expiry;
    listings_are_reversed: ListingsAreReversed =>
        keys_come_in_the_order_of_their_bytes,
        many_records_come_both_ways;
    listings_have_their_end: ListingsHaveTheirEnd => ranges_have_the_bounds_that_they_say;
    listings_forget_their_other_end: ListingsForgetTheirOtherEnd => both_ends_meet_in_the_middle;
    listings_ignore_their_bounds: ListingsIgnoreTheirBounds =>
        ranges_have_the_bounds_that_they_say,
        prefixes_have_what_begins_with_them;
    listings_of_all_namespaces: ListingsOfAllNamespaces => a_listing_is_of_its_own_namespace;
    listings_repeat_themselves: ListingsRepeatThemselves => a_listing_has_each_live_key_once;
    listings_see_later_writes: ListingsSeeLaterWrites => later_writes_do_not_change_a_listing_or_hardly;
    listings_show_no_tags: ListingsShowNoTags => entries_are_what_get_entry_gives;
    long_keys_are_cut: LongKeysAreCut => the_longest_keys_are_told_apart;
    long_values_are_cut: LongValuesAreCut => values_may_be_any_bytes, a_large_value_comes_back;
    merges_drop_tags: MergesDropTags => a_merge_changes_the_value_alone;
    merges_do_not_give_the_value: MergesDoNotGiveTheValue =>
        append_min_and_max_do_as_they_say,
        own_operators_merge_or_are_refused;
    metadata_of_another_version: MetadataOfAnotherVersion => versions_rise_and_are_what_reads_show;
    namespaces_below_are_shared: NamespacesBelowAreShared =>
        equal_keys_of_different_namespaces_are_different,
        a_namespace_comes_with_its_first_record,
        a_namespace_may_have_any_name;
    no_key_is_too_long: NoKeyIsTooLong => writes_beyond_a_limit_are_refused, reads_beyond_a_limit_are_refused;
    past_expiry_is_written: PastExpiryIsWritten => an_expiry_already_past_acts_as_a_delete;
    puts_keep_tags: PutsKeepTags => a_put_replaces_all_but_created;
    stats_are_hidden: StatsAreHidden => optional_methods_work_or_are_refused;
    unicode_is_normal: UnicodeIsNormal => keys_may_be_any_bytes;
    values_have_a_lower_limit: ValuesHaveALowerLimit =>
        a_large_value_comes_back,
        a_value_beyond_the_limit_is_refused;
    versions_stand_still: VersionsStandStill =>
        versions_rise_and_are_what_reads_show,
        versions_are_not_reused_after_a_delete,
        if_version_holds_for_that_version_alone;
    writes_are_not_atomic: WritesAreNotAtomic => counters_lose_no_step_among_threads;
}

#[test]
fn a_run_names_the_checks_that_failed() {
    let report = nadb_conformance::run(&|| subject(Fault::GetManySortsItsKeys));
    let failed: Vec<_> = report.failures.iter().map(|failure| failure.check.name).collect();
    assert_eq!(failed, ["get_many_answers_in_the_order_of_the_keys"]);
    let text = report.to_string();
    assert!(text.contains("failed: values::get_many_answers_in_the_order_of_the_keys: assertion"), "{text}");
}

#[test]
fn a_list_that_differs_is_noticed() {
    let compare = |listed| {
        let compare = || nadb_conformance::assert_excluded(&crate::map(), listed);
        catch_unwind(AssertUnwindSafe(compare)).is_ok()
    };
    let right = nadb_conformance::excluded(&crate::map()).join("\n");
    assert!(compare(&right) && !compare("") && !compare(&format!("{right}\nmore")));
}
