//! Asks a name server for one address record, as small as that can be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::net::UdpSocket;

/// A lost packet is asked for again.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(100);
const HEADER_BYTES: usize = 12;
/// Largest answer over UDP without extensions (RFC 1035).
const ANSWER_BYTES_MAX: usize = 512;

/// Whether the server knows an address of the name.
pub(crate) async fn resolves(server: Ipv4Addr, name: &str) -> Result<bool> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(SocketAddr::new(IpAddr::V4(server), 53)).await?;
    socket.send(&query(name)?).await?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    match tokio::time::timeout(ANSWER_TIMEOUT, socket.recv(&mut answer)).await {
        Ok(Ok(length)) if length >= HEADER_BYTES => {
            let (code, answers) = (answer[3] & 0xf, u16::from_be_bytes([answer[6], answer[7]]));
            Ok(code == 0 && answers > 0)
        }
        _ => Ok(false),
    }
}

fn query(name: &str) -> Result<Vec<u8>> {
    // An id of our own, recursion desired, one question.
    let mut query = vec![0x4f, 0x52, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        ensure!((1..=63).contains(&label.len()), "{name} is no name");
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    // The root, type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    Ok(query)
}
