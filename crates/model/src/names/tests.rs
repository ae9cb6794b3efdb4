//! The rules for names, against texts that upstream allows and refuses.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

fn allowed(rule: fn(&str) -> Vec<String>, texts: &[&str]) {
    for text in texts {
        assert_eq!(rule(text), Vec::<String>::new(), "{text:?} should be allowed");
    }
}

fn refused(rule: fn(&str) -> Vec<String>, texts: &[&str]) {
    for text in texts {
        assert!(!rule(text).is_empty(), "{text:?} should be refused");
    }
}

#[test]
fn labels_of_rfc_1123() {
    let longest = "a".repeat(63);
    allowed(dns1123_label, &["a", "ab", "abc", "a1", "a-1", "a--1--2--b", "0", "01", "1-2", &longest]);
    let too_long = "a".repeat(64);
    refused(
        dns1123_label,
        &["", "A", "aBc", "-", "a-", "-a", "1-", "_", "a_b", "a.b", " a", "a b", &too_long],
    );
    assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(
        dns1123_label("A"),
        ["a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
          start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
          validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"]
    );
}

#[test]
fn subdomains_of_rfc_1123() {
    let longest = "a".repeat(253);
    allowed(dns1123_subdomain, &["a", "0.0.0.0", "a.b.c", "a1-b.c", "11.22.33", &longest]);
    refused(dns1123_subdomain, &["", "A", "a..b", ".a", "a.", "a.-b", "a@b", "ä", &"a".repeat(254)]);
    assert_eq!(
        dns1123_subdomain("Web"),
        ["a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
          and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
          validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"]
    );
}

#[test]
fn labels_of_rfc_1035_begin_with_a_letter() {
    allowed(dns1035_label, &["a", "ab", "a1", "a-1", "a--1"]);
    refused(dns1035_label, &["", "0", "1a", "a-", "A", "a.b", &"a".repeat(64)]);
}

#[test]
fn wildcards_stand_alone_at_the_front() {
    allowed(wildcard_dns1123_subdomain, &["*.example.com", "*.a"]);
    refused(wildcard_dns1123_subdomain, &["*", "*.", "*.bar.*", "foo.*", "example.com", "*.A"]);
}

#[test]
fn qualified_names_have_at_most_one_prefix() {
    let long = format!("{}/{}", "a".repeat(253), "b".repeat(63));
    allowed(qualified_name, &["simple", "now-with-dashes", "1-starts", "1.2.3/a_B", "UppercaseIsOK", &long]);
    refused(qualified_name, &["", "/", "a/", "/a", "a/b/c", "-a", "a-", "A/b", "a@b", &"a".repeat(64)]);
    assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
    assert_eq!(
        qualified_name("a/"),
        [
            "name part must be non-empty",
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
             with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
             validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        ]
    );
}

#[test]
fn label_values_may_be_empty() {
    allowed(label_value, &["", "a", "A_b.c-9", "1", &"x".repeat(63)]);
    refused(label_value, &["-a", "a-", "_", "a b", "a/b", &"x".repeat(64)]);
    assert_eq!(label_value(&"x".repeat(64)), ["must be no more than 63 bytes"]);
}

#[test]
fn port_names_are_iana_service_names() {
    allowed(port_name, &["telnet", "re-mail-ck", "pop3", "a", "a-1", "1-a", "a-1-b-2-c"]);
    refused(port_name, &["", "1", "1-2", "-a", "a-", "a--b", "A", "a_b", "longerthan15char"]);
}

#[test]
fn environment_variables_are_strict_or_relaxed() {
    allowed(env_var_name, &["my.env-name", "MY_ENV", "_a", "-x"]);
    refused(env_var_name, &["", "1a", "a b", "a=b", ".", "..", "..a", "ä"]);
    allowed(relaxed_env_var_name, &["1a", "a b", "!", "..", "a:b"]);
    refused(relaxed_env_var_name, &["", "a=b", "ä", "a\n"]);
}

#[test]
fn keys_of_config_maps_stay_in_their_directory() {
    allowed(config_map_key, &["a", "good", "good-good", "still.good", ".so_is_this", "THE.GOOD"]);
    refused(config_map_key, &["", ".", "..", "..bad", "b*d", "bad!&bad", &"a".repeat(254)]);
    assert_eq!(config_map_key("..bad"), ["must not start with '..'"]);
}

#[test]
fn addresses_and_networks() {
    allowed(ip_address, &["10.0.0.1", "::1", "2001:db8::ffff"]);
    refused(ip_address, &["", "10.0.0", "10.0.0.256", "10.0.0.1/8", "[::1]", "010.0.0.1"]);
    allowed(cidr, &["10.0.0.0/8", "10.1.2.3/8", "::/0", "2001:db8::/64"]);
    refused(cidr, &["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "a/8", "10.0.0.0/"]);
}

#[test]
fn numbers_and_the_rest() {
    assert!(port_number(1).is_empty() && port_number(65535).is_empty());
    assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
    assert_eq!(user_id(-1), ["must be between 0 and 2147483647, inclusive"]);
    allowed(percent, &["0%", "93%"]);
    refused(percent, &["", "%", "1", "-1%", "1.5%"]);
    allowed(c_identifier, &["_", "a1"]);
    refused(c_identifier, &["", "1a", "a-b"]);
    allowed(http_header_name, &["X-Header-Name"]);
    refused(http_header_name, &["", "X_H", "X:"]);
}

#[test]
fn path_segments_may_not_escape() {
    assert_eq!(path_segment("..", false), ["may not be '..'"]);
    assert!(path_segment("..", true).is_empty());
    assert_eq!(path_segment("a/%", true), ["may not contain '/'", "may not contain '%'"]);
}

#[test]
fn a_prefix_may_end_in_a_dash() {
    assert!(name_is_dns_label("web-", true).is_empty());
    assert!(!name_is_dns_label("web-", false).is_empty());
    assert!(!name_is_dns_label("-", true).is_empty());
    assert!(name_is_dns_subdomain("web.a-", true).is_empty());
    assert!(!name_is_dns1035_label("1a-", true).is_empty());
}

proptest! {
    #[test]
    fn a_generated_name_is_a_label_that_begins_with_its_base(base in "[a-z0-9-]{0,90}", seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let name = generate(&base, &mut random);
        prop_assert!(name.len() <= DNS_LABEL_BYTES_MAX);
        prop_assert_eq!(name.len(), base.len().min(58) + 5);
        prop_assert!(name.starts_with(&base[..base.len().min(58)]));
        prop_assert!(name.bytes().rev().take(5).all(|byte| SUFFIX_ALPHABET.contains(&byte)));
    }

    #[test]
    fn no_text_makes_a_rule_panic(text in "\\PC{0,80}") {
        for rule in [dns1123_label, dns1123_subdomain, dns1035_label, qualified_name, label_value, port_name,
            env_var_name, relaxed_env_var_name, config_map_key, c_identifier, percent, ip_address, cidr]
        {
            let _ = rule(&text);
        }
        let _ = path_segment(&text, true);
        let _ = generate(&text, &mut StdRng::seed_from_u64(1));
    }
}
