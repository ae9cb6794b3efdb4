//! The API alone, over TLS on a port of loopback, with its objects in memory: for trying clients by hand.
//!
//! `cargo run -p apiserver --example serve -- KUBECONFIG` writes a kubeconfig of an administrator
//! to the path and serves until Ctrl-C. Nothing acts on the objects: there is no controller and no node.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use apiserver::{Api, bootstrap, http, pki};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::clock::Clock;
use tokio::net::TcpListener;

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this program is a composition root")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).ok_or("usage: serve KUBECONFIG")?;
    let now = SystemClock.now();
    let api = Api::in_memory(Arc::new(SystemClock));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    bootstrap::ensure(&api, Ipv4Addr::LOCALHOST, address.port()).await.map_err(|status| status.message)?;
    let authority = pki::authority(now)?;
    let serving = pki::serving(&authority, &[], &[], now)?;
    let admin = pki::admin(&authority, now)?;
    let tls = pki::server_config(&authority.certificate, &serving)?;
    tokio::fs::write(&path, kubeconfig(address, &authority, &admin)).await?;
    println!("serving on https://{address}; export KUBECONFIG={path}");
    http::serve(api, listener, tls, async {
        let _ = tokio::signal::ctrl_c().await;
    })
    .await;
    tokio::fs::remove_file(&path).await?;
    Ok(())
}

fn kubeconfig(address: SocketAddr, authority: &pki::Pair, admin: &pki::Pair) -> String {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "ordinal",
        "clusters": [{"name": "ordinal", "cluster": {
            "server": format!("https://{address}"),
            "certificate-authority-data": STANDARD.encode(&authority.certificate),
        }}],
        "users": [{"name": "admin", "user": {
            "client-certificate-data": STANDARD.encode(&admin.certificate),
            "client-key-data": STANDARD.encode(&admin.key),
        }}],
        "contexts": [{"name": "ordinal", "context": {"cluster": "ordinal", "user": "admin"}}],
    })
    .to_string()
}
