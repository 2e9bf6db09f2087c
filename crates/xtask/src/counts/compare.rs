//! Counts beside their baseline, as ratios to the reference of each.

use std::fmt::Write;

use super::Count;
use crate::process::{Failure, Outcome};

/// The section that all others are divided by.
const REFERENCE: &str = "reference";
/// How much a ratio may rise, and how much it may fall before the baseline is out of date, in percent.
const LIMIT: f64 = 8.0;
const BLESS: &str = "`cargo xtask counts --bless` and commit benches/counts.json";

/// A section in the baseline, in this run, or in both.
#[derive(Debug)]
struct Line {
    name: String,
    before: Option<f64>,
    now: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// Within the limit of its baseline.
    Same,
    Rose,
    Fell,
    /// In only one of the two.
    Unpaired,
}

/// All sections, in the order of this run.
#[derive(Debug)]
pub(super) struct Comparison {
    lines: Vec<Line>,
}

/// Compares `now` with the baseline.
pub(super) fn compare(baseline: &[Count], now: &[Count]) -> Result<Comparison, Failure> {
    let (before, now) = (ratios(baseline, "the baseline")?, ratios(now, "this run")?);
    let of = |ratios: &[(String, f64)], name: &str| {
        ratios.iter().find(|(other, _)| other == name).map(|(_, ratio)| *ratio)
    };
    let names = now.iter().chain(before.iter().filter(|(name, _)| of(&now, name).is_none()));
    let line = |(name, _): &(String, f64)| Line {
        name: name.clone(),
        before: of(&before, name),
        now: of(&now, name),
    };
    Ok(Comparison { lines: names.map(line).collect() })
}

/// Every section but the reference, divided by it.
fn ratios(counts: &[Count], whose: &str) -> Result<Vec<(String, f64)>, Failure> {
    let reference = counts.iter().find(|count| count.name == REFERENCE).map(|count| count.instructions);
    let reference = reference.filter(|reference| *reference > 0.0).ok_or_else(|| {
        Failure::new(format!("{whose} has no count named {REFERENCE}; to write the baseline: {BLESS}"))
    })?;
    let others = counts.iter().filter(|count| count.name != REFERENCE);
    Ok(others.map(|count| (count.name.clone(), count.instructions / reference)).collect())
}

impl Line {
    /// By how many percent it rose.
    fn change(&self) -> Option<f64> {
        Some((self.now? / self.before? - 1.0) * 100.0)
    }

    /// The change as people read it; what rounds to nothing has no sign.
    fn shown_change(&self) -> String {
        self.change().map_or_else(String::new, |change| {
            let tenths = (change * 10.0).round() / 10.0;
            if tenths == 0.0 { "0.0 %".into() } else { format!("{tenths:+.1} %") }
        })
    }

    fn verdict(&self) -> Verdict {
        match self.change() {
            None => Verdict::Unpaired,
            Some(change) if change > LIMIT => Verdict::Rose,
            Some(change) if change < -LIMIT => Verdict::Fell,
            Some(_) => Verdict::Same,
        }
    }
}

impl Comparison {
    /// One line for each section.
    pub(super) fn table(&self) -> String {
        let mut text =
            format!("{:<32}{:>10}{:>10}{:>10}{:>8}\n", "section", "baseline", "now", "change", "limit");
        for line in &self.lines {
            let ratio =
                |ratio: Option<f64>| ratio.map_or_else(|| "none".into(), |ratio| format!("{ratio:.3}"));
            let change = line.shown_change();
            let word = match line.verdict() {
                Verdict::Same => "",
                Verdict::Rose => "  ROSE",
                Verdict::Fell => "  fell",
                Verdict::Unpaired => "  NO PAIR",
            };
            let (before, now) = (ratio(line.before), ratio(line.now));
            let limit = format!("+{LIMIT:.0} %");
            let _ = writeln!(text, "{:<32}{before:>10}{now:>10}{change:>10}{limit:>8}{word}", line.name);
        }
        text + "instructions of an operation, divided by those of the reference"
    }

    /// Fails where something rose beyond the limit, or cannot be compared; says so where something fell.
    pub(super) fn outcome(&self) -> Outcome {
        let names = |verdict| {
            let lines = self.lines.iter().filter(|line| line.verdict() == verdict);
            lines.map(|line| line.name.as_str()).collect::<Vec<_>>().join("; ")
        };
        let (rose, unpaired, fell) = (names(Verdict::Rose), names(Verdict::Unpaired), names(Verdict::Fell));
        if !rose.is_empty() {
            let message =
                format!("more instructions than the baseline allows: {rose}. If that is worth it: {BLESS}");
            return Err(Failure::new(message));
        }
        if !unpaired.is_empty() {
            let message = format!(
                "sections that baseline and program do not share: {unpaired}. If so it shall be: {BLESS}"
            );
            return Err(Failure::new(message));
        }
        if !fell.is_empty() {
            println!("fewer instructions than before: {fell}. So that it stays so: {BLESS}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> Vec<Count> {
        of.iter()
            .map(|(name, instructions)| Count { name: (*name).into(), instructions: *instructions })
            .collect()
    }

    /// A baseline with a set of 1000 instructions beside one where it has `set`, and the reference `reference`.
    fn set_of(set: f64, reference: f64) -> Comparison {
        let baseline = counts(&[("reference", 500.0), ("set", 1000.0), ("get", 300.0)]);
        let now = counts(&[("reference", reference), ("set", set), ("get", 300.0 * reference / 500.0)]);
        compare(&baseline, &now).unwrap()
    }

    #[test]
    fn a_rise_of_a_fifth_fails_and_is_named() {
        let comparison = set_of(1200.0, 500.0);
        let failure = comparison.outcome().unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(failure.message.contains(": set. "), "{}", failure.message);
        let is_it = |row: &str| row.starts_with("set ") && row.contains("+20.0 %") && row.ends_with("ROSE");
        assert!(comparison.table().lines().any(is_it), "{}", comparison.table());
    }

    #[test]
    fn the_limit_is_eight_percent_upwards() {
        assert!(set_of(1079.0, 500.0).outcome().is_ok());
        assert!(set_of(1081.0, 500.0).outcome().is_err());
    }

    #[test]
    fn what_becomes_cheaper_is_told_and_does_not_fail() {
        let comparison = set_of(700.0, 500.0);
        assert!(comparison.outcome().is_ok());
        assert!(comparison.table().contains("fell"));
        assert!(!set_of(950.0, 500.0).table().contains("fell"));
    }

    #[test]
    fn a_compiler_that_makes_everything_larger_changes_nothing() {
        assert!(set_of(1300.0, 650.0).outcome().is_ok());
        assert!(set_of(1300.0, 500.0).outcome().is_err());
    }

    #[test]
    fn a_section_without_its_pair_fails() {
        let baseline = counts(&[("reference", 1.0), ("set", 2.0)]);
        for now in [&[("reference", 1.0)][..], &[("reference", 1.0), ("set", 2.0), ("new", 1.0)]] {
            let comparison = compare(&baseline, &counts(now)).unwrap();
            assert!(comparison.outcome().is_err());
            assert!(comparison.table().contains("NO PAIR"));
        }
    }

    #[test]
    fn without_a_reference_nothing_is_compared() {
        let counts = counts(&[("set", 2.0)]);
        assert!(compare(&counts, &counts).is_err());
    }
}
