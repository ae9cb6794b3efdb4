//! The service proxy: cluster addresses of services lead to ready endpoints.
//!
//! What it watches: Services and EndpointSlices. [`view`] knows what every service port should lead to,
//! [`plan`] says which rules differ from those in the kernel, [`execute`] writes them in one nftables
//! transaction. Changes that arrive while one transaction runs share the next. It must never touch a rule
//! outside the cluster's own table.

pub mod execute;
pub mod plan;
pub mod view;

#[cfg(test)]
mod tests;

use std::time::Duration;

use client::{Change, Client, Scope, reflect};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio_util::sync::CancellationToken;

use crate::config::NetworkConfig;
use execute::Executor;
use view::View;

/// Pause before rules that the kernel refused are written again, whole.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Most changes applied before the kernel gets to see them.
const BATCH_MAX: usize = 4096;

enum Event {
    Service(Change<Service>),
    Slice(Change<EndpointSlice>),
}

/// Runs until cancelled. `ready` is cancelled once the rules show what was there at the start.
pub async fn run(config: NetworkConfig, client: Client, ready: CancellationToken, cancel: CancellationToken) {
    let services = reflect::<Service>(client.clone(), Scope::default()).map(Event::Service);
    let slices = reflect::<EndpointSlice>(client, Scope::default()).map(Event::Slice);
    let mut events = futures::stream::select(services, slices);
    let mut view = View::default();
    let mut executor = Executor::new(config);
    loop {
        let first = tokio::select! {
            () = cancel.cancelled() => return,
            Some(event) = events.next() => event,
        };
        apply(&mut view, first);
        for _ in 0..BATCH_MAX {
            let Some(Some(event)) = events.next().now_or_never() else { break };
            apply(&mut view, event);
        }
        if !view.is_complete() {
            continue;
        }
        while let Err(error) = executor.carry_out(&mut view).await {
            tracing::warn!("write the service rules; they are tried again whole: {error}");
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
        ready.cancel();
    }
}

fn apply(view: &mut View, event: Event) {
    match event {
        Event::Service(Change::Reset(services, _)) => {
            view.reset_services(services.iter().map(|service| &**service));
        }
        Event::Service(Change::Apply(service)) => view.apply_service(&service),
        Event::Service(Change::Delete(service)) => view.delete_service(&service),
        Event::Slice(Change::Reset(slices, _)) => {
            view.reset_slices(slices.iter().map(|slice| &**slice));
        }
        Event::Slice(Change::Apply(slice)) => view.apply_slice(&slice),
        Event::Slice(Change::Delete(slice)) => view.delete_slice(&slice),
    }
}
