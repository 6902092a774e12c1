use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn value(json: serde_json::Value) -> Value {
    serde_json::from_value(json).unwrap()
}

fn merge(rule: Rule, base: serde_json::Value, ours: serde_json::Value, theirs: serde_json::Value) -> Option<Value> {
    rule.merge(&value(base), &value(ours), &value(theirs))
}

/// Checks what a rule makes of three sides; `null` as the result stands for a person.
fn assert_merges(rule: Rule, cases: &[[serde_json::Value; 4]]) {
    for [base, ours, theirs, expected] in cases {
        let merged = merge(rule, base.clone(), ours.clone(), theirs.clone());
        let expected = (!expected.is_null()).then(|| value(expected.clone()));
        assert_eq!(merged, expected, "{}: {base} → {ours} | {theirs}", rule.name());
    }
}

#[test]
fn every_rule_is_declared_by_its_name() {
    for rule in Rule::ALL {
        assert_eq!(serde_json::to_value(rule).unwrap(), json!(rule.name()));
    }
    for decided in Decided::ALL {
        assert_eq!(serde_json::to_value(decided).unwrap(), json!(decided.name()));
    }
}

#[test]
fn the_latest_of_two_timestamps_is_the_later_instant_however_it_is_written() {
    assert_merges(
        Rule::Latest,
        &[
            [
                json!(null),
                json!("2026-11-01T10:00:00Z"),
                json!("2026-11-01T10:30:00+01:00"),
                json!("2026-11-01T10:00:00Z"),
            ],
            [
                json!(null),
                json!("2026-11-01T10:00:00.5Z"),
                json!("2026-11-01T10:00:00.49999Z"),
                json!("2026-11-01T10:00:00.5Z"),
            ],
            [
                json!(null),
                json!("2026-10-31T23:59:59-02:00"),
                json!("2026-11-01 01:59:58"),
                json!("2026-10-31T23:59:59-02:00"),
            ],
            [json!("2030-01-01"), json!("2024-02-29"), json!("2024-03-01"), json!("2024-03-01")],
            [json!(1), json!(5), json!(3), json!(5)],
            // Larger than a number holds exactly, and so text.
            [json!(1), json!("9007199254740993"), json!("9007199254740992"), json!("9007199254740993")],
            [json!(1), json!("-9007199254740993"), json!(-5), json!(-5)],
            // What can't be compared is for a person.
            [json!("a"), json!("b"), json!("c"), json!(null)],
            [json!("a"), json!(5), json!("2026-11-01"), json!(null)],
            [json!("a"), json!(null), json!("2026-11-01"), json!(null)],
            [json!("a"), json!("2026-02-29"), json!("2026-11-01"), json!(null)],
            [json!("a"), json!("2026-11-01T24:00:00Z"), json!("2026-11-01"), json!(null)],
            [json!("a"), json!("2026-11-01T10:00:00+1:00"), json!("2026-11-01"), json!(null)],
            [json!("a"), json!("007"), json!("8"), json!(null)],
        ],
    );
}

#[test]
fn one_instant_in_two_spellings_is_no_conflict() {
    let (zulu, offset) = (json!("2026-11-01T10:00:00.000Z"), json!("2026-11-01T10:00:00+00:00"));
    assert_merges(
        Rule::Person,
        &[
            [zulu.clone(), offset.clone(), json!("x"), json!("x")],
            [zulu.clone(), json!("x"), offset.clone(), json!("x")],
            [json!("x"), zulu, offset.clone(), offset],
        ],
    );
}

#[test]
fn lists_are_united_without_duplicates_and_what_either_side_took_out_stays_out() {
    assert_merges(
        Rule::Union,
        &[
            [json!(["a", "b"]), json!(["a", "b", "x"]), json!(["y", "a", "b", "x"]), json!(["a", "b", "y", "x"])],
            [json!(["a", "b", "c"]), json!(["b", "c"]), json!(["a", "b"]), json!(["b"])],
            [json!(["a"]), json!(["x", "x"]), json!(["a", "y"]), json!(["y", "x"])],
            [json!(null), json!([{"n": 1}]), json!([{"n": 2}, {"n": 1}]), json!([{"n": 2}, {"n": 1}])],
            [json!(["a"]), json!(null), json!(["a", "b"]), json!(null)],
            [json!("a"), json!(["b"]), json!(["c"]), json!(null)],
        ],
    );
}

#[test]
fn lists_beyond_the_bound_are_for_a_person() {
    let of = |count: usize, more: &str| {
        let mut items: Vec<serde_json::Value> = (1..count).map(|n| json!(n)).collect();
        items.push(json!(more));
        json!(items)
    };
    assert!(merge(Rule::Union, json!([]), of(UNION_LEN_MAX, "x"), of(3, "y")).is_some());
    assert_eq!(merge(Rule::Union, json!([]), of(UNION_LEN_MAX + 1, "x"), of(3, "y")), None);
    assert_eq!(merge(Rule::Union, json!([]), of(3, "x"), of(UNION_LEN_MAX + 1, "y")), None);
}

#[test]
fn the_most_recent_decision_that_is_not_nothing_wins() {
    assert_merges(
        Rule::MostRecentNotNull,
        &[
            [json!("new"), json!("won"), json!("lost"), json!("won")],
            [json!("new"), json!(null), json!("lost"), json!("lost")],
            [json!("new"), json!("won"), json!(null), json!("won")],
        ],
    );
}

#[test]
fn objects_are_merged_by_member_and_a_conflict_inside_is_for_a_person() {
    assert_merges(
        Rule::Recursive,
        &[
            [
                json!({"a": 1, "b": 1}),
                json!({"a": 2, "b": 1}),
                json!({"a": 1, "b": 2, "c": 3}),
                json!({"a": 2, "b": 2, "c": 3}),
            ],
            [
                json!({"a": {"x": 1, "y": 1}}),
                json!({"a": {"x": 2, "y": 1}}),
                json!({"a": {"x": 1, "y": 2}}),
                json!({"a": {"x": 2, "y": 2}}),
            ],
            [json!({"a": 1, "b": 1}), json!({"b": 1}), json!({"a": 1}), json!({})],
            [json!(null), json!({"a": 1}), json!({"b": {}}), json!({"a": 1, "b": {}})],
            [json!({"a": 1}), json!({"a": null}), json!({"a": 1, "b": 1}), json!({"a": null, "b": 1})],
            [json!({"a": 1}), json!({"a": 2}), json!({"a": 3}), json!(null)],
            [json!({"a": 1}), json!({}), json!({"a": 3}), json!(null)],
            [json!({"a": 1}), json!([]), json!({"a": 3}), json!(null)],
            [json!(7), json!({"a": 1}), json!({"b": 1}), json!(null)],
        ],
    );
}

#[test]
fn larger_and_smaller_are_of_numbers_and_instants_only() {
    assert_merges(
        Rule::Max,
        &[
            [json!(9), json!(2), json!(3.5), json!(3.5)],
            [json!("a"), json!("b"), json!(3), json!(null)],
            [json!(0), json!(2), json!("3"), json!("3")],
            // A fraction is no integer that text could hold.
            [json!(0), json!(1.5), json!("1"), json!(null)],
        ],
    );
    assert_merges(
        Rule::Min,
        &[
            [json!(9), json!(2), json!(3.5), json!(2)],
            [json!(null), json!("2026-11-01T10:00:00Z"), json!("2026-11-01"), json!("2026-11-01")],
            [json!(9), json!(true), json!(3), json!(null)],
        ],
    );
}

#[test]
fn what_both_sides_added_is_summed_exactly_or_by_a_person() {
    assert_merges(
        Rule::Sum,
        &[
            [json!(10), json!(13), json!(8), json!(11)],
            // Two who add the same both count.
            [json!(5), json!(6), json!(6), json!(7)],
            [json!(0.1), json!(0.3), json!(20.3), json!(20.5)],
            [json!(9_007_199_254_740_990_i64), json!(9_007_199_254_740_991_i64), json!(5), json!(6)],
            [json!(0), json!(9_007_199_254_740_991_i64), json!(5), json!(null)],
            [json!(0), json!(1e-300), json!(5), json!(null)],
            [json!(0), json!(0.123_456_789_12), json!(5), json!(null)],
            [json!(null), json!(3), json!(5), json!(null)],
            [json!(1), json!("3"), json!(5), json!(null)],
        ],
    );
}

#[test]
fn a_side_can_be_declared_and_without_a_rule_a_person_decides() {
    assert_merges(Rule::Ours, &[[json!(1), json!(2), json!(3), json!(2)]]);
    assert_merges(Rule::Theirs, &[[json!(1), json!(2), json!(3), json!(3)]]);
    assert_eq!(Rule::default().merge(&value(json!(1)), &value(json!(2)), &value(json!(3))), None);
}

fn fields(json: serde_json::Value) -> Fields {
    serde_json::from_value(json).unwrap()
}

fn found(
    base: serde_json::Value,
    set: serde_json::Value,
    theirs: serde_json::Value,
    named: &[&str],
) -> Vec<FieldConflict> {
    let rules = Named::from([("tags".to_owned(), Rule::Union)]);
    let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
    let theirs = fields(theirs);
    conflicts(&fields(base), &fields(set), &|field| theirs.get(field).cloned().unwrap_or_default(), &named, &rules)
}

#[test]
fn only_fields_that_both_sides_moved_apart_are_in_conflict() {
    let base = json!({"name": "a", "city": "a", "tags": [], "zip": "a"});
    let set = json!({"name": "b", "city": "b", "tags": ["b"], "zip": "b"});
    let found = found(base, set, json!({"name": "c", "city": "a", "tags": ["c"], "zip": "b"}), &[]);
    let told: Vec<_> = found.iter().map(|field| (field.field.as_str(), field.rule, field.merged.clone())).collect();
    assert_eq!(told, [("name", Rule::Person, None), ("tags", Rule::Union, Some(value(json!(["c", "b"]))))]);
}

#[test]
fn a_field_that_the_server_does_not_name_is_in_no_conflict() {
    let found = found(json!({"a": 1, "b": 1}), json!({"a": 2, "b": 2}), json!({"a": 3, "b": "1.0"}), &["a"]);
    assert_eq!(found.len(), 1);
}

#[test]
fn a_field_that_was_only_watched_is_for_a_person() {
    let found = found(json!({"a": 1, "tags": []}), json!({"a": 2}), json!({"a": 1, "tags": ["x"]}), &["tags"]);
    assert_eq!((found[0].field.as_str(), found[0].rule, &found[0].merged), ("tags", Rule::Person, &None));
    assert_eq!(found[0].ours, found[0].base);
}

#[test]
fn a_merge_is_suggested_to_whoever_decides_by_the_kind_of_the_values() {
    for (base, ours, theirs, suggested) in [
        (
            json!({"a": 1, "l": [1]}),
            json!({"a": 2, "l": [1, 2]}),
            json!({"a": 3, "l": [3, 1]}),
            json!({"a": 2, "l": [1, 3, 2]}),
        ),
        (json!("2026-01-01"), json!("2026-01-02"), json!("2026-01-03"), json!("2026-01-03")),
        (json!("new"), json!("won"), json!("lost"), json!("won")),
        (json!("new"), json!(null), json!("lost"), json!("lost")),
        (json!(1), json!(2), json!(3), json!(2)),
    ] {
        assert_eq!(suggest(&value(base), &value(ours), &value(theirs)), value(suggested));
    }
}

#[test]
fn the_merge_holds_what_was_decided_and_of_the_rest_what_this_person_alone_changed() {
    let (base, set) = (
        json!({"agreed": 1, "mine": 1, "untouched": 1, "both": 1, "person": 1}),
        json!({"agreed": 2, "mine": 2, "untouched": 1, "both": 2, "person": 2}),
    );
    let server = fields(json!({"agreed": 2, "mine": 1, "untouched": 3, "both": 3, "person": 3}));
    let theirs = |field: &str| server.get(field).cloned().unwrap_or_default();
    let (base, set) = (fields(base), fields(set));
    let rules = Named::from([("both".to_owned(), Rule::Max)]);
    let found = conflicts(&base, &set, &theirs, &[], &rules);
    let suggested = merged((&base, &set), &theirs, &found, &FieldConflict::suggestion);
    assert_eq!(suggested, fields(json!({"agreed": 2, "mine": 2, "untouched": 3, "both": 3, "person": 2})));
}

#[test]
fn what_is_sent_after_a_merge_is_what_the_server_does_not_have_over_what_it_has() {
    let server = fields(json!({"same": 1, "instant": "2026-11-01T10:00:00+00:00", "other": 1}));
    let theirs = |field: &str| server.get(field).cloned().unwrap_or_default();
    let wanted = fields(json!({"same": 1, "instant": "2026-11-01T10:00:00Z", "other": 2, "new": 3}));
    let sent = (fields(json!({"other": 2, "new": 3})), fields(json!({"other": 1, "new": null})));
    assert_eq!(differing(wanted, &theirs), sent);
}

#[test]
fn a_merge_to_nothing_is_not_the_same_as_none() {
    let conflict = |merged: serde_json::Value| -> FieldConflict {
        let mut sides = json!({"field": "a", "base": 1, "ours": null, "theirs": 3, "rule": "ours"});
        sides.as_object_mut().unwrap().extend(merged.as_object().unwrap().clone());
        let read: FieldConflict = serde_json::from_value(sides.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), sides);
        read
    };
    assert_eq!(conflict(json!({"merged": null})).suggestion(), Value::Null);
    assert_eq!(conflict(json!({"merged": 7})).suggestion(), value(json!(7)));
    assert_eq!(conflict(json!({})).suggestion(), value(json!(3)));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-6_i32..6).prop_map(|n| Value::Number(f64::from(n) / 2.0)),
        "[ab]{0,2}".prop_map(Value::String),
        (1_u32..4, 0_u32..3).prop_map(|(day, hour)| Value::String(format!("2026-11-0{day}T0{hour}:00:00+0{hour}:00"))),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            btree_map("[abc]", inner, 0..4).prop_map(|members| Value::Map(members.into_iter().collect())),
        ]
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    proptest::sample::select(&Rule::ALL[..])
}

/// Numbers with up to two digits after the point.
fn amount() -> impl Strategy<Value = Value> {
    (-1_000_000_i32..1_000_000).prop_map(|cents| Value::Number(f64::from(cents) / 100.0))
}

fn has(list: Option<&Value>, item: &Value) -> bool {
    matches!(list, Some(Value::List(items)) if items.contains(item))
}

proptest! {
    #[test]
    fn what_both_sides_agree_on_stays(rule in any_rule(), base in any_value(), both in any_value()) {
        prop_assume!(rule != Rule::Sum);
        prop_assert_eq!(rule.merge(&base, &both, &both), Some(both));
    }

    #[test]
    fn what_one_side_alone_changed_is_taken(rule in any_rule(), base in any_value(), changed in any_value()) {
        let ours = rule.merge(&base, &changed, &base).unwrap();
        let theirs = rule.merge(&base, &base, &changed).unwrap();
        prop_assert!(same(&ours, &changed) && same(&theirs, &changed));
    }

    #[test]
    fn merging_again_changes_nothing(rule in any_rule(), base in any_value(), ours in any_value(), theirs in any_value()) {
        if let Some(merged) = rule.merge(&base, &ours, &theirs) {
            // The merge is what is wanted now, and the server has not moved since.
            prop_assert_eq!(rule.merge(&theirs, &merged, &theirs).map(|again| same(&again, &merged)), Some(true));
            if rule != Rule::Sum {
                prop_assert_eq!(rule.merge(&base, &merged, &merged), Some(merged));
            }
        }
    }

    #[test]
    fn who_is_ours_makes_no_difference_where_the_rule_says_so(base in any_value(), ours in any_value(), theirs in any_value()) {
        for rule in [Rule::Latest, Rule::Max, Rule::Min, Rule::Recursive] {
            let (one, other) = (rule.merge(&base, &ours, &theirs), rule.merge(&base, &theirs, &ours));
            let equal = match (&one, &other) {
                (Some(one), Some(other)) => same(one, other),
                (one, other) => one.is_none() && other.is_none(),
            };
            prop_assert!(equal, "{}: {:?} {:?}", rule.name(), one, other);
        }
    }

    #[test]
    fn sums_are_the_same_either_way_and_cents_stay_cents(base in amount(), ours in amount(), theirs in amount()) {
        let sum = Rule::Sum.merge(&base, &ours, &theirs);
        prop_assert_eq!(&sum, &Rule::Sum.merge(&base, &theirs, &ours));
        let Some(Value::Number(sum)) = sum else { panic!("a sum of cents is always exact") };
        prop_assert!(((sum * 100.0).round() / 100.0 - sum).abs() == 0.0);
    }

    #[test]
    fn a_union_holds_the_same_items_either_way_and_each_once(
        base in vec(0_u8..8, 0..6), ours in vec(0_u8..8, 0..6), theirs in vec(0_u8..8, 0..6)
    ) {
        let list = |items: &[u8]| Value::List(items.iter().map(|n| Value::Number(f64::from(*n))).collect());
        let (base_list, ours_list, theirs_list) = (list(&base), list(&ours), list(&theirs));
        prop_assume!(Rule::Union.is_conflict(&base_list, &ours_list, &theirs_list));
        let one = Rule::Union.merge(&base_list, &ours_list, &theirs_list);
        let other = Rule::Union.merge(&base_list, &theirs_list, &ours_list);
        for n in 0..8 {
            let item = Value::Number(f64::from(n));
            let expected = if base.contains(&n) { ours.contains(&n) && theirs.contains(&n) } else { ours.contains(&n) || theirs.contains(&n) };
            prop_assert_eq!(has(one.as_ref(), &item), expected);
            prop_assert_eq!(has(other.as_ref(), &item), expected);
        }
        let Some(Value::List(items)) = one else { panic!("lists can be united") };
        prop_assert!(items.iter().enumerate().all(|(at, item)| !items[..at].contains(item)));
    }

    #[test]
    fn disjoint_fields_merge_to_both(base in btree_map("[a-d]", any_value(), 4), ours in any_value(), theirs in any_value()) {
        let base: Fields = base.into_iter().collect();
        let set = Fields::from([("a".to_owned(), ours)]);
        let mut server = base.clone();
        server.insert("b".to_owned(), theirs);
        let seen = Fields::from([("a".to_owned(), base["a"].clone())]);
        let found = conflicts(&seen, &set, &|field| server.get(field).cloned().unwrap_or_default(), &[], &Named::new());
        prop_assert_eq!(found, vec![]);
    }
}
