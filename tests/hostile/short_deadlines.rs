//! Callers with a deadline of a millisecond call a loop without an end: stopped by their deadline,
//! DEADLINE_EXCEEDED.

use super::*;

#[tokio::test]
async fn short_deadlines() {
    use prost::Message;
    use tms::grpc::proto::server::TextArgs;

    let limits = "timeout = '10m'\ncpu = '10m'\nmax_instances = 1";
    under_attack(hostile(limits), async |server| {
        let call = TextArgs {
            text: "infinite_loop".into(),
            model: HOSTILE.into(),
            args: String::new(),
            ..TextArgs::default()
        };
        let (call, caller) = (call.encode_to_vec(), server.caller().await);
        for _ in 0..21 {
            // By hand: a client of ours would answer itself.
            let headers = [("grpc-timeout", "1m")];
            let reply = raw::call(server.port, "/server.Server/RunText", &headers, &call).await;
            assert_eq!(reply.status, "4", "DEADLINE_EXCEEDED: {reply:?}");
            // The only lease there is, and an instance that is not in the middle of something: its
            // own limits would end the loop after ten minutes.
            let next = caller.text(HOSTILE, "nothing", "");
            let next = tokio::time::timeout(LONG, next).await.expect("the lease is free");
            assert_eq!(next.unwrap(), "done");
        }
    })
    .await;
}
