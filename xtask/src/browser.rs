//! Finds a Chromium for the commands that need one, or installs it, or says how to. Never skips in silence: a browser
//! test that did not run must not look like one that passed.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::step::{Failure, Said, step};
use crate::tool::{Tool, version};

/// The variable that hands the path to tests and demo, and lets a person choose another browser.
pub const VARIABLE: &str = "CHROME";

const NAMES: [&str; 5] = ["google-chrome-stable", "google-chrome", "chromium", "chromium-browser", "chrome"];
const MACOS_APPLICATIONS: [&str; 3] = [
    "Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "Applications/Chromium.app/Contents/MacOS/Chromium",
    "Applications/Google Chrome for Testing.app/Contents/MacOS/Google Chrome for Testing",
];

/// The path of a browser that starts.
pub fn find() -> Result<PathBuf> {
    step("looking for a browser", || {
        if let Some(chosen) = env::var_os(VARIABLE).filter(|chosen| !chosen.is_empty()) {
            return match version(&chosen).filter(|found| found.contains("Chrom")) {
                Some(found) => Ok(Said::noted(PathBuf::from(chosen), format!("{found}, from ${VARIABLE}"))),
                None => Err(Failure::new(format!(
                    "${VARIABLE} is {}, which is no Chromium or Chrome that starts",
                    chosen.display()
                ))
                .remedy(format!("set {VARIABLE} to a Chromium or Chrome, or unset it"))
                .into()),
            };
        }
        if let Some((path, found)) = installed() {
            return Ok(Said::noted(path, found));
        }
        install()?;
        match installed() {
            Some((path, found)) => Ok(Said::noted(path, format!("{found}, installed now"))),
            None => Err(Failure::new("chromium was installed but does not start").remedy(advice()).into()),
        }
    })
}

fn installed() -> Option<(PathBuf, String)> {
    // A name on the path may be a stub that only tells how to install the real thing; one that answers is real.
    candidates().into_iter().find_map(|path| version(&path).map(|found| (path, found)))
}

fn candidates() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> =
        NAMES.iter().flat_map(|name| env::split_paths(&path).map(move |folder| folder.join(name))).collect();
    if cfg!(target_os = "macos") {
        let homes = [Some(PathBuf::from("/")), env::var_os("HOME").map(PathBuf::from)];
        found.extend(
            homes.iter().flatten().flat_map(|home| MACOS_APPLICATIONS.map(|application| home.join(application))),
        );
    }
    found.retain(|candidate| candidate.is_file());
    found
}

fn install() -> Result<()> {
    install_packages(&["chromium"], || Failure::new("no Chromium or Chrome was found").remedy(advice()))
}

/// Installs Debian's packages, where that is possible without asking anyone; else says what is missing.
pub fn install_packages(packages: &[&str], missing: impl Fn() -> Failure) -> Result<()> {
    if !cfg!(target_os = "linux") || !Path::new("/usr/bin/apt-get").exists() {
        return Err(missing().into());
    }
    let Some(root) = root_command() else {
        return Err(missing().into());
    };
    let apt = |arguments: &[&str]| {
        let (program, first) = root.split_first().unwrap_or((&"apt-get", &[]));
        Tool::new(program)
            .args(first)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .remedy(format!("install {} by hand", packages.join(" ")))
    };
    apt(&["update"]).run()?;
    for package in packages {
        if !real_package(&Tool::new("apt-cache").args(["policy", package]).run()?.stdout) {
            return Err(missing().into());
        }
    }
    apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat()).run()?;
    Ok(())
}

/// How to run apt-get with the rights it needs, if that is possible without asking anyone.
fn root_command() -> Option<&'static [&'static str]> {
    let user = Tool::new("id").args(["-u"]).run().ok()?.stdout;
    if user.trim() == "0" {
        return Some(&["apt-get"]);
    }
    let sudo = Tool::new("sudo").args(["--non-interactive", "true"]).finish().ok()?;
    sudo.status.success().then_some(&["sudo", "--non-interactive", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
}

/// Ubuntu's package of this name only asks snap to install something, which fails in containers.
fn real_package(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .any(|candidate| !candidate.contains("(none)") && !candidate.contains("snap"))
}

fn advice() -> String {
    let command = if cfg!(target_os = "macos") {
        "`brew install --cask chromium`"
    } else if Path::new("/usr/bin/apt-get").exists() {
        "`sudo apt-get update && sudo apt-get install chromium` (Debian), `sudo snap install chromium` (Ubuntu)"
    } else if Path::new("/usr/bin/dnf").exists() {
        "`sudo dnf install chromium`"
    } else if Path::new("/usr/bin/pacman").exists() {
        "`sudo pacman -S chromium`"
    } else {
        "your package manager's command for chromium"
    };
    format!("run {command}, or set {VARIABLE} to the path of a Chromium or Chrome")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_package_with_a_browser_inside_is_installed() {
        assert!(real_package("chromium:\n  Installed: (none)\n  Candidate: 131.0.6778.85-1~deb12u1\n"));
        assert!(!real_package("chromium-browser:\n  Installed: (none)\n  Candidate: 2:1snap1-0ubuntu2\n"));
        assert!(!real_package("chromium:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!real_package(""));
    }
}
