//! What a namespace lacks: pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::meta;

use super::view::View;
use super::{ACCOUNT, ROOT_CA, ROOT_CA_KEY};

/// Tells people what the map is for, as upstream's does.
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using \
                           internal endpoints such as the internal service IP or \
                           kubernetes.default.svc. No other usage is guaranteed across distributions of \
                           Kubernetes clusters.";

/// What to write in one namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The account to make.
    pub account: Option<ServiceAccount>,
    /// The map to make.
    pub create_map: Option<ConfigMap>,
    /// The map to write over, with the revision that was decided about.
    pub update_map: Option<ConfigMap>,
}

impl Plan {
    /// True when nothing is lacking.
    pub fn is_quiet(&self) -> bool {
        *self == Plan::default()
    }
}

/// Decides about one namespace.
pub fn plan(view: &View, namespace: &str, root_ca: &str) -> Plan {
    let mut plan = Plan::default();
    if !view.is_active(namespace) {
        return plan;
    }
    if !view.has_account(namespace) {
        let metadata = named(namespace, ACCOUNT);
        plan.account = Some(ServiceAccount { metadata, ..ServiceAccount::default() });
    }
    let data = BTreeMap::from([(ROOT_CA_KEY.to_owned(), root_ca.to_owned())]);
    match view.map(namespace) {
        None => {
            let mut metadata = named(namespace, ROOT_CA);
            let description = ("kubernetes.io/description".to_owned(), DESCRIPTION.to_owned());
            metadata.annotations = Some(BTreeMap::from([description]));
            plan.create_map = Some(ConfigMap { metadata, data: Some(data), ..ConfigMap::default() });
        }
        Some(map) if map.data.as_ref() == Some(&data) || meta::is_terminating(&map.metadata) => {}
        Some(map) => plan.update_map = Some(ConfigMap { data: Some(data), ..map.clone() }),
    }
    plan
}

fn named(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(namespace.to_owned()), name: Some(name.to_owned()), ..ObjectMeta::default() }
}
