use anyhow::Result;
#[derive(clap::Args)]
pub struct Arguments {}
pub fn run(_: Arguments) -> Result<()> {
    Ok(())
}
