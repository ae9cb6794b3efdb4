//! Taints and tolerations: what keeps pods away from nodes, and which pods do not mind. Pure.

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// No new pods.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// No new pods, and those that are there go.
pub const NO_EXECUTE: &str = "NoExecute";
/// Upstream's taint of a node that says it is not ready.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Upstream's taint of a node that nobody hears of.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// True when the toleration is about this taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().filter(|effect| !effect.is_empty());
    let key = toleration.key.as_deref().filter(|key| !key.is_empty());
    if effect.is_some_and(|effect| effect != taint.effect) || key.is_some_and(|key| key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => {
            key.is_some()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        Some(_) => false,
    }
}

/// How long a pod may stay with a taint that makes pods go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stay {
    /// It goes at once.
    Not,
    /// So many seconds from when it was tainted.
    Seconds(i64),
    /// For ever.
    Forever,
}

/// How long a pod with these tolerations may stay with all of these taints, as upstream counts it: the first
/// toleration of each taint is the one that is used, and the shortest of those counts.
pub fn stay<'a>(tolerations: &[Toleration], taints: impl Iterator<Item = &'a Taint>) -> Stay {
    let each = taints.map(|taint| {
        let used = tolerations.iter().find(|toleration| tolerates(toleration, taint));
        match used.map(|toleration| toleration.toleration_seconds) {
            None => Stay::Not,
            Some(None) => Stay::Forever,
            Some(Some(seconds)) if seconds <= 0 => Stay::Not,
            Some(Some(seconds)) => Stay::Seconds(seconds),
        }
    });
    each.min().unwrap_or(Stay::Forever)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn taint(key: &str, value: &str) -> Taint {
        serde_json::from_value(json!({"key": key, "value": value, "effect": "NoExecute"}))
            .expect("is a taint")
    }

    fn stays(tolerations: Value, taints: &[Taint]) -> Stay {
        let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).expect("are tolerations");
        stay(&tolerations, taints.iter())
    }

    #[test]
    fn a_pod_stays_as_long_as_its_shortest_toleration() {
        let both = [taint("a", ""), taint("b", "x")];
        assert_eq!(stays(json!([]), &both), Stay::Not);
        assert_eq!(stays(json!([]), &[]), Stay::Forever);
        assert_eq!(stays(json!([{"operator": "Exists"}]), &both), Stay::Forever);
        let one = json!({"key": "a", "operator": "Exists", "tolerationSeconds": 30});
        let other = json!({"key": "b", "value": "x", "effect": "NoExecute", "tolerationSeconds": 20});
        assert_eq!(stays(json!([one]), &both), Stay::Not);
        assert_eq!(stays(json!([one, other]), &both), Stay::Seconds(20));
        assert_eq!(stays(json!([one, other]), &both[..1]), Stay::Seconds(30));
        let never = json!({"key": "b", "operator": "Exists", "tolerationSeconds": -1});
        assert_eq!(stays(json!([one, never]), &both), Stay::Not);
        let wrong = json!({"key": "b", "value": "y"});
        assert_eq!(stays(json!([one, wrong]), &both), Stay::Not);
    }
}
