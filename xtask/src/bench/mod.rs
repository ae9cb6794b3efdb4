//! Placeholder until the measurements land in the next change.

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {}

/// Says that nothing is measured yet.
pub(crate) fn run(_: &Options) -> anyhow::Result<bool> {
    anyhow::bail!("no figure is measured yet")
}
