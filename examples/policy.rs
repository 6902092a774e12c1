//! Prints the SQL of a policy: `cargo run --example policy -- declaration.json`.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name the file of a policy's declaration")?;
    let declaration = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    print!("{}", rota_engine::policy_sql(&declaration)?);
    Ok(())
}
