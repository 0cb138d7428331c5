//! `Auth`: what a key is told of itself. Its secret is not known here, and so not even its last letters are shown.

use bytes::{Bytes, BytesMut};

use super::put;
use crate::auth::record::{Key, ModelRule};

/// What stands for a key's secret.
const REDACTED: &str = "sk-...";

/// `ApiKey`; `None` is the master key.
pub(super) fn key_info(key: Option<&Key>) -> Bytes {
    let mut out = BytesMut::new();
    put::text(&mut out, 1, REDACTED);
    let Some(key) = key else {
        put::text(&mut out, 4, "master key");
        acls(&mut out, "model", ["*"]);
        acls(&mut out, "endpoint", ["*"]);
        return out.freeze();
    };
    let record = &key.record;
    put::text(&mut out, 3, record.user_id.as_deref().unwrap_or_default());
    put::text(&mut out, 4, record.alias.as_deref().unwrap_or_default());
    put::text(&mut out, 6, record.team_id.as_deref().unwrap_or_default());
    match &key.models {
        ModelRule::All => acls(&mut out, "model", ["*"]),
        ModelRule::Listed { names, patterns } => acls(&mut out, "model", names.iter().chain(patterns)),
    }
    match record.allowed_routes.as_slice() {
        [] => acls(&mut out, "endpoint", ["*"]),
        routes => acls(&mut out, "endpoint", routes),
    }
    put::text(&mut out, 8, &key.digest.to_string());
    put::number(&mut out, 10, u64::from(record.blocked));
    out.freeze()
}

fn acls(out: &mut BytesMut, of: &str, what: impl IntoIterator<Item = impl AsRef<str>>) {
    what.into_iter().for_each(|what| put::text(out, 7, &format!("api-key:{of}:{}", what.as_ref())));
}
