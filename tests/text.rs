//! Texts: one and many, arguments in all their forms, every character.

use serde_json::{Value, json};
use tonic::Code;

use crate::harness::{Setup, assert_refused, pixels};

/// Characters that something on the way could trip over.
const TEXTS: [&str; 8] = [
    "",
    "plain",
    "\"quotes\" and \\ and / and \n\t\r",
    "emoji \u{1f680} \u{1f469}\u{200d}\u{1f52c} \u{1f1e9}\u{1f1ea}",
    "nul \0 inside",
    "\u{202e}right to left \u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    "\u{feff}\u{fffd}\u{10ffff}\u{7f}\u{80}",
    "e\u{301} is not \u{e9}",
];

#[tokio::test]
async fn the_example_answers_as_the_original() {
    let server = start!(Setup::new().example("example_text"));
    let caller = server.caller().await;
    assert_eq!(caller.text("example_text", "some text", "").await.unwrap(), "some text_processed");
    let answer = caller.texts("example_text", &["a", "b"], "").await.unwrap();
    assert_eq!(answer, json!(["a_processed", "b_processed"]));
}

#[tokio::test]
async fn every_character_comes_back() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    for text in TEXTS {
        assert_eq!(caller.text("echo", text, "").await.unwrap(), text);
    }
    assert_eq!(caller.texts("echo", &TEXTS, "").await.unwrap(), json!(TEXTS));
    let long = "\u{1f680}x".repeat(1 << 20);
    assert_eq!(caller.text("echo", &long, "").await.unwrap(), long);
}

#[tokio::test]
async fn there_are_several_ways_to_give_no_arguments() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    for args in ["", "\"\"", "null", "{}", "  \n", " {} ", "\t null"] {
        // With arguments, `echo` would answer with an object.
        assert_eq!(caller.text("echo", "hi", args).await.unwrap(), "hi", "`{args}`");
        assert_eq!(caller.texts("echo", &["hi"], args).await.unwrap(), json!(["hi"]), "`{args}`");
    }
}

#[tokio::test]
async fn arguments_reach_the_model_as_they_are() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    for args in [
        json!({"args": true}),
        json!({"args": {"deep": [1, 2.5, null, {"\u{1f680}": "\0"}]}, "n": -7}),
        json!({"args": 1, "long": "x".repeat(100_000)}),
    ] {
        let answer = caller.text("echo", "hi", &args.to_string()).await.unwrap();
        assert_eq!(answer, json!({"text": "hi", "args": args}));
        let batch = caller.texts("echo", &["a", "b"], &args.to_string()).await.unwrap();
        assert_eq!(batch, json!([{"text": "a", "args": args}, {"text": "b", "args": args}]));
    }
}

#[tokio::test]
async fn broken_arguments_are_the_callers_fault() {
    let server = start!(Setup::new().guest("echo"));
    let caller = server.caller().await;
    for (args, why) in [
        ("{", "EOF while parsing an object at line 1 column 1"),
        ("{\"a\": 1} x", "trailing characters at line 1 column 10"),
        ("{'a': 1}", "key must be a string at line 1 column 2"),
        ("nonsense", "expected ident at line 1 column 2"),
        ("{\"a\": NaN}", "expected value at line 1 column 7"),
    ] {
        let message = format!("args is not JSON: {why}");
        let text = caller.text("echo", "hi", args).await;
        assert_refused(text, Code::InvalidArgument, &message);
        let texts = caller.texts("echo", &["hi"], args).await;
        assert_refused(texts, Code::InvalidArgument, &message);
    }
    // So deep that a parser that recurses would fall.
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let refused = caller.text("echo", "hi", &deep).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
}

#[tokio::test]
async fn an_empty_batch_has_no_results() {
    let setup = Setup::new().guest("echo").guest("broken_init").example("example_image");
    let server = start!(setup);
    let caller = server.caller().await;
    assert_eq!(caller.texts("echo", &[], "").await.unwrap(), json!([]));
    let refused = caller.texts("echo", &[], "{").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let other = caller.texts("example_image", &[], "").await;
    let message = "model `example_image`: the model takes an image, not a text";
    assert_refused(other, Code::InvalidArgument, message);
}

#[tokio::test]
async fn the_wrong_kind_is_refused() {
    let setup = Setup::new().example("example_text").example("example_image").guest("tensor_sum");
    let server = start!(setup);
    let caller = server.caller().await;
    let message = "model `example_image`: the model takes an image, not a text";
    let text = caller.text("example_image", "hi", "").await;
    assert_refused(text, Code::InvalidArgument, message);
    let message = "model `example_text`: the model takes a text, not an image";
    let image = caller.image("example_text", pixels(2, 2, 3)).await;
    assert_refused(image, Code::InvalidArgument, message);
    let message = "model `tensor_sum`: the model takes named tensors, not a text";
    let text = caller.text("tensor_sum", "hi", "").await;
    assert_refused(text, Code::InvalidArgument, message);
}

#[tokio::test]
async fn a_hundred_calls_in_flight_are_not_mixed_up() {
    for workers in [1, 4] {
        let server = start!(Setup::new().guest("echo").workers(workers));
        let callers = [server.caller().await, server.caller().await];
        let calls = (0..100).map(|i| {
            let caller = callers[i % 2].clone();
            tokio::spawn(async move {
                let text = format!("text {i} {}", "x".repeat(i * 100));
                let answer = match i % 3 {
                    0 => caller.texts("echo", &[&text, "b"], "").await.unwrap()[0].clone(),
                    _ => caller.text("echo", &text, "").await.unwrap(),
                };
                assert_eq!(answer, Value::from(text));
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
    }
}
