//! An API over TLS on a port of its own, and kubectl with a kubeconfig for it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use super::gateway::LocalProcesses;
use apiserver::{Api, bootstrap, http, pki};
use model::clock::FixedClock;
use tokio::net::TcpListener;
use tokio::process::Command;

pub(crate) struct Server {
    pub(crate) home: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        let now = jiff::Timestamp::now();
        let api = Api::in_memory(Arc::new(FixedClock(now)));
        api.set_node_gateway(Arc::new(LocalProcesses));
        bootstrap::ensure(&api, [127, 0, 0, 1].into(), 6443).await.expect("bootstraps");
        let authority = pki::authority(now).expect("an authority");
        let serving = pki::serving(&authority, &[], &[], now).expect("a certificate");
        let admin = pki::admin(&authority, now).expect("a certificate");
        let tls = pki::server_config(&authority.certificate, &serving).expect("TLS");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(http::serve(api, listener, tls, async move {
            let _ = stopped.await;
        }));
        let home = tempfile::tempdir().expect("a directory");
        write_kubeconfig(home.path(), address, &authority, &admin);
        Server { home, stop: Some(stop), task }
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str], input: &str) -> (bool, String) {
        use tokio::io::AsyncWriteExt;
        let mut child = Command::new("kubectl")
            .args(arguments)
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("config"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("is piped");
        stdin.write_all(input.as_bytes()).await.expect("writes");
        drop(stdin);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait_with_output());
        let output = waited.await.expect("kubectl ends in time").expect("kubectl ran");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    pub(crate) async fn ok(&self, arguments: &[&str], input: &str) -> String {
        let (success, text) = self.kubectl(arguments, input).await;
        assert!(success, "kubectl {arguments:?}: {text}");
        text
    }

    /// Runs kubectl on words without blanks in them.
    pub(crate) async fn run(&self, words: &str) -> String {
        self.ok(&words.split(' ').collect::<Vec<_>>(), "").await
    }

    /// Runs kubectl, which must fail, and gives what it says.
    pub(crate) async fn refused(&self, words: &str) -> String {
        let (success, text) = self.kubectl(&words.split(' ').collect::<Vec<_>>(), "").await;
        assert!(!success, "kubectl {words}: {text}");
        text
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.expect("the server ends");
    }
}

fn write_kubeconfig(home: &Path, address: SocketAddr, authority: &pki::Pair, admin: &pki::Pair) {
    for (name, text) in [("ca", &authority.certificate), ("cert", &admin.certificate), ("key", &admin.key)] {
        std::fs::write(home.join(name), text).expect("writes");
    }
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "o",
        "clusters": [{"name": "o", "cluster": {
            "server": format!("https://{address}"), "certificate-authority": home.join("ca"),
        }}],
        "users": [{"name": "o", "user": {
            "client-certificate": home.join("cert"), "client-key": home.join("key"),
        }}],
        "contexts": [{"name": "o", "context": {"cluster": "o", "user": "o"}}],
    });
    std::fs::write(home.join("config"), config.to_string()).expect("writes");
}

/// Whether there is a kubectl to test with.
pub(crate) async fn kubectl_is_there() -> bool {
    let there = Command::new("kubectl").args(["version", "--client"]).output().await.is_ok();
    if !there {
        eprintln!("skipped: there is no kubectl on the path");
    }
    there
}
