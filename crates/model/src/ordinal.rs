//! The names that give a StatefulSet's pods and claims their identity.
//!
//! `web-2` is the pod with ordinal 2 of the set `web`; `data-web-2` is its claim from the template `data`.
//! Nothing else in Ordinal puts such names together or takes them apart.

/// The name of the pod with `ordinal`.
pub fn pod_name(set: &str, ordinal: i32) -> String {
    format!("{set}-{ordinal}")
}

/// The name of the claim that the pod with `ordinal` has from `template`.
pub fn claim_name(template: &str, set: &str, ordinal: i32) -> String {
    format!("{template}-{set}-{ordinal}")
}

/// Takes a pod's name apart: the set's name, and the ordinal. `None` when the name does not end in a dash
/// and a decimal number that fits an `i32`. The text before the dash may be of any form, and leading zeros
/// are read as upstream reads them: whoever needs certainty compares with [`pod_name`].
pub fn parse(pod_name: &str) -> Option<(&str, i32)> {
    let (parent, digits) = pod_name.rsplit_once('-')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((parent, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_taken_apart_at_the_last_dash() {
        assert_eq!(parse("web-0"), Some(("web", 0)));
        assert_eq!(parse("my-web-12"), Some(("my-web", 12)));
        assert_eq!(parse("web-2147483647"), Some(("web", i32::MAX)));
        for other in ["web", "web-", "web-a", "web-+1", "web-2147483648", "web-1a", "", "0", "web--"] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_claim_carries_template_set_and_ordinal() {
        assert_eq!(claim_name("data", "web", 2), "data-web-2");
    }

    proptest! {
        #[test]
        fn a_pod_name_parses_back(set in "[a-z]([a-z0-9-]{0,40}[a-z0-9])?", ordinal in 0..=i32::MAX) {
            let name = pod_name(&set, ordinal);
            prop_assert_eq!(parse(&name), Some((set.as_str(), ordinal)));
        }
    }
}
