//! Measures what is shipped: raw, gzip and brotli, each at its highest level.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde::{Deserialize, Serialize};

use crate::step::{Said, step};
use crate::tool::Tool;
use crate::{build, root, target};

#[derive(clap::Args)]
pub struct Options {
    /// Print JSON as the last line instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    what: &'static str,
    raw: usize,
    gzip: usize,
    brotli: usize,
}

pub fn run(options: &Options) -> Result<()> {
    build()?;
    let rows = step("measuring", || measure().map(Said::done))?;
    if options.json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        print(&rows);
    }
    Ok(())
}

fn measure() -> Result<Vec<Row>> {
    let wasm = read("pkg/wasm/rota_engine_bg.wasm")?;
    let glue = bundle("pkg/wasm/rota_engine.js", &[])?;
    // "rest" leaves the two generated files out, so that the three parts add up.
    let rest = bundle("pkg/dist/index.js", &["*/wasm/bytes.js", "*/wasm/rota_engine.js"])?;
    let script = bundle("pkg/dist/index.js", &["*/wasm/bytes.js"])?;
    let inlined = bundle("pkg/dist/index.js", &[])?;
    let mut rows =
        vec![Row::of("wasm", &wasm)?, Row::of("glue, minified", &glue)?, Row::of("TypeScript core, minified", &rest)?];
    let (wasm_row, script_row) = (Row::of("wasm", &wasm)?, Row::of("script", &script)?);
    rows.push(Row {
        what: "the whole engine: wasm + one script",
        raw: wasm_row.raw + script_row.raw,
        gzip: wasm_row.gzip + script_row.gzip,
        brotli: wasm_row.brotli + script_row.brotli,
    });
    rows.push(Row::of("the same as one file, wasm in base64", &inlined)?);
    rows.push(Row::of("policies' SQL, which no page loads: wasm", &read("pkg/wasm/policy_sql_bg.wasm")?)?);
    rows.push(Row::of("policies' SQL as one file, in base64", &bundle("pkg/dist/policy-sql.js", &[])?)?);
    rows.push(tarball()?);
    Ok(rows)
}

impl Row {
    fn of(what: &'static str, bytes: &[u8]) -> Result<Self> {
        Ok(Self { what, raw: bytes.len(), gzip: gzip(bytes)?, brotli: brotli(bytes)? })
    }
}

fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(root().join(path)).with_context(|| format!("{path} can't be read"))
}

/// One minified module, as an application's bundler would make it; peer packages stay outside.
fn bundle(entry: &str, outside: &[&str]) -> Result<Vec<u8>> {
    let output: PathBuf = target().join("xtask/bundle.js");
    let mut arguments =
        vec!["--bundle".to_string(), "--minify".into(), "--format=esm".into(), "--log-level=warning".into()];
    arguments.extend(outside.iter().map(|pattern| format!("--external:{pattern}")));
    arguments.push("--packages=external".into());
    arguments.push(format!("--outfile={}", output.display()));
    Tool::node_bin("esbuild").args([entry]).args(arguments).run()?;
    fs::read(&output).with_context(|| format!("{} can't be read", output.display()))
}

#[derive(Deserialize)]
struct Packed {
    filename: String,
}

/// The tarball is gzip already: its size stands in that column, the sum of its files in the first.
fn tarball() -> Result<Row> {
    let directory = target().join("xtask/pack");
    fs::create_dir_all(&directory)?;
    let packed = Tool::new("npm")
        .args(["pack", "--json", "--workspace=pkg", "--pack-destination"])
        .args([&directory])
        .run()?
        .stdout;
    let packed: Vec<Packed> = serde_json::from_str(&packed).context("npm pack's answer can't be understood")?;
    let file = directory.join(&packed.first().context("npm packed nothing")?.filename);
    let tarball = fs::read(&file).with_context(|| format!("{} can't be read", file.display()))?;
    let mut tar = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(tarball.as_slice()), &mut tar)?;
    let row = Row { what: "npm tarball", raw: tar.len(), gzip: tarball.len(), brotli: brotli(&tar)? };
    remove(&file)?;
    Ok(row)
}

fn remove(file: &Path) -> Result<()> {
    fs::remove_file(file).with_context(|| format!("{} can't be deleted", file.display()))
}

fn gzip(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}

pub fn brotli(bytes: &[u8]) -> Result<usize> {
    let mut compressed = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &bytes[..], &mut compressed, &parameters)?;
    Ok(compressed.len())
}

fn print(rows: &[Row]) {
    println!("\n{:<40} {:>10} {:>10} {:>10}", "bytes", "raw", "gzip", "brotli");
    for Row { what, raw, gzip, brotli } in rows {
        println!("{what:<40} {raw:>10} {gzip:>10} {brotli:>10}");
    }
}
