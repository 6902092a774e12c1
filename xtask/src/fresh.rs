//! Knows what is up to date: a step is skipped when the content of all it read and all it wrote is what it was after the
//! last good run. Contents, not times: a fresh clone or a switched branch has new times for old files.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{root, target};

/// The inputs of one step, added in a fixed order.
#[derive(Default)]
pub struct Inputs(Sha256);

impl Inputs {
    /// A file, or a directory with all below it. A missing path counts too: making it later changes the sum.
    pub fn path(mut self, path: &str) -> Result<Self> {
        for file in files_below(&root().join(path))? {
            self.0.update(file.to_string_lossy().as_bytes());
            self.0.update(digest(&file)?.as_bytes());
        }
        self.0.update(path.as_bytes());
        Ok(self)
    }

    /// A word that changes the outcome: a flag, the version of a tool.
    pub fn word(mut self, word: &str) -> Self {
        self.0.update(word.as_bytes());
        self.0.update([0]);
        self
    }

    pub fn sum(self) -> String {
        hex(&self.0.finalize())
    }
}

/// The memory of one step.
pub struct Stamp {
    path: PathBuf,
    inputs: String,
    outputs: Vec<PathBuf>,
}

impl Stamp {
    pub fn new(step: &str, inputs: Inputs, outputs: &[&str]) -> Self {
        let outputs = outputs.iter().map(|output| root().join(output)).collect();
        Self { path: target().join(format!("xtask/{step}.stamp")), inputs: inputs.sum(), outputs }
    }

    pub fn is_fresh(&self) -> Result<bool> {
        let Ok(stamp) = fs::read_to_string(&self.path) else {
            return Ok(false);
        };
        Ok(self.outputs.iter().all(|output| output.exists()) && stamp == self.content()?)
    }

    /// Remembers the outputs as they are now.
    pub fn set(&self) -> Result<()> {
        write_changed(&self.path, self.content()?.as_bytes())
    }

    fn content(&self) -> Result<String> {
        let mut sum = Sha256::new();
        for output in &self.outputs {
            for file in files_below(output)? {
                sum.update(file.to_string_lossy().as_bytes());
                sum.update(digest(&file)?.as_bytes());
            }
        }
        Ok(format!("{}\n{}\n", self.inputs, hex(&sum.finalize())))
    }
}

/// One build at a time: two of them would write the same package.
pub fn lock() -> Result<File> {
    let path = target().join("xtask/lock");
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    let file = File::create(&path).with_context(|| format!("{} can't be created", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            println!("▸ waiting for another cargo xtask to finish its build …");
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).context("the build lock can't be taken");
        }
    }
    Ok(file)
}

/// Writes only when the content differs, so that watchers and later steps are not woken for nothing; whole or not at all,
/// so that nobody reads half a file.
pub fn write_changed(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let shown = path.display();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("{} can't be created", directory.display()))?;
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, content).with_context(|| format!("{shown} can't be written"))?;
    fs::rename(&partial, path).with_context(|| format!("{shown} can't be written"))
}

pub fn digest(path: &Path) -> Result<String> {
    let content = fs::read(path).with_context(|| format!("{} can't be read", path.display()))?;
    Ok(hex(&Sha256::digest(content)))
}

/// All files at or below a path, sorted; nothing where there is nothing.
pub fn files_below(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let Ok(entries) = fs::read_dir(path) else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for entry in entries {
        files.extend(files_below(&entry?.path())?);
    }
    files.sort();
    Ok(files)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(word: &str) -> Inputs {
        Inputs::default().word(word)
    }

    #[test]
    fn a_step_is_fresh_until_an_input_or_an_output_changes() {
        let output = format!("{}/xtask/tests/output.txt", target().display());
        let outputs = [output.as_str()];
        let step = "tests/fresh";
        let _ = fs::remove_file(&output);
        assert!(!Stamp::new(step, inputs("a"), &outputs).is_fresh().unwrap());

        write_changed(Path::new(&output), b"one").unwrap();
        Stamp::new(step, inputs("a"), &outputs).set().unwrap();
        assert!(Stamp::new(step, inputs("a"), &outputs).is_fresh().unwrap());
        assert!(!Stamp::new(step, inputs("b"), &outputs).is_fresh().unwrap());

        write_changed(Path::new(&output), b"two").unwrap();
        assert!(!Stamp::new(step, inputs("a"), &outputs).is_fresh().unwrap());
    }
}
