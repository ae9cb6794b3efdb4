//! What may be the name of something: objects, labels, ports, environment variables, files in a ConfigMap.
//!
//! Each rule takes the text and returns what is wrong with it, in the words clients of Kubernetes know
//! (`apimachinery/pkg/util/validation` upstream); an empty list means the text is allowed. Nothing here
//! normalises: a name is taken as it is or refused.
//!
//! Read next: [`crate::meta`], which applies these rules to an object's metadata.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::Rng;

/// Longest DNS label, in bytes (RFC 1123).
pub const DNS_LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain, in bytes (RFC 1123).
pub const DNS_SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest label value, and longest name part of a label key, in bytes.
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest name of a container port, in bytes (RFC 6335).
pub const PORT_NAME_BYTES_MAX: usize = 15;

/// A rule for object names. The second argument says that the text is a `generateName`, to which a suffix
/// will still be added.
pub type NameRule = fn(&str, bool) -> Vec<String>;

const LABEL_1123: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_1123: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// The text for a value longer than `bytes` bytes.
pub fn too_long(bytes: usize) -> String {
    format!("must be no more than {bytes} bytes")
}

/// The text for an empty value that may not be empty.
pub const EMPTY: &str = "must be non-empty";

/// The text for a number below zero where none may be.
pub const NEGATIVE: &str = "must be greater than or equal to 0";

/// A rule's text followed by examples and the pattern, as upstream words it.
fn pattern_error(rule: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{rule} (regex used for validation is '{pattern}')");
    }
    let quoted: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{pattern}')", quoted.join(" or "))
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn matches_label_1123(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    is_lower_alphanumeric(first)
        && is_lower_alphanumeric(last)
        && bytes.iter().all(|&byte| is_lower_alphanumeric(byte) || byte == b'-')
}

fn matches_subdomain_1123(text: &str) -> bool {
    text.split('.').all(matches_label_1123)
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn matches_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// A DNS label as of RFC 1123: names of namespaces, containers, volumes.
pub fn dns1123_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_LABEL_BYTES_MAX {
        errors.push(too_long(DNS_LABEL_BYTES_MAX));
    }
    if !matches_label_1123(text) {
        if matches_subdomain_1123(text) {
            errors.push("must not contain dots".to_owned());
        } else {
            let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
                        '-', and must start and end with an alphanumeric character";
            errors.push(pattern_error(rule, LABEL_1123, &["my-name", "123-abc"]));
        }
    }
    errors
}

/// A DNS subdomain as of RFC 1123: names of most objects.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_SUBDOMAIN_BYTES_MAX {
        errors.push(too_long(DNS_SUBDOMAIN_BYTES_MAX));
    }
    if !matches_subdomain_1123(text) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
                    or '.', and must start and end with an alphanumeric character";
        errors.push(pattern_error(rule, SUBDOMAIN_1123, &["example.com"]));
    }
    errors
}

/// A DNS label as of RFC 1035, which begins with a letter: names of Services.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_LABEL_BYTES_MAX {
        errors.push(too_long(DNS_LABEL_BYTES_MAX));
    }
    if !matches_label_1123(text) || !text.starts_with(|first: char| first.is_ascii_lowercase()) {
        let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with \
                    an alphabetic character, and end with an alphanumeric character";
        errors.push(pattern_error(rule, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    errors
}

/// A DNS subdomain below a wildcard: `*.example.com`.
pub fn wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_SUBDOMAIN_BYTES_MAX {
        errors.push(too_long(DNS_SUBDOMAIN_BYTES_MAX));
    }
    if !text.strip_prefix("*.").is_some_and(matches_subdomain_1123) {
        let rule = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, \
                    which must consist of lower case alphanumeric characters, '-' or '.' and end with an \
                    alphanumeric character";
        errors.push(pattern_error(rule, &format!("\\*\\.{SUBDOMAIN_1123}"), &["*.example.com"]));
    }
    errors
}

/// A name with an optional DNS prefix, such as `example.com/MyName`: keys of labels and annotations,
/// finalizers, extended resources.
pub fn qualified_name(text: &str) -> Vec<String> {
    let rule = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                alphanumeric character";
    let examples = ["MyName", "my.name", "123-abc"];
    let mut errors = Vec::new();
    let mut parts = text.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                errors.push(format!("prefix part {EMPTY}"));
            } else {
                errors.extend(dns1123_subdomain(prefix).iter().map(|error| format!("prefix part {error}")));
            }
            name
        }
        _ => {
            let error = pattern_error(&format!("a qualified name {rule}"), QUALIFIED, &examples);
            let tail = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            errors.push(error + tail);
            return errors;
        }
    };
    if name.is_empty() {
        errors.push(format!("name part {EMPTY}"));
    } else if name.len() > LABEL_BYTES_MAX {
        errors.push(format!("name part {}", too_long(LABEL_BYTES_MAX)));
    }
    if !matches_qualified(name) {
        errors.push(pattern_error(&format!("name part {rule}"), QUALIFIED, &examples));
    }
    errors
}

/// The value of a label. May be empty.
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > LABEL_BYTES_MAX {
        errors.push(too_long(LABEL_BYTES_MAX));
    }
    if !text.is_empty() && !matches_qualified(text) {
        let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
                    or '.', and must start and end with an alphanumeric character";
        let examples = ["MyValue", "my_value", "12345"];
        errors.push(pattern_error(rule, &format!("({QUALIFIED})?"), &examples));
    }
    errors
}

/// A port's number.
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// The name of a port that other objects refer to, an IANA service name (RFC 6335).
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > PORT_NAME_BYTES_MAX {
        errors.push(too_long(PORT_NAME_BYTES_MAX));
    }
    let allowed = |byte: u8| is_lower_alphanumeric(byte) || byte == b'-';
    if text.is_empty() || !text.bytes().all(allowed) {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// `.` and `..`, and names that begin with `..`, would leave the directory a file is written to.
fn leaves_directory(text: &str) -> Vec<String> {
    match text {
        "." => vec!["must not be '.'".to_owned()],
        ".." => vec!["must not be '..'".to_owned()],
        text if text.starts_with("..") => vec!["must not start with '..'".to_owned()],
        _ => Vec::new(),
    }
}

/// The strict rule for environment variables; names that pass are also shell-safe but for dots and dashes.
pub fn env_var_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    let valid =
        bytes.first().is_some_and(|first| inner(first) && !first.is_ascii_digit()) && bytes.iter().all(inner);
    if !valid {
        let rule = "a valid environment variable name must consist of alphabetic characters, digits, '_', \
                    '-', or '.', and must not start with a digit";
        let examples = ["my.env-name", "MY_ENV.NAME", "MyEnvName1"];
        errors.push(pattern_error(rule, "[-._a-zA-Z][-._a-zA-Z0-9]*", &examples));
    }
    errors.extend(leaves_directory(text));
    errors
}

/// The rule in force for environment variables: printable ASCII but `=`.
pub fn relaxed_env_var_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec![format!("environment variable name {EMPTY}")];
    }
    if text.bytes().any(|byte| !(0x20..=0x7e).contains(&byte) || byte == b'=') {
        let rule = "a valid environment variable name must consist only of printable ASCII characters \
                    other than '='";
        return vec![rule.to_owned()];
    }
    Vec::new()
}

/// A key of a ConfigMap or Secret, which becomes a file name.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > DNS_SUBDOMAIN_BYTES_MAX {
        errors.push(too_long(DNS_SUBDOMAIN_BYTES_MAX));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || !text.bytes().all(allowed) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        let examples = ["key.name", "KEY_NAME", "key-name"];
        errors.push(pattern_error(rule, "[-._a-zA-Z0-9]+", &examples));
    }
    errors.extend(leaves_directory(text));
    errors
}

/// A C identifier.
pub fn c_identifier(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if bytes.first().is_some_and(|first| !first.is_ascii_digit()) && bytes.iter().all(inner) {
        return Vec::new();
    }
    let rule = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                alphanumeric characters or '_'";
    vec![pattern_error(rule, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// The name of an HTTP header, for probes.
pub fn http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![pattern_error(rule, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// A percentage such as `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let rule = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![pattern_error(rule, "[0-9]+%", &["1%", "93%"])]
}

/// An IPv4 or IPv6 address.
pub fn ip_address(text: &str) -> Vec<String> {
    if text.parse::<IpAddr>().is_ok() {
        Vec::new()
    } else {
        vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
    }
}

/// A network in CIDR notation.
pub fn cidr(text: &str) -> Vec<String> {
    let valid = text.split_once('/').is_some_and(|(address, length)| {
        let bits_max = if address.parse::<Ipv4Addr>().is_ok() {
            32
        } else if address.parse::<Ipv6Addr>().is_ok() {
            128
        } else {
            return false;
        };
        length.bytes().all(|byte| byte.is_ascii_digit())
            && length.parse::<u32>().is_ok_and(|bits| bits <= bits_max)
    });
    if valid {
        Vec::new()
    } else {
        vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()]
    }
}

/// A user or group number.
pub fn user_id(id: i64) -> Vec<String> {
    if (0..=i64::from(i32::MAX)).contains(&id) {
        Vec::new()
    } else {
        vec![format!("must be between 0 and {}, inclusive", i32::MAX)]
    }
}

/// A name that can be one segment of a URL's path: the least any object's name must satisfy.
pub fn path_segment(text: &str, prefix: bool) -> Vec<String> {
    if !prefix && (text == "." || text == "..") {
        return vec![format!("may not be '{text}'")];
    }
    let contained = ["/", "%"].into_iter().filter(|illegal| text.contains(illegal));
    contained.map(|illegal| format!("may not contain '{illegal}'")).collect()
}

/// Object names that are DNS subdomains: most kinds.
pub fn name_is_dns_subdomain(text: &str, prefix: bool) -> Vec<String> {
    dns1123_subdomain(&masked(text, prefix))
}

/// Object names that are DNS labels: namespaces.
pub fn name_is_dns_label(text: &str, prefix: bool) -> Vec<String> {
    dns1123_label(&masked(text, prefix))
}

/// Object names that are DNS labels beginning with a letter: Services.
pub fn name_is_dns1035_label(text: &str, prefix: bool) -> Vec<String> {
    dns1035_label(&masked(text, prefix))
}

/// A `generateName` may end in a dash, since a suffix follows.
fn masked(text: &str, prefix: bool) -> String {
    match text.strip_suffix('-') {
        Some(stem) if prefix && !stem.is_empty() => {
            let mut stem = stem.to_owned();
            if stem.pop().is_some() {
                stem.push('a');
            }
            stem
        }
        _ => text.to_owned(),
    }
}

/// No vowels and no characters easily taken for others, so that no words come out.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_BYTES: usize = 5;
/// A generated name is a DNS label: 63 bytes, of which 5 are the suffix.
const GENERATED_BASE_BYTES_MAX: usize = DNS_LABEL_BYTES_MAX - SUFFIX_BYTES;

/// A name for an object that asked for `generateName: base`.
pub fn generate(base: &str, random: &mut impl Rng) -> String {
    let mut end = base.len().min(GENERATED_BASE_BYTES_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    for _ in 0..SUFFIX_BYTES {
        name.push(char::from(SUFFIX_ALPHABET[random.random_range(0..SUFFIX_ALPHABET.len())]));
    }
    name
}

#[cfg(test)]
mod tests;
