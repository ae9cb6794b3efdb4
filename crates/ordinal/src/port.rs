//! Listening on a port, and who has it when it is taken.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpListener;

/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Listens, or says what stands in the way and what to do about it.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let holder = holder(address).unwrap_or_else(|| "another process".to_owned());
            Err(anyhow!(
                "{holder} listens on {address} already; stop it, or choose another port with --listen {}:PORT",
                address.ip()
            ))
        }
        Err(error) => Err(error)
            .with_context(|| format!("listen on {address}; choose another address or port with --listen")),
    }
}

/// The process that listens on an address, in words; `None` where this user may not see it.
fn holder(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inodes: Vec<String> = tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .filter_map(|line| listening(line, address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let id = ids.find(|id| {
        let files = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
    })?;
    let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    Some(format!("process {id} ({})", name.trim()))
}

/// The inode of the socket in a line of `/proc/net/tcp` or `tcp6`, if it listens on this address or on all:
/// number, local address and port, remote ones, state, four more words, inode.
fn listening(line: &str, address: SocketAddr) -> Option<u64> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (host, port) = words.get(1)?.split_once(':')?;
    let same_port = u16::from_str_radix(port, 16).ok()? == address.port();
    if *words.get(3)? != LISTENING || !same_port {
        return None;
    }
    let all = host.bytes().all(|digit| digit == b'0');
    (all || address.ip().is_unspecified() || host == written(address.ip())).then_some(())?;
    words.get(9)?.parse().ok()
}

/// An address as the kernel writes it: words of the machine's byte order in hexadecimal.
fn written(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    words.map(|word| format!("{word:08X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_names_the_process_and_what_to_do() {
        let taken = listen("127.0.0.1:0".parse().expect("an address")).await.expect("listens");
        let address = taken.local_addr().expect("an address");
        let error = listen(address).await.expect_err("is taken").to_string();
        assert!(error.contains(&format!("process {} (", std::process::id())), "{error}");
        assert!(error.contains(&format!("{address} already")) && error.contains("--listen 127.0.0.1:PORT"));
    }

    #[test]
    fn a_listener_on_all_addresses_has_the_port_of_each() {
        let line = "   0: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1";
        assert_eq!(listening(line, "127.0.0.1:6443".parse().expect("an address")), Some(4711));
        assert_eq!(listening(line, "127.0.0.1:6444".parse().expect("an address")), None);
        let connected = line.replace(" 0A ", " 01 ");
        assert_eq!(listening(&connected, "127.0.0.1:6443".parse().expect("an address")), None);
        let other = line.replace("00000000:192B", "0200007F:192B");
        assert_eq!(listening(&other, "127.0.0.1:6443".parse().expect("an address")), None);
    }
}
