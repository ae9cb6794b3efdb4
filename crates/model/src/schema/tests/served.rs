//! Every served kind has its definitions, under upstream's names.

use crate::schema::{Type, definitions, raw};

const KINDS: [&str; 23] = [
    "core.v1.Namespace",
    "core.v1.Node",
    "core.v1.Pod",
    "core.v1.Service",
    "core.v1.Endpoints",
    "core.v1.ConfigMap",
    "core.v1.Secret",
    "core.v1.ServiceAccount",
    "core.v1.Event",
    "core.v1.PersistentVolume",
    "core.v1.PersistentVolumeClaim",
    "apps.v1.Deployment",
    "apps.v1.DaemonSet",
    "apps.v1.ReplicaSet",
    "apps.v1.StatefulSet",
    "apps.v1.ControllerRevision",
    "batch.v1.Job",
    "batch.v1.CronJob",
    "storage.v1.StorageClass",
    "discovery.v1.EndpointSlice",
    "events.v1.Event",
    "coordination.v1.Lease",
    "policy.v1.PodDisruptionBudget",
];

#[test]
fn every_kind_and_its_list_are_defined() {
    for kind in KINDS {
        let name = format!("io.k8s.api.{kind}");
        let id = definitions().id(&name).unwrap_or_else(|| panic!("{name}"));
        let list = definitions().get(&format!("{name}List")).unwrap_or_else(|| panic!("{name}List"));
        let items = list.field("items").expect("a list has items");
        assert_eq!(items.of, Type::List(Box::new(Type::Object(id))), "{name}");
    }
    for name in ["api.core.v1.Binding", "api.autoscaling.v1.Scale", "api.policy.v1.Eviction"] {
        assert!(definitions().get(&format!("io.k8s.{name}")).is_some(), "{name}");
    }
    for name in ["Status", "DeleteOptions", "ListMeta", "ObjectMeta"] {
        let name = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}");
        assert!(definitions().get(&name).is_some(), "{name}");
    }
}

#[test]
fn published_schemas_are_plain_openapi_3_0() {
    fn walk(value: &serde_json::Value, path: &str) {
        match value {
            serde_json::Value::Object(map) => {
                assert!(!map.contains_key("$ref") || map.len() == 1, "siblings of a reference at {path}");
                assert!(!map.contains_key("$defs") && !map.contains_key("anyOf"), "{path}");
                assert!(!map.get("type").is_some_and(serde_json::Value::is_array), "{path}");
                map.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}")));
            }
            serde_json::Value::Array(list) => list.iter().for_each(|value| walk(value, path)),
            _ => {}
        }
    }
    let schemas = raw::schemas(&[]);
    for (name, schema) in &schemas {
        walk(schema, name);
    }
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], serde_json::json!(["name"]));
}
