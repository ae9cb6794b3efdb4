//! Names and addresses from inside a pod.

use crate::space::{IDLE, Space};

/// A web server that says its host name.
const SERVER: &str =
    r#"["sh", "-c", "mkdir /www; hostname > /www/index.html; exec httpd -f -p 8080 -h /www"]"#;

/// A headless Service `web` with two replicas, a Service `front` with an address, another name, and a client.
fn world(space: &Space) {
    let name = &space.name;
    let set = crate::sets::set("web", 2, "", "ports: [{containerPort: 8080}],").replace(IDLE, SERVER);
    space.apply(&format!(
        "apiVersion: v1
kind: List
items:
- {{apiVersion: v1, kind: Service, metadata: {{name: web}}, spec: {{clusterIP: None, selector: {{app: web}},
   ports: [{{name: http, port: 80, targetPort: 8080}}]}}}}
- {{apiVersion: v1, kind: Service, metadata: {{name: front}}, spec: {{selector: {{app: web}},
   ports: [{{name: http, port: 80, targetPort: 8080}}]}}}}
- {{apiVersion: v1, kind: Service, metadata: {{name: other}}, spec: {{type: ExternalName,
   externalName: web-1.web.{name}.svc.cluster.local}}}}
- {{apiVersion: v1, kind: Service, metadata: {{name: late}}, spec: {{clusterIP: None, selector: {{app: late}}}}}}
- {set}"
    ));
    space.pod("client", IDLE, "", "");
    space.wait_pod("client");
    space.wait_ready("web", 2);
}

/// What `nslookup` in the client says, of a name or, for `ptr`, of an address.
fn look_up(space: &Space, kind: &str, name: &str) -> String {
    let mut name = name.to_owned();
    if kind == "ptr" {
        let parts: Vec<&str> = name.rsplit('.').collect();
        name = format!("{}.in-addr.arpa", parts.join("."));
    }
    let kind = format!("-type={kind}");
    let printed = space.kubectl(&["exec", "client", "--", "nslookup", &kind, &name]);
    // What comes before the first empty line is the server.
    printed.stdout.split_once("\n\n").map(|(_, answer)| answer.to_owned()).unwrap_or_default()
}

#[test]
fn every_form_of_record_answers_inside_a_pod() {
    let Some(space) = Space::new() else { return };
    world(&space);
    let suffix = format!("{}.svc.cluster.local", space.name);
    let address = |pod: &str| space.value(&format!("pod/{pod}"), "{.status.podIP}");
    let addresses = [address("web-0"), address("web-1")];
    let front = space.value("service/front", "{.spec.clusterIP}");
    let both = format!("web.{suffix}");
    space.wait("both replicas have an address", || {
        let answer = look_up(&space, "a", &both);
        addresses.iter().all(|address| answer.contains(&format!("Address: {address}\n")))
    });
    for (index, address) in addresses.iter().enumerate() {
        let name = format!("web-{index}.web.{suffix}");
        let answer = look_up(&space, "a", &name);
        assert!(answer.contains(&format!("Name:\t{name}\nAddress: {address}")), "{answer}");
        assert_eq!(answer.matches("Address:").count(), 1, "{answer}");
        let answer = look_up(&space, "ptr", address);
        assert!(answer.contains(&format!("name = {name}")), "{answer}");
    }
    let answer = look_up(&space, "a", &format!("front.{suffix}"));
    assert!(answer.contains(&format!("Address: {front}")), "{answer}");
    let answer = look_up(&space, "ptr", &front);
    assert!(answer.contains(&format!("name = front.{suffix}")), "{answer}");
    let answer = look_up(&space, "srv", &format!("_http._tcp.web.{suffix}"));
    for pod in ["web-0", "web-1"] {
        let service = format!(" 8080 {pod}.web.{suffix}");
        assert!(
            answer.lines().any(|line| line.contains("service = 0 ") && line.ends_with(&service)),
            "{answer}"
        );
    }
    let answer = look_up(&space, "srv", &format!("_http._tcp.front.{suffix}"));
    assert!(answer.contains(&format!(" 80 front.{suffix}")), "{answer}");
    let answer = look_up(&space, "a", &format!("other.{suffix}"));
    let canonical = format!("other.{suffix}\tcanonical name = web-1.web.{suffix}");
    assert!(answer.contains(&canonical) && answer.contains(&addresses[1]), "{answer}");
    let server = space.kubectl(&["exec", "client", "--", "nslookup", &both]).stdout;
    let resolver = space.exec("client", "grep nameserver /etc/resolv.conf");
    assert!(server.contains(resolver.trim_start_matches("nameserver ")), "{server} from {resolver}");
    assert!(!space.exec("client", "ping -c 1 -W 5 web-0.web").is_empty(), "the search list completes names");
}

#[test]
fn a_name_answers_as_soon_as_its_pod_is_ready_although_it_was_asked_for_before() {
    let Some(space) = Space::new() else { return };
    world(&space);
    let name = format!("late.{}.svc.cluster.local", space.name);
    assert!(look_up(&space, "a", &name).contains("NXDOMAIN"));
    assert!(look_up(&space, "a", &format!("no.{name}")).contains("NXDOMAIN"));
    let gate = "readinessProbe: {exec: {command: [test, -f, /tmp/ready]}, periodSeconds: 1},";
    space.pod("late", IDLE, gate, "");
    space.wait_value("pod/late", "{.status.phase}", "Running");
    assert!(look_up(&space, "a", &name).contains("NXDOMAIN"), "it is not ready");
    space.exec("late", "touch /tmp/ready");
    let address = space.value("pod/late", "{.status.podIP}");
    space.wait("the name answers", || look_up(&space, "a", &name).contains(&format!("Address: {address}")));
}

#[test]
fn a_cluster_address_reaches_ready_pods_from_a_pod_from_itself_and_from_the_host() {
    let Some(space) = Space::new() else { return };
    world(&space);
    let address = space.value("service/front", "{.spec.clusterIP}");
    let all = |ask: &dyn Fn() -> String| {
        for pod in ["web-0", "web-1"] {
            space.wait(&format!("{pod} answers"), || ask().trim() == pod);
        }
    };
    let ask = |pod: &str| space.kubectl(&["exec", pod, "--", "wget", "-qO-", "http://front"]).stdout;
    all(&|| ask("client"));
    all(&|| ask("web-0"));
    all(&|| {
        use std::io::{Read, Write};
        let mut answer = String::new();
        if let Ok(mut stream) = std::net::TcpStream::connect((address.as_str(), 80)) {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a connection");
            // A reset is seen as an answer that is not expected.
            let _ = stream.read_to_string(&mut answer);
        }
        answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
    });
}
