//! Images that come in another way than by a pull.

use std::sync::Arc;

use jiff::Timestamp;
use model::clock::Clock;
use serde_json::json;

use super::{Cluster, is_ready, one, waiting_reason};

/// Time stands still, so no back-off ever ends by itself.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("in range")
    }
}

async fn an_import_ends_the_wait(policy: &str, reason: &str) {
    let cluster = Cluster::start_with(Arc::new(Still)).await;
    cluster.runtime.lose_image("late");
    cluster.create("p", one(json!({ "image": "late", "imagePullPolicy": policy }))).await;
    cluster.wait("p", "waiting for its image", |pod| waiting_reason(pod) == reason).await;
    cluster.runtime.find_image("late");
    cluster.running.as_ref().expect("runs").images_came();
    cluster.wait("p", "ready", is_ready).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_imported_ends_the_back_off_of_who_waits_for_it() {
    an_import_ends_the_wait("IfNotPresent", "ImagePullBackOff").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_imported_starts_who_may_not_pull_it() {
    an_import_ends_the_wait("Never", "ErrImageNeverPull").await;
}
