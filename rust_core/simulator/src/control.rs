//! What a request asks of its own answer, by `x-sim-*` headers and by its model name.

use std::time::Duration;

use penstock_http1::Headers;

use crate::Options;
use crate::faults::Faults;

/// Most output tokens of an answer.
pub(crate) const MAX_TOKENS: u64 = 1_000_000;
/// Most bytes of a token (but for the `huge` fault).
const MAX_TOKEN_BYTES: u64 = 65_536;

/// Everything that can be controlled about one answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Control {
    pub(crate) ttft: Duration,
    /// Of the response head, when it goes before the first event.
    pub(crate) delay: Option<Duration>,
    /// Tokens per second; 0: not paced.
    pub(crate) tps: f64,
    pub(crate) tokens: u64,
    pub(crate) token_bytes: usize,
    pub(crate) prompt: Option<u64>,
    pub(crate) cached: u64,
    pub(crate) reasoning: u64,
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) key: String,
    pub(crate) fail_first: Option<(u64, u16)>,
    pub(crate) early: Option<u16>,
    pub(crate) slow_headers: Option<Duration>,
    /// Each event in a write of its own.
    pub(crate) flush: bool,
    pub(crate) replay: Option<String>,
    pub(crate) faults: Faults,
}

impl Control {
    /// The options, then the headers.
    pub(crate) fn from_headers(options: &Options, headers: &Headers) -> Result<Self, String> {
        let mut control = Self {
            ttft: Duration::from_secs_f64(options.ttft_ms / 1e3),
            tps: options.tokens_per_second,
            tokens: options.tokens,
            ..Self::default()
        };
        for (name, value) in headers.iter() {
            let prefixed = name.get(..6).is_some_and(|p| p.eq_ignore_ascii_case(b"x-sim-"));
            if !prefixed {
                continue;
            }
            let name = String::from_utf8_lossy(name.get(6..).unwrap_or_default()).to_ascii_lowercase();
            let value = std::str::from_utf8(value).map_err(|_| format!("x-sim-{name}: not UTF-8"))?;
            control.set(&name, value)?;
        }
        Ok(control)
    }

    /// Then the part after the last `/` of the model, when it has a `=`; or `replay/{name}`.
    pub(crate) fn add_model(&mut self, model: &str) -> Result<(), String> {
        let Some((front, last)) = model.rsplit_once('/') else { return Ok(()) };
        if front == "replay" || front.ends_with("/replay") {
            self.replay = Some(last.to_owned());
        } else if last.contains('=') {
            for pair in last.split(',').filter(|p| !p.is_empty()) {
                let (name, value) =
                    pair.split_once('=').ok_or_else(|| format!("model control {pair:?}: must be name=value"))?;
                self.set(name.trim(), value.trim())?;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name.replace('-', "_").as_str() {
            "ttft" => self.ttft = millis(name, value)?,
            "delay" => self.delay = Some(millis(name, value)?),
            "slow_headers" => self.slow_headers = Some(millis(name, value)?),
            "tps" => {
                self.tps = value
                    .parse()
                    .ok()
                    .filter(|n| (0.0..=10_000_000.0).contains(n))
                    .ok_or_else(|| format!("control {name}: {value:?} is not a rate between 0 and 10000000"))?;
            }
            "tokens" => self.tokens = number(name, value, MAX_TOKENS)?,
            "bytes" => self.token_bytes = number(name, value, MAX_TOKEN_BYTES)? as usize,
            "prompt" => self.prompt = Some(number(name, value, u64::from(u32::MAX))?),
            "cached" => self.cached = number(name, value, u64::from(u32::MAX))?,
            "reasoning" => self.reasoning = number(name, value, MAX_TOKENS)?,
            "status" => self.status = Some(status(name, value)?),
            "retry_after" => self.retry_after = Some(number(name, value, 86_400)?),
            "key" => self.key = value.chars().take(200).collect(),
            "fail_first" => {
                let (count, code) = value.split_once(':').unwrap_or((value, "503"));
                self.fail_first = Some((number(name, count, 1_000_000)?, status(name, code)?));
            }
            "early" => self.early = Some(number(name, value, 199)?.max(100) as u16),
            "flush" => self.flush = number(name, value, 1)? == 1,
            "replay" => self.replay = Some(value.to_owned()),
            "fault" => self.faults.add(value)?,
            _ => return Err(format!("control {name:?} is not known")),
        }
        Ok(())
    }
}

fn number(name: &str, value: &str, most: u64) -> Result<u64, String> {
    value
        .parse()
        .ok()
        .filter(|n| *n <= most)
        .ok_or_else(|| format!("control {name}: {value:?} is not a whole number up to {most}"))
}

fn status(name: &str, value: &str) -> Result<u16, String> {
    let code = number(name, value, 599)? as u16;
    if code >= 300 { Ok(code) } else { Err(format!("control {name}: {value:?} is not an error status")) }
}

fn millis(name: &str, value: &str) -> Result<Duration, String> {
    value
        .parse::<f64>()
        .ok()
        .filter(|ms| (0.0..=86_400_000.0).contains(ms))
        .map(|ms| Duration::from_secs_f64(ms / 1e3))
        .ok_or_else(|| format!("control {name}: {value:?} is not a number of milliseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_model(model: &str) -> Result<Control, String> {
        let mut control = Control::from_headers(&Options::default(), &Headers::default())?;
        control.add_model(model).map(|()| control)
    }

    #[test]
    fn the_model_suffix_sets_what_it_names_and_leaves_the_rest() {
        let control = of_model("sim/ttft=20,tps=100,tokens=64,fault=reset_after:3").unwrap();
        assert_eq!(control.ttft, Duration::from_millis(20));
        assert_eq!(control.tps.to_bits(), 100f64.to_bits());
        assert_eq!(control.tokens, 64);
        assert_eq!(control.faults.reset_after, Some(3));
        assert_eq!(control.cached, 0);
    }

    #[test]
    fn plain_models_control_nothing() {
        assert_eq!(of_model("gpt-4o").unwrap().tokens, 16);
        assert_eq!(of_model("meta/llama").unwrap().tokens, 16);
        assert_eq!(of_model("openai/replay/a").unwrap().replay.as_deref(), Some("a"));
    }

    #[test]
    fn a_misspelt_control_is_refused_by_name() {
        assert!(of_model("sim/token=3").unwrap_err().contains("token"));
        assert!(of_model("sim/tokens=-1").unwrap_err().contains("-1"));
        assert!(of_model("sim/status=200").is_err());
        assert!(of_model("sim/tps=NaN").is_err());
    }
}
