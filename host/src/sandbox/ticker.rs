//! The epoch's ticker: one thread a server, which lets running guests be asked every millisecond
//! whether they may go on.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use wasmtime::Engine;

/// How long a guest runs before it is asked whether it may go on, and others get their turn.
const TICK: Duration = Duration::from_millis(1);
/// The ticker sleeps after so many ticks without a call.
const IDLE_TICKS: u32 = 1000;

/// Increments the engine's epoch while guests run; sleeps while none do.
pub struct Ticker {
    /// A guest has run since the last tick, or runs.
    ran: AtomicBool,
    asleep: AtomicBool,
    thread: OnceLock<thread::Thread>,
}

impl Ticker {
    /// Starts the thread. Nothing may run without it: guests could not be interrupted.
    pub fn start(engine: Engine) -> io::Result<Arc<Self>> {
        let ticker = Arc::new(Self {
            ran: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let weak = Arc::downgrade(&ticker);
        let spawned = thread::Builder::new().name("tms-epoch".into()).spawn(move || {
            let mut idle = 0;
            // Ends with the last handle on it.
            while let Some(ticker) = weak.upgrade() {
                engine.increment_epoch();
                idle = match ticker.ran.swap(false, Ordering::SeqCst) {
                    true => 0,
                    false => idle + 1,
                };
                if idle < IDLE_TICKS {
                    drop(ticker);
                    thread::sleep(TICK);
                    continue;
                }
                ticker.asleep.store(true, Ordering::SeqCst);
                let nobody = !ticker.ran.load(Ordering::SeqCst);
                drop(ticker);
                if nobody {
                    // A guest that runs now sees `asleep` and unparks; the time-out lets this
                    // thread notice that the server is gone.
                    thread::park_timeout(Duration::from_secs(1));
                }
                if let Some(ticker) = weak.upgrade() {
                    ticker.asleep.store(false, Ordering::SeqCst);
                }
            }
        });
        // Nobody else sets it.
        let _ = ticker.thread.set(spawned?.thread().clone());
        Ok(ticker)
    }

    /// To be said before each poll of a guest, and at each tick that it meets. One that runs on and on
    /// meets the next tick long before the ticker would sleep; one that waits is polled again before
    /// it runs.
    pub fn guest_runs(&self) {
        // Mostly it has been said already: then the workers only read what they share.
        if !self.ran.load(Ordering::SeqCst) {
            self.ran.store(true, Ordering::SeqCst);
        }
        if self.asleep.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}
