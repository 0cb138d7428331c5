//! Unparsed JSON and the `wire!` structs that carry it.
//!
//! serde's `flatten` goes through a buffer that loses raw values and key order, so structs with a `rest` read their
//! maps themselves.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

/// A JSON value exactly as it was written.
pub type Raw = Box<RawValue>;

/// A value as raw JSON. The types written here have string keys and cannot fail; `null` stands in if one ever did.
pub fn to_raw<T: Serialize + ?Sized>(value: &T) -> Raw {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A value as JSON bytes; see [`to_raw`].
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec())
}

/// Read a typed value out of raw JSON; `None` when it is something else.
pub fn parse<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// What is wrong with a document, without the text that was found in it: that may be a prompt, and errors are logged.
pub fn explain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let (Some(from), Some(to)) = (message.find("string \""), message.rfind("\", expected")) else { return message };
    match (message.get(..from + "string".len()), message.get(to + 1..)) {
        (Some(before), Some(after)) if from < to => format!("{before}{after}"),
        _ => message,
    }
}

/// Whether the raw value is JSON `null`.
pub fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// A JSON object whose members keep their order and their text.
#[derive(Clone, Debug, Default)]
pub struct Object(Vec<(String, Raw)>);

impl Object {
    /// An object without members.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The member of that name; the last one where a name is repeated.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// The member of that name, when it is a string.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(parse)
    }

    /// Take out the member of that name.
    pub fn take(&mut self, name: &str) -> Option<Raw> {
        let position = self.0.iter().rposition(|(key, _)| key == name)?;
        Some(self.0.remove(position).1)
    }

    /// Append a member.
    pub fn push<T: Serialize + ?Sized>(&mut self, name: impl Into<String>, value: &T) {
        self.0.push((name.into(), to_raw(value)));
    }

    /// Replace the member of that name where it stands, or append it.
    pub fn set<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        match self.0.iter_mut().rev().find(|(key, _)| key == name) {
            Some((_, slot)) => *slot = to_raw(value),
            None => self.push(name, value),
        }
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), &**value))
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Object {
    type Item = (String, Raw);
    type IntoIter = std::vec::IntoIter<(String, Raw)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    members.push(entry);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A field that is written as `null` rather than left out: clients rely on `content`, `refusal` and `finish_reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nullable<T>(pub Option<T>);

impl<T> Default for Nullable<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Serialize> Serialize for Nullable<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Nullable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self)
    }
}

/// A string, or the structured form that the API accepts in its place.
#[derive(Clone, Debug)]
pub enum Either<T> {
    /// The plain form.
    Text(String),
    /// The structured one.
    Other(T),
}

impl<T: Serialize> Serialize for Either<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Other(other) => other.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Either<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Forms<T> {
            type Value = Either<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or its structured form")
            }

            fn visit_str<E>(self, text: &str) -> Result<Either<T>, E> {
                Ok(Either::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Either<T>, A::Error> {
                T::deserialize(SeqAccessDeserializer::new(items)).map(Either::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Either<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Either::Other)
            }
        }
        deserializer.deserialize_any(Forms(PhantomData))
    }
}

/// A field of a `wire!` struct: knows when it is left out.
pub trait Slot {
    /// Whether the field is not written.
    fn absent(&self) -> bool {
        false
    }
}

impl<T> Slot for Option<T> {
    fn absent(&self) -> bool {
        self.is_none()
    }
}

impl<T> Slot for Vec<T> {}
impl<T> Slot for Nullable<T> {}
impl Slot for String {}
impl Slot for u64 {}

/// Declares a struct that reads and writes its named fields and keeps all others in `rest`.
///
/// `field as "key": Type` names the JSON key where it is not the field's own name.
macro_rules! wire {
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident $(as $key:literal)? : $ty:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default)]
        $vis struct $name {
            $($(#[$field_meta])* pub $field: $ty,)*
            /// What this struct does not know, unparsed and in order.
            pub rest: $crate::canonical::raw::Object,
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $(if !$crate::canonical::raw::Slot::absent(&self.$field) {
                    map.serialize_entry($crate::canonical::raw::wire!(@key $field $($key)?), &self.$field)?;
                })*
                for (key, value) in self.rest.iter() {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;
                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        formatter.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        use serde::de::Error;
                        let mut value = $name::default();
                        while let Some(key) = map.next_key::<String>()? {
                            $(if key == $crate::canonical::raw::wire!(@key $field $($key)?) {
                                value.$field =
                                    map.next_value().map_err(|error| A::Error::custom(format_args!("{key}: {error}")))?;
                                continue;
                            })*
                            let unknown: $crate::canonical::raw::Raw = map.next_value()?;
                            value.rest.push(key, &unknown);
                        }
                        Ok(value)
                    }
                }
                deserializer.deserialize_map(Fields)
            }
        }
    };
}

pub(crate) use wire;
