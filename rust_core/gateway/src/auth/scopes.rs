//! The scopes held in memory, by name.
//!
//! Apart from the key table because scopes are few, shared and long-lived: keys hold theirs and need no look-up. Only
//! customers and tags that a request names are looked up here. A name that a key mentions before its record arrived has
//! its place already, so that nothing has to be resolved again when it does.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::ring::Ring;
use super::scope::{Scope, ScopeRecord};

/// Unknown names remembered.
const NEGATIVES: usize = 16_384;
/// What was used within this time is not evicted: its counters are worth something.
const IDLE: Duration = Duration::from_secs(60);

/// What the table knows of a name.
#[derive(Debug)]
pub enum Named {
    /// A scope.
    Known(Arc<Scope>),
    /// None: the control plane said so lately.
    Unknown,
    /// The control plane must be asked.
    Miss,
}

/// All scopes in memory.
pub struct ScopeTable {
    inner: RwLock<Inner>,
    negative_ttl_ns: u64,
}

struct Inner {
    scopes: HashMap<Arc<str>, Arc<Scope>>,
    unknown: Ring<Arc<str>, u64, RandomState>,
    /// So many may be there before idle ones are looked for.
    room: usize,
    capacity: usize,
    swept: Instant,
}

impl ScopeTable {
    /// An empty table that looks for idle scopes from `capacity` on, and remembers an unknown name for `negative_ttl_ns`.
    #[must_use]
    pub fn new(capacity: usize, negative_ttl_ns: u64) -> Self {
        let capacity = capacity.max(1);
        let unknown = Ring::new(NEGATIVES);
        let inner = Inner { scopes: HashMap::new(), unknown, room: capacity, capacity, swept: Instant::now() };
        Self { inner: RwLock::new(inner), negative_ttl_ns }
    }

    /// What is known of a name.
    #[must_use]
    pub fn lookup(&self, name: &str, now_ns: u64) -> Named {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(scope) = inner.scopes.get(name).filter(|scope| scope.is_known()) {
            return Named::Known(scope.clone());
        }
        match inner.unknown.get(name) {
            Some(until) if *until > now_ns => Named::Unknown,
            _ => Named::Miss,
        }
    }

    /// The place of a name, for a key that stands under it, whether its record has arrived or not.
    #[must_use]
    pub fn place(&self, name: &str) -> Arc<Scope> {
        if let Some(scope) = self.inner.read().unwrap_or_else(PoisonError::into_inner).scopes.get(name) {
            return scope.clone();
        }
        self.write().place(name)
    }

    /// Put a record in force, for all who hold the scope already and all to come.
    pub fn put(&self, record: ScopeRecord) -> Arc<Scope> {
        let mut inner = self.write();
        inner.unknown.remove(record.name.as_str());
        let scope = inner.place(&record.name);
        let below = record.below.iter().map(|name| inner.place(name)).collect();
        // Under the lock: of two records that arrive at once, the later revision stands.
        scope.update(record, below);
        scope
    }

    /// Remember that there is no such scope. Who holds it as one of a key's goes on by its old rules.
    pub fn put_unknown(&self, name: Arc<str>, now_ns: u64) {
        let until = now_ns.saturating_add(self.negative_ttl_ns);
        self.write().unknown.insert(name, until);
    }

    /// Forget what is known of a name: the next look-up is a miss. Its counters stay, and so do its rules where keys hold it.
    pub fn forget(&self, name: &str) {
        let mut inner = self.write();
        inner.unknown.remove(name);
        if let Some(scope) = inner.scopes.get(name) {
            scope.forget();
        }
    }

    /// `(spent, reserved, in_flight)`: nano-dollars, nano-dollars, calls.
    #[must_use]
    pub fn usage(&self, name: &str) -> Option<(u64, u64, u64)> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.scopes.get(name).map(|scope| scope.counters.usage())
    }

    /// Gives back the memory of rates that nobody has used for a minute.
    pub fn rest(&self, now_ns: u64) {
        // Not under the lock: whoever puts a scope in must not wait for all the others.
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let counters: Vec<_> = inner.scopes.values().map(|scope| Arc::clone(&scope.counters)).collect();
        drop(inner);
        counters.iter().for_each(|counters| counters.rest(now_ns));
    }

    /// Scopes in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).scopes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn place(&mut self, name: &str) -> Arc<Scope> {
        if let Some(scope) = self.scopes.get(name) {
            return scope.clone();
        }
        if self.scopes.len() >= self.room && self.swept.elapsed() >= IDLE {
            self.sweep();
        }
        let name: Arc<str> = name.into();
        let scope = Arc::new(Scope::new(name.clone()));
        self.scopes.insert(name, scope.clone());
        scope
    }

    /// Drops what nobody holds and nobody used since the last sweep. Seldom: the room grows with what stays.
    fn sweep(&mut self) {
        self.scopes.retain(|_, scope| !scope.is_idle());
        self.room = self.capacity.max(self.scopes.len().saturating_add(self.scopes.len() / 4));
        self.swept = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, rpm: u64) -> ScopeRecord {
        ScopeRecord { name: name.to_owned(), rpm: Some(rpm), ..ScopeRecord::default() }
    }

    #[test]
    fn a_name_is_missed_then_known_or_unknown_for_a_while() {
        let table = ScopeTable::new(10, 1_000);
        assert!(matches!(table.lookup("customer:a", 0), Named::Miss));
        table.put_unknown("customer:a".into(), 0);
        assert!(matches!(table.lookup("customer:a", 999), Named::Unknown));
        assert!(matches!(table.lookup("customer:a", 1_000), Named::Miss));
        table.put_unknown("customer:a".into(), 1_000);
        table.put(record("customer:a", 1));
        assert!(matches!(table.lookup("customer:a", 1_000), Named::Known(_)));
        table.forget("customer:a");
        assert!(matches!(table.lookup("customer:a", 1_000), Named::Miss));
    }

    #[test]
    fn a_place_is_the_same_before_and_after_its_record() {
        let table = ScopeTable::new(10, 1_000);
        let early = table.place("team:t");
        assert!(matches!(table.lookup("team:t", 0), Named::Miss));
        assert_eq!(early.rules().limits.requests, None);
        let put = table.put(record("team:t", 9));
        assert!(Arc::ptr_eq(&early, &put) && Arc::ptr_eq(&put, &table.place("team:t")));
        assert_eq!(early.rules().record.rpm, Some(9));
        assert_eq!(table.usage("team:t"), Some((0, 0, 0)));
        assert_eq!(table.usage("team:u"), None);
    }

    #[test]
    fn idle_scopes_make_room_and_held_ones_stay() {
        let table = ScopeTable::new(10, 1_000);
        let held = table.place("team:held");
        for number in 0..50 {
            table.put(record(&format!("customer:{number}"), 1));
        }
        assert_eq!(table.len(), 51, "all were used a moment ago");
        table.write().sweep();
        assert_eq!(table.len(), 51, "a second chance");
        let _ = table.lookup("customer:7", 0);
        table.write().sweep();
        assert_eq!(table.len(), 2);
        assert!(Arc::ptr_eq(&held, &table.place("team:held")));
        assert!(matches!(table.lookup("customer:7", 0), Named::Known(_)));
    }
}
