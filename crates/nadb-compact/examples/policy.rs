//! The figures of docs/decisions/0016-compaction-policy.md, of the model that the tests use:
//! `cargo run --release -p nadb-compact --example policy`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "figures for people, of a test's model")]

#[allow(dead_code, reason = "tests use the rest")]
#[path = "../tests/it/model.rs"]
mod model;
#[path = "../tests/it/runs.rs"]
mod runs;

use nadb_compact::{Demand, PolicyOptions};

use model::Rng;
use runs::{HOUR, churn, overwrite};

fn main() {
    println!(
        "| segments of live rows | keys | overwrites | bound | lag | at rest | written | copied | peak | peak by user bytes | segments | copies of a record |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    figures_of_overwrites();
    println!("\n| lifetimes | copied by the log's bytes | most bytes by live ones |\n| --- | --- | --- |");
    figures_of_lifetimes();
}

/// Prints one line of a table in Markdown.
fn line(
    name: &str,
    (rows_max, rounds): (u32, u32),
    zipf: Option<f64>,
    demand: Demand,
    options: PolicyOptions,
) {
    let cost = overwrite(300_000, (rows_max, rounds), zipf, demand, options);
    println!(
        "| {name} | {} | {rounds} N | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |",
        if zipf.is_some() { "zipf 0.99" } else { "uniform" },
        options.dead_share,
        options.lag,
        cost.at_rest,
        cost.written,
        cost.copied,
        cost.peak,
        cost.peak_user,
        cost.segments,
        cost.times_copied,
    );
}

fn figures_of_overwrites() {
    let with = |dead_share, lag| PolicyOptions { dead_share, lag, ..PolicyOptions::default() };
    for zipf in [None, Some(0.99)] {
        for (dead_share, rounds) in [(0.1, 3), (0.2, 3), (0.4, 3), (0.1, 10), (0.2, 10), (0.4, 10)] {
            line("20", (15_000, rounds), zipf, Demand::UnderLoad, with(dead_share, 2.0));
        }
        for lag in [1.6, 1.8, 2.2, 2.6] {
            line("20", (15_000, 3), zipf, Demand::UnderLoad, with(0.2, lag));
        }
        line("3", (90_000, 3), zipf, Demand::UnderLoad, with(0.2, 2.0));
        line("3", (90_000, 10), zipf, Demand::UnderLoad, with(0.2, 2.0));
        for dead_share in [0.1, 0.2, 0.4] {
            line("20, never busy", (15_000, 3), zipf, Demand::AtRest, with(dead_share, 2.0));
        }
    }
}

fn figures_of_lifetimes() {
    let line = |name, hours, ttl_ms: &dyn Fn(&mut Rng) -> u64| {
        let (copied, space) = churn(hours, ttl_ms);
        println!("| {name} | {:.1} % | {space:.2} |", copied * 100.0);
    };
    line("1 h", 12, &|_| HOUR);
    line("1 to 3 h", 12, &|rng| HOUR + u64::from(rng.below(7_200_000)));
    line("0 to 2 h", 12, &|rng| 1 + u64::from(rng.below(7_200_000)));
    line("80 % 1 h, 20 % 4 h", 20, &|rng| if rng.below(10) < 8 { HOUR } else { 4 * HOUR });
    line("80 % 1 h, 20 % 24 h", 60, &|rng| if rng.below(10) < 8 { HOUR } else { 24 * HOUR });
    line("75 % 1 h, 25 % stay", 12, &|rng| if rng.below(4) == 0 { 1_000 * HOUR } else { HOUR });
}
