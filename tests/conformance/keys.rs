//! The keys of a JSON object, each to be taken by whoever understands it.
//!
//! What FORMAT.md does not name is refused while parsing. What it names but a driver never looks at is found
//! afterwards: every key remembers whether it was taken, so that none is silently ignored.

use std::cell::Cell;
use std::fmt;

use serde_json::Value;

/// A corpus asks for something that is not built (yet): it is listed as such and not judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotBuilt(pub String);

impl NotBuilt {
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for NotBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a corpus could not be run to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Understood, but not built.
    NotBuilt(NotBuilt),
    /// The file is not what FORMAT.md describes.
    Malformed(String),
}

impl From<NotBuilt> for Refusal {
    fn from(why: NotBuilt) -> Self {
        Self::NotBuilt(why)
    }
}

/// A number as the format writes it: a JSON integer, or a string in hexadecimal.
pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => u64::from_str_radix(s.strip_prefix("0x")?, 16).ok(),
        _ => None,
    }
}

/// One object's keys and values.
#[derive(Clone, Default, Debug)]
pub struct Keys {
    place: &'static str,
    entries: Vec<(String, Value, Cell<bool>)>,
}

impl Keys {
    /// The object `value`, found at `place`, whose keys must all be among `known`.
    pub fn new(place: &'static str, value: Value, known: &[&[&str]]) -> Result<Self, Refusal> {
        let Value::Object(map) = value else {
            return Err(Refusal::Malformed(format!("{place} is not an object")));
        };
        let mut entries = Vec::with_capacity(map.len());
        for (key, value) in map {
            if !known.iter().any(|list| list.contains(&key.as_str())) {
                return Err(NotBuilt::new(format!("key {key} ({place})")).into());
            }
            entries.push((key, value, Cell::new(false)));
        }
        Ok(Self { place, entries })
    }

    /// The raw value of `key`, which counts as taken from now on.
    pub fn value(&self, key: &str) -> Option<&Value> {
        let (_, value, taken) = self.entries.iter().find(|(name, ..)| name == key)?;
        taken.set(true);
        Some(value)
    }

    /// The number at `key`, where there is one.
    pub fn num(&self, key: &str) -> Result<Option<u64>, NotBuilt> {
        self.typed(key, number)
    }

    /// The number at `key`, which must be there.
    pub fn need(&self, key: &str) -> Result<u64, NotBuilt> {
        self.num(key)?.ok_or_else(|| NotBuilt::new(format!("{} without {key}", self.place)))
    }

    /// The flag at `key`, where there is one.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, NotBuilt> {
        self.typed(key, Value::as_bool)
    }

    /// The text at `key`, where there is one.
    pub fn text(&self, key: &str) -> Result<Option<&str>, NotBuilt> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, value))
    }

    fn typed<T>(&self, key: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, NotBuilt> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(key, value))
    }

    fn wrong(&self, key: &str, value: &Value) -> NotBuilt {
        NotBuilt::new(format!("{}'s {key} = {value}", self.place))
    }

    /// Errs with the first key that nobody has taken.
    pub fn all_taken(&self) -> Result<(), NotBuilt> {
        match self.entries.iter().find(|(.., taken)| !taken.get()) {
            Some((key, ..)) => Err(NotBuilt::new(format!("key {key} ({})", self.place))),
            None => Ok(()),
        }
    }
}
