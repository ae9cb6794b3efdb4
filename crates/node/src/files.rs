//! `/etc/hosts`, `/etc/resolv.conf` and the host name of a pod. Pure.
//!
//! Read next: [`crate::execute`], which writes these texts below the pod's directory.

use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{HostAlias, Pod, PodSpec};

/// Most bytes of a host name (`HOST_NAME_MAX` of Linux).
const HOSTNAME_BYTES_MAX: usize = 63;

/// Host name and, where the pod has a subdomain, its full name.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let text = |field: Option<&String>| field.filter(|text| !text.is_empty()).cloned();
    if let Some(text) = text(spec.and_then(|spec| spec.hostname_override.as_ref())) {
        return (text, None);
    }
    let own = text(spec.and_then(|spec| spec.hostname.as_ref()));
    let mut short = own.unwrap_or_else(|| name.to_owned());
    if short.len() > HOSTNAME_BYTES_MAX {
        short.truncate(HOSTNAME_BYTES_MAX);
        short = short.trim_end_matches(['-', '.']).to_owned();
    }
    let full = text(spec.and_then(|spec| spec.subdomain.as_ref())).map(|subdomain| {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        format!("{short}.{subdomain}.{namespace}.svc.{cluster_domain}")
    });
    match &full {
        Some(full) if spec.and_then(|spec| spec.set_hostname_as_fqdn) == Some(true) => {
            (full.clone(), Some(full.clone()))
        }
        _ => (short, full),
    }
}

/// The managed hosts file. `host_file` is the host's own, for pods on its network.
pub fn hosts(
    addresses: &[IpAddr],
    hostname: &str,
    full: Option<&str>,
    aliases: &[HostAlias],
    host_file: Option<&str>,
) -> String {
    let mut text = match host_file {
        Some(content) => format!("# Kubernetes-managed hosts file (host network).\n{content}"),
        None => {
            let mut text = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\
                            ::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                            fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
                .to_owned();
            for address in addresses {
                let _ = match full {
                    Some(full) if full != hostname => writeln!(text, "{address}\t{full}\t{hostname}"),
                    _ => writeln!(text, "{address}\t{hostname}"),
                };
            }
            text
        }
    };
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let _ = writeln!(
                text,
                "{}\t{}",
                alias.ip,
                alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
            );
        }
    }
    text
}

/// The resolver configuration. `host_file` is the host's own.
pub fn resolv_conf(
    spec: &PodSpec,
    namespace: &str,
    cluster_dns: &[IpAddr],
    cluster_domain: &str,
    host_file: &str,
) -> String {
    let mut servers: Vec<String> = Vec::new();
    let mut searches: Vec<String> = Vec::new();
    let mut options: Vec<String> = Vec::new();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let on_host = spec.host_network == Some(true);
    let cluster_first = match policy {
        "ClusterFirst" => !on_host,
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    if policy != "None" {
        for line in host_file.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => servers.extend(words.next().map(str::to_owned)),
                // The last one counts, as the resolver has it.
                Some("search" | "domain") => searches = words.map(str::to_owned).collect(),
                Some("options") => options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
    }
    if cluster_first && !cluster_dns.is_empty() {
        servers = cluster_dns.iter().map(ToString::to_string).collect();
        let mut cluster = vec![
            format!("{namespace}.svc.{cluster_domain}"),
            format!("svc.{cluster_domain}"),
            cluster_domain.to_owned(),
        ];
        cluster.append(&mut searches);
        searches = cluster;
        options = vec!["ndots:5".to_owned()];
    }
    if let Some(config) = &spec.dns_config {
        servers.extend(config.nameservers.iter().flatten().cloned());
        searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            options.retain(|present| present.split(':').next() != Some(name.as_str()));
            options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    dedup(&mut servers);
    dedup(&mut searches);
    let mut text = String::new();
    if !searches.is_empty() {
        let _ = writeln!(text, "search {}", searches.join(" "));
    }
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

fn dedup(words: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    words.retain(|word| seen.insert(word.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: PodSpec) -> Pod {
        let mut pod = Pod { spec: Some(spec), ..Pod::default() };
        pod.metadata.name = Some("redis-0".to_owned());
        pod.metadata.namespace = Some("db".to_owned());
        pod
    }

    #[test]
    fn a_pod_of_a_set_has_its_full_name_in_its_hosts_file() {
        let spec = PodSpec {
            hostname: Some("redis-0".to_owned()),
            subdomain: Some("redis".to_owned()),
            ..PodSpec::default()
        };
        let (short, full) = hostname(&pod(spec), "cluster.local");
        assert_eq!(short, "redis-0");
        let text = hosts(&["10.0.0.7".parse().expect("valid")], &short, full.as_deref(), &[], None);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with("\n10.0.0.7\tredis-0.redis.db.svc.cluster.local\tredis-0\n"), "{text}");
    }

    #[test]
    fn cluster_names_come_first_in_the_search_list() {
        let text = resolv_conf(
            &PodSpec::default(),
            "db",
            &["10.96.0.10".parse().expect("valid")],
            "cluster.local",
            "nameserver 1.1.1.1\nsearch example.org\n",
        );
        assert_eq!(
            text,
            "search db.svc.cluster.local svc.cluster.local cluster.local example.org\n\
             nameserver 10.96.0.10\noptions ndots:5\n"
        );
    }

    #[test]
    fn the_default_policy_is_the_hosts_own_resolver() {
        let spec = PodSpec { dns_policy: Some("Default".to_owned()), ..PodSpec::default() };
        let text = resolv_conf(
            &spec,
            "db",
            &["10.96.0.10".parse().expect("valid")],
            "cluster.local",
            "nameserver 1.1.1.1\n",
        );
        assert_eq!(text, "nameserver 1.1.1.1\n");
    }
}
