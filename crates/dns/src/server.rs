//! The server: UDP and TCP on one address.
//!
//! A question about the zone is answered at once, in the loop that read it; only what has to be forwarded
//! gets a task, and those are bounded. A packet that makes no sense is answered with an error or dropped; it
//! must never end the loop.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::{Answer, Authority, answer};
use crate::forward::Forwarder;
use crate::zone::SharedZone;

/// Forwarded questions in flight: each holds a socket and a few kilobytes for up to six seconds.
const FORWARDS_MAX: usize = 512;
/// TCP connections at a time: a client that needs TCP asks one question and leaves.
const CONNECTIONS_MAX: usize = 256;
/// Time an idle TCP connection is kept (RFC 7766, section 6.2.3: in the order of seconds).
const CONNECTION_IDLE: Duration = Duration::from_secs(10);
/// Size of an answer when the client does not say what it can take (RFC 1035, section 4.2.1).
const UDP_ANSWER_BYTES_MIN: usize = 512;
/// Largest UDP answer that we send whatever the client says: what fits a packet on any network (RFC 9715).
const UDP_ANSWER_BYTES_MAX: usize = 1232;
/// Largest TCP answer: its length has two bytes.
const TCP_ANSWER_BYTES_MAX: usize = u16::MAX as usize;
/// Largest question: a name, its type and a few options are far below this.
const QUESTION_BYTES_MAX: usize = 4096;

/// Answers questions from a zone.
pub struct Server {
    zone: SharedZone,
    authority: Authority,
    forwarder: Forwarder,
    forwards: Arc<Semaphore>,
    /// Turns the order of several addresses with each answer, so that clients spread.
    turn: AtomicUsize,
}

impl Server {
    /// A server that is not listening yet.
    pub fn new(zone: SharedZone, authority: Authority, forwarder: Forwarder) -> Arc<Server> {
        Arc::new(Server {
            zone,
            authority,
            forwarder,
            forwards: Arc::new(Semaphore::new(FORWARDS_MAX)),
            turn: AtomicUsize::new(0),
        })
    }

    /// Serves until cancelled, then ends its tasks.
    pub async fn run(self: Arc<Self>, udp: UdpSocket, tcp: TcpListener, cancel: CancellationToken) {
        let tasks = TaskTracker::new();
        let udp = self.clone().serve_udp(Arc::new(udp), tasks.clone(), cancel.clone());
        let tcp = self.serve_tcp(tcp, tasks.clone(), cancel.clone());
        tokio::join!(udp, tcp);
        tasks.close();
        tasks.wait().await;
    }

    async fn serve_udp(
        self: Arc<Self>,
        socket: Arc<UdpSocket>,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) {
        let mut buffer = vec![0; QUESTION_BYTES_MAX];
        loop {
            let received = tokio::select! {
                () = cancel.cancelled() => return,
                received = socket.recv_from(&mut buffer) => received,
            };
            let (length, peer) = match received {
                Ok(received) => received,
                Err(error) => {
                    // ICMP errors of earlier answers are reported here and concern nobody else.
                    tracing::debug!("receive a DNS question: {error}");
                    continue;
                }
            };
            match self.reply(&buffer[..length], Wire::Udp) {
                Reply::Ready(bytes) => send(&socket, &bytes, peer).await,
                Reply::Drop => {}
                Reply::Forward(pending) => {
                    let Ok(permit) = Arc::clone(&self.forwards).try_acquire_owned() else {
                        send(&socket, &pending.failure(), peer).await;
                        continue;
                    };
                    let server = Arc::clone(&self);
                    let socket = Arc::clone(&socket);
                    let cancel = cancel.clone();
                    tasks.spawn(async move {
                        let _permit = permit;
                        tokio::select! {
                            () = cancel.cancelled() => {}
                            bytes = server.forward(*pending, Wire::Udp) => {
                                send(&socket, &bytes, peer).await;
                            }
                        }
                    });
                }
            }
        }
    }

    async fn serve_tcp(
        self: Arc<Self>,
        listener: TcpListener,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly: give the others a moment to end.
                    tracing::warn!("accept a DNS connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
            let server = Arc::clone(&self);
            let cancel = cancel.clone();
            tasks.spawn(async move {
                let _permit = permit;
                tokio::select! {
                    () = cancel.cancelled() => {}
                    result = server.converse(stream) => {
                        if let Err(error) = result {
                            tracing::debug!("a DNS connection ended: {error}");
                        }
                    }
                }
            });
        }
    }

    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let length = match timeout(CONNECTION_IDLE, stream.read_u16()).await {
                Ok(Ok(length)) => usize::from(length),
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            };
            if length > QUESTION_BYTES_MAX {
                return Ok(());
            }
            let mut question = vec![0; length];
            timeout(CONNECTION_IDLE, stream.read_exact(&mut question)).await.map_err(io::Error::other)??;
            let bytes = match self.reply(&question, Wire::Tcp) {
                Reply::Ready(bytes) => bytes,
                Reply::Drop => return Ok(()),
                Reply::Forward(pending) => self.forward(*pending, Wire::Tcp).await,
            };
            let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
            let mut framed = Vec::with_capacity(bytes.len() + 2);
            framed.extend_from_slice(&length.to_be_bytes());
            framed.extend_from_slice(&bytes);
            timeout(CONNECTION_IDLE, stream.write_all(&framed)).await.map_err(io::Error::other)??;
        }
    }

    /// What to say to a packet.
    fn reply(&self, packet: &[u8], wire: Wire) -> Reply {
        let request = match Message::from_vec(packet) {
            Ok(request) if request.metadata.message_type == MessageType::Query => request,
            // An answer to nobody, or too short to have an id: say nothing (it may be a loop).
            Ok(_) => return Reply::Drop,
            Err(_) if packet.len() < 12 || packet[2] & 0x80 != 0 => return Reply::Drop,
            Err(_) => {
                let id = u16::from_be_bytes([packet[0], packet[1]]);
                let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
                return Reply::Ready(encode(&message, UDP_ANSWER_BYTES_MIN));
            }
        };
        let room = match wire {
            Wire::Tcp => TCP_ANSWER_BYTES_MAX,
            Wire::Udp => usize::from(request.max_payload()).clamp(UDP_ANSWER_BYTES_MIN, UDP_ANSWER_BYTES_MAX),
        };
        let mut response = response_to(&request);
        if request.metadata.op_code != OpCode::Query {
            response.metadata.response_code = ResponseCode::NotImp;
            return Reply::Ready(encode(&response, room));
        }
        let [query] = request.queries.as_slice() else {
            response.metadata.response_code = ResponseCode::FormErr;
            return Reply::Ready(encode(&response, room));
        };
        if query.query_class() != DNSClass::IN {
            response.metadata.response_code = ResponseCode::Refused;
            return Reply::Ready(encode(&response, room));
        }
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        let answer = answer(&zone, &self.authority, query.name(), query.query_type());
        drop(zone);
        match answer {
            Answer::Elsewhere => {
                Reply::Forward(Box::new(Pending { response, room, question: packet.to_vec(), alias: None }))
            }
            Answer::Authoritative { code, mut answers, additionals, authorities, outside } => {
                response.metadata.authoritative = true;
                response.metadata.response_code = code;
                if answers.len() > 1 && outside.is_none() && !is_alias(&answers) {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) % answers.len();
                    answers.rotate_left(turn);
                }
                response.answers = answers;
                response.additionals = additionals;
                response.authorities = authorities;
                match outside {
                    None => Reply::Ready(encode(&response, room)),
                    Some(target) => {
                        let question = question_about(&request, &target, query.query_type());
                        let alias = Some(target);
                        Reply::Forward(Box::new(Pending { response, room, question, alias }))
                    }
                }
            }
        }
    }

    /// Asks the host's resolvers and says what they said.
    async fn forward(&self, pending: Pending, wire: Wire) -> Vec<u8> {
        let answer = match wire {
            Wire::Udp => self.forwarder.ask_udp(&pending.question).await,
            Wire::Tcp => self.forwarder.ask_tcp(&pending.question).await,
        };
        match (answer, &pending.alias) {
            (Ok(bytes), None) => bytes,
            (Ok(bytes), Some(_)) => {
                let mut response = pending.response.clone();
                if let Ok(message) = Message::from_vec(&bytes) {
                    response.answers.extend(message.answers);
                }
                encode(&response, pending.room)
            }
            // The alias itself is known, whatever it leads to.
            (Err(_), Some(_)) => encode(&pending.response, pending.room),
            (Err(error), None) => {
                tracing::debug!("forward a DNS question: {error}");
                pending.failure()
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Wire {
    Udp,
    Tcp,
}

enum Reply {
    Ready(Vec<u8>),
    Forward(Box<Pending>),
    Drop,
}

/// A question that somebody else has to answer.
struct Pending {
    response: Message,
    room: usize,
    question: Vec<u8>,
    alias: Option<Name>,
}

impl Pending {
    fn failure(&self) -> Vec<u8> {
        let mut response = self.response.clone();
        response.metadata.response_code = ResponseCode::ServFail;
        encode(&response, self.room)
    }
}

fn is_alias(answers: &[hickory_proto::rr::Record]) -> bool {
    answers.iter().any(|record| record.record_type() == RecordType::CNAME)
}

fn response_to(request: &Message) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = hickory_proto::op::Edns::new();
        edns.set_max_payload(u16::try_from(UDP_ANSWER_BYTES_MAX).unwrap_or(u16::MAX));
        response.set_edns(edns);
    }
    response
}

fn question_about(request: &Message, name: &Name, record_type: RecordType) -> Vec<u8> {
    let mut question = Message::query();
    question.metadata.id = request.metadata.id;
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), record_type));
    encode(&question, UDP_ANSWER_BYTES_MAX)
}

/// The message in at most `room` bytes: first without additional records, then truncated (RFC 2181, 9).
fn encode(message: &Message, room: usize) -> Vec<u8> {
    let whole = message.to_vec().unwrap_or_default();
    if !whole.is_empty() && whole.len() <= room {
        return whole;
    }
    let mut smaller = message.clone();
    smaller.additionals.clear();
    match smaller.to_vec() {
        Ok(bytes) if bytes.len() <= room => bytes,
        _ => message.truncate().to_vec().unwrap_or_default(),
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], peer: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, peer).await {
        tracing::debug!(%peer, "send a DNS answer: {error}");
    }
}
