//! Runs other programs: collects what they print, shows a sign of life while they work, and turns a bad end into a
//! `Failure` with the end of their output.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::step::{Failure, heartbeat};
use crate::{root, target};

const HEARTBEAT: Duration = Duration::from_secs(10);
/// A tool may leave a child behind that keeps the pipes open; its output is not waited for longer than this.
const DRAIN: Duration = Duration::from_secs(2);

/// One run of one program.
pub struct Tool {
    command: Command,
    name: String,
    log: Option<String>,
    remedy: Option<String>,
}

/// How it ended, and all it printed.
pub struct Finished {
    pub status: ExitStatus,
    /// Both streams in the order of arrival, to be read by a person.
    pub lines: Vec<String>,
    /// Standard output alone, to be read by a program.
    pub stdout: String,
}

impl Tool {
    /// A program on the search path, run at the root of the repository.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.current_dir(root()).stdin(Stdio::null());
        // The output goes through a pipe into a log; escape codes would only be in the way.
        command.env("NO_COLOR", "1").env("CARGO_TERM_COLOR", "never").env_remove("FORCE_COLOR");
        Self { command, name, log: None, remedy: None }
    }

    /// Cargo; on a server it must take Cargo.lock as it is, at a desk it may renew it.
    pub fn cargo(command: &str) -> Self {
        let locked = std::env::var_os("CI").map(|_| "--locked");
        let mut tool = Self::new("cargo").args([command]).args(locked);
        tool.name = format!("cargo {command}");
        tool
    }

    /// A program of an npm package, run by node itself so that neither npx nor a shell stands in between.
    pub fn node_bin(bin: &str) -> Self {
        let mut tool = Self::new(root().join("node_modules/.bin").join(bin));
        tool.name = bin.to_string();
        tool
    }

    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    pub fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The name of the file its output is kept in when it fails, where the program's own name is not enough.
    pub fn log(mut self, log: &str) -> Self {
        self.log = Some(log.to_string());
        self
    }

    /// Runs to the end; a bad exit status is an error with the output's end.
    pub fn run(self) -> Result<Finished> {
        let (name, remedy) = (self.name.clone(), self.remedy.clone());
        let log = self.log.clone().unwrap_or_else(|| name.clone());
        let finished = self.finish()?;
        if finished.status.success() {
            return Ok(finished);
        }
        Err(finished.failure(&name, &log, remedy).into())
    }

    /// Runs to the end, whatever the exit status.
    pub fn finish(mut self) -> Result<Finished> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(|error| self.not_started(&error))?;
        let lines = collect(&mut child);
        follow(&mut child, &lines).with_context(|| format!("{} could not be waited for", self.name))
    }

    fn not_started(&self, error: &std::io::Error) -> anyhow::Error {
        let failure = if error.kind() == ErrorKind::NotFound {
            Failure::new(format!("{} was not found", self.command.get_program().to_string_lossy()))
        } else {
            Failure::new(format!("{} could not be started: {error}", self.name))
        };
        failure.remedy(self.remedy.clone().unwrap_or_else(|| "run `cargo xtask setup`".into())).into()
    }
}

impl Finished {
    /// The failure this end amounts to; the whole output is kept in a file.
    pub fn failure(&self, name: &str, log: &str, remedy: Option<String>) -> Failure {
        let cause = match self.status.code() {
            Some(code) => format!("{name} ended with exit code {code}"),
            None => format!("{name} was ended by a signal ({})", self.status),
        };
        let mut advice = remedy.unwrap_or_default();
        if let Ok(log) = self.keep(log) {
            let lead = if advice.is_empty() { "" } else { "; " };
            advice = format!("{advice}{lead}its whole output is in {log}");
        }
        Failure::new(cause).output(&self.lines).remedy(advice)
    }

    fn keep(&self, name: &str) -> Result<String> {
        let directory = target().join("xtask/logs");
        std::fs::create_dir_all(&directory)?;
        let slug: String = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let path = directory.join(format!("{slug}.log"));
        std::fs::write(&path, self.lines.join("\n"))?;
        Ok(path.strip_prefix(root()).unwrap_or(&path).display().to_string())
    }
}

/// The first line a program prints for `--version`, or nothing where it is missing or broken.
pub fn version(program: impl AsRef<OsStr>) -> Option<String> {
    let finished = Tool::new(program).args(["--version"]).finish().ok()?;
    finished.status.success().then(|| finished.stdout.lines().next().unwrap_or_default().trim().to_string())
}

enum Line {
    Out(String),
    Error(String),
}

fn collect(child: &mut Child) -> Receiver<Line> {
    let (sender, receiver) = channel();
    if let Some(stream) = child.stdout.take() {
        read_lines(stream, sender.clone(), Line::Out);
    }
    if let Some(stream) = child.stderr.take() {
        read_lines(stream, sender, Line::Error);
    }
    receiver
}

fn read_lines(stream: impl Read + Send + 'static, sender: Sender<Line>, wrap: fn(String) -> Line) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            // Output is for people: bytes that are not UTF-8 are shown as well as can be.
            let text = String::from_utf8_lossy(&line);
            if sender.send(wrap(plain(text.trim_end_matches('\r')))).is_err() {
                return;
            }
        }
    });
}

/// Takes the colours out: some tools send them whatever the environment says.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        if character != '\x1b' {
            text.push(character);
        } else if characters.next().is_some_and(|kind| kind == '[' || kind == '(') {
            // The sequence ends with a letter.
            let _ = characters.by_ref().find(char::is_ascii_alphabetic);
        }
    }
    text
}

fn follow(child: &mut Child, receiver: &Receiver<Line>) -> Result<Finished> {
    let started = Instant::now();
    let mut beat = started + HEARTBEAT;
    let (mut lines, mut stdout) = (Vec::new(), String::new());
    let mut take = |line, lines: &mut Vec<String>| match line {
        Line::Out(text) => {
            stdout.push_str(&text);
            stdout.push('\n');
            lines.push(text);
        }
        Line::Error(text) => lines.push(text),
    };
    let status = loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => take(line, &mut lines),
            Err(RecvTimeoutError::Disconnected) => break child.wait()?,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
            }
        }
        if Instant::now() >= beat {
            beat += HEARTBEAT;
            heartbeat(
                started.elapsed(),
                lines.iter().rev().find(|line| !line.trim().is_empty()).map_or("", |l| l.trim()),
            );
        }
    };
    let end = Instant::now() + DRAIN;
    while let Ok(line) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        take(line, &mut lines);
    }
    Ok(Finished { status, lines, stdout })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_are_collected_and_only_standard_output_is_kept_apart() {
        let finished = Tool::new("sh").args(["-c", "echo out; echo error >&2"]).run().expect("sh runs");
        assert_eq!(finished.stdout, "out\n");
        let mut lines = finished.lines;
        lines.sort();
        assert_eq!(lines, ["error", "out"]);
    }

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(plain("\x1b[38;2;92;157;255;1mfile\x1b[0m:\x1b(B\x1b[m 1"), "file: 1");
        assert_eq!(plain("no colour: [0m"), "no colour: [0m");
    }

    #[test]
    fn a_bad_exit_status_is_named() {
        let error = Tool::new("sh").args(["-c", "exit 3"]).run().err().expect("it fails");
        assert_eq!(error.to_string(), "sh ended with exit code 3");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Tool::new("no-such-program-here").run().err().expect("it fails");
        assert_eq!(error.to_string(), "no-such-program-here was not found");
    }

    #[test]
    fn a_child_left_behind_does_not_hold_the_tool_up() {
        let started = Instant::now();
        Tool::new("sh").args(["-c", "sleep 30 & echo done"]).run().expect("sh runs");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
