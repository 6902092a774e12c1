//! Builds and serves the demo.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Result;

use crate::step::Failure;
use crate::{browser, build, root};

const MAIN: &str = "www/server/main.ts";

#[derive(clap::Args)]
pub struct Options {
    /// Drive the demo once through a headless browser, then stop
    #[arg(long)]
    smoke: bool,
    /// The port of the page
    #[arg(long)]
    port: Option<u16>,
    /// The port of the gateway
    #[arg(long)]
    gateway_port: Option<u16>,
}

pub fn run(options: &Options) -> Result<()> {
    build()?;
    let mut server = Command::new("node");
    // node itself, not tsx's own launcher: one process fewer between the keyboard and the server.
    server.current_dir(root()).args(["--import", "tsx", MAIN]);
    if options.smoke {
        server.env(browser::VARIABLE, browser::find()?).arg("--smoke");
    }
    if let Some(port) = options.port {
        server.args(["--port", &port.to_string()]);
    }
    if let Some(port) = options.gateway_port {
        server.args(["--gateway-port", &port.to_string()]);
    }
    if !root().join(MAIN).exists() {
        return Err(Failure::new(format!("{MAIN} is missing")).remedy("check out the whole repository").into());
    }
    println!("▸ starting the demo; Ctrl-C stops it");
    // The server takes this process's place, so that every signal and the exit code are its own.
    Err(Failure::new(format!("the demo could not be started: {}", server.exec())).into())
}
