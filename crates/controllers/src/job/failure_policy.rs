//! What a job's policy makes of a pod that failed. Pure; the first rule that matches counts.

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What a failure means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Count,
    /// It counts for nothing.
    Ignore,
    /// It ends its index.
    FailIndex,
    /// It ends the job; the text says why.
    FailJob(String),
}

impl Verdict {
    /// True when the failure counts towards the limits.
    pub fn counts(&self) -> bool {
        *self != Verdict::Ignore
    }
}

/// What the failure of a pod means to a job.
pub fn judge(spec: &JobSpec, one: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (index, rule) in rules.enumerate() {
        let namespace = one.metadata.namespace.as_deref().unwrap_or_default();
        let name = one.metadata.name.as_deref().unwrap_or_default();
        let matched = if let Some(codes) = &rule.on_exit_codes {
            failed_container(one, codes).map(|(container, code)| {
                format!("Container {container} for pod {namespace}/{name} failed with exit code {code}")
            })
        } else {
            let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
            condition(one, patterns)
                .map(|condition| format!("Pod {namespace}/{name} has condition {condition}"))
        };
        let Some(what) = matched else { continue };
        match rule.action.as_str() {
            "Ignore" => return Verdict::Ignore,
            "FailIndex" => return Verdict::FailIndex,
            "FailJob" => return Verdict::FailJob(format!("{what} matching FailJob rule at index {index}")),
            _ => return Verdict::Count,
        }
    }
    Verdict::Count
}

fn failed_container<'a>(
    one: &'a Pod,
    codes: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<(&'a str, i32)> {
    let status = one.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let mut all = containers.chain(status.init_container_statuses.iter().flatten());
    let is_meant = |container: &ContainerStatus| {
        codes.container_name.as_ref().is_none_or(|name| *name == container.name)
    };
    all.find_map(|container| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let is_listed = codes.values.contains(&code);
        let matches = code != 0
            && is_meant(container)
            && match codes.operator.as_str() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                _ => false,
            };
        matches.then_some((container.name.as_str(), code))
    })
}

fn condition<'a>(one: &'a Pod, patterns: &[PodFailurePolicyOnPodConditionsPattern]) -> Option<&'a str> {
    let mut conditions = one.status.as_ref()?.conditions.iter().flatten();
    let found = conditions.find(|condition| {
        patterns.iter().any(|pattern| {
            pattern.type_ == condition.type_
                && pattern.status.as_deref().unwrap_or("True") == condition.status
        })
    });
    found.map(|condition| condition.type_.as_str())
}
