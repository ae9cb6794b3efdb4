//! Field selectors: `metadata.name=web-0,status.phase!=Running`.
//!
//! Which fields a kind offers is the kind's business; here a field is a name and a value is a text.

use std::fmt;

use super::TEXT_BYTES_MAX;

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    /// The field's path.
    pub field: String,
    /// True for `=`, false for `!=`.
    pub equals: bool,
    /// What it is compared with, without escapes.
    pub value: String,
}

/// A condition on an object's fields: every requirement must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Matches every object.
    pub fn everything() -> FieldSelector {
        FieldSelector::default()
    }

    /// Reads the text of a `fieldSelector` parameter. In values `\`, `,` and `=` are escaped by a `\`.
    pub fn parse(text: &str) -> Result<FieldSelector, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("the selector is longer than {TEXT_BYTES_MAX} bytes"));
        }
        let mut requirements = Vec::new();
        for term in terms(text).into_iter().filter(|term| !term.is_empty()) {
            let Some((field, equals, value)) = split(term) else {
                return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
            };
            let (field, value) = (field.to_owned(), unescape(value)?);
            requirements.push(FieldRequirement { field, equals, value });
        }
        Ok(FieldSelector { requirements })
    }

    /// The requirements, in the order written.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// True when an object is meant whose fields are as `field` says. A field that is `None` is taken for
    /// empty: whether the kind has the field at all is checked before.
    pub fn matches(&self, field: impl Fn(&str) -> Option<String>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = field(&requirement.field).unwrap_or_default();
            (value == requirement.value) == requirement.equals
        })
    }

    /// True when every object matches.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value that `field` must have, where the selector demands one: `metadata.name` names the one
    /// object of a list.
    pub fn exact(&self, field: &str) -> Option<&str> {
        let wanted = |one: &&FieldRequirement| one.equals && one.field == field;
        self.requirements.iter().find(wanted).map(|one| one.value.as_str())
    }
}

/// Splits at commas that no backslash escapes.
fn terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (position, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..position]);
                start = position + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Splits a term at its first operator: field, whether it is to be equal, value with escapes.
fn split(term: &str) -> Option<(&str, bool, &str)> {
    for (position, _) in term.match_indices(['=', '!']) {
        let (field, rest) = term.split_at(position);
        for (operator, equals) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((field, equals, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                Some(other) => {
                    return Err(format!("invalid field selector: invalid escape sequence: \\{other}"));
                }
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => {
                let code = u32::from(c);
                return Err(format!("invalid field selector: unescaped character in value: {code}"));
            }
            other => plain.push(other),
        }
    }
    Ok(plain)
}

fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if one.equals { "=" } else { "!=" };
            write!(formatter, "{comma}{}{operator}{}", one.field, escape(&one.value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> FieldSelector {
        FieldSelector::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    #[test]
    fn operators_and_empty_terms_are_read_as_upstream_reads_them() {
        let selector = parse("metadata.name=a,,status.phase!=Running,x==,");
        let list: Vec<_> = selector
            .requirements()
            .iter()
            .map(|one| (one.field.as_str(), one.equals, one.value.as_str()))
            .collect();
        assert_eq!(list, [("metadata.name", true, "a"), ("status.phase", false, "Running"), ("x", true, "")]);
        assert_eq!(selector.to_string(), "metadata.name=a,status.phase!=Running,x=");
        assert_eq!(selector.exact("metadata.name"), Some("a"));
        assert_eq!(selector.exact("status.phase"), None);
        assert!(parse("").is_everything() && parse(",").is_everything());
    }

    #[test]
    fn commas_and_equal_signs_in_values_are_escaped() {
        let selector = parse(r"a=x\,y\=z\\");
        assert_eq!(selector.requirements()[0].value, r"x,y=z\");
        assert_eq!(selector.to_string(), r"a=x\,y\=z\\");
        let refused = |text: &str| FieldSelector::parse(text).expect_err("refused");
        assert_eq!(refused("a=b=c"), "invalid field selector: unescaped character in value: 61");
        assert_eq!(refused(r"a=\x"), r"invalid field selector: invalid escape sequence: \x");
        assert_eq!(refused(r"a=\"), r"invalid field selector: invalid escape sequence: \");
        assert_eq!(refused("a=b,c"), "invalid selector: 'a=b,c'; can't understand 'c'");
        assert_eq!(refused("a!b"), "invalid selector: 'a!b'; can't understand 'a!b'");
        assert!(FieldSelector::parse(&"a=b,".repeat(20_000)).is_err());
    }

    #[test]
    fn every_requirement_must_hold() {
        let field = |name: &str| (name == "phase").then(|| "Running".to_owned());
        assert!(parse("phase=Running").matches(field));
        assert!(!parse("phase!=Running").matches(field));
        assert!(!parse("phase=Running,node=a").matches(field));
        assert!(parse("phase=Running,node=").matches(field));
        assert!(parse("").matches(field));
    }

    proptest! {
        #[test]
        fn the_printed_form_parses_back(field in "[a-z.]{1,10}", value in "\\PC{0,20}", equals: bool) {
            let selector = FieldSelector {
                requirements: vec![FieldRequirement { field, equals, value }],
            };
            prop_assert_eq!(FieldSelector::parse(&selector.to_string()), Ok(selector));
        }

        #[test]
        fn no_text_panics(text in "[a-z=!,\\\\ä]{0,40}") {
            let _ = FieldSelector::parse(&text);
        }
    }
}
