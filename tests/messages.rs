//! Requests as they come in: what they cost in memory and time, watched from outside; slow and vanishing
//! callers; compressed messages.

use std::{
    fs,
    io::{Read, Write},
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{
    Compression,
    read::{GzDecoder, ZlibDecoder},
    write::{GzEncoder, ZlibEncoder},
};
use h2::{SendStream, client::SendRequest};
use http::{Request, Response};
use prost::Message;
use tms::grpc::proto::{
    inference::{InferTensorContents as Contents, ModelInferRequest},
    server::{self, BatchTextArgs, TextArgs},
};
use tokio::{net::TcpStream, sync::watch, task::JoinHandle};

use crate::harness::{
    Caller, Server, Setup, assert_refused,
    metrics::metric,
    oip::{infer, input, raw as raw_request, typed},
    pixels, raw, until,
};

const MIB: usize = 1 << 20;

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const TEXT: &str = "/server.Server/RunText";
const TEXTS: &str = "/server.Server/RunBatchText";
const IMAGE: &str = "/server.Server/RunImage";
const IMAGES: &str = "/server.Server/RunBatchImage";

/// A field with a length.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(value.len() as u64, &mut field);
    field.extend_from_slice(value);
    field
}

/// Something again and again, up to a number of bytes.
fn times(part: &[u8], bytes: usize) -> Vec<u8> {
    part.repeat(bytes / part.len())
}

/// Messages of `size` bytes that would become much more, with the call that takes each.
fn bombs(size: usize) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let contents = |number, values: &[u8]| field(5, &field(5, &field(number, values)));
    let unpacked = |part: &[u8]| field(5, &field(5, &times(part, size)));
    let zeros = vec![0; size];
    let parameters = (0..size / 9).map(|i| {
        let key: Vec<_> = (0..3).map(|digit| b'0' + (i >> (6 * digit) & 63) as u8).collect();
        field(4, &[field(1, &key), field(2, &[])].concat())
    });
    let control = [field(1, b"k"), field(2, &field(3, &vec![1; size]))].concat();
    let nested = [field(1, b"k"), field(2, &[])].concat();
    vec![
        ("inputs", INFER, times(&[0x2a, 0], size)),
        ("requested outputs", INFER, times(&[0x32, 0], size)),
        ("parameters", INFER, parameters.flatten().collect()),
        ("one parameter of control characters", INFER, field(4, &control)),
        ("raw contents", INFER, times(&[0x3a, 0], size)),
        ("dimensions", INFER, field(5, &field(3, &zeros))),
        ("single dimensions", INFER, field(5, &times(&[0x18, 0], size))),
        ("parameters of an input", INFER, field(5, &times(&field(4, &nested), size))),
        ("parameters of an output", INFER, field(6, &times(&field(2, &nested), size))),
        ("inputs with contents", INFER, times(&field(5, &field(5, &[])), size)),
        ("bool contents", INFER, contents(1, &zeros)),
        ("int contents", INFER, contents(2, &zeros)),
        ("int64 contents", INFER, contents(3, &zeros)),
        ("uint64 contents", INFER, contents(5, &zeros)),
        ("fp32 contents", INFER, contents(6, &zeros)),
        ("fp64 contents", INFER, contents(7, &zeros)),
        ("single bool contents", INFER, unpacked(&[0x08, 0])),
        ("single int contents", INFER, unpacked(&[0x10, 0])),
        ("single int64 contents", INFER, unpacked(&[0x18, 0])),
        ("empty bytes contents", INFER, unpacked(&[0x42, 0])),
        ("short bytes contents", INFER, unpacked(&[0x42, 4, 1, 2, 3, 4])),
        ("texts", TEXTS, times(&[0x0a, 0], size)),
        ("short texts", TEXTS, times(&field(1, b"short"), size)),
        ("longer texts", TEXTS, times(&field(1, &[b'x'; 40]), size)),
        ("images", IMAGES, times(&[0x0a, 0], size)),
        ("images with a type", IMAGES, times(&field(1, &field(5, b"uint8")), size)),
        ("one image, many types", IMAGE, field(1, &times(&field(5, b"uint8"), size))),
        ("one text, many times", TEXT, times(&field(1, &vec![b'x'; size / 2 - 8]), size)),
        ("unknown fields", TEXT, times(&[0xa2, 6, 0], size)),
        ("groups", TEXT, times(&[0xa3, 6, 0xa4, 6], size)),
        ("groups in groups", TEXT, times(&[0xa3, 6], size)),
        ("inputs in inputs", INFER, times(&[0x2a, 0x80, 0x80, 0x80, 1], size)),
        ("a number without end", INFER, vec![0xff; size]),
    ]
}

/// What a process takes now, and took at most since `watch_peak`.
fn status(server: &Server, key: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    1024 * line.split_whitespace().next().unwrap().parse::<usize>().unwrap()
}

fn watch_peak(server: &Server) -> usize {
    // Where that is not allowed, the peak is that of all the time before: not less.
    let _ = fs::write(format!("/proc/{}/clear_refs", server.pid()), "5");
    status(server, "VmRSS:")
}

#[tokio::test]
async fn no_message_takes_more_than_eight_times_its_bytes() {
    const SIZE: usize = 16 * MIB;
    let server = start!(Setup::new().guest("echo").arg("--workers").arg("1"));
    let caller = server.caller().await;
    for (what, path, message) in bombs(SIZE) {
        let before = watch_peak(&server);
        let reply = raw::call(server.port, path, &[], &message).await;
        let grew = status(&server, "VmHWM:").saturating_sub(before);
        assert_ne!(reply.status, "0", "{what}");
        assert!(grew <= 8 * SIZE, "{what}: {} MiB; {}", grew / MIB, reply.message);
        assert_eq!(caller.text("echo", "still here", "").await.unwrap(), "still here");
    }
}

/// A gzip of nothing is a thousandth of it: what is inside is bounded as if it had come as it is.
#[tokio::test]
async fn no_compressed_message_takes_more_either() {
    const SIZE: usize = 16 * MIB;
    let server = start!(Setup::new().guest("echo").arg("--workers").arg("1"));
    for (what, path, message) in bombs(SIZE) {
        let compressed = gzip(&message);
        let before = watch_peak(&server);
        let call = Call { path, encoding: Some("gzip") };
        let reply = call.send(server.port, &frame(1, &compressed)).await;
        let grew = status(&server, "VmHWM:").saturating_sub(before);
        assert_ne!(reply.status(), "0", "{what}");
        assert!(grew <= 8 * SIZE, "{what}: {} MiB; {}", grew / MIB, reply.message());
    }
}

#[tokio::test]
async fn a_message_that_would_take_too_much_is_refused_by_name() {
    let server = start!(Setup::new().guest("echo"));
    let empty = raw::call(server.port, INFER, &[], &times(&[0x3a, 0], 80_000)).await;
    assert_eq!(empty.status, "3");
    let said = empty.message.replace("%20", " ").replace("%60", "`");
    let start = "the message has 40000 `raw_input_contents`, which would take ";
    assert!(said.starts_with(start), "{said}");
    let output = field(6, &field(1, &[b'x'; 28]));
    let many = raw::call(server.port, INFER, &[], &output.repeat(70_000)).await;
    assert!(many.message.starts_with("the%20message%20has%2070000"), "{}", many.message);
    let caller = server.caller().await;
    let texts = vec!["a text that is long enough to be worth its place"; 70_000];
    let message = "the message has 70000 `texts`: there may be 65536 members of lists in all";
    let refused = caller.texts("echo", &texts, "").await;
    assert_refused(refused, tonic::Code::InvalidArgument, message);
    let fits = caller.texts("echo", &texts[..10_000], "").await.unwrap();
    assert_eq!(fits.as_array().unwrap().len(), 10_000);
}

#[tokio::test]
async fn large_contents_arrive_as_they_were_sent() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    let count = 300_000;
    let numbers = (0..count).map(|i: i32| i * 77 % 256);
    let contents = [
        (
            "INT64",
            Contents {
                int64_contents: numbers.clone().map(|i| i64::from(i) << 40).collect(),
                ..Contents::default()
            },
        ),
        (
            "UINT8",
            Contents {
                uint_contents: numbers.clone().map(|i| i as u32).collect(),
                ..Contents::default()
            },
        ),
        (
            "FP32",
            Contents {
                fp32_contents: numbers.clone().map(|i| i as f32).collect(),
                ..Contents::default()
            },
        ),
        (
            "BOOL",
            Contents {
                bool_contents: numbers.clone().map(|i| i % 2 == 0).collect(),
                ..Contents::default()
            },
        ),
        (
            "BYTES",
            Contents {
                bytes_contents: numbers
                    .clone()
                    .map(|i| Bytes::from(format!("a string with the number {i}")))
                    .collect(),
                ..Contents::default()
            },
        ),
    ];
    for (datatype, contents) in contents {
        let inputs = vec![(input("x", datatype, &[count.into()]), contents.clone())];
        let reply = infer(&caller, typed("echo", inputs)).await.unwrap();
        assert!(reply.outputs[0].contents.as_ref() == Some(&contents), "{datatype}");
    }
    let strings: Vec<u8> =
        numbers.flat_map(|i| [4_u32.to_le_bytes(), i.to_le_bytes()].concat()).collect();
    let request =
        raw_request("echo", vec![(input("x", "BYTES", &[count.into()]), strings.clone())]);
    let reply = infer(&caller, request).await.unwrap();
    assert!(reply.raw_output_contents[0] == strings);
    let image = pixels(1080, 1920, 3);
    let reply = caller.image("echo", image.clone()).await.unwrap();
    assert!(reply.image == Some(image));
}

/// Parameters of many kinds, in a message that is decoded elsewhere and in a small one.
#[tokio::test]
async fn arguments_are_the_same_in_small_and_large_messages() {
    use tms::grpc::proto::inference::{InferParameter, infer_parameter::ParameterChoice::*};
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    let parameter = |choice| InferParameter { parameter_choice: Some(choice) };
    for bytes in [4, MIB] {
        let tensor = (input("x", "BOOL", &[bytes as i64]), vec![1; bytes]);
        let mut request = raw_request("echo", vec![tensor]);
        for (name, choice) in [
            ("z", BoolParam(true)),
            ("a\"\n", StringParam("\u{1}\"é".into())),
            ("n", Int64Param(i64::MIN)),
            ("u", Uint64Param(u64::MAX)),
            ("d", DoubleParam(0.5)),
        ] {
            request.parameters.insert(name.into(), parameter(choice));
        }
        request.parameters.insert("none".into(), InferParameter::default());
        let reply = infer(&caller, request).await.unwrap();
        assert_eq!(reply.raw_output_contents[0].len(), bytes);
    }
}

// --- time

/// The longest that a neighbour waited for an answer while `heavy` was answered.
async fn longest_wait(neighbour: &Caller, heavy: impl Future<Output = ()>) -> Duration {
    let (stop, mut stopped) = watch::channel(false);
    let neighbour = neighbour.clone();
    let watching: JoinHandle<Duration> = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while !*stopped.borrow_and_update() {
            let began = Instant::now();
            neighbour.text("echo", "hello", "").await.unwrap();
            longest = longest.max(began.elapsed());
        }
        longest
    });
    heavy.await;
    stop.send(true).unwrap();
    watching.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_do_not_wait_for_a_message_that_takes_long() {
    const SIZE: usize = 48 * MIB;
    let server = start!(Setup::new().guest("echo").arg("--workers").arg("1"));
    let neighbour = server.caller().await;
    let name = field(1, b"nobody");
    let infer = |input: &[Vec<u8>]| [name.clone(), field(5, &input.concat())].concat();
    let int8 = field(2, b"INT8");
    let strings = [
        name.clone(),
        field(5, &[field(2, b"BYTES"), field(3, &[1])].concat()),
        field(7, &vec![0; SIZE]),
    ];
    let quotes = TextArgs { args: format!("{}1", " ".repeat(SIZE)), ..TextArgs::default() };
    let heavy = [
        ("unknown fields", TEXT, times(&[0xa2, 6, 0], SIZE)),
        ("numbers", INFER, infer(&[int8, field(5, &field(2, &vec![0; SIZE]))])),
        ("strings to check", INFER, strings.concat()),
        ("letters", TEXT, field(2, "é".repeat(SIZE / 2).as_bytes())),
        ("arguments", TEXT, quotes.encode_to_vec()),
        ("to refuse", INFER, times(&[0x2a, 0], SIZE)),
    ];
    for (what, path, message) in heavy {
        // The machine may be busy with something else: what always waits is found all the same.
        let mut least = Duration::MAX;
        for _ in 0..8 {
            let call = async {
                let reply = raw::call(server.port, path, &[], &message).await;
                assert_ne!(reply.status, "0", "{what}");
            };
            least = least.min(longest_wait(&neighbour, call).await);
            if least < Duration::from_millis(15) {
                break;
            }
        }
        assert!(least < Duration::from_millis(25), "{what}: {least:?}");
    }
}

// --- slow, silent and vanishing callers

/// A connection of HTTP/2.
async fn connect(port: u16) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(async move { drop(connection.await) });
    (client.ready().await.unwrap(), driver)
}

fn head(path: &str, encoding: Option<&str>) -> Request<()> {
    let head = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let head = match encoding {
        Some(encoding) => head.header("grpc-encoding", encoding),
        None => head,
    };
    head.body(()).unwrap()
}

/// gRPC's frame, of this length or of one that is announced.
fn announced(flag: u8, length: usize, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(flag);
    frame.put_u32(length as u32);
    frame.put_slice(message);
    frame.freeze()
}

fn frame(flag: u8, message: &[u8]) -> Bytes {
    announced(flag, message.len(), message)
}

#[derive(Default)]
struct Call {
    path: &'static str,
    encoding: Option<&'static str>,
}

struct Answered {
    head: Response<()>,
    trailers: http::HeaderMap,
    body: Bytes,
}

impl Answered {
    fn header(&self, name: &str) -> String {
        let value = self.head.headers().get(name).or(self.trailers.get(name));
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    }

    fn status(&self) -> String {
        self.header("grpc-status")
    }

    fn message(&self) -> String {
        self.header("grpc-message").replace("%20", " ")
    }
}

impl Call {
    async fn send(&self, port: u16, body: &Bytes) -> Answered {
        let (mut client, driver) = connect(port).await;
        let (response, mut stream) =
            client.send_request(head(self.path, self.encoding), false).unwrap();
        stream.send_data(body.clone(), true).unwrap();
        let (head, mut body) = response.await.unwrap().into_parts();
        let mut received = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            received.put_slice(&data);
        }
        let trailers = body.trailers().await.unwrap().unwrap_or_default();
        driver.abort();
        Answered { head: Response::from_parts(head, ()), trailers, body: received.freeze() }
    }
}

#[tokio::test]
async fn a_message_that_stalls_is_given_up() {
    let setup = Setup::new().guest("echo").arg("--message-timeout").arg("300ms");
    let server = start!(setup.metrics());
    let late = "the%20request%27s%20message%20came%20too%20slowly";
    // Nothing of it; a part of its head; a part of it; in a large one as well.
    let (mut client, _driver) = connect(server.port).await;
    let (silent, _open) = client.send_request(head(TEXT, None), false).unwrap();
    let (in_head, mut open) = client.send_request(head(TEXT, None), false).unwrap();
    open.send_data(Bytes::from_static(&[0, 0]), false).unwrap();
    let (part, mut large) = client.send_request(head(TEXT, None), false).unwrap();
    large.send_data(announced(0, 60 * MIB, &vec![0; MIB]), false).unwrap();
    for response in [silent, in_head, part] {
        let response = response.await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "4");
        let said = response.headers()["grpc-message"].to_str().unwrap();
        assert!(said.starts_with("the%20request"), "{said} {late}");
    }
    // A whole message without its end; a byte now and then.
    let whole = TextArgs { model: "echo".into(), ..TextArgs::default() }.encode_to_vec();
    let (unended, mut open) = client.send_request(head(TEXT, None), false).unwrap();
    open.send_data(frame(0, &whole), false).unwrap();
    assert_eq!(unended.await.unwrap().headers()["grpc-status"], "4");
    let (trickling, mut drops) = client.send_request(head(TEXT, None), false).unwrap();
    drops.send_data(announced(0, 1000, &[]), false).unwrap();
    let trickle = tokio::spawn(async move {
        while drops.send_data(Bytes::from_static(&[0]), false).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(trickling.await.unwrap().headers()["grpc-status"], "4");
    trickle.abort();
    until("all is given back", async || {
        // But for HTTP/2's own buffer for frames, as large as the last one.
        let frame = f64::from(256 << 10);
        metric(&server, "tms_memory_bytes", &["account=\"messages\""]) <= frame
    })
    .await;
    let caller = server.caller().await;
    assert_eq!(caller.text("echo", "hello", "").await.unwrap(), "hello");
}

/// A message that takes longer than the limit, and gets on all the time.
#[tokio::test]
async fn a_slow_message_that_gets_on_is_answered() {
    let setup = Setup::new().guest("echo").arg("--message-timeout").arg("500ms");
    let server = start!(setup);
    let text = "x".repeat(MIB);
    let message = TextArgs { text, model: "echo".into(), ..TextArgs::default() }.encode_to_vec();
    let message = frame(0, &message);
    let (mut client, _driver) = connect(server.port).await;
    let (response, mut stream) = client.send_request(head(TEXT, None), false).unwrap();
    let began = Instant::now();
    for part in message.chunks(100_000) {
        stream.send_data(Bytes::copy_from_slice(part), false).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(1000));
    stream.send_data(Bytes::new(), true).unwrap();
    let response = response.await.unwrap();
    assert!(response.headers().get("grpc-status").is_none_or(|status| status == "0"));
}

/// Streams on a connection of their own that send a part of a message that they say is of 60 MiB.
async fn uploads(
    port: u16,
    streams: usize,
    bytes: usize,
) -> (Vec<SendStream<Bytes>>, JoinHandle<()>) {
    let (mut client, driver) = connect(port).await;
    let mut open = Vec::new();
    for _ in 0..streams {
        client = client.ready().await.unwrap();
        let (_, mut stream) = client.send_request(head(IMAGE, None), false).unwrap();
        stream.send_data(announced(0, 60 * MIB, &vec![0; bytes]), false).unwrap();
        open.push(stream);
    }
    (open, driver)
}

#[tokio::test]
async fn announced_lengths_lock_nobody_out() {
    let setup = Setup::new().guest("echo").arg("--memory").arg("256 MiB");
    let server = start!(setup.metrics());
    let charged = || metric(&server, "tms_memory_bytes", &["account=\"messages\""]);
    let caller = server.caller().await;
    let _idle = uploads(server.port, 12, 1000).await;
    until("they have arrived", async || charged() >= 12_000.0).await;
    assert!(charged() < 100_000.0, "{}", charged());
    for _ in 0..4 {
        let reply = caller.image("echo", pixels(1080, 1920, 3)).await;
        assert!(reply.is_ok(), "{reply:?}");
    }
}

#[tokio::test]
async fn uploads_that_vanish_give_their_memory_back() {
    let setup = Setup::new().guest("echo").arg("--memory").arg("256 MiB");
    let server = start!(setup.metrics());
    let charged = || metric(&server, "tms_memory_bytes", &["account=\"messages\""]);
    let refused = || metric(&server, "tms_memory_refused_total", &["account=\"messages\""]);
    let limit = metric(&server, "tms_memory_limit_bytes", &[]);
    let caller = server.caller().await;
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(uploads(server.port, 1, 50 * MIB).await);
    }
    let mut most = 0.0_f64;
    until("some are refused", async || {
        most = most.max(charged());
        refused() > 0.0
    })
    .await;
    assert!(most <= limit, "{most} of {limit}");
    // New work is refused, but what is small has still its place, and the server does not grow.
    assert!(status(&server, "VmRSS:") <= 300 * MIB);
    for (streams, driver) in connections {
        drop(streams);
        driver.abort();
    }
    until("all is given back", async || charged() == 0.0).await;
    assert!(caller.image("echo", pixels(1080, 1920, 3)).await.is_ok());
    until("that, too", async || {
        metric(&server, "tms_memory_bytes", &["account=\"inputs\""]) == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_call_has_one_message() {
    let server = start!(Setup::new().guest("echo"));
    let message = TextArgs { model: "echo".into(), ..TextArgs::default() }.encode_to_vec();
    let one = frame(0, &message);
    let call = Call { path: TEXT, ..Call::default() };
    let reply = call.send(server.port, &one).await;
    assert_eq!(reply.status(), "0", "{}", reply.message());
    assert!(server::Response::decode(&reply.body[5..]).is_ok());
    let two = Bytes::from([&one[..], &one[..]].concat());
    for (body, said) in [
        (two, "the request has more than one message"),
        (Bytes::new(), "the request has no message"),
        (one.slice(..3), "the request ends after 3 of its message%27s 5 bytes"),
        (one.slice(..7), "the request ends after 2 of its message%27s 6 bytes"),
    ] {
        let reply = call.send(server.port, &body).await;
        let message = reply.message().replace('\'', "%27");
        assert_eq!((reply.status().as_str(), message.as_str()), ("3", said));
    }
    let small = raw::call(server.port, "/server.Server/ListModels", &[], &vec![0; 70_000]).await;
    assert_eq!(small.status, "8", "calls without data take little: {}", small.message);
}

// --- compressed

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

/// A reply's message.
fn inflated(reply: &Answered) -> Vec<u8> {
    let (head, message) = reply.body.split_at(5);
    assert_eq!(head[1..], (message.len() as u32).to_be_bytes());
    let mut inflated = Vec::new();
    let encoding = reply.header("grpc-encoding");
    assert_eq!(head[0], u8::from(!encoding.is_empty()));
    match encoding.as_str() {
        "" => inflated.extend_from_slice(message),
        "gzip" => drop(GzDecoder::new(message).read_to_end(&mut inflated).unwrap()),
        "deflate" => drop(ZlibDecoder::new(message).read_to_end(&mut inflated).unwrap()),
        "zstd" => inflated = zstd::stream::decode_all(message).unwrap(),
        other => panic!("{other}"),
    }
    inflated
}

#[tokio::test]
async fn compressed_messages_are_taken() {
    let server = start!(Setup::new().guest("echo").arg("--max-message").arg("8 MiB"));
    for length in [5, 100_000, 3 * MIB] {
        let text: String = (0..length).map(|i| char::from(b'a' + (i * i % 26) as u8)).collect();
        let args = TextArgs { text: text.clone(), model: "echo".into(), ..TextArgs::default() };
        let message = args.encode_to_vec();
        for (encoding, compressed) in
            [("gzip", gzip(&message)), ("deflate", deflate(&message)), ("zstd", zstd(&message))]
        {
            let call = Call { path: TEXT, encoding: Some(encoding) };
            // A message may be sent as it is all the same.
            for body in [frame(1, &compressed), frame(0, &message)] {
                let reply = call.send(server.port, &body).await;
                assert_eq!(reply.status(), "0", "{}", reply.message());
                assert_eq!(reply.header("grpc-accept-encoding"), "identity,gzip,deflate,zstd");
                let answer = server::Response::decode(&inflated(&reply)[..]).unwrap();
                assert!(answer.data == format!("\"{text}\""));
                // Long ones come back as they were sent.
                let back = if length < 512 { "" } else { encoding };
                assert_eq!(reply.header("grpc-encoding"), back, "{length}");
                assert!(length < 512 || reply.body.len() < length / 2, "{}", reply.body.len());
            }
        }
    }
    let request = ModelInferRequest {
        model_name: "echo".into(),
        ..raw_request("echo", vec![(input("x", "UINT8", &[3]), vec![1, 2, 3])])
    };
    let body = frame(1, &gzip(&request.encode_to_vec()));
    let call = Call { path: INFER, encoding: Some("gzip") };
    assert_eq!(call.send(server.port, &body).await.status(), "0");
    // Calls without data, and health.
    for path in ["/server.Server/GetPID", "/grpc.health.v1.Health/Check"] {
        let call = Call { path, encoding: Some("gzip") };
        assert_eq!(call.send(server.port, &frame(1, &gzip(&[]))).await.status(), "0", "{path}");
    }
}

#[tokio::test]
async fn compressed_messages_that_are_wrong_are_refused() {
    let setup = Setup::new().guest("echo").arg("--max-message").arg("8 MiB");
    let server = start!(setup);
    let call = Call { path: TEXT, encoding: Some("gzip") };
    let texts = BatchTextArgs { texts: vec!["x".repeat(9 * MIB)], ..BatchTextArgs::default() };
    let before = watch_peak(&server);
    let large = call.send(server.port, &frame(1, &gzip(&vec![0; 200 * MIB]))).await;
    assert_eq!(large.status(), "8", "{}", large.message());
    assert!(large.message().starts_with("the request is larger than the limit of 8388608 bytes"));
    assert!(status(&server, "VmHWM:").saturating_sub(before) < 64 * MIB);
    let large = call.send(server.port, &frame(1, &gzip(&texts.encode_to_vec()))).await;
    assert_eq!(large.status(), "8");
    let broken = call.send(server.port, &frame(1, b"this is not gzip")).await;
    assert_eq!(broken.status(), "3");
    let mut short = gzip(&[0; 1000]);
    short.truncate(short.len() / 2);
    assert_eq!(call.send(server.port, &frame(1, &short)).await.status(), "3");
    let zstd_call = Call { path: TEXT, encoding: Some("zstd") };
    let before = watch_peak(&server);
    // The server's memory is not what a message says: 2 GiB, and more than there is.
    for window in [31, 41] {
        let head = [&[0x28, 0xb5, 0x2f, 0xfd, 0, (window - 10) << 3][..], &[1, 0, 0]].concat();
        let refused = zstd_call.send(server.port, &frame(1, &head)).await;
        assert_eq!(refused.status(), "3", "{}", refused.message());
        let said = "the compressed message wants a window of ";
        assert!(refused.message().starts_with(said), "{}", refused.message());
    }
    let nothing = zstd(&vec![0; 200 * MIB]);
    let large = zstd_call.send(server.port, &frame(1, &nothing)).await;
    assert_eq!(large.status(), "8", "{}", large.message());
    assert!(status(&server, "VmHWM:").saturating_sub(before) < 64 * MIB);
    let two = [zstd(&[]), zstd(&[])].concat();
    for wrong in [&b"this is not zstd"[..], &zstd(&[7; 1000])[..12], &two] {
        assert_eq!(zstd_call.send(server.port, &frame(1, wrong)).await.status(), "3");
    }
    let plain = Call { path: TEXT, encoding: None };
    assert_eq!(plain.send(server.port, &frame(1, &gzip(&[]))).await.status(), "13");
    assert_eq!(plain.send(server.port, &frame(2, &[])).await.status(), "3");
    let other = Call { path: TEXT, encoding: Some("snappy") };
    let refused = other.send(server.port, &frame(1, &[])).await;
    assert_eq!(refused.status(), "12");
    assert_eq!(refused.header("grpc-accept-encoding"), "identity,gzip,deflate,zstd");
}
