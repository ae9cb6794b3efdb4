//! What a request is: health, a fixed path, discovery, or a resource and a verb; and whether it may be.

use std::sync::Arc;

use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use model::status::{Reason, Status};

use super::respond::{self, Answer};
use super::{fixed, resources};
use crate::api::Api;
use crate::authz::{self, Attributes};
use crate::metrics::{LatencyLabels, RequestLabels};
use crate::request::path::{self, ApiPath, ResourcePath};
use crate::request::query::Query;
use crate::request::{Context, User};

/// A request for a resource, understood.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: ResourcePath,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    pub(super) cx: Context,
    pub(super) verb: &'static str,
}

/// Answers a request.
pub(super) async fn handle(api: &Arc<Api>, user: Option<&User>, request: Request<Incoming>) -> Answer {
    let uri = request.uri().clone();
    if let Some(answer) = fixed::health(api, uri.path()) {
        return answer;
    }
    let Some(user) = user else {
        return respond::refusal(&Status::new(Reason::Unauthorized, "Unauthorized"));
    };
    match routed(api, user, request).await {
        Ok(answer) => answer,
        Err(status) => respond::refusal(&status),
    }
}

async fn routed(api: &Arc<Api>, user: &User, request: Request<Incoming>) -> Result<Answer, Status> {
    let uri = request.uri().clone();
    let asked_path = match path::parse(uri.path()) {
        Some(ApiPath::Resource(resource)) => resource,
        other => {
            let verb = request.method().as_str().to_lowercase();
            let attributes = Attributes {
                verb: &verb,
                group: "",
                resource: "",
                namespace: "",
                name: "",
                path: uri.path(),
            };
            authorize(api, user, &attributes)?;
            if request.method() != Method::GET {
                return Err(Status::no_such_path());
            }
            let answer = match other {
                Some(found) => fixed::discover(api, &found, request.headers()),
                None => fixed::answer(api, uri.path(), uri.query(), request.headers()),
            };
            return answer.ok_or_else(Status::no_such_path);
        }
    };
    let query = Query::parse(uri.query().unwrap_or_default())?;
    let method = request.method().clone();
    let verb = verb(&method, &asked_path, &query)?;
    let resource = if asked_path.subresource.is_empty() {
        asked_path.resource.clone()
    } else {
        format!("{}/{}", asked_path.resource, asked_path.subresource)
    };
    let attributes = Attributes {
        verb,
        group: &asked_path.group,
        resource: &resource,
        namespace: &asked_path.namespace,
        name: &asked_path.name,
        path: "",
    };
    authorize(api, user, &attributes)?;
    let lasting = verb == "watch" || matches!(asked_path.subresource.as_str(), "log" | "exec" | "attach");
    let running = InFlight::enter(api, lasting)?;
    let headers = request.headers().clone();
    let cx = Context::new(user.clone());
    let asked = Asked { method, path: asked_path, query, headers, cx, verb };
    let began = tokio::time::Instant::now();
    let answered = resources::answer(api, &asked, request).await;
    drop(running);
    let mut answer = answered.unwrap_or_else(|status| respond::refusal(&status));
    respond::warn(&mut answer, asked.cx.take_warnings());
    // Only resources that exist become labels: clients must not be able to make up new series.
    let known = api.kind_at(&asked.path.group, &asked.path.version, &asked.path.resource).is_some();
    let resource = if known { resource } else { String::new() };
    let code = u32::from(answer.status().as_u16());
    let labels = RequestLabels { verb: verb.to_owned(), resource: resource.clone(), code };
    api.metrics.requests.get_or_create(&labels).inc();
    if !lasting {
        let labels = LatencyLabels { verb: verb.to_owned(), resource };
        api.metrics.latency_seconds.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
    }
    Ok(answer)
}

fn authorize(api: &Api, user: &User, attributes: &Attributes<'_>) -> Result<(), Status> {
    if api.authorizer.allows(user, attributes) { Ok(()) } else { Err(authz::refusal(user, attributes)) }
}

fn verb(method: &Method, path: &ResourcePath, query: &Query) -> Result<&'static str, Status> {
    let named = !path.name.is_empty();
    Ok(match (method.as_str(), named) {
        ("GET" | "HEAD", false) if path.watch || query.flag("watch") => "watch",
        ("GET", true) if path.watch => "watch",
        ("GET" | "HEAD", true) => "get",
        ("GET" | "HEAD", false) => "list",
        ("POST", _) => "create",
        ("PUT", true) => "update",
        ("PATCH", true) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ => return Err(Status::method_not_allowed()),
    })
}

/// Counts a request as long as it is served.
struct InFlight<'a>(&'a Api, bool);

impl<'a> InFlight<'a> {
    fn enter(api: &'a Api, lasting: bool) -> Result<InFlight<'a>, Status> {
        if !lasting {
            let running = api.metrics.in_flight.inc();
            if usize::try_from(running).unwrap_or(0) >= api.config.requests_in_flight_max {
                api.metrics.in_flight.dec();
                let text = "Too many requests, please try again later.";
                return Err(Status::new(Reason::TooManyRequests, text));
            }
        }
        Ok(InFlight(api, lasting))
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.metrics.in_flight.dec();
        }
    }
}
