//! `ordinal plan`: what applying manifests would do to StatefulSets, before it is done.
//!
//! Each set is put to the API as a `StatefulSetReview`, which any client can ask too; here the answer is only
//! told. Nothing is written.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use controllers::statefulset::decision::DeleteReason;
use controllers::statefulset::forecast::{End, Forecast, Move};
use model::review;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cli::{OutputForm, PlanArguments, WouldBeRefused};
use crate::data_dir::DataDir;
use crate::output;
use crate::remote::Remote;
use crate::up::manifests;

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

#[derive(Serialize, Deserialize)]
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
    let remote = Remote::connect(&data_dir)?;
    let operation = if arguments.delete { review::DELETE } else { review::APPLY };
    let mut all = Vec::new();
    let mut namespaces = BTreeSet::new();
    for object in objects {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let namespace = Some(text("/metadata/namespace")).filter(|text| !text.is_empty());
        let namespace = namespace.unwrap_or_else(|| arguments.namespace.clone());
        if kind == "Namespace" {
            namespaces.insert(name.clone());
        }
        let outcome = if kind != "StatefulSet" {
            Outcome::NotPlanned { kind }
        } else {
            let question = json!({
                "operation": operation,
                "manifest": object,
                "assumeNamespace": namespaces.contains(&namespace),
            });
            ask(&remote, &namespace, question).await?
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

/// Puts the question to the API.
async fn ask(remote: &Remote, namespace: &str, question: Value) -> Result<Outcome> {
    let question = json!({
        "apiVersion": format!("{}/v1", review::GROUP),
        "kind": review::KIND,
        "spec": question,
    });
    let path = format!("/apis/{}/v1/namespaces/{namespace}/{}", review::GROUP, review::PLURAL);
    match remote.post(&path, &question).await? {
        Ok(mut answer) => {
            serde_json::from_value(answer["status"].take()).context("read the answer of the review")
        }
        Err(message) => Ok(Outcome::Refused { message, instead: None }),
    }
}

fn text_of(planned: &Planned) -> String {
    let mut text = String::new();
    let title = format!("{}/{}", planned.namespace, planned.name);
    let _ = match &planned.outcome {
        Outcome::NotPlanned { kind } => {
            writeln!(text, "{title}: not looked at, only StatefulSets are planned ({kind})")
        }
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
        End::Rests => writeln!(
            text,
            "  in the end       all is as the set says, if new pods become ready and volumes do what is asked"
        ),
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
        Move::GrowClaim { claim, from, to } => format!("grow claim {claim} {from} → {to}"),
        Move::ChangeClaim { claim, changes } if changes.is_empty() => {
            format!("note the revision of claim {claim}")
        }
        Move::ChangeClaim { claim, changes } => format!("change claim {claim}: {}", changes.join(", ")),
        Move::NotePod { pod, revision } => format!("note that pod {pod} is at {revision}, without a restart"),
        Move::DeleteClaim { claim } => format!("delete claim {claim} and its data"),
        Move::Prepare { what } => what.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_as_a_list_of_what_is_done() {
        let forecast = Forecast {
            moves: vec![
                Move::DeletePod { pod: "web-1".to_owned(), why: DeleteReason::Outdated },
                Move::CreatePod { pod: "web-1".to_owned(), revision: "web-2".to_owned() },
                Move::GrowClaim {
                    claim: "data-web-0".to_owned(),
                    from: "1Gi".to_owned(),
                    to: "2Gi".to_owned(),
                },
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
        assert!(text.contains("    3. grow claim data-web-0 1Gi → 2Gi\n"), "{text}");
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
