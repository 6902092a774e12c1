//! Visible is confirmed with what is pending over it, from the description alone: records that share transactions together, for a
//! transaction is seen in all of its records, or in none.

use rota_engine::{Fields, JsonRecord, OperationId, Record, Step, Value};

use super::{Mirror, Oracle, Shown, Who, broken};
use crate::server::{Key, OWNER, Server, key_value};

/// So many ways in which records may be confirmed are tried. What shares more than that is rare enough to be left to its end.
const WAYS_MAX: usize = 4_096;

/// One record of those that are folded together.
pub struct Part {
    pub key: Key,
    pub visible: Option<JsonRecord>,
    /// What may be confirmed of it, as far as the tab can know.
    pub stands: Vec<Option<JsonRecord>>,
    /// The version that the tab knows.
    pub version: u64,
}

/// Returns the records that a record shares seen transactions with, directly or through others, itself included.
pub fn sharing(mirror: &Mirror, key: Key) -> Vec<Key> {
    let mut sharing = vec![key];
    let mut looked_at = 0;
    while let Some(key) = sharing.get(looked_at).copied() {
        looked_at += 1;
        for shown in mirror.shown.iter().filter(|shown| shown.keys.len() > 1 && shown.is_seen() && shown.concerns(key))
        {
            for other in &shown.keys {
                if !sharing.contains(other) {
                    sharing.push(*other);
                }
            }
        }
    }
    sharing
}

/// What a fold has made of one record.
#[derive(Clone)]
struct Folded {
    visible: Option<JsonRecord>,
    overlaid: bool,
}

/// Finds a way in which what is seen is what is confirmed with what is pending over it. Returns how many records are held for it, at
/// least and at most; nothing where there is no such way.
pub fn explain(oracle: &Oracle, server: &Server, mirror: &Mirror, parts: &[Part]) -> Option<(usize, usize)> {
    let pending: Vec<&Shown> = mirror
        .shown
        .iter()
        .filter(|shown| shown.is_seen() && parts.iter().any(|part| shown.concerns(part.key)))
        .collect();
    // What a tab was told of one record of a transaction proves that it was done, and is not done a second time over that record.
    // A tab may also have come to know the record without learning who wrote it: from an earlier visit, or as it became later.
    let mut may_have_landed: Vec<(OperationId, Key)> = Vec::new();
    for shown in pending.iter().filter(|shown| shown.keys.len() > 1) {
        for part in parts.iter().filter(|part| shown.concerns(part.key)) {
            let wrote = |stand: &&crate::server::Stand| stand.op == Some(shown.id) && stand.version <= part.version;
            if server.known[part.key].history.iter().any(|stand| wrote(&stand)) {
                may_have_landed.push((shown.id, part.key));
            }
        }
    }
    // A tab may not have heard yet that what an operation is based on has changed.
    let forms: Vec<usize> = pending.iter().map(|shown| 1 + oracle.made(shown.id).rebased.len()).collect();
    let ways = parts.iter().map(|part| part.stands.len()).chain(forms.iter().copied()).product::<usize>()
        << may_have_landed.len().min(12);
    if ways > WAYS_MAX {
        return Some((0, usize::MAX / 2));
    }
    let mut bounds: Option<(usize, usize)> = None;
    for way in 0..ways {
        let mut rest = way;
        let mut take = |choices: usize| {
            let choice = rest % choices;
            rest /= choices;
            choice
        };
        let start = |part: &Part, choice: usize| Folded { visible: part.stands[choice].clone(), overlaid: false };
        let folded: Vec<Folded> = parts.iter().map(|part| start(part, take(part.stands.len()))).collect();
        let held = folded.iter().filter(|folded| folded.visible.is_some()).count();
        let landed: Vec<(OperationId, Key)> = may_have_landed.iter().copied().filter(|_| take(2) == 1).collect();
        let chosen: Vec<usize> = forms.iter().map(|count| take(*count)).collect();
        let (folded, applied) = fold(folded, parts, (&pending, &chosen), oracle, &landed);
        let is_it = folded.iter().zip(parts).all(|(folded, part)| folded.visible == part.visible)
            && pending.iter().zip(applied).all(|(shown, applied)| shown.is_doubtful != applied);
        if is_it {
            let over = folded.iter().filter(|folded| folded.overlaid && folded.visible.is_some()).count();
            let held = held + over;
            bounds = Some(bounds.map_or((held, held), |(low, high)| (low.min(held), high.max(held))));
        }
    }
    bounds
}

/// Folds what is pending over records. Says of each operation whether it applied.
fn fold(
    mut records: Vec<Folded>,
    parts: &[Part],
    (pending, forms): (&[&Shown], &[usize]),
    oracle: &Oracle,
    landed: &[(OperationId, Key)],
) -> (Vec<Folded>, Vec<bool>) {
    let mut all_applied = Vec::new();
    for (shown, form) in pending.iter().zip(forms) {
        let is_done = landed.iter().any(|(id, _)| *id == shown.id);
        let mut next = records.clone();
        let mut applied = true;
        for ((key, step), base) in shown.keys.iter().zip(shown.op.steps()).zip(bases(oracle, shown, *form)) {
            let step = Step { base, ..step };
            if landed.contains(&(shown.id, *key)) {
                continue;
            }
            let Some(at) = parts.iter().position(|part| part.key == *key) else { continue };
            match effect(&step, next[at].visible.as_ref(), shown) {
                Some(visible) => next[at] = Folded { visible, overlaid: true },
                None => applied &= is_done,
            }
        }
        if applied {
            records = next;
        }
        all_applied.push(applied);
    }
    (records, all_applied)
}

/// What is seen of one record if nothing of it is confirmed, and whatever becomes of the others.
pub fn over_nothing(oracle: &Oracle, mirror: &Mirror, key: Key) -> Option<JsonRecord> {
    let mut visible = None;
    for shown in mirror.shown.iter().filter(|shown| shown.is_seen()) {
        let form = oracle.made(shown.id).rebased.len();
        let steps = shown.op.steps().zip(bases(oracle, shown, form)).map(|(step, base)| Step { base, ..step });
        for (_, step) in shown.keys.iter().zip(steps).filter(|(of, _)| **of == key) {
            visible = effect(&step, visible.as_ref(), shown).unwrap_or(visible);
        }
    }
    visible
}

/// What each step of an operation is based on, in one of its forms.
fn bases<'a>(oracle: &'a Oracle, shown: &'a Shown, form: usize) -> Vec<&'a Fields> {
    let op = form.checked_sub(1).map_or(&shown.op, |at| &oracle.made(shown.id).rebased[at]);
    op.steps().map(|step| step.base).collect()
}

/// What a step makes of a record; `None` where it does not apply.
fn effect(step: &Step<'_>, current: Option<&JsonRecord>, shown: &Shown) -> Option<Option<JsonRecord>> {
    let with = |record: &JsonRecord, set: &Fields| {
        let mut fields = record.fields().clone();
        fields.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
        Some(Some(JsonRecord::create(&fields)))
    };
    match (step.name, current) {
        ("insert", None) if step.key.starts_with('~') => {
            // Seen under the key that it has by now.
            let id = shown.own_key.as_deref().map_or_else(|| Value::from(step.key), key_value);
            with(&JsonRecord::create(step.set), &Fields::from([("id".to_owned(), id)]))
        }
        ("insert", None) => Some(Some(JsonRecord::create(step.set))),
        ("delete", Some(_)) => Some(None),
        ("patch", Some(record)) => with(record, step.set),
        ("assign", Some(record)) => {
            let owner = record.fields().get(OWNER).cloned().unwrap_or_default();
            let to = step.args.get("to").cloned().unwrap_or_default();
            let seen = step.base.get(OWNER).cloned().unwrap_or_default();
            if owner == seen || owner == to { with(record, &Fields::from([(OWNER.to_owned(), to)])) } else { None }
        }
        // An insert of what is there, and a change of what is not.
        _ => None,
    }
}

/// Stops the run: what is seen can't be explained.
pub fn fail(server: &Server, who: &Who, mirror: &Mirror, parts: &[Part]) -> ! {
    let told: Vec<String> = parts
        .iter()
        .map(|part| format!("{} as {:?}, which is not {:?}", server.known[part.key].key, part.visible, part.stands))
        .collect();
    let shown: Vec<_> = mirror
        .shown
        .iter()
        .filter(|shown| parts.iter().any(|part| shown.concerns(part.key)))
        .map(|shown| (&shown.op, shown.state, shown.is_doubtful))
        .collect();
    broken!("2", "{} shows {} with {shown:?} over it", who.name, told.join(" and "))
}
