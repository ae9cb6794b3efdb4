//! Which objects of the API a pod refers to, as the agent's loop looks them up when they change. Pure.

use k8s_openapi::api::core::v1::Pod;

use crate::sources::References;
use crate::view::PodView;

/// Kinds of objects that pods refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ReferredKind {
    ConfigMap,
    Secret,
    Claim,
}

/// Kind, namespace and name.
pub(crate) type Reference = (ReferredKind, String, String);

/// Everything that a pod refers to.
pub(crate) fn references(view: &PodView) -> Vec<Reference> {
    let Some(spec) = view.spec() else {
        return Vec::new();
    };
    let found = References::of(spec);
    let namespace = view.namespace();
    let of = |kind: ReferredKind, name: String| (kind, namespace.to_owned(), name);
    let maps = found.config_maps.into_iter().map(|name| of(ReferredKind::ConfigMap, name));
    let secrets = found.secrets.into_iter().map(|name| of(ReferredKind::Secret, name));
    let claims = spec.volumes.iter().flatten().filter_map(|volume| {
        let claim = volume.persistent_volume_claim.as_ref()?;
        Some(of(ReferredKind::Claim, claim.claim_name.clone()))
    });
    maps.chain(secrets).chain(claims).collect()
}

/// True if a change of labels or annotations changes files of the pod.
pub(crate) fn has_downward_volume(pod: &Pod) -> bool {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| {
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        volume.downward_api.is_some() || projected.into_iter().any(|source| source.downward_api.is_some())
    })
}
