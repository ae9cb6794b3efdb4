//! Names and numbers drawn from the system's randomness: the one place that does.

use anyhow::{Context, Result};

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut file = std::fs::File::open("/dev/urandom").context("open /dev/urandom")?;
    std::io::Read::read_exact(&mut file, &mut bytes).context("read /dev/urandom")?;
    Ok(bytes)
}

/// This machine's name, made fit to be a node's name.
pub(crate) fn node_name() -> String {
    let uname = rustix::system::uname();
    let name: String = uname
        .nodename()
        .to_string_lossy()
        .to_ascii_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' })
        .take(63)
        .collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() || !model::names::dns1123_subdomain(name).is_empty() {
        "node".to_owned()
    } else {
        name.to_owned()
    }
}
