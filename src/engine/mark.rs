//! Marks the rare paths, so that the simulator can say that it really went there. Without the feature `marks` a mark is
//! nothing at all: no code, no byte, no name.

/// Notes that a rare path was reached.
macro_rules! mark {
    ($name:ident) => {
        #[cfg(feature = "marks")]
        $crate::engine::mark::reach($crate::engine::mark::Mark::$name);
    };
}
pub(crate) use mark;

#[cfg(feature = "marks")]
pub use counted::*;

#[cfg(feature = "marks")]
mod counted {
    use std::cell::Cell;

    macro_rules! declare {
        ($($(#[$doc:meta])* $name:ident,)*) => {
            /// A rare path.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Mark { $($(#[$doc])* $name,)* }

            impl Mark {
                /// All of them.
                pub const ALL: &[Self] = &[$(Self::$name,)*];
            }
        };
    }

    declare! {
        /// A tombstone was forgotten because there were too many.
        TombstoneForgotten,
        /// A command was refused because the outbox is at its bound.
        OutboxFull,
        /// A tab message's number showed that earlier ones were lost.
        GapNoticed,
        /// What an old leader said was dropped.
        StaleMessageDropped,
        /// A message that had been heard was dropped.
        RepeatedMessageDropped,
        /// A message that came late was taken all the same.
        LateMessageTaken,
        /// A message of another protocol was reported.
        ForeignMessageReported,
        /// Another tab's epoch is higher than this leader's.
        EpochOvertaken,
        /// A follower asked again for a snapshot that never came.
        HelloRepeated,
        /// A snapshot was given before the leader had pulled, and another one after.
        SnapshotOwed,
        /// A follower told its own operations again.
        OperationRetold,
        /// The end of an operation was told again.
        EndToldAgain,
        /// A leader asked storage and ledger for an operation that it had never heard of.
        UnheardAsked,
        /// Nobody knew an operation of which another tab had told.
        UnheardGivenUp,
        /// What a new leader had only heard of was looked for in storage once more.
        UnsureLookedForTwice,
        /// A follower dropped another tab's operation of which nobody knew.
        UnknownDropped,
        /// A cancellation was passed on to the leader.
        CancelPassedOn,
        /// An operation could no longer be cancelled.
        CancelTooLate,
        /// An operation was found in storage that no living tab had told of.
        AdoptedFromStorage,
        /// An operation was heard of after a later one of the same record.
        HeardOutOfOrder,
        /// An operation of a table that is not declared was left in storage.
        UnknownTable,
        /// An entry that can't be read was moved away.
        EntryQuarantined,
        /// An entry of a newer form was left where it is.
        NewerEntryLeft,
        /// An operation could be stored later only.
        StoredLater,
        /// An operation could not be stored at all.
        NotStored,
        /// The second step of durability failed.
        DurabilityLost,
        /// An answer of the ledger came for a record that is not known.
        ReplayedAnswerLookedUp,
        /// An answer whose record could not be read.
        AnswerWithoutRecord,
        /// A row proved that an operation was done before its answer came.
        RetiredByRow,
        /// An operation no longer applied to its record, and was hidden.
        DoubtfulHidden,
        /// The server asked for a later try.
        RetryAsked,
        /// The server limited the rate.
        RateLimited,
        /// No answer came in time.
        PushTimedOut,
        /// An operation was given up.
        Buried,
        /// One that was given up was tried again.
        Revived,
        /// The network kept an operation from the server, and the others wait too.
        GateShut,
        /// The wait was over before the link had said anything.
        GateReopened,
        /// The token was refused.
        TokenPause,
        /// It was refused again, or there was none: asked for later.
        TokenAskedLater,
        /// The link did not come up in time.
        JoinTimedOut,
        /// The link has been well for long enough to forget earlier failures.
        FailuresForgotten,
        /// The machine had slept.
        SleepNoticed,
        /// A pull failed.
        PullFailed,
        /// A pull failed that had named records.
        PullWithKeysFailed,
        /// A token was asked for once more, in a pause.
        TokenAskedAgain,
        /// A pull was never answered.
        PullTimedOut,
        /// A record that was told of while a whole pull was under way was looked up.
        UnsureLookedUp,
        /// A whole pull did not bring what was known.
        GoneByWholePull,
        /// A pull changed at the same version whether, or how, a record is seen.
        SameVersionDiffers,
        /// What is older than what is known was not taken.
        OlderVersionRefused,
        /// The columns that an event lacked were filled in.
        ColumnsFilled,
        /// An event lacked columns, and nothing was known to fill them from.
        PartialLookedUp,
        /// A record's number was given back.
        NumberReleased,
        /// A clock too far ahead was not followed.
        FastClockNotFollowed,
        /// A fresh token was waited for long enough.
        TokenNotAwaited,
        /// Whoever gives tokens was not reached before a join.
        TokenGiverNotReached,
        /// Pulled for want of a stream.
        Polled,
        /// The stream was silent, and no answer came to a ping.
        HalfOpenNoticed,
        /// All attempts to connect are used up.
        LinkStopped,
        /// A silent leader was asked whether it is alive.
        LeaderPinged,
        /// The lock was taken from a leader that did not answer.
        LockTaken,
        /// A page that was about to be frozen let go of what others wait for.
        Rested,
        /// It ran again, or all along.
        Rose,
        /// A leader that hears nobody lost the lock, and went on alone.
        DeafLeader,
        /// A new tab that nobody told anything pulled for itself.
        PulledAlone,
        /// Without locks: the tab that made something was asked whether it is there.
        AuthorAsked,
        /// Without locks: it is not, and another one sends what it made.
        AuthorGone,
        /// A tab without locks heard of the end of what it made and did not send.
        StandInNoticed,
        /// A leader went ahead of an epoch that an earlier one had reached.
        EpochCaughtUp,
        /// A patch joined one that had not been sent.
        PatchJoined,
        /// A patch was taken back out of those that it was joined with.
        TakenOut,
        /// The last of joined patches was, so another operation stands for the others.
        LastTakenOut,
        /// Nothing was left of joined patches.
        NothingLeftOfJoined,
        /// An operation was let go of for one that stands for it.
        ReplacedLetGo,
        /// What another operation stands for was found in storage.
        ReplacedFound,
        /// The server did it, and did not say how the record is now.
        Acknowledged,
        /// What was acknowledged ended by its version.
        RetiredByVersion,
        /// What was acknowledged ended because a later one's row was here.
        RetiredByLater,
        /// What depends on something that will never happen ended with it.
        DependantEnded,
        /// A conflict waits for a person.
        ConflictParked,
        /// The declared rules decided on a conflict.
        RuleDecided,
        /// The rules had nothing left to change.
        RuleKeptTheirs,
        /// A decision came after another one.
        LateDecisionRefused,
        /// Cache and quarantine were given up for an operation.
        QuotaShed,
        /// An operation was found in storage that had been given up.
        GivenUpBefore,
        /// The mark of a logout was found in storage.
        SignOutMarkFound,
        /// A logout that waited found more in storage to wait for.
        LogoutFoundMore,
        /// There was no logout, as something turned up in storage.
        LogoutRefusedLate,
        /// Another tab told of a logout.
        SignOutHeard,
        /// Roles or scope changed.
        RightsLookedAt,
        /// The store was closed with operations of its own unsettled.
        ClosedUnsettled,
        /// Another page of a pull was asked for.
        PageAsked,
        /// A page did not come, and is asked for again.
        PageFailed,
        /// A pull in pages starts over.
        PagesStartOver,
        /// A pull had more pages, or longer names for them, than any may have.
        PagesTooMany,
        /// Records were looked up between two pages.
        KeysBetweenPages,
        /// A pull ended what was missing in the parts that it covers.
        PartConcluded,
        /// A pull covers what is not declared.
        CoverRejected,
        /// Somebody was not heard of for so long that they are gone.
        PeerExpired,
        /// Somebody has stopped typing by doing nothing.
        TypingExpired,
        /// What the server repeats of a tab that speaks for itself was not taken.
        PeerSpeaksForItself,
        /// More people are here than are kept track of.
        TooManyPeers,
        /// Nobody can be called that, or be there.
        PeerMalformed,
        /// A new tab was told who else is here.
        PeersIntroduced,
        /// So much changed that a view was sorted anew.
        ViewSortedAnew,
        /// A view was told as a whole, because the steps would have been more.
        ViewToldWhole,
        /// A record left its place in a view, and entered the same one again.
        ViewPlaceKept,
        /// A record that still matches left a window.
        WindowPushedOut,
        /// A record that matched already came into a window.
        WindowFilledUp,
        /// A view has more groups than are kept.
        GroupNotKept,
        /// There was room for groups again.
        GroupKeptAgain,
        /// A part of a transaction no longer applied, so that none of it is seen.
        TransactionHidden,
        /// One row of a transaction was here, and others were not.
        LandedPartly,
        /// A transaction whose rows were here in part was found, or told of.
        LandedBefore,
        /// All rows of a transaction were here before its answer.
        LandedWholly,
        /// A row, or the answer of an operation of its own, said which key a record was given.
        KeyFromRow,
        /// A transaction's answer said it.
        KeyFromAnswer,
        /// It was found in storage.
        KeyFromStorage,
        /// Another tab told it, with a snapshot, an operation or its end.
        KeyTold,
        /// A pending operation named the temporary key, and has the real one now.
        KeyPutIn,
        /// It was stored for as long as operations name it.
        KeyKept,
        /// No operation names it any more.
        KeyDropped,
        /// The ledger was asked which key a record was given.
        KeyAsked,
        /// An operation waited for the ledger's word on a key.
        KeyAwaited,
        /// What names a temporary key ended, for nobody knows whether there is such a record.
        NamelessEnded,
        /// What was acknowledged ended because a pull begun afterwards covers it.
        RetiredByPull,
        /// Without a ledger: a call was not answered, and the record says that it was done.
        UnansweredDone,
        /// The record does not say whether it was done.
        UnansweredUnknown,
        /// What an earlier leader may have sent was looked up before it was sent.
        Doubted,
        /// Its record is as it was: it can't have arrived.
        DoubtLifted,
        /// Several operations went in one call.
        SentTogether,
        /// A call of several failed as a whole.
        CallOfSeveralFailed,
        /// A call of several was answered without one of them.
        PassedOver,
        /// The server takes one operation a call after all.
        CallDeclined,
        /// No call was made while nothing said that it would arrive.
        NotCalledBlindly,
        /// What came after an operation that ended without effect was put onto what was beneath it.
        Rebased,
        /// Nothing of an operation that was to be undone was to be seen any more.
        NothingLeftToUndo,
        /// Another tab, or storage, had an operation with a later base.
        NewerBaseTaken,
        /// A leader that did not run for a while waited for news of its lock.
        LockDistrusted,
    }

    thread_local! {
        static COUNTS: Cell<[u64; Mark::ALL.len()]> = const { Cell::new([0; Mark::ALL.len()]) };
    }

    pub(crate) fn reach(mark: Mark) {
        COUNTS.with(|counts| {
            let mut all = counts.get();
            all[mark as usize] += 1;
            counts.set(all);
        });
    }

    /// Takes the counts of this thread since the last time, in the order of [`Mark::ALL`].
    #[must_use]
    pub fn take_marks() -> [u64; Mark::ALL.len()] {
        COUNTS.with(|counts| counts.replace([0; Mark::ALL.len()]))
    }
}
