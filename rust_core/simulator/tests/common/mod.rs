//! A client on a raw socket: what it sends and what it got are bytes.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use penstock_simulator::{Options, Simulator};
use serde_json::Value;

pub fn start() -> Simulator {
    Simulator::start(Options::default()).unwrap()
}

/// One answer as it came, its chunked coding removed.
#[derive(Debug, Clone)]
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The message was framed correctly to its end.
    pub whole: bool,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (n, v) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then_some(v.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Data of each event.
    pub fn data(&self) -> Vec<String> {
        let text = self.text();
        text.split("\n\n")
            .filter_map(|event| event.lines().find_map(|l| l.strip_prefix("data: ")))
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Data of each event but `[DONE]`, parsed.
    pub fn events(&self) -> Vec<Value> {
        self.data().iter().filter(|d| *d != "[DONE]").map(|d| serde_json::from_str(d).unwrap()).collect()
    }
}

pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(sim: &Simulator) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", sim.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn post(&mut self, path: &str, headers: &str, body: &str) -> Got {
        self.send(request("POST", path, headers, body).as_bytes());
        self.read()
    }

    pub fn get(&mut self, path: &str) -> Got {
        self.send(request("GET", path, "", "").as_bytes());
        self.read()
    }

    fn more(&mut self) -> bool {
        let mut piece = [0; 65536];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&piece[..n]);
                true
            }
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(e) => panic!("{e}"),
        }
    }

    fn find(&self, from: usize, needle: &[u8]) -> Option<usize> {
        self.buffer[from..].windows(needle.len()).position(|w| w == needle).map(|at| from + at)
    }

    /// The next answer; broken off ones are not `whole`.
    pub fn read(&mut self) -> Got {
        self.read_for(false)
    }

    pub fn read_for(&mut self, head_request: bool) -> Got {
        let end = loop {
            if let Some(end) = self.find(0, b"\r\n\r\n") {
                break end + 4;
            }
            if !self.more() {
                return Got { status: 0, head: String::new(), body: std::mem::take(&mut self.buffer), whole: false };
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut got = Got { status, head, body: Vec::new(), whole: true };
        if head_request || (100..200).contains(&status) {
            return got;
        }
        if let Some(length) = got.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length && got.whole {
                got.whole = self.more();
            }
            let have = length.min(self.buffer.len());
            got.body = self.buffer.drain(..have).collect();
        } else if got.header("transfer-encoding") == Some("chunked") {
            got.whole = self.chunks(&mut got.body);
        } else {
            while self.more() {}
            got.body = std::mem::take(&mut self.buffer);
        }
        got
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let line = loop {
                match self.find(0, b"\r\n") {
                    Some(at) => break at,
                    None if self.more() => {}
                    None => return false,
                }
            };
            let Ok(size) = usize::from_str_radix(std::str::from_utf8(&self.buffer[..line]).unwrap(), 16) else {
                return false;
            };
            while self.buffer.len() < line + 2 + size + 2 {
                if !self.more() {
                    let from = (line + 2).min(self.buffer.len());
                    body.extend(self.buffer.drain(..).skip(from));
                    return false;
                }
            }
            body.extend_from_slice(&self.buffer[line + 2..line + 2 + size]);
            self.buffer.drain(..line + 2 + size + 2);
            if size == 0 {
                return true;
            }
        }
    }

    /// Whether the server closed without sending more.
    pub fn closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more()
    }
}

pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\nhost: sim\r\n{headers}{length}\r\n{body}")
}

pub fn chat(extra: &str) -> String {
    format!(r#"{{"model":"sim","messages":[{{"role":"user","content":"say four words please"}}]{extra}}}"#)
}

/// The contents of all deltas of a choice of a chat stream.
pub fn deltas(got: &Got, choice: u64) -> Vec<String> {
    let choices = got.events().into_iter().flat_map(|e| e["choices"].as_array().cloned().unwrap_or_default());
    choices
        .filter(|c| c["index"] == choice)
        .filter_map(|c| c["delta"]["content"].as_str().filter(|t| !t.is_empty()).map(ToOwned::to_owned))
        .collect()
}

/// The ledger's entry of an answer, once it is closed.
pub fn entry(sim: &Simulator, got: &Got) -> Value {
    entry_of(sim, got.header("x-sim-seq").unwrap().parse().unwrap())
}

pub fn entry_of(sim: &Simulator, seq: u64) -> Value {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let page = Client::new(sim).get(&format!("/_sim/ledger?since={}&limit=1", seq - 1)).json();
        let entry = page["entries"][0].clone();
        if entry["outcome"] != "open" || std::time::Instant::now() > deadline {
            return entry;
        }
        std::thread::yield_now();
    }
}
