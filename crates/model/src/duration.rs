//! Durations as people read them, in kubectl's words.
//!
//! The tables that the API serves print ages with [`human`], and clients compare them with what upstream
//! prints; so the steps between units are upstream's.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Printed where there is no moment to count from.
pub const UNKNOWN: &str = "<unknown>";
/// Printed where the moment lies in the future by more than clocks may differ.
pub const INVALID: &str = "<invalid>";

/// A duration with up to two units, the second only where it still matters: `5s`, `2m3s`, `4h5m`, `3d`.
/// One second below zero is taken for a difference between clocks.
pub fn human(seconds: i64) -> String {
    match seconds {
        ..-1 => INVALID.to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds / HOUR, 'h', seconds / MINUTE % 60, 'm'),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds / DAY, 'd', seconds / HOUR % 24, 'h'),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(seconds / YEAR, 'y', seconds / DAY % 365, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// A duration with its largest unit alone: `5s`, `2m`, `4h`.
pub fn short(seconds: i64) -> String {
    match seconds {
        ..-1 => INVALID.to_owned(),
        -1 => "0s".to_owned(),
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h", seconds / HOUR),
        DAY..YEAR => format!("{}d", seconds / DAY),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// The time since `then`, as the AGE column prints it.
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    match then {
        Some(then) => human(seconds_between(then, now)),
        None => UNKNOWN.to_owned(),
    }
}

/// Whole seconds from `then` to `now`, towards zero.
pub fn seconds_between(then: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(then).as_secs()
}

fn two(first: i64, first_unit: char, second: i64, second_unit: char) -> String {
    if second == 0 {
        format!("{first}{first_unit}")
    } else {
        format!("{first}{first_unit}{second}{second_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        let table = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (1, "1s"),
            (70, "70s"),
            (119, "119s"),
            (MINUTE * 2, "2m"),
            (MINUTE * 2 + 3, "2m3s"),
            (MINUTE * 9 + 59, "9m59s"),
            (MINUTE * 10 + 1, "10m"),
            (HOUR, "60m"),
            (HOUR * 3 - 1, "179m"),
            (HOUR * 3, "3h"),
            (HOUR * 3 + MINUTE * 30 + 5, "3h30m"),
            (HOUR * 8 - 1, "7h59m"),
            (HOUR * 8 + MINUTE * 20, "8h"),
            (HOUR * 47 + MINUTE * 59, "47h"),
            (DAY * 2, "2d"),
            (DAY * 2 + HOUR * 5, "2d5h"),
            (DAY * 8 - 1, "7d23h"),
            (DAY * 8, "8d"),
            (DAY * 8 + HOUR * 9, "8d"),
            (DAY * 729, "729d"),
            (YEAR * 2, "2y"),
            (YEAR * 2 + DAY * 25, "2y25d"),
            (YEAR * 8 - 1, "7y364d"),
            (YEAR * 8 + DAY * 2, "8y"),
            (i64::MAX, "292471208677y"),
        ];
        for (seconds, text) in table {
            assert_eq!(human(seconds), text, "{seconds} seconds");
        }
    }

    #[test]
    fn short_ages_have_one_unit() {
        let table =
            [(-2, "<invalid>"), (-1, "0s"), (59, "59s"), (61, "1m"), (HOUR, "1h"), (DAY, "1d"), (YEAR, "1y")];
        for (seconds, text) in table {
            assert_eq!(short(seconds), text);
        }
    }

    #[test]
    fn no_moment_is_an_unknown_age() {
        let now = Timestamp::from_second(1_000_000).expect("in range");
        assert_eq!(age(None, now), "<unknown>");
        assert_eq!(age(Some(now), now), "0s");
        let earlier = Timestamp::from_second(1_000_000 - 90).expect("in range");
        assert_eq!(age(Some(earlier), now), "90s");
    }
}
