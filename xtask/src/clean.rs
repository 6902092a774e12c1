//! Deletes what the other commands made. Cargo's target directory and the node packages stay unless asked for: both take
//! minutes to come back and are rarely what is wrong.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::step::{Said, step};
use crate::{root, target};

#[derive(clap::Args)]
pub struct Options {
    /// Delete the node packages and everything cargo built as well
    #[arg(long)]
    all: bool,
}

pub fn run(options: &Options) -> Result<()> {
    for path in ["pkg/wasm", "pkg/dist", "pkg/LICENSE", "www/dist", ".rota"] {
        remove(path, &root().join(path))?;
    }
    let wasm = "wasm32-unknown-unknown";
    if options.all {
        remove("node_modules", &root().join("node_modules"))?;
        // The running program lies in target/debug and is of no use afterwards either way.
        return remove("target", &target());
    }
    remove("target/xtask", &target().join("xtask"))?;
    remove(&format!("target/{wasm}"), &target().join(wasm))
}

fn remove(name: &str, path: &Path) -> Result<()> {
    step(&format!("deleting {name}"), || {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return Ok(Said::noted((), "nothing there"));
        };
        let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.with_context(|| format!("{} can't be deleted", path.display()))?;
        Ok(Said::done(()))
    })
}
