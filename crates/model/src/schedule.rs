//! Schedules of CronJobs: five fields of minutes, hours, days, months and weekdays, or a word for them.
//!
//! The language and its errors are those of upstream's parser, which differ from every crate's: `?` is a
//! star, `7` is no Sunday, `L`, `W` and `#` mean nothing, `@every 90s` counts from the last time. Where both
//! the day of the month and the weekday are restricted either will do. Pure: the present moment comes in.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How far ahead, and back, a match is looked for: a schedule that has none in five years has none.
const DAYS_MAX: u32 = 5 * 366;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something happens again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At these moments of the clock.
    Fields(Fields),
    /// So long after the last time.
    Every(Duration),
}

/// Allowed values as bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Days of the month, or weekdays, are any: then the other has to match.
    any_day: bool,
}

struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTE: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOUR: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAY: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTH: Bounds = Bounds { min: 1, max: 12, names: &MONTHS };
const WEEKDAY: Bounds = Bounds { min: 0, max: 6, names: &WEEKDAYS };

impl Schedule {
    /// Reads a schedule; the text says what is wrong with it. A zone in front of it is not known here.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        if text.starts_with('@') {
            return by_word(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            let found = fields.len();
            return Err(format!("expected exactly 5 fields, found {found}: [{}]", fields.join(" ")));
        };
        let (minutes, _) = field(minute, &MINUTE)?;
        let (hours, _) = field(hour, &HOUR)?;
        let (days, all_days) = field(day, &DAY)?;
        let (months, _) = field(month, &MONTH)?;
        let (weekdays, all_weekdays) = field(weekday, &WEEKDAY)?;
        let any_day = all_days || all_weekdays;
        Ok(Schedule::Fields(Fields { minutes, hours, days, months, weekdays, any_day }))
    }

    /// The first moment after this one; `None` when there is none in five years.
    pub fn next(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        match self {
            Schedule::Every(pause) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                whole.checked_add(SignedDuration::try_from(*pause).ok()?).ok()
            }
            Schedule::Fields(fields) => fields.next(zone, after),
        }
    }

    /// The last moment after `after` and not after `until`.
    pub fn last(&self, zone: &TimeZone, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        match self {
            Schedule::Every(pause) => {
                let pause = i64::try_from(pause.as_secs()).ok()?.max(1);
                let times = (until.as_second() - after.as_second()).div_euclid(pause);
                let last = after.as_second().checked_add(times.checked_mul(pause)?)?;
                Timestamp::from_second(last).ok().filter(|_| times > 0)
            }
            Schedule::Fields(fields) => fields.last(zone, after, until),
        }
    }

    /// How many moments lie after `after` and not after `until`; `most` at most are counted.
    pub fn count(&self, zone: &TimeZone, after: Timestamp, until: Timestamp, most: usize) -> usize {
        let mut at = after;
        (0..most)
            .take_while(|_| match self.next(zone, at) {
                Some(next) if next <= until => {
                    at = next;
                    true
                }
                _ => false,
            })
            .count()
    }
}

impl Fields {
    fn is_day(&self, date: Date) -> bool {
        let has = |bits: u64, value: i8| bits & (1 << u32::from(value.unsigned_abs())) != 0;
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month()) && if self.any_day { day && weekday } else { day || weekday }
    }

    fn next(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        let minutes = after.as_second().div_euclid(60) + 1;
        let mut at = Timestamp::from_second(minutes * 60).ok()?;
        let limit = after.checked_add(SignedDuration::from_hours(24 * i64::from(DAYS_MAX))).ok()?;
        while at <= limit {
            let here = zone.to_datetime(at);
            let has = |bits: u64, value: i8| bits & (1 << u32::from(value.unsigned_abs())) != 0;
            if !self.is_day(here.date()) {
                let tomorrow = here.date().tomorrow().ok()?;
                let begin = tomorrow.to_zoned(zone.clone()).ok()?.timestamp();
                // Where a day is repeated the clock still goes on.
                at = begin.max(at.checked_add(SignedDuration::from_mins(1)).ok()?);
            } else if !has(self.hours, here.hour()) {
                let left = 60 - i64::from(here.minute());
                at = at.checked_add(SignedDuration::from_mins(left)).ok()?;
            } else if !has(self.minutes, here.minute()) {
                at = at.checked_add(SignedDuration::from_mins(1)).ok()?;
            } else {
                return Some(at);
            }
        }
        None
    }

    fn last(&self, zone: &TimeZone, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut date = zone.to_datetime(until).date();
        for _ in 0..DAYS_MAX {
            let begin = date.to_zoned(zone.clone()).ok()?.timestamp();
            if self.is_day(date) {
                let mut before = begin.checked_sub(SignedDuration::from_secs(1)).ok()?.max(after);
                let mut last = None;
                while let Some(next) = self.next(zone, before).filter(|next| *next <= until) {
                    (before, last) = (next, Some(next));
                }
                if last.is_some() {
                    return last;
                }
            }
            if begin <= after {
                return None;
            }
            date = date.yesterday().ok()?;
        }
        None
    }
}

fn by_word(text: &str) -> Result<Schedule, String> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(pause) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let pause =
                duration(pause).map_err(|error| format!("failed to parse duration {text}: {error}"))?;
            return Ok(Schedule::Every(Duration::from_secs(pause.as_secs().max(1))));
        }
    };
    Schedule::parse(fields)
}

/// A duration as Go writes it: `1h30m`, `90s`, `1.5h`.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (mut rest, mut seconds) = (text.strip_prefix('+').unwrap_or(text), 0.0);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() || rest.starts_with('-') {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
            .ok_or_else(|| format!("time: missing unit in duration {text:?}"))?;
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let end = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            other => return Err(format!("time: unknown unit {other:?} in duration {text:?}")),
        };
        seconds += number * unit;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| invalid())
}

/// The values that a field allows, and whether it says that it may be any.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (mut bits, mut is_any) = (0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (own, any) = range(part, bounds)?;
        bits |= own;
        is_any |= any;
    }
    Ok((bits, is_any))
}

fn range(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let limits: Vec<&str> = parts[0].split('-').collect();
    let is_star = matches!(limits[0], "*" | "?");
    let (start, mut end) = match limits.as_slice() {
        _ if is_star => (bounds.min, bounds.max),
        [only] => {
            let only = number_or_name(only, bounds)?;
            (only, only)
        }
        [first, last] => (number_or_name(first, bounds)?, number_or_name(last, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            // A number with a step goes on to the end.
            if limits.len() == 1 {
                end = bounds.max;
            }
            number(step)?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < bounds.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    let Some(step) = usize::try_from(step).ok().filter(|step| *step > 0) else {
        return Err(format!("step of range should be a positive number: {text}"));
    };
    let bits = (start..=end).step_by(step).fold(0, |bits, value| bits | 1 << value);
    Ok((bits, is_star && step == 1))
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let name = bounds.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    match name.and_then(|index| u32::try_from(index).ok()) {
        Some(index) => Ok(index + bounds.min),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let number: i64 = text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
    })?;
    if number < 0 {
        return Err(format!("negative number ({number}) not allowed: {text}"));
    }
    // What is larger is beyond every bound.
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_zone;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("is a time")
    }

    fn next(schedule: &str, zone: &str, after: &str) -> String {
        let zone = time_zone::find(zone).expect("is a zone");
        let schedule = Schedule::parse(schedule).expect("is a schedule");
        schedule.next(&zone, at(after)).map_or_else(|| "never".to_owned(), |next| next.to_string())
    }

    #[test]
    fn the_next_moment_is_the_first_that_every_field_allows() {
        let table = [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:15:00Z"),
            ("5/20 3 * * *", "2026-01-01T03:26:00Z", "2026-01-01T03:45:00Z"),
            ("0 9-17/4 * * MON-fri", "2026-01-02T17:00:00Z", "2026-01-05T09:00:00Z"),
            ("0 0 29 feb ?", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 31 2 *", "2026-01-01T00:00:00Z", "never"),
            ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:10Z", "2026-01-01T01:30:10Z"),
            // Either day will do, if both are restricted; a star with a step is a restriction.
            ("0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 0 13 * *", "2026-01-01T00:00:00Z", "2026-01-13T00:00:00Z"),
            ("0 0 */2 * 0", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"),
        ];
        for (schedule, after, expected) in table {
            assert_eq!(next(schedule, "UTC", after), expected, "{schedule} after {after}");
        }
    }

    #[test]
    fn a_zone_has_its_own_clock_with_its_gaps_and_repetitions() {
        let berlin = "Europe/Berlin";
        assert_eq!(next("0 9 * * *", berlin, "2026-07-01T00:00:00Z"), "2026-07-01T07:00:00Z");
        // 02:30 is not there on the 29th of March, and twice on the 25th of October.
        assert_eq!(next("30 2 * * *", berlin, "2026-03-28T12:00:00Z"), "2026-03-30T00:30:00Z");
        assert_eq!(next("30 2 * * *", berlin, "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next("30 2 * * *", berlin, "2026-10-25T00:30:00Z"), "2026-10-25T01:30:00Z");
        assert_eq!(next("0 0 * * *", berlin, "2026-03-29T12:00:00Z"), "2026-03-29T22:00:00Z");
    }

    #[test]
    fn what_is_no_schedule_is_refused_in_upstreams_words() {
        let table = [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@noon", "unrecognized descriptor: @noon"),
            ("@every soon", "failed to parse duration @every soon: time: invalid duration \"soon\""),
        ];
        for (text, expected) in table {
            assert_eq!(Schedule::parse(text).expect_err("is wrong"), expected, "{text}");
        }
    }

    #[test]
    fn the_last_moment_that_was_missed_is_found_without_going_through_all() {
        let utc = TimeZone::UTC;
        let last = |schedule: &str, after: &str, until: &str| {
            let schedule = Schedule::parse(schedule).expect("is a schedule");
            schedule.last(&utc, at(after), at(until)).map(|last| last.to_string())
        };
        let some = |text: &str| Some(text.to_owned());
        let (year, now) = ("2025-01-01T00:00:00Z", "2026-01-01T00:00:30Z");
        assert_eq!(last("* * * * *", year, now), some("2026-01-01T00:00:00Z"));
        assert_eq!(last("0 0 29 2 *", "2020-01-01T00:00:00Z", now), some("2024-02-29T00:00:00Z"));
        assert_eq!(last("0 12 * * *", "2025-12-31T12:00:00Z", now), None);
        assert_eq!(
            last("@every 7m", "2026-01-01T00:00:00Z", "2026-01-01T00:20:00Z"),
            some("2026-01-01T00:14:00Z")
        );
        assert_eq!(last("@every 7m", "2026-01-01T00:00:00Z", "2026-01-01T00:06:00Z"), None);
        let every_minute = Schedule::parse("* * * * *").expect("is a schedule");
        assert_eq!(every_minute.count(&utc, at(year), at(now), 101), 101);
        assert_eq!(every_minute.count(&utc, at("2025-12-31T23:58:00Z"), at(now), 101), 2);
    }

    proptest! {
        #[test]
        fn the_last_moment_is_the_one_that_stepping_finds(
            minute in 0_u32..60, hour in 0_u32..24, step in 1_u32..9, after in 0_i64..200_000, span in 0_i64..400_000,
        ) {
            let schedule = Schedule::parse(&format!("{minute} {hour}/{step} * * *")).expect("is a schedule");
            let zone = time_zone::find("America/New_York").expect("is a zone");
            // Around the end of summer time.
            let after = Timestamp::from_second(1_793_400_000 + after).expect("is a time");
            let until = after + SignedDuration::from_secs(span);
            let (mut stepped, mut at) = (None, after);
            while let Some(next) = schedule.next(&zone, at).filter(|next| *next <= until) {
                prop_assert!(next > at);
                (stepped, at) = (Some(next), next);
            }
            prop_assert_eq!(schedule.last(&zone, after, until), stepped);
        }
    }
}
