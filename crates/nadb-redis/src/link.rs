//! Calls and their answers: to the right server, again where it was moved or is gone, for as long as that may take.
//!
//! It promises that an error says the truth of what was done: `Unavailable` where surely nothing was, `OutcomeUnknown` where a write
//! was sent and no answer came. A call is sent again only where that does no harm: reads, and writes that carry a number by which
//! the server knows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nadb_core::{Entropy, Error, ErrorKind, OsEntropy, Result, guard};
use redis::Value;

use crate::call::Call;
use crate::failure::{Failure, Refusal, words};
use crate::node::Node;
use crate::options::RedisOptions;
use crate::topology::Topology;

/// The first wait before another try, and the longest.
const WAIT_MIN: Duration = Duration::from_millis(5);
const WAIT_MAX: Duration = Duration::from_millis(500);
/// Tries without a wait between them.
const AT_ONCE_MAX: u32 = 4;

/// All servers of a store.
pub(crate) struct Link {
    topology: Topology,
    retry_for: Duration,
    is_closed: AtomicBool,
}

/// A call on its way.
struct Pending<'c> {
    call: &'c mut Call,
    answer: Option<Value>,
    /// The answer to what went behind it.
    behind: Option<Value>,
    /// Where to ask this once.
    ask_at: Option<String>,
    /// It was sent, and nobody knows what became of it.
    is_lost: bool,
}

/// For how long to try.
pub(crate) struct Budget {
    deadline: Instant,
    wait: Duration,
    why: Option<String>,
}

impl Budget {
    pub(crate) fn new(time: Duration) -> Budget {
        Budget { deadline: Instant::now() + time, wait: WAIT_MIN, why: None }
    }

    /// Waits before another try; false where the time is over.
    pub(crate) fn wait(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::sleep(self.wait.mul_f64(jitter()).min(left));
        self.wait = (self.wait * 2).min(WAIT_MAX);
        true
    }

    pub(crate) fn because(&mut self, why: impl Into<String>) {
        self.why = Some(why.into());
    }

    /// The error of a call that nothing came of.
    pub(crate) fn over(&self, is_lost: bool) -> Error {
        let why = self.why.as_deref().unwrap_or("the time for it is over");
        if is_lost {
            let words = format!("{why}; the write may or may not have been done");
            return Error::new(ErrorKind::OutcomeUnknown, words);
        }
        Error::new(ErrorKind::Unavailable, format!("{why}; nothing was done"))
    }
}

/// 0.5 to 1.0, so that not all clients come back at once.
fn jitter() -> f64 {
    let mut byte = [0];
    _ = OsEntropy.fill(&mut byte);
    0.5 + f64::from(byte[0]) / 512.0
}

impl Link {
    pub(crate) fn new(options: &RedisOptions) -> Link {
        Link {
            topology: Topology::new(options),
            retry_for: options.retry_for,
            is_closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.topology.is_cluster()
    }

    pub(crate) fn budget(&self) -> Budget {
        Budget::new(self.retry_for)
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.topology.drop_idle();
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the store was closed"));
        }
        Ok(())
    }

    /// The answer to one call that only reads, or that does no harm when it is done twice.
    pub(crate) fn ask(&self, call: Call) -> Result<Value> {
        let answers = self.ask_all(vec![call])?;
        answers.into_iter().next().ok_or_else(|| crate::failure::unexpected("a call"))
    }

    /// The answers to several such calls, in their order; those to one server go in one pipeline, servers are asked side by side.
    pub(crate) fn ask_all(&self, mut calls: Vec<Call>) -> Result<Vec<Value>> {
        let answers = self.run(&mut calls, &mut self.budget(), false)?;
        Ok(answers.into_iter().map(|(answer, _)| answer).collect())
    }

    /// The answer to a write, which the server knows by its number when it comes twice, and to what goes behind it.
    pub(crate) fn write(&self, call: &mut Call, budget: &mut Budget) -> Result<(Value, Option<Value>)> {
        let answers = self.run(std::slice::from_mut(call), budget, true)?;
        answers.into_iter().next().ok_or_else(|| crate::failure::unexpected("a write"))
    }

    fn run(
        &self,
        calls: &mut [Call],
        budget: &mut Budget,
        is_write: bool,
    ) -> Result<Vec<(Value, Option<Value>)>> {
        let pending = |call| Pending { call, answer: None, behind: None, ask_at: None, is_lost: false };
        let mut all: Vec<Pending<'_>> = calls.iter_mut().map(pending).collect();
        let mut at_once = 0;
        loop {
            self.check_open()?;
            let goes_on = self.round(&mut all, budget).map_err(|error| {
                // What was sent before may have been done, whatever is said of it now.
                let is_lost = is_write && all.iter().any(|pending| pending.is_lost);
                if is_lost { budget.over(true).with_context(&error.to_string()) } else { error }
            })?;
            if all.iter().all(|pending| pending.answer.is_some()) {
                let answer = |pending: Pending<'_>| Some((pending.answer?, pending.behind));
                return Ok(all.into_iter().filter_map(answer).collect());
            }
            at_once = if goes_on { at_once + 1 } else { 0 };
            // Servers that send us to each other in circles have to agree first.
            if at_once % AT_ONCE_MAX == 0 && !budget.wait() {
                return Err(budget.over(is_write && all.iter().any(|pending| pending.is_lost)));
            }
        }
    }

    /// Sends what has no answer yet; true where what is left can be sent at once.
    fn round(&self, all: &mut [Pending<'_>], budget: &mut Budget) -> Result<bool> {
        let mut groups: Vec<(Arc<Node>, Vec<&mut Pending<'_>>)> = Vec::new();
        for pending in all.iter_mut().filter(|pending| pending.answer.is_none()) {
            let node = match &pending.ask_at {
                Some(address) => self.topology.node_at(address),
                None => self.topology.node(pending.call.slot),
            };
            match node {
                Ok(node) => match groups.iter_mut().find(|(have, _)| Arc::ptr_eq(have, &node)) {
                    Some((_, group)) => group.push(pending),
                    None => groups.push((node, vec![pending])),
                },
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::NotSent(why) | Failure::Lost(why)) => {
                    budget.because(why);
                    pending.ask_at = None;
                    return Ok(false);
                }
            }
        }
        let send = |(node, group): &(Arc<Node>, Vec<&mut Pending<'_>>)| send(node, group);
        let sent: Vec<Result<Vec<Value>, Failure>> = if groups.len() == 1 {
            groups.iter().map(send).collect()
        } else {
            thread::scope(|scope| {
                let threads: Vec<_> = groups.iter().map(|group| scope.spawn(|| send(group))).collect();
                let lost = |_| Err(Failure::Lost("a thread that asked a server panicked".to_owned()));
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(lost)).collect()
            })
        };
        let mut at_once = true;
        for ((node, group), answers) in groups.into_iter().zip(sent) {
            at_once &= self.take(&node, group, answers, budget)?;
        }
        Ok(at_once)
    }

    /// Takes what one server has answered; true where what is left can be sent at once.
    fn take(
        &self,
        node: &Node,
        group: Vec<&mut Pending<'_>>,
        answers: Result<Vec<Value>, Failure>,
        budget: &mut Budget,
    ) -> Result<bool> {
        let answers = match answers {
            Ok(answers) => answers,
            Err(Failure::Final(error)) => return Err(error),
            Err(failure) => {
                let is_lost = matches!(failure, Failure::Lost(_));
                for pending in group {
                    pending.ask_at = None;
                    pending.is_lost |= is_lost;
                    if is_lost && guard::on("redis.refusals_are_kept") {
                        pending.call.fence();
                    }
                }
                if let Failure::Lost(why) | Failure::NotSent(why) = failure {
                    budget.because(why);
                }
                _ = self.topology.refresh();
                return Ok(false);
            }
        };
        let (mut at_once, mut is_demoted, mut wants_scripts) = (true, false, false);
        let mut answers = answers.into_iter();
        for pending in group {
            // What went before it was answered, too.
            if pending.ask_at.take().is_some() {
                answers.next();
            }
            let answer = answers.next().unwrap_or_default();
            if pending.call.behind.is_some() {
                pending.behind = answers.next();
            }
            let Value::ServerError(error) = answer else {
                pending.answer = Some(answer);
                continue;
            };
            match Refusal::of(&error, &node.name) {
                Refusal::Final(error) => return Err(error),
                Refusal::Moved(address) => self.topology.moved(pending.call.slot, &address),
                Refusal::Ask(address) => pending.ask_at = Some(address),
                Refusal::NoScript => wants_scripts = true,
                Refusal::Later => at_once = false,
                Refusal::Demoted => (at_once, is_demoted) = (false, true),
            }
            budget.because(format!("the server {} answers {}", node.name, words(&error)));
        }
        if is_demoted {
            self.topology.demoted(node);
        }
        if wants_scripts && let Err(failure) = node.load_scripts() {
            match failure {
                Failure::Final(error) => return Err(error),
                Failure::Lost(why) | Failure::NotSent(why) => budget.because(why),
            }
            return Ok(false);
        }
        Ok(at_once)
    }

    /// The masters, each of which has a part of the data.
    pub(crate) fn masters(&self) -> Result<Vec<Arc<Node>>> {
        self.check_open()?;
        self.topology.masters().map_err(ended)
    }

    /// The answer of one server, which is asked once.
    pub(crate) fn ask_node(&self, node: &Node, call: &Call) -> Result<Value> {
        self.check_open()?;
        let answer = node.ask(&[&call.bytes], 1).map_err(ended)?.pop().unwrap_or_default();
        match refusal(&node.name, &answer) {
            None => Ok(answer),
            Some(Refusal::Final(error)) => Err(error),
            Some(other) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("the server {} refuses: {other:?}", node.name),
            )),
        }
    }

    /// Asks every master the same.
    pub(crate) fn ask_masters(&self, arguments: &[&[u8]]) -> Result<Vec<(String, Value)>> {
        let call = Call::command(0, arguments);
        let mut budget = self.budget();
        loop {
            self.check_open()?;
            let masters = self.topology.masters();
            let asked = masters.and_then(|masters| {
                let ask = |node: Arc<Node>| {
                    Ok((node.name.clone(), node.ask(&[&call.bytes], 1)?.pop().unwrap_or_default()))
                };
                masters.into_iter().map(ask).collect::<Result<Vec<_>, Failure>>()
            });
            match asked {
                Ok(answers) => match answers.iter().find_map(|(name, answer)| refusal(name, answer)) {
                    None => return Ok(answers),
                    Some(Refusal::Final(error)) => return Err(error),
                    Some(refusal) => budget.because(format!("a server refuses: {refusal:?}")),
                },
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Lost(why) | Failure::NotSent(why)) => budget.because(why),
            }
            if !budget.wait() {
                return Err(budget.over(false));
            }
        }
    }
}

/// The error of what is not tried again.
fn ended(failure: Failure) -> Error {
    match failure {
        Failure::Final(error) => error,
        Failure::Lost(why) | Failure::NotSent(why) => Error::new(ErrorKind::Unavailable, why),
    }
}

fn refusal(name: &str, answer: &Value) -> Option<Refusal> {
    match answer {
        Value::ServerError(error) => Some(Refusal::of(error, name)),
        _ => None,
    }
}

fn send(node: &Node, group: &[&mut Pending<'_>]) -> Result<Vec<Value>, Failure> {
    const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";
    let mut bytes: Vec<&[u8]> = Vec::with_capacity(group.len());
    for pending in group {
        if pending.ask_at.is_some() {
            bytes.push(ASKING);
        }
        bytes.push(&pending.call.bytes);
        bytes.extend(pending.call.behind.as_deref());
    }
    node.ask(&bytes, bytes.len())
}
