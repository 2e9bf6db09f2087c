//! The file of counts: JSON with a line for each section, so that a diff shows what changed.

use std::fmt::Write;

use serde_json::Value;

use super::Count;
use crate::process::Failure;

/// The file for these counts.
pub(super) fn text(counts: &[Count]) -> String {
    let mut text = String::from(
        "{\n  \"about\": \"Instructions of one operation; cargo xtask counts compares their ratios to the first line.\",\n  \"counts\": [\n",
    );
    for (at, count) in counts.iter().enumerate() {
        let comma = if at + 1 < counts.len() { "," } else { "" };
        let name = Value::from(count.name.as_str());
        let _ =
            writeln!(text, "    {{ \"name\": {name}, \"instructions\": {:.1} }}{comma}", count.instructions);
    }
    text + "  ]\n}\n"
}

/// The counts in a file.
pub(super) fn parsed(text: &str) -> Result<Vec<Count>, Failure> {
    let file: Value = serde_json::from_str(text)
        .map_err(|error| Failure::new(format!("the baseline of counts is no JSON: {error}")))?;
    let counts = file.get("counts").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let count = |line: &Value| {
        let name = line.get("name")?.as_str()?.to_owned();
        let instructions = line.get("instructions")?.as_f64().filter(|number| *number > 0.0)?;
        Some(Count { name, instructions })
    };
    let wrong =
        |line: &Value| Failure::new(format!("the baseline of counts has a line that is none: {line}"));
    counts.iter().map(|line| count(line).ok_or_else(|| wrong(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let count = |name: &str, instructions| Count { name: name.into(), instructions };
        let counts = [count("reference", 796.4), count("get, \"miss\"", 0.1)];
        assert_eq!(parsed(&text(&counts)).unwrap(), counts);
        assert_eq!(parsed(&text(&[])).unwrap(), []);
    }

    #[test]
    fn a_line_without_a_count_is_refused() {
        assert!(parsed("{").is_err());
        assert!(parsed(r#"{"counts": [{"name": "set"}]}"#).is_err());
        assert!(parsed(r#"{"counts": [{"name": "set", "instructions": 0}]}"#).is_err());
    }
}
