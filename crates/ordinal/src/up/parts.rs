//! The composition root: which parts run in this process, and what each is given.
//!
//! ```text
//! store ── api ──┬── https listeners (loopback or --listen, and the bridge for pods)
//!                ├── controllers, scheduler
//!                ├── node agent ── runtime, images, pod network, volume driver
//!                ├── service proxy (nftables)
//!                └── dns (on the cluster DNS address)
//! ```

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use apiserver::Api;
use client::Client;
use controllers::api_resource::ApiResource;
use controllers::statefulset::review::Reviewer;
use dns::answer::Authority;
use dns::forward::Forwarder;
use dns::server::Server;
use dns::zone::SharedZone;
use ipnet::IpNet;
use model::clock::Clock;
use network::bridge::BridgeNetwork;
use network::config::NetworkConfig;
use network::pod_network::PodNetwork;
use network::simulated::SimulatedNetwork;
use node::{Agent, AgentConfig, Capacity};
use runtime::api::{Images, Runtime};
use runtime::images::StoreOptions;
use runtime::native::NativeRuntime;
use runtime::simulated::{SimulatedImages, SimulatedRuntime};
use storage::driver::Driver;
use storage::local::LocalDriver;
use storage::simulated::SimulatedDriver;
use store::{SqliteStore, Store};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::cli::{RuntimeChoice, UpArguments};
use crate::control;
use crate::data_dir::{DataDir, Settings};
use crate::machine_id;
use crate::pki_files::{self, Certificates};
use crate::port;
use crate::supervise::Supervisor;
use crate::up::readiness::{self, Readiness};

/// The cluster's domain.
const DOMAIN: &str = "cluster.local";
/// What a simulated node has: more than any test of scale wants.
const SIMULATED: Capacity = Capacity {
    cpu_milli: 100_000_000,
    memory_bytes: 1 << 50,
    ephemeral_storage_bytes: 1 << 50,
    pods: 200_000,
};
/// Shown as the kubelet's version, and the Kubernetes version whose types are served.
const VERSION: &str = concat!("v1.37.0+ordinal.", env!("CARGO_PKG_VERSION"));

/// The running parts.
pub(super) struct Parts {
    pub(super) api: Arc<Api>,
    pub(super) certificates: Certificates,
    listen: SocketAddr,
    store: Arc<dyn Store>,
    supervisor: Supervisor,
    ready: CancellationToken,
}

/// What runs pods: real things, or values.
struct Machine {
    runtime: Arc<dyn Runtime>,
    images: Arc<dyn Images>,
    network: Arc<dyn PodNetwork>,
    driver: Arc<dyn Driver>,
    capacity: Capacity,
}

impl Parts {
    /// The API's URL.
    pub(super) fn server(&self) -> String {
        format!("https://{}", self.listen)
    }

    /// A client in the name of this command.
    pub(super) fn client(&self) -> Client {
        Client::new(self.api.transport(), "ordinal")
    }

    /// Waits until every part is ready; `/readyz` says so from then on.
    pub(super) async fn ready(&self) {
        self.ready.cancelled().await;
    }

    /// Waits until every part has ended, then closes the store.
    pub(super) async fn stopped(self, timeout: Duration) {
        if tokio::time::timeout(timeout, self.supervisor.ended()).await.is_err() {
            tracing::warn!("some parts did not end within {timeout:?}; they are dropped");
        }
        self.store.close().await;
    }
}

/// Starts everything; returns once the API answers. [`Parts::ready`] waits for the rest.
pub(super) async fn start(
    data_dir: &DataDir,
    settings: &Settings,
    arguments: &UpArguments,
    clock: Arc<dyn Clock>,
    listener: TcpListener,
    supervisor: Supervisor,
    stop: CancellationToken,
) -> Result<Parts> {
    let native = settings.runtime == RuntimeChoice::Native;
    let network = settings.network(data_dir);
    let started = clock.now();
    // First of all, so that `ordinal down` is heard as soon as anything can be seen of this cluster.
    let control = control::listen(data_dir)?;
    let listen_address = settings.listen;
    let (certificates, store) = tokio::try_join!(
        open_certificates(data_dir, settings, &network, Arc::clone(&clock)),
        open_store(data_dir, Arc::clone(&clock)),
    )?;
    let config = apiserver::Config { service_cidr: settings.service_range, ..apiserver::Config::default() };
    let seed = machine_id::random()?;
    let api = Api::new(Arc::clone(&store), apiserver::kinds::all(), Arc::clone(&clock), seed, config);
    api.set_ready(false);
    apiserver::bootstrap::ensure(&api, network.gateway(), listen_address.port())
        .await
        .context("make the objects that every cluster has")?;

    let mut readiness = Readiness::default();
    let tls = apiserver::pki::server_config(&certificates.authority.certificate, &certificates.serving)?;
    serve(&supervisor, &api, listener, &tls);
    let (kept, gateway, port) = (Arc::clone(&api), network.gateway(), listen_address.port());
    supervisor.keep("the Service kubernetes", move |stop| {
        apiserver::kubernetes_service::keep(Arc::clone(&kept), gateway, port, stop)
    });

    let machine = if native {
        let machine = native_machine(data_dir, settings, &network, arguments, &clock).await?;
        // Pods reach the API at the bridge. It is there now.
        let for_pods = SocketAddr::new(IpAddr::V4(network.gateway()), listen_address.port());
        if listen_address.ip().is_loopback() {
            serve(&supervisor, &api, port::listen(for_pods).await?, &tls);
        }
        start_proxy(&supervisor, &api, network.clone(), readiness.part("the service proxy"));
        start_dns(&supervisor, &api, &network, readiness.part("DNS")).await?;
        machine
    } else {
        simulated_machine(&network, &clock)
    };
    start_controllers(&supervisor, &api, &clock, &machine, &certificates, &mut readiness);
    let agent = start_agent(&supervisor, &api, &clock, &machine, data_dir, settings, &network);
    let images = Arc::clone(&machine.images);
    let mut control = Some(control);
    let again = data_dir.clone();
    supervisor.keep("the control socket", move |stop| {
        let listener = control.take().map_or_else(|| control::listen(&again), Ok);
        let (images, agent) = (Arc::clone(&images), Arc::clone(&agent));
        let imported = Arc::new(move || agent.images_came());
        async move {
            match listener {
                Ok(listener) => control::serve(listener, images, imported, stop).await,
                Err(error) => tracing::error!("{error:#}"),
            }
        }
    });
    let registered = readiness.part("the node agent");
    let (client, name) = (Client::new(api.transport(), "ordinal-up"), settings.node_name.clone());
    let ended = stop.clone();
    supervisor.beside(async move {
        tokio::select! {
            () = readiness::node_registered(client, &name, started) => registered.cancel(),
            () = ended.cancelled() => {}
        }
    });
    let ready = CancellationToken::new();
    let (told, of) = (ready.clone(), Arc::clone(&api));
    supervisor.beside(async move {
        readiness.tell(&of, &told, stop).await;
    });
    Ok(Parts { api, certificates, listen: listen_address, store, supervisor, ready })
}

async fn open_certificates(
    data_dir: &DataDir,
    settings: &Settings,
    network: &NetworkConfig,
    clock: Arc<dyn Clock>,
) -> Result<Certificates> {
    let service = u32::from(network.service_range.network()) + 1;
    let addresses = vec![settings.listen.ip(), IpAddr::V4(network.gateway()), IpAddr::V4(service.into())];
    let data_dir = data_dir.clone();
    tokio::task::spawn_blocking(move || pki_files::ensure(&data_dir, &addresses, clock.now())).await?
}

async fn open_store(data_dir: &DataDir, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
    let directory = data_dir.path("store");
    let store =
        tokio::task::spawn_blocking(move || SqliteStore::open(&directory, store::Options::new(clock)));
    Ok(Arc::new(store.await?.context("open the store")?))
}

fn serve(supervisor: &Supervisor, api: &Arc<Api>, listener: TcpListener, tls: &Arc<rustls::ServerConfig>) {
    let (api, tls) = (Arc::clone(api), Arc::clone(tls));
    let address = listener.local_addr();
    let mut listener = Some(listener);
    supervisor.keep("the API server", move |stop| {
        let (api, tls) = (Arc::clone(&api), Arc::clone(&tls));
        let opened = listener.take();
        let address = address.as_ref().ok().copied();
        async move {
            let listener = match (opened, address) {
                (Some(listener), _) => Ok(listener),
                (None, Some(address)) => TcpListener::bind(address).await,
                (None, None) => return,
            };
            match listener {
                Ok(listener) => apiserver::http::serve(api, listener, tls, stop.cancelled_owned()).await,
                Err(error) => tracing::error!("listen again: {error}"),
            }
        }
    });
}

async fn native_machine(
    data_dir: &DataDir,
    settings: &Settings,
    network: &NetworkConfig,
    arguments: &UpArguments,
    clock: &Arc<dyn Clock>,
) -> Result<Machine> {
    let (images_dir, registries) = (data_dir.path("images"), registries(data_dir, arguments));
    let images = tokio::task::spawn_blocking(move || {
        let options = StoreOptions { registries, ..StoreOptions::default() };
        runtime::images::Store::open(images_dir, options)
    });
    let bridge = BridgeNetwork::open(network.clone());
    let images = Arc::new(images.await?.context("open the images")?);
    let bridge = bridge.await.context("make the pod network")?;
    let self_exe = std::env::current_exe().context("find this program's own file")?;
    let runtime = NativeRuntime::new(
        data_dir.path("runtime"),
        settings.id.clone(),
        images.clone(),
        self_exe,
        Arc::clone(clock),
    )
    .context("open the container runtime")?;
    let driver = LocalDriver::open(data_dir.root()).context("open the volumes")?;
    Ok(Machine {
        runtime: Arc::new(runtime),
        images,
        network: Arc::new(bridge),
        driver: Arc::new(driver),
        capacity: Capacity::of_this_machine(data_dir.root(), Capacity::PODS_DEFAULT),
    })
}

/// The file that was named, or the one in the data directory if there is one.
fn registries(data_dir: &DataDir, arguments: &UpArguments) -> Option<PathBuf> {
    let usual = data_dir.path("registries.yaml");
    arguments.registries.clone().or_else(|| usual.exists().then_some(usual))
}

fn simulated_machine(network: &NetworkConfig, clock: &Arc<dyn Clock>) -> Machine {
    Machine {
        runtime: Arc::new(SimulatedRuntime::new(Arc::clone(clock))),
        images: Arc::new(SimulatedImages::new()),
        network: Arc::new(SimulatedNetwork::new(network.pod_range)),
        driver: Arc::new(SimulatedDriver::new()),
        capacity: SIMULATED,
    }
}

fn start_proxy(supervisor: &Supervisor, api: &Arc<Api>, config: NetworkConfig, ready: CancellationToken) {
    let client = Client::new(api.transport(), "service-proxy");
    supervisor.keep("the service proxy", move |stop| {
        network::proxy::run(config.clone(), client.clone(), ready.clone(), stop)
    });
}

async fn start_dns(
    supervisor: &Supervisor,
    api: &Arc<Api>,
    network: &NetworkConfig,
    ready: CancellationToken,
) -> Result<()> {
    let address = SocketAddr::new(IpAddr::V4(network.dns_address), 53);
    let ranges = vec![IpNet::V4(network.service_range), IpNet::V4(network.pod_range)];
    let authority = Authority::new(DOMAIN, ranges).context("name the cluster's domain")?;
    let resolvers = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let forwarder = Forwarder::from_resolv_conf(&resolvers, &[address.ip()]);
    let zone: SharedZone = Arc::new(RwLock::default());
    let client = Client::new(api.transport(), "dns");
    let fed = Arc::clone(&zone);
    supervisor.keep("the feed of DNS", move |stop| {
        dns::feed::run(client.clone(), Arc::clone(&fed), ready.clone(), stop)
    });
    let opened = (UdpSocket::bind(address).await, TcpListener::bind(address).await);
    let (Ok(udp), Ok(tcp)) = opened else {
        anyhow::bail!("listen for DNS on {address}; is another cluster using this range? See --service-cidr");
    };
    let mut sockets = Some((udp, tcp));
    supervisor.keep("DNS", move |stop| {
        let server = Server::new(Arc::clone(&zone), authority.clone(), forwarder.clone());
        let opened = sockets.take();
        async move {
            let sockets = match opened {
                Some(sockets) => Ok(sockets),
                None => {
                    async { Ok((UdpSocket::bind(address).await?, TcpListener::bind(address).await?)) }.await
                }
            };
            match sockets {
                Ok((udp, tcp)) => server.run(udp, tcp, stop).await,
                Err::<_, std::io::Error>(error) => tracing::error!("listen for DNS again: {error}"),
            }
        }
    });
    Ok(())
}

fn start_controllers(
    supervisor: &Supervisor,
    api: &Arc<Api>,
    clock: &Arc<dyn Clock>,
    machine: &Machine,
    certificates: &Certificates,
    readiness: &mut Readiness,
) {
    let resources: Vec<ApiResource> = api
        .kinds()
        .iter()
        .filter(|kind| !kind.strategy.is_review())
        .map(|kind| ApiResource {
            resource: kind.gvr.clone(),
            kind: kind.gvk.clone(),
            namespaced: kind.namespaced,
        })
        .collect();
    let reviewer = Reviewer::new(&Client::new(api.transport(), "ordinal"), Arc::clone(clock));
    api.set_forecaster(Arc::new(reviewer));
    let mut start = Starter { supervisor, api, clock, readiness };
    start.keep("the StatefulSet controller", controllers::statefulset::run);
    start.keep("the ReplicaSet controller", controllers::replica_set::run);
    start.keep("the Deployment controller", controllers::deployment::run);
    start.keep("the DaemonSet controller", controllers::daemon_set::run);
    start.keep("the Job controller", controllers::job::run);
    start.keep("the CronJob controller", controllers::cron_job::run);
    start.keep("the endpoints controller", controllers::endpoints::run);
    start.keep("the endpoint mirroring controller", controllers::endpoint_mirroring::run);
    start.keep("the node lifecycle controller", controllers::node_lifecycle::run);
    start.keep("the taint eviction controller", controllers::taint_eviction::run);
    start.keep("the disruption controller", controllers::disruption::run);
    start.keep("the scheduler", scheduler::run);
    let all = resources.clone();
    start.keep("the namespace controller", move |client, clock, ready, stop| {
        controllers::namespace::run(client, clock, all.clone(), ready, stop)
    });
    start.keep("the garbage collector", move |client, clock, ready, stop| {
        controllers::garbage_collector::run(client, clock, resources.clone(), ready, stop)
    });
    let authority = certificates.authority.certificate.clone();
    start.keep("the service account controller", move |client, clock, ready, stop| {
        controllers::service_account::run(client, clock, authority.clone(), ready, stop)
    });
    let driver = Arc::clone(&machine.driver);
    start.keep("the volume controller", move |client, clock, ready, stop| {
        controllers::volumes::run(client, vec![Arc::clone(&driver)], clock, ready, stop)
    });
}

/// Starts controllers, which all want the same things.
struct Starter<'a> {
    supervisor: &'a Supervisor,
    api: &'a Arc<Api>,
    clock: &'a Arc<dyn Clock>,
    readiness: &'a mut Readiness,
}

impl Starter<'_> {
    fn keep<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        name: &'static str,
        run: impl Fn(Client, Arc<dyn Clock>, CancellationToken, CancellationToken) -> F + Send + 'static,
    ) {
        let (client, clock) = (Client::new(self.api.transport(), "controllers"), Arc::clone(self.clock));
        let ready = self.readiness.part(name);
        self.supervisor.keep(name, move |stop| run(client.clone(), Arc::clone(&clock), ready.clone(), stop));
    }
}

fn start_agent(
    supervisor: &Supervisor,
    api: &Arc<Api>,
    clock: &Arc<dyn Clock>,
    machine: &Machine,
    data_dir: &DataDir,
    settings: &Settings,
    network: &NetworkConfig,
) -> Arc<Agent> {
    let config = AgentConfig {
        node_name: settings.node_name.clone(),
        root_dir: data_dir.path("node"),
        cluster_dns: vec![IpAddr::V4(network.dns_address)],
        cluster_domain: DOMAIN.to_owned(),
        pod_cidr: network.node_range.to_string(),
        node_ip: IpAddr::V4(network.gateway()),
        capacity: machine.capacity,
        labels: std::collections::BTreeMap::new(),
        version: VERSION.to_owned(),
        machine: node::Machine::Real,
    };
    let agent = Arc::new(Agent::new(
        config,
        Client::new(api.transport(), "kubelet"),
        Arc::clone(&machine.runtime),
        Arc::clone(&machine.images),
        Arc::clone(&machine.network),
        vec![Arc::clone(&machine.driver)],
        Arc::clone(clock),
    ));
    api.set_node_gateway(agent.gateway());
    let kept = Arc::clone(&agent);
    supervisor.keep("the node agent", move |stop| {
        let agent = Arc::clone(&kept);
        async move {
            if let Err(error) = agent.run(stop).await {
                tracing::error!("run the node agent: {error}");
            }
        }
    });
    agent
}
