//! Which server to ask: the one there is, the master that sentinels name, or the member of a cluster that serves a slot.
//!
//! What it knows of a group or a cluster may be old; whoever is told so by a server says it here, and asks again. It leaves the asking
//! and the retries to the link.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use redis::Value;

use crate::call::{Answer, Call};
use crate::failure::Failure;
use crate::node::{Access, Node};
use crate::options::{Address, RedisOptions, Servers};

/// Nobody asks again for what was asked so recently.
const FRESH_FOR: Duration = Duration::from_millis(20);

/// The servers of a store.
pub(crate) struct Topology {
    kind: Kind,
    access: Access,
    /// When what is known was asked for last; held while it is asked, so that one asks for all.
    refreshed: Mutex<Option<Instant>>,
    known: RwLock<Known>,
}

enum Kind {
    One,
    Sentinel { sentinels: Vec<Node>, master: String },
    Cluster { seeds: Vec<Address> },
}

#[derive(Default)]
struct Known {
    nodes: HashMap<Address, Arc<Node>>,
    /// The only server, or the master.
    main: Option<Arc<Node>>,
    /// First and last slot, in order, and who serves them.
    slots: Vec<(u16, u16, Address)>,
    /// Slots that were seen to live elsewhere since.
    moved: HashMap<u16, Address>,
}

impl Topology {
    pub(crate) fn new(options: &RedisOptions) -> Topology {
        let access = Access::to_data(options);
        let mut known = Known::default();
        let kind = match &options.servers {
            Servers::One(address) => {
                known.main = Some(Arc::new(Node::new(address.clone(), access.clone())));
                Kind::One
            }
            Servers::Sentinel { sentinels, master } => {
                let node = |address: &Address| Node::new(address.clone(), Access::to_sentinels(options));
                Kind::Sentinel { sentinels: sentinels.iter().map(node).collect(), master: master.clone() }
            }
            Servers::Cluster(seeds) => Kind::Cluster { seeds: seeds.clone() },
        };
        Topology { kind, access, refreshed: Mutex::default(), known: RwLock::new(known) }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster { .. })
    }

    /// The server to ask for a slot.
    pub(crate) fn node(&self, slot: u16) -> Result<Arc<Node>, Failure> {
        if let Some(node) = self.known_node(slot) {
            return Ok(node);
        }
        self.refresh()?;
        let nobody = || Failure::NotSent(format!("no server of the cluster serves the slot {slot}"));
        self.known_node(slot).ok_or_else(nobody)
    }

    fn known_node(&self, slot: u16) -> Option<Arc<Node>> {
        let address = {
            let known = self.known.read();
            if let Some(main) = &known.main {
                return Some(Arc::clone(main));
            }
            let address = known.address(slot)?;
            if let Some(node) = known.nodes.get(address) {
                return Some(Arc::clone(node));
            }
            address.clone()
        };
        Some(self.known.write().at(&address, &self.access))
    }

    /// The server at an address that another one named.
    pub(crate) fn node_at(&self, address: &str) -> Result<Arc<Node>, Failure> {
        let nowhere = || Failure::NotSent(format!("a server named {address:?}, which is no address"));
        let address = Address::parse(address, 0).ok_or_else(nowhere)?;
        Ok(self.known.write().at(&address, &self.access))
    }

    /// The masters that are known, to ask each of them something.
    pub(crate) fn masters(&self) -> Result<Vec<Arc<Node>>, Failure> {
        if self.known.read().main.is_none() && self.known.read().slots.is_empty() {
            self.refresh()?;
        }
        let mut known = self.known.write();
        let mut addresses: Vec<Address> = known.slots.iter().map(|(_, _, address)| address.clone()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let of_slots = addresses.iter().map(|address| known.at(address, &self.access)).collect::<Vec<_>>();
        Ok(known.main.clone().into_iter().chain(of_slots).collect())
    }

    /// Drops all connections that lie idle.
    pub(crate) fn drop_idle(&self) {
        let known = self.known.read();
        known.nodes.values().chain(&known.main).for_each(|node| node.drop_idle());
    }

    /// A slot was seen to live elsewhere.
    pub(crate) fn moved(&self, slot: u16, address: &str) {
        if let Some(address) = Address::parse(address, 0) {
            self.known.write().moved.insert(slot, address);
        }
    }

    /// A server is no master any more: none of the connections to it serves.
    pub(crate) fn demoted(&self, node: &Node) {
        node.drop_idle();
        // If nothing better can be learned now, the next call fails and asks again.
        _ = self.refresh();
    }

    /// Asks who serves what now.
    pub(crate) fn refresh(&self) -> Result<(), Failure> {
        let mut refreshed = self.refreshed.lock();
        if refreshed.is_some_and(|at| at.elapsed() < FRESH_FOR) {
            return Ok(());
        }
        match &self.kind {
            Kind::One => {}
            Kind::Sentinel { sentinels, master } => self.ask_sentinels(sentinels, master)?,
            Kind::Cluster { seeds } => self.ask_cluster(seeds)?,
        }
        *refreshed = Some(Instant::now());
        Ok(())
    }

    fn ask_sentinels(&self, sentinels: &[Node], master: &str) -> Result<(), Failure> {
        let call = Call::command(0, &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", master.as_bytes()]);
        let mut last = Failure::NotSent(format!("no sentinel knows the master {master:?}"));
        for sentinel in sentinels {
            let named = match ask_one(sentinel, &call) {
                Ok(answer) => address_of(answer),
                Err(failure) => {
                    last = not_sent(failure);
                    continue;
                }
            };
            let Some(address) = named else { continue };
            let node = self.known.write().at(&address, &self.access);
            match ask_one(&node, &Call::command(0, &[b"ROLE"])) {
                Ok(role) if is_master(&role) => {
                    self.known.write().main = Some(node);
                    return Ok(());
                }
                Ok(_) => last = Failure::NotSent(format!("{} is no master yet", node.name)),
                Err(failure) => last = not_sent(failure),
            }
        }
        Err(last)
    }

    fn ask_cluster(&self, seeds: &[Address]) -> Result<(), Failure> {
        let mut known: Vec<Address> = self.known.read().slots.iter().map(|(_, _, a)| a.clone()).collect();
        known.extend_from_slice(seeds);
        known.sort_unstable();
        known.dedup();
        let call = Call::command(0, &[b"CLUSTER", b"SLOTS"]);
        let mut last = Failure::NotSent("the cluster has no member".to_owned());
        for address in known {
            let node = self.known.write().at(&address, &self.access);
            match ask_one(&node, &call) {
                Ok(answer) => match slots_of(answer, &address) {
                    Some(slots) if !slots.is_empty() => {
                        self.known.write().take(slots);
                        return Ok(());
                    }
                    _ => last = Failure::NotSent(format!("{address} knows of no slots of a cluster")),
                },
                Err(Failure::Final(error)) => return Err(Failure::Final(error)),
                Err(failure) => last = not_sent(failure),
            }
        }
        Err(last)
    }
}

impl Known {
    /// Who serves a slot of the cluster.
    fn address(&self, slot: u16) -> Option<&Address> {
        self.moved.get(&slot).or_else(|| {
            let behind = self.slots.partition_point(|(first, _, _)| *first <= slot);
            let (_, last, address) = self.slots.get(behind.checked_sub(1)?)?;
            (slot <= *last).then_some(address)
        })
    }

    fn at(&mut self, address: &Address, access: &Access) -> Arc<Node> {
        let node = || Arc::new(Node::new(address.clone(), access.clone()));
        Arc::clone(self.nodes.entry(address.clone()).or_insert_with(node))
    }

    fn take(&mut self, mut slots: Vec<(u16, u16, Address)>) {
        slots.sort_unstable();
        // Servers that left take their connections with them.
        self.nodes.retain(|address, _| slots.iter().any(|(_, _, serving)| serving == address));
        (self.slots, self.moved) = (slots, HashMap::new());
    }
}

/// Nothing of importance was sent: the question was only who serves what.
fn not_sent(failure: Failure) -> Failure {
    match failure {
        Failure::Lost(why) => Failure::NotSent(why),
        other => other,
    }
}

fn ask_one(node: &Node, call: &Call) -> Result<Value, Failure> {
    match node.ask(&[&call.bytes], 1)?.pop() {
        Some(Value::ServerError(error)) => Err(Failure::NotSent(format!("{} answers: {error}", node.name))),
        answer => Ok(answer.unwrap_or_default()),
    }
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(value.bytes()??).ok()
}

fn address_of(answer: Value) -> Option<Address> {
    let mut parts = answer.list()?.into_iter();
    let (host, port) = (text(parts.next()?)?, text(parts.next()?)?.parse().ok()?);
    Some(Address::Tcp(host, port))
}

fn is_master(role: &Value) -> bool {
    let Value::Array(parts) = role else { return false };
    matches!(parts.first(), Some(Value::BulkString(role)) if role == b"master")
}

/// What CLUSTER SLOTS says; a master without a host is at the host that was asked.
fn slots_of(answer: Value, asked: &Address) -> Option<Vec<(u16, u16, Address)>> {
    let Address::Tcp(asked, _) = asked else { return None };
    let range = |range: Value| {
        let mut parts = range.list()?.into_iter();
        let first = u16::try_from(parts.next()?.number()?).ok()?;
        let last = u16::try_from(parts.next()?.number()?).ok()?;
        let mut master = parts.next()?.list()?.into_iter();
        let host = master.next()?.bytes()?.and_then(|host| String::from_utf8(host).ok());
        let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| asked.clone());
        let port = u16::try_from(master.next()?.number()?).ok()?;
        Some((first, last, Address::Tcp(host, port)))
    };
    answer.list()?.into_iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_served_by_whom_the_cluster_says_and_by_whom_it_said_last() {
        let at = |port| Address::Tcp("h".into(), port);
        let mut known = Known::default();
        known.take(vec![(100, 200, at(2)), (0, 99, at(1)), (300, 300, at(3))]);
        let ports = [0, 99, 100, 200, 201, 300, 301].map(|slot| known.address(slot).cloned());
        let expected = [Some(1), Some(1), Some(2), Some(2), None, Some(3), None];
        assert_eq!(ports, expected.map(|port| port.map(at)));
        known.moved.insert(99, at(4));
        assert_eq!((known.address(99), known.address(98)), (Some(&at(4)), Some(&at(1))));
        known.take(vec![(0, 99, at(1))]);
        assert_eq!(known.address(99), Some(&at(1)), "what the cluster says of all is newer");
    }

    #[test]
    fn what_a_cluster_says_of_its_slots_is_read() {
        let text = |text: &str| Value::BulkString(text.into());
        let master = |host: Value| Value::Array(vec![host, Value::Int(7001), text("id")]);
        let range = |host| Value::Array(vec![Value::Int(0), Value::Int(5460), master(host)]);
        let asked = Address::Tcp("asked".into(), 7000);
        let slots = |host| slots_of(Value::Array(vec![range(host)]), &asked);
        assert_eq!(slots(text("h")), Some(vec![(0, 5460, Address::Tcp("h".into(), 7001))]));
        assert_eq!(slots(Value::Nil), Some(vec![(0, 5460, Address::Tcp("asked".into(), 7001))]));
        assert_eq!(slots_of(Value::Array(vec![Value::Int(1)]), &asked), None);
        assert_eq!(slots_of(Value::Okay, &asked), None);
    }
}
