use super::*;

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
