//! Standard output, where a reader may go away at any time, and standard error.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::fields::Fields;

/// Buffered standard output. Call [`Output::finish`] at the end: only then it is known that everything was written.
#[derive(Debug)]
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
}

impl Output {
    /// Output as JSON or as text.
    pub(crate) fn new(json: bool) -> Output {
        Output { out: BufWriter::with_capacity(64 << 10, io::stdout().lock()), json }
    }

    /// Raw bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(failed)
    }

    /// One line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut self.out, value).map_err(|error| failed(error.into()))?;
        self.bytes(b"\n")
    }

    /// The fields as JSON, or the text.
    pub(crate) fn either(&mut self, fields: &Fields, text: impl FnOnce() -> String) -> Result<()> {
        if self.json { self.json(fields) } else { self.bytes(text().as_bytes()) }
    }

    /// Hands over what is buffered.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(failed)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What a failed write to standard output means.
pub(crate) fn failed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Other(format!("writing to standard output failed: {error}")),
    }
}

/// One sentence on standard error; where that is closed, nobody wants to know.
pub(crate) fn complain(sentence: &str) {
    let _ = writeln!(io::stderr(), "nadb: {sentence}");
}
