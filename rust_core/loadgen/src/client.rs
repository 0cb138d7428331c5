//! One connection and the requests on it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use penstock_http1::{BodyDecoder, Conn, FramingError, Limits};
use tokio::net::TcpStream;

use crate::options::Plan;
use crate::report::Recorder;
use crate::sse::{Flaw, Watch};

/// Why a request does not count as answered.
#[derive(Debug)]
pub(crate) enum Failure {
    Connect,
    Timeout,
    /// The peer closed the connection before or inside the answer.
    Closed,
    Io,
    Framing,
    Status(u16),
    Stream(Flaw),
}

impl Failure {
    /// The kind under which the report counts it.
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Connect => "connect".to_owned(),
            Self::Timeout => "timeout".to_owned(),
            Self::Closed => "closed".to_owned(),
            Self::Io => "io".to_owned(),
            Self::Framing => "framing".to_owned(),
            Self::Status(status) => format!("status_{status}"),
            Self::Stream(flaw) => flaw.name().to_owned(),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io,
        }
    }
}

impl From<FramingError> for Failure {
    fn from(e: FramingError) -> Self {
        match e {
            FramingError::UnexpectedEof => Self::Closed,
            _ => Self::Framing,
        }
    }
}

/// A connection that is opened when it is needed.
#[derive(Debug)]
pub(crate) struct Client {
    plan: Arc<Plan>,
    conn: Option<Conn<TcpStream>>,
}

impl Client {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, conn: None }
    }

    /// Opens the connection unless it is open.
    pub(crate) async fn connect(&mut self) -> Result<(), Failure> {
        if self.conn.is_none() {
            let stream = TcpStream::connect(self.plan.address).await.map_err(|_| Failure::Connect)?;
            stream.set_nodelay(true)?;
            self.conn = Some(Conn::new(stream));
        }
        Ok(())
    }

    /// Sends the request and reads its answer. `due` is the time from which a client would count.
    pub(crate) async fn call(&mut self, due: Instant, recorder: &Recorder) -> Result<(), Failure> {
        let plan = Arc::clone(&self.plan);
        match tokio::time::timeout(plan.timeout, self.exchange(&plan, due, recorder)).await {
            Ok(Ok(keep)) => {
                if !keep {
                    self.conn = None;
                }
                Ok(())
            }
            Ok(Err(failure)) => {
                self.conn = None;
                Err(failure)
            }
            Err(_) => {
                self.conn = None;
                Err(Failure::Timeout)
            }
        }
    }

    /// Whether the connection may be used again.
    async fn exchange(&mut self, plan: &Plan, due: Instant, recorder: &Recorder) -> Result<bool, Failure> {
        self.connect().await?;
        let conn = self.conn.as_mut().ok_or(Failure::Connect)?;
        conn.write(&plan.request).await?;
        let limits = Limits::default();
        let head = loop {
            let head = conn.read_response(&limits, plan.head_request).await??.ok_or(Failure::Closed)?;
            if head.status >= 200 {
                break head;
            }
        };
        if head.status != plan.expect_status {
            return Err(Failure::Status(head.status));
        }
        let mut body = BodyDecoder::new(head.framing);
        let mut bytes = 0;
        match &plan.stream {
            None => {
                while let Some(data) = conn.read_body(&mut body).await?? {
                    bytes += data.len() as u64;
                }
            }
            Some(expected) => {
                let mut watch = Watch::new(expected.order);
                let mut last = None;
                while let Some(data) = conn.read_body(&mut body).await?? {
                    bytes += data.len() as u64;
                    let deltas = watch.feed(&data);
                    if deltas > 0 {
                        let now = Instant::now();
                        recorder.deltas(due, last, now, deltas);
                        last = Some(now);
                    }
                }
                let seen = watch.finish(expected, recorder.reference()).map_err(Failure::Stream)?;
                recorder.stream(seen);
            }
        }
        recorder.bytes(bytes);
        Ok(head.keep_alive)
    }
}
