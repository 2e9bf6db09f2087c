//! The tables: one for each row of work, best first, with the ratio to the best peer.

use std::fmt::Write;

use crate::engines::Kind;
use crate::measure::Figure;

/// Rows whose figure is a time.
fn is_time(row: &str) -> bool {
    row.starts_with("10 ") || row.starts_with("7 ") && row != "7 overwrite"
}

/// All figures as Markdown.
pub(crate) fn markdown(figures: &[Figure]) -> String {
    let mut rows: Vec<(&str, usize)> = Vec::new();
    for figure in figures {
        let row = (figure.row.as_str(), figure.threads);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let mut text = summary(figures, &rows);
    for (row, threads) in rows {
        table(&mut text, row, threads, figures);
    }
    text
}

/// The fastest store beside NADB.
fn best_peer<'a>(of: &[&'a Figure]) -> Option<&'a Figure> {
    let peers = of.iter().filter(|f| f.engine != Kind::Nadb && f.engine.is_store() && is_of_class(f));
    peers.copied().max_by(|a, b| a.rate().total_cmp(&b.rate()))
}

/// Whether the figure is of the class that was asked for, or a stronger one.
fn is_of_class(figure: &Figure) -> bool {
    let weaker = ["weaker", "does not sync"];
    !figure.remark.as_ref().is_some_and(|remark| weaker.iter().any(|word| remark.contains(word)))
}

fn of_row<'a>(figures: &'a [Figure], row: &str, threads: usize) -> Vec<&'a Figure> {
    figures.iter().filter(|f| f.row == row && f.threads == threads).collect()
}

fn summary(figures: &[Figure], rows: &[(&str, usize)]) -> String {
    let mut text = String::from(
        "| workload | threads | nadb | best peer | nadb to best peer |\n| --- | --- | --- | --- | --- |\n",
    );
    for (row, threads) in rows {
        let of = of_row(figures, row, *threads);
        let own = of.iter().find(|f| f.engine == Kind::Nadb);
        let (Some(own), Some(peer)) = (own, best_peer(&of)) else { continue };
        let _ = writeln!(
            text,
            "| {row} | {threads} | {} | {} {} | {:.2} × |",
            figure_of(own),
            peer.engine.name(),
            figure_of(peer),
            own.rate() / peer.rate()
        );
    }
    text
}

fn figure_of(figure: &Figure) -> String {
    if is_time(&figure.row) { milliseconds(figure.seconds) } else { rate(figure.rate()) }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

fn rate(rate: f64) -> String {
    match rate {
        r if r >= 1e6 => format!("{:.2} M/s", r / 1e6),
        r if r >= 1e4 => format!("{:.0} k/s", r / 1e3),
        r if r >= 1e3 => format!("{:.1} k/s", r / 1e3),
        r => format!("{r:.0}/s"),
    }
}

fn table(text: &mut String, row: &str, threads: usize, figures: &[Figure]) {
    let mut of = of_row(figures, row, threads);
    of.sort_by(|a, b| b.rate().total_cmp(&a.rate()));
    let best = best_peer(&of).map(Figure::rate);
    let _ = write!(text, "\n### {row}, {threads} thread{}\n\n", if threads == 1 { "" } else { "s" });
    text.push_str("| engine | figure | to best peer | p50 | p99 | p99.9 | max | RAM | disk | written | |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for figure in of {
        let ratio = best.map_or_else(String::new, |best| format!("{:.2} ×", figure.rate() / best));
        let latency = figure.latency_us.map_or_else(
            || " | | | ".to_owned(),
            |at| {
                at.map(|us| if us < 1000.0 { format!("{us:.1} µs") } else { format!("{:.1} ms", us / 1e3) })
                    .join(" | ")
            },
        );
        let written = figure.written_ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let _ = writeln!(
            text,
            "| {} | {} | {ratio} | {latency} | {} MiB | {} MiB | {written} | {} |",
            figure.engine.name(),
            figure_of(figure),
            figure.rss_bytes >> 20,
            figure.disk_bytes >> 20,
            figure.remark.as_deref().unwrap_or_default()
        );
    }
}
