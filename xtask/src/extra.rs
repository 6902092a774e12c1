//! Programs of cargo's that only some commands need: they are built where they are missing, once.

use std::path::PathBuf;

use anyhow::Result;

use crate::step::{Said, step};
use crate::target;
use crate::tool::Tool;

/// A program and the version it is known to work with here.
pub struct Extra {
    pub name: &'static str,
    pub version: &'static str,
}

pub const FUZZ: Extra = Extra { name: "cargo-fuzz", version: "0.13.2" };
pub const COVERAGE: Extra = Extra { name: "cargo-llvm-cov", version: "0.9.1" };
pub const MUTANTS: Extra = Extra { name: "cargo-mutants", version: "27.1.0" };

impl Extra {
    /// Finds the program, or builds it into `target/`, where it stays until that is deleted.
    pub fn find(&self) -> Result<PathBuf> {
        let root = target().join("xtask/tools");
        let own = root.join("bin").join(self.name);
        if own.exists() {
            return Ok(own);
        }
        if let Some(found) = on_path(self.name) {
            return Ok(found);
        }
        step(&format!("building {} {}, once", self.name, self.version), || {
            let install = ["install", "--locked", "--root"];
            Tool::new("cargo")
                .args(install)
                .args([root.as_os_str()])
                .args([format!("{}@{}", self.name, self.version)])
                .log(self.name)
                .remedy("check the network; it comes from crates.io")
                .run()?;
            Ok(Said::done(()))
        })?;
        Ok(own)
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
