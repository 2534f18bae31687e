//! Tensors on the wire: all fourteen datatypes, raw and typed, through a component and through the
//! native runtime; and tensors that are not what they say.

use bytes::Bytes;
use tms::grpc::proto::inference::{
    InferParameter, InferTensorContents as Contents, infer_parameter::ParameterChoice,
};
use tonic::Code;

use crate::harness::{
    Setup, assert_refused,
    oip::{floats, infer, input, raw, typed},
};

/// Every datatype with the size of an element and the graph that gives it back.
const DATATYPES: [(&str, usize, &str); 14] = [
    ("BOOL", 1, "identity_bool"),
    ("UINT8", 1, "identity_u8"),
    ("UINT16", 2, "identity_u16"),
    ("UINT32", 4, "identity_u32"),
    ("UINT64", 8, "identity_u64"),
    ("INT8", 1, "identity_i8"),
    ("INT16", 2, "identity_i16"),
    ("INT32", 4, "identity_i32"),
    ("INT64", 8, "identity_i64"),
    ("FP16", 2, "identity_fp16"),
    ("BF16", 2, "identity_bf16"),
    ("FP32", 4, "identity_fp32"),
    ("FP64", 8, "identity_fp64"),
    ("BYTES", 0, "identity_bytes"),
];

/// Distinct bytes for `count` elements of a type.
fn sample(datatype: &str, size: usize, count: usize) -> Vec<u8> {
    match datatype {
        "BOOL" => (0..count).map(|i| (i % 2) as u8).collect(),
        "BYTES" => (0..count)
            .flat_map(|i| {
                let text = "é".repeat(i);
                [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
            })
            .collect(),
        _ => (0..count * size).map(|i| (i * 37 % 120) as u8).collect(),
    }
}

/// Typed contents of every datatype that has them, with values at the ends of their ranges.
fn typed_samples() -> [(&'static str, i64, Contents); 12] {
    let ints = |values: &[i32]| Contents { int_contents: values.into(), ..Contents::default() };
    let uints = |values: &[u32]| Contents { uint_contents: values.into(), ..Contents::default() };
    [
        ("BOOL", 2, Contents { bool_contents: vec![true, false], ..Contents::default() }),
        ("INT8", 3, ints(&[-128, 0, 127])),
        ("INT16", 3, ints(&[-32768, 0, 32767])),
        ("INT32", 3, ints(&[i32::MIN, 0, i32::MAX])),
        ("INT64", 2, Contents { int64_contents: vec![i64::MIN, i64::MAX], ..Contents::default() }),
        ("UINT8", 2, uints(&[0, 255])),
        ("UINT16", 2, uints(&[0, 65535])),
        ("UINT32", 2, uints(&[0, u32::MAX])),
        ("UINT64", 2, Contents { uint64_contents: vec![0, u64::MAX], ..Contents::default() }),
        (
            "FP32",
            3,
            Contents { fp32_contents: vec![f32::MIN, f32::INFINITY, -0.5], ..Contents::default() },
        ),
        ("FP64", 2, Contents { fp64_contents: vec![f64::MAX, 1e-300], ..Contents::default() }),
        (
            "BYTES",
            3,
            Contents {
                bytes_contents: vec![
                    Bytes::new(),
                    Bytes::from_static(b"\0\xff"),
                    Bytes::from_static("\u{1f680}".as_bytes()),
                ],
                ..Contents::default()
            },
        ),
    ]
}

#[tokio::test]
async fn every_datatype_passes_a_component() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    for (datatype, size, _) in DATATYPES {
        for shape in [&[2, 3][..], &[], &[0, 4], &[1], &[3, 1, 2, 1]] {
            let data = sample(datatype, size, shape.iter().product::<i64>() as usize);
            let request = raw("echo", vec![(input("x", datatype, shape), data.clone())]);
            let reply = infer(&caller, request).await.unwrap();
            let output = &reply.outputs[0];
            assert_eq!((output.name.as_str(), output.datatype.as_str()), ("x", datatype));
            assert_eq!(output.shape, shape);
            assert!(output.contents.is_none());
            assert_eq!(reply.raw_output_contents, [data], "{datatype} {shape:?}");
        }
    }
}

#[tokio::test]
async fn every_datatype_passes_onnx_runtime() {
    let mut setup = Setup::new().onnxruntime();
    for (_, _, graph) in DATATYPES {
        setup = setup.graph(graph, graph);
    }
    let server = start!(setup);
    let caller = server.caller().await;
    for (datatype, size, graph) in DATATYPES {
        for shape in [[2, 3], [0, 3], [1, 1]] {
            let data = sample(datatype, size, shape.iter().product::<i64>() as usize);
            let request = raw(graph, vec![(input("x", datatype, &shape), data.clone())]);
            let reply = infer(&caller, request).await.unwrap();
            let output = &reply.outputs[0];
            assert_eq!((output.name.as_str(), output.datatype.as_str()), ("y", datatype));
            assert_eq!(output.shape, shape);
            assert_eq!(reply.raw_output_contents, [data], "{datatype} {shape:?}");
        }
    }
}

/// BYTES as they travel.
fn strings(strings: &[&[u8]]) -> Vec<u8> {
    strings.iter().flat_map(|s| [&(s.len() as u32).to_le_bytes(), *s].concat()).collect()
}

#[tokio::test]
async fn strings_with_zero_bytes_pass_a_graph() {
    let setup = Setup::new()
        .onnxruntime()
        .graph("identity_bytes", "bare")
        .guest("nn_probe")
        .graph("identity_bytes", "nn_probe");
    let server = start!(setup);
    let caller = server.caller().await;
    let data = strings(&[b"", b"a\0b", b"\0", b"", "\0\u{1f680}\0".as_bytes(), b"plain"]);
    for model in ["bare", "nn_probe"] {
        let mut request = raw(model, vec![(input("x", "BYTES", &[2, 3]), data.clone())]);
        if model == "nn_probe" {
            let through = ParameterChoice::StringParam("graphs".into());
            let parameter = InferParameter { parameter_choice: Some(through) };
            request.parameters.insert("through".into(), parameter);
        }
        let reply = infer(&caller, request).await.unwrap();
        assert_eq!(reply.raw_output_contents[0], data, "{model}");
    }
    // ONNX's strings are UTF-8; a component takes any bytes.
    let data = strings(&[b"good", b"\xff\xfe"]);
    let refused = infer(&caller, raw("bare", vec![(input("x", "BYTES", &[1, 2]), data)])).await;
    let message = "model `bare`: input `x` holds a string that is not UTF-8";
    assert_refused(refused, Code::InvalidArgument, message);
}

#[tokio::test]
async fn typed_contents_come_back_typed() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    for (datatype, count, contents) in typed_samples() {
        let inputs = vec![(input("x", datatype, &[count]), contents.clone())];
        let reply = infer(&caller, typed("echo", inputs)).await.unwrap();
        assert!(reply.raw_output_contents.is_empty());
        assert_eq!(reply.outputs[0].contents, Some(contents), "{datatype}");
    }
}

#[tokio::test]
async fn half_precision_travels_raw_only() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    for datatype in ["FP16", "BF16"] {
        let contents = Contents { fp32_contents: vec![1.0], ..Contents::default() };
        let inputs = vec![(input("x", datatype, &[1]), contents)];
        let refused = infer(&caller, typed("echo", inputs)).await;
        let message = format!("input `x`: {datatype} travels in raw_input_contents only");
        assert_refused(refused, Code::InvalidArgument, &message);
    }
}

#[tokio::test]
async fn what_is_no_tensor_is_refused() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    let max = i64::MAX;
    let cases: [(_, &[i64], &[u8], &str); 12] = [
        (
            "FLOAT32",
            &[1],
            &[0; 4],
            "`FLOAT32` is not a datatype: BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, \
             INT64, FP16, BF16, FP32, FP64, BYTES",
        ),
        ("FP32", &[-1], &[], "the shape [-1] has a negative dimension"),
        (
            "FP32",
            &[2, i64::MIN],
            &[],
            "the shape [2, -9223372036854775808] has a negative dimension",
        ),
        ("FP32", &[2, 2], &[0; 15], "15 bytes of data do not make fp32 [2, 2], which takes 16"),
        ("UINT8", &[], &[], "0 bytes of data do not make u8 [], which takes 1"),
        ("UINT8", &[max, 3], &[0; 8], "shape [9223372036854775807, 3] is too large"),
        // 2^62 elements of eight bytes: the count of bytes overflows, that of elements does not.
        ("INT64", &[1 << 62], &[], "shape [4611686018427387904] is too large"),
        ("BOOL", &[2], &[1, 2], "element 1 of a bool tensor is 2, not 0 or 1"),
        (
            "BYTES",
            &[1],
            b"\x05\0\0\0abc",
            "the data ends inside string 0: each string is its length as a 32-bit little-endian \
             number, then its bytes",
        ),
        (
            "BYTES",
            &[1],
            b"\xff\xff\xff\xffabc",
            "the data ends inside string 0: each string is its length as a 32-bit little-endian \
             number, then its bytes",
        ),
        (
            "BYTES",
            &[3],
            b"\x01\0\0\0a\x01\0\0\0b",
            "the data holds 2 strings, but shape [3] takes 3",
        ),
        (
            "BYTES",
            &[1],
            b"ab",
            "the data ends inside string 0: each string is its length as a 32-bit little-endian \
             number, then its bytes",
        ),
    ];
    for (datatype, shape, data, problem) in cases {
        let request = raw("echo", vec![(input("x\n", datatype, shape), data.to_vec())]);
        let refused = infer(&caller, request).await;
        assert_refused(refused, Code::InvalidArgument, &format!("input `x\\n`: {problem}"));
    }
    assert!(infer(&caller, raw("echo", vec![floats("x", &[1], &[1.0])])).await.is_ok());
}

#[tokio::test]
async fn contents_that_do_not_fit_are_refused() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    let ints = |values: &[i32]| Contents { int_contents: values.into(), ..Contents::default() };
    for (datatype, contents, problem) in [
        ("INT8", ints(&[1, 128]), "128 does not fit INT8"),
        ("INT16", ints(&[1, -32769]), "-32769 does not fit INT16"),
        ("INT32", ints(&[1]), "4 bytes of data do not make i32 [2], which takes 8"),
        // The values lie in the field of another type.
        ("FP32", ints(&[1, 2]), "0 bytes of data do not make fp32 [2], which takes 8"),
    ] {
        let inputs = vec![(input("x", datatype, &[2]), contents)];
        let refused = infer(&caller, typed("echo", inputs)).await;
        assert_refused(refused, Code::InvalidArgument, &format!("input `x`: {problem}"));
    }
    let mut both = raw("echo", vec![floats("x", &[1], &[1.0])]);
    both.inputs[0].contents = Some(ints(&[1]));
    let message = "input `x`: it has both raw and typed contents";
    assert_refused(infer(&caller, both).await, Code::InvalidArgument, message);
    let mut counts = raw("echo", vec![floats("x", &[1], &[1.0])]);
    counts.raw_input_contents.push(Bytes::from_static(&[0; 4]));
    let message = "raw_input_contents has 2 entries for 1 inputs";
    assert_refused(infer(&caller, counts).await, Code::InvalidArgument, message);
}
