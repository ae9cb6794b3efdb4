//! The server over real sockets on loopback.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use dns::answer::Authority;
use dns::forward::Forwarder;
use dns::server::Server;
use dns::zone::{SharedZone, Zone};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(10);

struct Running {
    address: SocketAddr,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(endpoints: u8, resolvers: Vec<SocketAddr>) -> Running {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = udp.local_addr().expect("an address");
        let tcp = TcpListener::bind(address).await.expect("bind the same port");
        let authority = Authority::new("cluster.local", vec![]).expect("a domain");
        let server = Server::new(zone(endpoints), authority, Forwarder::new(resolvers));
        let cancel = CancellationToken::new();
        let task = tokio::spawn(server.run(udp, tcp, cancel.clone()));
        Running { address, cancel, task }
    }

    async fn ask(&self, name: &str) -> Message {
        let bytes = question(name);
        Message::from_vec(&self.send(&bytes).await.expect("an answer")).expect("a message")
    }

    async fn send(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        socket.send_to(bytes, self.address).await.expect("send");
        let mut buffer = vec![0; 65536];
        let received = tokio::time::timeout(DEADLINE, socket.recv(&mut buffer)).await.ok()?;
        buffer.truncate(received.expect("receive"));
        Some(buffer)
    }

    async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("ends").expect("without a panic");
    }
}

fn zone(endpoints: u8) -> SharedZone {
    let mut zone = Zone::default();
    let service = serde_json::json!({
        "metadata": {"namespace": "default", "name": "web"}, "spec": {"clusterIP": "None"},
    });
    zone.apply_service(&serde_json::from_value(service).expect("a service"));
    let endpoints: Vec<_> =
        (0..endpoints).map(|index| serde_json::json!({"addresses": [format!("10.244.0.{index}")]})).collect();
    let slice = serde_json::json!({
        "metadata": {"namespace": "default", "name": "web-a",
                     "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": endpoints,
    });
    zone.apply_slice(&serde_json::from_value(slice).expect("a slice"));
    Arc::new(RwLock::new(zone))
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    message.to_vec().expect("encodes")
}

#[tokio::test]
async fn answers_over_udp_and_turns_the_order() {
    let server = Running::start(3, vec![]).await;
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let answer = server.ask("web.default.svc.cluster.local.").await;
        assert!(answer.metadata.authoritative);
        assert_eq!(answer.answers.len(), 3);
        firsts.insert(answer.answers[0].data.to_string());
    }
    assert_eq!(firsts.len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn a_large_answer_is_truncated_over_udp_and_whole_over_tcp() {
    let server = Running::start(200, vec![]).await;
    let answer = server.ask("web.default.svc.cluster.local.").await;
    assert!(answer.metadata.truncation);

    let mut stream = TcpStream::connect(server.address).await.expect("connect");
    let question = question("web.default.svc.cluster.local.");
    stream.write_u16(u16::try_from(question.len()).expect("short")).await.expect("write");
    stream.write_all(&question).await.expect("write");
    let length = stream.read_u16().await.expect("read");
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.expect("read");
    assert_eq!(Message::from_vec(&bytes).expect("a message").answers.len(), 200);
    server.stop().await;
}

#[tokio::test]
async fn forwards_what_is_not_ours_and_fails_plainly_without_a_resolver() {
    // The resolver of this test is a second server that is authoritative for nothing that is asked,
    // so it cannot forward either and says so; the answer that travels back is its own.
    let lonely = Running::start(1, vec![]).await;
    let answer = lonely.ask("example.com.").await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);

    let upstream = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let address = upstream.local_addr().expect("an address");
    let stub = tokio::spawn(async move {
        let mut buffer = vec![0; 512];
        let (length, peer) = upstream.recv_from(&mut buffer).await.expect("a question");
        let question = Message::from_vec(&buffer[..length]).expect("a message");
        let mut answer = question.into_response();
        answer.metadata.response_code = ResponseCode::NXDomain;
        upstream.send_to(&answer.to_vec().expect("encodes"), peer).await.expect("send");
    });
    let server = Running::start(1, vec![address]).await;
    let answer = server.ask("example.com.").await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    stub.await.expect("the resolver was asked");
    server.stop().await;
    lonely.stop().await;
}

#[tokio::test]
async fn garbage_never_ends_the_server() {
    let server = Running::start(1, vec![]).await;
    let mut seed: u32 = 1;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    for length in 0..600_usize {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                seed.to_be_bytes()[0]
            })
            .collect();
        socket.send_to(&noise, server.address).await.expect("send");
    }
    let answer = server.ask("web.default.svc.cluster.local.").await;
    assert_eq!(answer.answers.len(), 1);
    server.stop().await;
}
