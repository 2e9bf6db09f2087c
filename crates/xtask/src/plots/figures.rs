//! What `nadb-peers` has written: a figure for each engine and row.

use serde_json::Value;

use crate::process::Failure;

/// One measured line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    pub(super) engine: String,
    pub(super) row: String,
    pub(super) threads: u64,
    count: f64,
    seconds: f64,
    /// Microseconds at 50, 99 and 99.9 %, where single calls were timed.
    pub(super) latency_us: Option<[f64; 3]>,
    pub(super) remark: Option<String>,
}

impl Figure {
    pub(super) fn is_own(&self) -> bool {
        self.engine == "nadb"
    }

    /// Whether it is no store, but shows what the machine allows.
    pub(super) fn is_reference(&self) -> bool {
        ["hash_map", "raw_append"].contains(&self.engine.as_str())
    }

    /// Whether what counts is how long one operation took.
    pub(super) fn is_time(&self) -> bool {
        self.row.starts_with("10 ") || self.row.starts_with("7 ") && self.row != "7 overwrite"
    }

    /// What its bar shows: operations a second, or milliseconds. Above zero.
    pub(super) fn value(&self) -> f64 {
        let seconds = self.seconds.max(1e-9);
        if self.is_time() { seconds * 1e3 } else { (self.count / seconds).max(1e-3) }
    }

    /// The value as people read it.
    pub(super) fn shown(&self) -> String {
        let value = self.value();
        match value {
            ms if self.is_time() && ms >= 100.0 => format!("{ms:.0} ms"),
            ms if self.is_time() => format!("{ms:.2} ms"),
            rate if rate >= 1e6 => format!("{:.2} M/s", rate / 1e6),
            rate if rate >= 1e4 => format!("{:.0} k/s", rate / 1e3),
            rate if rate >= 1e3 => format!("{:.1} k/s", rate / 1e3),
            rate => format!("{rate:.0}/s"),
        }
    }
}

/// The figures in a file of results.
pub(super) fn parsed(text: &str) -> Result<Vec<Figure>, Failure> {
    let file: Value = serde_json::from_str(text)
        .map_err(|error| Failure::new(format!("the results are no JSON: {error}")))?;
    let lines = file.as_array().ok_or_else(|| Failure::new("the results are no list"))?;
    let wrong = |line: &Value| Failure::new(format!("a line that is no figure: {line}"));
    lines.iter().map(|line| figure(line).ok_or_else(|| wrong(line))).collect()
}

fn figure(line: &Value) -> Option<Figure> {
    let text = |name| line.get(name)?.as_str().map(str::to_owned);
    let number = |name| line.get(name)?.as_f64().filter(|number| number.is_finite());
    let latency = |of: &Value| {
        let at = |place: usize| of.get(place)?.as_f64();
        Some([at(0)?, at(1)?, at(2)?])
    };
    Some(Figure {
        engine: text("engine")?,
        row: text("row")?,
        threads: line.get("threads")?.as_u64()?,
        count: number("count")?,
        seconds: number("seconds")?,
        latency_us: line.get("latency_us").and_then(latency),
        remark: text("remark"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_a_rate_or_a_time() {
        let line = |row: &str| {
            format!(
                r#"[{{"engine": "nadb", "row": "{row}", "threads": 2, "count": 1000000, "seconds": 2.5,
                "latency_us": [1.5, 2, 30.0, 99.0], "remark": null}}]"#
            )
        };
        let load = &parsed(&line("1 load")).unwrap()[0];
        assert_eq!((load.shown().as_str(), load.latency_us), ("400 k/s", Some([1.5, 2.0, 30.0])));
        assert_eq!(parsed(&line("10 open")).unwrap()[0].shown(), "2500 ms");
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        assert!(parsed("{}").is_err());
        assert!(parsed("[{}]").is_err());
        assert!(parsed("no").is_err());
    }
}
