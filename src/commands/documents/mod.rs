//! The output of `--json`: a document of version 1 for each verb. Fields may be added within a version, but none is removed or
//! changes its meaning.
//!
//! `docs/json.schema.json` is generated from these types, and `docs/JSON.md` shows one of each.

#[cfg(test)]
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of all documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version;

const VERSION: u8 = 1;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(VERSION)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            VERSION => Ok(Self),
            other => Err(D::Error::custom(format!("unknown version {other}"))),
        }
    }
}

#[cfg(test)]
impl JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"const": VERSION, "description": "The version of the document."})
    }
}

/// Declares documents: structs that can be serialized, deserialized and described.
macro_rules! documents {
    ($($(#[$about:meta])* $name:ident { $($(#[$words:meta])* $field:ident: $kind:ty,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[cfg_attr(test, derive(JsonSchema))]
        pub struct $name { $($(#[$words])* pub $field: $kind,)* }
    )*};
}

mod deployment;
mod error;
mod init;
mod observation;
mod sandbox;

#[cfg(test)]
mod tests;

pub use deployment::*;
pub use error::*;
pub use init::*;
pub use observation::*;
pub use sandbox::*;
