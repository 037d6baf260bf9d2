//! The types of keys in `deploy.yaml`. The reader and the JSON Schema use the same definitions, so that a bound or a default is in
//! one place ([`super::table`]).

use serde_json::{Value, json};

/// A key of `deploy.yaml`.
pub trait Key: Sync {
    /// Its name in the file.
    fn name(&self) -> &'static str;
    /// What it is for, as a phrase.
    fn about(&self) -> &'static str;
    /// Its default, if that is one value.
    fn default(&self) -> Option<Value>;
    /// Its valid values, as JSON Schema.
    fn value(&self) -> Value;
    /// The keys below it.
    #[cfg(test)]
    fn keys(&self) -> &'static [&'static dyn Key] {
        &[]
    }

    /// The key as JSON Schema.
    fn schema(&self) -> Value {
        let mut schema = self.value();
        schema["description"] = self.about().into();
        if let Some(default) = self.default() {
            schema["default"] = default;
        }
        schema
    }
}

macro_rules! named {
    () => {
        fn name(&self) -> &'static str {
            self.name
        }
        fn about(&self) -> &'static str {
            self.about
        }
    };
}

/// Text with a pattern.
pub struct Text {
    pub name: &'static str,
    pub about: &'static str,
    pub default: Option<&'static str>,
    /// A regular expression that matches every value that the reader accepts. It may match more, but an editor must not reject
    /// a valid value.
    pub pattern: &'static str,
}

impl Key for Text {
    named!();
    fn default(&self) -> Option<Value> {
        self.default.map(Value::from)
    }
    fn value(&self) -> Value {
        json!({"type": "string", "pattern": self.pattern})
    }
}

/// An earlier name of a text.
pub struct Alias {
    pub name: &'static str,
    pub about: &'static str,
    pub of: &'static Text,
}

impl Key for Alias {
    named!();
    fn default(&self) -> Option<Value> {
        None
    }
    fn value(&self) -> Value {
        let mut value = self.of.value();
        value["deprecated"] = true.into();
        value
    }
}

/// One of several words.
pub struct Word {
    pub name: &'static str,
    pub about: &'static str,
    pub default: Option<&'static str>,
    pub words: &'static [&'static str],
    /// Whether one of them is `off`, which YAML may parse as false.
    pub switch: bool,
}

impl Key for Word {
    named!();
    fn default(&self) -> Option<Value> {
        self.default.map(Value::from)
    }
    fn value(&self) -> Value {
        let mut words: Vec<Value> = self.words.iter().copied().map(Value::from).collect();
        if self.switch {
            words.extend([true.into(), false.into()]);
        }
        json!({"enum": words})
    }
}

/// A whole number within inclusive bounds.
pub struct Number {
    pub name: &'static str,
    pub about: &'static str,
    pub least: u32,
    pub most: u32,
    pub default: u32,
}

impl Key for Number {
    named!();
    fn default(&self) -> Option<Value> {
        Some(self.default.into())
    }
    fn value(&self) -> Value {
        json!({"type": "integer", "minimum": self.least, "maximum": self.most})
    }
}

/// A whole number within inclusive bounds, whose default depends on other keys.
pub struct Count {
    pub name: &'static str,
    pub about: &'static str,
    pub least: u32,
    pub most: u32,
}

impl Key for Count {
    named!();
    fn default(&self) -> Option<Value> {
        None
    }
    fn value(&self) -> Value {
        json!({"type": "integer", "minimum": self.least, "maximum": self.most})
    }
}

/// `true` or `false`
pub struct Flag {
    pub name: &'static str,
    pub about: &'static str,
    pub default: bool,
}

impl Key for Flag {
    named!();
    fn default(&self) -> Option<Value> {
        Some(self.default.into())
    }
    fn value(&self) -> Value {
        json!({"type": "boolean"})
    }
}

/// A list of texts with a pattern.
pub struct List {
    pub name: &'static str,
    pub about: &'static str,
    pub default: &'static [&'static str],
    pub pattern: &'static str,
}

impl Key for List {
    named!();
    fn default(&self) -> Option<Value> {
        Some(self.default.into())
    }
    fn value(&self) -> Value {
        json!({"type": ["array", "null"], "items": {"type": "string", "pattern": self.pattern}})
    }
}

/// One of several versions. YAML reads one without quotes as a number.
pub struct Version {
    pub name: &'static str,
    pub about: &'static str,
    pub versions: &'static [&'static str],
}

impl Key for Version {
    named!();
    fn default(&self) -> Option<Value> {
        None
    }
    fn value(&self) -> Value {
        let numbers = self.versions.iter().filter_map(|version| serde_json::from_str(version).ok());
        json!({"enum": self.versions.iter().copied().map(Value::from).chain(numbers).collect::<Vec<_>>()})
    }
}

/// One text or a list of them.
pub struct Texts {
    pub name: &'static str,
    pub about: &'static str,
    pub pattern: &'static str,
}

impl Key for Texts {
    named!();
    fn default(&self) -> Option<Value> {
        None
    }
    fn value(&self) -> Value {
        let text = json!({"type": "string", "pattern": self.pattern});
        json!({"anyOf": [text, {"type": "array", "items": text}, {"type": "null"}]})
    }
}

/// A list of names, each alone, with a word or with a reference: `NAME`, `{NAME: word}`, `{NAME: reference}`.
pub struct Names {
    pub name: &'static str,
    pub about: &'static str,
    /// The pattern of a name.
    pub pattern: &'static str,
    /// The only word.
    pub word: &'static str,
    /// The pattern of a reference.
    pub reference: &'static str,
}

impl Key for Names {
    named!();
    fn default(&self) -> Option<Value> {
        Some(Value::Array(Vec::new()))
    }
    fn value(&self) -> Value {
        let alone = json!({"type": "string", "pattern": self.pattern});
        let word = json!({
            "type": "object",
            "propertyNames": {"pattern": self.pattern},
            "additionalProperties": {"anyOf": [{"const": self.word}, {"type": "string", "pattern": self.reference}]},
            "minProperties": 1,
            "maxProperties": 1,
        });
        json!({"type": ["array", "null"], "items": {"anyOf": [alone, word]}})
    }
}

/// A map whose keys the user chooses.
pub struct Map {
    pub name: &'static str,
    /// Its full path.
    pub path: &'static str,
    pub about: &'static str,
    /// The pattern of the keys.
    pub names: &'static str,
    /// The types of the values.
    pub types: &'static [&'static str],
    /// The maximum length of a text.
    pub longest: Option<u32>,
    /// The maximum number of keys, and the reason.
    pub most: Option<(usize, &'static str)>,
}

impl Key for Map {
    named!();
    fn default(&self) -> Option<Value> {
        None
    }
    fn value(&self) -> Value {
        let mut values = json!({"type": self.types});
        if let Some(longest) = self.longest {
            values["maxLength"] = longest.into();
        }
        let keys = json!({"pattern": self.names});
        let mut value = json!({"type": ["object", "null"], "propertyNames": keys, "additionalProperties": values});
        if let Some((most, _)) = self.most {
            value["maxProperties"] = most.into();
        }
        value
    }
}

/// A map whose keys the user chooses, and whose values are maps with the same known keys.
pub struct Sections {
    pub name: &'static str,
    pub about: &'static str,
    /// The pattern of the keys.
    pub names: &'static str,
    /// The value of each.
    pub each: &'static [&'static dyn Key],
    /// The key that a text alone stands for, if it may.
    pub text: Option<&'static Text>,
    /// The maximum number of keys, and the reason.
    pub most: (usize, &'static str),
}

impl Key for Sections {
    named!();
    fn default(&self) -> Option<Value> {
        None
    }
    #[cfg(test)]
    fn keys(&self) -> &'static [&'static dyn Key] {
        self.each
    }
    fn value(&self) -> Value {
        let section = self.each.iter().map(|section| section.schema()).next();
        let each = match self.text {
            Some(text) => json!({"anyOf": [text.value(), section]}),
            None => json!(section),
        };
        let keys = json!({"pattern": self.names});
        json!({"type": ["object", "null"], "propertyNames": keys, "additionalProperties": each, "maxProperties": self.most.0})
    }
}

/// A map with known keys.
pub struct Section {
    pub name: &'static str,
    /// Its full path.
    pub path: &'static str,
    pub about: &'static str,
    pub keys: &'static [&'static dyn Key],
    /// The required keys.
    pub needs: &'static [&'static str],
}

impl Key for Section {
    named!();
    fn default(&self) -> Option<Value> {
        None
    }
    #[cfg(test)]
    fn keys(&self) -> &'static [&'static dyn Key] {
        self.keys
    }
    fn value(&self) -> Value {
        let properties: serde_json::Map<_, _> =
            self.keys.iter().map(|key| (key.name().to_owned(), key.schema())).collect();
        let mut value = json!({"type": ["object", "null"], "properties": properties, "additionalProperties": false});
        if !self.needs.is_empty() {
            value["required"] = self.needs.into();
        }
        value
    }
}
