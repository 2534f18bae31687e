//! How long an instance lives: reuse, its end by use, and starts from a snapshot.

use std::fs;

use tonic::Code;

use crate::harness::{Server, Setup, pixels, repository};

/// What the guest `counter` answers to so many calls in a row.
async fn counts(server: &Server, calls: usize) -> Vec<String> {
    let caller = server.caller().await;
    let mut counts = Vec::new();
    for _ in 0..calls {
        counts.push(caller.text("counter", "text", "").await.unwrap().to_string());
    }
    counts
}

#[tokio::test]
async fn an_instance_serves_call_after_call() {
    let server = start!(Setup::new().guest("counter").workers(1));
    assert_eq!(counts(&server, 3).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn never_reused_is_fresh_for_every_call() {
    let asks =
        Setup::new().guest("counter").workers(1).file("counter/model.toml", "reuse = 'never'");
    assert_eq!(counts(&start!(asks), 3).await, ["1", "1", "1"]);
}

#[tokio::test]
async fn the_operator_has_the_last_word_on_reuse() {
    let setup = Setup::new()
        .guest("counter")
        .workers(1)
        .file("counter/model.toml", "reuse = 'never'")
        .config("[model.counter]\nreuse = 'serial'");
    assert_eq!(counts(&start!(setup), 2).await, ["1", "2"]);
}

#[tokio::test]
async fn an_instance_that_is_worn_out_is_replaced() {
    let setup = Setup::new().guest("counter").workers(1).config("[limits]\nmax_uses = 2");
    assert_eq!(counts(&start!(setup), 5).await, ["1", "2", "1", "2", "1"]);
}

#[tokio::test]
async fn an_instance_that_keeps_too_much_is_replaced() {
    // Any component has more than a page of memory.
    let setup =
        Setup::new().guest("counter").workers(1).config("[limits]\nmax_retained = '64 KiB'");
    assert_eq!(counts(&start!(setup), 2).await, ["1", "1"]);
}

/// The token's id, and the calls that this instance has answered.
async fn look_up(server: &Server, token: &str) -> String {
    server.caller().await.text("vocabulary", token, "").await.unwrap().to_string()
}

/// One answer each of two servers that share a cache: the second takes the snapshot from it.
#[tokio::test]
async fn a_snapshot_starts_where_init_ended() {
    let cache = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let setup = Setup::new()
            .guest("vocabulary")
            .workers(1)
            .cache(&cache.path().join("tms"))
            .file("vocabulary/model.toml", "snapshot = true\nreuse = 'never'");
        let server = start!(setup);
        assert_eq!(look_up(&server, "hello").await, "[7592,1]");
        assert_eq!(look_up(&server, "hello").await, "[7592,1]", "the next starts there too");
        assert_eq!(look_up(&server, "no such token").await, "[null,1]");
    }
}

#[tokio::test]
async fn a_snapshot_of_a_model_with_a_graph_computes() {
    let name = "efficientnet_lite0";
    let setup = Setup::new().example(name).file(&format!("{name}/model.toml"), "snapshot = true");
    let server = start!(setup);
    let answer = server.caller().await.image(name, pixels(224, 224, 3)).await.unwrap();
    let best: Vec<(String, f32)> = serde_json::from_str(&answer.data).unwrap();
    assert_eq!(best.len(), 5);
}

#[tokio::test]
async fn a_snapshot_is_taken_anew_where_a_graphs_weights_changed() {
    let cache = tempfile::tempdir().unwrap();
    let graphs = repository().join("tests/data/graphs");
    let graph = fs::read(graphs.join("external_weights.onnx")).unwrap();
    let mut kept = Vec::new();
    // The same weights twice, then others: they lie in a file of their own.
    for weights in [[1; 8], [1; 8], [2; 8]] {
        let setup = Setup::new()
            .guest("vocabulary")
            .cache(&cache.path().join("tms"))
            .file("vocabulary/model.onnx", &graph)
            .file("vocabulary/kept_here", weights)
            .file("vocabulary/model.toml", "snapshot = true");
        let server = start!(setup);
        assert_eq!(look_up(&server, "hello").await, "[7592,1]");
        kept.push(fs::read_dir(cache.path().join("tms")).unwrap().count());
    }
    assert_eq!((kept[1], kept[2]), (kept[0], kept[0] + 1));
}

#[tokio::test]
async fn an_init_that_keeps_handles_is_not_snapshotted() {
    let setup = Setup::new().guest("echo").guest("hoarder");
    let server = start!(setup.file("hoarder/model.toml", "snapshot = true"));
    server.logged("it cannot be snapshotted: its init holds handles").await;
    let answer = server.caller().await.text("hoarder", "text", "").await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    assert!(server.caller().await.text("echo", "text", "").await.is_ok());
    // Without a snapshot it may.
    let server = start!(Setup::new().guest("hoarder"));
    assert_eq!(server.caller().await.text("hoarder", "text", "").await.unwrap(), 3);
}

#[tokio::test]
async fn a_snapshot_that_is_too_large_is_refused() {
    // Its words take 6 MB.
    let limits = "[model.vocabulary.limits]\nmemory = '16 MiB'";
    let setup = Setup::new()
        .guest("echo")
        .guest("vocabulary")
        .file("vocabulary/model.toml", "snapshot = true")
        .config(limits);
    let server = start!(setup);
    server.logged("of which a snapshot takes at most 4194304, a quarter of its limit").await;
    let answer = server.caller().await.text("vocabulary", "hello", "").await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    // Without a snapshot it may have them.
    let server = start!(Setup::new().guest("vocabulary").config(limits));
    assert_eq!(look_up(&server, "hello").await, "[7592,1]");
}
