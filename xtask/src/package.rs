//! Compiles `pkg/src` to `pkg/dist` and puts the licence into the package.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::fresh::{Inputs, Stamp, files_below, write_changed};
use crate::root;
use crate::step::{Said, step};
use crate::tool::Tool;

const ENDINGS: [&str; 4] = [".d.ts.map", ".js.map", ".d.ts", ".js"];

pub fn build() -> Result<()> {
    let inputs = Inputs::default()
        .path("pkg/src")?
        .path("pkg/tsconfig.json")?
        .path("pkg/package.json")?
        .path("tsconfig.json")?
        .path("tsconfig.base.json")?
        .path("pkg/wasm/rota_engine.d.ts")?
        .path("pkg/wasm/bytes.d.ts")?
        .path("pkg/wasm/policy_sql.d.ts")?
        .path("pkg/wasm/policy_sql_bytes.d.ts")?
        .path("package-lock.json")?;
    let stamp = Stamp::new("package", inputs, &["pkg/dist"]);
    step("compiling the package", || {
        if stamp.is_fresh()? {
            return Ok(Said::noted((), "up to date"));
        }
        Tool::node_bin("tsc").args(["-p", "pkg/tsconfig.json"]).remedy("mend the errors above").run()?;
        remove_orphans(&root().join("pkg/dist"), &root().join("pkg/src"))?;
        stamp.set()?;
        Ok(Said::done(()))
    })?;
    step("writing the package's licence", || licence().map(Said::done))
}

/// The compiler never deletes: what it made of a file that is gone would be published for ever.
fn remove_orphans(dist: &Path, src: &Path) -> Result<()> {
    for file in files_below(dist)? {
        let relative = file.strip_prefix(dist)?.to_string_lossy().into_owned();
        let source = ENDINGS.iter().find_map(|ending| relative.strip_suffix(ending));
        let has_source = source
            .is_some_and(|stem| [".ts", ".tsx"].iter().any(|ending| src.join(format!("{stem}{ending}")).exists()));
        if !has_source && !relative.ends_with(".tsbuildinfo") {
            fs::remove_file(&file).with_context(|| format!("{} can't be deleted", file.display()))?;
        }
    }
    Ok(())
}

/// npm carries one file named LICENSE; both licences ask for their whole text to go with every copy.
fn licence() -> Result<()> {
    let read = |name: &str| fs::read_to_string(root().join(name)).with_context(|| format!("{name} can't be read"));
    let text = [read("LICENSE")?, read("LICENSE-MIT")?, read("LICENSE-APACHE")?].join("\n---\n\n");
    write_changed(&root().join("pkg/LICENSE"), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_from_a_deleted_file_goes_with_it() {
        let place = crate::target().join("xtask/tests/orphans");
        let (dist, src) = (place.join("dist"), place.join("src"));
        for file in
            ["src/react/kept.tsx", "dist/react/kept.js", "dist/react/kept.d.ts.map", "dist/gone.js", "dist/gone.d.ts"]
        {
            write_changed(&place.join(file), b"x").expect("the sample is written");
        }
        remove_orphans(&dist, &src).expect("orphans are removed");
        let left = files_below(&dist).expect("dist is read");
        assert_eq!(left, [dist.join("react/kept.d.ts.map"), dist.join("react/kept.js")]);
    }
}
