//! The server's memory: what models, workers and callers take together stays below `--memory`, seen from
//! outside; what has no room is refused, and nobody else pays for it.

use std::{fs, sync::Arc};

use tonic::Code;

use crate::{
    harness::{Caller, Server, Setup, client::Answer, image, metrics::metric, until},
    hostile::world::{Core, assemble},
};

/// A figure of a process's status, in bytes.
fn status(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The most memory that the server has ever had.
fn peak(server: &Server) -> u64 {
    status(server, "VmHWM")
}

/// A model that takes some MiB and works with them for a while. What it cannot get is a reason to trap.
fn taking(mebibytes: u32) -> Core {
    let pages = mebibytes * 16;
    let bytes = mebibytes << 20;
    Core {
        run: format!(
            "(local $i i32)
             (if (i32.lt_u (memory.size) (i32.const {pages}))
               (then (if (i32.lt_s (memory.grow (i32.const {pages})) (i32.const 0))
                 (then unreachable))))
             (memory.fill (i32.const 65536) (i32.const 7) (i32.const {bytes}))
             (loop $work
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br_if $work (i32.lt_u (local.get $i) (i32.const 20000000))))
             i32.const 0"
        ),
        ..Core::default()
    }
}

fn with(setup: Setup, name: &str, core: &Core) -> Setup {
    setup.file(&format!("{name}/model.wasm"), assemble(&core.text()))
}

/// Calls of each model, one after the other.
async fn calls(caller: Arc<Caller>, model: &str, count: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..count {
        answers.push(caller.text(model, "", "").await);
    }
    answers
}

#[tokio::test]
async fn models_stay_within_the_servers_memory_together() {
    const MEMORY: u64 = 512 << 20;
    let setup = with(Setup::new(), "one", &taking(100));
    let setup = with(setup, "two", &taking(100));
    let setup = with(setup, "modest", &taking(4));
    let server = start!(setup.workers(2).metrics().config("memory = '512 MiB'"));
    let mut greedy = Vec::new();
    for number in 0..32 {
        let caller = Arc::new(server.caller().await);
        let model = ["one", "two"][number % 2];
        greedy.push(tokio::spawn(calls(caller, model, 6)));
    }
    let modest = calls(Arc::new(server.caller().await), "modest", 30).await;
    let mut answered = 0;
    for calls in greedy {
        for answer in calls.await.unwrap() {
            match answer {
                Ok(_) => answered += 1,
                Err(refused) => {
                    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
                    assert!(refused.message().contains("memory is taken"), "{refused}");
                }
            }
        }
    }
    assert!(answered > 0, "nobody was answered");
    assert!(answered < 32 * 6, "there was room for all: this shows nothing");
    let failed: Vec<_> = modest.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "one that takes little is among those refused: {failed:?}");
    assert!(peak(&server) < MEMORY, "{} MiB", peak(&server) >> 20);
    assert!(metric(&server, "tms_calls_total", &["outcome=\"no_room\"", "model=\"one\""]) > 0.0);
    assert!(metric(&server, "tms_memory_refused_total", &["account=\"guests\""]) > 0.0);
    assert_eq!(metric(&server, "tms_breaker_opened_total", &["model=\"one\""]), 0.0);
    // Once in a while, and not for each call.
    let log = server.logged("memory is short").await;
    assert!(!log.contains("trapped"), "{log}");
    // Nothing is left of it, and all are served.
    let caller = server.caller().await;
    for model in ["one", "two", "modest"] {
        caller.text(model, "", "").await.unwrap();
    }
}

#[tokio::test]
async fn idle_instances_make_room_before_anything_is_refused() {
    // Two thirds of what there is, which an instance keeps for its next call.
    let setup = with(Setup::new(), "one", &taking(100));
    let setup = with(setup, "two", &taking(100)).guest("echo");
    let server = start!(setup.workers(1).config("memory = '256 MiB'"));
    let caller = server.caller().await;
    for _ in 0..3 {
        for model in ["one", "two"] {
            caller.text(model, "", "").await.unwrap();
        }
        // A large message, too, and its reply.
        let text = "x".repeat(8 << 20);
        assert!(caller.text("echo", &text, "").await.unwrap() == text.as_str());
    }
    assert!(peak(&server) < 256 << 20, "{} MiB", peak(&server) >> 20);
}

#[tokio::test]
async fn growth_that_has_no_room_fails_its_call() {
    // The first call is let in with what the instance starts with.
    let server = start!(
        with(Setup::new(), "large", &taking(300))
            .workers(1)
            .config("memory = '256 MiB'\n[limits]\nmax_failures = 1")
    );
    let caller = server.caller().await;
    for _ in 0..3 {
        let refused = caller.text("large", "", "").await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    }
    assert!(!server.log().contains("trapped"), "{}", server.log());
    assert!(peak(&server) < 256 << 20, "{} MiB", peak(&server) >> 20);
}

#[tokio::test]
async fn growths_that_fail_cost_nothing() {
    let fails = "(drop (memory.grow $small (i32.const 1600)))".repeat(7);
    let core = Core {
        fields: "(memory $small 1 2) (table $t 1 2 funcref)".into(),
        run: format!(
            "{fails} (drop (table.grow $t (ref.null func) (i32.const 90000))) i32.const 0"
        ),
        ..Core::default()
    };
    let server = start!(with(Setup::new(), "growing", &core).workers(1).metrics());
    let caller = server.caller().await;
    for _ in 0..10 {
        caller.text("growing", "", "").await.unwrap();
    }
    let of = ["model=\"growing\""];
    assert_eq!(metric(&server, "tms_instances_discarded_total", &of), 0.0);
    assert!(metric(&server, "tms_memory_bytes", &["account=\"guests\""]) < 1e6);
}

#[tokio::test]
async fn tables_count_as_memory() {
    let tables = |count: usize| {
        let one = |number| {
            format!(
                "(if (i32.lt_s (table.grow $t{number} (ref.null func) (i32.const 90000)) \
                   (i32.const 0)) (then unreachable))"
            )
        };
        Core {
            fields: (0..count).map(|number| format!("(table $t{number} 1 funcref)")).collect(),
            run: (0..count).map(one).collect::<String>() + "i32.const 0",
            ..Core::default()
        }
    };
    let setup = with(Setup::new(), "few", &tables(3));
    let setup = with(setup, "many", &tables(8));
    let server = start!(setup.config("[limits]\nmemory = '8 MiB'"));
    let caller = server.caller().await;
    caller.text("few", "", "").await.unwrap();
    let refused = caller.text("many", "", "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal, "{refused}");
}

#[tokio::test]
async fn what_messages_took_goes_back_to_the_system() {
    let server = start!(Setup::new().example("example_image").workers(2).metrics());
    let caller = server.caller().await;
    let small = || image(8, 8, 3, "uint8", vec![1; 8 * 8 * 3]);
    caller.image("example_image", small()).await.unwrap();
    let before = status(&server, "RssAnon");
    let large = || image(2000, 4000, 3, "uint8", vec![1; 2000 * 4000 * 3]);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let channel = caller.server();
            let request = tms::grpc::proto::server::ImageArgs {
                image: Some(large()),
                model: "example_image".into(),
                args: String::new(),
                ..Default::default()
            };
            let mut channel = channel.max_encoding_message_size(1 << 30);
            tokio::spawn(async move { channel.run_image(request).await })
        })
        .collect();
    for call in callers {
        call.await.unwrap().unwrap();
    }
    assert!(peak(&server) > before + (48 << 20), "the messages took little: this shows nothing");
    until("the memory back", async || status(&server, "RssAnon") < before + (24 << 20)).await;
    assert!(metric(&server, "tms_memory_bytes", &[]) < 8e6);
}
