//! Figures about the API server, in Prometheus' text form.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) verb: String,
    pub(crate) resource: String,
    pub(crate) code: u32,
}

/// Labels of a latency.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LatencyLabels {
    pub(crate) verb: String,
    pub(crate) resource: String,
}

/// The figures.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) latency_seconds: Family<LatencyLabels, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) watchers: Gauge,
    objects: Gauge,
    revision: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::default();
        let requests = Family::default();
        let new_histogram: fn() -> Histogram = histogram;
        let latency_seconds = Family::new_with_constructor(new_histogram);
        let (in_flight, watchers) = (Gauge::default(), Gauge::default());
        let (objects, revision) = (Gauge::default(), Gauge::default());
        registry.register("apiserver_request", "Requests answered", requests.clone());
        registry.register(
            "apiserver_request_duration_seconds",
            "Time until the answer began",
            latency_seconds.clone(),
        );
        registry.register("apiserver_current_inflight_requests", "Requests being served", in_flight.clone());
        registry.register("apiserver_longrunning_requests", "Watches being served", watchers.clone());
        registry.register("apiserver_storage_objects", "Keys in the store", objects.clone());
        registry.register("apiserver_storage_revision", "Newest revision of the store", revision.clone());
        Metrics { registry, requests, latency_seconds, in_flight, watchers, objects, revision }
    }

    /// The text that `/metrics` answers.
    pub(crate) fn render(&self, store: &dyn store::Store) -> Result<String, std::fmt::Error> {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.objects.set(number(store.count("/registry/") as u64));
        self.revision.set(number(store.revision().0));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn histogram() -> Histogram {
    // From half a millisecond to about eight seconds, doubling.
    Histogram::new(exponential_buckets(0.0005, 2.0, 15))
}
