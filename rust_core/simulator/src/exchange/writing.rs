//! The socket side of an answer: flushing, counting what was taken, waiting for a deadline or a disconnect.

use std::future::{Future, poll_fn};
use std::io;
use std::task::Poll;

use penstock_http1::Conn;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Exchange;

/// Pipelined bytes read while an answer is under way; beyond them a disconnect shows on writing only.
const READ_AHEAD: usize = 64 * 1024;

impl Exchange<'_> {
    /// Writes the head, slowly when asked to.
    pub(super) async fn flush_head(&mut self) -> io::Result<()> {
        let Some(pause) = self.control.slow_headers else { return self.flush().await };
        let head = self.scratch.out.split();
        for byte in head.iter() {
            self.conn.stream.write_all(&[*byte]).await?;
            self.first_byte.get_or_insert_with(|| self.started.elapsed());
            self.wait(Instant::now() + pause).await?;
        }
        Ok(())
    }

    /// Writes what is in the buffer and counts the events the socket took, whole ones only.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.scratch.out);
        let mut at = 0;
        let mut result = Ok(());
        while at < out.len() {
            match self.write_some(out.get(at..).unwrap_or_default()).await {
                Ok(n) => at += n,
                Err(e) => {
                    result = Err(e);
                    break;
                }
            }
        }
        if at > 0 && self.first_byte.is_none() {
            self.first_byte = Some(self.started.elapsed());
        }
        for (_, events, tokens) in self.scratch.marks.drain(..).take_while(|(end, _, _)| *end <= at) {
            self.events_sent += events;
            self.tokens_sent += tokens;
        }
        self.scratch.out = out;
        self.scratch.out.clear();
        result
    }

    pub(super) async fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = match self.control.faults.drip {
            Some(pause) => {
                self.wait(Instant::now() + pause).await?;
                bytes.get(..1).unwrap_or_default()
            }
            None => bytes,
        };
        match self.conn.stream.write(bytes).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            n => Ok(n),
        }
    }

    /// Sleeps, unless the client goes away first.
    pub(super) async fn wait(&mut self, until: Instant) -> io::Result<()> {
        if until <= self.started || until <= Instant::now() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => Ok(()),
            () = gone(self.conn) => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// Whether the client closed or reset, without waiting; a stream that is not paced never waits.
pub(super) async fn has_left(conn: &mut Conn<TcpStream>) -> bool {
    if conn.buf.len() >= READ_AHEAD {
        return false;
    }
    let mut fill = std::pin::pin!(conn.fill());
    poll_fn(|cx| Poll::Ready(matches!(fill.as_mut().poll(cx), Poll::Ready(Ok(0) | Err(_))))).await
}

/// Ends when the client closed or reset; what it pipelines meanwhile is kept.
pub(super) async fn gone(conn: &mut Conn<TcpStream>) {
    while conn.buf.len() < READ_AHEAD {
        match conn.fill().await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    std::future::pending().await
}
