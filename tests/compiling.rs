//! Components are compiled in processes of their own: bounded, in turn, gone afterwards. What hostile
//! ones try is in hostile/.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;

use crate::{
    harness::{Server, Setup, until},
    hostile::bombs,
};

/// A component that takes minutes, as the model of this name.
fn bomb(setup: Setup, name: &str) -> Setup {
    setup.file(&format!("{name}/model.wasm"), bombs::nested_loops(300, 5000))
}

/// A field of /proc/PID/status, in KiB where it is memory. None once the process is gone.
fn status(pid: u32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().trim_end_matches(" kB").to_owned())
}

/// The processes that a server has started and not yet seen off.
fn children(server: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = Some(server.to_string());
    pids.filter(|pid| status(*pid, "PPid") == parent).collect()
}

/// Those of them that compile. (Another may just have been started, and be no program yet.)
fn compilers(server: u32) -> Vec<u32> {
    let compiles =
        |pid: &u32| command(*pid).split(|byte| *byte == 0).any(|word| word == b"compile");
    children(server).into_iter().filter(compiles).collect()
}

/// Whether none compiles any more, and none that ended has been left behind: a zombie has no command.
fn all_are_seen_off(server: u32) -> bool {
    compilers(server).is_empty() && !children(server).iter().any(|pid| command(*pid).is_empty())
}

fn command(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Waits until a server compiles.
async fn compiler(server: &Server) -> u32 {
    until("a process that compiles", async || !compilers(server.pid()).is_empty()).await;
    compilers(server.pid())[0]
}

async fn answers(server: &Server, model: &str) {
    assert_eq!(server.caller().await.text(model, "hi", "").await.unwrap(), "hi");
}

async fn is_not_served(server: &Server, model: &str) {
    let answer = server.caller().await.text(model, "hi", "").await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
}

/// Page faults of the processes that a server has started and seen off: none where it started none.
fn faults_of_children(server: &Server) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields = stat.rsplit(')').next().unwrap();
    // The fields behind the name begin with the third.
    fields.split_whitespace().nth(11 - 3).unwrap().parse().unwrap()
}

#[tokio::test]
async fn bombs_do_not_keep_a_good_model_out() {
    let cache = tempfile::tempdir().unwrap();
    // More of them than are compiled at once, and all of them smaller than the good one, so that their
    // turn comes first. Neither limit ends them before the good model is there.
    let many = 2 * std::thread::available_parallelism().unwrap().get() + 2;
    let mut setup = Setup::new().guest("echo").cache(&cache.path().join("code"));
    for number in 0..many {
        setup = bomb(setup, &format!("bomb-{number}"));
    }
    let setup = setup.config("[limits]\ncompile_time = '10m'\ncompile_memory = '4 GiB'");
    let Some(server) = setup.begin().await else { return };
    answers(&server, "echo").await;
    let log = server.log();
    assert!(!log.contains("not served"), "{log}");
    assert!(!compilers(server.pid()).is_empty(), "the bombs go on");
}

#[tokio::test]
async fn each_bound_is_named_by_the_model_that_exceeds_it() {
    let cache = tempfile::tempdir().unwrap();
    let setup = || Setup::new().guest("echo").cache(&cache.path().join("code"));
    let setup =
        |limit: &str| bomb(setup(), "bomb").file("bomb/model.toml", format!("[limits]\n{limit}"));
    for (limit, reason) in [
        (
            "compile_time = '200ms'",
            "compiling it takes more than 200ms of CPU time, or 10 times as long by the clock \
             (limit `compile_time`) model=bomb",
        ),
        (
            "compile_memory = '64 MiB'",
            "compiling it takes more than 64 MiB of memory (limit `compile_memory`) model=bomb",
        ),
    ] {
        let server = start!(setup(limit));
        let log = server.log();
        assert!(log.contains(reason), "{log}");
        is_not_served(&server, "bomb").await;
        answers(&server, "echo").await;
        // What was used for it was used elsewhere: the server itself has never been large.
        let most: u64 = status(server.pid(), "VmHWM").unwrap().parse().unwrap();
        assert!(most < 128 << 10, "{most} KiB");
    }
    // An author cannot raise what the operator has set.
    let server = start!(setup("compile_time = '10m'").config("[limits]\ncompile_time = '200ms'"));
    assert!(server.log().contains("takes more than 200ms of CPU time"), "{}", server.log());
}

#[tokio::test]
async fn code_that_is_there_starts_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let setup = || {
        Setup::new()
            .guest("echo")
            .guest("vocabulary")
            .file("vocabulary/model.toml", "snapshot = true")
            .cache(&folder.path().join("code"))
            // Graphs need no processes either.
            .arg("--process")
            .arg("none")
    };
    let server = start!(setup());
    until("the end of those that compile", async || all_are_seen_off(server.pid())).await;
    assert!(faults_of_children(&server) > 0, "it was compiled by others");
    let server = start!(setup());
    assert_eq!((children(server.pid()).len(), faults_of_children(&server)), (0, 0));
    answers(&server, "echo").await;
}

#[tokio::test]
async fn without_a_cache_code_is_mapped_from_where_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    // Others can write there, so it is not used.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let setup = Setup::new()
        .guest("echo")
        .guest("vocabulary")
        .file("vocabulary/model.toml", "snapshot = true")
        .cache(folder.path());
    let server = start!(setup);
    answers(&server, "echo").await;
    let answer = server.caller().await.text("vocabulary", "hello", "").await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
    let code = |line: &&str| line.contains("/memfd:tms-compile") && line.contains("r-xp");
    assert!(maps.lines().find(code).is_some(), "{maps}");
}

#[tokio::test]
async fn a_compiler_that_crashes_fails_one_model() {
    let setup = bomb(Setup::new().guest("echo"), "bomb");
    let Some(server) = setup.begin().await else { return };
    let victim = compiler(&server).await;
    answers(&server, "echo").await;
    // By now only the bomb is left, unless the echo's code was not there yet.
    until("only one that compiles", async || compilers(server.pid()).len() <= 1).await;
    let last = compilers(server.pid()).pop().unwrap_or(victim);
    // The first is for a handler, which takes it for a fault and waits for it to come again.
    until("its end", async || {
        let _ = kill_process(Pid::from_raw(last as i32).unwrap(), Signal::SEGV);
        !is_alive(last)
    })
    .await;
    server.logged("not served: compiling it ended by SIGSEGV model=bomb").await;
    is_not_served(&server, "bomb").await;
    answers(&server, "echo").await;
    until("nothing that is left of it", async || all_are_seen_off(server.pid())).await;
}

#[tokio::test]
async fn a_server_that_ends_takes_those_that_compile_along() {
    for signal in [Signal::KILL, Signal::TERM] {
        let setup = bomb(Setup::new().guest("echo"), "bomb");
        let Some(mut server) = setup.begin().await else { return };
        let compiler = compiler(&server).await;
        server.signal(signal);
        server.exit().await;
        // A number may be given to another process, not so soon.
        until("its end", async || !is_alive(compiler)).await;
    }
}

/// Whether a process is there and no zombie: who adopts it may not look after it.
fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
        && status(pid, "State").is_some_and(|state| !state.starts_with('Z'))
}

#[test]
fn nobody_needs_to_know_of_the_verb() {
    let help = crate::harness::setup::tms().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("serve") && !help.contains("child"), "{help}");
}
