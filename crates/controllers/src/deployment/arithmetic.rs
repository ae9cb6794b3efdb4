//! How many pods a rollout may have too many or too few. Pure.
//!
//! Numbers of one object fit 32 bits; whatever is added up of several takes 64, since users may scale sets
//! as far as they like.

use k8s_openapi::api::apps::v1::{Deployment, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How many pods are wanted.
pub fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

/// True when the strategy is RollingUpdate, also by default.
pub fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()).is_none_or(|kind| kind != "Recreate")
}

/// A number, or that percentage of `of`, up or down to a whole one.
pub(crate) fn amount(value: Option<&IntOrString>, of: i32, up: bool) -> i32 {
    let text = match value {
        None => "25%",
        Some(IntOrString::Int(number)) => return *number,
        Some(IntOrString::String(text)) => text,
    };
    let percent: i64 = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or_default();
    let hundredths = percent.saturating_mul(i64::from(of));
    let whole = if up { hundredths.saturating_add(99) / 100 } else { hundredths / 100 };
    i32::try_from(whole).unwrap_or(i32::MAX)
}

/// `maxSurge` and `maxUnavailable` in pods: the one rounds up, the other down, and not both come to nothing.
pub fn fenceposts(rolling: &RollingUpdateDeployment, wanted: i32) -> (i32, i32) {
    let surge = amount(rolling.max_surge.as_ref(), wanted, true);
    let unavailable = amount(rolling.max_unavailable.as_ref(), wanted, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn of(deployment: &Deployment) -> (i32, i32) {
    let rolling = deployment.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.clone());
    fenceposts(&rolling.unwrap_or_default(), replicas(deployment))
}

/// A number that was added up, as far as the API can say it.
pub fn told(sum: i64) -> i32 {
    i32::try_from(sum).unwrap_or(if sum < 0 { i32::MIN } else { i32::MAX })
}

/// How many pods there may be beyond those that are wanted.
pub fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { of(deployment).0 } else { 0 }
}

/// How many of the wanted pods may be missing.
pub fn max_unavailable(deployment: &Deployment) -> i32 {
    let wanted = replicas(deployment);
    if !is_rolling(deployment) || wanted == 0 { 0 } else { of(deployment).1.min(wanted) }
}

/// How many pods there may be in all.
pub fn most(deployment: &Deployment) -> i64 {
    i64::from(replicas(deployment)) + i64::from(max_surge(deployment))
}

/// How many pods must be available.
pub fn least(deployment: &Deployment) -> i64 {
    i64::from(replicas(deployment)) - i64::from(max_unavailable(deployment))
}
