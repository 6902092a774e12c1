//! Keeps what would break the design without breaking a build: the direction of imports, the engine's purity, no way to
//! stop the engine from outside, and versions that must be equal. Rust is read as tokens, so that a word in a comment or
//! a string is no offence; code under `#[cfg(test)]` is not looked at. Each rule is itself tested below.

#![expect(clippy::panic, reason = "a file of the project that can't be read or parsed should end the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What any file in `engine/` may import. Every other room there is known to `engine.rs` alone, and to itself.
const SHARED: [&str; 11] =
    ["sorted", "value", "version", "record", "error", "time", "operation", "input", "output", "mark", "sabotage"];

/// The words between engine and world; they name what the rooms define, and so may import from each.
const VOCABULARY: [&str; 2] = ["input", "output"];

/// Who else knows whom: the one on the left may import from the one on the right. Types pass, work does not: only
/// `engine.rs` makes two rooms act together. The list has no circle, and a test says so.
const NEIGHBOURS: [(&str, &str); 24] = [
    ("version", "instant"), // a version may be a time
    ("merge", "instant"),   // and so may a value
    ("table", "merge"),     // how a field's conflicts are decided
    ("operation", "merge"), // the decision that an operation carries out
    ("audit", "merge"),     // what was decided
    ("tabs", "merge"),      // and other tabs hear of it
    ("outbox", "table"),    // which record an operation is about
    ("outbox", "alias"),    // and which temporary keys it names
    ("overlay", "table"),   // how a table merges
    ("overlay", "rules"),   // and what its named operations do
    ("rules", "table"),     // how a table is declared
    ("rules", "view"),      // and which lists its rules look into
    ("link", "table"),      // which part of it a pull covers
    ("link", "retry"),      // how long to wait before the next attempt
    ("stored", "session"),  // whose keys they are
    ("tabs", "table"),      // rows travel between tabs
    ("trace", "table"),     // which fields are secret
    ("trace", "stored"),    // where values are in entries,
    ("trace", "tabs"),      // and in messages
    ("trace", "view"),      // and in filters,
    ("trace", "merge"),     // and in decisions
    ("tabs", "presence"),   // tabs tell each other who is where
    ("tabs", "link"),       // followers show the leader's link
    ("view", "table"),      // whose records, and which of their fields
];

/// What the domains share: how they read what they are given. It is none itself.
const GIVEN: &str = "given";

/// Paths that bring a clock, randomness, the browser or the operating system.
const IMPURE: [&str; 24] = [
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::hash::RandomState",
    "std::collections::hash_map::RandomState",
    "rand",
    "getrandom",
    "uuid::Uuid::now_v7",
    "uuid::Uuid::new_v4",
    "Uuid::now_v7",
    "Uuid::new_v4",
    "js_sys",
    "web_sys",
    "wasm_bindgen",
    "serde_wasm_bindgen",
    "gloo_storage",
    "gloo_timers",
    "crate::web",
];

const PRINTING: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];
const STOPPING: [&str; 3] = ["panic", "todo", "unimplemented"];
const WALKING: [&str; 11] = [
    "iter",
    "iter_mut",
    "into_iter",
    "keys",
    "into_keys",
    "values",
    "values_mut",
    "into_values",
    "drain",
    "retain",
    "extract_if",
];

// ---------------------------------------------------------------------------------------------- the project as it is

#[test]
fn imports_run_one_way() {
    assert_clean(&rust_files("src"), direction);
}

#[test]
fn rooms_of_the_engine_know_only_the_shared_ones() {
    assert_clean(&rust_files("src/engine"), rooms);
}

#[test]
fn rooms_of_the_engine_do_not_know_each_other_in_a_circle() {
    // Rooms that know nobody are taken away until none is left, or only circles are.
    let mut left = NEIGHBOURS.to_vec();
    while !left.is_empty() {
        let before = left.len();
        let rooms: BTreeSet<&str> = left.iter().map(|(room, _)| *room).collect();
        left.retain(|(_, neighbour)| rooms.contains(neighbour));
        assert!(left.len() < before, "a circle: {left:?}");
    }
}

#[test]
fn engine_and_domains_are_pure() {
    assert_clean(&[rust_files("src/engine"), rust_files("src/domain")].concat(), purity);
}

#[test]
fn hash_maps_are_never_walked_in_engine_and_domains() {
    assert_clean(&[rust_files("src/engine"), rust_files("src/domain")].concat(), hash_order);
}

#[test]
fn nothing_in_src_stops_the_engine() {
    assert_clean(&rust_files("src"), stops);
}

#[test]
fn scripts_import_one_way() {
    let files = [files("pkg/src", SCRIPTS), files("www", SCRIPTS)].concat();
    assert_clean(&files, script_direction);
}

#[test]
fn crate_and_package_have_one_version() {
    let manifest: serde_json::Value = serde_json::from_str(&read("pkg/package.json")).expect("package.json is JSON");
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"), "pkg/package.json and Cargo.toml differ");
    for dependent in ["www/package.json", "tests/package.json"] {
        let manifest: serde_json::Value = serde_json::from_str(&read(dependent)).expect("package.json is JSON");
        let wanted = &manifest["dependencies"]["rota-engine"];
        assert_eq!(wanted, env!("CARGO_PKG_VERSION"), "{dependent} wants another rota-engine");
    }
}

#[test]
fn wasm_bindgen_is_pinned_and_the_tool_has_the_same() {
    let engine = requirement(&read("Cargo.toml"), "wasm-bindgen").expect("Cargo.toml names wasm-bindgen");
    let tool = requirement(&read("xtask/Cargo.toml"), "wasm-bindgen-cli-support").expect("so does xtask/Cargo.toml");
    assert!(engine.starts_with('='), "wasm-bindgen must be pinned with `=`, is {engine}");
    assert_eq!(engine, tool, "glue and crate must be of one version");
}

#[test]
fn every_promise_names_tests_that_exist() {
    let index = read("docs/promises.md");
    assert!(rows(&index).count() > 40, "the tables of docs/promises.md are not read any more");
    let offences = promises(&index, |path| fs::read_to_string(root().join(path)).ok());
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn every_feature_names_tests_that_exist_or_says_that_there_is_none_yet() {
    let table = shown(&read("tests/README.md"));
    assert!(rows(&table).count() > 30, "the table of tests/README.md is not read any more");
    let offences = promises(&table, |path| fs::read_to_string(root().join(path)).ok());
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

// ------------------------------------------------------------------------------------------------------------- rules

/// A file of the project: its path from the root with `/`, and its text.
#[derive(Clone)]
struct Source {
    path: String,
    text: String,
}

/// `src/web` and `src/kit` → `src/domain` → `src/engine`, and no domain knows another; `src/border` is for both ends.
fn direction(source: &Source) -> Vec<String> {
    let module = module_of(&source.path);
    let Some(floor) = module.first() else { return Vec::new() };
    let offends = |target: &[String]| -> bool {
        match (floor.as_str(), target.first().map(String::as_str)) {
            ("engine", Some("domain" | "border" | "kit" | "web"))
            | ("domain", Some("border" | "kit" | "web"))
            | ("border", Some("domain" | "kit" | "web"))
            | ("kit", Some("web"))
            | ("web", Some("kit")) => true,
            // domain/mod.rs declares them all and so may name them all.
            ("domain", Some("domain")) => {
                let is_foreign = |name: &str| name != module[1] && name != GIVEN && is_module_name(name);
                module.len() > 1 && target.len() > 1 && is_foreign(&target[1])
            }
            _ => false,
        }
    };
    paths(source)
        .into_iter()
        .filter(|path| absolute(path, &module).is_some_and(|target| offends(&target)))
        .map(|path| format!("{} imports against the direction: {}", source.path, path.join("::")))
        .collect()
}

/// In `engine/`, only `engine.rs` and its own folder know every room.
fn rooms(source: &Source) -> Vec<String> {
    let module = module_of(&source.path);
    let knows_all = |room: &str| room == "engine" || VOCABULARY.contains(&room);
    let Some(room) = module.get(1).filter(|room| !knows_all(room)) else { return Vec::new() };
    let offends = |target: &[String]| {
        target.len() > 1
            && target[0] == "engine"
            && is_module_name(&target[1])
            && target[1] != *room
            && !SHARED.contains(&target[1].as_str())
            && !NEIGHBOURS.contains(&(room.as_str(), target[1].as_str()))
    };
    paths(source)
        .into_iter()
        .filter(|path| absolute(path, &module).is_some_and(|target| offends(&target)))
        .map(|path| format!("{} knows another room: {}", source.path, path.join("::")))
        .collect()
}

fn purity(source: &Source) -> Vec<String> {
    let impure = |path: &Vec<String>| {
        let joined = path.join("::");
        // `core` and `alloc` lead to the same things.
        let joined = joined.strip_prefix("core::").map_or(joined.clone(), |rest| format!("std::{rest}"));
        IMPURE.iter().any(|banned| joined == *banned || joined.starts_with(&format!("{banned}::")))
    };
    let found = paths(source).into_iter().filter(impure).map(|path| path.join("::"));
    let printed = macros(source).into_iter().filter(|name| PRINTING.contains(&name.as_str()));
    found.chain(printed).map(|what| format!("{} is not pure: {what}", source.path)).collect()
}

/// The order of a hash map differs from run to run. Looking one key up is fine, walking it is not.
fn hash_order(source: &Source) -> Vec<String> {
    let tokens = flat(source);
    let mut names = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        if (token == "HashMap" || token == "HashSet")
            && let Some(name) = declared_before(&tokens[..at])
        {
            names.insert(name);
        }
    }
    let walked = tokens
        .windows(3)
        .filter(|window| names.contains(&window[0]) && window[1] == "." && WALKING.contains(&window[2].as_str()));
    let looped = tokens.windows(2).enumerate().filter(|(at, window)| {
        names.contains(&window[0]) && window[1] == "{" && tokens[..*at].iter().rev().take(5).any(|token| token == "in")
    });
    walked
        .map(<[String]>::concat)
        .chain(looped.map(|(_, window)| format!("for … in {}", window[0])))
        .map(|what| format!("{} walks a hash map: {what}", source.path))
        .collect()
}

fn stops(source: &Source) -> Vec<String> {
    let tokens = flat(source);
    let unwraps = tokens.windows(3).filter(|window| window[..] == [".", "unwrap", "("]).map(|_| "unwrap()".to_string());
    let stopping = macros(source).into_iter().filter(|name| STOPPING.contains(&name.as_str()));
    unwraps.chain(stopping).map(|what| format!("{} can stop the engine: {what}", source.path)).collect()
}

/// The rows of the tables, without their heads.
fn rows(index: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = index.lines().collect();
    let is_head = |at: usize| lines.get(at).is_some_and(|line| line.starts_with("|---"));
    let rows = (0..lines.len()).filter(|at| lines[*at].starts_with('|') && !is_head(*at) && !is_head(*at + 1));
    rows.map(|at| lines[at]).collect::<Vec<_>>().into_iter()
}

/// A table of features without the rows that say honestly that nothing shows them.
fn shown(table: &str) -> String {
    table.lines().filter(|line| !line.trim_end().ends_with("| not yet |")).collect::<Vec<_>>().join("\n")
}

/// In the index of promises, each row's last cell names tests, as `` `file`: `name`, `name`; `file`: … ``.
fn promises(index: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut offences = Vec::new();
    for row in rows(index) {
        let held_by = row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let (mut file, mut count): (Option<(&str, String)>, usize) = (None, 0);
        for named in held_by.split('`').skip(1).step_by(2) {
            let is_file = [".rs", ".ts", ".tsx"].iter().any(|ending| named.ends_with(ending));
            if is_file {
                let text = read(named);
                if text.is_none() {
                    offences.push(format!("there is no {named}"));
                }
                file = text.map(|text| (named, text));
                continue;
            }
            count += 1;
            match &file {
                Some((path, text)) if has_test(path, text, named) => {}
                Some((path, _)) => offences.push(format!("{path} has no test {named}")),
                None => offences.push(format!("no file is named for {named}")),
            }
        }
        if count == 0 {
            offences.push(format!("no test holds this: {row}"));
        }
    }
    offences
}

fn has_test(path: &str, text: &str, name: &str) -> bool {
    if Path::new(path).extension().is_some_and(|ending| ending == "rs") {
        let start = format!("fn {name}()");
        return text.split("#[test]").skip(1).any(|test| test.trim_start().starts_with(&start));
    }
    ['\'', '"', '`'].iter().any(|mark| text.contains(&format!("({mark}{name}{mark},")))
}

const SCRIPTS: &[&str] = &["ts", "tsx", "vue", "js", "mjs"];

/// The demo imports the package by its name; inside the package, bindings, backends and bridges know the store and never
/// the wasm.
fn script_direction(source: &Source) -> Vec<String> {
    let folder: Vec<&str> = source.path.split('/').collect();
    let folder = &folder[..folder.len() - 1];
    let offends = |module: &str| {
        let by_name = module.split('/').next().is_some_and(|name| name == "rota-demo" || name == "rota-tests");
        let Some(target) = resolved(folder, module) else { return by_name };
        match folder {
            ["www", ..] => !target.starts_with("www/"),
            ["pkg", "src", "react" | "vue" | "backends" | "bridges", ..] => !target.starts_with("pkg/src/"),
            ["pkg", ..] => !target.starts_with("pkg/src/") && !target.starts_with("pkg/wasm/"),
            _ => false,
        }
    };
    script_imports(&source.text)
        .into_iter()
        .filter(|module| offends(module))
        .map(|module| format!("{} imports against the direction: {module}", source.path))
        .collect()
}

// ---------------------------------------------------------------------------------------------------- reading sources

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rust_files(folder: &str) -> Vec<Source> {
    let is_test = |source: &Source| source.path.ends_with("/tests.rs") || source.path.contains("/tests/");
    let mut found = files(folder, &["rs"]);
    found.retain(|source| !is_test(source));
    found
}

fn files(folder: &str, endings: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path: PathBuf = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "node_modules" && name != "dist" {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known)) {
                let shown = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
                found.push(Source { text: read(&shown), path: shown });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn assert_clean(sources: &[Source], rule: fn(&Source) -> Vec<String>) {
    let offences: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

/// `src/engine/link.rs` is `engine::link`, `src/domain/mod.rs` is `domain`, `src/lib.rs` is the root.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').filter(|part| *part != "mod" && *part != "lib").map(String::from).collect()
}

fn is_module_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
}

/// Where a path that starts in this crate leads.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    match path.first().map(String::as_str) {
        Some("crate") => Some(path[1..].to_vec()),
        Some("self") => Some([module, &path[1..]].concat()),
        Some("super") => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            Some([&module[..module.len().saturating_sub(ups)], &path[ups..]].concat())
        }
        _ => None,
    }
}

fn tokens(source: &Source) -> Vec<TokenTree> {
    let stream: TokenStream = source.text.parse().unwrap_or_else(|error| panic!("{}: {error}", source.path));
    without_tests(stream)
}

/// Drops every item below `#[cfg(test)]`, up to its braces or its semicolon.
fn without_tests(stream: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut all = stream.into_iter().peekable();
    while let Some(token) = all.next() {
        let after_hash = matches!(kept.last(), Some(TokenTree::Punct(mark)) if mark.as_char() == '#');
        if after_hash && is_cfg_test(&token) {
            kept.pop();
            for skipped in all.by_ref() {
                match skipped {
                    TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                    TokenTree::Punct(mark) if mark.as_char() == ';' => break,
                    _ => {}
                }
            }
            continue;
        }
        kept.push(token);
    }
    kept
}

fn is_cfg_test(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    group.delimiter() == Delimiter::Bracket && group.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// All tokens in one row, brackets included.
fn flat(source: &Source) -> Vec<String> {
    fn walk(tokens: Vec<TokenTree>, row: &mut Vec<String>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Parenthesis => ("(", ")"),
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        Delimiter::None => ("", ""),
                    };
                    row.push(open.to_string());
                    walk(without_tests(group.stream()), row);
                    row.push(close.to_string());
                }
                other => row.push(other.to_string()),
            }
        }
    }
    let mut row = Vec::new();
    walk(tokens(source), &mut row);
    row
}

fn macros(source: &Source) -> Vec<String> {
    let row = flat(source);
    let calls = row.windows(3).filter(|window| window[1] == "!" && ["(", "[", "{"].contains(&window[2].as_str()));
    calls.map(|window| window[0].clone()).collect()
}

/// Every path with `::` in it; `a::{b, c::d}` gives `a::b` and `a::c::d`.
fn paths(source: &Source) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    gather(&flat(source), &[], &mut found);
    found
}

fn gather(row: &[String], prefix: &[String], found: &mut Vec<Vec<String>>) {
    let is_word = |token: &String| token.starts_with(|first: char| first.is_alphabetic() || first == '_');
    let mut at = 0;
    while at < row.len() {
        if !is_word(&row[at]) {
            at += 1;
            continue;
        }
        let mut path = prefix.to_vec();
        path.push(row[at].clone());
        at += 1;
        while row[at..].starts_with(&[":".into(), ":".into()]) {
            match row.get(at + 2) {
                Some(word) if is_word(word) => {
                    path.push(word.clone());
                    at += 3;
                }
                Some(open) if open == "{" => {
                    let end = closing(row, at + 2);
                    gather(&row[at + 3..end], &path, found);
                    path.clear();
                    at = end;
                }
                // A turbofish or a star: the path ends here.
                _ => break,
            }
        }
        let is_path = path.len() > 1;
        if is_path {
            found.push(path);
        }
    }
}

fn closing(row: &[String], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in row.iter().enumerate().skip(open) {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    row.len()
}

/// The name in `name: …HashMap` or `let name = …HashMap`, where a type or a path may stand between.
fn declared_before(row: &[String]) -> Option<String> {
    let passes = |token: &str| [":", "<", "&", "std", "collections", "mut", "Option", "Rc", "RefCell"].contains(&token);
    let mut at = row.len();
    while at > 0 && passes(&row[at - 1]) {
        at -= 1;
    }
    if at < row.len() && at > 0 {
        return Some(row[at - 1].clone());
    }
    let before = row.strip_suffix(&["=".to_string()])?;
    before.last().cloned()
}

/// The modules in `from "…"`, `import "…"` and `import("…")`, comments and other strings left out.
fn script_imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
        } else if first == '"' || first == '\'' {
            // A quotation mark in text between tags has no partner on its line, and is none.
            let line = rest[1..].split('\n').next().unwrap_or_default();
            let Some(end) = line.find(first) else {
                rest = &rest[1..];
                continue;
            };
            let before = code.trim_end();
            let before = before.strip_suffix('(').unwrap_or(before).trim_end();
            if ["from", "import"].iter().any(|word| before.ends_with(word)) {
                found.push(line[..end].to_string());
            }
            code.push_str("\"\"");
            rest = &rest[end + 2..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// Where a relative import leads, from the root of the project; nothing for a package.
fn resolved(folder: &[&str], module: &str) -> Option<String> {
    if !module.starts_with('.') {
        return None;
    }
    let mut parts: Vec<&str> = folder.to_vec();
    for part in module.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The version a manifest asks for, written as a string or in a table.
fn requirement(manifest: &str, name: &str) -> Option<String> {
    let value =
        manifest.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='))?.trim();
    let text = if value.starts_with('{') { value.split("version").nth(1)? } else { value };
    text.split('"').nth(1).map(String::from)
}

// ----------------------------------------------------------------------------------------- each rule can fail, and not

mod rules {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.into() }
    }

    #[track_caller]
    fn fails(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) {
        assert!(!rule(&source(path, text)).is_empty(), "must be an offence in {path}: {text}");
    }

    #[track_caller]
    fn holds(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) {
        assert_eq!(rule(&source(path, text)), Vec::<String>::new(), "in {path}: {text}");
    }

    #[test]
    fn a_back_edge_is_found() {
        fails(direction, "src/engine/link.rs", "use crate::domain::chat::Message;");
        fails(direction, "src/engine/engine.rs", "fn f() { crate::web::driver::run() }");
        fails(direction, "src/engine/link.rs", "use crate::{engine::time, web::clock};");
        fails(direction, "src/engine/link.rs", "use super::super::domain::chat;");
        fails(direction, "src/domain/chat.rs", "use crate::web::clock::Clock;");
        fails(direction, "src/domain/chat.rs", "use crate::border::value;");
        fails(direction, "src/border.rs", "use crate::domain::chat;");
        fails(direction, "src/kit.rs", "use crate::web::decode;");
        holds(direction, "src/kit.rs", "use crate::border::value; use crate::domain::policy;");
        holds(direction, "src/web/driver.rs", "use crate::{domain::chat, engine::Engine};");
        holds(direction, "src/domain/chat.rs", "use crate::engine::record::Record;");
        holds(direction, "src/engine/link.rs", "// crate::web\nconst TEXT: &str = \"crate::domain\";");
        holds(direction, "src/lib.rs", "pub use crate::domain::chat::Message;");
    }

    #[test]
    fn a_domain_that_knows_another_is_found() {
        fails(direction, "src/domain/chat.rs", "use super::profile::Profile;");
        fails(direction, "src/domain/chat.rs", "use crate::domain::{profile};");
        holds(direction, "src/domain/chat.rs", "use crate::domain::chat::Message;");
        holds(direction, "src/domain/chat.rs", "use super::given::Given;");
        holds(direction, "src/domain/mod.rs", "use self::chat::Message; use crate::domain::profile;");
    }

    #[test]
    fn a_room_that_knows_another_is_found() {
        fails(rooms, "src/engine/outbox.rs", "use super::tabs::Role;");
        fails(rooms, "src/engine/outbox.rs", "fn f() -> crate::engine::link::Link { todo!() }");
        fails(rooms, "src/engine/outbox/entry.rs", "use super::super::tabs::Role;");
        fails(rooms, "src/engine/outbox.rs", "use super::{time::Now, tabs::{Role, Beat}};");
        holds(rooms, "src/engine/outbox.rs", "use super::{time::Now, value::Value};");
        holds(rooms, "src/engine/outbox/entry.rs", "use super::Outbox; use super::super::time::Now;");
        holds(rooms, "src/engine/engine.rs", "use super::tabs::Role;");
        holds(rooms, "src/engine/engine/sending.rs", "use crate::engine::outbox::Outbox;");
        holds(rooms, "src/engine/input.rs", "use super::tabs::TabMessage;");
        fails(rooms, "src/engine/table.rs", "use super::tabs::TabMessage;");
        holds(rooms, "src/engine/tabs.rs", "use super::table::Row;");
        holds(rooms, "src/engine/mod.rs", "pub use self::outbox::Outbox;");
        holds(rooms, "src/engine/outbox.rs", "#[cfg(test)]\nmod tests { use crate::engine::tabs::Role; }");
    }

    #[test]
    fn clock_randomness_browser_and_printing_are_found() {
        let path = "src/domain/chat.rs";
        for text in [
            "use std::time::Instant;",
            "use std::{fmt, time::{Duration, SystemTime}};",
            "fn f() { std::time::SystemTime::now(); }",
            "fn f() { let x = rand::rng(); }",
            "fn f() { let id = Uuid::now_v7(); }",
            "use js_sys::Date;",
            "use web_sys::{window};",
            "use wasm_bindgen::prelude::*;",
            "use std::fs::File;",
            "use std::net::TcpStream;",
            "fn f() { std::thread::sleep(d) }",
            "fn f() { println!(\"x\"); }",
            "fn f() { assert!(dbg!(x)); }",
        ] {
            fails(purity, path, text);
        }
        holds(purity, path, "use std::time::Duration; use std::collections::BTreeMap; use rand_core::Rng;");
        holds(purity, path, "/// Instant as `std::time::Instant`.\nfn f() { let s = \"js_sys::Date\"; }");
        holds(purity, path, "#[cfg(test)]\nfn f() { println!(\"x\"); }");
        holds(purity, path, "#[cfg(test)]\nmod tests;\nstruct Instant;");
    }

    #[test]
    fn walking_a_hash_map_is_found() {
        let path = "src/engine/table.rs";
        let field = "struct T { rows: HashMap<u32, u32> }";
        fails(hash_order, path, &format!("{field} impl T {{ fn f(&self) {{ self.rows.iter(); }} }}"));
        fails(hash_order, path, &format!("{field} impl T {{ fn f(&self) {{ for r in &self.rows {{ }} }} }}"));
        fails(hash_order, path, "fn f() { let mut seen = HashSet::new(); seen.drain(); }");
        fails(hash_order, path, "fn f(m: &std::collections::HashMap<u8, u8>) { m.values(); }");
        holds(hash_order, path, &format!("{field} impl T {{ fn f(&self) {{ self.rows.get(&1); }} }}"));
        holds(hash_order, path, "struct T { rows: BTreeMap<u32, u32> } fn f(t: &T) { t.rows.iter(); }");
    }

    #[test]
    fn what_stops_the_engine_is_found() {
        let path = "src/web/driver.rs";
        fails(stops, path, "fn f() { g().unwrap(); }");
        fails(stops, path, "fn f() { format!(\"{}\", g().unwrap()); }");
        fails(stops, path, "fn f() { panic!(\"no\") }");
        fails(stops, path, "fn f() { todo!() }");
        holds(stops, path, "fn f() { g().unwrap_or_default(); g().expect(\"the list was just filled\"); }");
        holds(stops, path, "/// `x.unwrap()` or panic!\nfn f() { std::panic::set_hook(h); }");
        holds(stops, path, "#[cfg(test)]\nmod tests { fn f() { g().unwrap(); panic!(); } }");
    }

    #[test]
    fn a_script_that_imports_backwards_is_found() {
        let rule = script_direction;
        fails(rule, "www/src/main.ts", "import { init } from \"../../pkg/src/index.js\";");
        fails(rule, "pkg/src/store.ts", "import x from '../../www/src/x.js';");
        fails(rule, "pkg/src/store.ts", "const x = await import('rota-demo/x');");
        fails(rule, "pkg/src/react/index.ts", "import bytes from \"../../wasm/bytes.js\";");
        fails(rule, "pkg/src/backends/rest.ts", "export * from '../../wasm/rota_engine.js';");
        holds(rule, "pkg/src/store.ts", "import bytes from \"../wasm/bytes.js\";");
        holds(rule, "pkg/src/react/index.ts", "import { useSyncExternalStore } from 'react';\nimport '../store.js';");
        holds(rule, "www/src/main.ts", "import { init } from \"rota-engine\"; import './style.css';");
        holds(rule, "www/src/main.ts", "// import '../../pkg/src/x.js'\nconst s = \"import '../../../x'\";");
        holds(rule, "www/src/App.vue", "<p>It's here</p>\n<script setup>import x from './x.ts'</script>");
    }

    #[test]
    fn a_promise_without_a_test_that_exists_is_found() {
        let read = |path: &str| match path {
            "tests/a.rs" => Some("#[test]\nfn it_holds() {}\n\nfn helper() {}\n".to_owned()),
            "tests/b.test.ts" => Some("test('it holds, too', () => {})\ntest.each([1])(\"%s holds\", f)".to_owned()),
            _ => None,
        };
        let offences = |cell: &str| {
            let index = format!("Text.\n\n| promise | held by |\n|---|---|\n| `x`: y | {cell} |\n\nMore.\n");
            assert_eq!(rows(&index).count(), 1);
            promises(&index, read).len()
        };
        for held in [
            "`tests/a.rs`: `it_holds`",
            "`tests/b.test.ts`: `it holds, too`, `%s holds`",
            "`tests/a.rs`: `it_holds`; `tests/b.test.ts`: `it holds, too`",
        ] {
            assert_eq!(offences(held), 0, "{held}");
        }
        for (count, broken) in [
            (1, ""),
            (1, "`tests/a.rs`"),
            (1, "`it_holds`"),
            (1, "`tests/a.rs`: `it_hold`"),
            (1, "`tests/a.rs`: `helper`"),
            (1, "`tests/a.rs`: `it_holds`, `it holds, too`"),
            (1, "`tests/b.test.ts`: `it holds`"),
            (2, "`tests/c.rs`: `it_holds`"),
            (2, "`tests/a.rs`: `it_holds`; `tests/c.rs`: `it_holds`"),
        ] {
            assert_eq!(offences(broken), count, "{broken}");
        }
        assert_eq!(
            rows("| a | b |\n|---|---|\n| c | d |\n| e | f |\n").collect::<Vec<_>>(),
            ["| c | d |", "| e | f |"]
        );
    }

    #[test]
    fn a_version_is_read_from_either_form() {
        assert_eq!(requirement("wasm-bindgen = \"=0.2.130\"", "wasm-bindgen").as_deref(), Some("=0.2.130"));
        let table = "wasm-bindgen-futures = \"1\"\nwasm-bindgen = { features = [], version = \"0.2\" }";
        assert_eq!(requirement(table, "wasm-bindgen").as_deref(), Some("0.2"));
        assert_eq!(requirement("", "wasm-bindgen"), None);
    }
}
