//! Native inference over the small graphs of tests/data: types, shapes, names, errors, cancelling.

// A test may stop at the first surprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod nn_support;

use std::time::Duration;

use bytes::Bytes;
use nn_support::{
    choose, compute, floats, graph_file, load, load_with, runtime, runtimes, skip_here, to_floats,
};
use tms::nn::{BackendChoice, DType, Device, GraphOptions, NnError, Tensor};

/// A tensor of distinct values, whose bytes start at an odd address if `odd`.
fn sample(dtype: DType, shape: &[u64], odd: bool) -> Tensor {
    let count = shape.iter().product::<u64>() as usize;
    let Some(size) = dtype.size() else {
        let strings = (0..count).map(|i| "é".repeat(i));
        return Tensor::from_bytes_elements(shape, strings).unwrap();
    };
    let mut bytes = vec![0; count * size + 16];
    let start = (0..16).find(|i| (bytes.as_ptr() as usize + i) % 8 == usize::from(odd)).unwrap();
    for i in 0..count * size {
        bytes[start + i] = if dtype == DType::Bool { (i % 2) as u8 } else { (i * 37 % 120) as u8 };
    }
    Tensor::new(dtype, shape, Bytes::from(bytes).slice(start..start + count * size)).unwrap()
}

#[tokio::test]
async fn every_type_passes_unchanged() {
    for (backend, runtime) in runtimes() {
        for dtype in DType::all() {
            if backend == "tract" && dtype == DType::BF16 {
                let error = runtime
                    .load("bf16", &graph_file("identity_bf16"), &GraphOptions::default())
                    .err()
                    .unwrap();
                assert!(
                    error
                        .to_string()
                        .starts_with("input `x` is a tensor of a type that tract lacks"),
                    "{error}"
                );
                continue;
            }
            let graph = load(&runtime, &format!("identity_{}", dtype.name()));
            assert_eq!(
                (graph.inputs()[0].dtype, &graph.inputs()[0].shape[..]),
                (dtype, &[-1, -1][..])
            );
            for shape in [[2, 3], [0, 3], [1, 0], [0, 0], [1, 1]] {
                for odd in [false, true] {
                    let x = sample(dtype, &shape, odd);
                    let out = compute(&graph, &[("x", x.clone())])
                        .await
                        .unwrap_or_else(|e| panic!("{backend} {dtype} {shape:?}: {e}"));
                    assert_eq!(out, [("y".to_string(), x)], "{backend}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_operator_may_read_an_input_without_elements() {
    let Some(runtime) = runtime(BackendChoice::OnnxRuntime) else {
        return;
    };
    let graph = load(&runtime, "instance_norm");
    for shape in [[1, 2, 0], [0, 2, 3], [0, 2, 0]] {
        // Bytes of nothing, and nothing of some bytes.
        for data in [Bytes::new(), Bytes::from(vec![0; 16]).slice(3..3)] {
            let x = Tensor::new(DType::F32, shape, data).unwrap();
            let out = compute(&graph, &[("x", x)]).await.unwrap();
            assert_eq!((out[0].1.shape(), out[0].1.elements()), (&shape[..], 0));
        }
    }
    let out = compute(&graph, &[("x", floats(&[1, 2, 2], &[1., 3., 1., 3.]))]).await.unwrap();
    let out = to_floats(&out[0].1);
    assert!(out.iter().zip([-1., 1., -1., 3.]).all(|(got, wanted)| (got - wanted).abs() < 1e-4));
}

#[tokio::test]
async fn nodes_that_share_an_int8_weight_load_and_sum_exactly() {
    let Some(runtime) = runtime(BackendChoice::OnnxRuntime) else {
        return;
    };
    let options = GraphOptions { sessions: Some(2), ..GraphOptions::default() };
    let x = floats(&[1, 4, 5, 5], &[1.0; 100]);
    let graph = load_with(&runtime, "shared_int8", &options);
    let inputs = [("x", x.clone())];
    // Enough calls at once for the second session.
    let calls = (0..8).map(|_| compute(&graph, &inputs));
    for out in futures_util::future::join_all(calls).await {
        let sum: f32 = to_floats(&out.unwrap()[0].1).iter().sum();
        assert!((77_000.0..79_000.0).contains(&sum), "{sum}");
    }
    // Where the integers themselves are in the graph, they may overflow on some processors, which the log
    // says.
    let graph = load(&runtime, "shared_int8_operators");
    let out = compute(&graph, &[("x", x)]).await.unwrap();
    assert_eq!(out[0].1.shape(), [1, 4, 5, 5]);
}

#[tokio::test]
async fn scalars_and_open_ranks() {
    for (_, runtime) in runtimes() {
        let scalar = load(&runtime, "scalar");
        assert_eq!(scalar.inputs()[0].shape, [0i64; 0]);
        let out = compute(&scalar, &[("x", floats(&[], &[21.0]))]).await.unwrap();
        assert_eq!(out[0].1, floats(&[], &[42.0]));
        let any = load(&runtime, "any_rank");
        for shape in [&[][..], &[4], &[2, 1, 2], &[0]] {
            let values = vec![1.5; shape.iter().product::<u64>() as usize];
            let out = compute(&any, &[("x", floats(shape, &values))]).await.unwrap();
            assert_eq!((out[0].1.shape(), to_floats(&out[0].1)), (shape, vec![-1.5; values.len()]));
        }
    }
}

#[tokio::test]
async fn outputs_come_as_chosen() {
    for (_, runtime) in runtimes() {
        let graph = load(&runtime, "two_inputs");
        let (a, b) = (floats(&[1, 3], &[1., 2., 3.]), floats(&[1, 3], &[4., 5., 6.]));
        let (sum, product) = (floats(&[1, 3], &[5., 7., 9.]), floats(&[1, 3], &[4., 10., 18.]));
        let inputs = [("b", b), ("a", a)];
        for (wanted, expected) in [
            (&[][..], vec![("sum", &sum), ("product", &product)]),
            (&["product", "sum"], vec![("product", &product), ("sum", &sum)]),
            (&["product"], vec![("product", &product)]),
        ] {
            let out = choose(&graph, &inputs, wanted).await.unwrap();
            let out: Vec<_> = out.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
            assert_eq!(out, expected);
        }
    }
}

#[tokio::test]
async fn an_input_given_back_is_a_copy_of_its_own() {
    for (_, runtime) in runtimes() {
        let graph = load(&runtime, "passed_through");
        // Large, so that its memory is unmapped when it is freed: a mere view of it would crash here.
        let out = compute(&graph, &[("x", floats(&[512, 512], &[3.0; 262_144]))]).await.unwrap();
        assert_eq!((out[0].0.as_str(), out[1].0.as_str()), ("x", "y"));
        assert!(to_floats(&out[0].1).iter().all(|&v| v == 3.0));
    }
}

#[tokio::test]
async fn misfits_are_refused_before_native_code() {
    for (_, runtime) in runtimes() {
        let graph = load(&runtime, "two_inputs");
        let message =
            async |inputs: &[(&str, Tensor)], wanted: &[&str]| match choose(&graph, inputs, wanted)
                .await
            {
                Err(NnError::InvalidInput(message)) => message,
                other => panic!("{other:?}"),
            };
        let fit = floats(&[1, 3], &[0.; 3]);
        let (a, b) = (("a", fit.clone()), ("b", fit.clone()));
        assert_eq!(
            message(std::slice::from_ref(&a), &[]).await,
            "input `b` is missing; the graph takes `a`, `b`"
        );
        assert_eq!(
            message(&[a.clone(), ("b", floats(&[2, 4], &[0.; 8]))], &[]).await,
            "input `b` has shape [2, 4], but the graph takes fp32 [-1, 3]"
        );
        assert_eq!(
            message(&[a.clone(), ("b", sample(DType::I64, &[1, 3], false))], &[]).await,
            "input `b` is i64 [1, 3], but the graph takes fp32 [-1, 3]"
        );
        assert_eq!(
            message(&[a, b], &["mean"]).await,
            "the graph has no output `mean`; it gives `sum`, `product`"
        );
    }
}

#[tokio::test]
async fn a_failed_run_names_no_path_and_breaks_nothing() {
    for (_, runtime) in runtimes() {
        let graph = load(&runtime, "two_inputs");
        let (two, four) = (floats(&[2, 3], &[1.; 6]), floats(&[4, 3], &[1.; 12]));
        let error = compute(&graph, &[("a", two.clone()), ("b", four)]).await.unwrap_err();
        assert!(matches!(error, NnError::Runtime(_)), "{error:?}");
        assert!(
            error.to_string().starts_with("the graph failed: ") && !error.to_string().contains('/'),
            "{error}"
        );
        assert!(compute(&graph, &[("a", two.clone()), ("b", two)]).await.is_ok());
    }
}

#[tokio::test]
async fn an_input_with_a_default_may_be_left_out() {
    for (backend, runtime) in runtimes() {
        let graph = load(&runtime, "optional_input");
        assert_eq!(graph.inputs().len(), 1);
        let x = floats(&[1, 2], &[1., 2.]);
        let out = compute(&graph, &[("x", x.clone())]).await.unwrap();
        assert_eq!(to_floats(&out[0].1), [10., 20.]);
        if backend == "ONNX Runtime" {
            let out = compute(&graph, &[("scale", floats(&[1], &[3.])), ("x", x)]).await.unwrap();
            assert_eq!(to_floats(&out[0].1), [3., 6.]);
        }
    }
}

#[tokio::test]
async fn outputs_that_are_no_tensors_are_left_out() {
    let Some(runtime) = runtime(BackendChoice::OnnxRuntime) else {
        return;
    };
    for (name, unusable, kind, wanted) in [
        ("sequence_output", "parts", "sequence of tensors", "y"),
        ("zipmap", "probabilities", "sequence of maps", "label"),
    ] {
        let graph = load(&runtime, name);
        assert_eq!(graph.outputs().iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), [wanted]);
        let x = floats(&[1, 2], &[0.25, 0.75]);
        let out = compute(&graph, &[("x", x.clone())]).await.unwrap();
        assert_eq!((out.len(), out[0].0.as_str()), (1, wanted));
        let error = choose(&graph, &[("x", x)], &[unusable]).await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "output `{unusable}` is a {kind}, which cannot be served: export the model without it \
                 (for scikit-learn, with zipmap=False)"
            )
        );
    }
}

#[tokio::test]
async fn strings_may_be_empty_and_hold_zero_bytes() {
    for (backend, runtime) in runtimes() {
        let graph = load(&runtime, "identity_bytes");
        let long = "0\0".repeat(100_000);
        for strings in [&["", "a\0b", "\0", "", "é\0\0", &long][..], &["", ""], &[]] {
            let x = Tensor::from_bytes_elements([1u64, strings.len() as u64], strings).unwrap();
            let out = compute(&graph, &[("x", x.clone())]).await.unwrap();
            assert_eq!(out[0].1, x, "{backend}");
        }
    }
}

#[tokio::test]
async fn strings_that_native_code_cannot_take_are_refused() {
    let Some(runtime) = runtime(BackendChoice::OnnxRuntime) else {
        return;
    };
    let graph = load(&runtime, "identity_bytes");
    let x = Tensor::from_bytes_elements([1u64, 2], [&b"good"[..], &[0xff, 0xfe]]).unwrap();
    let error = compute(&graph, &[("x", x)]).await.unwrap_err();
    assert!(matches!(error, NnError::InvalidInput(_)), "{error:?}");
    assert_eq!(error.to_string(), "input `x` holds a string that is not UTF-8");
}

#[tokio::test]
async fn a_quantised_softmax_is_right_or_refused() {
    for (backend, runtime) in runtimes() {
        if backend == "tract" {
            let options = GraphOptions::default();
            let result = runtime.load("q", &graph_file("quantised_softmax"), &options);
            let error = result.err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.ends_with("tract lacks Softmax of quantised values"), "{error}");
            continue;
        }
        let graph = load(&runtime, "quantised_softmax");
        let out = compute(&graph, &[("x", floats(&[1, 2], &[1., -1.]))]).await.unwrap();
        let out = to_floats(&out[0].1);
        assert!((out[0] - 0.88).abs() < 0.01 && (out[1] - 0.12).abs() < 0.01, "{out:?}");
    }
}

#[test]
fn files_that_are_no_graphs_are_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(graph_file("two_inputs")).unwrap();
    let (half, noise) = (whole[..whole.len() / 2].to_vec(), vec![0xa5; 4096]);
    for (backend, runtime) in runtimes() {
        for (name, bytes) in [("half", &half), ("noise", &noise), ("empty", &Vec::new())] {
            let path = folder.path().join(format!("{name}.onnx"));
            std::fs::write(&path, bytes).unwrap();
            let error =
                runtime.load(name, &path, &GraphOptions::default()).err().unwrap().to_string();
            assert!(
                error.contains(&format!("{name}.onnx")) && !error.contains('\n'),
                "{backend}: {error}"
            );
        }
        for (name, text) in [
            ("sequence_input", "`parts` is a sequence"),
            ("identity_fp8", "`x` is a tensor of"),
            ("fp8_output", "e4m3fn"),
        ] {
            let error = runtime
                .load(name, &graph_file(name), &GraphOptions::default())
                .err()
                .unwrap()
                .to_string();
            assert!(error.contains(text), "{backend}: {error}");
        }
        let error = runtime
            .load("x", &graph_file("nowhere"), &GraphOptions::default())
            .err()
            .unwrap()
            .to_string();
        assert!(error.starts_with("there is no file"), "{error}");
    }
}

#[tokio::test]
async fn a_caller_who_leaves_stops_the_run() {
    let Some(runtime) = runtime(BackendChoice::OnnxRuntime) else {
        return;
    };
    let options = GraphOptions { sessions: Some(1), ..GraphOptions::default() };
    let graph = load_with(&runtime, "slow", &options);
    // Minutes of work for the only session.
    let (leaver, large) = (graph.clone(), floats(&[3000, 3000], &[0.; 9_000_000]));
    let call = tokio::spawn(async move { compute(&leaver, &[("x", large)]).await });
    while graph.stats().busy == 0 {
        assert!(!call.is_finished(), "the graph is too fast for this test");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    call.abort();
    let next = floats(&[1, 1], &[1.]);
    let inputs = [("x", next)];
    let next = tokio::time::timeout(Duration::from_secs(60), compute(&graph, &inputs)).await;
    next.expect("the run was stopped").unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_callers() {
    for (_, runtime) in runtimes() {
        let graph = load_with(
            &runtime,
            "slow",
            &GraphOptions { queue: 1, sessions: Some(1), ..GraphOptions::default() },
        );
        let x = floats(&[200, 200], &[0.; 40_000]);
        // Polled one after another on this thread: at most one can be running and one waiting.
        let inputs = [("x", x)];
        let calls = (0..8).map(|_| compute(&graph, &inputs));
        let results = futures_util::future::join_all(calls).await;
        let (ok, refused): (Vec<_>, Vec<_>) =
            results.into_iter().partition(|result| result.is_ok());
        assert!((1..=2).contains(&ok.len()), "{} calls were served", ok.len());
        for result in refused {
            assert_eq!(
                result.unwrap_err().to_string(),
                "1 calls of this model already wait for this graph (max_queue)"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_at_once_get_their_own_answers() {
    for (_, runtime) in runtimes() {
        let graph = load_with(
            &runtime,
            "two_inputs",
            &GraphOptions { sessions: Some(3), ..GraphOptions::default() },
        );
        let calls: Vec<_> = (0..100u16)
            .map(|i| {
                let graph = graph.clone();
                let input = |by: f32| floats(&[1, 3], &[f32::from(i) * by; 3]);
                let (a, b) = (input(1.0), input(10.0));
                tokio::spawn(async move { compute(&graph, &[("a", a), ("b", b)]).await })
            })
            .collect();
        for (i, call) in (0..100u16).zip(calls) {
            let out = call.await.unwrap().unwrap();
            assert_eq!(to_floats(&out[0].1), [f32::from(i) * 11.0; 3]);
        }
    }
}

#[tokio::test]
async fn a_device_that_is_not_there_is_an_error_unless_the_cpu_may_stand_in() {
    for (backend, runtime) in runtimes() {
        let options = GraphOptions { device: Device::Cuda(0), ..GraphOptions::default() };
        let error = match runtime.load("two_inputs", &graph_file("two_inputs"), &options) {
            Err(error) => error.to_string(),
            Ok(_) => {
                skip_here("a missing device: this machine has a GPU");
                continue;
            }
        };
        assert!(error.starts_with("device cuda:0 cannot be used"), "{backend}: {error}");
        let graph =
            load_with(&runtime, "two_inputs", &GraphOptions { fallback_cpu: true, ..options });
        assert_eq!(graph.device(), "cpu");
        let x = floats(&[1, 3], &[1.; 3]);
        let inputs = [("a", x.clone()), ("b", x)];
        let call = compute(&graph, &inputs);
        tokio::time::timeout(Duration::from_secs(30), call).await.unwrap().unwrap();
    }
}
