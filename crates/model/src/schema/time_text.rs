//! Times as upstream reads and writes them: RFC 3339, in UTC, to the second or to the microsecond.
//!
//! Text to text, so that no clock or time zone comes in.

use jiff::Timestamp;

/// The layout that upstream's messages name.
const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";

/// The same with microseconds.
const LAYOUT_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";

/// `Ok(None)` when the text is canonical already, the canonical text where it differs, or what is wrong in
/// the words of upstream.
pub(super) fn canonical(text: &str, micro: bool) -> Result<Option<String>, String> {
    let layout = if micro { LAYOUT_MICRO } else { LAYOUT };
    if let Err((value, part)) = shape(text, micro) {
        return Err(format!("parsing time {text:?} as {layout:?}: cannot parse {value:?} as {part:?}"));
    }
    let time: Timestamp = text.parse().map_err(|_| {
        let part = out_of_range(text);
        format!("parsing time {text:?}: {part} out of range")
    })?;
    let canonical =
        if micro { time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ") } else { time.strftime("%Y-%m-%dT%H:%M:%SZ") }
            .to_string();
    Ok((canonical != text).then_some(canonical))
}

/// Checks that the text has the form of the layout; else gives what is left at the first difference, and
/// the part of the layout that should stand there.
fn shape(text: &str, micro: bool) -> Result<(), (&str, &'static str)> {
    const PARTS: [(usize, &str, &str); 6] =
        [(4, "2006", "-"), (2, "01", "-"), (2, "02", "T"), (2, "15", ":"), (2, "04", ":"), (2, "05", "")];
    let mut rest = text;
    for (digits, part, then) in PARTS {
        let number = rest.get(..digits).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
        if number.is_none() {
            return Err((rest, part));
        }
        rest = &rest[digits..];
        rest = rest.strip_prefix(then).ok_or((rest, then))?;
    }
    let fraction =
        rest.strip_prefix('.').map(|rest| rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    match fraction {
        Some(digits) if digits > 0 => rest = &rest[1 + digits..],
        _ if micro => return Err((rest, ".000000")),
        _ => {}
    }
    let zone = rest.as_bytes();
    let offset = |zone: &[u8]| {
        zone.len() == 6
            && matches!(zone[0], b'+' | b'-')
            && zone[3] == b':'
            && [1, 2, 4, 5].iter().all(|at: &usize| zone[*at].is_ascii_digit())
    };
    if zone == b"Z" || offset(zone) { Ok(()) } else { Err((rest, "Z07:00")) }
}

/// Which part of a time of the right form is out of its range.
fn out_of_range(text: &str) -> &'static str {
    let number = |from: usize| text[from..from + 2].parse::<u8>().unwrap_or(0);
    match (number(5), number(11), number(14), number(17)) {
        (0 | 13.., ..) => "month",
        (_, 24.., ..) => "hour",
        (_, _, 60.., _) => "minute",
        (_, _, _, 60..) => "second",
        _ => "day",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_to_their_precision() {
        assert_eq!(canonical("2026-11-21T05:00:00Z", false), Ok(None));
        let text = |text: &str, micro| canonical(text, micro).expect("valid").expect("not canonical");
        assert_eq!(text("2026-11-21T05:00:00.75Z", false), "2026-11-21T05:00:00Z");
        assert_eq!(text("2026-11-21T05:00:00+02:00", false), "2026-11-21T03:00:00Z");
        assert_eq!(text("2026-11-21T05:00:00.5Z", true), "2026-11-21T05:00:00.500000Z");
    }

    #[test]
    fn what_is_no_time_is_refused_in_the_words_of_upstream() {
        let error = |text: &str| canonical(text, false).expect_err("no time");
        assert_eq!(
            error("yesterday"),
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#
        );
        assert_eq!(
            error("2026-11-21"),
            r#"parsing time "2026-11-21" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#
        );
        assert_eq!(
            error("2026-11-21T05:00:00"),
            r#"parsing time "2026-11-21T05:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#
        );
        assert_eq!(
            error("2026-13-21T05:00:00Z"),
            r#"parsing time "2026-13-21T05:00:00Z": month out of range"#
        );
        assert_eq!(error("2026-02-30T05:00:00Z"), r#"parsing time "2026-02-30T05:00:00Z": day out of range"#);
    }
}
