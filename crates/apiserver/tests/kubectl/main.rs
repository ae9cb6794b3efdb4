//! The API over TLS under the real kubectl, where there is one on the path.

mod gateway;
mod server;

use server::{Server, kubectl_is_there};

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
    if !kubectl_is_there().await {
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
    server
        .ok(
            &["patch", "sts/web", "--type=json", "-p", r#"[{"op":"remove","path":"/metadata/labels/tier"}]"#],
            "",
        )
        .await;
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

const OBJECTS: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: n1}
status:
  conditions: [{type: Ready, status: "True", lastTransitionTime: "2026-01-01T00:00:00Z"}]
  capacity: {cpu: "2", memory: 4Gi, pods: "110"}
  allocatable: {cpu: "2", memory: 4Gi, pods: "110"}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv1}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}, storageClassName: local}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c1}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, image: i}, {name: d, image: i}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Event
metadata: {name: e1}
involvedObject: {apiVersion: v1, kind: Pod, name: web-0, namespace: default}
reason: Pulled
message: the image is there
type: Normal
count: 1
firstTimestamp: "2026-01-01T00:00:00Z"
lastTimestamp: "2026-01-01T00:00:00Z"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_shows_every_kind_in_every_form() {
    if !kubectl_is_there().await {
        return;
    }
    let server = Server::start().await;
    server.ok(&["create", "-f", "-"], OBJECTS).await;
    server.ok(&["apply", "-f", "-"], STATEFUL_SET).await;
    for (words, expected) in [
        ("get nodes -o wide", "n1"),
        ("get all -A", "statefulset.apps/web"),
        ("get pods -o wide", "n1"),
        ("get pods --field-selector spec.nodeName=n1 -o name", "pod/web-0"),
        ("get svc --sort-by=.metadata.name", "kubernetes"),
        ("get sts -o custom-columns=N:.metadata.name,R:.spec.replicas", "web   2"),
        ("get sts web -o yaml", "podManagementPolicy: OrderedReady"),
        ("get sts web -o json", "\"kind\": \"StatefulSet\""),
        ("get sts -l app=none", "No resources found"),
        ("get sts web --subresource=status", "0/2"),
        ("get events --sort-by=.lastTimestamp", "the image is there"),
        ("get events.events.k8s.io", "the image is there"),
        ("events", "the image is there"),
        ("describe node n1", "Allocatable"),
        ("describe pv pv1", "HostPath"),
        ("describe pvc c1", "kubernetes.io/pvc-protection"),
        ("describe pod web-0", "Node:             n1/"),
        ("describe sts web", "2 desired"),
        ("create pdb half --selector=app=web --min-available=50%", "half created"),
        ("get pdb", "ALLOWED DISRUPTIONS"),
        ("describe pdb half", "Min available:  50%"),
        ("create job once --image=busybox -- true", "job.batch/once created"),
        ("create cronjob tick --image=busybox --schedule=@hourly", "cronjob.batch/tick created"),
        ("create job by-hand --from=cronjob/tick", "job.batch/by-hand created"),
        ("get jobs,cj", "SCHEDULE"),
        ("describe job once", "Completions:"),
        ("describe cj tick", "@hourly"),
        ("explain job.spec.podFailurePolicy.rules", "onExitCodes"),
        ("describe svc web", "None"),
        ("describe sc local", "WaitForFirstConsumer"),
        ("describe ns default", "Active"),
        ("describe sa default", "default"),
        ("describe ep kubernetes", "kubernetes"),
        ("describe endpointslice kubernetes", "IPv4"),
        ("explain pods.spec.containers --recursive", "livenessProbe"),
        ("rollout history sts/web", "No rollout history found"),
        ("rollout restart sts/web", "restarted"),
        ("set image sts/web c=nginx:9", "image updated"),
        ("cordon n1", "cordoned"),
        ("taint node n1 k=v:NoSchedule", "tainted"),
        ("taint nodes n1 k=v:NoExecute", "tainted"),
        (
            "create priorityclass high --value=1000 --description=x",
            "priorityclass.scheduling.k8s.io/high created",
        ),
        ("get priorityclasses", "system-node-critical"),
        ("get pc high", "1000"),
        ("describe pc high", "PreemptionPolicy:"),
        ("logs web-0 -c d --tail=3", "d tail=Some(3) previous=false"),
        ("get --raw /readyz", "ok"),
    ] {
        let text = server.run(words).await;
        assert!(text.contains(expected), "kubectl {words}: {text}");
    }
    for (words, expected) in [
        ("get svc --field-selector nope=1", "field label not supported: nope"),
        ("get foo", "the server doesn't have a resource type \"foo\""),
        ("auth whoami", "not enabled"),
        ("create priorityclass vast --value=1000000001", "maximum allowed value of a user defined priority"),
        ("logs web-0 -c nope", "container nope is not valid for pod web-0"),
        ("exec web-0 -c nope -- ls", "container nope is not valid for pod web-0"),
        ("scale sts web --replicas=4 --current-replicas=9", "Expected replicas to be 9, was 2"),
        ("rollout status sts/web --timeout=1s", "timed out"),
    ] {
        let text = server.refused(words).await;
        assert!(text.contains(expected), "kubectl {words}: {text}");
    }
    let (success, text) = server.kubectl(&["apply", "--server-side", "-f", "-"], STATEFUL_SET).await;
    assert!(!success && text.contains("server-side apply is not supported yet"), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_waits_for_conditions_and_deletes_in_every_way() {
    if !kubectl_is_there().await {
        return;
    }
    let server = Server::start().await;
    server.ok(&["create", "-f", "-"], OBJECTS).await;
    server.ok(&["apply", "-f", "-"], STATEFUL_SET).await;
    let ready = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    let patch = ["patch", "pod", "web-0", "--subresource=status", "--type=merge", "-p", ready];
    let (_, text) = tokio::join!(async { server.ok(&patch, "").await }, async {
        server.run("wait pod/web-0 --for=condition=Ready --timeout=20s").await
    },);
    assert!(text.contains("condition met"), "{text}");
    let changed = STATEFUL_SET.replace("replicas: 2", "replicas: 3");
    let (success, text) = server.kubectl(&["diff", "-f", "-"], &changed).await;
    assert!(!success && text.contains("+  replicas: 3"), "{text}");
    assert_eq!(server.ok(&["diff", "-f", "-"], STATEFUL_SET).await, "");
    let text = server.ok(&["apply", "--dry-run=server", "-f", "-"], &changed).await;
    assert!(text.contains("configured (server dry run)"), "{text}");
    assert_eq!(server.run("get sts web -o jsonpath={.spec.replicas}").await, "2");
    let text = server.ok(&["replace", "-f", "-"], &changed).await;
    assert_eq!(text.trim(), "statefulset.apps/web replaced");
    let text = server.run("delete pod web-0 --wait=false").await;
    assert!(text.contains("pod \"web-0\" deleted"), "{text}");
    let text = server.run("get pod web-0 -o jsonpath={.metadata.deletionGracePeriodSeconds}").await;
    assert_eq!(text, "30", "a node has to confirm");
    server.run("delete pod web-0 --grace-period=0 --force").await;
    assert!(server.refused("get pod web-0").await.contains("NotFound"));
    for name in ["a", "b"] {
        server.run(&format!("create configmap {name} --from-literal=x=y")).await;
        server.run(&format!("label configmap {name} group=one")).await;
    }
    let text = server.run("delete configmap -l group=one").await;
    assert!(text.contains("\"a\" deleted") && text.contains("\"b\" deleted"), "{text}");
    for (cascade, finalizer) in [("foreground", "foregroundDeletion"), ("orphan", "orphan")] {
        server.run("create configmap held").await;
        server.run(&format!("delete configmap held --cascade={cascade} --wait=false")).await;
        let text = server.run("get configmap held -o jsonpath={.metadata.finalizers}").await;
        assert_eq!(text, format!("[\"{finalizer}\"]"));
        let release =
            ["patch", "configmap", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#];
        server.ok(&release, "").await;
        assert!(server.refused("get configmap held").await.contains("NotFound"));
    }
    for words in [
        "create secret generic s --from-literal=a=b",
        "create serviceaccount robot",
        "create service clusterip one --tcp=80:80",
        "create service nodeport two --tcp=80",
        "create service externalname three --external-name=example.com",
    ] {
        assert!(server.run(words).await.contains("created"), "{words}");
    }
    server.stop().await;
}

const GROWING: &str = r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: grows}
provisioner: example.com/grows
allowVolumeExpansion: true
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data-web-0}
spec:
  storageClassName: grows
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  volumeClaimUpdateStrategy: {type: InPlace}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      storageClassName: grows
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 1Gi}}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_changes_claim_templates_and_grows_claims() {
    if !kubectl_is_there().await {
        return;
    }
    let server = Server::start().await;
    server.ok(&["apply", "-f", "-"], GROWING).await;
    let strategy = "jsonpath={.spec.volumeClaimUpdateStrategy.type}";
    let text = server.ok(&["explain", "sts.spec.volumeClaimUpdateStrategy.type"], "").await;
    assert!(text.contains("OnClaimDelete") && text.contains("<string>"), "{text}");
    // It stays in every way of writing.
    server.ok(&["scale", "sts/web", "--replicas=2"], "").await;
    server.ok(&["set", "image", "sts/web", "c=nginx:2"], "").await;
    server.ok(&["patch", "sts/web", "--type=merge", "-p", r#"{"spec":{"minReadySeconds":1}}"#], "").await;
    assert_eq!(server.ok(&["get", "sts/web", "-o", strategy], "").await, "InPlace");
    let whole = server.ok(&["get", "sts/web", "-o", "yaml"], "").await;
    server.ok(&["replace", "-f", "-"], &whole).await;
    assert_eq!(server.ok(&["get", "sts/web", "-o", strategy], "").await, "InPlace");
    let text = server.ok(&["apply", "-f", "-"], &GROWING.replace("InPlace", "OnClaimDelete")).await;
    assert!(text.contains("statefulset.apps/web configured"), "{text}");
    let (success, text) =
        server.kubectl(&["apply", "-f", "-"], &GROWING.replace("{type: InPlace}", "{kind: InPlace}")).await;
    assert!(!success && text.contains(r#"unknown field "spec.volumeClaimUpdateStrategy.kind""#), "{text}");
    // Templates change in what live claims can change in.
    let set = |from: &str, to: &str| GROWING.rsplit_once("---").expect("has parts").1.replace(from, to);
    let text = server.ok(&["apply", "-f", "-"], &set("1Gi", "2Gi")).await;
    assert_eq!(text.trim(), "statefulset.apps/web configured");
    // kubectl finds lists of templates different from what the defaults made of them; nothing comes of it.
    let generation = ["get", "sts/web", "-o", "jsonpath={.metadata.generation}"];
    let before = server.ok(&generation, "").await;
    server.ok(&["apply", "-f", "-"], &set("1Gi", "2Gi")).await;
    assert_eq!(server.ok(&generation, "").await, before);
    let (success, text) = server.kubectl(&["apply", "-f", "-"], &set("1Gi", "1Gi")).await;
    assert!(
        !success
            && text.contains(
                "spec.volumeClaimTemplates[0].spec.resources.requests.storage: Forbidden: field can not be \
                 less than previous value"
            ),
        "{text}"
    );
    let other = set("1Gi", "2Gi").replace("ReadWriteOnce", "ReadWriteMany");
    let (success, text) = server.kubectl(&["apply", "-f", "-"], &other).await;
    assert!(!success && text.contains("updates to statefulset spec for fields other than"), "{text}");
    // What is likely a mistake is accepted with a warning.
    let second =
        set("1Gi", "2Gi").replacen("{name: web}", "{name: other}", 1).replace("InPlace", "OnClaimDelete");
    let text = server.ok(&["apply", "-f", "-"], &second).await;
    assert!(text.contains("Warning: spec.selector: StatefulSets that select the same pods: web;"), "{text}");
    server.ok(&["patch", "sc/grows", "-p", r#"{"allowVolumeExpansion":false}"#], "").await;
    let text = server.ok(&["apply", "-f", "-"], &set("1Gi", "3Gi")).await;
    assert!(text.contains(r#"the StorageClass "grows" does not let volumes grow"#), "{text}");
    // So is what was asked for before the set began to update its claims in place.
    let switch = |kind: &str| format!(r#"{{"spec":{{"volumeClaimUpdateStrategy":{{"type":"{kind}"}}}}}}"#);
    let back = server.ok(&["patch", "sts/web", "--type=merge", "-p", &switch("OnClaimDelete")], "").await;
    assert!(!back.contains("Warning"), "{back}");
    let text = server.ok(&["patch", "sts/web", "--type=merge", "-p", &switch("InPlace")], "").await;
    assert!(text.contains(r#"the StorageClass "grows" does not let volumes grow"#), "{text}");
    // A claim grows once it is bound, where its class can grow volumes.
    let grow = r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#;
    let patch = ["patch", "pvc/data-web-0", "-p", grow];
    let (success, text) = server.kubectl(&patch, "").await;
    assert!(!success && text.contains("spec is immutable after creation"), "{text}");
    let bound = r#"{"status":{"phase":"Bound","capacity":{"storage":"1Gi"}}}"#;
    let status = ["patch", "pvc/data-web-0", "--subresource=status", "--type=merge", "-p", bound];
    server.ok(&status, "").await;
    let class = |allows: bool| format!(r#"{{"allowVolumeExpansion":{allows}}}"#);
    server.ok(&["patch", "sc/grows", "-p", &class(false)], "").await;
    let (success, text) = server.kubectl(&patch, "").await;
    assert!(
        !success && text.contains("the storageclass that provisions the pvc must support resize"),
        "{text}"
    );
    server.ok(&["patch", "sc/grows", "-p", &class(true)], "").await;
    server.ok(&patch, "").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_runs_commands_to_their_end() {
    if !kubectl_is_there().await {
        return;
    }
    let server = Server::start().await;
    server.ok(&["create", "-f", "-"], OBJECTS).await;
    let exec = ["exec", "web-0", "-c", "c", "--", "sh", "-c"];
    let text = server.ok(&[&exec[..], &["echo out; echo err >&2"]].concat(), "").await;
    assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
    let (success, text) = server.kubectl(&[&exec[..], &["exit 7"]].concat(), "").await;
    assert!(!success && text.contains("exit code 7"), "{text}");
    // A process that is left behind holds the streams open; the command itself has ended.
    let text = server.ok(&[&exec[..], &["sleep 120 & echo $! ended"]].concat(), "").await;
    let left = text.split(' ').next().expect("a process id").to_owned();
    assert!(text.contains("ended"), "{text}");
    server.ok(&[&exec[..], &[&format!("kill {left}")]].concat(), "").await;
    // More than all the queues hold, both ways at once.
    let long = "0123456789abcdef".repeat(256 * 1024);
    let text = server.ok(&["exec", "-i", "web-0", "-c", "c", "--", "cat"], &long).await;
    assert!(text == long, "{} of {} bytes came back", text.len(), long.len());
    let text = server.ok(&["attach", "-i", "web-0", "-c", "c"], "hello\n").await;
    assert!(text.contains("hello\n"), "{text}");
    let there = server.home.path().join("there");
    std::fs::write(&there, "carried").expect("writes");
    let back = server.home.path().join("back");
    server.run(&format!("cp web-0:{} {} -c c", there.display(), back.display())).await;
    assert_eq!(std::fs::read_to_string(back).expect("is there"), "carried");
    let (success, text) =
        server.kubectl(&["exec", "web-0", "-c", "c", "--", "/nonexistent/command"], "").await;
    assert!(!success && text.contains("No such file"), "{text}");
    server.stop().await;
}
