//! The load generator's own processor time, so that a report shows what part of it is the tool's.

use std::time::Duration;

/// Time this thread has run, from the scheduler's accounts; `None` where the kernel does not keep them.
pub(crate) fn thread_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}
