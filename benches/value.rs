//! What it costs to read an object of so many members, in the order that is worst for a sorted list.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rota_engine::Value;

fn value(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("value");
    for count in [1_000, 10_000, 100_000] {
        let members: Vec<String> = (0..count).rev().map(|n| format!("\"k{n:07}\":1")).collect();
        let text = ["{", &members.join(","), "}"].concat();
        group.bench_function(BenchmarkId::new("an object in descending order", count), |bencher| {
            bencher.iter(|| serde_json::from_str::<Value>(&text).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, value);
criterion_main!(benches);
