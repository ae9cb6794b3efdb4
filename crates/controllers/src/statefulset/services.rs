//! Services as far as sets name them: which are there, and which are headless.
//!
//! They decide nothing: a set runs without its Service, but its pods have no names of their own then, and
//! people should be told. So decisions do not wait until Services are known.

use std::sync::Arc;

use client::Change;
use k8s_openapi::api::core::v1::Service;

use super::by_name::ByName;

/// What is known of the Service that a set names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Governing {
    /// It is headless, as it should be; or Services are not known yet.
    Right,
    /// There is none of that name.
    Missing,
    /// There is one, with an address of its own.
    NotHeadless,
}

/// The Services, once they have been listed: true for headless ones.
#[derive(Debug, Default)]
pub(super) struct Services(Option<ByName<bool>>);

impl Services {
    /// Takes a change in; gives the Service where that may matter to sets that name it. A list may to all.
    pub(super) fn apply(&mut self, change: &Change<Service>) -> Vec<Arc<Service>> {
        let is_headless = |service: &Service| {
            let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
            address == Some("None")
        };
        if let Change::Reset(all, _) = change {
            let mut known = ByName::default();
            for service in all {
                known.insert(&service.metadata, is_headless(service));
            }
            self.0 = Some(known);
        }
        let Some(known) = &mut self.0 else { return Vec::new() };
        match change {
            Change::Reset(..) => Vec::new(),
            Change::Apply(service) => {
                let before = known.insert(&service.metadata, is_headless(service));
                if before == Some(is_headless(service)) { Vec::new() } else { vec![Arc::clone(service)] }
            }
            Change::Delete(service) => {
                known.remove(&service.metadata);
                vec![Arc::clone(service)]
            }
        }
    }

    /// What is known of the Service of this name.
    pub(super) fn governing(&self, namespace: &str, name: &str) -> Governing {
        match self.0.as_ref().map(|known| known.get(namespace, name)) {
            None | Some(Some(true)) => Governing::Right,
            Some(None) => Governing::Missing,
            Some(Some(false)) => Governing::NotHeadless,
        }
    }
}
