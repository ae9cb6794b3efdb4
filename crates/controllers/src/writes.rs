//! Writes that several controllers make in the same way: take in, let go, remove.
//!
//! Each is guarded by the uid that was decided about and noted in the barrier, so that a late or repeated
//! plan does no harm. No choices here.

use std::borrow::Cow;

use client::{Body, Client, DeleteOptions, PatchKind, Reply, Target, Typed, Verb};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::meta;
use model::resource::GroupVersionKind;
use model::status::Status;
use reconcile::barrier::{Barrier, Removed};
use serde_json::json;

/// A write that was refused, by what it was for.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct WriteError {
    what: Cow<'static, str>,
    #[source]
    source: Status,
    is_seen: bool,
}

impl WriteError {
    /// What has to be tried again after a pause. Nothing where the object only was another than the plan
    /// knew, and the barrier knows which it is: then it is decided anew, as soon as the view knows it too.
    pub fn failure(self) -> Option<WriteError> {
        (!self.is_seen).then_some(self)
    }
}

/// Says what a refused write was for.
pub fn refused(what: impl Into<Cow<'static, str>>) -> impl Fn(Status) -> WriteError {
    let what = what.into();
    move |source| WriteError { what: what.clone(), source, is_seen: false }
}

/// After a conflict: has the barrier wait for the object as it is, so that no decision is made before the
/// view knows it. Gives the error to end the plan with.
pub async fn overtaken<K: Typed>(
    client: &Client,
    namespace: &str,
    object: &Named,
    conflict: Status,
    barrier: &mut Barrier,
) -> WriteError {
    let what = format!("go on with {} as it was", object.name);
    match client.get::<K>(namespace, &object.name).await {
        Ok(live) if live.metadata().uid.as_deref() == Some(&object.uid) => barrier.wrote(&*live),
        Ok(_) => barrier.removed(removed::<K>(namespace, object)),
        Err(status) if status.is_not_found() => barrier.removed(removed::<K>(namespace, object)),
        Err(status) => return refused(what)(status),
    }
    WriteError { is_seen: true, ..refused(what)(conflict) }
}

/// The name and uid by which a plan speaks of an object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its uid: another object of that name is not meant.
    pub uid: String,
}

impl Named {
    /// By what a plan says of it.
    pub fn new(name: &str, uid: &str) -> Named {
        Named { name: name.to_owned(), uid: uid.to_owned() }
    }

    /// An object's.
    pub fn of(metadata: &ObjectMeta) -> Named {
        Named {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        }
    }
}

/// Reads the owner past every view: adoption must not happen in the name of one that is gone.
pub async fn confirm_alive<K: Typed>(client: &Client, owner: &ObjectMeta) -> Result<(), Status> {
    let name = owner.name.as_deref().unwrap_or_default();
    let live = client.get::<K>(owner.namespace.as_deref().unwrap_or_default(), name).await?;
    if live.metadata().uid != owner.uid {
        let detail = "it is not the one that was decided about any more";
        return Err(Status::conflict(&K::resource(), name, detail));
    }
    if meta::is_terminating(live.metadata()) {
        return Err(Status::conflict(&K::resource(), name, "it is being deleted"));
    }
    Ok(())
}

/// Makes `owner`, of this kind, the one that manages an object, and has the object wait for the finalizer, if
/// there is one. An object that is gone meanwhile needs no owner.
pub async fn adopt<K: Typed>(
    client: &Client,
    owner: &ObjectMeta,
    kind: &GroupVersionKind,
    object: &Named,
    finalizer: Option<&str>,
    barrier: &mut Barrier,
) -> Result<(), Status> {
    let reference = meta::owner_reference(owner, kind);
    let mut metadata = json!({ "uid": object.uid, "ownerReferences": [reference] });
    if let Some(finalizer) = finalizer {
        metadata["finalizers"] = json!([finalizer]);
    }
    let patch = json!({ "metadata": metadata });
    let namespace = owner.namespace.as_deref().unwrap_or_default();
    match client.patch::<K>(namespace, &object.name, "", PatchKind::StrategicMerge, patch).await {
        Ok(adopted) => barrier.wrote(&*adopted),
        Err(status) if status.is_not_found() => barrier.removed(removed::<K>(namespace, object)),
        Err(status) => return Err(status),
    }
    Ok(())
}

/// Takes a finalizer off an object. One that is gone has none.
pub async fn remove_finalizer<K: Typed>(
    client: &Client,
    namespace: &str,
    object: &Named,
    finalizer: &str,
    barrier: &mut Barrier,
) -> Result<(), Status> {
    let metadata = json!({ "uid": object.uid, "$deleteFromPrimitiveList/finalizers": [finalizer] });
    let patch = json!({ "metadata": metadata });
    match client.patch::<K>(namespace, &object.name, "", PatchKind::StrategicMerge, patch).await {
        Ok(patched) => barrier.wrote(&*patched),
        Err(status) if status.is_not_found() => barrier.removed(removed::<K>(namespace, object)),
        Err(status) => return Err(status),
    }
    Ok(())
}

fn removed<K: Typed>(namespace: &str, object: &Named) -> Removed {
    Removed {
        resource: K::URL_PATH_SEGMENT,
        namespace: namespace.to_owned(),
        name: object.name.clone(),
        uid: object.uid.clone(),
    }
}

/// Takes an owner off an object.
pub async fn release<K: Typed>(
    client: &Client,
    owner: &ObjectMeta,
    object: &Named,
    barrier: &mut Barrier,
) -> Result<(), Status> {
    let reference = json!({ "$patch": "delete", "uid": owner.uid });
    let patch = json!({ "metadata": { "uid": object.uid, "ownerReferences": [reference] } });
    let namespace = owner.namespace.as_deref().unwrap_or_default();
    match client.patch::<K>(namespace, &object.name, "", PatchKind::StrategicMerge, patch).await {
        Ok(released) => barrier.wrote(&*released),
        // It is gone, or it is another one, or it has no owners any more: released either way.
        Err(status) if status.is_not_found() || status.code() == 422 => {}
        Err(status) => return Err(status),
    }
    Ok(())
}

/// Deletes an object with its default grace, if it is still the one that was decided about.
pub async fn delete<K: Typed>(
    client: &Client,
    namespace: &str,
    object: &Named,
    barrier: &mut Barrier,
) -> Result<(), Status> {
    delete_with::<K>(client, namespace, object, DeleteOptions::default(), barrier).await
}

/// Deletes an object in some way, if it is still the one that was decided about.
pub async fn delete_with<K: Typed>(
    client: &Client,
    namespace: &str,
    object: &Named,
    mut options: DeleteOptions,
    barrier: &mut Barrier,
) -> Result<(), Status> {
    let target = Target {
        resource: K::resource(),
        namespace: namespace.to_owned(),
        name: object.name.clone(),
        subresource: "",
    };
    options.precondition.uid = Some(object.uid.clone());
    let removed = removed::<K>(namespace, object);
    match client.call(Verb::Delete, target, Body::Delete(options)).await {
        // The last state of an object that is gone looks the same as one that is on its way.
        Ok(Reply::Object(answer))
            if answer.metadata().is_ok_and(|metadata| meta::is_terminating(metadata)) =>
        {
            barrier.wrote_at(K::URL_PATH_SEGMENT, answer.revision());
            Ok(())
        }
        Ok(_) => {
            barrier.removed(removed);
            Ok(())
        }
        Err(status) => {
            if status.is_not_found() {
                barrier.removed(removed);
            }
            Err(status)
        }
    }
}

/// True when a write was refused because its namespace is on its way out: nobody needs to be told.
pub fn is_namespace_terminating(status: &Status) -> bool {
    status.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}
