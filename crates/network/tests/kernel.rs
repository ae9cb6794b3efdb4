//! The pod network in a real kernel. Needs root, `nft` and `ip`; everything happens in network namespaces
//! that the test made, so that no packet can leave and nothing of the machine changes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use network::bridge::BridgeNetwork;
use network::config::NetworkConfig;
use network::nft;
use network::pod_network::{HostPort, PodNetwork};
use network::proxy::execute::Executor;
use network::proxy::plan::{self, Applied};
use network::proxy::view::{Backends, Frontend, Protocol, ServiceRules, View};
use network::purge::purge;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use serde_json::json;

/// Runs a test on a thread in a network namespace of its own, where it plays the node.
fn on_a_node(test: impl AsyncFnOnce(NetworkConfig) + Send + 'static) {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    let thread = std::thread::spawn(move || {
        // SAFETY: this thread was made for this test; nobody else sees what it unshares. The mount namespace
        // is unshared too, so that /sys and /proc can show the new network namespace.
        #[expect(unsafe_code, reason = "unshare has no safe form")]
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }
            .expect("unshare");
        rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
        )
        .expect("make mounts private");
        run("ip link set lo up");
        let dir = tempfile::tempdir().expect("a directory");
        let config = NetworkConfig {
            cluster_id: "0a1b2c3d".to_owned(),
            state_dir: dir.path().join("network"),
            pod_range: "10.244.0.0/16".parse().expect("a range"),
            node_range: "10.244.0.0/24".parse().expect("a range"),
            service_range: "10.96.0.0/16".parse().expect("a range"),
            dns_address: "10.96.0.10".parse().expect("an address"),
            mtu: 1500,
        };
        // Blocking work must stay in this thread's namespaces, which the threads it starts inherit.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let before = listing();
        runtime.block_on(async {
            test(config.clone()).await;
            purge(&config).await.expect("purges");
        });
        assert_eq!(before, listing(), "purge leaves nothing behind");
        assert!(!config.state_dir.exists());
    });
    thread.join().expect("the test passes");
}

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn listing() -> String {
    run("ip -o link | cut -d: -f2; ip route show table all | sort; ip -o -4 address; nft list tables; \
         grep nsfs /proc/self/mountinfo || true")
}

/// Runs `work` in a pod's namespace.
fn in_pod<T: Send + 'static>(
    path: &PathBuf,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> std::thread::JoinHandle<io::Result<T>> {
    let file = std::fs::File::open(path).expect("the namespace is there");
    std::thread::spawn(move || {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))?;
        work()
    })
}

/// A server in a pod that says who it is to whoever connects, `times` times, and returns who they were.
fn serve(
    path: &PathBuf,
    port: u16,
    name: &'static str,
    times: usize,
) -> std::thread::JoinHandle<io::Result<Vec<IpAddr>>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = in_pod(path, move || {
        let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
        sender.send(()).map_err(io::Error::other)?;
        let mut peers = Vec::new();
        for _ in 0..times {
            let (mut stream, peer) = listener.accept()?;
            io::Write::write_all(&mut stream, name.as_bytes())?;
            peers.push(peer.ip());
        }
        Ok(peers)
    });
    receiver.recv().expect("listens");
    thread
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let timeout = std::time::Duration::from_secs(5);
    let mut stream = std::net::TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut text = String::new();
    io::Read::read_to_string(&mut stream, &mut text)?;
    Ok(text)
}

fn service(endpoints: &[(IpAddr, u16)]) -> Applied {
    let frontend = Frontend { address: Ipv4Addr::new(10, 96, 0, 7), protocol: Protocol::Tcp, port: 80 };
    let endpoints = endpoints
        .iter()
        .map(|(address, port)| match address {
            IpAddr::V4(address) => (*address, *port),
            IpAddr::V6(_) => unreachable!("pods have IPv4 addresses"),
        })
        .collect();
    let rules = ServiceRules::from([(frontend, Backends { endpoints, sticky: false })]);
    Applied::from([(("default".to_owned(), "web".to_owned()), rules)])
}

const SERVICE: ([u8; 4], u16) = ([10, 96, 0, 7], 80);

#[test]
fn pods_reach_each_other_services_and_themselves_through_services() {
    on_a_node(async |config| {
        let network = BridgeNetwork::open(config.clone()).await.expect("opens");
        let one = network.attach("pod-one", &[]).await.expect("attaches");
        let two = network.attach("pod-two", &[]).await.expect("attaches");
        assert_eq!(network.attach("pod-one", &[]).await.expect("again"), one);
        let (one_ip, two_ip) = (one.addresses[0], two.addresses[0]);
        for interface in ["all", "eth0"] {
            let setting = format!("/proc/sys/net/ipv4/conf/{interface}/accept_redirects");
            let takes = in_pod(&one.namespace_path, move || std::fs::read_to_string(setting)).join();
            assert_eq!(
                takes.expect("no panic").expect("a setting"),
                "0\n",
                "all packets take the node's way"
            );
        }

        let server = serve(&two.namespace_path, 8080, "two", 3);
        let text = in_pod(&one.namespace_path, move || ask((two_ip, 8080).into()));
        assert_eq!(text.join().expect("no panic").expect("pod to pod"), "two");

        nft::run(&plan::whole(&config, &service(&[(two_ip, 8080)]))).await.expect("rules");
        let text = in_pod(&one.namespace_path, || ask(SERVICE.into()));
        assert_eq!(text.join().expect("no panic").expect("pod to service"), "two");
        assert_eq!(ask(SERVICE.into()).expect("host to service"), "two");
        let peers = server.join().expect("no panic").expect("serves");
        assert_eq!(peers, [one_ip, one_ip, IpAddr::V4(config.gateway())], "pods keep their address");

        let script = plan::changes(&config, &service(&[(two_ip, 8080)]), &service(&[(one_ip, 8080)]));
        nft::run(&script).await.expect("changes");
        let server = serve(&one.namespace_path, 8080, "one", 1);
        let text = in_pod(&one.namespace_path, || ask(SERVICE.into()));
        assert_eq!(text.join().expect("no panic").expect("pod to itself by a service"), "one");
        server.join().expect("no panic").expect("serves");

        let script = plan::changes(&config, &service(&[(one_ip, 8080)]), &service(&[]));
        nft::run(&script).await.expect("changes");
        let refused = in_pod(&two.namespace_path, || ask(SERVICE.into())).join().expect("no panic");
        assert_eq!(refused.expect_err("refused").kind(), io::ErrorKind::ConnectionRefused);

        network.detach("pod-one").await.expect("detaches");
        network.detach("pod-one").await.expect("detaches twice");
        assert_eq!(network.list().await.expect("lists"), [two]);
    });
}

/// IPv4 packets that the node handed to any of its links.
const COUNT: &str = "nft list counters | grep packets";

#[test]
fn packets_to_pods_and_services_that_are_not_there_stay_here() {
    on_a_node(async |config| {
        // A default route that leads to an interface where every packet would be counted.
        run(
            "ip link add away type veth peer name beyond && ip link set beyond up && ip link set away up && ip address add 192.0.2.1/24 dev away \
             && ip route add default via 192.0.2.2 dev away && ip neighbour add 192.0.2.2 lladdr \
             02:00:00:00:00:01 dev away",
        );
        run("printf 'add table ip watch\\nadd counter ip watch away\\nadd chain ip watch out { type filter \
             hook postrouting priority 300; }\\nadd rule ip watch out oifname away counter name away\\n' | nft -f -");
        let network = BridgeNetwork::open(config.clone()).await.expect("opens");
        let pod = network.attach("pod-one", &[]).await.expect("attaches");
        nft::run(&plan::whole(&config, &Applied::new())).await.expect("rules");
        let before = run(COUNT);
        for target in ["10.244.0.77:80", "10.244.9.9:80", "10.96.3.3:80"] {
            let target: SocketAddr = target.parse().expect("an address");
            let short = std::time::Duration::from_millis(200);
            let result = in_pod(&pod.namespace_path, move || {
                std::net::TcpStream::connect_timeout(&target, short).map(|_| ())
            });
            result.join().expect("no panic").expect_err("nobody is there");
        }
        let after = run(COUNT);
        assert_eq!(before, after);
        assert!(after.contains("packets 0"), "{after}");
        run("ip link del away && nft delete table ip watch");
    });
}

#[test]
fn a_restart_finds_pods_and_a_host_port_leads_to_its_pod() {
    on_a_node(async |config| {
        let port = HostPort { host_port: 18080, container_port: 8080, udp: false };
        let first = BridgeNetwork::open(config.clone()).await.expect("opens");
        let pod = first.attach("pod-one", &[port]).await.expect("attaches");
        drop(first);
        let second = BridgeNetwork::open(config.clone()).await.expect("opens again");
        assert_eq!(second.list().await.expect("lists"), [pod.clone()]);
        let server = serve(&pod.namespace_path, 8080, "one", 1);
        let text = ask((config.gateway(), 18080).into()).expect("host port");
        assert_eq!(text, "one");
        server.join().expect("no panic").expect("serves");
        second.detach("pod-one").await.expect("detaches");
    });
}

/// A server in a pod that answers each of `times` datagrams with its name.
fn answer(
    path: &PathBuf,
    port: u16,
    name: &'static str,
    times: usize,
) -> std::thread::JoinHandle<io::Result<Vec<IpAddr>>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = in_pod(path, move || {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
        sender.send(()).map_err(io::Error::other)?;
        let mut peers = Vec::new();
        for _ in 0..times {
            let (_, peer) = socket.recv_from(&mut [0; 64])?;
            socket.send_to(name.as_bytes(), peer)?;
            peers.push(peer.ip());
        }
        Ok(peers)
    });
    receiver.recv().expect("listens");
    thread
}

/// A client in a pod that keeps one port, and so one flow, for all it asks.
fn udp_client(path: &PathBuf) -> std::net::UdpSocket {
    let socket = in_pod(path, || std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5000)));
    let socket = socket.join().expect("no panic").expect("binds");
    socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("a timeout");
    socket
}

fn ask_udp(socket: &std::net::UdpSocket, address: SocketAddr) -> io::Result<String> {
    socket.send_to(b"who", address)?;
    let mut buffer = [0; 64];
    let (count, from) = socket.recv_from(&mut buffer)?;
    assert_eq!(from, address, "the answer comes from whom was asked");
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

fn udp_service(endpoint: Option<IpAddr>) -> View {
    let endpoints: Vec<_> = endpoint.iter().map(|address| json!({"addresses": [address]})).collect();
    let ports = json!([{"name": "dns", "port": 53, "protocol": "UDP"}]);
    let mut view = View::default();
    let service = json!({
        "metadata": {"namespace": "default", "name": "names"},
        "spec": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "ports": ports},
    });
    view.apply_service(&serde_json::from_value(service).expect("a service"));
    let slice = json!({
        "metadata": {"namespace": "default", "name": "names-x",
                     "labels": {"kubernetes.io/service-name": "names"}},
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    });
    view.apply_slice(&serde_json::from_value(slice).expect("a slice"));
    view
}

#[test]
fn a_udp_client_that_keeps_its_port_follows_the_endpoints_of_a_service() {
    on_a_node(async |config| {
        let network = BridgeNetwork::open(config.clone()).await.expect("opens");
        let one = network.attach("pod-one", &[]).await.expect("attaches");
        let two = network.attach("pod-two", &[]).await.expect("attaches");
        let three = network.attach("pod-three", &[]).await.expect("attaches");
        let (client_ip, one_ip, two_ip) = (three.addresses[0], one.addresses[0], two.addresses[0]);
        let first = answer(&one.namespace_path, 53, "one", 2);
        let second = answer(&two.namespace_path, 53, "two", 1);
        let client = udp_client(&three.namespace_path);
        let service: SocketAddr = "10.96.0.7:53".parse().expect("an address");
        // Its flow begins when nobody knows the service yet.
        client.send_to(b"too early", service).expect("is sent");

        let mut executor = Executor::new(config.clone());
        executor.carry_out(&mut udp_service(Some(one_ip))).await.expect("rules");
        assert_eq!(ask_udp(&client, service).expect("pod to service"), "one");
        assert_eq!(ask_udp(&client, service).expect("again"), "one");
        executor.carry_out(&mut udp_service(Some(two_ip))).await.expect("rules");
        assert_eq!(ask_udp(&client, service).expect("to who is there now"), "two");
        executor.carry_out(&mut udp_service(None)).await.expect("rules");
        client.connect(service).expect("so that it hears of refusals");
        // The kernel says so once a second at most, and may have used this second for something else.
        client.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("a timeout");
        let ask =
            || client.send(b"who").and_then(|_| client.recv(&mut [0; 64])).expect_err("nobody is there");
        let refused = (0..20).map(|_| ask().kind()).find(|kind| *kind != io::ErrorKind::WouldBlock);
        assert_eq!(refused, Some(io::ErrorKind::ConnectionRefused));

        assert_eq!(first.join().expect("no panic").expect("serves"), [client_ip, client_ip]);
        assert_eq!(second.join().expect("no panic").expect("serves"), [client_ip]);
        for pod in ["pod-one", "pod-two", "pod-three"] {
            network.detach(pod).await.expect("detaches");
        }
    });
}
