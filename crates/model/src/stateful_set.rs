//! A StatefulSet with what upstream's type does not have: fields that a KEP or OpenKruise names, and our own
//! annotations.
//!
//! Values only: what they mean for pods is the controller's business, what is allowed the API's. Nothing here
//! may accept what it does not understand: a set that asks for something unknown must not be run as if it
//! had not.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::schema::ExtraField;
use crate::schema::raw::REFERENCE_PREFIX;

mod ordinals;

pub use ordinals::{Ordinals, replicas};

/// What the annotations that only Ordinal has begin with.
pub const ANNOTATION_PREFIX: &str = "ordinal.dev/";
/// `strict` on a set keeps broken pods of an older revision until somebody deletes them, as upstream does.
pub const ROLLOUT_ANNOTATION: &str = "ordinal.dev/rollout";
/// `key=value` on a set: the label of the pod that is updated and removed last.
pub const PRIMARY_LABEL_ANNOTATION: &str = "ordinal.dev/primary-label";
/// The label on a pod that asks for it to be the next to go when the set gets fewer replicas (OpenKruise).
pub const SPECIFIED_DELETE_LABEL: &str = "apps.kruise.io/specified-delete";
/// Entries of `spec.reserveOrdinals`: more would be a policy, not a list of exceptions.
pub const RESERVED_MAX: usize = 1_000;

/// Ordinals that a set must not use: ranges that neither touch nor overlap, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved(Vec<(i32, i32)>);

impl Reserved {
    /// Reads `spec.reserveOrdinals`: numbers, and ranges such as `"3-5"` that include both ends.
    ///
    /// # Errors
    /// The index of the first entry that is neither, and what is wrong with it.
    pub fn parse(entries: &[Value]) -> Result<Reserved, (usize, String)> {
        if entries.len() > RESERVED_MAX {
            return Err((RESERVED_MAX, format!("must have at most {RESERVED_MAX} entries")));
        }
        let ranges = entries.iter().enumerate().map(|(index, entry)| {
            let range = match entry {
                Value::Number(number) => ordinal(number.as_i64()).map(|ordinal| (ordinal, ordinal)),
                Value::String(text) => range(text),
                _ => None,
            };
            let detail = "must be an ordinal, or a range of ordinals such as \"3-5\"";
            range.ok_or_else(|| (index, detail.to_owned()))
        });
        Ok(Reserved::of(ranges.collect::<Result<_, _>>()?))
    }

    fn of(mut ranges: Vec<(i32, i32)>) -> Reserved {
        ranges.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Reserved(merged)
    }

    /// The same and one more.
    #[must_use]
    pub fn with(&self, ordinal: i32) -> Reserved {
        let mut ranges = self.0.clone();
        ranges.push((ordinal, ordinal));
        Reserved::of(ranges)
    }

    /// The ranges, both ends included.
    pub fn ranges(&self) -> &[(i32, i32)] {
        &self.0
    }

    /// As the field has it.
    pub fn to_value(&self) -> Value {
        let entry = |(first, last): &(i32, i32)| match first == last {
            true => Value::from(*first),
            false => Value::from(format!("{first}-{last}")),
        };
        Value::Array(self.0.iter().map(entry).collect())
    }
}

fn ordinal(number: Option<i64>) -> Option<i32> {
    number.and_then(|number| i32::try_from(number).ok()).filter(|ordinal| *ordinal >= 0)
}

fn range(text: &str) -> Option<(i32, i32)> {
    let digits = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<i32>().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (digits(first)?, digits(last)?);
    (first <= last).then_some((first, last))
}

/// A label that one pod of a set bears: who is its primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryLabel {
    /// The label's key.
    pub key: String,
    /// The label's value.
    pub value: String,
}

impl PrimaryLabel {
    /// Reads `key=value`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<PrimaryLabel, String> {
        let (key, value) = text.split_once('=').ok_or("must be a label: key=value")?;
        let wrong =
            crate::names::qualified_name(key).into_iter().chain(crate::names::label_value(value)).next();
        match wrong {
            Some(wrong) => Err(wrong),
            None => Ok(PrimaryLabel { key: key.to_owned(), value: value.to_owned() }),
        }
    }

    /// True when these labels have it.
    pub fn is_in(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        labels.and_then(|labels| labels.get(&self.key)) == Some(&self.value)
    }
}

/// `spec.volumeClaimUpdateStrategy.type` (KEP-4650): what becomes of claims when their templates change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClaimUpdates {
    /// Nothing: a claim is made by its template when there is none.
    #[default]
    OnClaimDelete,
    /// What can change on a live claim follows its template.
    InPlace,
}

impl ClaimUpdates {
    /// The values of the field.
    pub const NAMES: [&str; 2] = ["InPlace", "OnClaimDelete"];

    /// Reads the field; a set that does not have it is one that was stored before there was one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: Option<&str>) -> Result<ClaimUpdates, String> {
        match text {
            None | Some("" | "OnClaimDelete") => Ok(ClaimUpdates::OnClaimDelete),
            Some("InPlace") => Ok(ClaimUpdates::InPlace),
            Some(other) => Err(format!("{other:?} is neither \"InPlace\" nor \"OnClaimDelete\"")),
        }
    }
}

/// What a set says beyond upstream's fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extra {
    /// `spec.volumeClaimUpdateStrategy`.
    pub claim_updates: ClaimUpdates,
    /// `spec.reserveOrdinals`.
    pub reserved: Reserved,
    /// `spec.updateStrategy.rollingUpdate.paused`.
    pub is_paused: bool,
    /// Annotation [`ROLLOUT_ANNOTATION`].
    pub is_strict: bool,
    /// Annotation [`PRIMARY_LABEL_ANNOTATION`].
    pub primary_label: Option<PrimaryLabel>,
}

/// The fields that sets have beyond upstream's type, for the schema that checks and publishes them.
pub fn extra_fields() -> Vec<ExtraField> {
    const SPEC: &str = "io.k8s.api.apps.v1.StatefulSetSpec";
    const CLAIM_UPDATES: &str = "io.k8s.api.apps.v1.StatefulSetVolumeClaimUpdateStrategy";
    const ROLLING: &str = "io.k8s.api.apps.v1.RollingUpdateStatefulSetStrategy";
    vec![
        ExtraField {
            definition: SPEC,
            name: "reserveOrdinals",
            schema: json!({
                "description": "Ordinals that no replica has: numbers, and ranges such as \"3-5\" that include \
                    both ends. Replicas beyond them take their place.",
                "type": "array",
                "items": { "x-kubernetes-int-or-string": true },
                "x-kubernetes-list-type": "atomic",
            }),
        },
        ExtraField {
            definition: ROLLING,
            name: "paused",
            schema: json!({
                "description": "True holds the rolling update where it is; pods that are made meanwhile are made \
                    as they would be otherwise.",
                "type": "boolean",
            }),
        },
        ExtraField {
            definition: SPEC,
            name: "volumeClaimUpdateStrategy",
            schema: json!({
                "description": "What becomes of the claims of running replicas when volumeClaimTemplates \
                    change (KEP-4650).",
                "$ref": format!("{REFERENCE_PREFIX}{CLAIM_UPDATES}"),
            }),
        },
        ExtraField {
            definition: CLAIM_UPDATES,
            name: "type",
            schema: json!({
                "description": "OnClaimDelete, the default, leaves claims as they are; a template is used when \
                    a claim is made. InPlace lets claims follow their templates in what can change on a live \
                    claim: storage requests grow; labels, annotations and volumeAttributesClassName change. \
                    That goes replica by replica in the order of a rolling update; a claim has to be ready \
                    before anything else happens, and pods are not restarted for it.",
                "type": "string",
                "enum": ClaimUpdates::NAMES,
            }),
        },
    ]
}

/// Something in a set's annotations that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationError {
    /// The annotation.
    pub key: String,
    /// What is wrong with it.
    pub detail: String,
}

impl fmt::Display for AnnotationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.key, self.detail)
    }
}

impl Extra {
    /// Reads what the whole object says.
    ///
    /// # Errors
    /// What is not understood. The API refuses such a set, so that only one which went around it fails here.
    pub fn of(object: &Value) -> Result<Extra, String> {
        let list = object.pointer("/spec/reserveOrdinals").and_then(Value::as_array);
        let reserved = Reserved::parse(list.map_or(&[], Vec::as_slice))
            .map_err(|(index, detail)| format!("spec.reserveOrdinals[{index}]: {detail}"))?;
        let paused = object.pointer("/spec/updateStrategy/rollingUpdate/paused");
        let claims = object.pointer("/spec/volumeClaimUpdateStrategy/type").and_then(Value::as_str);
        let claim_updates = ClaimUpdates::parse(claims)
            .map_err(|detail| format!("spec.volumeClaimUpdateStrategy.type: {detail}"))?;
        let mut extra = Extra {
            claim_updates,
            reserved,
            is_paused: paused.and_then(Value::as_bool).unwrap_or_default(),
            ..Extra::default()
        };
        let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
        let texts = annotations.into_iter().flatten();
        let texts = texts.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
        extra.read_annotations(texts).map_err(|error| error.to_string())?;
        Ok(extra)
    }

    /// Reads annotations, those of ours among them.
    ///
    /// # Errors
    /// The first of ours that does not exist or has no such value.
    pub fn read_annotations<'a>(
        &mut self,
        annotations: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), AnnotationError> {
        for (key, value) in annotations.filter(|(key, _)| key.starts_with(ANNOTATION_PREFIX)) {
            let refused = |detail: String| AnnotationError { key: key.to_owned(), detail };
            match key {
                ROLLOUT_ANNOTATION if value == "strict" => self.is_strict = true,
                ROLLOUT_ANNOTATION => return Err(refused("must be \"strict\", or left out".to_owned())),
                PRIMARY_LABEL_ANNOTATION => {
                    self.primary_label = Some(PrimaryLabel::parse(value).map_err(refused)?);
                }
                _ => {
                    let detail = format!(
                        "is no annotation of a StatefulSet; those are {ROLLOUT_ANNOTATION} and \
                         {PRIMARY_LABEL_ANNOTATION}"
                    );
                    return Err(refused(detail));
                }
            }
        }
        Ok(())
    }
}

/// A StatefulSet as it is stored, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtendedStatefulSet {
    /// Upstream's part.
    pub set: StatefulSet,
    /// The rest; or what of it is not understood.
    pub extra: Result<Extra, String>,
}

impl Resource for ExtendedStatefulSet {
    const API_VERSION: &'static str = StatefulSet::API_VERSION;
    const GROUP: &'static str = StatefulSet::GROUP;
    const KIND: &'static str = StatefulSet::KIND;
    const VERSION: &'static str = StatefulSet::VERSION;
    const URL_PATH_SEGMENT: &'static str = StatefulSet::URL_PATH_SEGMENT;
    type Scope = NamespaceResourceScope;
}

impl Metadata for ExtendedStatefulSet {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.set.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.set.metadata
    }
}

impl<'de> Deserialize<'de> for ExtendedStatefulSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let set = StatefulSet::deserialize(&value).map_err(D::Error::custom)?;
        Ok(ExtendedStatefulSet { set, extra: Extra::of(&value) })
    }
}

impl Serialize for ExtendedStatefulSet {
    /// Refused: a write of the whole set from here would lose what only the stored object has.
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("an extended set is read, never written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved(value: &Value) -> Result<Reserved, (usize, String)> {
        Reserved::parse(value.as_array().expect("is a list"))
    }

    #[test]
    fn reserved_ordinals_are_numbers_and_ranges_and_come_out_in_order() {
        let parsed = reserved(&json!([7, "2-3", 4, "0-0", "9"])).expect("is right");
        assert_eq!(parsed.ranges(), [(0, 0), (2, 4), (7, 7), (9, 9)]);
        assert_eq!(parsed.to_value(), json!([0, "2-4", 7, 9]));
        assert_eq!(parsed.with(1).ranges(), [(0, 4), (7, 7), (9, 9)]);
    }

    #[test]
    fn what_is_no_ordinal_is_named_by_its_place() {
        for wrong in [json!(-1), json!("3-1"), json!("a"), json!("1-"), json!("+1"), json!(null), json!(1.5)]
        {
            assert_eq!(reserved(&json!([1, wrong])).expect_err("is wrong").0, 1, "{wrong}");
        }
    }

    #[test]
    fn only_annotations_that_exist_are_taken() {
        let of =
            |key: &str, value: &str| Extra::of(&json!({ "metadata": { "annotations": { (key): value } } }));
        assert!(of(ROLLOUT_ANNOTATION, "strict").expect("is right").is_strict);
        let primary = of(PRIMARY_LABEL_ANNOTATION, "role=primary").expect("is right").primary_label;
        assert_eq!(primary.map(|label| label.value).as_deref(), Some("primary"));
        assert!(of("example.com/rollout", "anything").is_ok());
        for (key, value) in [
            (ROLLOUT_ANNOTATION, "fast"),
            (PRIMARY_LABEL_ANNOTATION, "primary"),
            (PRIMARY_LABEL_ANNOTATION, "a b=c"),
            ("ordinal.dev/else", ""),
        ] {
            assert!(of(key, value).is_err(), "{key}: {value}");
        }
    }

    #[test]
    fn an_extended_set_is_read_whole() {
        let set: ExtendedStatefulSet = serde_json::from_value(json!({
            "metadata": { "name": "web" },
            "spec": {
                "reserveOrdinals": [1],
                "updateStrategy": { "rollingUpdate": { "paused": true } },
                "volumeClaimUpdateStrategy": { "type": "InPlace" },
                "selector": {}, "template": {},
            },
        }))
        .expect("decodes");
        let extra = set.extra.expect("is understood");
        assert_eq!(set.set.metadata.name.as_deref(), Some("web"));
        assert!(extra.is_paused);
        assert_eq!(extra.claim_updates, ClaimUpdates::InPlace);
        assert_eq!(extra.reserved.ranges(), [(1, 1)]);
    }
}
