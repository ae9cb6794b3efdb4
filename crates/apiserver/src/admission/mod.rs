//! Admission: rules that need more than the object itself (other objects, the clock, allocations).
//!
//! Plug-ins run in a fixed order, first all mutations, then all validations. The place where webhooks and
//! policies will join. A plug-in must not write: what it wants written with the object (an allocation) it
//! adds to [`Review::companions`], so that both are written or neither.

mod namespace_lifecycle;
mod pod_defaults;
mod priority;
mod service_account;
mod service_addresses;
mod stateful_sets;
mod storage;

use async_trait::async_trait;
use model::status::Status;
use serde_json::Value;
use store::Txn;

use crate::api::Api;
use crate::request::{Address, Context};

/// What is done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// One write under review.
pub(crate) struct Review<'a> {
    pub(crate) operation: Operation,
    pub(crate) address: &'a Address,
    /// Empty for the main resource.
    pub(crate) subresource: &'static str,
    /// Who asks, and the way to warn them.
    pub(crate) cx: &'a Context,
    #[expect(dead_code, reason = "read by the webhooks that join here")]
    pub(crate) dry_run: bool,
    /// Nothing is written, and a namespace that is not there is made before.
    pub(crate) assumes_namespace: bool,
    /// Conditions and writes that go with the object's own.
    pub(crate) companions: Txn,
}

impl<'a> Review<'a> {
    pub(crate) fn new(
        operation: Operation,
        address: &'a Address,
        cx: &'a Context,
        dry_run: bool,
    ) -> Review<'a> {
        let companions = Txn::default();
        Review { operation, address, subresource: "", cx, dry_run, assumes_namespace: false, companions }
    }

    /// True for a write to the main resource of the kind `kind` in `group`.
    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        let gvk = &self.address.kind.gvk;
        self.subresource.is_empty() && gvk.kind == kind && gvk.group == group
    }
}

/// One rule.
#[async_trait]
pub(crate) trait Plugin: Send + Sync {
    /// Completes an object that is about to be written.
    async fn mutate(
        &self,
        _api: &Api,
        _review: &mut Review<'_>,
        _object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses a write. `new` is `None` for a deletion.
    async fn validate(
        &self,
        _api: &Api,
        _review: &mut Review<'_>,
        _new: Option<&Value>,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Gives back what `old`, which is being removed now, had been given.
    fn release(&self, _review: &mut Review<'_>, _old: &Value) {}
}

/// The plug-ins, in order.
pub(crate) struct Chain(Vec<Box<dyn Plugin>>);

impl Chain {
    /// The built-in ones.
    pub(crate) fn built_in() -> Chain {
        Chain(vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle),
            Box::new(service_account::ServiceAccount),
            Box::new(priority::Priority),
            Box::new(pod_defaults::PodDefaults),
            Box::new(storage::DefaultStorageClass),
            Box::new(storage::StorageObjectInUseProtection),
            Box::new(storage::ClaimResize),
            Box::new(service_addresses::ServiceAddresses),
            Box::new(stateful_sets::ClaimNames),
            Box::new(stateful_sets::Warnings),
        ])
    }

    pub(crate) async fn mutate(
        &self,
        api: &Api,
        review: &mut Review<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        for plugin in &self.0 {
            plugin.mutate(api, review, object, old).await?;
        }
        Ok(())
    }

    pub(crate) async fn validate(
        &self,
        api: &Api,
        review: &mut Review<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        for plugin in &self.0 {
            plugin.validate(api, review, new, old).await?;
        }
        Ok(())
    }

    pub(crate) fn release(&self, _api: &Api, review: &mut Review<'_>, old: &Value) {
        for plugin in &self.0 {
            plugin.release(review, old);
        }
    }
}
