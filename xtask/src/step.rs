//! How the tool speaks: one line a step with its time, a sign of life while a step is long, and a failure that names the
//! cause, shows the end of the tool's output and says what to do.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

/// Long enough for a compiler error or one failed test, short enough to leave the cause on the screen. Some tools say the
/// cause first and explain their usage afterwards, so a little of the beginning is shown too.
const HEAD_LINES: usize = 12;
const TAIL_LINES: usize = 50;

/// The result of a step, with a word to print behind it where the time alone would mislead.
pub struct Said<T> {
    value: T,
    note: Option<String>,
}

impl<T> Said<T> {
    pub fn done(value: T) -> Self {
        Self { value, note: None }
    }

    pub fn noted(value: T, note: impl Into<String>) -> Self {
        Self { value, note: Some(note.into()) }
    }
}

/// Whether the line of the running step still waits for its time.
static LINE_IS_OPEN: AtomicBool = AtomicBool::new(false);

/// Runs one step: `▸ what … 1.2 s`.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<Said<T>>) -> Result<T> {
    let started = Instant::now();
    print!("▸ {what} …");
    flush();
    LINE_IS_OPEN.store(true, Ordering::Relaxed);
    let result = work();
    let time = seconds(started.elapsed());
    let same_line = LINE_IS_OPEN.swap(false, Ordering::Relaxed);
    let lead = if same_line { String::new() } else { format!("  {what}:") };
    match result {
        Ok(Said { value, note: None }) => {
            println!("{lead} {time}");
            Ok(value)
        }
        Ok(Said { value, note: Some(note) }) => {
            println!("{lead} {note} ({time})");
            Ok(value)
        }
        Err(error) => {
            println!("{lead} FAILED after {time}");
            Err(error)
        }
    }
}

/// A sign of life inside a long step.
pub fn heartbeat(elapsed: Duration, last_line: &str) {
    if LINE_IS_OPEN.swap(false, Ordering::Relaxed) {
        println!();
    }
    let line: String = last_line.chars().take(100).collect();
    println!("    {:>4} s  {line}", elapsed.as_secs());
    flush();
}

pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// What went wrong, what the tool printed, and what helps.
#[derive(Debug)]
pub struct Failure {
    cause: String,
    output: Vec<String>,
    remedy: Option<String>,
}

impl Failure {
    pub fn new(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), output: Vec::new(), remedy: None }
    }

    /// A failure that has been explained already: nothing more is printed.
    pub fn told() -> Self {
        Self::new("")
    }

    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub fn output(mut self, lines: &[String]) -> Self {
        let omitted = lines.len().saturating_sub(HEAD_LINES + TAIL_LINES);
        if omitted == 0 {
            self.output = lines.to_vec();
            return self;
        }
        self.output = lines[..HEAD_LINES].to_vec();
        self.output.push(format!("… {omitted} lines more …"));
        self.output.extend_from_slice(&lines[HEAD_LINES + omitted..]);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.cause)
    }
}

impl std::error::Error for Failure {}

/// Prints an error to standard error: the end of the output first, so that cause and remedy are the last things read.
pub fn print_failure(error: &Error) {
    flush();
    if error.to_string().is_empty() {
        return;
    }
    let (red, plain) = if std::io::stderr().is_terminal() { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    let failure = error.downcast_ref::<Failure>();
    if let Some(Failure { output, .. }) = failure
        && !output.is_empty()
    {
        eprintln!("  ┌─ what it printed");
        for line in output {
            eprintln!("  │ {line}");
        }
        eprintln!("  └─");
    }
    // The whole chain: a bare "No such file or directory" says nothing without what was attempted.
    eprintln!("{red}✗ {error:#}{plain}");
    if let Some(Failure { remedy: Some(remedy), .. }) = failure {
        eprintln!("  remedy: {remedy}");
    }
}

fn flush() {
    // A closed pipe must not turn a finished build into a failure.
    let _ = std::io::stdout().flush();
}
