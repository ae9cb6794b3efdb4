//! The interpreter of the scripts: one command a line, the world's answer indented below it.
//!
//! | command | what happens |
//! |---|---|
//! | `apply SET key=value …` | the set is made, or these of its fields change |
//! | `set SET delete\|gone\|conditions` | its deletion is asked for; it is gone; somebody adds a condition |
//! | `pod POD ready\|running\|pending\|failed\|succeeded\|crashloop\|unscheduled` | its node reports |
//! | `pod POD delete\|gone` | somebody asks for its deletion; it is gone |
//! | `pod POD made [owner=Kind/name] [app=value]` | somebody makes a pod of that name |
//! | `pod POD label app=value`, `pod POD unlabel KEY`, `pod POD orphan` | its metadata changes |
//! | `claim CLAIM made\|delete\|gone\|owners [Kind/name[/uid][!]] …` | for claims; `!` is a controller |
//! | `claim CLAIM bound [SIZE]\|condition TYPE [MESSAGE]` | its driver reports |
//! | `claim CLAIM label key=value\|class NAME\|asks SIZE\|at <REVISION>\|unbound` | it is changed |
//! | `revision orphan SET` | the set's revisions lose their owner |
//! | `revision take SET` | somebody else's revision takes the name that the next one would get |
//! | `services [NAME headless\|addressed]` | these are all the Services there are |
//! | `class NAME grows\|fixed` | this is the only storage class |
//! | `tick SECONDS` | time passes |
//! | `collect` | the garbage collector runs |
//! | `plan SET` | shows the plan |
//! | `sync SET` | shows the plan and carries it out |
//! | `settle SET` | syncs, with pods that start and end by themselves, until nothing is left to do |
//! | `show pods\|claims\|sizes\|revisions\|pod NAME\|claim NAME` | shows objects |

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use model::stateful_set::{ClaimUpdates, PRIMARY_LABEL_ANNOTATION, ROLLOUT_ANNOTATION, Reserved};
use serde_json::{Value, json};

use super::world::{NAMESPACE, World, name_of};
use crate::statefulset::decision::Preparation;
use crate::statefulset::view::REVISION_LABEL;

/// Syncs of one `settle` before it is called endless.
const SETTLE_MAX: usize = 200;

/// Runs a script and gives it back with fresh answers.
pub(super) fn run(text: &str) -> String {
    let mut world = World::new();
    let mut output = String::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("  ") {
            continue;
        }
        let _ = writeln!(output, "{line}");
        let command = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = command.split_whitespace().collect();
        let answer = command_of(&mut world, &words)
            .unwrap_or_else(|error| panic!("line {}: {line}: {error}", number + 1));
        for line in readable(&world, answer).lines() {
            let _ = writeln!(output, "  {line}");
        }
    }
    output
}

fn command_of(world: &mut World, words: &[&str]) -> Result<String, String> {
    match words {
        [] => Ok(String::new()),
        ["apply", set, fields @ ..] => apply(world, set, fields).map(|()| String::new()),
        ["set", set, what] => change_set(world, set, what).map(|()| String::new()),
        ["pod", pod, what @ ..] => change_pod(world, pod, what).map(|()| String::new()),
        ["claim", claim, what @ ..] => change_claim(world, claim, what).map(|()| String::new()),
        ["revision", "orphan", set] => {
            for mut revision in world.revisions.clone().into_values() {
                if revision.metadata.name.as_deref().is_some_and(|name| name.starts_with(set)) {
                    revision.metadata.owner_references = None;
                    world.put_revision(revision);
                }
            }
            Ok(String::new())
        }
        ["revision", "take", set] => take_revision(world, set).map(|()| String::new()),
        ["tick", seconds] => {
            world.tick(seconds.parse().map_err(|_| "is no number of seconds")?);
            Ok(String::new())
        }
        ["services"] => {
            world.list_services(None);
            Ok(String::new())
        }
        ["services", name, form] => {
            world.list_services(Some((name, *form == "headless")));
            Ok(String::new())
        }
        ["class", name, form] => {
            world.list_class(name, *form == "grows");
            Ok(String::new())
        }
        ["collect"] => Ok(format!("collected {:?}", world.collect_claims())),
        ["plan", set] => Ok(world.plan(set).map_or("the set is gone".to_owned(), |plan| plan.to_string())),
        ["sync", set] => sync(world, set),
        ["settle", set] => settle(world, set),
        ["show", what @ ..] => show(world, what),
        _ => Err("is no command".to_owned()),
    }
}

fn sync(world: &mut World, set: &str) -> Result<String, String> {
    let plan = world.plan(set).ok_or("the set is gone")?;
    let mut answer = plan.to_string();
    if let Err(error) = world.carry_out(&plan) {
        let _ = writeln!(answer, "refused: {error}");
    }
    Ok(answer)
}

/// Lets the cluster go its way: pending pods become ready, deleted ones go, until nothing is to be done.
fn settle(world: &mut World, set: &str) -> Result<String, String> {
    let mut answer = String::new();
    for _ in 0..SETTLE_MAX {
        let plan = world.plan(set).ok_or("the set is gone")?;
        let is_quiet = plan.is_quiet();
        for line in plan.to_string().lines() {
            let is_write = ["create", "delete", "update", "own", "note", "raise", "adopt", "release"]
                .iter()
                .any(|verb| line.starts_with(verb));
            if is_write {
                let _ = writeln!(answer, "{line}");
            }
        }
        world.carry_out(&plan)?;
        let moved = live(world);
        if is_quiet && !moved {
            return Ok(answer);
        }
    }
    Err("did not settle".to_owned())
}

/// One turn of everything that is not the controller; true when something moved.
pub(super) fn live(world: &mut World) -> bool {
    let mut moved = !world.collect_claims().is_empty() | world.serve_claims();
    for (name, pod) in world.pods.clone() {
        if pod.metadata.deletion_timestamp.is_some() {
            world.remove_pod(&name);
            moved = true;
        } else if model::pod::phase(&pod) == "Pending" {
            world.make_ready(&name);
            moved = true;
        }
    }
    moved
}

pub(super) fn new_set(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "generation": 1 },
        "spec": {
            "serviceName": name,
            "replicas": 1,
            "podManagementPolicy": "OrderedReady",
            "revisionHistoryLimit": 10,
            "selector": { "matchLabels": { "app": name } },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
            "persistentVolumeClaimRetentionPolicy": { "whenScaled": "Retain", "whenDeleted": "Retain" },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "app", "image": "app:v1" }] },
            },
        },
    })
}

fn apply(world: &mut World, name: &str, fields: &[&str]) -> Result<(), String> {
    let before = world.sets.get(name).cloned();
    let mut set = match &before {
        Some(set) => serde_json::to_value(set).map_err(|error| error.to_string())?,
        None => new_set(name),
    };
    let number = |value: &str| value.parse::<i64>().map_err(|_| format!("{value} is no number"));
    for field in fields {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("{field} has no value"))?;
        if key == "annotation" {
            set["metadata"]["annotations"] = json!({ "kubernetes.io/change-cause": value });
            continue;
        }
        if let Some(annotation) = match key {
            "rollout" => Some(ROLLOUT_ANNOTATION),
            "primary" => Some(PRIMARY_LABEL_ANNOTATION),
            _ => None,
        } {
            set["metadata"]["annotations"][annotation] = json!(value);
            continue;
        }
        let extra = world.extras.entry(name.to_owned()).or_default();
        let spec = &mut set["spec"];
        match key {
            "paused" => extra.is_paused = value == "true",
            "reserve" => {
                let entries: Vec<Value> = value.split(',').map(Value::from).collect();
                extra.reserved = Reserved::parse(&entries).map_err(|(_, detail)| detail)?;
            }
            "max-unavailable" => {
                let amount = value.parse::<i32>().map_or(json!(value), |amount| json!(amount));
                spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = amount;
            }
            "replicas" => spec["replicas"] = json!(number(value)?),
            "start" => spec["ordinals"] = json!({ "start": number(value)? }),
            "dns" => spec["template"]["spec"]["dnsPolicy"] = json!(value),
            "policy" => spec["podManagementPolicy"] = json!(value),
            "min-ready" => spec["minReadySeconds"] = json!(number(value)?),
            "history" => spec["revisionHistoryLimit"] = json!(number(value)?),
            "template" => {
                spec["template"]["spec"]["containers"][0]["image"] = json!(format!("app:{value}"));
            }
            "partition" if value == "none" => {
                spec["updateStrategy"] = json!({ "type": "RollingUpdate" });
            }
            "partition" => spec["updateStrategy"]["rollingUpdate"] = json!({ "partition": number(value)? }),
            "strategy" => spec["updateStrategy"] = json!({ "type": value }),
            "when-scaled" => spec["persistentVolumeClaimRetentionPolicy"]["whenScaled"] = json!(value),
            "when-deleted" => spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] = json!(value),
            "volume" => spec["template"]["spec"]["volumes"] = json!([{ "name": value, "emptyDir": {} }]),
            "claims" => {
                let claim = |name: &str| {
                    json!({
                        "metadata": { "name": name, "labels": { "claim": name } },
                        "spec": { "accessModes": ["ReadWriteOnce"] },
                    })
                };
                spec["volumeClaimTemplates"] = value.split(',').map(claim).collect();
            }
            "claim-updates" => extra.claim_updates = ClaimUpdates::parse(Some(value))?,
            "size" | "class" | "storage-class" | "claim-label" | "claim-annotation" => {
                for claim in spec["volumeClaimTemplates"].as_array_mut().ok_or("has no claims")? {
                    change_template(claim, key, value);
                }
            }
            _ => return Err(format!("{key} is no field")),
        }
    }
    let mut set: StatefulSet = serde_json::from_value(set).map_err(|error| error.to_string())?;
    if let Some(before) = before
        && before.spec != set.spec
    {
        set.metadata.generation = before.metadata.generation.map(|generation| generation + 1);
    }
    world.put_set(set);
    Ok(())
}

fn change_template(claim: &mut Value, key: &str, value: &str) {
    let words = |value: &str| match value.split_once('=') {
        Some((key, value)) => json!({ (key): value }),
        None => Value::Null,
    };
    match key {
        "size" => claim["spec"]["resources"]["requests"]["storage"] = json!(value),
        "class" => claim["spec"]["volumeAttributesClassName"] = json!(value),
        "storage-class" => claim["spec"]["storageClassName"] = json!(value),
        "claim-label" => claim["metadata"]["labels"] = words(value),
        _ => claim["metadata"]["annotations"] = words(value),
    }
}

fn change_set(world: &mut World, name: &str, what: &str) -> Result<(), String> {
    let mut set = world.sets.get(name).ok_or("is no set")?.clone();
    match what {
        "delete" => set.metadata.deletion_timestamp = Some(Time(world.now)),
        "gone" => {
            world.remove_set(name);
            return Ok(());
        }
        "conditions" => {
            let condition = json!([{ "type": "Looked", "status": "True" }]);
            let status = set.status.get_or_insert_default();
            status.conditions = serde_json::from_value(condition).map_err(|error| error.to_string())?;
        }
        _ => return Err("is no change of a set".to_owned()),
    }
    world.put_set(set);
    Ok(())
}

fn change_pod(world: &mut World, name: &str, what: &[&str]) -> Result<(), String> {
    let ended = |code: i32| json!({ "terminated": { "exitCode": code } });
    let running = json!({ "running": {} });
    if let ["made", fields @ ..] = what {
        return make_pod(world, name, fields);
    }
    let mut pod = world.pods.get(name).ok_or("is no pod")?.clone();
    match what {
        ["ready"] => world.make_ready(name),
        ["running"] => world.set_phase(name, "Running", false, &running),
        ["pending"] => {
            world.set_phase(name, "Pending", false, &json!({ "waiting": { "reason": "ContainerCreating" } }))
        }
        ["failed"] => world.set_phase(name, "Failed", false, &ended(1)),
        ["succeeded"] => world.set_phase(name, "Succeeded", false, &ended(0)),
        ["crashloop"] => {
            world.set_phase(name, "Running", false, &json!({ "waiting": { "reason": "CrashLoopBackOff" } }));
        }
        ["unscheduled" | "unbound"] => {
            let why = match what[0] {
                "unbound" => "pod has unbound immediate PersistentVolumeClaims.",
                _ => "1 Insufficient cpu.",
            };
            let condition = json!([{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": format!("0/1 nodes are available: {why}"),
            }]);
            let status = pod.status.get_or_insert_default();
            status.conditions = serde_json::from_value(condition).map_err(|error| error.to_string())?;
            world.put_pod(pod);
        }
        ["delete"] => world.delete_pod(name),
        ["gone"] => world.remove_pod(name),
        ["orphan"] => {
            pod.metadata.owner_references = None;
            world.put_pod(pod);
        }
        ["label", label] => {
            let (key, value) = label.split_once('=').ok_or("is no label")?;
            let labels = pod.metadata.labels.get_or_insert_default();
            labels.insert(key.to_owned(), value.to_owned());
            world.put_pod(pod);
        }
        ["unlabel", key] => {
            pod.metadata.labels.get_or_insert_default().remove(*key);
            world.put_pod(pod);
        }
        ["unmount", volume] => {
            let spec = pod.spec.get_or_insert_default();
            spec.volumes.get_or_insert_default().retain(|mounted| mounted.name != *volume);
            world.put_pod(pod);
        }
        _ => return Err("is no change of a pod".to_owned()),
    }
    Ok(())
}

fn make_pod(world: &mut World, name: &str, fields: &[&str]) -> Result<(), String> {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "app", "image": "app:v1" }] },
        "status": { "phase": "Pending" },
    }))
    .map_err(|error| error.to_string())?;
    for field in fields {
        match field.split_once('=') {
            Some(("owner", owner)) => {
                pod.metadata.owner_references = Some(vec![owner_of(world, &format!("{owner}!"))?]);
            }
            Some((key, value)) => {
                pod.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
            }
            None => return Err(format!("{field} has no value")),
        }
    }
    world.put_pod(pod);
    Ok(())
}

/// `Kind/name[/uid][!]`: an owner; without uid the present object of that name, with `!` as controller.
fn owner_of(world: &World, text: &str) -> Result<OwnerReference, String> {
    let (text, is_controller) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
    let mut parts = text.split('/');
    let kind = parts.next().unwrap_or_default().to_owned();
    let name = parts.next().ok_or("an owner is Kind/name")?.to_owned();
    let present = match kind.as_str() {
        "StatefulSet" => world.sets.get(&name).and_then(|set| set.metadata.uid.clone()),
        "Pod" => world.pods.get(&name).and_then(|pod| pod.metadata.uid.clone()),
        _ => None,
    };
    let uid = parts.next().map(str::to_owned).or(present).unwrap_or_else(|| format!("uid-of-{name}"));
    let api_version = if kind == "StatefulSet" { "apps/v1" } else { "v1" }.to_owned();
    let controller = is_controller.then_some(true);
    Ok(OwnerReference { api_version, kind, name, uid, controller, block_owner_deletion: controller })
}

fn change_claim(world: &mut World, name: &str, what: &[&str]) -> Result<(), String> {
    if what == ["made"] {
        let mut claim = PersistentVolumeClaim::default();
        claim.metadata.name = Some(name.to_owned());
        world.put_claim(claim);
        return Ok(());
    }
    let mut claim = world.claims.get(name).ok_or("is no claim")?.clone();
    match what {
        ["bound", size @ ..] => {
            world.bind_claim(name, size.first().copied());
            return Ok(());
        }
        ["condition", kind, message @ ..] => {
            world.claim_condition(name, kind, &message.join(" "));
            return Ok(());
        }
        ["label", label] => {
            let (key, value) = label.split_once('=').ok_or("is no label")?;
            let labels = claim.metadata.labels.get_or_insert_default();
            labels.insert(key.to_owned(), value.to_owned());
        }
        ["at", revision] => {
            let revision = world.revisions.values().find(|one| version_of(one).as_deref() == Some(revision));
            let labels = claim.metadata.labels.get_or_insert_default();
            labels.insert(REVISION_LABEL.to_owned(), name_of(revision.ok_or("is no revision")?));
        }
        ["unbound"] => claim.status = None,
        ["asks", size] => {
            let spec = claim.spec.get_or_insert_default();
            spec.access_modes = Some(vec!["ReadWriteOnce".to_owned()]);
            let requests = spec.resources.get_or_insert_default().requests.get_or_insert_default();
            requests.insert("storage".to_owned(), Quantity((*size).to_owned()));
        }
        ["class", class] => {
            claim.spec.get_or_insert_default().storage_class_name = Some((*class).to_owned());
        }
        ["delete"] => claim.metadata.deletion_timestamp = Some(Time(world.now)),
        ["gone"] => {
            world.remove_claim(name);
            return Ok(());
        }
        ["owners", owners @ ..] => {
            let owners: Result<Vec<_>, _> = owners.iter().map(|owner| owner_of(world, owner)).collect();
            claim.metadata.owner_references = Some(owners?);
        }
        _ => return Err("is no change of a claim".to_owned()),
    }
    world.put_claim(claim);
    Ok(())
}

/// Puts somebody else's revision where the set's next one would go.
fn take_revision(world: &mut World, set: &str) -> Result<(), String> {
    let plan = world.plan(set).ok_or("is no set")?;
    let next = plan.prepare.iter().find_map(|preparation| match preparation {
        Preparation::CreateRevision { revision } => Some((**revision).clone()),
        _ => None,
    });
    let next = next.ok_or("the set needs no new revision")?;
    let mut taken = ControllerRevision { revision: Some(1), ..ControllerRevision::default() };
    taken.metadata.name = next.metadata.name;
    taken.data.0 = json!({ "somebody": "else" });
    world.put_revision(taken);
    Ok(())
}

pub(super) fn show(world: &World, what: &[&str]) -> Result<String, String> {
    let mut answer = String::new();
    match what {
        ["pods"] => {
            for pod in world.pods.values() {
                let mut line = format!("{} {}", name_of(pod), model::pod::phase(pod));
                if model::pod::is_ready(pod) {
                    line.push_str(" ready");
                }
                if pod.metadata.deletion_timestamp.is_some() {
                    line.push_str(" terminating");
                }
                let labels = pod.metadata.labels.as_ref();
                let revision = labels.and_then(|labels| labels.get(REVISION_LABEL));
                let _ = writeln!(answer, "{line} at {}", revision.map_or("none", String::as_str));
            }
        }
        ["claims"] => {
            for claim in world.claims.values() {
                let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
                let owners: Vec<String> = owners.iter().map(|owner| show_owner(world, owner)).collect();
                let _ = writeln!(answer, "{} owned by [{}]", name_of(claim), owners.join(", "));
            }
        }
        ["revisions"] => {
            for revision in world.revisions.values() {
                let owners = revision.metadata.owner_references.as_deref().unwrap_or_default();
                let owners: Vec<String> = owners.iter().map(|owner| show_owner(world, owner)).collect();
                let number = revision.revision.unwrap_or_default();
                let cause = revision.metadata.annotations.as_ref();
                let cause = cause.map_or(String::new(), |annotations| format!(" {annotations:?}"));
                let _ = writeln!(
                    answer,
                    "{} number {number} owned by [{}]{cause}",
                    name_of(revision),
                    owners.join(", ")
                );
            }
            let mut lines: Vec<&str> = answer.lines().collect();
            lines.sort_by_key(|line| line.split(" number ").nth(1).map(str::to_owned));
            answer = lines.join("\n");
        }
        ["pod", name] => {
            let pod = world.pods.get(*name).ok_or("is no pod")?;
            answer = yaml_like(&json!({ "metadata": pod.metadata, "spec": pod.spec }));
        }
        ["claim", name] => {
            let claim = world.claims.get(*name).ok_or("is no claim")?;
            answer = yaml_like(&json!({ "metadata": claim.metadata, "spec": claim.spec }));
        }
        ["sizes"] => {
            for claim in world.claims.values() {
                let spec = claim.spec.clone().unwrap_or_default();
                let storage = |list: Option<BTreeMap<String, Quantity>>| {
                    list.and_then(|list| list.get("storage").map(|size| size.0.clone())).unwrap_or_default()
                };
                let asked = storage(spec.resources.and_then(|resources| resources.requests));
                let given = storage(claim.status.clone().unwrap_or_default().capacity);
                let mut labels = claim.metadata.labels.clone().unwrap_or_default();
                let revision = labels.remove(REVISION_LABEL).unwrap_or_default();
                let annotations = claim.metadata.annotations.clone().unwrap_or_default();
                let _ = writeln!(
                    answer,
                    "{} at {revision} asks for {asked} has {given:?} {labels:?} {annotations:?}",
                    name_of(claim)
                );
            }
        }
        ["conditions", set] => {
            let status = world.sets.get(*set).and_then(|set| set.status.as_ref()).ok_or("is no status")?;
            for condition in status.conditions.iter().flatten() {
                let text = |field: &Option<String>| field.clone().unwrap_or_default();
                let (kind, status) = (text(&condition.type_), text(&condition.status));
                let (reason, message) = (text(&condition.reason), text(&condition.message));
                let _ = writeln!(answer, "{kind}={status} {reason} {message}");
            }
        }
        _ => return Err("is nothing to show".to_owned()),
    }
    Ok(answer)
}

fn show_owner(world: &World, owner: &OwnerReference) -> String {
    let present = match owner.kind.as_str() {
        "StatefulSet" => world.sets.get(&owner.name).map(|set| &set.metadata),
        "Pod" => world.pods.get(&owner.name).map(|pod| &pod.metadata),
        _ => None,
    };
    let is_other = present.is_none_or(|present| present.uid.as_ref() != Some(&owner.uid));
    let is_known = ["StatefulSet", "Pod"].contains(&owner.kind.as_str());
    let controller = if owner.controller == Some(true) { "!" } else { "" };
    let other = if is_known && is_other { " (gone)" } else { "" };
    format!("{}/{}{controller}{other}", owner.kind, owner.name)
}

fn yaml_like(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Replaces each revision's name by the version of the template that it records.
fn readable(world: &World, mut answer: String) -> String {
    for revision in world.revisions.values() {
        if let Some(version) = version_of(revision) {
            answer = answer.replace(&name_of(revision), &version);
        }
    }
    answer.replace(&format!("{NAMESPACE}/"), "")
}

/// The version of the template that a revision records, and the size of its first claim where it records any.
fn version_of(revision: &ControllerRevision) -> Option<String> {
    let image = revision.data.0.pointer("/spec/template/spec/containers/0/image")?.as_str()?;
    let claim = revision.data.0.pointer("/spec/volumeClaimTemplates/0");
    let size = claim.and_then(|claim| claim.pointer("/spec/resources/requests/storage")?.as_str());
    let size = size.map_or(String::new(), |size| format!("+{size}"));
    Some(format!("<{}{size}>", image.strip_prefix("app:")?))
}
