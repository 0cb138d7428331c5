//! What each side tells the other about itself (RFC 9113, section 6.5).

use std::time::Duration;

use bytes::BufMut;

use crate::error::{Fault, Reason, Taken};
use crate::frame::{self, MAX_PAYLOAD, MOST, kind};

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// The window that everybody begins with.
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;

/// What a server allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Streams at the same time.
    pub max_streams: u32,
    /// Bytes of a request's fields, each with 32 more (RFC 9113, section 6.5.2).
    pub max_header_list: u32,
    /// Bytes of a stream's body that nobody has read.
    pub stream_window: u32,
    /// Those of all bodies of a connection.
    pub connection_window: u32,
    /// Bytes of a connection's answers that the client has not taken.
    pub send_buffer: usize,
    /// From the first frame of a header block to the last.
    pub header_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_streams: 256,
            max_header_list: 64 * 1024,
            stream_window: 1 << 20,
            connection_window: 4 << 20,
            send_buffer: 256 * 1024,
            header_timeout: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Writes what a connection begins with.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let settings = [
            (MAX_CONCURRENT_STREAMS, self.max_streams),
            (INITIAL_WINDOW_SIZE, self.stream_window.min(MOST)),
            (MAX_HEADER_LIST_SIZE, self.max_header_list),
        ];
        frame::put_head(out, settings.len() * 6, kind::SETTINGS, 0, 0);
        for (id, value) in settings {
            out.put_u16(id);
            out.put_u32(value);
        }
        if let Some(more) = self.connection_window.min(MOST).checked_sub(DEFAULT_WINDOW).filter(|more| *more > 0) {
            frame::put_number(out, kind::WINDOW_UPDATE, 0, more);
        }
    }
}

/// What of a client's settings matters here.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The least and the last size of the table: what does not fit the least is gone, whatever follows.
    pub(crate) table: Option<(u32, u32)>,
    pub(crate) window: Option<u32>,
}

/// Reads settings, of which the last of each kind holds.
pub(crate) fn read(payload: &[u8]) -> Taken<Wanted> {
    let (settings, rest) = payload.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(Fault::SIZE);
    }
    let mut wanted = Wanted::default();
    for [i, j, a, b, c, d] in settings {
        let value = u32::from_be_bytes([*a, *b, *c, *d]);
        match u16::from_be_bytes([*i, *j]) {
            HEADER_TABLE_SIZE => {
                let least = wanted.table.map_or(value, |(least, _)| least.min(value));
                wanted.table = Some((least, value));
            }
            ENABLE_PUSH if value > 1 => return Err(Fault::PROTOCOL),
            INITIAL_WINDOW_SIZE if value > MOST => return Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR)),
            INITIAL_WINDOW_SIZE => wanted.window = Some(value),
            MAX_FRAME_SIZE if !(MAX_PAYLOAD..1 << 24).contains(&(value as usize)) => return Err(Fault::PROTOCOL),
            _ => {}
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(u16, u32)]) -> Taken<Wanted> {
        let bytes = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
        read(&bytes.collect::<Vec<_>>())
    }

    #[test]
    fn values_have_bounds() {
        assert_eq!(of(&[]), Ok(Wanted::default()));
        let wanted = Wanted { table: Some((0, 9)), window: Some(7) };
        assert_eq!(of(&[(1, 5), (1, 0), (1, 9), (4, MOST), (4, 7), (2, 0), (99, 5)]), Ok(wanted));
        assert_eq!(of(&[(2, 2)]), Err(Fault::PROTOCOL));
        assert_eq!(of(&[(4, MOST + 1)]), Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR)));
        assert_eq!(of(&[(5, 16_383)]), Err(Fault::PROTOCOL));
        assert_eq!(of(&[(5, 1 << 24)]), Err(Fault::PROTOCOL));
        assert!(of(&[(5, 16_384), (5, (1 << 24) - 1)]).is_ok());
        assert_eq!(read(b"\0\x04\0\0\0"), Err(Fault::SIZE));
    }
}
