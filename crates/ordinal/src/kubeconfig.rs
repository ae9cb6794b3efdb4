//! The administrator's kubeconfig: a file of its own, or a context in the user's.
//!
//! Merging keeps every entry that is not ours, and `current-context` is set. The file stays readable for its
//! owner only. A file that cannot be understood is left alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::data_dir::write_private;
use crate::pki_files::Certificates;

/// Name of the context, the cluster and the user of a cluster: `ordinal`, or with its id beside the default
/// data directory.
pub(crate) fn context_name(data_dir: &Path, id: &str) -> String {
    if data_dir == Path::new("/var/lib/ordinal") || data_dir.ends_with(".local/share/ordinal") {
        "ordinal".to_owned()
    } else {
        format!("ordinal-{id}")
    }
}

/// The whole file for one cluster.
pub(crate) fn config(name: &str, server: &str, certificates: &Certificates) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(&certificates.authority.certificate),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate-data": STANDARD.encode(&certificates.admin.certificate),
            "client-key-data": STANDARD.encode(&certificates.admin.key),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    })
}

/// Refuses a file to be written that holds anything else than a cluster of Ordinal's.
pub(crate) fn check_own(path: &Path) -> Result<()> {
    let user = read(path)?.unwrap_or_else(|| json!({}));
    let foreign = |name: &str| name != "ordinal" && !name.starts_with("ordinal-");
    let clusters = user["clusters"].as_array().map_or(&[][..], Vec::as_slice);
    let found = clusters.iter().filter_map(|one| one["name"].as_str()).find(|name| foreign(name));
    if !user.is_object() || found.is_some() {
        bail!(
            "{} holds something else ({}) and would be written over; name another file, or leave \
             --write-kubeconfig out to have a context added to your kubeconfig",
            path.display(),
            found.map_or_else(|| "no kubeconfig".to_owned(), |name| format!("the cluster {name}"))
        );
    }
    Ok(())
}

/// Writes a config as a file of its own.
pub(crate) fn write(path: &Path, config: &Value) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    // What a link leads to is written, not the link.
    let file = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    write_private(&file, render(config)?.as_bytes())
}

/// Puts a config's entries into another, over those of the same names.
pub(crate) fn merge(user: &mut Value, ours: &Value) -> Result<()> {
    let Some(user) = user.as_object_mut() else { bail!("the kubeconfig is no mapping") };
    for key in ["apiVersion", "kind"] {
        user.entry(key).or_insert_with(|| ours[key].clone());
    }
    for list in ["clusters", "users", "contexts"] {
        let name = &ours[list][0]["name"];
        let entries = user.entry(list).or_insert_with(|| json!([]));
        if entries.is_null() {
            *entries = json!([]);
        }
        let Some(entries) = entries.as_array_mut() else { bail!("{list} of the kubeconfig is no list") };
        entries.retain(|entry| entry["name"] != *name);
        entries.push(ours[list][0].clone());
    }
    user.insert("current-context".to_owned(), ours["current-context"].clone());
    Ok(())
}

/// Takes the entries of a name out; true when there were any.
pub(crate) fn remove(user: &mut Value, name: &str) -> bool {
    let Some(user) = user.as_object_mut() else { return false };
    let mut removed = false;
    for list in ["clusters", "users", "contexts"] {
        if let Some(entries) = user.get_mut(list).and_then(Value::as_array_mut) {
            let before = entries.len();
            entries.retain(|entry| entry["name"] != name);
            removed |= entries.len() != before;
        }
    }
    if removed && user.get("current-context").is_some_and(|current| current == name) {
        user.insert("current-context".to_owned(), "".into());
    }
    removed
}

/// True when nothing of use is left.
fn is_bare(user: &Value) -> bool {
    let Some(user) = user.as_object() else { return false };
    user.iter().all(|(key, value)| match key.as_str() {
        "apiVersion" | "kind" | "current-context" => true,
        _ => value.is_null() || value.as_array().is_some_and(Vec::is_empty) || *value == json!({}),
    })
}

/// Puts a config into a file that may hold others.
pub(crate) fn merge_into(path: &Path, ours: &Value) -> Result<()> {
    let mut user = read(path)?.unwrap_or_else(|| json!({}));
    merge(&mut user, ours).with_context(|| format!("merge into {}", path.display()))?;
    write(path, &user)
}

/// Takes a context with its key out of a file; the file goes when nothing else was in it.
pub(crate) fn remove_from(path: &Path, name: &str) -> Result<()> {
    let Some(mut user) = read(path)? else { return Ok(()) };
    if !remove(&mut user, name) {
        return Ok(());
    }
    if !is_bare(&user) {
        return write(path, &user);
    }
    let file = std::fs::canonicalize(path).with_context(|| format!("find {}", path.display()))?;
    std::fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))
}

/// The first file of KUBECONFIG, or `~/.kube/config`.
pub(crate) fn users_path() -> Result<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(first) = std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty())
    {
        return Ok(first);
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.context("HOME is not set; name a file with --write-kubeconfig")?;
    Ok(PathBuf::from(home).join(".kube/config"))
}

fn read(path: &Path) -> Result<Option<Value>> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => serde_saphyr::from_str(&text)
            .map(Some)
            .with_context(|| format!("read {}; mend it, or use --write-kubeconfig", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn render(config: &Value) -> Result<String> {
    serde_saphyr::to_string(config).context("write YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": "https://127.0.0.1:6443"}}],
            "users": [{"name": name, "user": {}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        })
    }

    #[test]
    fn merging_keeps_what_is_not_ours_and_replaces_what_is() {
        let mut user = ours("work");
        merge(&mut user, &ours("ordinal")).expect("merges");
        merge(&mut user, &ours("ordinal")).expect("merges again");
        assert_eq!(user["clusters"].as_array().map(Vec::len), Some(2));
        assert_eq!(user["current-context"], "ordinal");
        assert!(remove(&mut user, "ordinal"));
        assert_eq!(user["clusters"], ours("work")["clusters"]);
        assert_eq!(user["current-context"], "");
    }

    #[test]
    fn a_kubeconfig_that_is_something_else_is_left_alone() {
        merge(&mut json!([]), &ours("ordinal")).expect_err("no mapping");
        merge(&mut json!({"clusters": "x"}), &ours("ordinal")).expect_err("no list");
    }

    #[test]
    fn what_is_written_reads_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sub/config");
        write(&path, &ours("ordinal")).expect("writes");
        assert_eq!(read(&path).expect("reads"), Some(ours("ordinal")));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).expect("is there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_is_taken_out_of_a_file_and_a_file_of_its_own_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        let (own, shared) = (directory.path().join("own"), directory.path().join("shared"));
        write(&own, &ours("ordinal-1")).expect("writes");
        remove_from(&own, "ordinal-2").expect("is not there");
        assert!(own.exists());
        remove_from(&own, "ordinal-1").expect("removes");
        assert!(!own.exists());
        write(&shared, &ours("work")).expect("writes");
        merge_into(&shared, &ours("ordinal-1")).expect("merges");
        remove_from(&shared, "ordinal-1").expect("removes");
        let left = read(&shared).expect("reads").expect("is there");
        assert_eq!((&left["clusters"], &left["users"]), (&ours("work")["clusters"], &ours("work")["users"]));
    }

    #[test]
    fn a_file_with_other_clusters_is_not_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config");
        check_own(&path).expect("is not there");
        write(&path, &ours("ordinal-1")).expect("writes");
        check_own(&path).expect("is Ordinal's");
        write(&path, &ours("work")).expect("writes");
        assert!(check_own(&path).expect_err("is another's").to_string().contains("the cluster work"));
        std::fs::write(&path, "- no\n- kubeconfig\n").expect("writes");
        check_own(&path).expect_err("is something else");
    }

    #[test]
    fn what_a_link_leads_to_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let (link, file) = (directory.path().join("link"), directory.path().join("file"));
        write(&file, &ours("work")).expect("writes");
        std::os::unix::fs::symlink(&file, &link).expect("links");
        merge_into(&link, &ours("ordinal")).expect("merges");
        assert!(link.is_symlink());
        assert_eq!(read(&file).expect("reads").expect("is there")["current-context"], "ordinal");
    }
}
