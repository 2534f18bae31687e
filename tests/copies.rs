//! How often the bytes of a large image are copied on their way: counted by what the server allocates
//! for them, by what guests read, and by what goes through the memory that it shares with a process of
//! native code. In a process of its own, with the server inside.

// A test may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code, unused_imports, unused_macros)] // The harness has more than is used here.

mod harness;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use tms::{
    child::region::COPIED,
    config::{ServeArgs, Settings, settings::Port},
    grpc::proto::{
        inference::{
            ModelInferRequest, ModelInferResponse,
            grpc_inference_service_client::GrpcInferenceServiceClient,
        },
        server::{ImageArgs, NumpyImage, Response, server_client::ServerClient},
    },
};
use tokio::sync::oneshot;
use tonic::transport::Endpoint;

use harness::{
    guests,
    oip::{input, raw},
    pixels, repository,
};

/// Smaller allocations are no place for a part of an image: HTTP/2 frames have 16 KiB or more.
const LARGE: usize = 4096;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting the bytes of large allocations.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: usize) {
    if bytes >= LARGE {
        ALLOCATED.fetch_add(bytes, Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator as it came; counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are the ones asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // What is added; what was there may move, which is no copy of ours.
        count(size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

const MODELS: [&str; 3] = ["models/example_image", "tests/guests/pixels", "tests/guests/echo"];
const CALLS: usize = 8;

/// A bare graph, which gives its input back.
const GRAPH: &str = "tests/data/graphs/identity_u8.onnx";

/// Copies of an image's bytes a call: in buffers of the host, into the guest, and into and out of shared
/// memory.
#[derive(Debug)]
struct Copies {
    buffers: f64,
    guest: f64,
    shared: f64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_copied_as_often_as_the_document_says() {
    if !guests::built() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for model in MODELS {
        let from = repository().join(model);
        let to = folder.path().join(from.file_name().unwrap());
        fs::create_dir(&to).unwrap();
        fs::copy(from.join("model.wasm"), to.join("model.wasm")).unwrap();
    }
    let graph = folder.path().join("graph");
    fs::create_dir(&graph).unwrap();
    fs::copy(repository().join(GRAPH), graph.join("model.onnx")).unwrap();
    let settings = Settings::resolve(ServeArgs {
        models: Some(folder.path().to_owned()),
        port: Port::new(0),
        metrics: "127.0.0.1:0".parse().ok(),
        ..ServeArgs::default()
    });
    let mut settings = settings.unwrap();
    // This program is the test's.
    settings.program = env!("CARGO_BIN_EXE_tms").into();
    let (ready, is_ready) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move { drop(stopped.await) };
    let served = tms::server::serve(settings, shutdown, |r| drop(ready.send(r)));
    let serving = tokio::spawn(served);
    let ready = is_ready.await.unwrap();

    let image = pixels(1080, 1920, 3);
    let ignored = measure(&ready, "example_image", &image).await;
    let read = measure(&ready, "pixels", &image).await;
    let given_back = measure(&ready, "echo", &image).await;
    let computed = measure_graph(&ready, &image).await;
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();

    let document = fs::read_to_string(repository().join("docs/performance.md")).unwrap();
    for (what, copies) in [
        ("which ignores it", ignored),
        ("which reads it", read),
        ("which gives it back", given_back),
        ("a graph that gives it back", computed),
    ] {
        let line = document.lines().find(|line| line.contains(what)).expect(what);
        let cells: Vec<f64> = line.split('|').filter_map(|c| c.trim().parse().ok()).collect();
        let counted = [copies.buffers.round(), copies.guest.round(), copies.shared.round()];
        assert_eq!(cells, counted, "{what}: {copies:?}");
        assert!((copies.buffers - counted[0]).abs() < 0.2, "{what}: {copies:?}");
        assert!((copies.guest - counted[1]).abs() < 0.01, "{what}: {copies:?}");
        assert!((copies.shared - counted[2]).abs() < 0.01, "{what}: {copies:?}");
    }
}

/// Bytes that instances of a model have read so far.
fn bytes_read(ready: &tms::server::Ready, model: &str) -> f64 {
    let name = format!("tms_bytes_read_total{{model=\"{model}\"}}");
    let samples = harness::metrics::samples(&ready.metrics.unwrap().to_string());
    samples.iter().find(|(key, _)| *key == name).unwrap().1
}

async fn measure(ready: &tms::server::Ready, model: &str, image: &NumpyImage) -> Copies {
    let channel = Endpoint::from_shared(ready.urls[0].replace("grpc:", "http:")).unwrap();
    let client = ServerClient::new(channel.connect().await.unwrap())
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let call = async || -> Response {
        let request =
            ImageArgs { image: Some(image.clone()), model: model.into(), ..ImageArgs::default() };
        client.clone().run_image(request).await.unwrap().into_inner()
    };
    let answer = call().await;
    let read = bytes_read(ready, model);
    let counted = count_calls(image.data.len(), answer.image.is_some(), async || {
        call().await;
    });
    let counted = counted.await;
    let read = (bytes_read(ready, model) - read) / (CALLS * image.data.len()) as f64;
    Copies { guest: read, ..counted }
}

/// The same bytes as a tensor.
async fn measure_graph(ready: &tms::server::Ready, image: &NumpyImage) -> Copies {
    let channel = Endpoint::from_shared(ready.urls[0].replace("grpc:", "http:")).unwrap();
    let client = GrpcInferenceServiceClient::new(channel.connect().await.unwrap())
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let length = image.data.len();
    let tensor =
        input("x", "UINT8", &[image.height.into(), i64::from(image.width * image.channels)]);
    let request = ModelInferRequest {
        raw_input_contents: vec![image.data.clone()],
        ..raw("graph", vec![(tensor, Vec::new())])
    };
    let call = async || -> ModelInferResponse {
        client.clone().model_infer(request.clone()).await.unwrap().into_inner()
    };
    // The first one also makes the shared memory.
    let answer = call().await;
    assert!(answer.raw_output_contents[0] == image.data, "it gives something else back");
    count_calls(length, true, async || {
        call().await;
    })
    .await
}

/// Counts over some calls with `length` bytes, which come back or do not.
async fn count_calls(length: usize, back: bool, call: impl AsyncFn()) -> Copies {
    // The client's own copies: one of the request; one of what comes back, and the frames that it came
    // in.
    let own = 1.0 + if back { 2.0 } else { 0.0 };
    let (allocated, shared) = (ALLOCATED.load(Relaxed), COPIED.load(Relaxed));
    for _ in 0..CALLS {
        call().await;
    }
    let bytes = (CALLS * length) as f64;
    Copies {
        buffers: (ALLOCATED.load(Relaxed) - allocated) as f64 / bytes - own,
        guest: 0.0,
        shared: (COPIED.load(Relaxed) - shared) as f64 / bytes,
    }
}
