//! What a person's change costs among so many records: shown at once, sent, confirmed.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

mod support;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use rota_engine::Input;
use support::{Bench, SIZES};

fn overlay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("overlay");
    for size in SIZES {
        let bench = std::cell::RefCell::new(Bench::with_records(size));
        group.bench_function(BenchmarkId::new("change and confirmation", size), |bencher| {
            let draw = || bench.borrow_mut().draw(size);
            let change = |n: u64| {
                let mut bench = bench.borrow_mut();
                let id = bench.tell(Input::Mutate(Bench::command(n, "changed"))).unwrap();
                let answer = bench.confirmation(id, n);
                bench.tell(Input::Answered { answer });
            };
            bencher.iter_batched(draw, change, BatchSize::SmallInput);
        });
    }
    // How deep one record's pile of pending changes may be before an event for it gets slow.
    for depth in [1, 10, 100] {
        let mut bench = Bench::with_records(1_000);
        bench.tell(Input::LinkClosed { attempt: 1, failure: rota_engine::Failure::Network, message: String::new() });
        for turn in 0..depth {
            // Named operations are never joined into one.
            let command = serde_json::json!({"name": "assign", "table": "companies", "key": "1",
                "args": {"to": format!("person-{turn}")}});
            bench.tell(Input::Mutate(serde_json::from_value(command).unwrap()));
        }
        let bench = std::cell::RefCell::new(bench);
        group.bench_function(BenchmarkId::new("an event under so many pending", depth), |bencher| {
            let setup = || bench.borrow_mut().row(1);
            bencher.iter_batched(setup, |row| bench.borrow_mut().change(row), BatchSize::SmallInput);
        });
    }
    group.finish();
}

criterion_group!(benches, overlay);
criterion_main!(benches);
