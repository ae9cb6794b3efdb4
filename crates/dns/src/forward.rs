//! Asks somebody else: questions outside the zone go to the host's resolvers.
//!
//! A question travels as it came, byte for byte but for its id; an answer comes back the same way. It must
//! never be asked of ourselves, and with no resolver given nothing leaves the machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Time one resolver gets. Two tries on two resolvers stay below the five seconds that a client waits.
const TRY_TIMEOUT: Duration = Duration::from_millis(2_000);
/// Most resolvers asked, one after the other: the three of `resolv.conf(5)`.
const RESOLVERS_MAX: usize = 3;
/// Largest answer over UDP that is taken (RFC 6891 lets a server send this much when asked to).
const UDP_ANSWER_BYTES_MAX: usize = 4096;

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// There is nobody to ask.
    #[error("no resolver is configured")]
    NoResolver,
    /// Nobody answered in time.
    #[error("no resolver answered")]
    NoAnswer,
}

/// The resolvers to ask.
#[derive(Debug, Clone, Default)]
pub struct Forwarder {
    resolvers: Vec<SocketAddr>,
}

impl Forwarder {
    /// Asks these, in order; at most the first three.
    pub fn new(mut resolvers: Vec<SocketAddr>) -> Forwarder {
        resolvers.truncate(RESOLVERS_MAX);
        Forwarder { resolvers }
    }

    /// The `nameserver` lines of a `resolv.conf(5)`, without `own` addresses.
    pub fn from_resolv_conf(text: &str, own: &[IpAddr]) -> Forwarder {
        let servers = text
            .lines()
            .filter_map(|line| line.split_whitespace().collect::<Vec<_>>().try_into().ok())
            .filter(|[keyword, _]: &[&str; 2]| *keyword == "nameserver")
            .filter_map(|[_, address]| address.parse::<IpAddr>().ok())
            .filter(|address| !own.contains(address))
            .map(|address| SocketAddr::new(address, 53));
        Forwarder::new(servers.collect())
    }

    /// Asks over UDP.
    pub async fn ask_udp(&self, question: &[u8]) -> Result<Vec<u8>, ForwardError> {
        self.ask(question, false).await
    }

    /// Asks over TCP.
    pub async fn ask_tcp(&self, question: &[u8]) -> Result<Vec<u8>, ForwardError> {
        self.ask(question, true).await
    }

    async fn ask(&self, question: &[u8], tcp: bool) -> Result<Vec<u8>, ForwardError> {
        if self.resolvers.is_empty() {
            return Err(ForwardError::NoResolver);
        }
        for resolver in &self.resolvers {
            let attempt = async {
                if tcp { over_tcp(*resolver, question).await } else { over_udp(*resolver, question).await }
            };
            match timeout(TRY_TIMEOUT, attempt).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => tracing::debug!(%resolver, "a resolver failed: {error}"),
                Err(_) => tracing::debug!(%resolver, "a resolver did not answer in time"),
            }
        }
        Err(ForwardError::NoAnswer)
    }
}

/// The kernel gives each question a port of its own, and the socket takes packets from the resolver only;
/// with the client's own random id that is what keeps forged answers out (RFC 5452).
async fn over_udp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(resolver).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; UDP_ANSWER_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything with another id is not the answer to this question.
        if length >= 12 && buffer[..2] == question[..2] {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(resolver: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(resolver).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_gives_its_servers_but_never_ourselves() {
        let text = "search x\nnameserver 10.96.0.10\nnameserver 192.0.2.1\n# nameserver 9.9.9.9\n";
        let own = [IpAddr::from([10, 96, 0, 10])];
        let forwarder = Forwarder::from_resolv_conf(text, &own);
        assert_eq!(forwarder.resolvers, vec![SocketAddr::from(([192, 0, 2, 1], 53))]);
    }
}
