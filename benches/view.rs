//! What one change costs a live sorted list, and a hundred of them, among so many records.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

mod support;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use rota_engine::{Input, ViewSpec};
use serde_json::json;
use support::{Bench, SIZES};

fn top_50(person: Option<u32>) -> ViewSpec {
    let sort = json!([{"field": "score", "descending": true}]);
    let spec = match person {
        None => json!({"table": "companies", "sort": sort, "limit": 50}),
        Some(person) => json!({"table": "companies", "sort": sort, "limit": 50,
            "filter": {"eq": {"field": "owner_id", "value": format!("person-{person}")}},
            "figures": [{"name": "sum", "kind": "sum", "field": "score"}]}),
    };
    serde_json::from_value(spec).unwrap()
}

fn view(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("view");
    for size in SIZES {
        let mut bench = Bench::with_records(size);
        bench.tell(Input::OpenView { id: 0, spec: top_50(None) });
        let bench = std::cell::RefCell::new(bench);
        let setup = || {
            let mut bench = bench.borrow_mut();
            let n = bench.draw(size);
            bench.row(n)
        };
        group.bench_function(BenchmarkId::new("one change in a live top 50", size), |bencher| {
            bencher.iter_batched(setup, |row| bench.borrow_mut().change(row), BatchSize::SmallInput);
        });
        bench.borrow_mut().tell(Input::CloseView { id: 0 });
        for person in 0..100 {
            bench.borrow_mut().tell(Input::OpenView { id: person, spec: top_50(Some(person)) });
        }
        group.bench_function(BenchmarkId::new("one change beside 100 filtered views with a sum", size), |bencher| {
            bencher.iter_batched(setup, |row| bench.borrow_mut().change(row), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, view);
criterion_main!(benches);
