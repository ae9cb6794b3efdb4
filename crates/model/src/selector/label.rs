//! Label selectors as values: what they match, and how they print.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::parse;
use crate::field::{Error, ErrorList, Path};
use crate::meta::validate::{validate_label_name, validate_labels};
use crate::names;

/// How a requirement compares a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The value is one of the list.
    In,
    /// The label is missing, or its value is none of the list.
    NotIn,
    /// The value is this one: `=`.
    Equals,
    /// The same, written `==`.
    DoubleEquals,
    /// The label is missing, or its value is another.
    NotEquals,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// The value is an integer greater than this one.
    GreaterThan,
    /// The value is an integer less than this one.
    LessThan,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

impl Requirement {
    /// Checks key, operator and values together; the text says everything that is wrong.
    pub fn new(key: &str, operator: Operator, values: BTreeSet<String>) -> Result<Requirement, String> {
        let mut errors = ErrorList::new();
        errors.extend(key_error(key, &Path::new("key")));
        let path = Path::new("values");
        let list: Vec<&str> = values.iter().map(String::as_str).collect();
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                let detail = "for 'in', 'notin' operators, values set can't be empty";
                errors.push(Error::invalid(&path, list.clone(), detail));
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                let detail = "exact-match compatibility requires one single value";
                errors.push(Error::invalid(&path, list.clone(), detail));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                let detail = "values set must be empty for exists and does not exist";
                errors.push(Error::invalid(&path, list.clone(), detail));
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    let detail = "for 'Gt', 'Lt' operators, exactly one value is required";
                    errors.push(Error::invalid(&path, list.clone(), detail));
                }
                for (index, value) in list.iter().enumerate() {
                    if value.parse::<i64>().is_err() {
                        let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                        errors.push(Error::invalid(&path.index(index), *value, detail));
                    }
                }
            }
            _ => {}
        }
        for (index, value) in list.iter().enumerate() {
            let texts = names::label_value(value);
            if !texts.is_empty() {
                let path = path.index(index).key(key);
                errors.push(Error::invalid(&path, *value, texts.join("; ")));
            }
        }
        match aggregate(&errors) {
            Some(text) => Err(text),
            None => Ok(Requirement { key: key.to_owned(), operator, values }),
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it is compared.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// With what it is compared.
    pub fn values(&self) -> &BTreeSet<String> {
        &self.values
    }

    /// True when these labels satisfy the requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => {
                value.is_some_and(|value| self.values.contains(value))
            }
            Operator::NotIn | Operator::NotEquals => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compares(value, |value, bound| value > bound),
            Operator::LessThan => self.compares(value, |value, bound| value < bound),
        }
    }

    fn compares(&self, value: Option<&String>, holds: impl Fn(i64, i64) -> bool) -> bool {
        let number = value.and_then(|value| value.parse::<i64>().ok());
        let bound = self.values.first().and_then(|bound| bound.parse::<i64>().ok());
        matches!((number, bound), (Some(number), Some(bound)) if holds(number, bound))
    }
}

/// The error for a label key that is none.
pub(super) fn key_error(key: &str, path: &Path) -> Option<Error> {
    let texts = names::qualified_name(key);
    (!texts.is_empty()).then(|| Error::invalid(path, key, texts.join("; ")))
}

fn aggregate(errors: &ErrorList) -> Option<String> {
    match errors.as_slice() {
        [] => None,
        [one] => Some(one.to_string()),
        many => {
            let texts: Vec<String> = many.iter().map(Error::to_string).collect();
            Some(format!("[{}]", texts.join(", ")))
        }
    }
}

/// A condition on an object's labels: every requirement must hold, or nothing matches at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// `None` matches nothing. The list is sorted by key.
    requirements: Option<Vec<Requirement>>,
}

impl Selector {
    /// Matches every object.
    pub fn everything() -> Selector {
        Selector::all_of(Vec::new())
    }

    /// Matches no object.
    pub fn nothing() -> Selector {
        Selector { requirements: None }
    }

    /// Matches objects that satisfy every requirement.
    pub fn all_of(mut requirements: Vec<Requirement>) -> Selector {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector { requirements: Some(requirements) }
    }

    /// Reads the text of a `labelSelector` parameter.
    pub fn parse(text: &str) -> Result<Selector, String> {
        Ok(Selector::all_of(parse::requirements(text)?))
    }

    /// The selector that an object carries. An empty one matches everything; where a field that holds one is
    /// absent, use [`Selector::nothing`].
    pub fn from_label_selector(selector: &LabelSelector) -> Result<Selector, String> {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            let values = BTreeSet::from([value.clone()]);
            requirements.push(Requirement::new(key, Operator::Equals, values)?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            let values = expression.values.iter().flatten().cloned().collect();
            requirements.push(Requirement::new(&expression.key, operator, values)?);
        }
        Ok(Selector::all_of(requirements))
    }

    /// The selector that asks for all of these labels, as Services carry it. The labels are taken as they
    /// are: an object holding them was validated when it was written.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Selector {
        let requirement = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: BTreeSet::from([value.clone()]),
        };
        Selector::all_of(labels.iter().map(requirement).collect())
    }

    /// True when an object with these labels is meant.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.as_ref().is_some_and(|all| all.iter().all(|one| one.matches(labels)))
    }

    /// The same for an object that may have no labels.
    pub fn matches_optional(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        match labels {
            Some(labels) => self.matches(labels),
            None => self.matches(&BTreeMap::new()),
        }
    }

    /// True when every object matches.
    pub fn is_everything(&self) -> bool {
        self.requirements.as_ref().is_some_and(Vec::is_empty)
    }

    /// True when no object can match, whatever its labels.
    pub fn is_nothing(&self) -> bool {
        self.requirements.is_none()
    }

    /// The requirements, sorted by key; none for both [`Selector::everything`] and [`Selector::nothing`].
    pub fn requirements(&self) -> &[Requirement] {
        self.requirements.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        let (key, values) = (&self.key, values.join(","));
        match self.operator {
            Operator::In => write!(formatter, "{key} in ({values})"),
            Operator::NotIn => write!(formatter, "{key} notin ({values})"),
            Operator::Equals => write!(formatter, "{key}={values}"),
            Operator::DoubleEquals => write!(formatter, "{key}=={values}"),
            Operator::NotEquals => write!(formatter, "{key}!={values}"),
            Operator::Exists => write!(formatter, "{key}"),
            Operator::DoesNotExist => write!(formatter, "!{key}"),
            Operator::GreaterThan => write!(formatter, "{key}>{values}"),
            Operator::LessThan => write!(formatter, "{key}<{values}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

/// Checks the selector that an object carries, as part of the object's validation.
pub fn validate_label_selector(selector: &LabelSelector, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(labels) = &selector.match_labels {
        errors.extend(validate_labels(labels, &path.child("matchLabels")));
    }
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = expression.values.as_deref().unwrap_or_default();
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&path.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let detail = "not a valid selector operator";
                errors.push(Error::invalid(&path.child("operator"), other, detail));
            }
        }
        errors.extend(validate_label_name(&expression.key, &path.child("key")));
        for (index, value) in values.iter().enumerate() {
            let path = path.child("values").index(index);
            let texts = names::label_value(value);
            errors.extend(texts.iter().map(|text| Error::invalid(&path, value.as_str(), text)));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
