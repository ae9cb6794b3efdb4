//! How many ConfigMaps of 1 KiB a second the pipeline makes, in process, and how long each takes.
//!
//! `cargo run -p apiserver --example create_rate -- [CLIENTS] [SECONDS] [memory|sqlite|stages]`. `stages`
//! times the parts of one creation instead. Nothing here goes over the network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::{Api, Config, bootstrap, kinds};
use client::Client;
use client::transport::{Body, Target, Verb};
use jiff::Timestamp;
use model::clock::Clock;
use model::resource::GroupVersionResource;
use serde_json::{Value, json};
use store::{MemoryStore, Options, SqliteStore, Store};

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "a measuring program is its own composition root")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn map(client: usize, number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("m-{client}-{number}"), "namespace": "default"},
        "data": {"value": "x".repeat(1024)},
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize, usual| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (clients, seconds) = (number(0, 64), number(1, 3));
    let engine = arguments.get(2).map_or("memory", String::as_str);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if engine == "stages" {
        return stages();
    }
    let directory = tempfile::tempdir_in(".").expect("a directory to write to");
    let clock = Arc::new(SystemClock);
    let _guard = runtime.enter();
    let store: Arc<dyn Store> = if engine == "sqlite" {
        Arc::new(SqliteStore::open(directory.path(), Options::new(clock.clone())).expect("opens"))
    } else {
        Arc::new(MemoryStore::new(clock.clone()))
    };
    let api = Api::new(store.clone(), kinds::all(), clock, [7; 32], Config::default());
    runtime.block_on(bootstrap::ensure(&api, [127, 0, 0, 1].into(), 6443)).expect("bootstraps");
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let tasks: Vec<_> =
        (0..clients).map(|number| runtime.spawn(create_until(end, Arc::clone(&api), number))).collect();
    let mut times: Vec<Duration> = Vec::new();
    for task in tasks {
        times.extend(runtime.block_on(task).expect("a client ends"));
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    println!(
        "{engine}, {clients} clients: {} creations/s, p50 {} µs, p99 {} µs, most {} µs",
        times.len() / seconds,
        at(50),
        at(99),
        at(100),
    );
    runtime.block_on(store.close());
}

async fn create_until(end: Instant, api: Arc<Api>, number: usize) -> Vec<Duration> {
    let client = Client::new(api.transport(), "create-rate");
    let mut times = Vec::new();
    for count in 0.. {
        let begin = Instant::now();
        if begin >= end {
            break;
        }
        let target = Target {
            resource: GroupVersionResource::constant("", "v1", "configmaps"),
            namespace: "default".to_owned(),
            name: String::new(),
            subresource: "",
        };
        client.call(Verb::Create, target, Body::Object(map(number, count))).await.expect("creates");
        times.push(begin.elapsed());
        // In memory nothing ever waits, and a client alone would keep its thread.
        tokio::task::yield_now().await;
    }
    times
}

fn stages() {
    const ROUNDS: u32 = 20_000;
    let kind =
        kinds::all().into_iter().find(|kind| kind.definition.ends_with("v1.ConfigMap")).expect("is there");
    let bytes = map(0, 0).to_string();
    let object = map(0, 0);
    let time = |name: &str, mut stage: Box<dyn FnMut() + '_>| {
        let begin = Instant::now();
        (0..ROUNDS).for_each(|_| stage());
        println!("{name:<20} {:>8.1} µs", begin.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    };
    let decode = || {
        std::hint::black_box(model::body::decode(None, bytes.as_bytes(), true).expect("decodes"));
    };
    let clone = || {
        std::hint::black_box(object.clone());
    };
    let check = || {
        let mut object = object.clone();
        std::hint::black_box(model::schema::definitions().check(kind.definition, &mut object));
    };
    let default = || {
        let mut object = object.clone();
        kind.strategy.default(&mut object);
        std::hint::black_box(kind.strategy.validate_create(&object));
    };
    let encode = || {
        std::hint::black_box(serde_json::to_vec(&object).expect("encodes"));
    };
    time("decode the body", Box::new(decode));
    time("clone the tree", Box::new(clone));
    time("check the schema", Box::new(check));
    time("default, validate", Box::new(default));
    time("encode", Box::new(encode));
}
