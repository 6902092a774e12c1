//! Faults planted on purpose, each of a kind that the simulator is there to find. Without the feature `sabotage`, which no
//! build that is shipped has, none of them is in the code.

/// True when a planted fault is switched on; a constant `false` without the feature.
macro_rules! sabotaged {
    ($name:ident) => {{
        #[cfg(feature = "sabotage")]
        {
            $crate::engine::sabotage::is_on($crate::engine::sabotage::Sabotage::$name)
        }
        #[cfg(not(feature = "sabotage"))]
        {
            false
        }
    }};
}
pub(crate) use sabotaged;

#[cfg(feature = "sabotage")]
pub use planted::*;

#[cfg(feature = "sabotage")]
mod planted {
    use std::cell::Cell;

    macro_rules! declare {
        ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
            /// A planted fault.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Sabotage { $($(#[$doc])* $name,)* }

            impl Sabotage {
                /// All of them.
                pub const ALL: &[Self] = &[$(Self::$name,)*];

                /// Returns its name on the command line.
                #[must_use]
                pub const fn name(self) -> &'static str {
                    match self { $(Self::$name => $text,)* }
                }
            }
        };
    }

    declare! {
        /// An operation leaves storage when it is sent, and dies with its tab.
        LoseOnCrash = "lose-an-operation-on-crash",
        /// An operation of another tab is sent under a new id.
        ApplyTwiceAfterAdoption = "apply-twice-after-adoption",
        /// What came after an operation that ended without effect keeps its values as its base.
        KeepDeadBase = "keep-the-base-of-what-never-happened",
        /// What an old leader says is believed.
        ForgetEpoch = "forget-the-epoch-check",
        /// The answer's record is not taken in with the end of its operation.
        DropOverlayAtAnswer = "drop-the-overlay-at-acknowledgement",
        /// A pull overwrites what is newer.
        LatePullWins = "let-a-late-pull-win",
        /// A stream overwrites what is newer.
        LateEventWins = "let-a-late-event-win",
        /// The cursor goes on although a row of the pull was not taken.
        CursorPastEvent = "advance-the-cursor-past-an-event",
        /// Anything brings a deleted record back.
        Resurrect = "resurrect-a-deleted-record",
        /// Ends of records are forgotten at once.
        NoTombstones = "drop-tombstones-at-once",
        /// Storage is read without regard to the user.
        LeakOtherUser = "leak-another-users-key",
        /// A new leader takes it that the old one's operations are on their way.
        NoResendAfterLeaderChange = "forget-to-send-again-after-a-leader-change",
        /// A record's operations overtake each other.
        NoOrderPerRecord = "ignore-the-order-per-record",
        /// An author hears twice how an operation ended.
        SettleTwice = "settle-twice",
        /// A tab hears of the end of an operation that is not its own.
        SettleForOthers = "settle-for-another-tab",
        /// An operation is seen before storage has it.
        ShowUnstored = "show-an-unstored-operation",
        /// An operation stays although storage refused it.
        KeepUnstored = "keep-an-operation-that-was-not-stored",
        /// Followers do not hear how operations end.
        SilentEnd = "do-not-tell-followers-of-the-end",
        /// Lost tab messages are not noticed.
        IgnoreGap = "ignore-the-gap-in-tab-messages",
        /// A failure of the network counts as a try.
        NetworkIsATry = "count-the-network-as-a-try",
        /// What has been sent can still be cancelled.
        CancelSent = "cancel-what-was-sent",
        /// A whole pull does not end what it does not bring.
        KeepUnseen = "keep-what-a-whole-pull-does-not-bring",
        /// The columns that an event lacks are lost.
        LoseColumns = "lose-the-columns-an-event-lacks",
        /// More operations are on their way than the bound allows.
        NoBoundInFlight = "ignore-the-bound-in-flight",
        /// A refused token does not stop anything.
        SendWithoutToken = "go-on-with-a-refused-token",
        /// What the server says about waiting is not heard.
        IgnoreRetryAfter = "ignore-retry-after",
        /// Nothing is pulled when the stream goes live.
        NoPullWhenLive = "do-not-pull-when-the-stream-is-live",
        /// A stream that does not answer is believed to live.
        BelieveSilentStream = "believe-a-silent-stream",
        /// An entry of a newer release is thrown away.
        DropNewerEntry = "throw-a-newer-entry-away",
        /// What depends on something that never happens stays.
        SkipCascade = "skip-a-dependents-cascade",
        /// What is acknowledged is no longer seen.
        EndAtAcknowledgement = "end-an-operation-at-its-acknowledgement",
        /// Nobody hears how a replaced operation ended.
        ForgetReplaced = "forget-the-promise-of-a-replaced-operation",
        /// What one of joined patches set stays when that one is taken back.
        KeepTakenBack = "keep-what-was-taken-back",
        /// What waits for a person is still seen.
        ShowConflicted = "go-on-showing-what-is-in-conflict",
        /// The other tabs neither hear of a logout nor find its mark.
        PurgeUntold = "do-not-tell-other-tabs-of-a-logout",
        /// A logout leaves what is stored.
        PurgeNothing = "leave-entries-at-a-logout",
        /// A change is kept from subscribers.
        HideAChange = "keep-a-change-from-subscribers",
        /// What a pull of a part does not cover ends with it.
        PartEndsRest = "end-what-a-part-does-not-cover",
        /// The rows of a later page are lost, and nobody notices.
        LosePage = "lose-a-page",
        /// The cursor is that of the last page, past what changed between the pages.
        CursorOfLastPage = "take-the-cursor-of-the-last-page",
        /// What a part does not bring stays.
        KeepUnseenInPart = "keep-what-a-part-does-not-bring",
        /// Nobody who was ever here is gone.
        PresenceForEver = "never-let-presence-run-out",
        /// Whoever began to type types on.
        TypingForEver = "let-typing-go-on",
        /// A tab is shown to itself as somebody else.
        ShowSelf = "show-a-tab-to-itself",
        /// What the leader tells of others is taken for the own person's.
        MixUpPeople = "take-others-for-oneself",
        /// More people are kept track of than the bound allows.
        PeopleUnbounded = "forget-the-bound-on-people",
        /// Views do not follow what is pending.
        ViewMissesOverlay = "do-not-tell-views-of-what-is-pending",
        /// A record stays in a view whose filter it no longer passes.
        ViewKeepsWhatLeft = "keep-in-a-view-what-left-its-filter",
        /// A view is told though nothing changed for it.
        ViewTellsNothing = "tell-a-view-of-nothing",
        /// More groups are kept than the bound allows.
        GroupsUnbounded = "forget-the-bound-on-groups",
        /// A sum rounds each time that something is added.
        FigureDrift = "let-figures-drift",
        /// A transaction is seen as far as its parts apply.
        ShowHalf = "show-half-a-transaction",
        /// The last part of a transaction that another tab made is left out.
        LeavePartOut = "leave-out-a-part-at-adoption",
        /// A transaction is over when the first of its rows is here.
        EndAtFirstRow = "end-a-transaction-at-its-first-row",
        /// Of what an answer tells of a transaction only the first record is taken.
        TakeFirstRecord = "take-only-the-first-record-of-an-answer",
        /// What a temporary key turned out to be is not stored.
        LoseKey = "lose-a-key",
        /// It is deleted while operations name it.
        DropKeyEarly = "drop-a-key-that-operations-name",
        /// It stays in storage.
        KeepKey = "leave-a-key-in-storage",
        /// Queued operations keep the temporary key.
        LeaveTemporaryKey = "leave-the-temporary-key-in-queued-operations",
        /// Followers don't take what a temporary key turned out to be.
        KeyUntold = "do-not-tell-followers-of-a-key",
        /// A row of a new record is taken for another record.
        IgnoreWriter = "take-a-new-record-for-another-one",
        /// What was not answered is sent again, though nobody keeps a ledger.
        SendAgain = "send-again-without-a-ledger",
        /// What an earlier leader may have sent is sent, though nobody keeps a ledger.
        NoDoubt = "send-what-may-have-been-sent-without-a-ledger",
        /// What was not answered is taken for done.
        TakeForDone = "take-the-unanswered-for-done",
    }

    thread_local! {
        static ON: Cell<Option<Sabotage>> = const { Cell::new(None) };
    }

    pub(crate) fn is_on(fault: Sabotage) -> bool {
        ON.with(|on| on.get() == Some(fault))
    }

    /// Switches one planted fault on in this thread, or all of them off.
    pub fn plant(fault: Option<Sabotage>) {
        ON.with(|on| on.set(fault));
    }
}
