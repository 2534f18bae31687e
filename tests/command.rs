//! `tms call` and `tms build`: what they print and how they fail.

use std::{
    fs,
    process::{Command, Output},
};

use crate::harness::{Server, Setup, repository, setup::tms, without};

pub fn said(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn call(server: &Server, args: &[&str]) -> (Option<i32>, String, String) {
    let address = format!("127.0.0.1:{}", server.port);
    said(tms().arg("call").args(args).args(["--address", &address]))
}

#[tokio::test]
async fn call_prints_the_answer() {
    let setup = Setup::new().example("example_text").example("example_image").guest("echo");
    let server = start!(setup);
    let answer = |text: &str| (Some(0), format!("{text}\n"), String::new());
    let text = call(&server, &["example_text", "--text", "hello"]);
    assert_eq!(text, answer("\"hello_processed\""));
    let args = r#"{"args":1}"#;
    let text = call(&server, &["echo", "--text", "hi", "--args", args]);
    assert_eq!(text, answer(r#"{"args":{"args":1},"text":"hi"}"#));
    let cat = repository().join("models/efficientnet_lite0/tests/chelsea.png");
    let image = call(&server, &["example_image", "--image", cat.to_str().unwrap()]);
    assert_eq!(image, answer(r#"[["object1",0.3],["object2",0.5]]"#));
    let address = format!("127.0.0.1:{}", server.port);
    let text = said(tms().args(["call", "echo", "--text", ""]).env("TMS_ADDRESS", address));
    assert_eq!(text, answer("\"\""));
}

#[tokio::test]
async fn call_says_what_went_wrong() {
    let server = start!(Setup::new().guest("echo"));
    let failed = |text: &str| (Some(1), String::new(), format!("tms: {text}\n"));
    let unknown = call(&server, &["nothing", "--text", "hi"]);
    assert_eq!(unknown, failed("NotFound: there is no model `nothing`; there are: echo"));
    let folder = server.folder().to_owned();
    let picture = folder.join("picture.jpg");
    fs::write(&picture, "no picture").unwrap();
    let (code, out, error) = call(&server, &["echo", "--image", picture.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let error = without(&error, &folder, "DIR");
    assert!(error.starts_with("tms: the picture DIR/picture.jpg cannot be read: "), "{error}");
    let address = format!("127.0.0.1:{}", server.port);
    drop(server);
    let nobody = said(tms().args(["call", "echo", "--text", "hi", "--address", &address]));
    let message = format!(
        "no server answers at {address}: start one with `tms serve`, or name another with \
         --address (tcp connect error: Connection refused (os error 111))"
    );
    assert_eq!(nobody, failed(&message));
    let bad = said(tms().args(["call", "echo", "--text", "hi", "--address", "not an address"]));
    assert_eq!(
        bad,
        failed("`not an address` is not an address such as 127.0.0.1:50000 or unix:/run/tms.sock")
    );
}

#[test]
fn call_wants_a_text_or_an_image() {
    let (code, out, error) = said(tms().args(["call", "echo"]));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(error.contains("<--text <TEXT>|--image <PATH>>"), "{error}");
}

#[test]
fn build_wants_source() {
    let folder = tempfile::tempdir().unwrap();
    let failed = |args: &[&str]| {
        let (code, _, error) = said(tms().arg("build").args(args).current_dir(folder.path()));
        assert_eq!(code, Some(1), "{error}");
        without(&error, folder.path(), "DIR")
    };
    assert_eq!(
        failed(&["nothing"]),
        "tms: `nothing` cannot be read: No such file or directory (os error 2)\n"
    );
    fs::create_dir(folder.path().join("models")).unwrap();
    assert_eq!(
        failed(&[]),
        "tms: `models` has no model's source: neither it nor a folder in it has a Cargo.toml with \
         a [package]\n"
    );
}
