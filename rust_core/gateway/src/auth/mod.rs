//! Who is calling: virtual keys, their digests, and the table that answers for them in memory.
//!
//! Apart from limits, which say how much a caller may use, and from the phases, which read the key off the wire and
//! turn a refusal into a status. Nothing here does I/O.

pub mod cidr;
pub mod digest;
pub mod key;
mod pattern;
pub mod record;
mod ring;
pub mod routes;
pub mod scope;
pub mod scopes;
pub mod seal;
pub mod table;

pub use self::cidr::{Cidr, CidrSet};
pub use self::digest::{Digest, Pepper};
pub use self::record::{Key, KeyDenied, KeyRecord, RecordError};
pub use self::routes::RouteKind;
pub use self::scope::{Scope, ScopeRecord};
pub use self::scopes::ScopeTable;
pub use self::table::{KeyTable, Lookup};
