//! `nadb copy`: the records of a store into another, whatever the two are on.

mod state;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use nadb::{CopyProgress, CopyReport, CopyRequest, Store, limits};

use crate::context::Context;
use crate::escape::escape;
use crate::failure::{Failure, Result};
use crate::fields::Fields;
use crate::present::{count, size};
use crate::progress::Copying;
use state::State;

const EXAMPLES: &str = "\
Examples:
  nadb copy --from ./data --to redis://localhost
  nadb copy --from redis+cluster://a,b,c --to /srv/data --state copy.state
  nadb copy --from ./data --to ./smaller --only app/users --only app/orders

Value, tags, attributes, media type, expiry, and the times of creation and update come along; versions are new. What is in the
target already, just as it is, is not written again, so a copy that was broken off can be run again; with --state it goes on where it
stood. At the end all records of both stores are compared; where they differ the exit code is 5. Nobody should write meanwhile.";

/// Copy the records of a store into another, and compare both
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Copy {
    /// The source: a store's directory, or a URL as for --url
    #[arg(long, value_name = "STORE")]
    from: String,
    /// The target, which is created where it is missing
    #[arg(long, value_name = "STORE")]
    to: String,
    /// Only this namespace; may be given several times
    #[arg(long, value_name = "NAMESPACE")]
    only: Vec<String>,
    /// Keep in this file how far it has come, and go on from there if the file is there; it is removed at the end
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

impl Copy {
    /// Copies, compares, and says what came of it.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let started = Instant::now();
        if context.url.is_some() {
            return Err(Failure::Input("copy has --from and --to in place of --url".to_owned()));
        }
        if self.from == self.to {
            return Err(Failure::Input("--from and --to are the same store".to_owned()));
        }
        self.only.iter().try_for_each(|name| limits::check_namespace(name))?;
        let (from, to) = (Self::end(context, &self.from, false), Self::end(context, &self.to, true));
        let state =
            self.state.map(|path| State::open(path, (from.shown(), to.shown()), &self.only)).transpose()?;
        let report =
            from.with_existing(|from| to.with_store(|to| copy(from, to, &self.only, state.as_ref())))?;
        print(context, &report, started)?;
        match &report.first_difference {
            None => state.as_ref().map_or(Ok(()), State::remove),
            Some(first) => Err(Failure::Other(format!(
                "the stores differ in {}; the first: \"{}\" in namespace \"{}\" {}",
                count(report.differing, "key", "keys"),
                escape(&first.key),
                escape(first.namespace.as_bytes()),
                first.what
            ))),
        }
    }

    /// A store of the command line. How durable writes are concerns the target alone.
    fn end(context: &Context, store: &str, is_target: bool) -> Context {
        let is_url = store.contains("://");
        Context {
            path: if is_url { PathBuf::new() } else { PathBuf::from(store) },
            url: is_url.then(|| store.to_owned()),
            namespace: context.namespace.clone(),
            json: context.json,
            durability: context.durability.filter(|_| is_target),
            escaped: context.escaped,
        }
    }
}

fn copy(from: &Store, to: &Store, only: &[String], state: Option<&State>) -> Result<CopyReport> {
    let bar = Copying::begin();
    let failed: Arc<Mutex<Option<Failure>>> = Arc::default();
    let observer = {
        let (bar, failed) = (bar.clone(), Arc::clone(&failed));
        let state = Mutex::new(state.cloned());
        move |progress: &CopyProgress| {
            bar.show(progress);
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let saved = state.as_mut().zip(progress.position.as_ref());
            match saved.map_or(Ok(()), |(state, position)| state.save(position)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(failure) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                    ControlFlow::Break(())
                }
            }
        }
    };
    let mut request = CopyRequest::new().on_progress(observer);
    request.namespaces = only.to_vec();
    request.after = state.and_then(|state| state.position.clone());
    let report = from.copy_to(to, &request);
    bar.end();
    let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    failed.map_or(Ok(report?), Err)
}

fn print(context: &Context, report: &CopyReport, started: Instant) -> Result<()> {
    let seconds = started.elapsed().as_secs_f64();
    let hex = |checksum: u64| format!("{checksum:016x}");
    let fields = Fields::default()
        .with("namespaces", report.namespaces)
        .with("written", report.written)
        .with("written_bytes", report.written_bytes)
        .with("unchanged", report.unchanged)
        .with("from_records", report.from.records)
        .with("from_checksum", hex(report.from.checksum))
        .with("to_records", report.to.records)
        .with("to_checksum", hex(report.to.checksum))
        .with("differing", report.differing)
        .with("seconds", seconds);
    let mut out = context.output();
    out.either(&fields, || {
        format!(
            "copied {} ({}) of {} in {seconds:.2} s, {} there already\nsource: {}, checksum {}\ntarget: {}, checksum {}\n",
            count(report.written, "record", "records"),
            size(report.written_bytes),
            count(report.namespaces, "namespace", "namespaces"),
            report.unchanged,
            count(report.from.records, "record", "records"),
            hex(report.from.checksum),
            count(report.to.records, "record", "records"),
            hex(report.to.checksum),
        )
    })?;
    out.finish()
}
