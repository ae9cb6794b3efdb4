//! The client: typed calls over a transport.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use model::encoded::{Encoded, Revision};
use model::resource::GroupVersionResource;
use model::status::Status;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::transport::{
    Body, Call, DeleteOptions, ListOptions, PatchKind, Reply, Target, Transport, Verb, Watch,
};

/// A kind of the API that can be called: every top-level type of `k8s-openapi`.
pub trait Typed:
    Resource + Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The resource's group, version and plural.
    fn resource() -> GroupVersionResource {
        GroupVersionResource::constant(Self::GROUP, Self::VERSION, Self::URL_PATH_SEGMENT)
    }
}

impl<T> Typed for T where
    T: Resource + Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

/// Which part of a collection.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// One namespace; empty for all of them.
    pub namespace: String,
    /// Which objects.
    pub options: ListOptions,
}

/// Calls the API in one component's name. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    caller: &'static str,
}

impl Client {
    /// A client that calls as `caller`, such as `statefulset-controller`.
    pub fn new(transport: Arc<dyn Transport>, caller: &'static str) -> Client {
        Client { transport, caller }
    }

    /// The same way to the API in another component's name.
    #[must_use]
    pub fn named(&self, caller: &'static str) -> Client {
        Client { transport: Arc::clone(&self.transport), caller }
    }

    /// Who this client calls as.
    pub fn caller(&self) -> &'static str {
        self.caller
    }

    /// Reads one object; `namespace` is empty for cluster-scoped kinds.
    pub async fn get<K: Typed>(&self, namespace: &str, name: &str) -> Result<Arc<K>, Status> {
        let target = target::<K>(namespace, name, "");
        self.object(Verb::Get, target, Body::Empty).await.and_then(|object| decode(&object))
    }

    /// Reads a collection and the revision it shows.
    pub async fn list<K: Typed>(&self, scope: &Scope) -> Result<(Vec<Arc<K>>, Revision), Status> {
        let target = target::<K>(&scope.namespace, "", "");
        let (objects, revision) = self.list_target(target, scope.options.clone()).await?;
        let typed = objects.iter().map(|object| decode(object)).collect::<Result<_, _>>()?;
        Ok((typed, revision))
    }

    /// Watches a collection. Most callers want [`crate::reflect`].
    pub async fn watch<K: Typed>(&self, scope: &Scope, after: Revision) -> Result<Watch, Status> {
        let target = target::<K>(&scope.namespace, "", "");
        self.transport.watch(target, scope.options.clone(), after, self.caller).await
    }

    /// Makes an object in the namespace that it names.
    pub async fn create<K: Typed>(&self, object: &K) -> Result<Arc<K>, Status> {
        let namespace = object.metadata().namespace.clone().unwrap_or_default();
        let body = encode(object)?;
        let target = target::<K>(&namespace, "", "");
        self.object(Verb::Create, target, Body::Object(body)).await.and_then(|object| decode(&object))
    }

    /// Writes an object; its `resourceVersion`, if set, must be the stored one.
    pub async fn update<K: Typed>(&self, object: &K) -> Result<Arc<K>, Status> {
        self.put(object, "").await
    }

    /// Writes an object's status alone.
    pub async fn update_status<K: Typed>(&self, object: &K) -> Result<Arc<K>, Status> {
        self.put(object, "status").await
    }

    /// Patches an object, or with `subresource` a part of it.
    pub async fn patch<K: Typed>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &'static str,
        kind: PatchKind,
        patch: Value,
    ) -> Result<Arc<K>, Status> {
        let target = target::<K>(namespace, name, subresource);
        self.object(Verb::Patch, target, Body::Patch(kind, patch)).await.and_then(|object| decode(&object))
    }

    /// Deletes an object, or asks for it where finalizers or a grace period stand in the way.
    pub async fn delete<K: Typed>(
        &self,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<(), Status> {
        let target = target::<K>(namespace, name, "");
        self.call(Verb::Delete, target, Body::Delete(options)).await.map(|_| ())
    }

    /// Posts to a subresource that answers with no object (`binding`, `eviction`).
    pub async fn post<K: Typed>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &'static str,
        body: Value,
    ) -> Result<(), Status> {
        let target = target::<K>(namespace, name, subresource);
        self.call(Verb::Create, target, Body::Object(body)).await.map(|_| ())
    }

    /// Any call on any resource, untyped: the garbage collector and namespace deletion work on every kind.
    pub async fn call(&self, verb: Verb, target: Target, body: Body) -> Result<Reply, Status> {
        let call = Call { verb, target, list: ListOptions::default(), body, caller: self.caller };
        self.transport.call(call).await
    }

    /// Any collection of any resource, untyped, and the revision it shows.
    pub async fn list_target(
        &self,
        target: Target,
        options: ListOptions,
    ) -> Result<(Vec<Arc<Encoded>>, Revision), Status> {
        let call = Call { verb: Verb::List, target, list: options, body: Body::Empty, caller: self.caller };
        match self.transport.call(call).await? {
            Reply::List(objects, revision) => Ok((objects, revision)),
            Reply::Object(_) | Reply::Done => Err(Status::internal("a list was answered by no list")),
        }
    }

    /// Any watch on any resource, untyped.
    pub async fn watch_target(
        &self,
        target: Target,
        options: ListOptions,
        after: Revision,
    ) -> Result<Watch, Status> {
        self.transport.watch(target, options, after, self.caller).await
    }

    async fn put<K: Typed>(&self, object: &K, subresource: &'static str) -> Result<Arc<K>, Status> {
        let metadata = object.metadata();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let target = target::<K>(namespace, name, subresource);
        let body = Body::Object(encode(object)?);
        self.object(Verb::Update, target, body).await.and_then(|object| decode(&object))
    }

    async fn object(&self, verb: Verb, target: Target, body: Body) -> Result<Arc<Encoded>, Status> {
        match self.call(verb, target, body).await? {
            Reply::Object(object) => Ok(object),
            Reply::List(..) | Reply::Done => Err(Status::internal("a call was answered by no object")),
        }
    }
}

pub(crate) fn target<K: Typed>(namespace: &str, name: &str, subresource: &'static str) -> Target {
    Target { resource: K::resource(), namespace: namespace.to_owned(), name: name.to_owned(), subresource }
}

pub(crate) fn decode<K: Typed>(object: &Encoded) -> Result<Arc<K>, Status> {
    object.decode::<K>().map_err(|error| Status::internal(format!("{error}: {}", error.source)))
}

fn encode<K: Typed>(object: &K) -> Result<Value, Status> {
    serde_json::to_value(object).map_err(|error| Status::internal(format!("encode the body: {error}")))
}

/// True for kinds that live in namespaces; used to write clients that serve both.
pub trait Namespaced: Resource<Scope = NamespaceResourceScope> {}
impl<T: Resource<Scope = NamespaceResourceScope>> Namespaced for T {}
