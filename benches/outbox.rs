//! What one more operation costs beside so many that wait.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

mod support;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use rota_engine::{Failure, Input};
use support::{Bench, SIZES};

/// How many wait: 10,000 is the bound.
const WAITING: [u64; 4] = [10, 100, 1_000, 9_000];

fn outbox(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outbox");
    // Among so many records, with a hundred waiting.
    for size in SIZES {
        measure(&mut group, "accept and confirm, 100 waiting, records", size, size, 100);
    }
    for waiting in WAITING {
        measure(&mut group, "accept and confirm, 20,000 records, waiting", waiting, 20_000, waiting);
    }
    for waiting in WAITING {
        let mut bench = Bench::with_records(1);
        for _ in 0..waiting {
            bench.tell(Input::Mutate(Bench::insert()));
        }
        group.bench_function(BenchmarkId::new("insert without a key and confirm, waiting", waiting), |bencher| {
            bencher.iter(|| {
                let id = bench.tell(Input::Mutate(Bench::insert())).unwrap();
                let answer = bench.given(id);
                bench.tell(Input::Answered { answer });
            });
        });
    }
    for waiting in WAITING {
        let mut bench = Bench::with_records(waiting);
        for n in 0..waiting {
            bench.tell(Input::Mutate(Bench::command(n, "waits")));
        }
        // Whatever is sent backs off, so the next ones are sent, until all do.
        while let Some(id) = bench.pushed.pop() {
            let (failure, message, after_ms) = (Failure::Server, String::new(), Some(500_000));
            bench.tell(Input::PushFailed { id, failure, message, after_ms });
        }
        group.bench_function(BenchmarkId::new("an input that changes nothing, backing off", waiting), |bencher| {
            bencher.iter(|| bench.tell(Input::Ponged { attempt: 9 }));
        });
    }
    group.finish();
}

fn measure(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    what: &str,
    parameter: u64,
    records: u64,
    waiting: u64,
) {
    let mut bench = Bench::with_records(records);
    for n in 0..waiting {
        bench.tell(Input::Mutate(Bench::command(n, "waits")));
    }
    let bench = std::cell::RefCell::new(bench);
    group.bench_function(BenchmarkId::new(what, parameter), |bencher| {
        let draw = || {
            let mut bench = bench.borrow_mut();
            waiting + bench.draw(records - waiting)
        };
        let change = |n: u64| {
            let mut bench = bench.borrow_mut();
            let id = bench.tell(Input::Mutate(Bench::command(n, "changed"))).unwrap();
            let answer = bench.confirmation(id, n);
            bench.tell(Input::Answered { answer });
        };
        bencher.iter_batched(draw, change, BatchSize::SmallInput);
    });
}

criterion_group!(benches, outbox);
criterion_main!(benches);
