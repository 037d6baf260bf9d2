//! `deploy.yaml` as a tree of values with their places.
//!
//! Deserialising into structs would stop at the first mistake; a tree can be read to the end, so that all mistakes are reported at
//! once.

use std::fmt;

use miette::SourceSpan;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub span: SourceSpan,
}

/// The values of YAML that `deploy.yaml` needs.
#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    /// A whole number that fits; the text itself is at the span.
    Integer(i64),
    Float,
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: String,
    pub span: SourceSpan,
}

impl Value {
    /// The name of the type, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Integer(_) | Value::Float => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Parses a file.
pub fn parse(text: &str) -> Result<Node, (String, SourceSpan)> {
    if text.trim().is_empty() {
        return Ok(Node { value: Value::Null, span: (0, 0).into() });
    }
    serde_yaml::from_str::<Spanned<Value>>(text).map(node).map_err(|error| {
        let span = error.location().map_or((0, 0).into(), |location| spot(text, location));
        (headline(&error), span)
    })
}

/// The library's message without its own rendering of the place, which miette does.
fn headline(error: &serde_yaml::Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let line = line.rfind(" at line ").map_or(line, |end| line[..end].trim_end_matches(','));
    // A hint for programmers.
    let line = line.find(", set DuplicateKeyPolicy").map_or(line, |end| &line[..end]);
    line.to_owned()
}

/// Some of the library's errors have only a line and a column.
fn spot(text: &str, location: Location) -> SourceSpan {
    if location.span().byte_offset().is_some() {
        return place(location);
    }
    let line = usize::try_from(location.line()).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(location.column()).unwrap_or(1).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    ((start + column).min(text.len()), 0).into()
}

fn node(spanned: Spanned<Value>) -> Node {
    Node { span: place(spanned.referenced), value: spanned.value }
}

fn place(location: Location) -> SourceSpan {
    let span = location.span();
    let offset = span.byte_offset().unwrap_or(0);
    let length = span.byte_len().unwrap_or(0);
    (usize::try_from(offset).unwrap_or(0), usize::try_from(length).unwrap_or(0)).into()
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float, Value::Integer))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Float)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(value) = list.next_element::<Spanned<Value>>()? {
            nodes.push(node(value));
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Spanned<Value>>()?;
            entries.push((Key { span: place(key.referenced), name: key.value }, node(value)));
        }
        Ok(Value::Map(entries))
    }
}
