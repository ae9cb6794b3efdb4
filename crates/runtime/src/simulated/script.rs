//! What a simulated container does, and how an image's name says it.
//!
//! Read next: `runtime.rs`.

use std::time::Duration;

/// What a container does from its start on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// How long starting takes.
    pub start_delay: Duration,
    /// Why it cannot start, if so.
    pub start_error: Option<String>,
    /// After how long it ends by itself and with which code; `None` runs until it is stopped.
    pub ends: Option<(Duration, i32)>,
    /// How long it takes to obey the stop signal; `None` never does and is killed.
    pub stop_delay: Option<Duration>,
    /// Its exit code when it obeyed.
    pub stop_code: i32,
}

impl Default for Script {
    fn default() -> Self {
        Script {
            start_delay: Duration::ZERO,
            start_error: None,
            ends: None,
            stop_delay: Some(Duration::ZERO),
            stop_code: 0,
        }
    }
}

impl Script {
    /// The script of an image's name, whose last part may be `crash:<time>` (ends with 1 after that time),
    /// `exit:<time>` (ends with 0), `slow:<time>` (takes that time to start), `stubborn` (does not obey the
    /// stop signal) or `unstartable`. Any other name runs until it is stopped and obeys at once.
    pub fn of_image(reference: &str) -> Script {
        let last = reference.rsplit('/').next().unwrap_or(reference);
        let (name, tag) = last.split_once(':').unwrap_or((last, ""));
        let time = parse_time(tag).unwrap_or(Duration::ZERO);
        let simulated = reference.split('/').rev().nth(1) == Some("sim");
        let mut script = Script::default();
        match name {
            _ if !simulated => {}
            "crash" => script.ends = Some((time, 1)),
            "exit" => script.ends = Some((time, 0)),
            "slow" => script.start_delay = time,
            "stubborn" => script.stop_delay = None,
            "unstartable" => script.start_error = Some("the image cannot be started".to_owned()),
            _ => {}
        }
        script
    }
}

/// `3s`, `200ms`, `2m`.
fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_name_says_what_its_container_does() {
        assert_eq!(Script::of_image("docker.io/sim/crash:3s").ends, Some((Duration::from_secs(3), 1)));
        assert_eq!(Script::of_image("sim/exit:200ms").ends, Some((Duration::from_millis(200), 0)));
        assert_eq!(Script::of_image("sim/slow:2m").start_delay, Duration::from_secs(120));
        assert_eq!(Script::of_image("sim/stubborn").stop_delay, None);
        assert_eq!(Script::of_image("docker.io/library/crash:3s"), Script::default());
    }
}
