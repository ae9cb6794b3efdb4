//! Keeps the zone up to date from the API: Services and EndpointSlices.

use std::sync::PoisonError;

use client::{Change, Client, Scope, reflect};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio_util::sync::CancellationToken;

use crate::zone::SharedZone;

enum Event {
    Service(Change<Service>),
    Slice(Change<EndpointSlice>),
}

/// Runs until cancelled. `ready` is cancelled once both kinds have been read for the first time.
pub async fn run(client: Client, zone: SharedZone, ready: CancellationToken, cancel: CancellationToken) {
    let mut services = reflect::<Service>(client.clone(), Scope::default());
    let mut slices = reflect::<EndpointSlice>(client, Scope::default());
    let mut services_read = false;
    let mut slices_read = false;
    loop {
        let event = tokio::select! {
            () = cancel.cancelled() => return,
            Some(change) = services.next() => Event::Service(change),
            Some(change) = slices.next() => Event::Slice(change),
        };
        services_read |= matches!(event, Event::Service(Change::Reset(..)));
        slices_read |= matches!(event, Event::Slice(Change::Reset(..)));
        apply(&zone, event);
        if services_read && slices_read {
            ready.cancel();
        }
    }
}

fn apply(zone: &SharedZone, event: Event) {
    // A panic in another task while it held the lock cannot leave the zone half changed for long: the next
    // change of the same object writes it whole.
    let mut zone = zone.write().unwrap_or_else(PoisonError::into_inner);
    match event {
        Event::Service(Change::Reset(services, _)) => {
            zone.reset_services(services.iter().map(|service| &**service));
        }
        Event::Service(Change::Apply(service)) => zone.apply_service(&service),
        Event::Service(Change::Delete(service)) => zone.delete_service(&service),
        Event::Slice(Change::Reset(slices, _)) => {
            zone.reset_slices(slices.iter().map(|slice| &**slice));
        }
        Event::Slice(Change::Apply(slice)) => zone.apply_slice(&slice),
        Event::Slice(Change::Delete(slice)) => zone.delete_slice(&slice),
    }
}
