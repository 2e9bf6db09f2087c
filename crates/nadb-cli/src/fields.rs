//! Named values in a fixed order: one JSON object, or one aligned table of two columns.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::table;

/// Names and values, in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// Adds one.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Fields {
        self.0.push((name, value.into()));
        self
    }

    /// Adds bytes: as `name` where they are UTF-8, as `name_base64` otherwise.
    pub(crate) fn with_bytes(self, name: &'static str, name_base64: &'static str, bytes: &[u8]) -> Fields {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.with(name, text),
            Err(_) => {
                self.with(name_base64, base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes))
            }
        }
    }

    /// A line for each, names left, values behind them; underscores in names become spaces.
    pub(crate) fn to_table(&self) -> String {
        let rows = self.0.iter().map(|(name, value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Null => "-".to_owned(),
                other => other.to_string(),
            };
            vec![name.replace('_', " "), value]
        });
        table::render(&rows.collect::<Vec<_>>(), &[])
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
