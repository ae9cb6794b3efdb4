//! What is decided about namespaces, without an API.

use std::sync::Arc;

use client::Change;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use model::encoded::Revision;
use serde_json::{Value, json};

use super::plan::plan;
use super::view::{Event, View};
use reconcile::picture::Picture;

fn view(namespace: Value) -> View {
    let namespace: Namespace = serde_json::from_value(namespace).expect("is a namespace");
    let mut view = View::default();
    view.apply(Event::Namespaces(Change::Reset(vec![Arc::new(namespace)], Revision(1))));
    view.apply(Event::Accounts(Change::Reset(Vec::new(), Revision(1))));
    view.apply(Event::Maps(Change::Reset(Vec::new(), Revision(1))));
    assert!(view.is_synced());
    view
}

#[test]
fn a_namespace_gets_what_it_lacks_and_no_more() {
    let mut view = view(json!({ "metadata": { "name": "mine" } }));
    let made = plan(&view, "mine", "CA");
    let (account, map) = (made.account.expect("lacks it"), made.create_map.expect("lacks it"));
    view.apply(Event::Accounts(Change::Apply(Arc::new(account))));
    view.apply(Event::Maps(Change::Apply(Arc::new(map))));
    assert!(plan(&view, "mine", "CA").is_quiet());
    let put_right = plan(&view, "mine", "another CA").update_map.expect("is outdated");
    assert_eq!(put_right.data.expect("has data")["ca.crt"], "another CA");
}

#[test]
fn a_namespace_that_is_going_or_gone_gets_nothing() {
    let going = json!({ "metadata": { "name": "mine", "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    assert!(plan(&view(going), "mine", "CA").is_quiet());
    assert!(plan(&view(json!({ "metadata": { "name": "mine" } })), "other", "CA").is_quiet());
}

#[test]
fn accounts_and_maps_of_other_names_do_not_count() {
    let mut view = view(json!({ "metadata": { "name": "mine" } }));
    let account = json!({ "metadata": { "name": "other", "namespace": "mine" } });
    let account: ServiceAccount = serde_json::from_value(account).expect("is an account");
    view.apply(Event::Accounts(Change::Apply(Arc::new(account))));
    let map = json!({ "metadata": { "name": "other", "namespace": "mine" } });
    let map: ConfigMap = serde_json::from_value(map).expect("is a map");
    view.apply(Event::Maps(Change::Apply(Arc::new(map))));
    let plan = plan(&view, "mine", "CA");
    assert!(plan.account.is_some() && plan.create_map.is_some());
}
