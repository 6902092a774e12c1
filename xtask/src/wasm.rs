//! Builds the package's two modules of WebAssembly and their glue into `pkg/wasm`: cargo, wasm-bindgen's own library, binaryen.
//! Proves on the way that link-time optimisation ran, and puts the proof into each file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use base64::Engine;
use serde::Serialize;
use wasm_bindgen_cli_support::Bindgen;

use crate::fresh::{Inputs, Stamp, digest, write_changed};
use crate::setup::WASM_TARGET;
use crate::size::brotli;
use crate::step::{Failure, Said, step};
use crate::tool::{Tool, version};
use crate::{root, target};

pub const DIRECTORY: &str = "pkg/wasm";

/// A module of the package. Both are made of the same crate, by its features.
struct Module {
    what: &'static str,
    /// What its glue is named after.
    name: &'static str,
    /// What the names of its other files begin with.
    prefix: &'static str,
    features: &'static [&'static str],
    /// What of the crate is in it.
    sources: &'static [&'static str],
    /// Whether the package stands at its ways in.
    is_guarded: bool,
    /// Where cargo builds it. Whatever the features, cargo gives its files the same names.
    target: fn() -> PathBuf,
}

const ENGINE: Module = Module {
    what: "the wasm",
    name: "rota_engine",
    prefix: "",
    features: &[],
    sources: &["src"],
    is_guarded: true,
    target,
};

/// Writes the SQL of policies. No page needs that, so none should load it.
const POLICY_SQL: Module = Module {
    what: "the wasm of policies' SQL",
    name: "policy_sql",
    prefix: "policy_sql_",
    features: &["--no-default-features", "--features=policy-sql"],
    sources: &["src/lib.rs", "src/border.rs", "src/kit.rs", "src/domain", "src/engine"],
    is_guarded: false,
    target: || target().join("xtask/policy-sql"),
};

/// What cargo names its file after.
const CRATE: &str = "rota_engine";
/// The custom section with the evidence of link-time optimisation; tests/artifact reads it.
const LINK_SECTION: &str = "rota.link";

const CARGO_ARGUMENTS: [&str; 7] = [
    "--package=rota-engine",
    "--lib",
    "--release",
    "--target",
    WASM_TARGET,
    // Without this the rlib of Cargo.toml is made as well, and fat LTO is off without a word.
    "--crate-type",
    "cdylib",
];

/// Which of the two is smaller changes with the code, by about one in a hundred; the smaller one is kept.
const LEVELS: [&str; 2] = ["-Os", "-O3"];
const WASM_OPT_ARGUMENTS: [&str; 2] = ["--strip-producers", "--strip-target-features"];

/// What `pkg/wasm/build.json` tells about the file beside it.
#[derive(Serialize)]
struct Record {
    rustc: String,
    cargo: Vec<String>,
    wasm_bindgen: String,
    wasm_opt: String,
    wasm_opt_arguments: Vec<String>,
    link: Link,
    bytes: Sizes,
    sha256: String,
}

#[derive(Serialize)]
struct Sizes {
    cargo: usize,
    wasm_bindgen: usize,
    wasm_opt: usize,
    wasm_opt_brotli: usize,
}

/// What the linker was given. With fat LTO that is one object with the whole program in it and the compiler's own
/// intrinsics, which never take part; without, it is a library for each crate.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Link {
    objects: usize,
    libraries: Vec<String>,
}

pub fn build() -> Result<()> {
    [ENGINE, POLICY_SQL].iter().try_for_each(build_module)
}

fn build_module(module: &Module) -> Result<()> {
    let what = module.what;
    let outputs = module.outputs();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let stamp = Stamp::new(&format!("{}wasm", module.prefix), inputs(module)?, &outputs);
    if stamp.is_fresh()? {
        return step(&format!("building {what}"), || Ok(Said::noted((), "up to date")));
    }
    let (linked, link) = step(&format!("building {what}"), || compile(module))?;
    let generated = step("generating the glue", || generate(module, &linked))?;
    let (level, optimised) = step(&format!("optimising {what}"), || optimise(module, &generated))?;
    step("writing pkg/wasm", || {
        let wasm = with_section(optimised, LINK_SECTION, &serde_json::to_vec(&link)?)?;
        let record = Record {
            rustc: version("rustc").unwrap_or_default(),
            cargo: ["rustc"].iter().chain(&CARGO_ARGUMENTS).chain(module.features).map(ToString::to_string).collect(),
            wasm_bindgen: wasm_bindgen_shared_version(),
            wasm_opt: version(root().join("node_modules/.bin/wasm-opt")).unwrap_or_default(),
            wasm_opt_arguments: [level].into_iter().chain(WASM_OPT_ARGUMENTS).map(String::from).collect(),
            bytes: Sizes {
                cargo: size_of_file(&linked)?,
                wasm_bindgen: size_of_file(&generated.join(format!("{}_bg.wasm", module.name)))?,
                wasm_opt: wasm.len(),
                wasm_opt_brotli: brotli(&wasm)?,
            },
            link,
            sha256: String::new(),
        };
        let note = format!("{} bytes, {} in brotli, {level}", record.bytes.wasm_opt, record.bytes.wasm_opt_brotli);
        write(module, &generated, &wasm, record)?;
        stamp.set()?;
        Ok(Said::noted((), note))
    })
}

impl Module {
    fn file(&self, ending: &str) -> String {
        format!("{DIRECTORY}/{}{ending}", self.name)
    }

    fn side_file(&self, name: &str) -> String {
        format!("{DIRECTORY}/{}{name}", self.prefix)
    }

    fn outputs(&self) -> [String; 6] {
        let side = ["bytes.js", "bytes.d.ts", "build.json"].map(|name| self.side_file(name));
        let [bytes, types, build] = side;
        [self.file(".js"), self.file(".d.ts"), self.file("_bg.wasm"), bytes, types, build]
    }
}

fn inputs(module: &Module) -> Result<Inputs> {
    // Cargo takes profile settings from the environment too.
    let profile = std::env::vars().filter(|(key, _)| key.starts_with("CARGO_PROFILE_"));
    let mut profile: Vec<_> = profile.map(|(key, value)| format!("{key}={value}")).collect();
    profile.sort();
    let sources = module.sources.iter().try_fold(Inputs::default(), |inputs, source| inputs.path(source))?;
    sources
        .word(&profile.join(" "))
        .path("Cargo.toml")?
        .path("Cargo.lock")?
        .path("rust-toolchain.toml")?
        .path(".cargo/config.toml")?
        .path("xtask/src/wasm.rs")?
        .path("node_modules/binaryen/package.json")
        .map(|inputs| inputs.word(&version("rustc").unwrap_or_default()).word(&rust_flags()))
}

fn compile(module: &Module) -> Result<Said<(PathBuf, Link)>> {
    let target = (module.target)();
    let place = [OsStr::new("--target-dir"), target.as_os_str()];
    let directory = target.join(WASM_TARGET).join("release");
    let wasm = directory.join(format!("{CRATE}.wasm"));
    let evidence = directory.join(format!("{CRATE}.link"));
    if !evidence.exists() {
        // Cargo links again, and so tells the linker's arguments again, only when its own output is missing.
        let package = ["clean", "--package=rota-engine", "--release", "--target", WASM_TARGET];
        Tool::new("cargo").args(package).args(place).run()?;
        fs::create_dir_all(&directory)?;
    }
    let mut print = OsString::from("link-args=");
    print.push(&evidence);
    Tool::cargo("rustc")
        .args(CARGO_ARGUMENTS)
        .args(module.features)
        .args(place)
        .args(["--", "--print"])
        .args([print])
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags())
        .remedy("mend the error above")
        .run()?;
    let arguments = fs::read_to_string(&evidence).context("rustc did not tell what it linked")?;
    let link = Link::from_arguments(&arguments);
    if !link.is_optimised_as_a_whole() {
        let _ = fs::remove_file(&evidence);
        return Err(Failure::new(format!("link-time optimisation was off: the linker got {link:?}"))
            .remedy("[profile.release] in Cargo.toml must say lto = \"fat\", and no environment variable otherwise")
            .into());
    }
    Ok(Said::done((wasm, link)))
}

/// The caller's flags, and paths of this machine taken out of panic messages: they are nobody's business and would make
/// the file differ from machine to machine.
fn rust_flags() -> String {
    static FLAGS: OnceLock<String> = OnceLock::new();
    let flags = || {
        let mut flags = match (std::env::var("CARGO_ENCODED_RUSTFLAGS"), std::env::var("RUSTFLAGS")) {
            (Ok(encoded), _) => encoded.split('\x1f').map(String::from).collect::<Vec<_>>(),
            (_, Ok(plain)) => plain.split_whitespace().map(String::from).collect(),
            _ => Vec::new(),
        };
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
        if let Some(cargo) = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home) {
            flags.push(format!("--remap-path-prefix={}=/cargo", cargo.display()));
        }
        flags.push(format!("--remap-path-prefix={}=/rota", root().display()));
        flags.retain(|flag| !flag.is_empty());
        flags.join("\x1f")
    };
    FLAGS.get_or_init(flags).clone()
}

impl Link {
    fn from_arguments(arguments: &str) -> Self {
        let names = |ending: &str| -> Vec<String> {
            arguments
                .split('"')
                .filter(|argument| argument.ends_with(ending))
                .filter_map(|argument| argument.rsplit('/').next())
                .map(String::from)
                .collect()
        };
        let crate_of = |file: String| {
            let name = file.strip_prefix("lib").unwrap_or(&file).trim_end_matches(".rlib");
            name.rsplit_once('-').map_or(name, |(name, _hash)| name).to_string()
        };
        Self { objects: names(".o").len(), libraries: names(".rlib").into_iter().map(crate_of).collect() }
    }

    fn is_optimised_as_a_whole(&self) -> bool {
        self.objects == 1 && self.libraries.iter().all(|library| library == "compiler_builtins")
    }
}

fn generate(module: &Module, linked: &Path) -> Result<Said<PathBuf>> {
    let directory = target().join("xtask/glue").join(module.name);
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(linked)
        .out_name(module.name)
        .web(true)?
        .typescript(true)
        // Otherwise the glue names a .wasm file by URL, which bundlers then look for and do not find.
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true);
    bindgen.generate(&directory).context("wasm-bindgen could not read the wasm")?;
    if directory.join("snippets").exists() {
        return Err(Failure::new("the glue needs snippets, which the package does not carry")
            .remedy("replace inline_js and module = \"…\" in src/web by imports of globals")
            .into());
    }
    if module.is_guarded {
        guard_entries(module, &directory)?;
    }
    Ok(Said::done(directory))
}

/// Lets the package stand at every way into the wasm, where it notes what is thrown out of there (`pkg/src/guard.ts`).
fn guard_entries(module: &Module, directory: &Path) -> Result<()> {
    let [glue, types] = [".js", ".d.ts"].map(|ending| directory.join(format!("{}{ending}", module.name)));
    let (text, entry) = (fs::read_to_string(&glue)?, "wasm = instance.exports;");
    if text.matches(entry).count() != 1 {
        return Err(Failure::new("the glue does not take the wasm's exports as it used to")
            .remedy("look how wasm-bindgen does it now, and adapt guard_entries in xtask/src/wasm.rs")
            .into());
    }
    let text = text.replace(entry, "wasm = guard(instance.exports);");
    fs::write(
        glue,
        text + "\nlet guard = (exports) => exports;\nexport function guardWith(wrap) {\n    guard = wrap;\n}\n",
    )?;
    let declared = fs::read_to_string(&types)?;
    let guard = "\nexport function guardWith(wrap: (exports: WebAssembly.Exports) => WebAssembly.Exports): void;\n";
    fs::write(types, declared + guard)?;
    Ok(())
}

fn optimise(module: &Module, generated: &Path) -> Result<Said<(&'static str, Vec<u8>)>> {
    let input = generated.join(format!("{}_bg.wasm", module.name));
    // Both at once: each takes a second or more on one core.
    let results = std::thread::scope(|scope| {
        let runs = LEVELS.map(|level| scope.spawn(|| optimise_at(level, &input, generated)));
        runs.map(|run| run.join().unwrap_or_else(|_| Err(Failure::new("wasm-opt's watcher panicked").into())))
    });
    let mut smallest: Option<(usize, &'static str, Vec<u8>)> = None;
    for (level, result) in LEVELS.into_iter().zip(results) {
        let wasm = result?;
        let size = brotli(&wasm)?;
        if smallest.as_ref().is_none_or(|(best, ..)| size < *best) {
            smallest = Some((size, level, wasm));
        }
    }
    let (_, level, wasm) = smallest.context("wasm-opt made nothing")?;
    Ok(Said::done((level, wasm)))
}

fn optimise_at(level: &str, input: &Path, directory: &Path) -> Result<Vec<u8>> {
    let output = directory.join(format!("optimised{level}.wasm"));
    Tool::node_bin("wasm-opt")
        .args([level])
        .args(WASM_OPT_ARGUMENTS)
        .args([input, Path::new("--output"), &output])
        .remedy("is binaryen in package.json older than this Rust? Renew it")
        .run()?;
    fs::read(&output).with_context(|| format!("{} can't be read", output.display()))
}

/// Adds a custom section at the end: name and content, each length in LEB128.
fn with_section(mut wasm: Vec<u8>, name: &str, content: &[u8]) -> Result<Vec<u8>> {
    let mut body = leb128(name.len())?;
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(content);
    wasm.push(0);
    wasm.extend(leb128(body.len())?);
    wasm.extend(body);
    Ok(wasm)
}

fn leb128(number: usize) -> Result<Vec<u8>> {
    let mut rest = number;
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(rest & 0x7f)?;
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return Ok(bytes);
        }
        bytes.push(low | 0x80);
    }
}

fn write(module: &Module, generated: &Path, wasm: &[u8], mut record: Record) -> Result<()> {
    for ending in [".js", ".d.ts"] {
        let made = generated.join(format!("{}{ending}", module.name));
        write_changed(&root().join(module.file(ending)), &fs::read(made)?)?;
    }
    let wasm_file = root().join(module.file("_bg.wasm"));
    write_changed(&wasm_file, wasm)?;
    // Text of packed bytes is a quarter smaller on the wire than text of plain ones, which no server packs well.
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(wasm)?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(packer.finish()?);
    let script = format!("export default \"{encoded}\";\n");
    write_changed(&root().join(module.side_file("bytes.js")), script.as_bytes())?;
    let declaration =
        "/** The wasm, packed with gzip, in base64. */\ndeclare const bytes: string;\nexport default bytes;\n";
    write_changed(&root().join(module.side_file("bytes.d.ts")), declaration.as_bytes())?;
    record.sha256 = digest(&wasm_file)?;
    let mut json = serde_json::to_string_pretty(&record)?;
    json.push('\n');
    write_changed(&root().join(module.side_file("build.json")), json.as_bytes())
}

/// The version of wasm-bindgen in Cargo.lock; the crate and this tool are held to the same one.
fn wasm_bindgen_shared_version() -> String {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap_or_default();
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"wasm-bindgen\"");
    lines.nth(1).unwrap_or_default().trim_start_matches("version = ").trim_matches('"').to_string()
}

fn size_of_file(path: &Path) -> Result<usize> {
    let length = fs::metadata(path).with_context(|| format!("{} is missing", path.display()))?.len();
    Ok(usize::try_from(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Both lines are rustc 1.95's own, shortened.
    const WITH_LTO: &str = r#"PATH="/rust/bin" "rust-lld" "-flavor" "wasm" "/t/deps/e.e.3aa3-cgu.0.rcgu.o"
        "/rust/lib/libcompiler_builtins-a8653b759c7b83b3.rlib" "-o" "/t/deps/e.wasm" "--gc-sections""#;
    const WITHOUT_LTO: &str = r#""rust-lld" "/t/deps/e.e.b4fe-cgu.0.rcgu.o" "/t/deps/e.afr0.rcgu.o"
        "/t/deps/libuuid-e21b9e0bda7c7775.rlib" "/rust/lib/libstd-2c19544a9276d693.rlib"
        "/rust/lib/libcompiler_builtins-a8653b759c7b83b3.rlib" "-o" "/t/deps/e.wasm""#;

    #[test]
    fn fat_lto_is_seen_in_what_the_linker_got() {
        let link = Link::from_arguments(WITH_LTO);
        assert_eq!(link, Link { objects: 1, libraries: vec!["compiler_builtins".into()] });
        assert!(link.is_optimised_as_a_whole());
    }

    #[test]
    fn its_absence_is_seen_too() {
        let link = Link::from_arguments(WITHOUT_LTO);
        assert_eq!(link.libraries, ["uuid", "std", "compiler_builtins"]);
        assert!(!link.is_optimised_as_a_whole());
        assert!(!Link::from_arguments("").is_optimised_as_a_whole());
    }

    #[test]
    fn a_section_is_appended_with_its_lengths() {
        let wasm = with_section(vec![1, 2], "ab", &[7; 200]).expect("lengths fit");
        // 3 bytes of name and 200 of content: 203 is 0xcb 0x01.
        assert_eq!(wasm[..7], [1, 2, 0, 0xcb, 0x01, 2, b'a']);
        assert_eq!(wasm.len(), 2 + 3 + 203);
    }
}
