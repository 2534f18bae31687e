//! One account of the server's memory. Whatever a message, a guest or a file can make large is charged
//! here before it is allocated; what does not fit is refused, and what is gone is given back.
//!
//! How far it may be filled depends on who asks. A model that takes more than its share, by weight among
//! the models that have any, gets new calls in up to three quarters, and its calls grow up to seven eighths.
//! One that takes less gets new calls in up to fifteen sixteenths, and its calls grow up to thirty-one
//! thirty-seconds: so one that takes all it can leaves room for the others. Large messages, whose models
//! are not known yet, come in up to three quarters, and fill half at most. The last part is for what is
//! little, as most messages are.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::seldom::Seldom;

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Connections, and headers that arrive.
    Connections,
    /// Requests that arrive, and what they become when they are decoded.
    Messages,
    /// Requests that are read: they wait, or are being answered.
    Inputs,
    /// Linear memory and tables of components' instances.
    Guests,
    /// Tensors, their shapes and names among them, that components and native runs made.
    Tensors,
    /// Memory that is shared with native code.
    Regions,
    /// Replies that their callers have not taken.
    Replies,
    /// Processes that compile components.
    Compiling,
}

impl Account {
    pub const ALL: [Self; 8] = [
        Self::Connections,
        Self::Messages,
        Self::Inputs,
        Self::Guests,
        Self::Tensors,
        Self::Regions,
        Self::Replies,
        Self::Compiling,
    ];

    /// For metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Messages => "messages",
            Self::Inputs => "inputs",
            Self::Guests => "guests",
            Self::Tensors => "tensors",
            Self::Regions => "regions",
            Self::Replies => "replies",
            Self::Compiling => "compiling",
        }
    }
}

/// How far something may fill the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Next to nothing, without which nothing would be done: small messages, what every call takes.
    Little,
    /// Work that could be done later, or elsewhere.
    New,
    /// Work under way, which would be lost.
    UnderWay,
}

/// There is no room; the message is for callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error(
    "the server's memory is taken: there is no room for {bytes} bytes now, try again later (memory)"
)]
pub struct NoRoom {
    pub bytes: usize,
}

/// Who keeps memory that nobody needs now.
pub trait Spare: fmt::Debug + Send + Sync {
    /// Gives at least `bytes` back, if it has them; not much more, as that takes its time. Asked on any
    /// thread, also by guests as they grow.
    fn give_back(&self, bytes: usize);
}

/// The memory of a server, and who has it.
#[derive(Debug)]
pub struct Ledger {
    limit: usize,
    /// The sum of all accounts.
    used: AtomicUsize,
    /// The most that it was since it was last asked for. Small charges do not count.
    peak: AtomicUsize,
    /// By [`Account::ALL`].
    accounts: [Figures; Account::ALL.len()],
    /// The models. Those that are gone are forgotten when the next one comes.
    tenants: RwLock<Vec<Weak<Tenant>>>,
    /// As the log says it.
    refusals: Seldom,
    /// Who may have memory to spare.
    spare: OnceLock<Weak<dyn Spare>>,
    /// When it was last asked for it.
    reclaimed: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Figures {
    used: AtomicUsize,
    /// Charges that there was no room for.
    refused: AtomicUsize,
}

/// One that refuses nothing, for what serves nobody.
impl Default for Ledger {
    fn default() -> Self {
        Self {
            limit: usize::MAX,
            used: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            accounts: Default::default(),
            tenants: RwLock::default(),
            refusals: Seldom::default(),
            spare: OnceLock::new(),
            reclaimed: Mutex::default(),
        }
    }
}

impl Ledger {
    /// An account of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, ..Self::default() })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of all accounts.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The most that was used since this was last asked, but for small charges.
    pub fn take_peak(&self) -> usize {
        self.peak.swap(self.used(), Ordering::Relaxed)
    }

    pub fn used_for(&self, account: Account) -> usize {
        self.figures(account).used.load(Ordering::Relaxed)
    }

    /// How many charges were refused.
    pub fn refused(&self, account: Account) -> usize {
        self.figures(account).refused.load(Ordering::Relaxed)
    }

    /// Charges `bytes`, until the charge is gone.
    pub fn charge(
        self: &Arc<Self>,
        account: Account,
        bytes: usize,
        room: Room,
    ) -> Result<Charge, NoRoom> {
        let mut charge = self.nothing(account);
        charge.grow(bytes, room)?;
        Ok(charge)
    }

    /// Charges what is there already, whether there is room or not: it leaves less to others.
    pub fn count(self: &Arc<Self>, account: Account, bytes: usize) -> Charge {
        let mut charge = self.nothing(account);
        charge.add(bytes);
        charge
    }

    /// A charge of nothing, which can grow.
    pub fn nothing(self: &Arc<Self>, account: Account) -> Charge {
        Charge { ledger: self.clone(), tenant: None, account, bytes: 0 }
    }

    /// Somebody among whom memory is divided, by weight, when there is not enough.
    pub fn tenant(self: &Arc<Self>, weight: u32) -> Arc<Tenant> {
        let used = AtomicUsize::new(0);
        let tenant = Arc::new(Tenant { ledger: self.clone(), weight: weight.max(1), used });
        let mut tenants = self.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|tenant| tenant.strong_count() > 0);
        tenants.push(Arc::downgrade(&tenant));
        tenant
    }

    fn figures(&self, account: Account) -> &Figures {
        &self.accounts[account as usize]
    }

    /// Whether there is room now for something of nobody's that is not large.
    pub fn has_room(&self, bytes: usize, room: Room) -> bool {
        self.used().saturating_add(bytes) <= self.bound(room, true)
    }

    /// Whether those who keep memory for nobody's good, as callers who take no answers do, are to keep no more.
    pub fn is_half_full(&self) -> bool {
        self.used() > self.limit / 2
    }

    /// Whether connections may take more than they must.
    pub fn has_room_for_tables(&self) -> bool {
        self.used_for(Account::Connections) <= self.limit / 4
    }

    /// What the calls of a model that is alone may fill.
    pub fn for_new_work(&self) -> usize {
        self.bound(Room::New, false)
    }

    /// How far all accounts together may be filled.
    fn bound(&self, room: Room, within_share: bool) -> usize {
        let without = |part: usize| self.limit - self.limit / part;
        match (room, within_share) {
            (Room::New, false) => without(4),
            (Room::UnderWay, false) => without(8),
            (Room::New, true) => without(16),
            (Room::UnderWay, true) => without(32),
            (Room::Little, _) => self.limit,
        }
    }

    /// Bytes of all requests.
    fn messages(&self) -> usize {
        self.used_for(Account::Messages).saturating_add(self.used_for(Account::Inputs))
    }

    /// Adds to the sum, if it stays within the bound.
    fn take(&self, bytes: usize, bound: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.checked_add(bytes).is_some_and(|after| after <= bound);
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Who is asked for memory before something is refused.
    pub fn ask(&self, spare: Weak<dyn Spare>) {
        // There is one.
        let _ = self.spare.set(spare);
    }

    /// Has `bytes` that nobody needs given back. Whether anybody was asked.
    fn reclaim(&self, bytes: usize) -> bool {
        /// Where much is refused, not for each time.
        const EVERY: Duration = Duration::from_millis(1);
        let Some(spare) = self.spare.get().and_then(Weak::upgrade) else { return false };
        let mut reclaimed = self.reclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        if reclaimed.is_some_and(|last| last.elapsed() < EVERY) {
            return false;
        }
        spare.give_back(bytes);
        *reclaimed = Some(Instant::now());
        true
    }

    /// Notes that there was no room, and says so in the log, once in a while.
    pub fn refuse(&self, account: Account, bytes: usize) -> NoRoom {
        self.figures(account).refused.fetch_add(1, Ordering::Relaxed);
        if let Some(times) = self.refusals.happens() {
            tracing::warn!(
                "memory is short, and work is refused ({times} times since this was last said): {bytes} \
                 bytes for {} have no room in {self}",
                account.name()
            );
        }
        NoRoom { bytes }
    }
}

/// How much is used of how much, and for what.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, of which {} are taken:", self.limit, self.used())?;
        let taken = Account::ALL.map(|account| (account.name(), self.used_for(account)));
        let mut taken = taken.into_iter().filter(|(_, used)| *used > 0);
        taken.try_for_each(|(name, used)| write!(f, " {name} {used}"))
    }
}

/// A model, among those that memory is divided between.
#[derive(Debug)]
pub struct Tenant {
    ledger: Arc<Ledger>,
    weight: u32,
    /// Bytes of all its charges.
    used: AtomicUsize,
}

impl Tenant {
    /// Charges `bytes` for new work of this model.
    pub fn admit(self: &Arc<Self>, account: Account, bytes: usize) -> Result<Charge, NoRoom> {
        let mut charge = self.nothing(account);
        charge.grow(bytes, Room::New)?;
        Ok(charge)
    }

    /// A charge of nothing, which can grow.
    pub fn nothing(self: &Arc<Self>, account: Account) -> Charge {
        let (ledger, tenant) = (self.ledger.clone(), Some(self.clone()));
        Charge { ledger, tenant, account, bytes: 0 }
    }

    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether `bytes` more are within its share of the memory.
    fn within_share(&self, bytes: usize) -> bool {
        /// The part of it that a model must have for it to be one that memory is divided between.
        const LEAST_PART: usize = 64;
        let Ledger { limit, tenants, .. } = &*self.ledger;
        let tenants = tenants.read().unwrap_or_else(PoisonError::into_inner);
        // What models keep between their calls is no claim on memory, nor is next to nothing.
        let least = limit / LEAST_PART;
        let has_work = |tenant: &Arc<Self>| tenant.used() > least && !std::ptr::eq(&**tenant, self);
        let others = tenants.iter().filter_map(Weak::upgrade).filter(has_work);
        let weights: u64 = others.map(|tenant| u64::from(tenant.weight)).sum();
        // One that is alone leaves as much to whoever comes next.
        let others = if weights == 0 { u64::from(self.weight) } else { weights };
        let all = others + u64::from(self.weight);
        let share = *limit as u128 * u128::from(self.weight) / u128::from(all);
        (self.used() as u128 + bytes as u128) <= share
    }
}

/// Bytes that are charged, until this is gone.
#[derive(Debug)]
pub struct Charge {
    ledger: Arc<Ledger>,
    /// Whose it is; nobody's, as long as that is not known.
    tenant: Option<Arc<Tenant>>,
    account: Account,
    bytes: usize,
}

impl Charge {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Charges `bytes` more.
    pub fn grow(&mut self, bytes: usize, room: Room) -> Result<(), NoRoom> {
        if bytes == 0 {
            return Ok(());
        }
        let ledger = &self.ledger;
        if self.fits(bytes, room) || (ledger.reclaim(bytes) && self.fits(bytes, room)) {
            self.note(bytes);
            return Ok(());
        }
        Err(ledger.refuse(self.account, bytes))
    }

    /// Adds to the sum, if that stays within what this may fill.
    fn fits(&self, bytes: usize, room: Room) -> bool {
        let ledger = &self.ledger;
        let all_connections = ledger.used_for(Account::Connections).saturating_add(bytes);
        if self.account == Account::Connections && all_connections > ledger.limit / 2 {
            // Those that do nothing leave room for what is done.
            return false;
        }
        let is_large_message = self.is_large_message(bytes, room);
        if is_large_message && ledger.messages().saturating_add(bytes) > ledger.limit / 2 {
            // Large ones keep no small ones out, and leave room for what is done about them.
            return false;
        }
        // Mostly there is enough for everybody, and nobody need ask further.
        ledger.take(bytes, ledger.bound(room, false)) || {
            let within_share = match &self.tenant {
                Some(tenant) => tenant.within_share(bytes),
                None => !is_large_message,
            };
            within_share && ledger.take(bytes, ledger.bound(room, true))
        }
    }

    /// Charges `bytes` more, whether there is room or not.
    pub fn add(&mut self, bytes: usize) {
        self.ledger.used.fetch_add(bytes, Ordering::Relaxed);
        self.note(bytes);
    }

    /// Gives back what is beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let Some(less) = self.bytes.checked_sub(bytes).filter(|less| *less > 0) else { return };
        self.bytes = bytes;
        self.ledger.figures(self.account).used.fetch_sub(less, Ordering::Relaxed);
        if let Some(tenant) = &self.tenant {
            tenant.used.fetch_sub(less, Ordering::Relaxed);
        }
        self.ledger.used.fetch_sub(less, Ordering::Relaxed);
    }

    /// The same bytes are for something else now.
    pub fn move_to(&mut self, account: Account) {
        self.ledger.figures(self.account).used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.ledger.figures(account).used.fetch_add(self.bytes, Ordering::Relaxed);
        self.account = account;
    }

    /// It is this model's, as is known now.
    pub fn give_to(&mut self, tenant: &Arc<Tenant>) {
        if let Some(before) = self.tenant.replace(tenant.clone()) {
            before.used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        tenant.used.fetch_add(self.bytes, Ordering::Relaxed);
    }

    /// Whether it is a large message, with these bytes, whose model is not known yet.
    fn is_large_message(&self, bytes: usize, room: Room) -> bool {
        const LARGE: usize = 1 << 20;
        self.tenant.is_none() && room == Room::New && self.bytes.saturating_add(bytes) > LARGE
    }

    /// Takes over the bytes of another one, which become what these are.
    pub fn join(&mut self, mut other: Charge) {
        let bytes = other.bytes;
        self.add(bytes);
        other.shrink_to(0);
    }

    /// Notes bytes that the sum has already.
    fn note(&mut self, bytes: usize) {
        /// What makes a peak.
        const LARGE: usize = 64 << 10;
        if bytes >= LARGE {
            self.ledger.peak.fetch_max(self.ledger.used(), Ordering::Relaxed);
        }
        self.bytes += bytes;
        self.ledger.figures(self.account).used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(tenant) = &self.tenant {
            tenant.used.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_charged_is_given_back() {
        let ledger = Ledger::new(800);
        let mut one = ledger.charge(Account::Messages, 300, Room::New).unwrap();
        one.grow(100, Room::New).unwrap();
        one.move_to(Account::Inputs);
        assert_eq!((ledger.used(), ledger.used_for(Account::Inputs)), (400, 400));
        one.shrink_to(50);
        assert_eq!(ledger.used(), 50);
        drop(one);
        assert_eq!((ledger.used(), ledger.used_for(Account::Inputs)), (0, 0));
    }

    #[test]
    fn new_work_leaves_room_for_work_under_way() {
        let ledger = Ledger::new(800);
        let new = ledger.charge(Account::Messages, 400, Room::New).unwrap();
        let more = ledger.charge(Account::Replies, 350, Room::New).unwrap();
        let refused = ledger.charge(Account::Messages, 1, Room::New).unwrap_err();
        assert_eq!(refused, NoRoom { bytes: 1 });
        let mut grown = ledger.charge(Account::Guests, 25, Room::UnderWay).unwrap();
        assert!(grown.grow(1, Room::UnderWay).is_err());
        assert_eq!((ledger.used(), grown.bytes()), (775, 25), "nothing was charged");
        assert_eq!(ledger.refused(Account::Guests), 1);
        let little = ledger.charge(Account::Messages, 25, Room::Little).unwrap();
        assert!(ledger.charge(Account::Messages, 1, Room::Little).is_err());
        drop((new, more, grown, little));
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn what_is_there_counts_beyond_the_limit() {
        let ledger = Ledger::new(100);
        let counted = ledger.count(Account::Compiling, 200);
        assert!(ledger.charge(Account::Messages, 1, Room::UnderWay).is_err());
        drop(counted);
        assert!(ledger.charge(Account::Messages, 1, Room::UnderWay).is_ok());
        assert!(ledger.charge(Account::Messages, usize::MAX, Room::UnderWay).is_err());
    }

    #[test]
    fn memory_that_is_short_is_divided_by_weight() {
        let ledger = Ledger::new(1000);
        let (greedy, modest) = (ledger.tenant(1), ledger.tenant(3));
        let most = greedy.admit(Account::Guests, 750).unwrap();
        assert!(modest.admit(Account::Guests, 1).is_ok(), "within its share");
        assert!(greedy.admit(Account::Guests, 1).is_err(), "somebody may come");
        let some = modest.admit(Account::Guests, 50).unwrap();
        assert!(greedy.admit(Account::Guests, 10).is_err(), "it has three times its share");
        let mut grown = greedy.nothing(Account::Guests);
        grown.grow(75, Room::UnderWay).unwrap();
        assert!(grown.grow(1, Room::UnderWay).is_err());
        let mut within = modest.admit(Account::Guests, 63).unwrap();
        assert!(modest.admit(Account::Guests, 1).is_err());
        within.grow(31, Room::UnderWay).unwrap();
        assert!(within.grow(1, Room::UnderWay).is_err());
        assert_eq!(ledger.used(), 969);
        drop((most, some, grown, within));
        assert_eq!((greedy.used(), modest.used(), ledger.used()), (0, 0, 0));
    }

    #[test]
    fn large_messages_keep_no_small_ones_out() {
        let ledger = Ledger::new(16 << 20);
        let mut large = ledger.charge(Account::Messages, 7 << 20, Room::New).unwrap();
        assert!(large.grow(2 << 20, Room::New).is_err());
        let one = ledger.charge(Account::Messages, 1 << 20, Room::New).unwrap();
        let two = ledger.charge(Account::Messages, 1 << 20, Room::New);
        assert!(two.is_ok() && ledger.charge(Account::Messages, 2 << 20, Room::New).is_err());
        drop((large, one, two));
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn large_messages_leave_room_for_models_within_their_share() {
        let ledger = Ledger::new(16 << 20);
        let tenant = ledger.tenant(1);
        let _messages = ledger.charge(Account::Messages, 5 << 20, Room::New).unwrap();
        let _guests = tenant.admit(Account::Guests, 7 << 20).unwrap();
        assert!(ledger.charge(Account::Messages, 2 << 20, Room::New).is_err(), "of three quarters");
        assert!(ledger.charge(Account::Messages, 1 << 20, Room::New).is_ok(), "not large");
        assert!(tenant.admit(Account::Guests, 1 << 20).is_ok());
    }

    /// Keeps what is charged.
    #[derive(Debug)]
    struct Keeps(Mutex<Option<Charge>>);

    impl Spare for Keeps {
        fn give_back(&self, _: usize) {
            self.0.lock().unwrap().take();
        }
    }

    #[test]
    fn what_somebody_can_spare_is_given_back_before_others_are_refused() {
        let ledger = Ledger::new(800);
        let kept = ledger.charge(Account::Guests, 700, Room::New).unwrap();
        let keeps = Arc::new(Keeps(Mutex::new(Some(kept))));
        let spare: Arc<dyn Spare> = keeps.clone();
        ledger.ask(Arc::downgrade(&spare));
        let charge = ledger.charge(Account::Messages, 700, Room::New).unwrap();
        assert!(ledger.charge(Account::Messages, 700, Room::New).is_err());
        assert_eq!(ledger.used(), 700);
        drop(charge);
    }

    #[test]
    fn connections_fill_half_at_most() {
        let ledger = Ledger::new(1000);
        let _guests = ledger.charge(Account::Guests, 300, Room::New).unwrap();
        let mut connections = ledger.charge(Account::Connections, 500, Room::UnderWay).unwrap();
        assert!(connections.grow(1, Room::UnderWay).is_err());
        assert!(ledger.charge(Account::Messages, 100, Room::UnderWay).is_ok());
    }

    #[test]
    fn charges_join() {
        let ledger = Ledger::new(1000);
        let tensors = ledger.charge(Account::Tensors, 300, Room::New).unwrap();
        let mut reply = ledger.tenant(1).nothing(Account::Replies);
        reply.join(tensors);
        assert_eq!(
            (reply.bytes(), ledger.used(), ledger.used_for(Account::Replies)),
            (300, 300, 300)
        );
    }

    #[test]
    fn a_charge_can_become_a_models() {
        let ledger = Ledger::new(1000);
        let tenant = ledger.tenant(1);
        let mut message = ledger.charge(Account::Messages, 10, Room::New).unwrap();
        message.give_to(&tenant);
        assert_eq!(tenant.used(), 10);
        drop(message);
        assert_eq!(tenant.used(), 0);
    }
}
