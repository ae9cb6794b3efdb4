//! `ordinal.dev/v1` `StatefulSetReview`: what would become of a set, as question and answer. Its schema.
//!
//! It is asked as SubjectAccessReview is: by a create that stores nothing and answers with the status filled
//! in. Names and descriptions only; who answers is not known here.

use serde_json::{Map, Value, json};

use crate::schema::raw::REFERENCE_PREFIX;

/// Name of its definition.
pub const DEFINITION: &str = "dev.ordinal.v1.StatefulSetReview";
/// Its API group.
pub const GROUP: &str = "ordinal.dev";
/// Its name in URLs.
pub const PLURAL: &str = "statefulsetreviews";
/// Its name inside objects.
pub const KIND: &str = "StatefulSetReview";
/// `spec.operation`: the manifest would be applied. The default.
pub const APPLY: &str = "Apply";
/// `spec.operation`: the set of the manifest's name would be deleted.
pub const DELETE: &str = "Delete";

const SPEC: &str = "dev.ordinal.v1.StatefulSetReviewSpec";
const STATUS: &str = "dev.ordinal.v1.StatefulSetReviewStatus";
const FORECAST: &str = "dev.ordinal.v1.StatefulSetForecast";
const DELETION: &str = "dev.ordinal.v1.StatefulSetDeletion";
const REFUSAL: &str = "dev.ordinal.v1.StatefulSetRefusal";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Its definitions, in the form of [`crate::schema::raw::schemas`].
pub fn schemas() -> Map<String, Value> {
    let reference = |name: &str, description: &str| {
        json!({
            "description": description,
            "allOf": [{ "$ref": format!("{REFERENCE_PREFIX}{name}") }],
        })
    };
    let text = |description: &str| json!({ "description": description, "type": "string" });
    let flag = |description: &str| json!({ "description": description, "type": "boolean" });
    let number =
        |description: &str| json!({ "description": description, "type": "integer", "format": "int64" });
    let word = json!({ "type": "string" });
    let names = |description: &str| json!({ "description": description, "type": "array", "items": word });
    let review = object(
        "StatefulSetReview asks what a change of a StatefulSet would do. Nothing is written; the answer is \
         the status of the object that a create returns.",
        &json!({
            "apiVersion": text("The version of the schema of this object."),
            "kind": text("Always StatefulSetReview."),
            "metadata": reference(OBJECT_META, "Only the namespace counts."),
            "spec": reference(SPEC, "The question."),
            "status": reference(STATUS, "The answer; exactly one of its fields is set."),
        }),
        &["spec"],
    );
    let spec = object(
        "StatefulSetReviewSpec is the question.",
        &json!({
            "assumeNamespace": flag("A namespace that is not there yet is made before the set."),
            "manifest": {
                "description": "The StatefulSet as it would be applied. For Delete its name is enough.",
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            },
            "operation": text("Apply (the default): the manifest is applied as kubectl apply does. \
                Delete: the set of the manifest's name is deleted."),
        }),
        &["manifest"],
    );
    let status = object(
        "StatefulSetReviewStatus is the answer.",
        &json!({
            "deletion": reference(DELETION, "What goes and what stays, if the set is deleted."),
            "forecast": reference(FORECAST, "What the set would do."),
            "refused": reference(REFUSAL, "Why the API would refuse it."),
        }),
        &[],
    );
    let forecast = object(
        "StatefulSetForecast is what the controller's own plan does, carried out on a picture of the \
         cluster in which new pods become ready.",
        &json!({
            "end": {
                "description": "How it ends: rests, waits (with reasons) or stillMoves.",
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            },
            "isNew": flag("The set would be made."),
            "moves": {
                "description": "Everything that would be done, in order.",
                "type": "array",
                "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            },
            "replicas": number("How many replicas the set would have."),
            "restarts": names("Pods that would be deleted and made again, in order."),
            "stepsAtWorst": number("During how many steps so many are unavailable."),
            "unavailableAtWorst": number("How many replicas are unavailable at worst."),
            "unavailableNow": number("How many replicas are unavailable now."),
            "waitsSeconds": number("How long it waits by itself, all in all, in seconds."),
        }),
        &[],
    );
    let deletion = object(
        "StatefulSetDeletion is what goes with a set.",
        &json!({
            "claimsDeleted": names("Claims that go with it, and their data."),
            "claimsKept": names("Claims that stay."),
            "pods": names("Pods that are deleted, the highest ordinal first."),
        }),
        &[],
    );
    let refusal = object(
        "StatefulSetRefusal is what the API would answer.",
        &json!({
            "instead": text("Which change would be allowed."),
            "message": text("What is wrong."),
        }),
        &["message"],
    );
    let all = [
        (DEFINITION, review),
        (SPEC, spec),
        (STATUS, status),
        (FORECAST, forecast),
        (DELETION, deletion),
        (REFUSAL, refusal),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn object(description: &str, properties: &Value, required: &[&str]) -> Value {
    let mut schema = json!({ "description": description, "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}
