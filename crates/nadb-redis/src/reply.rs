//! The answer to a batch: outcomes, or why the server refused it. The numbers are those of `scripts/write.lua`.

use nadb_core::limits::{EXPIRY_MS_MAX, check_ttl, check_value_len_max};
use nadb_core::{
    Action, Add, Error, ErrorKind, ExpiryUpdate, MergeOperator, Operation, Outcome, Put, Result, WriteBatch,
    parse_counter,
};

use crate::failure::unexpected;
use crate::reader::Reader;
use crate::request::precondition;

/// What the server said of a batch.
pub(crate) enum Reply {
    /// It was done.
    Done(Vec<Outcome>),
    /// Nothing was done: this one of its buckets is not live.
    NotLive(usize),
    /// Nothing was done: the value that this operation merges is compressed, and must be brought along.
    NeedsValue(usize),
}

/// Reads the answer to a batch, of which the operations without an outcome in `absent` were sent.
///
/// # Errors
/// Why the server refused it; `Backend` for an answer that makes no sense.
pub(crate) fn reply(
    batch: &WriteBatch<'_>,
    absent: &[Option<Outcome>],
    value_max: u64,
    bytes: &[u8],
) -> Result<Reply> {
    let mut reply = Reader(bytes);
    let wrong = || unexpected("a write");
    let status = reply.number(1).ok_or_else(wrong)?;
    if status == 0 {
        return Ok(Reply::Done(reply.outcomes(absent).ok_or_else(wrong)?));
    }
    if status == 1 || status == 10 {
        let words = match status {
            1 => "a later write of the same session was done before this one",
            _ => "it was done, but what it returned is too long to be kept until it was asked for again",
        };
        return Err(Error::new(ErrorKind::OutcomeUnknown, words));
    }
    let number = reply.number(4).and_then(|number| usize::try_from(number).ok()).ok_or_else(wrong)?;
    if status == 2 {
        return Ok(Reply::NotLive(number));
    }
    // Operations were counted from 1, and only those that were sent.
    let sent = absent.iter().enumerate().filter(|(_, outcome)| outcome.is_none()).map(|(at, _)| at);
    let at = number.checked_sub(1).and_then(|number| sent.clone().nth(number)).ok_or_else(wrong)?;
    if status == 8 {
        return Ok(Reply::NeedsValue(at));
    }
    let operation = batch.get(at).ok_or_else(wrong)?;
    let error = reply.refusal(status, operation, value_max).unwrap_or_else(wrong);
    Err(error.in_batch(at + 1, batch.len()))
}

/// The parts of an answer.
trait Parts {
    fn outcomes(&mut self, absent: &[Option<Outcome>]) -> Option<Vec<Outcome>>;
    fn outcome(&mut self) -> Option<Outcome>;
    fn refusal(&mut self, status: u64, operation: &Operation<'_>, value_max: u64) -> Option<Error>;
}

impl Parts for Reader<'_> {
    /// The outcomes of all operations, those that were not sent among them.
    fn outcomes(&mut self, absent: &[Option<Outcome>]) -> Option<Vec<Outcome>> {
        let mut all = Vec::with_capacity(absent.len());
        for known in absent {
            let outcome = match known {
                Some(outcome) => outcome.clone(),
                None => self.outcome()?,
            };
            all.push(outcome);
        }
        self.0.is_empty().then_some(all)
    }

    fn outcome(&mut self) -> Option<Outcome> {
        let (bits, version) = (self.number(1)?, self.number(8)?);
        let has = |bit: u64| bits & bit != 0;
        let merged = match has(8) {
            true => {
                let len = usize::try_from(self.number(4)?).ok()?;
                Some(self.take(len)?.to_vec())
            }
            false => None,
        };
        Some(Outcome::new(has(4).then_some(version), has(1), has(2), merged))
    }

    /// Why an operation was refused.
    fn refusal(&mut self, status: u64, operation: &Operation<'_>, value_max: u64) -> Option<Error> {
        let operand = match &operation.action {
            Action::Merge(merge) => &*merge.operand,
            _ => &[],
        };
        match status {
            3 => {
                let (is_there, version) = (self.number(1)? != 0, self.number(8)?);
                Some(precondition(operation, is_there.then_some(version)))
            }
            4 => parse_counter(&operation.key, self.0).err(),
            5 => Add.merge(&operation.key, Some(self.0), operand).err(),
            6 => check_value_len_max(self.number(8)?, value_max).err(),
            7 => {
                let (Action::Put(Put { expiry: ExpiryUpdate::After(ttl), .. })
                | Action::Expire(ExpiryUpdate::After(ttl))) = &operation.action
                else {
                    return None;
                };
                check_ttl(*ttl, EXPIRY_MS_MAX).err()
            }
            9 => {
                let words = "the record that is there has a format that this build does not know";
                Some(Error::new(ErrorKind::Version, words))
            }
            _ => None,
        }
    }
}
