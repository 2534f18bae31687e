//! What a model's instances use: counted for metrics, against each instance's limit, and against the server's
//! memory.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use crate::ledger::{self, NoRoom, Room, Tenant};

/// What a handle on a tensor takes besides the tensor's bytes, and what each of its dimensions takes.
const HANDLE: usize = 160;
const DIMENSION: usize = size_of::<u64>();

/// What a model's instances use, and what became of them.
#[derive(Debug, Default)]
pub struct Usage {
    /// Host-side bytes of all tensors.
    pub tensor_bytes: AtomicUsize,
    /// Bytes of tensors that guests have read: each is a copy into a guest.
    pub bytes_read: AtomicU64,
    pub log_lines_dropped: AtomicU64,
    pub instances_created: AtomicU64,
    pub instances_discarded: AtomicU64,
    /// What calls with little data take, and calls with more: who sends little is not kept out by what others
    /// send.
    marks: [Marks; 2],
}

/// What an instance takes at the height of a call, in bytes.
#[derive(Debug, Default)]
struct Marks {
    /// The most of recent calls. It is what the next call is let in with.
    high_water: AtomicUsize,
    /// As it mostly is: what a call is let in with where there is not room for more. One call that takes much
    /// does not keep the others out.
    usual: AtomicUsize,
}

/// How much data a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Little,
    Much,
}

impl Load {
    /// Of a request of `bytes`.
    pub fn of(bytes: usize) -> Self {
        const LITTLE: usize = 64 << 10;
        if bytes <= LITTLE { Self::Little } else { Self::Much }
    }
}

impl Marks {
    /// A call has taken `bytes` at its height. Older calls are forgotten by and by.
    fn has_taken(&self, bytes: usize) {
        /// The part of an older mark that is forgotten with each call.
        const FORGOTTEN: usize = 64;
        let mark = self.high_water.load(Ordering::Relaxed);
        let next = bytes.max(mark - mark / FORGOTTEN);
        if next != mark {
            self.high_water.store(next, Ordering::Relaxed);
        }
        /// The weight of the past in what is usual.
        const PAST: usize = 8;
        let usual = self.usual.load(Ordering::Relaxed);
        let next = usual - usual / PAST + bytes / PAST;
        if next != usual {
            self.usual.store(next, Ordering::Relaxed);
        }
    }
}

/// What one instance uses.
#[derive(Debug)]
pub struct Account {
    /// Linear memory, tables and host-side tensors, in bytes: what the instance's limit counts.
    used: AtomicUsize,
    /// The part of it that is charged to the server's memory here. What callers sent, and what graphs gave,
    /// is charged with its bytes already, wherever they are.
    owned: AtomicUsize,
    /// The most that was owned in the current call.
    height: AtomicUsize,
    /// Bytes of results that have left the guest in the current call, and the most that these were together
    /// with what was owned.
    given: AtomicUsize,
    lifted: AtomicUsize,
    /// The current call has much data.
    much: AtomicBool,
    /// What is charged: what is owned, and what was set aside for the current call.
    charged: Mutex<ledger::Charge>,
    usage: Arc<Usage>,
}

/// Why an instance gets no more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Its own limit.
    Limit,
    /// The server's memory is taken.
    Server(NoRoom),
}

/// Whose the bytes of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// The instance's: it made them.
    Own,
    /// Charged elsewhere.
    Charged,
}

impl Account {
    pub fn new(usage: Arc<Usage>, tenant: &Arc<Tenant>) -> Self {
        usage.instances_created.fetch_add(1, Ordering::Relaxed);
        Self {
            used: AtomicUsize::new(0),
            owned: AtomicUsize::new(0),
            height: AtomicUsize::new(0),
            given: AtomicUsize::new(0),
            lifted: AtomicUsize::new(0),
            much: AtomicBool::new(false),
            charged: Mutex::new(tenant.nothing(ledger::Account::Guests)),
            usage,
        }
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The guest reads so many bytes of a tensor.
    pub fn read(&self, bytes: usize) {
        self.usage.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A call begins: sets aside what calls of this model take, so that it does not fail half way.
    pub fn begin(&self, load: Load) -> Result<(), NoRoom> {
        self.much.store(load == Load::Much, Ordering::Relaxed);
        let marks = self.marks();
        // Who sends little is not kept out by large calls of the same model.
        let room = if load == Load::Little { Room::UnderWay } else { Room::New };
        let mut charged = self.charged();
        let has = charged.bytes();
        let more = |mark: &AtomicUsize| mark.load(Ordering::Relaxed).saturating_sub(has);
        match more(&marks.high_water) {
            0 => Ok(()),
            most => charged.grow(most, room).or_else(|_| charged.grow(more(&marks.usual), room)),
        }
    }

    /// A result of `bytes` has left the guest: for a moment it was there twice, and the next call is let
    /// in with as much.
    pub fn gives(&self, bytes: usize) {
        let owned = self.owned.load(Ordering::Relaxed);
        let given = self.given.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.lifted.fetch_max(owned.saturating_add(given), Ordering::Relaxed);
    }

    /// A call has ended: what it did not take, or has given back, is free again.
    pub fn end(&self) {
        let owned = self.owned.load(Ordering::Relaxed);
        let height = self.height.swap(owned, Ordering::Relaxed);
        let lifted = self.lifted.swap(0, Ordering::Relaxed);
        self.given.store(0, Ordering::Relaxed);
        self.marks().has_taken(height.max(owned).max(lifted));
        self.charged().shrink_to(owned);
    }

    /// Counts the handle of a tensor, and its bytes, until the charge is gone.
    pub fn tensor(
        self: &Arc<Self>,
        bytes: usize,
        whose: Bytes,
        rank: usize,
        limit: usize,
    ) -> Result<Charge, Full> {
        let handle = HANDLE + rank.saturating_mul(DIMENSION);
        let bytes = bytes.saturating_add(handle);
        let owned = if whose == Bytes::Own { bytes } else { handle };
        self.add(bytes, owned, limit)?;
        self.usage.tensor_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Charge { bytes, owned, account: self.clone() })
    }

    /// Adds memory that the instance has for good, or for as long as it says.
    pub fn grow(&self, bytes: usize, limit: usize) -> Result<(), Full> {
        self.add(bytes, bytes, limit)
    }

    /// It did not get the bytes, although they were added.
    pub fn did_not_grow(&self, bytes: usize) {
        self.remove(bytes, bytes);
    }

    fn add(&self, bytes: usize, owned: usize, limit: usize) -> Result<(), Full> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if used > limit {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Full::Limit);
        }
        let all = self.owned.fetch_add(owned, Ordering::Relaxed) + owned;
        // Up to the height it is charged already.
        if all > self.height.load(Ordering::Relaxed) {
            let mut charged = self.charged();
            let more = all.saturating_sub(charged.bytes());
            if let Err(no_room) = charged.grow(more, Room::UnderWay) {
                self.remove(bytes, owned);
                return Err(Full::Server(no_room));
            }
            self.height.fetch_max(all, Ordering::Relaxed);
        }
        Ok(())
    }

    fn remove(&self, bytes: usize, owned: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.owned.fetch_sub(owned, Ordering::Relaxed);
    }

    /// Those of calls like the current one.
    fn marks(&self) -> &Marks {
        &self.usage.marks[usize::from(self.much.load(Ordering::Relaxed))]
    }

    fn charged(&self) -> MutexGuard<'_, ledger::Charge> {
        self.charged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An instance is gone with the last of what it used: its store, and tensors that a native run still
/// holds. One that failed to start is counted too.
impl Drop for Account {
    fn drop(&mut self) {
        let height = self.height.load(Ordering::Relaxed);
        self.marks().has_taken(height);
        self.usage.instances_discarded.fetch_add(1, Ordering::Relaxed);
    }
}

/// Bytes of a host-side tensor, counted as the instance's until its last handle is gone.
#[derive(Debug)]
pub struct Charge {
    bytes: usize,
    /// The part of them that is charged to the server's memory by the instance.
    owned: usize,
    account: Arc<Account>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.remove(self.bytes, self.owned);
        self.account.usage.tensor_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ledger;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn a_call_is_let_in_with_what_the_last_one_took() {
        let ledger = Ledger::new(800_000);
        let usage = Arc::<Usage>::default();
        let tenant = ledger.tenant(1);
        let one = Account::new(usage.clone(), &tenant);
        one.grow(100_000, LIMIT).unwrap();
        one.begin(Load::Much).unwrap();
        assert_eq!(ledger.used(), 100_000, "nothing is known of its calls");
        one.grow(300_000, LIMIT).unwrap();
        one.did_not_grow(300_000);
        assert_eq!(ledger.used(), 400_000, "it may want it again");
        one.end();
        assert_eq!(ledger.used(), 100_000);
        one.begin(Load::Much).unwrap();
        assert_eq!(ledger.used(), 400_000);
        let two = Account::new(usage.clone(), &tenant);
        two.begin(Load::Much).unwrap();
        assert_eq!(
            ledger.used(),
            450_000,
            "with what is usual: 400 000 more would leave too little"
        );
        drop(two);
        drop(one);
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn calls_with_much_data_do_not_keep_others_out() {
        let ledger = Ledger::new(800_000);
        let one = Account::new(Arc::default(), &ledger.tenant(1));
        one.begin(Load::Much).unwrap();
        one.grow(500_000, LIMIT).unwrap();
        one.did_not_grow(400_000);
        one.gives(50_000);
        one.end();
        one.begin(Load::Little).unwrap();
        assert_eq!(ledger.used(), 100_000);
        one.end();
        one.begin(Load::Much).unwrap();
        assert_eq!(ledger.used(), 500_000);
    }

    #[test]
    fn results_count_beside_the_instance() {
        let ledger = Ledger::new(800_000);
        let one = Account::new(Arc::default(), &ledger.tenant(1));
        one.begin(Load::Little).unwrap();
        one.grow(100_000, LIMIT).unwrap();
        one.gives(20_000);
        one.gives(30_000);
        one.end();
        one.begin(Load::Little).unwrap();
        assert_eq!(ledger.used(), 150_000);
    }

    #[test]
    fn the_limit_and_the_server_refuse() {
        let ledger = Ledger::new(1000);
        let account = Arc::new(Account::new(Arc::default(), &ledger.tenant(1)));
        assert_eq!(account.grow(1000, 999), Err(Full::Limit));
        assert_eq!(account.grow(1001, 2000), Err(Full::Server(NoRoom { bytes: 1001 })));
        assert_eq!((account.used(), ledger.used()), (0, 0));
        let charged = account.tensor(5000, Bytes::Charged, 4, LIMIT).unwrap();
        assert_eq!(account.used(), 5000 + HANDLE + 4 * DIMENSION);
        assert_eq!(ledger.used(), HANDLE + 4 * DIMENSION);
        assert!(account.tensor(5000, Bytes::Own, 4, LIMIT).is_err());
        drop(charged);
        account.end();
        assert_eq!((account.used(), ledger.used()), (0, 0));
    }
}
