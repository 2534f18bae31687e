//! Has a graph that is none: stopped by not being served, UNAVAILABLE.

use super::*;

#[tokio::test]
async fn not_a_graph() {
    let mut graph = fs::read(repository().join("tests/data/graphs/scalar.onnx")).unwrap();
    let middle = graph.len() / 2;
    graph.truncate(middle);
    for bytes in [b"".to_vec(), b"not a graph".to_vec(), vec![0xff; 1 << 20], graph] {
        under_attack(hostile("").file("hostile/model.onnx", bytes), async |server| {
            assert_not_served(server, "graph model: ").await;
        })
        .await;
    }
    let graph = |setup: Setup| setup.graph("scalar", HOSTILE);
    under_attack(graph(hostile("")), async |server| assert_serves(server).await).await;
}
