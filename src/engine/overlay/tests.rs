use super::*;
use crate::domain::Domains;
use crate::engine::record::JsonRecord;

fn fields(all: &[(&str, &str)]) -> Fields {
    all.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
}

fn table(temporary_keys: bool) -> TableConfig {
    let mut config = TableConfig::new("jobs".into(), vec!["id".into()], vec!["id".into(), "name".into()]);
    config.temporary_keys = temporary_keys;
    config
}

fn step<'a>(name: &'a str, set: &'a Fields, none: &'a Fields) -> Step<'a> {
    Step { name, table: "jobs", key: "~1", args: none, set, base: none }
}

#[test]
fn a_new_record_has_its_temporary_key_where_the_server_is_to_give_one_and_the_person_gave_none() {
    let none = Fields::new();
    let made = |temporary_keys: bool, set: &Fields| {
        apply::<JsonRecord>(None, step(name::INSERT, set, &none), &table(temporary_keys), &Domains).flatten()
    };
    let (unnamed, named) = (fields(&[("name", "a")]), fields(&[("name", "a"), ("id", "7")]));
    let with_key = fields(&[("name", "a"), ("id", "~1")]);
    assert_eq!(made(true, &unnamed).unwrap().fields(), &with_key);
    assert_eq!(made(true, &named).unwrap().fields(), &named);
    assert_eq!(made(false, &unnamed).unwrap().fields(), &unnamed);
}

#[test]
fn a_transaction_is_seen_wholly_or_not_at_all_unless_it_is_known_to_be_done() {
    let (config, none, set) = (table(false), Fields::new(), fields(&[("name", "b")]));
    let there = JsonRecord::create(&fields(&[("name", "a")]));
    let shown = |landed: &[RecordId]| {
        let folding = |id, visible| Folding { id: RecordId(id), table: &config, visible, overlaid: false };
        let mut records = [folding(0, Some(there.clone())), folding(1, None), folding(2, Some(there.clone()))];
        let changes = [0, 1].map(|id| (RecordId(id), step(name::PATCH, &set, &none)));
        let is_done = apply_all(&mut records, changes.into_iter(), landed, &Domains);
        let is_shown = records[0].visible.as_ref().is_some_and(|record| record.fields() == &set);
        (is_done, is_shown, records[0].overlaid)
    };
    // The second record is gone, so the patch of it does not apply.
    assert_eq!(shown(&[]), (false, false, false));
    assert_eq!(shown(&[RecordId(2)]), (true, true, true));
    assert_eq!(shown(&[RecordId(1)]), (true, true, true));
    assert_eq!(shown(&[RecordId(0)]), (true, false, false));
}
