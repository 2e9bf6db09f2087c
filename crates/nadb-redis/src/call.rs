//! A call: one command or script with its arguments, as the bytes that go to a server.

use std::time::Duration;

use redis::Value;

use crate::scripts::Script;

/// One request with one reply.
#[derive(Debug)]
pub(crate) struct Call {
    /// The slot of the cluster that its keys are in.
    pub(crate) slot: u16,
    /// As it goes over the connection (RESP, "array of bulk strings").
    pub(crate) bytes: Vec<u8>,
    /// A command that goes right behind it over the same connection, and whose answer comes along.
    pub(crate) behind: Option<Vec<u8>>,
    /// Where in `bytes` the flags of a write stand.
    flags_at: Option<usize>,
}

/// In the flags of a write: an earlier try of it may still come, so that a refusal must be kept, too.
const FENCED: u8 = 1;

impl Call {
    /// A command.
    pub(crate) fn command(slot: u16, arguments: &[&[u8]]) -> Call {
        Call { slot, bytes: packed(arguments.iter().copied()), behind: None, flags_at: None }
    }

    /// A script with its keys and other arguments.
    pub(crate) fn script<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        slot: u16,
        script: Script,
        keys: &[K],
        arguments: &[A],
    ) -> Call {
        let count = keys.len().to_string();
        let head = [b"EVALSHA".as_slice(), script.hash().as_bytes(), count.as_bytes()];
        let keys = keys.iter().map(AsRef::as_ref);
        let arguments = arguments.iter().map(AsRef::as_ref);
        let all: Vec<&[u8]> = head.into_iter().chain(keys).chain(arguments).collect();
        Call { slot, bytes: packed(all.into_iter()), behind: None, flags_at: None }
    }

    /// The write of a batch. The first argument is its head, and the flags are the byte `flags` of that.
    pub(crate) fn write<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        slot: u16,
        keys: &[K],
        arguments: &[A],
        flags: usize,
    ) -> Call {
        let mut call = Call::script(slot, Script::Write, keys, arguments);
        // What comes behind the head is as long as it is without what comes before.
        let behind: usize =
            arguments.iter().skip(1).map(|argument| packed_len(argument.as_ref().len())).sum();
        let head = arguments.first().map_or(0, |head| head.as_ref().len() + 2);
        call.flags_at = call.bytes.len().checked_sub(behind + head).map(|at| at + flags);
        call
    }

    /// The same with a wait behind it until so many replicas have what was written.
    pub(crate) fn waiting(mut self, replicas: u32, timeout: Duration) -> Call {
        let (replicas, ms) = (replicas.to_string(), timeout.as_millis().max(1).to_string());
        self.behind = Some(packed([b"WAIT".as_slice(), replicas.as_bytes(), ms.as_bytes()].into_iter()));
        self
    }

    /// Whether an earlier try of it may still come.
    pub(crate) fn is_fenced(&self) -> bool {
        self.flags_at.and_then(|at| self.bytes.get(at)).is_some_and(|flags| flags & FENCED != 0)
    }

    /// Says that an earlier try of it may still come.
    pub(crate) fn fence(&mut self) {
        if let Some(flags) = self.flags_at.and_then(|at| self.bytes.get_mut(at)) {
            *flags |= FENCED;
        }
    }
}

/// Bytes of an argument of this length: `$len\r\n…\r\n`.
fn packed_len(len: usize) -> usize {
    let digits = len.checked_ilog10().map_or(1, |log| usize::try_from(log).unwrap_or_default() + 1);
    digits + len + 5
}

fn packed<'a>(arguments: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let len: usize = arguments.clone().map(|argument| packed_len(argument.len())).sum();
    let mut bytes = Vec::with_capacity(len + 16);
    bytes.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// What a server answers, taken apart; `None` where it is something else than was asked for.
pub(crate) trait Answer: Sized {
    /// Bytes; `None` inside where the server has nothing.
    fn bytes(self) -> Option<Option<Vec<u8>>>;
    /// A number.
    fn number(self) -> Option<u64>;
    /// Several answers.
    fn list(self) -> Option<Vec<Value>>;
}

impl Answer for Value {
    fn bytes(self) -> Option<Option<Vec<u8>>> {
        match self {
            Value::Nil => Some(None),
            Value::BulkString(bytes) => Some(Some(bytes)),
            Value::SimpleString(text) => Some(Some(text.into_bytes())),
            _ => None,
        }
    }

    fn number(self) -> Option<u64> {
        match self {
            Value::Int(number) => u64::try_from(number).ok(),
            Value::BulkString(bytes) => std::str::from_utf8(&bytes).ok()?.parse().ok(),
            _ => None,
        }
    }

    fn list(self) -> Option<Vec<Value>> {
        match self {
            Value::Array(list) => Some(list),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_stand_with_their_lengths() {
        assert_eq!(Call::command(0, &[b"GET", b"a\r\n"]).bytes, b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n");
        for len in [0, 1, 9, 10, 99, 100, 1000] {
            assert_eq!(packed([vec![0; len].as_slice()].into_iter()).len(), 4 + packed_len(len), "{len}");
        }
    }

    #[test]
    fn a_fence_changes_the_flags_and_nothing_else() {
        let head = [7u8, 7, 0, 7];
        for rest in [vec![], vec![vec![9u8; 3]], vec![vec![9u8; 1000], vec![]]] {
            let arguments: Vec<Vec<u8>> = std::iter::once(head.to_vec()).chain(rest).collect();
            let mut call = Call::write(0, &["k"], &arguments, 2);
            let before = call.bytes.clone();
            call.fence();
            let changed: Vec<usize> = (0..before.len()).filter(|&at| before[at] != call.bytes[at]).collect();
            let [at] = changed[..] else { panic!("{changed:?}") };
            assert_eq!(&call.bytes[at - 2..at + 2], &[7, 7, FENCED, 7]);
        }
    }
}
