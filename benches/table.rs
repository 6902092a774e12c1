//! What one event of the stream costs among so many records, and what a pull of a hundred does.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

mod support;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use rota_engine::{Input, ServerEvent};
use support::{Bench, SIZES};

fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    for size in SIZES {
        let bench = std::cell::RefCell::new(Bench::with_records(size));
        let setup = || {
            let mut bench = bench.borrow_mut();
            let n = bench.draw(size);
            bench.row(n)
        };
        group.bench_function(BenchmarkId::new("one event", size), |bencher| {
            bencher.iter_batched(setup, |row| bench.borrow_mut().change(row), BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("one event of an older version", size), |bencher| {
            let stale = || {
                let mut row = setup();
                row.version = rota_engine::Version::Integer(0);
                row
            };
            bencher.iter_batched(stale, |row| bench.borrow_mut().change(row), BatchSize::SmallInput);
        });
        let hundred =
            || -> Vec<_> { (0..100).map(|_| ServerEvent::Changed { row: setup(), partial: false }).collect() };
        group.bench_function(BenchmarkId::new("a hundred events at once", size), |bencher| {
            bencher.iter_batched(
                hundred,
                |events| bench.borrow_mut().tell(Input::ServerChanged { events }),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, table);
criterion_main!(benches);
