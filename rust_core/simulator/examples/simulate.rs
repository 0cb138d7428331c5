//! Runs a simulator until it is killed: `simulate [options as JSON]`, with the fields of
//! [`penstock_simulator::Options`]; for instance `simulate '{"port": 8099, "threads": 2}'`.

use std::io::{self, Write};

use penstock_simulator::{Options, Simulator};

fn main() -> io::Result<()> {
    let options = match std::env::args().nth(1) {
        Some(json) => serde_json::from_str(&json).map_err(io::Error::from)?,
        None => Options::default(),
    };
    let host = options.host.clone();
    let simulator = Simulator::start(options)?;
    writeln!(io::stdout(), "http://{host}:{}", simulator.port())?;
    loop {
        std::thread::park();
    }
}
