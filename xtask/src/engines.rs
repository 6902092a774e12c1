//! Finds the browsers that the suite of tabs runs in, installs what is missing, and says where each is. As with Chromium (`browser.rs`), one that
//! is asked for and not there is a failure, never a silence.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use crate::browser;
use crate::step::{Failure, Said, step};
use crate::tool::version;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Browsers {
    Chromium,
    Firefox,
    /// Through `WebKitGTK`; on Linux alone
    Webkit,
    /// All three
    All,
}

/// The engines to run in, and where their programs are, for the suite's environment.
pub fn environment(browsers: Browsers) -> Result<Vec<(&'static str, OsString)>> {
    let engines = match browsers {
        Browsers::All => vec![Browsers::Chromium, Browsers::Firefox, Browsers::Webkit],
        one => vec![one],
    };
    let mut found = Vec::new();
    for engine in &engines {
        match engine {
            Browsers::Firefox => found.push(("FIREFOX", firefox()?.into())),
            Browsers::Webkit => {
                let Webkit { driver, browser } = webkit()?;
                found.extend([("WEBKIT_DRIVER", driver.into()), ("MINIBROWSER", browser.into())]);
            }
            Browsers::Chromium | Browsers::All => found.push((browser::VARIABLE, browser::find()?.into())),
        }
    }
    let names: Vec<_> = engines.iter().map(|engine| name(*engine)).collect();
    found.push(("BROWSERS", names.join(",").into()));
    Ok(found)
}

/// As the suite calls it.
fn name(engine: Browsers) -> String {
    engine.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn firefox() -> Result<PathBuf> {
    step("looking for Firefox", || {
        let find = || {
            let chosen = env::var_os("FIREFOX").filter(|chosen| !chosen.is_empty()).map(PathBuf::from);
            let candidates = chosen.into_iter().chain(["firefox-esr", "firefox"].into_iter().flat_map(on_path));
            // A name on the path may be a stub that only tells how to install the real thing.
            candidates.into_iter().find_map(|path| {
                version(&path).filter(|found| found.contains("Firefox")).map(|found| Said::noted(path, found))
            })
        };
        let missing = || {
            Failure::new("no Firefox was found")
                .remedy("install firefox-esr (Debian) or firefox, or set FIREFOX to the path of one")
        };
        if let Some(found) = find() {
            return Ok(found);
        }
        browser::install_packages(&["firefox-esr"], missing)?;
        find().ok_or_else(|| missing().into())
    })
}

struct Webkit {
    driver: PathBuf,
    browser: PathBuf,
}

fn webkit() -> Result<Webkit> {
    step("looking for WebKit", || {
        // The display is only asked for: the suite starts it by its name.
        let find = || {
            let (driver, _) = on_path("WebKitWebDriver").next().zip(on_path("Xvfb").next())?;
            Some(Said::done(Webkit { driver, browser: minibrowser()? }))
        };
        let missing = || {
            Failure::new("WebKitWebDriver, its MiniBrowser or Xvfb was not found")
                .remedy("install webkit2gtk-driver and xvfb (Debian, Ubuntu); other systems have no WebKit that can be driven here")
        };
        if let Some(found) = find() {
            return Ok(found);
        }
        browser::install_packages(&["webkit2gtk-driver", "xvfb"], missing)?;
        find().ok_or_else(|| missing().into())
    })
}

/// It comes with the library, in a folder that is on nobody's path; the newest there is.
fn minibrowser() -> Option<PathBuf> {
    let folders = ["/usr/lib", "/usr/lib64", "/usr/libexec"].map(Path::new);
    let below =
        folders.iter().filter_map(|folder| folder.read_dir().ok()).flatten().flatten().map(|entry| entry.path());
    let places: Vec<PathBuf> = folders.iter().map(|folder| folder.to_path_buf()).chain(below).collect();
    ["webkitgtk-6.0", "webkit2gtk-4.1", "webkit2gtk-4.0"]
        .iter()
        .flat_map(|library| places.iter().map(move |place| place.join(library).join("MiniBrowser")))
        .find(|path| path.is_file())
}

fn on_path(program: &str) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found: Vec<_> =
        env::split_paths(&path).map(|folder| folder.join(program)).filter(|file| file.is_file()).collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_called_what_the_suite_calls_them() {
        let names = [Browsers::Chromium, Browsers::Firefox, Browsers::Webkit].map(name);
        assert_eq!(names, ["chromium", "firefox", "webkit"]);
    }
}
