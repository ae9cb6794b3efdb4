//! The API over TLS under the real kubectl, where there is one on the path.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use apiserver::{Api, bootstrap, http, pki};
use model::clock::FixedClock;
use tokio::net::TcpListener;
use tokio::process::Command;

struct Server {
    home: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Server {
        let now = jiff::Timestamp::now();
        let api = Api::in_memory(Arc::new(FixedClock(now)));
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

    async fn kubectl(&self, arguments: &[&str], input: &str) -> (bool, String) {
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

    async fn ok(&self, arguments: &[&str], input: &str) -> String {
        let (success, text) = self.kubectl(arguments, input).await;
        assert!(success, "kubectl {arguments:?}: {text}");
        text
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.expect("the server ends");
    }
}

fn write_kubeconfig(home: &Path, address: SocketAddr, authority: &pki::Pair, admin: &pki::Pair) {
    for (name, text) in
        [("ca", &authority.certificate), ("cert", &admin.certificate), ("key", &admin.key)]
    {
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

const STATEFUL_SET: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_applies_gets_patches_scales_and_deletes() {
    if Command::new("kubectl").arg("version").arg("--client").output().await.is_err() {
        eprintln!("skipped: there is no kubectl on the path");
        return;
    }
    let server = Server::start().await;
    let text = server.ok(&["version"], "").await;
    assert!(text.contains("Server Version: v1.37"), "{text}");
    let text = server.ok(&["api-resources"], "").await;
    assert!(text.contains("statefulsets") && text.contains("sts"), "{text}");
    let text = server.ok(&["apply", "-f", "-"], STATEFUL_SET).await;
    assert_eq!(text.trim(), "statefulset.apps/web created");
    let text = server.ok(&["apply", "-f", "-"], STATEFUL_SET).await;
    assert_eq!(text.trim(), "statefulset.apps/web unchanged");
    let changed = STATEFUL_SET.replace("image: nginx", "image: nginx:2");
    let text = server.ok(&["apply", "-f", "-"], &changed).await;
    assert_eq!(text.trim(), "statefulset.apps/web configured");
    let text = server.ok(&["get", "sts", "-o", "wide"], "").await;
    assert!(text.contains("READY") && text.contains("nginx:2"), "{text}");
    let text = server.ok(&["scale", "sts/web", "--replicas=5"], "").await;
    assert_eq!(text.trim(), "statefulset.apps/web scaled");
    let text = server.ok(&["get", "sts", "web", "-o", "jsonpath={.spec.replicas}"], "").await;
    assert_eq!(text, "5");
    server.ok(&["label", "sts/web", "tier=db"], "").await;
    server.ok(&["annotate", "sts/web", "note=x"], "").await;
    server.ok(&["patch", "sts/web", "--type=json", "-p", r#"[{"op":"remove","path":"/metadata/labels/tier"}]"#], "").await;
    server.ok(&["create", "configmap", "cm", "--from-literal=a=b"], "").await;
    server.ok(&["create", "namespace", "other"], "").await;
    let text = server.ok(&["get", "cm,svc,ns", "-A"], "").await;
    assert!(text.contains("service/kubernetes") && text.contains("configmap/cm"), "{text}");
    let text = server.ok(&["explain", "statefulset.spec.replicas"], "").await;
    assert!(text.contains("replicas"), "{text}");
    let text = server.ok(&["delete", "sts", "web"], "").await;
    assert_eq!(text.trim(), "statefulset.apps \"web\" deleted");
    let (success, text) = server.kubectl(&["get", "sts", "web"], "").await;
    assert!(!success && text.contains("statefulsets.apps \"web\" not found"), "{text}");
    let unknown = STATEFUL_SET.replace("replicas: 2", "replicaz: 2");
    let (success, text) = server.kubectl(&["apply", "-f", "-"], &unknown).await;
    assert!(!success && text.contains("unknown field \"spec.replicaz\""), "{text}");
    server.stop().await;
}
