//! How often the bytes of a large image are copied on their way: counted by what the server allocates
//! for them and by what guests read. In a process of its own, with the server inside.

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
    config::{ServeArgs, Settings, settings::Port},
    grpc::proto::server::{ImageArgs, NumpyImage, Response, server_client::ServerClient},
};
use tokio::sync::oneshot;
use tonic::transport::Endpoint;

use harness::{guests, pixels, repository};

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

/// Copies of an image's bytes a call: in buffers of the host, and into the guest.
#[derive(Debug)]
struct Copies {
    buffers: f64,
    guest: f64,
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
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();

    let document = fs::read_to_string(repository().join("docs/performance.md")).unwrap();
    for (what, copies) in [
        ("which ignores it", ignored),
        ("which reads it", read),
        ("which gives it back", given_back),
    ] {
        let line = document.lines().find(|line| line.contains(what)).expect(what);
        let cells: Vec<f64> = line.split('|').filter_map(|c| c.trim().parse().ok()).collect();
        let counted = [copies.buffers.round(), copies.guest.round()];
        assert_eq!(cells, counted, "{what}: {copies:?}");
        assert!((copies.buffers - counted[0]).abs() < 0.2, "{what}: {copies:?}");
        assert!((copies.guest - counted[1]).abs() < 0.01, "{what}: {copies:?}");
    }
}

/// Bytes that instances of a model have read so far.
fn bytes_read(ready: &tms::server::Ready, model: &str) -> f64 {
    let name = format!("tms_bytes_read_total{{model=\"{model}\"}}");
    let samples = harness::metrics::samples(&ready.metrics.unwrap().to_string());
    samples.iter().find(|(key, _)| *key == name).unwrap().1
}

async fn measure(ready: &tms::server::Ready, model: &str, image: &NumpyImage) -> Copies {
    let channel = Endpoint::from_shared(format!("http://{}", ready.addresses[0])).unwrap();
    let mut client = ServerClient::new(channel.connect().await.unwrap())
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let mut call = async || -> Response {
        let request =
            ImageArgs { image: Some(image.clone()), model: model.into(), ..ImageArgs::default() };
        client.run_image(request).await.unwrap().into_inner()
    };
    let bytes = (CALLS * image.data.len()) as f64;
    // The client's own copies: one of the request; one of the reply's image, and the frames that it
    // came in.
    let answer = call().await;
    let own = 1.0 + if answer.image.is_some() { 2.0 } else { 0.0 };
    let (read, allocated) = (bytes_read(ready, model), ALLOCATED.load(Relaxed));
    for _ in 0..CALLS {
        call().await;
    }
    let buffers = (ALLOCATED.load(Relaxed) - allocated) as f64 / bytes - own;
    Copies { buffers, guest: (bytes_read(ready, model) - read) / bytes }
}
