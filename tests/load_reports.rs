//! How busy the server is, as its callers hear it (ORCA).

use std::time::Duration;

use prost::Message as _;
use rustix::process::Signal;
use tms::grpc::proto::{
    server::{EmptyArgs, RunArgs, TextArgs, run_args::Input},
    xds::{
        data::orca::v3::OrcaLoadReport,
        service::orca::v3::{OrcaLoadReportRequest, open_rca_service_client::OpenRcaServiceClient},
    },
};
use tonic::{Code, Status, metadata::MetadataMap};

use crate::harness::{
    Caller, Setup,
    client::{Answer, pixels},
    until,
};

const REPORT: &str = "endpoint-load-metrics-bin";

fn report(metadata: &MetadataMap) -> Option<OrcaLoadReport> {
    let bytes = metadata.get_bin(REPORT)?.to_bytes().unwrap();
    Some(OrcaLoadReport::decode(bytes).unwrap())
}

/// What comes with the answer to a text.
async fn text(caller: &Caller, model: &str) -> Result<Option<OrcaLoadReport>, Status> {
    let request = TextArgs { text: "a".into(), model: model.into(), ..TextArgs::default() };
    Ok(report(caller.server().run_text(request).await?.metadata()))
}

/// The answer to a text, from many callers.
async fn call(caller: &Caller) -> Answer {
    caller.text("example_text", "a", "").await
}

#[tokio::test]
async fn every_answer_carries_a_report() {
    let server = start!(Setup::new().example("example_text"));
    let caller = server.caller().await;
    // A busy server: what it reports follows.
    let mut last = OrcaLoadReport::default();
    until("work in the report", async || {
        for _ in 0..50 {
            last = text(&caller, "example_text").await.unwrap().expect("a report");
        }
        last.rps_fractional > 50.0 && last.cpu_utilization > 0.0
    })
    .await;
    assert!(last.cpu_utilization < 2.0, "{last:?}");
    assert!((0.0..1.0).contains(&last.mem_utilization), "{last:?}");
    assert!(last.named_metrics.contains_key("waiting"), "{last:?}");
    assert!(last.named_metrics["in_flight"] >= 0.0, "{last:?}");

    // An error that has nothing but its status.
    let error = text(&caller, "nothing").await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(report(error.metadata()).is_some());
    // A call without data.
    let answer = caller.server().get_pid(EmptyArgs {}).await.unwrap();
    assert!(report(answer.metadata()).is_some());
    // The end of a stream.
    let request = RunArgs {
        input: Some(Input::Text("a".into())),
        model: "example_text".into(),
        ..RunArgs::default()
    };
    let mut parts = caller.server().run_stream(request).await.unwrap().into_inner();
    while parts.message().await.unwrap().is_some() {}
    assert!(report(&parts.trailers().await.unwrap().unwrap()).is_some());
}

#[tokio::test]
async fn only_the_servers_own_errors_count_as_errors() {
    let server = start!(Setup::new().guest("faults").example("example_text"));
    let caller = server.caller().await;
    for _ in 0..20 {
        text(&caller, "nothing").await.unwrap_err();
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    let report = text(&caller, "example_text").await.unwrap().unwrap();
    assert_eq!(report.eps, 0.0, "{report:?}");
    assert!(report.rps_fractional > 0.0, "{report:?}");
    until("an error in the report", async || {
        caller.fault(r#""do": "panic""#).await.unwrap_err();
        text(&caller, "example_text").await.unwrap().unwrap().eps > 0.0
    })
    .await;
}

#[tokio::test]
async fn the_work_of_native_code_counts() {
    // A graph in a child: the server itself does next to nothing.
    let server = start!(Setup::new().onnxruntime().example("efficientnet_lite0"));
    let caller = server.caller().await;
    let image = pixels(224, 224, 3);
    until("the child's work in the report", async || {
        for _ in 0..5 {
            caller.image("efficientnet_lite0", image.clone()).await.unwrap();
        }
        text(&caller, "nothing").await.unwrap_err();
        let error = text(&caller, "nothing").await.unwrap_err();
        report(error.metadata()).unwrap().cpu_utilization > 0.2
    })
    .await;
}

#[tokio::test]
async fn reports_come_by_themselves() {
    let mut server = start!(Setup::new().example("example_text").config("drain_timeout = '1m'"));
    let caller = server.caller().await;
    let mut client = OpenRcaServiceClient::new(caller.channel());
    let every = |nanos| OrcaLoadReportRequest {
        report_interval: Some(prost_types::Duration { seconds: 0, nanos }),
        request_cost_names: Vec::new(),
    };
    let mut reports = client.stream_core_metrics(every(1)).await.unwrap().into_inner();
    let first = reports.message().await.unwrap().unwrap();
    assert_eq!(first.eps, 0.0);
    until("calls in the report", async || {
        call(&caller).await.unwrap();
        reports.message().await.unwrap().unwrap().rps_fractional > 0.0
    })
    .await;
    let error = client.stream_core_metrics(every(-1)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");

    // It is not waited for.
    server.signal(Signal::TERM);
    while let Ok(Some(_)) = reports.message().await {}
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn a_server_keeps_it_to_itself_where_told() {
    let server = start!(Setup::new().example("example_text").config("load_reports = false"));
    let caller = server.caller().await;
    assert_eq!(text(&caller, "example_text").await.unwrap(), None);
    let error = text(&caller, "nothing").await.unwrap_err();
    assert_eq!(report(error.metadata()), None);
    let mut client = OpenRcaServiceClient::new(caller.channel());
    let error = client.stream_core_metrics(OrcaLoadReportRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
}
