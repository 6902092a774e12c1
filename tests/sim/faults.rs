//! What can go wrong, each with a count of how often it really did.

macro_rules! declare {
    ($($name:ident = $text:literal,)*) => {
        /// A fault that really happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { $($name,)* }

        impl Fault {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

declare! {
    MessageLost = "tab message lost",
    MessageRepeated = "tab message repeated",
    MessageDelayed = "tab message late, or overtaken",
    MessageUnreadable = "tab message unreadable",
    MessageOfNewerProtocol = "tab message of a newer protocol",
    MessagesInBurst = "tab messages in one burst",
    EventLost = "stream event lost",
    EventRepeated = "stream event repeated",
    EventDelayed = "stream event late, or overtaken",
    EventUnreadable = "stream event unreadable",
    EventOfUnknownTable = "stream event of an unknown table",
    EchoBeforeAnswer = "echo before its answer",
    EchoAfterAnswer = "echo after its answer",
    PartialRow = "row without all columns",
    BareDelete = "delete with nothing but the key",
    RequestLost = "request lost",
    ReplyLost = "reply lost after the work was done",
    ReplyRepeated = "reply repeated",
    ReplyDelayed = "reply late, or overtaken",
    AnswerUnreadable = "answer whose record can't be read",
    AnswerBare = "answer with a version and no record",
    CallHung = "call never answered",
    PullInPages = "pull that is answered in pages",
    PageLost = "page lost",
    PageRepeated = "page repeated",
    PageForgotten = "page that the server no longer knows",
    PageNameTooLong = "page with a name that is too long",
    CutBetweenPages = "network cut between two pages",
    ChangedBetweenPages = "changes between two pages",
    PullOfParts = "pull that covers parts of tables",
    PartOfNothing = "pull that covers what is not declared",
    PresenceUnsaid = "presence said without a link",
    PresenceLost = "presence lost",
    PresenceRepeated = "presence repeated",
    PresenceDelayed = "presence late, or overtaken",
    PresenceUnreadable = "presence of nobody",
    PresenceOfMany = "presence of more people than are kept track of",
    NetworkCut = "network cut",
    LinkBroken = "link broken",
    LinkHung = "link that never comes up",
    LinkHalfOpen = "half-open link",
    ServerDown = "server down",
    ServerFailed = "server error",
    ServerBusy = "server busy",
    ServerLimits = "rate limited",
    CallForbidden = "call forbidden",
    OperationRefused = "operation refused",
    IncarnationChanged = "server restored under another incarnation",
    LateCommit = "transaction committed late",
    TokenExpired = "token expired",
    TokenNotRefreshed = "no fresh token to be had",
    RightsWithdrawn = "rights withdrawn",
    RightsWithdrawnQuietly = "rights withdrawn without a new version",
    TabCrashed = "tab crashed",
    TabCrashedAtOutput = "tab crashed between two outputs",
    TabClosed = "tab closed",
    TabFrozen = "tab frozen",
    LockStolen = "lock stolen",
    LeaderDeposed = "lock stolen from a frozen leader",
    LockTakenByNewTab = "lock taken by a tab that has heard nobody",
    OrphanLeft = "operation that only a bystander knows",
    OutboxFilled = "more operations than the outbox holds",
    CrowdWatched = "more groups watched than are kept",
    ManyEnded = "more ends of records than are remembered",
    LockTakenByTab = "lock taken by a tab that misses its leader",
    NoLocks = "no locks",
    MixedProtocols = "tab of the protocol before",
    TokenGiverGone = "whoever gives tokens not reached",
    NoTokenGiver = "nobody to ask for a token",
    PingLost = "ping without an answer",
    PageHidden = "page hidden, or left alone",
    PageRested = "page about to be frozen",
    ClockJumpedAhead = "clock jumped ahead",
    ClockJumpedBack = "clock jumped back",
    MachineSlept = "machine slept",
    QuotaFull = "quota full",
    LoggedOut = "logged out",
    RolesChanged = "roles changed",
    RowsAnonymous = "rows that do not say who wrote them",
    DecidedTwice = "two tabs decide on one conflict",
    EpochAhead = "word of a leader that nobody else heard of",
    QuotaShed = "cache and quarantine shed for an operation",
    DatabaseFailed = "database refused a write",
    NoDatabase = "no database",
    NoStorage = "no storage at all",
    StorageWiped = "storage wiped",
    BrowserKilled = "browser killed",
    NotFlushed = "browser killed before localStorage was flushed",
    NotCommitted = "browser or tab killed before IndexedDB committed",
    EntryCorrupted = "entry corrupted",
    EntryOfNewerForm = "entry of a newer form",
    EntryOfUnknownTable = "entry of an unknown table",
    CacheForgotten = "cache forgotten",
    TransactionRefused = "transaction refused for one of its parts",
    TransactionConflicted = "transaction in conflict for one of its parts",
    RowsApart = "transaction whose rows came one by one",
    KeyRefused = "insert under a temporary key refused",
    KeyUnheard = "key given, and the answer lost",
    NoLedger = "server that keeps no ledger",
    BatchFailed = "call of several that failed as a whole",
    BatchCut = "call of several cut in the middle",
    BatchPassedOver = "call of several answered in part",
    BatchDeclined = "server that takes one operation a call",
    LedgerMissed = "reply lost, and no ledger to ask",
}

/// How often each fault happened.
pub struct Counts(pub Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Self(vec![0; Fault::ALL.len()])
    }
}

impl Counts {
    pub fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }
}
