//! The words after the command's name: two kinds of options (`--name N` and `--name`), the rest are names.

use crate::process::{Failure, Outcome};

/// The words that no one has asked for yet.
pub(crate) struct Args(Vec<String>);

impl Args {
    pub(crate) fn new(words: Vec<String>) -> Self {
        Args(words)
    }

    /// The number after `option`, taken out, or `default` where the option is not there.
    pub(crate) fn number(&mut self, option: &str, default: u64) -> Result<u64, Failure> {
        let Some(at) = self.0.iter().position(|word| word == option) else {
            return Ok(default);
        };
        let number = self.0.get(at + 1).and_then(|word| word.parse().ok());
        let number = number.ok_or_else(|| Failure::usage(format!("{option} needs a whole number")))?;
        self.0.drain(at..=at + 1);
        Ok(number)
    }

    /// Whether `option` is there; it is taken out.
    pub(crate) fn flag(&mut self, option: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| word != option);
        self.0.len() < before
    }

    /// What is left, all of it names.
    pub(crate) fn rest(self) -> Result<Vec<String>, Failure> {
        match self.0.iter().find(|word| word.starts_with('-')) {
            Some(word) => Err(Failure::usage(format!("there is no option {word} here"))),
            None => Ok(self.0),
        }
    }

    /// Says that nothing may be left.
    pub(crate) fn finish(self) -> Outcome {
        match self.0.first() {
            Some(word) => Err(Failure::usage(format!("{word} is one word too many"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &str) -> Args {
        Args::new(words.split_whitespace().map(String::from).collect())
    }

    #[test]
    fn numbers_are_taken_out_and_names_remain() {
        let mut given = args("one --seconds 7 two");
        assert_eq!(given.number("--seconds", 60).unwrap(), 7);
        assert_eq!(given.number("--seconds", 60).unwrap(), 60);
        assert_eq!(given.rest().unwrap(), ["one", "two"]);
    }

    #[test]
    fn a_flag_is_taken_out() {
        let mut given = args("--bless");
        assert!(given.flag("--bless") && !given.flag("--bless"));
        assert!(given.finish().is_ok());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(args("--rounds").number("--rounds", 1).is_err());
        assert!(args("--rounds many").number("--rounds", 1).is_err());
        assert!(args("--slow").rest().is_err());
        assert!(args("left").finish().is_err());
        assert!(args("").finish().is_ok());
    }
}
