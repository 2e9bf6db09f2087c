//! Backends that are wrong in one way each; `noticed.rs` says which checks must notice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nadb_core::{
    Action, Attrs, Backend, BackendSnapshot, Capabilities, Clock, Condition, Entry, Error, ErrorKind,
    ExpiryUpdate, Feature, Listing, Merge, MergeKind, Metadata, NamespaceInfo, Operation, Outcome, Put,
    Result, ScanRequest, Stats, Tags, TagsUpdate, Value, ValueReader, ValueWriter, WriteBatch, WriteOptions,
};

use crate::map_backend::MapBackend;

/// How it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
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
    ExpiresAreForgotten,
    ExpiresAreUpdates,
    ExpiresBeginAnew,
    ExpiresCreateNamespaces,
    ExpiresDropTags,
    ExpiresIgnoreConditions,
    ExpiresKeepTheSooner,
    ExpiresOfAbsentKeysSucceed,
    ExpiresWriteWhatTheyKeep,
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
    ListingsShowAnotherValue,
    ListingsShowNoTags,
    ListingsShowTheFrontFromTheBack,
    ListingsShowTheSameAgain,
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

pub(crate) struct Wrong {
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
    pub(crate) fn new(fault: Fault, clock: Arc<dyn Clock>) -> Wrong {
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
            Action::Expire(update) => self.expire(operation, *update),
            other => other.clone(),
        };
        let is_ignored = match self.fault {
            Fault::ConditionsAreIgnored => true,
            Fault::ConditionsOfDeletesAreIgnored => matches!(action, Action::Delete),
            Fault::ExpiresIgnoreConditions => matches!(action, Action::Expire(_)),
            _ => false,
        };
        let condition = if is_ignored { Condition::Always } else { operation.condition };
        let namespace = self.namespace(&operation.namespace).to_owned();
        Operation::new(namespace, self.key(&operation.key), action).when(condition)
    }

    /// What becomes of an expire.
    fn expire(&self, operation: &Operation<'_>, update: ExpiryUpdate) -> Action<'static> {
        let entry = self.map.get_entry(&operation.namespace, &operation.key).unwrap_or_default();
        let expires_ms = entry.as_ref().and_then(|entry| entry.metadata.expires_ms);
        let put = |entry: Entry| {
            let mut put = Put::new(entry.value.to_vec());
            (put.expiry, put.tags) = (update, TagsUpdate::Keep);
            (put.attrs, put.content_type) =
                (entry.metadata.attrs, entry.metadata.content_type.map(Into::into));
            put
        };
        match (self.fault, entry, update) {
            (Fault::ExpiresAreForgotten, ..) => Action::Expire(ExpiryUpdate::Keep),
            (Fault::ExpiresAreUpdates, Some(entry), _) => Action::Put(put(entry)),
            (Fault::ExpiresDropTags, Some(entry), _) => {
                let mut put = put(entry);
                put.tags = TagsUpdate::default();
                Action::Put(put)
            }
            (Fault::ExpiresBeginAnew, None, _) => Action::Put(Put::new(Vec::new())),
            (Fault::ExpiresKeepTheSooner, _, ExpiryUpdate::AtMs(at)) => {
                Action::Expire(ExpiryUpdate::AtMs(at.min(expires_ms.unwrap_or(at))))
            }
            (Fault::ExpiresWriteWhatTheyKeep, Some(_), ExpiryUpdate::Keep) => {
                Action::Expire(expires_ms.map_or(ExpiryUpdate::Never, ExpiryUpdate::AtMs))
            }
            _ => Action::Expire(update),
        }
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
            Fault::DeletesCreateNamespaces | Fault::ExpiresCreateNamespaces => {
                let is_delete = |o: &Operation<'_>| matches!(o.action, Action::Delete);
                let makes = |o: &&Operation<'_>| is_delete(o) == self.is(Fault::DeletesCreateNamespaces);
                for operation in batch.iter().filter(makes) {
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
            Fault::ExpiresOfAbsentKeysSucceed => outcome.existed |= outcome.version.is_none(),
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
        let keys: Vec<_> = keys.iter().map(|key| self.key(key)).collect();
        let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
        let values = self.map.get_many(self.namespace(namespace), &keys).map_err(|e| self.fail(e))?;
        let is_there = |value: &Value| !(self.is(Fault::EmptyValuesAreAbsent) && value.is_empty());
        Ok(values.into_iter().map(|value| value.filter(is_there)).collect())
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
        let fault = self.fault;
        Ok(Box::new(WrongListing { back: entries.clone(), front: entries.into(), forgets, later, fault }))
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

    fn writer(&self, operation: Operation<'static>, options: &WriteOptions) -> Result<Box<dyn ValueWriter>> {
        self.map.writer(operation, options)
    }

    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        self.map.reader(namespace, key)
    }

    fn snapshot(&self) -> Result<Arc<dyn BackendSnapshot>> {
        self.map.snapshot()
    }
}

struct WrongListing {
    front: std::collections::VecDeque<Entry>,
    back: Vec<Entry>,
    forgets: bool,
    later: Option<(Arc<MapBackend>, String)>,
    fault: Fault,
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

impl Listing for WrongListing {
    fn next_with(&mut self, see: &mut dyn FnMut(&[u8], &[u8])) -> Option<Result<()>> {
        let entry = self.front.pop_front()?;
        if self.fault == Fault::ListingsShowTheSameAgain && self.front.pop_back().is_some() {
            self.front.push_front(entry.clone());
        }
        let value: &[u8] =
            if self.fault == Fault::ListingsShowAnotherValue { b"another" } else { &entry.value };
        see(&entry.key, value);
        Some(Ok(()))
    }

    fn next_back_with(&mut self, see: &mut dyn FnMut(&[u8], &[u8])) -> Option<Result<()>> {
        let entry = match self.fault {
            Fault::ListingsShowTheFrontFromTheBack => self.front.pop_front()?,
            _ => self.front.pop_back()?,
        };
        see(&entry.key, &entry.value);
        Some(Ok(()))
    }
}
