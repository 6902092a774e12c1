use std::cmp::Ordering;
use std::rc::Rc;

use proptest::prelude::*;
use serde_json::json;

use super::order::{Order, compare};
use super::*;
use crate::engine::record::{JsonRecord, Record};
use crate::engine::value::{Fields, Value};

fn views() -> (Views, Vec<TableConfig>) {
    let table = |name: &str| {
        let mut config = TableConfig::new(name.to_owned(), vec!["id".into()], vec!["id".into(), "name".into()]);
        config.indexed = vec!["name".into()];
        config
    };
    let configs = vec![table("jobs"), table("people")];
    (Views::new(configs.iter()), configs)
}

fn spec(table: &str) -> ViewSpec {
    serde_json::from_value(serde_json::json!({"table": table})).unwrap()
}

#[test]
fn a_table_is_followed_as_long_as_one_view_of_it_is_open() {
    let (mut views, configs) = views();
    for (id, table) in [(1, 0), (2, 0), (3, 0), (4, 1)] {
        views.open(id, &spec(&configs[table].name), table, &configs[table]).unwrap();
    }
    for table in [0, 1] {
        views.fill(table, vec![]);
    }
    for id in [1, 2] {
        views.close(id).unwrap();
        assert!(views.follows(0) && views.follows(1));
    }
    views.close(3).unwrap();
    assert!(!views.follows(0) && views.follows(1));
    assert_eq!(views.close(3), Err(Error::UnknownView { id: 3 }));
    views.close(4).unwrap();
    assert!(!views.follows(1));
    // What was forgotten is asked for again.
    views.open(1, &spec("jobs"), 0, &configs[0]).unwrap();
    assert_eq!(views.tables_to_fill(), [(0, false)]);
}

#[test]
fn a_view_that_is_closed_before_it_is_filled_waits_for_nothing() {
    let (mut views, configs) = views();
    views.open(1, &spec("jobs"), 0, &configs[0]).unwrap();
    assert!(views.has_new());
    views.close(1).unwrap();
    assert!(!views.has_new() && views.tables_to_fill().is_empty());
    views.open(2, &spec("jobs"), 0, &configs[0]).unwrap();
    views.fill(0, vec![]);
    assert!(!views.has_new());
    views.close(2).unwrap();
    assert!(!views.has_new());
}

#[test]
fn a_view_has_so_many_sort_keys_figures_and_group_fields_and_no_more() {
    let spec = |keys: usize, figures: usize, groups: usize| -> ViewSpec {
        let keys: Vec<_> = (0..keys).map(|_| json!({"field": "name"})).collect();
        let figures: Vec<_> = (0..figures).map(|n| json!({"name": n.to_string(), "kind": "count"})).collect();
        let groups = vec!["name"; groups];
        serde_json::from_value(json!({"table": "jobs", "sort": keys, "figures": figures, "groupBy": groups})).unwrap()
    };
    assert_eq!(spec(SORT_LEN_MAX, FIGURES_LEN_MAX, GROUP_FIELDS_MAX).validate(), Ok(()));
    for (keys, figures, groups) in [(SORT_LEN_MAX + 1, 0, 0), (0, FIGURES_LEN_MAX + 1, 0), (0, 0, GROUP_FIELDS_MAX + 1)]
    {
        assert!(matches!(spec(keys, figures, groups).validate(), Err(Error::InvalidView(_))));
    }
}

fn value(json: serde_json::Value) -> Value {
    serde_json::from_value(json).unwrap()
}

#[test]
fn values_of_every_kind_have_one_order() {
    let ascending = [
        json!(false),
        json!(true),
        json!(-2),
        json!(0),
        json!(1.5),
        json!(""),
        json!("a"),
        json!("ab"),
        json!("\u{ffff}"),
        json!("\u{10000}"),
        json!([]),
        json!([1]),
        json!([1, 1]),
        json!([2]),
        json!({}),
        json!({"a": 1}),
        json!({"a": 1, "b": 1}),
        json!({"a": 2}),
        json!({"b": 0}),
        json!(null),
    ];
    for (at, one) in ascending.iter().enumerate() {
        for (other_at, other) in ascending.iter().enumerate() {
            assert_eq!(compare(&value(one.clone()), &value(other.clone())), at.cmp(&other_at), "{one} and {other}");
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Number(-0.0)),
        (-3_i32..3).prop_map(|n| Value::Number(f64::from(n) / 2.0)),
        any::<i32>().prop_map(|n| Value::Number(f64::from(n))),
        "[a\u{e9}\u{10000}]{0,9}".prop_map(Value::String),
        Just(Value::List(vec![])),
    ]
}

proptest! {
    #[test]
    fn the_hint_never_contradicts_the_order(one in any_value(), other in any_value(), descending in any::<bool>()) {
        let order = Order::new(vec![(0, descending)]);
        let row = |key: &str, value: Value| {
            let record = JsonRecord::create(&Fields::from([("a".to_owned(), value)]));
            Indexed::of(0, &Rc::from(key), &["a".to_owned()], &record)
        };
        let (one, other) = (row("1", one), row("2", other));
        match order.compare(&one, &other) {
            Ordering::Less => prop_assert!(order.hint(&one) <= order.hint(&other)),
            Ordering::Greater => prop_assert!(order.hint(&one) >= order.hint(&other)),
            Ordering::Equal => prop_assert!(false, "two records are never equal"),
        }
    }
}
