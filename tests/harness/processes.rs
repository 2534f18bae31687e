//! A server's processes, as the system shows them in /proc: whose child each is, whether it is a zombie,
//! what memory it holds.

use std::{fs, path::PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::{Server, until};

/// A process. Its number may be another's once it has ended; when it started tells them apart.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: u32,
    parent: u32,
    state: char,
    /// In the clock's ticks since the machine's start.
    started: u64,
    arguments: Vec<String>,
}

/// The same process, whatever it does just now.
impl PartialEq for Process {
    fn eq(&self, other: &Self) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }
}

impl Process {
    /// None where it has ended and nobody waits for it.
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(folder(pid).join("stat")).ok()?;
        // The name stands in brackets, and may have any character.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        let line = fs::read(folder(pid).join("cmdline")).unwrap_or_default();
        let arguments = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let arguments = arguments.map(|argument| argument.into_owned()).collect();
        Some(Self { pid, parent, state, started, arguments })
    }

    pub fn is_zombie(&self) -> bool {
        self.state == 'Z'
    }

    /// Whether this one, not another of its number, is there, be it as a zombie.
    pub fn exists(&self) -> bool {
        Self::read(self.pid).is_some_and(|process| process.started == self.started)
    }

    /// Whether it runs inference, or waits to.
    fn is_native(&self) -> bool {
        let is = |at: usize, word: &str| self.arguments.get(at).is_some_and(|a| a == word);
        is(1, "child") && !is(2, "compile")
    }

    pub fn signal(&self, signal: Signal) {
        // It may have ended just now.
        let _ = kill_process(Pid::from_raw(self.pid as i32).unwrap(), signal);
    }

    /// Bytes of memory that no file is behind: its own, and what it shares with others.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(folder(self.pid).join("status")).unwrap_or_default();
        let kib = |key: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.map_or(0, |line| line.split_whitespace().next().unwrap().parse().unwrap())
        };
        1024 * (kib("RssAnon:") + kib("RssShmem:"))
    }
}

fn folder(pid: u32) -> PathBuf {
    format!("/proc/{pid}").into()
}

/// All that a process has started, and what these have, zombies too.
pub fn descendants(pid: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let all: Vec<_> = numbers.filter_map(Process::read).collect();
    let mut known = vec![pid];
    let mut found = Vec::new();
    while let Some(parent) = known.pop() {
        let children = all.iter().filter(|process| process.parent == parent);
        for child in children {
            known.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

impl Server {
    /// All that it has started and that is still there, zombies too.
    pub fn children(&self) -> Vec<Process> {
        descendants(self.pid())
    }

    /// Its living children for inference.
    pub fn natives(&self) -> Vec<Process> {
        let mut natives = self.children();
        natives.retain(|child| child.is_native() && !child.is_zombie());
        natives.sort_by_key(|child| child.pid);
        natives
    }

    /// The memory of all its processes, in bytes, without pages of files.
    pub fn memory(&self) -> u64 {
        let own = Process::read(self.pid()).map_or(0, |server| server.memory());
        own + self.children().iter().map(Process::memory).sum::<u64>()
    }

    /// Waits until no child that has ended is still there: it takes a moment, but never stays.
    pub async fn no_zombies(&self) {
        until("no zombie", async || !self.children().iter().any(Process::is_zombie)).await;
    }
}
