//! Protobuf bodies as kubectl sends them, and as nobody should.

use super::*;

#[test]
fn every_name_in_the_table_resolves() {
    let table = Table::get();
    for (api_version, kind) in [
        ("v1", "Pod"), ("v1", "Secret"), ("apps/v1", "StatefulSet"), ("policy/v1", "Eviction"),
        ("autoscaling/v1", "Scale"), ("coordination.k8s.io/v1", "Lease"), ("events.k8s.io/v1", "Event"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"), ("apps/v1", "DeleteOptions"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("v1", "Status"),
        ("meta.k8s.io/v1", "PartialObjectMetadata"), ("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"),
    ] {
        assert!(table.object(api_version, kind).is_some(), "{api_version} {kind}");
    }
    assert_eq!(table.object("example.com/v1", "Pod"), None);
    assert_eq!(table.object("v1", "Nonsense"), None);
    assert_eq!(table.object("apps.example.com/v1", "StatefulSet"), None);
}
