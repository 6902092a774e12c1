//! Patches that are joined: the whole sets what they set, the last one counts, and only what somebody took back is left out.

use rota_engine::{Fields, Operation};

use super::{Oracle, broken, keys};

pub fn check(oracle: &Oracle, op: &Operation) {
    if op.joined.is_empty() {
        return;
    }
    let mut left = Fields::new();
    for joined in &op.joined {
        left.extend(joined.set.clone());
    }
    if left != op.set || !op.set.keys().eq(op.base.keys()) {
        broken!("5", "{} sets something else than what is left of the patches that were joined: {op:?}", op.id);
    }
    for id in &op.replaces {
        let made = oracle.made(*id);
        let Some(joined) = op.joined.iter().find(|joined| joined.id == *id) else {
            if !made.is_unwanted() {
                broken!("5", "{} leaves out {id}, which nobody took back", op.id);
            }
            continue;
        };
        let own = made.op.joined.last().map_or(&made.op.set, |last| &last.set);
        // The keys that they name may be known by now.
        if *own != joined.set && keys::named(&made.op).is_empty() {
            broken!("5", "{} has {id} set {:?}, and it was made to set {own:?}", op.id, joined.set);
        }
    }
}
