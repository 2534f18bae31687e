//! What a small call is made of on this machine: a system call, waking a thread, a byte there and
//! back over loopback, copying memory. Prints one JSON object.

use std::{
    hint::black_box,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Instant,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, Runtime},
};

#[derive(clap::Args)]
pub struct Args {
    /// Times that each is done
    #[arg(long, default_value_t = 20_000)]
    times: usize,
}

/// More than the caches of most cores hold.
const BLOCK: usize = 64 << 20;

pub fn run(args: Args) -> anyhow::Result<()> {
    println!(
        "{}",
        json!({
            "copy_gb_s": copy(),
            "syscall_ns": syscall(args.times * 10),
            "thread_wake_us": wake(args.times)?,
            "loopback_us": loopback(args.times)?,
            "epoll_us": epoll(args.times)?,
        })
    );
    Ok(())
}

/// Bytes that one thread copies, in GB a second: the best of a few.
fn copy() -> f64 {
    let (from, mut to) = (vec![1u8; BLOCK], vec![0u8; BLOCK]);
    let mut best = f64::MAX;
    for _ in 0..8 {
        let start = Instant::now();
        to.copy_from_slice(black_box(&from));
        black_box(&to);
        best = best.min(start.elapsed().as_secs_f64());
    }
    BLOCK as f64 / best / 1e9
}

/// The shortest call into the kernel.
fn syscall(times: usize) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        black_box(rustix::process::getppid());
    }
    start.elapsed().as_secs_f64() * 1e9 / times as f64
}

/// A sleeping thread woken, and this one woken by it (a futex): half of the round trip.
fn wake(times: usize) -> anyhow::Result<f64> {
    let (there, taken) = mpsc::sync_channel::<()>(1);
    let (back, answers) = mpsc::sync_channel::<()>(1);
    let other = thread::spawn(move || {
        while taken.recv().is_ok() {
            let _ = back.send(());
        }
    });
    let round = median(times, || {
        there.send(())?;
        Ok(answers.recv()?)
    })?;
    drop(there);
    let _ = other.join();
    Ok(round / 2.0)
}

/// A byte to another thread and back, both waiting in `read`: the round trip.
fn loopback(times: usize) -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let other = thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() {
            let _ = far.write_all(&byte);
        }
    });
    let mut byte = [0];
    let round = median(times, || {
        near.write_all(&[1])?;
        Ok(near.read_exact(&mut byte)?)
    })?;
    drop(near);
    let _ = other.join();
    Ok(round)
}

/// The same between two runtimes as the server's workers are, which wait in `epoll`.
fn epoll(times: usize) -> anyhow::Result<f64> {
    let runtime =
        || -> std::io::Result<Runtime> { Builder::new_current_thread().enable_all().build() };
    let (here, there) = (runtime()?, runtime()?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
    }
    let other = thread::spawn(move || {
        there.block_on(async {
            let mut far = tokio::net::TcpStream::from_std(far)?;
            loop {
                let byte = far.read_u8().await?;
                far.write_u8(byte).await?;
            }
            #[allow(unreachable_code)] // It ends with an error, when the other side closes.
            std::io::Result::Ok(())
        })
    });
    let round = here.block_on(async {
        let mut near = tokio::net::TcpStream::from_std(near)?;
        let mut took = Vec::with_capacity(times);
        for _ in 0..times {
            let start = Instant::now();
            near.write_u8(1).await?;
            near.read_u8().await?;
            took.push(start.elapsed().as_secs_f64() * 1e6);
        }
        anyhow::Ok(middle(took))
    })?;
    let _ = other.join();
    Ok(round)
}

fn median(times: usize, mut one: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        one()?;
        took.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(middle(took))
}

fn middle(mut took: Vec<f64>) -> f64 {
    took.sort_by(f64::total_cmp);
    took.get(took.len() / 2).copied().unwrap_or_default()
}
