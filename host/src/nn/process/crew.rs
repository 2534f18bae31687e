//! The threads of a child that run graphs. All of them wait for all sessions' sockets: whoever wakes has
//! the run, with no way through another thread. There are as many as runs under way and a few more,
//! however many sessions there are.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::{
    buffer::spare_capacity,
    event::{
        PollFd, PollFlags, Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
        poll,
    },
    fd::BorrowedFd,
    io::Errno,
};

use crate::nn::{spin::Spin, thread::native_thread};

/// Threads that wait for a run while there is none; others end.
const WAITING: usize = 4;

/// A session whose socket is watched.
pub trait Member: Send {
    fn socket(&self) -> rustix::fd::BorrowedFd<'_>;

    /// Does what the socket has to say, which does not wait for more. False at its end.
    fn work(&mut self) -> bool;
}

/// Whether a socket has something to say.
fn has_come(socket: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    matches!(poll(&mut polled, Some(&Timespec::default())), Ok(1..))
}

/// Threads, and the sessions that they serve.
pub struct Crew<M> {
    poll: OwnedFd,
    members: Mutex<HashMap<u32, Arc<Mutex<M>>>>,
    waiting: AtomicUsize,
}

impl<M: Member + 'static> Crew<M> {
    pub fn new() -> io::Result<Arc<Self>> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let (members, waiting) = (Mutex::default(), AtomicUsize::new(0));
        let crew = Arc::new(Self { poll, members, waiting });
        crew.clone().join()?;
        Ok(crew)
    }

    /// Serves a session from now on, under its number.
    pub fn serve(&self, number: u32, member: M) -> io::Result<()> {
        let member = Arc::new(Mutex::new(member));
        self.members().insert(number, member.clone());
        let member = member.lock().unwrap_or_else(PoisonError::into_inner);
        let (data, flags) =
            (EventData::new_u64(number.into()), EventFlags::IN | EventFlags::ONESHOT);
        Ok(epoll::add(&self.poll, member.socket(), data, flags)?)
    }

    /// One more thread.
    fn join(self: Arc<Self>) -> io::Result<()> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let crew = self.clone();
        let started = native_thread("nn-session", move || crew.go_on());
        if started.is_err() {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        started.map(drop)
    }

    fn go_on(self: Arc<Self>) {
        let mut spin = Spin::default();
        loop {
            let Some(number) = self.next() else { return };
            if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1
                && let Err(e) = self.clone().join()
            {
                // The next run waits until this one has ended.
                tracing::warn!("no thread for further runs: {e}");
            }
            let member = self.members().get(&number).cloned();
            if let Some(member) = member {
                let mut member = member.lock().unwrap_or_else(PoisonError::into_inner);
                let mut goes_on = member.work();
                // Its next run may come at once. No other thread is woken for it.
                while goes_on && spin.wait(|| has_come(member.socket()).then_some(())).is_some() {
                    goes_on = member.work();
                }
                let again = goes_on && self.watch_again(number, &member).is_ok();
                drop(member);
                if !again {
                    self.members().remove(&number);
                }
            }
            if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                return;
            }
        }
    }

    /// Waits for a socket that has something to say, which is then this thread's.
    fn next(&self) -> Option<u32> {
        let mut events = Vec::with_capacity(1);
        loop {
            match epoll::wait(&self.poll, spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(e) => {
                    tracing::error!("sessions cannot be waited for: {e}");
                    return None;
                }
            }
            if let Some(event) = events.pop() {
                return u32::try_from(event.data.u64()).ok();
            }
        }
    }

    fn watch_again(&self, number: u32, member: &M) -> io::Result<()> {
        let (data, flags) =
            (EventData::new_u64(number.into()), EventFlags::IN | EventFlags::ONESHOT);
        Ok(epoll::modify(&self.poll, member.socket().as_fd(), data, flags)?)
    }

    fn members(&self) -> MutexGuard<'_, HashMap<u32, Arc<Mutex<M>>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
