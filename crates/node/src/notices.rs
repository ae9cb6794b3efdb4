//! What people are told when a pod's status turns: pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodStatus;

use crate::view::PodView;
use crate::worker::Notice;

/// Containers that begin to wait for a restart with this status.
pub(crate) fn of_crashes(view: &PodView, status: &PodStatus) -> Vec<Notice> {
    let waits = |status: &PodStatus| -> BTreeSet<String> {
        let lists = [&status.init_container_statuses, &status.container_statuses];
        lists
            .into_iter()
            .flat_map(|list| list.iter().flatten())
            .filter(|container| {
                let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
                waiting.and_then(|waiting| waiting.reason.as_deref()) == Some("CrashLoopBackOff")
            })
            .map(|container| container.name.clone())
            .collect()
    };
    let before = waits(&view.written);
    waits(status)
        .into_iter()
        .filter(|name| !before.contains(name))
        .map(|container| {
            let pod = format!("{}_{}({})", view.name(), view.namespace(), view.uid);
            let message = format!("Back-off restarting failed container {container} in pod {pod}");
            Notice { container, warning: true, reason: "BackOff", message }
        })
        .collect()
}
