//! `ordinal plan`: what applying manifests would do to StatefulSets, before it is done.
//!
//! The API is asked what it would make of each set (a dry run, so that defaults and refusals are the real
//! ones), and the controller's own plan is carried out on a picture of the cluster. Nothing is written.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use client::{Client, Scope, Target, Typed};
use controllers::statefulset::decision::DeleteReason;
use controllers::statefulset::forecast::{End, Forecast, Move, Picture, forecast};
use http::Method;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use model::clock::Clock;
use model::stateful_set::ExtendedStatefulSet;
use model::{meta, ordinal};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{OutputForm, PlanArguments, WouldBeRefused};
use crate::clock::SystemClock;
use crate::data_dir::DataDir;
use crate::output;
use crate::remote::{Refusal, Remote};
use crate::up::manifests::{self, LAST_APPLIED};

/// Moves that a plan shows one by one; the rest is counted.
const MOVES_SHOWN_MAX: usize = 60;

/// What would become of one set.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    namespace: String,
    name: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Outcome {
    /// It would be made, or changed.
    Forecast {
        is_new: bool,
        #[serde(flatten)]
        forecast: Forecast,
    },
    /// It would be deleted.
    Deletion { pods: Vec<String>, claims_deleted: Vec<String>, claims_kept: Vec<String> },
    /// The API would refuse it.
    Refused { message: String, instead: Option<String> },
    /// It is no set: other kinds are applied as they stand.
    NotPlanned { kind: String },
}

/// Carries the command out.
pub(crate) async fn run(arguments: &PlanArguments) -> Result<()> {
    let objects = manifests::read(&arguments.manifests)?;
    let data_dir = DataDir::find(&arguments.data_dir)?;
    let remote = Arc::new(Remote::connect(&data_dir)?);
    let mut all = Vec::new();
    for object in objects {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let namespace = Some(text("/metadata/namespace")).filter(|text| !text.is_empty());
        let namespace = namespace.unwrap_or_else(|| arguments.namespace.clone());
        let outcome = if kind != "StatefulSet" || text("/apiVersion") != "apps/v1" {
            Outcome::NotPlanned { kind }
        } else if arguments.delete {
            deletion(&remote, &namespace, &name).await?
        } else {
            change(&remote, object, &namespace, &name).await?
        };
        all.push(Planned { namespace, name, outcome });
    }
    match arguments.output {
        OutputForm::Json => output::line(serde_json::to_string_pretty(&all)?),
        OutputForm::Text => all.iter().for_each(|planned| output::line(text_of(planned).trim_end())),
    }
    let refused = all.iter().filter(|planned| matches!(planned.outcome, Outcome::Refused { .. })).count();
    if refused > 0 {
        return Err(WouldBeRefused(refused).into());
    }
    Ok(())
}

async fn change(remote: &Arc<Remote>, mut body: Value, namespace: &str, name: &str) -> Result<Outcome> {
    if !body["metadata"].is_object() {
        bail!("StatefulSet {name:?}: metadata must be a mapping");
    }
    body["metadata"]["namespace"] = namespace.into();
    body["metadata"]["annotations"][LAST_APPLIED] = manifests::last_applied(&body)?.into();
    let target = |name: &str| Target {
        resource: StatefulSet::resource(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: "",
    };
    let created = remote.try_write(Method::POST, &target(""), "application/json", &body).await?;
    let (answer, is_new) = match created {
        Err(Refusal { reason, .. }) if reason == "AlreadyExists" => {
            let client = client(remote);
            let old = client.get::<ExtendedStatefulSet>(namespace, name).await?;
            let annotations = old.set.metadata.annotations.as_ref();
            let before = annotations.and_then(|annotations| annotations.get(LAST_APPLIED));
            if let Some(before) = before.and_then(|text| serde_json::from_str(text).ok()) {
                model::patch::add_removals(&before, &mut body, "io.k8s.api.apps.v1.StatefulSet");
            }
            let kind = "application/strategic-merge-patch+json";
            (remote.try_write(Method::PATCH, &target(name), kind, &body).await?, false)
        }
        created => (created, true),
    };
    let object = match answer {
        Ok(object) => object,
        Err(Refusal { message, .. }) => {
            let instead = instead(&message);
            return Ok(Outcome::Refused { message, instead });
        }
    };
    let set: ExtendedStatefulSet =
        serde_json::from_value(object).context("read the set that was answered")?;
    let (pods, claims, revisions) = surroundings(remote, namespace).await?;
    let picture = Picture { set, pods, claims, revisions };
    Ok(Outcome::Forecast { is_new, forecast: forecast(picture, SystemClock::default().now()) })
}

/// Which change would be allowed in place of one that is not.
fn instead(message: &str) -> Option<String> {
    message.contains("updates to statefulset spec for fields other than").then(|| {
        "the fields that may not change in place are serviceName, selector, podManagementPolicy and \
         volumeClaimTemplates: delete the set with --cascade=orphan and apply it anew, its pods and claims \
         stay and are taken over"
            .to_owned()
    })
}

async fn deletion(remote: &Arc<Remote>, namespace: &str, name: &str) -> Result<Outcome> {
    let set = match client(remote).get::<StatefulSet>(namespace, name).await {
        Ok(set) => set,
        Err(status) if status.is_not_found() => {
            return Ok(Outcome::Refused { message: status.to_string(), instead: None });
        }
        Err(status) => return Err(status.into()),
    };
    let uid = set.metadata.uid.clone().unwrap_or_default();
    let (pods, claims, _) = surroundings(remote, namespace).await?;
    let mut pods: Vec<(i32, String)> = pods
        .iter()
        .filter(|pod| meta::is_controlled_by(&pod.metadata, &uid))
        .filter_map(|pod| pod.metadata.name.clone())
        .map(|name| (ordinal::parse(&name).map_or(-1, |(_, ordinal)| ordinal), name))
        .collect();
    pods.sort();
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let stems: Vec<String> = templates
        .map(|claim| format!("{}-{name}", claim.metadata.name.as_deref().unwrap_or_default()))
        .collect();
    let of_set = claims.iter().filter(|claim| {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        ordinal::parse(name).is_some_and(|(stem, _)| stems.iter().any(|one| one == stem))
    });
    let (deleted, kept): (Vec<_>, Vec<_>) = of_set.partition(|claim| {
        let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
        !owners.is_empty() && owners.iter().all(|owner| owner.uid == uid)
    });
    let names = |claims: Vec<&Arc<PersistentVolumeClaim>>| {
        claims.into_iter().filter_map(|claim| claim.metadata.name.clone()).collect()
    };
    let pods = pods.into_iter().rev().map(|(_, name)| name).collect();
    Ok(Outcome::Deletion { pods, claims_deleted: names(deleted), claims_kept: names(kept) })
}

pub(crate) fn client(remote: &Arc<Remote>) -> Client {
    Client::new(Arc::clone(remote) as Arc<dyn client::transport::Transport>, "ordinal")
}

/// Everything of a namespace that a plan looks at.
type Surroundings = (Vec<Arc<Pod>>, Vec<Arc<PersistentVolumeClaim>>, Vec<Arc<ControllerRevision>>);

/// Reads what a plan looks at.
pub(crate) async fn surroundings(remote: &Arc<Remote>, namespace: &str) -> Result<Surroundings> {
    let client = client(remote);
    let scope = Scope { namespace: namespace.to_owned(), ..Scope::default() };
    let (pods, _) = client.list::<Pod>(&scope).await.context("list Pods")?;
    let (claims, _) = client.list::<PersistentVolumeClaim>(&scope).await.context("list claims")?;
    let (revisions, _) = client.list::<ControllerRevision>(&scope).await.context("list revisions")?;
    Ok((pods, claims, revisions))
}

fn text_of(planned: &Planned) -> String {
    let mut text = String::new();
    let title = format!("{}/{}", planned.namespace, planned.name);
    let _ = match &planned.outcome {
        Outcome::NotPlanned { kind } => writeln!(text, "{title}: {kind} is applied as it stands"),
        Outcome::Refused { message, instead } => {
            let _ = writeln!(text, "{title}: would be refused\n  {message}");
            instead.as_ref().map_or(Ok(()), |instead| writeln!(text, "  instead: {instead}"))
        }
        Outcome::Deletion { pods, claims_deleted, claims_kept } => {
            let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let _ = writeln!(text, "{title}: would be deleted");
            let _ = writeln!(text, "  pods deleted     {}", list(pods));
            let _ = writeln!(text, "  claims deleted   {}", list(claims_deleted));
            writeln!(text, "  claims kept      {}", list(claims_kept))
        }
        Outcome::Forecast { is_new, forecast } => {
            let _ = writeln!(text, "{title}: {}", if *is_new { "would be made" } else { "would be changed" });
            text.push_str(&text_of_forecast(forecast));
            Ok(())
        }
    };
    text
}

fn text_of_forecast(forecast: &Forecast) -> String {
    let mut text = String::new();
    for (number, one) in forecast.moves.iter().take(MOVES_SHOWN_MAX).enumerate() {
        let _ = writeln!(text, "  {:>3}. {}", number + 1, words(one));
    }
    if forecast.moves.len() > MOVES_SHOWN_MAX {
        let _ = writeln!(text, "       and {} more", forecast.moves.len() - MOVES_SHOWN_MAX);
    }
    if forecast.moves.is_empty() {
        let _ = writeln!(text, "  nothing would be done");
    }
    if !forecast.restarts.is_empty() {
        let _ = writeln!(text, "  restarts         {}", forecast.restarts.join(", then "));
    }
    let (now, worst) = (forecast.unavailable_now, forecast.unavailable_at_worst);
    if worst > 0 {
        let steps = forecast.steps_at_worst;
        let steps = if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") };
        let replicas = forecast.replicas;
        let _ =
            writeln!(text, "  unavailable      at worst {worst} of {replicas}, during {steps} (now {now})");
    }
    if forecast.waits_seconds > 0 {
        let _ = writeln!(text, "  waits            at least {} s, as the set asks", forecast.waits_seconds);
    }
    let _ = match &forecast.end {
        End::Rests => writeln!(text, "  in the end       all is as the set says, if new pods become ready"),
        End::Waits { reasons } => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            writeln!(text, "  in the end       it waits for {}", reasons.join("; "))
        }
        End::StillMoves => {
            writeln!(text, "  in the end       it still moves: it does not seem to come to rest")
        }
    };
    text
}

fn words(one: &Move) -> String {
    match one {
        Move::CreatePod { pod, revision } => format!("create pod {pod} at {revision}"),
        Move::DeletePod { pod, why } => {
            let why = match why {
                DeleteReason::Ended => "it has ended",
                DeleteReason::ScaledDown => "scaled down",
                DeleteReason::Outdated => "outdated",
                DeleteReason::Broken => "outdated and never ready",
            };
            format!("delete pod {pod} ({why})")
        }
        Move::UpdatePod { pod } => format!("repair pod {pod}"),
        Move::CreateClaim { claim } => format!("create claim {claim}"),
        Move::OwnClaim { claim, owners } if owners.is_empty() => {
            format!("claim {claim} stays whatever happens")
        }
        Move::OwnClaim { claim, owners } => format!("claim {claim} goes with {}", owners.join(", ")),
        Move::DeleteClaim { claim } => format!("delete claim {claim} and its data"),
        Move::Prepare { what } => what.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_forbidden_change_comes_with_one_that_is_allowed() {
        assert!(instead("updates to statefulset spec for fields other than 'replicas'").is_some());
        assert_eq!(instead("spec.replicas: Invalid value: -1"), None);
    }

    #[test]
    fn a_plan_reads_as_a_list_of_what_is_done() {
        let forecast = Forecast {
            moves: vec![
                Move::DeletePod { pod: "web-1".to_owned(), why: DeleteReason::Outdated },
                Move::CreatePod { pod: "web-1".to_owned(), revision: "web-2".to_owned() },
            ],
            restarts: vec!["web-1".to_owned()],
            replicas: 2,
            unavailable_now: 0,
            unavailable_at_worst: 1,
            steps_at_worst: 2,
            waits_seconds: 0,
            end: End::Rests,
        };
        let text = text_of_forecast(&forecast);
        assert!(text.contains("    1. delete pod web-1 (outdated)\n"), "{text}");
        assert!(text.contains("at worst 1 of 2, during 2 steps (now 0)"), "{text}");
        let json = json!(Planned {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            outcome: Outcome::Forecast { is_new: false, forecast },
        });
        assert_eq!(
            json["forecast"]["moves"][0],
            json!({ "do": "deletePod", "pod": "web-1", "why": "Outdated" })
        );
    }
}
