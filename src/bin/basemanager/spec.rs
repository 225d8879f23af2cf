//! The option `--queue`.

use std::str::FromStr;
use std::time::Duration;

use basemanager::Queue;

use crate::engine::{Engine, Served};
use crate::snapshot::MAX_NAME;
use crate::units;

/// A queue on the command line.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    maxsize: usize,
    max_bytes: usize,
    at_least_once: bool,
    pub(crate) lease: Option<Duration>,
    deliveries: Option<u32>,
    pub(crate) dead: Option<String>,
}

impl Spec {
    pub(crate) fn build(
        &self,
        engine: &Engine,
        dead: Option<Served>,
    ) -> basemanager::Result<Served> {
        let mut options = Queue::options().maxsize(self.maxsize).max_bytes(self.max_bytes);
        if self.at_least_once {
            options = options.at_least_once();
        }
        if let Some(lease) = self.lease {
            options = options.lease(lease);
        }
        let dead = dead.map(|dead| (self.deliveries.unwrap_or(5), dead));
        engine.queue(&self.name, options, dead)
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default().to_owned();
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(format!("a queue needs a name of 1 to {MAX_NAME} bytes"));
        }
        let mut spec = Self {
            name,
            maxsize: 0,
            max_bytes: 0,
            at_least_once: false,
            lease: None,
            deliveries: None,
            dead: None,
        };
        let number = |value: &str| value.parse().map_err(|_| format!("{value} is not a number"));
        let mut seen = Vec::new();
        for part in parts {
            let key = part.split('=').next().unwrap_or_default();
            if seen.contains(&key) {
                return Err(format!("{key} is there twice"));
            }
            seen.push(key);
            match part.split_once('=').unwrap_or((part, "")) {
                ("at-least-once", "") => spec.at_least_once = true,
                ("maxsize", value) => spec.maxsize = number(value)?,
                ("max-bytes", value) => spec.max_bytes = units::size(value)?,
                ("lease", value) => spec.lease = Some(units::positive_duration(value)?),
                ("deliveries", value) => spec.deliveries = Some(positive(value)?),
                ("dead", value) if !value.is_empty() => spec.dead = Some(value.to_owned()),
                _ => {
                    return Err(format!(
                        "unknown option {part:?}; known are maxsize=N, max-bytes=SIZE, at-least-once, lease=TIME, \
                         deliveries=N and dead=NAME"
                    ));
                }
            }
        }
        if spec.dead.as_ref() == Some(&spec.name) {
            return Err("a queue cannot hold its own dead letters".to_owned());
        }
        if spec.deliveries.is_some() && spec.dead.is_none() {
            return Err(
                "deliveries=N needs dead=NAME, the queue to which the item goes then".to_owned()
            );
        }
        Ok(spec)
    }
}

fn positive(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{text} is not a number from 1 on")),
    }
}
