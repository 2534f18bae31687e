//! A network that remembers: speech in a recording, chunk by chunk, in sequences and sessions; and in
//! a file at once.

use serde_json::Value;
use tms::grpc::proto::{
    inference::{ModelInferRequest, infer_parameter::ParameterChoice},
    server::{
        Encoded, EncodedArgs, NamedTensor, Response, RunArgs, Sequence, Tensors, run_args::Input,
    },
};
use tokio_stream::iter;
use tonic::{Code, Status};

use crate::harness::{
    Caller, Setup, assert_refused,
    client::{Answer, json},
    oip::{self, floats, infer, to_floats},
    repository,
};

const MODEL: &str = "silero_vad";

fn setup() -> Setup {
    Setup::new().onnxruntime().example(MODEL)
}

fn file() -> Vec<u8> {
    std::fs::read(repository().join("models/silero_vad/tests/goforward_16k.wav")).unwrap()
}

/// The file's samples: its header has 44 bytes.
fn samples() -> Vec<f32> {
    let file = file();
    let (samples, _) = file[44..].as_chunks();
    samples.iter().map(|&bytes| f32::from(i16::from_le_bytes(bytes)) / 32768.0).collect()
}

/// The samples in pieces of all lengths, of which few are whole chunks.
fn pieces(samples: &[f32]) -> Vec<&[f32]> {
    let (mut pieces, mut rest) = (Vec::new(), samples);
    for length in [1, 511, 512, 513, 100, 0, 4000, 7].into_iter().cycle() {
        let (piece, others) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = others;
        if rest.is_empty() {
            return pieces;
        }
    }
    unreachable!("lengths have no end")
}

fn reference() -> Value {
    let file = repository().join("models/silero_vad/tests/reference.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn numbers(values: &Value) -> Vec<f32> {
    values.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// Every chunk's probability must be the reference's.
#[track_caller]
fn assert_reference(got: &[f32]) {
    let wanted = numbers(&reference()["probabilities"]);
    assert_eq!((got.len(), wanted.len()), (87, 87));
    for (chunk, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        assert!((got - wanted).abs() <= 0.01, "chunk {chunk}: {got}, not {wanted}");
    }
}

fn request(samples: &[f32]) -> ModelInferRequest {
    oip::raw(MODEL, vec![floats("audio", &[samples.len() as i64], samples)])
}

/// The request as a call of a sequence.
fn in_sequence(samples: &[f32], id: i64, start: bool, end: bool) -> ModelInferRequest {
    oip::in_sequence(request(samples), ParameterChoice::Int64Param(id), start, end)
}

async fn heard(caller: &Caller, request: ModelInferRequest) -> Result<Vec<f32>, Status> {
    Ok(to_floats(&infer(caller, request).await?, "probability"))
}

/// The samples for a call of the original's protocol.
fn message(samples: &[f32]) -> RunArgs {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let audio = NamedTensor {
        name: "audio".into(),
        datatype: "FP32".into(),
        shape: vec![samples.len() as i64],
        data: bytes.into(),
    };
    let input = Some(Input::Tensors(Tensors { tensors: vec![audio] }));
    RunArgs { input, model: MODEL.into(), ..RunArgs::default() }
}

fn probability(answer: &Response) -> Vec<f32> {
    assert_eq!((answer.tensors.len(), answer.more), (1, false));
    assert_eq!(answer.tensors[0].name, "probability");
    let (values, _) = answer.tensors[0].data.as_chunks();
    values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// What each message of a session hears, and how it ended.
async fn session(caller: &Caller, messages: Vec<RunArgs>) -> (Vec<Vec<f32>>, Result<(), Status>) {
    let mut heard = Vec::new();
    let mut answers = match caller.server().run_session(iter(messages)).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (heard, Err(status)),
    };
    loop {
        match answers.message().await {
            Ok(Some(answer)) => heard.push(probability(&answer)),
            Ok(None) => return (heard, Ok(())),
            Err(status) => return (heard, Err(status)),
        }
    }
}

async fn run_file(caller: &Caller, data: Vec<u8>) -> Answer {
    let encoded = Some(Encoded { data: data.into(), media_type: "audio/wav".into() });
    let args = EncodedArgs { encoded, model: MODEL.into(), ..EncodedArgs::default() };
    json(caller.server().run_encoded(args).await)
}

#[tokio::test]
async fn a_call_of_its_own_hears_a_whole_recording() {
    let server = start!(setup());
    let caller = server.caller().await;
    let samples = samples();
    assert_reference(&heard(&caller, request(&samples)).await.unwrap());
    let pcm = file()[44..].to_vec();
    let input = oip::input("pcm", "INT16", &[samples.len() as i64]);
    let request = oip::raw(MODEL, vec![(input, pcm)]);
    assert_reference(&heard(&caller, request).await.unwrap());
}

#[tokio::test]
async fn a_file_and_its_segments() {
    let server = start!(setup());
    let caller = server.caller().await;
    let speech = run_file(&caller, file()).await.unwrap();
    assert_reference(&numbers(&speech["probabilities"]));
    assert_eq!(speech["segments"], reference()["segments"]);
    let mut fast = file();
    fast[24..28].copy_from_slice(&44_100u32.to_le_bytes());
    let words = "model `silero_vad`: the model takes WAV files of 16-bit PCM, one channel and 16000 Hz; \
                 this one has 16-bit PCM, channels: 1, and 44100 Hz";
    assert_refused(run_file(&caller, fast).await, Code::InvalidArgument, words);
    let words = "model `silero_vad`: the file is not a WAV: it does not begin with RIFF and WAVE";
    assert_refused(run_file(&caller, b"RIFF".to_vec()).await, Code::InvalidArgument, words);
}

#[tokio::test]
async fn the_calls_of_a_sequence_hear_one_recording() {
    let server = start!(setup().workers(2));
    let samples = samples();
    let pieces = pieces(&samples);
    let last = pieces.len() - 1;
    // Two connections, whose homes may be different workers, and strangers in between.
    let callers = [server.caller().await, server.caller().await];
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (place, piece) in pieces.iter().enumerate() {
        let caller = &callers[place % 2];
        let (start, end) = (place == 0, place == last);
        first.extend(heard(caller, in_sequence(piece, 1, start, end)).await.unwrap());
        heard(caller, request(&samples[10_000..12_000])).await.unwrap();
        second.extend(heard(caller, in_sequence(piece, 2, start, end)).await.unwrap());
    }
    assert_reference(&first);
    assert_reference(&second);
}

#[tokio::test]
async fn a_sequence_of_the_original_protocol_with_a_file_between() {
    let server = start!(setup());
    let caller = server.caller().await;
    let samples = samples();
    let place = |start, end| Some(Sequence { id: "one".into(), start, end });
    let mut heard = Vec::new();
    let halves = samples.split_at(20_001);
    for (half, start) in [(halves.0, true), (halves.1, false)] {
        let run = RunArgs { sequence: place(start, !start), ..message(half) };
        let mut answers = caller.server().run_stream(run).await.unwrap().into_inner();
        heard.extend(probability(&answers.message().await.unwrap().unwrap()));
        if start {
            let encoded = Some(Encoded { data: file().into(), media_type: "audio/wav".into() });
            let sequence = place(false, false);
            let args =
                EncodedArgs { encoded, model: MODEL.into(), sequence, ..EncodedArgs::default() };
            let speech = json(caller.server().run_encoded(args).await).unwrap();
            assert_reference(&numbers(&speech["probabilities"]));
        }
    }
    assert_reference(&heard);
}

#[tokio::test]
async fn a_refused_call_changes_nothing() {
    let server = start!(setup());
    let caller = server.caller().await;
    let samples = samples();
    let (before, after) = samples.split_at(20_001);
    let mut all = heard(&caller, in_sequence(before, 1, true, false)).await.unwrap();
    let refused = heard(&caller, in_sequence(&[0.0, f32::NAN], 1, false, false)).await;
    let words = "model `silero_vad`: tensor audio: a sample is not finite";
    assert_refused(refused, Code::InvalidArgument, words);
    all.extend(heard(&caller, in_sequence(after, 1, false, true)).await.unwrap());
    assert_reference(&all);
}

#[tokio::test]
async fn the_messages_of_a_session_hear_one_recording() {
    let server = start!(setup());
    let caller = server.caller().await;
    let samples = samples();
    // The second session hears nothing of the first.
    for _ in 0..2 {
        let messages = pieces(&samples).iter().map(|piece| message(piece)).collect();
        let (heard, end) = session(&caller, messages).await;
        end.unwrap();
        assert_reference(&heard.concat());
    }
}

#[tokio::test]
async fn strangers_hear_nothing_of_each_other() {
    let server = start!(setup().workers(1));
    let caller = server.caller().await;
    let samples = samples();
    // In the middle of speech; 100 samples are left over.
    let speech = &samples[20_000..20_000 + 3 * 512 + 100];
    let alone = heard(&caller, request(speech)).await.unwrap();
    assert_eq!(alone.len(), 3);
    for _ in 0..3 {
        assert_eq!(heard(&caller, request(speech)).await.unwrap(), alone);
        let run = caller.server().run_stream(message(speech)).await;
        let mut answers = run.unwrap().into_inner();
        assert_eq!(probability(&answers.message().await.unwrap().unwrap()), alone);
    }
}

#[tokio::test]
async fn few_samples_and_other_tensors() {
    let server = start!(setup());
    let caller = server.caller().await;
    for short in [&[][..], &[0.0; 511]] {
        assert_eq!(heard(&caller, request(short)).await.unwrap(), [0.0; 0]);
    }
    let both = vec![floats("audio", &[0], &[]), (oip::input("pcm", "INT16", &[0]), Vec::new())];
    for inputs in [both, Vec::new()] {
        let refused = heard(&caller, oip::raw(MODEL, inputs)).await;
        let words = "model `silero_vad`: send the samples as `audio` or as `pcm`";
        assert_refused(refused, Code::InvalidArgument, words);
    }
}
