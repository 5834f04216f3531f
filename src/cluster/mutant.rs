//! Deliberate mistakes, one at a time, that the simulator must find. Without the feature `mutants` none of them exists:
//! [`Mutation::is`] is then a constant `false`.

/// A deliberate mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is named for the rule it breaks")]
pub enum Mutant {
    ClaimantCountsItselfAlways,
    HeardTakenAsGrant,
    GrantShownBeforeCommitted,
    NoHoldOff,
    HoldOffExceptionWithoutHearing,
    HoldOffForgetsLongerLeases,
    LeaseCountedFromReceipt,
    OldBeatChangesState,
    UnprovenBeatChangesState,
    LateGrantRevivesLease,
    ClaimWithoutNewEpoch,
    ClaimlessAfterRestart,
    MemoryWrittenAfterBeat,
    VoterUsesOwnLease,
    NoMargin,
    MajorityOfHalf,
    TwoGrantsAtATime,
    ReleaseToNonClaimant,
    ReleasedBeforeElementDropped,
    NoWithdrawal,
    RenewalForDeafPeer,
    EvidenceWindowCutShort,
    KeepsOnStaleEvidence,
    TakesWithoutFence,
    VotersChangedInOneStep,
    SecondStepTooSoon,
    StartsBeforeWon,
    NoExclusiveWait,
    StopsInStartOrder,
    NobodyYieldsOnMeeting,
    NoSelfSuspicion,
    RestartAdoptsNothing,
    ForgetsFailures,
    PlanIgnoresHolder,
    ElementBeforeMemory,
    WordShortened,
    StaleProofOfClear,
    RepairsUnderRunning,
    RestartsUnseenAddress,
    FencesWithoutNeed,
    LateAnswerCounts,
    LostBeatCounts,
    WatchdogWaitsOnce,
    HoldsUnguarded,
    TrustsUnguarded,
    ClaimsBeyondMost,
    KeepsBeyondMost,
    WeightsIgnored,
    ReturnsAtOnce,
    YieldsUndamped,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 50] = [
        Self::ClaimantCountsItselfAlways,
        Self::HeardTakenAsGrant,
        Self::GrantShownBeforeCommitted,
        Self::NoHoldOff,
        Self::HoldOffExceptionWithoutHearing,
        Self::HoldOffForgetsLongerLeases,
        Self::LeaseCountedFromReceipt,
        Self::OldBeatChangesState,
        Self::UnprovenBeatChangesState,
        Self::LateGrantRevivesLease,
        Self::ClaimWithoutNewEpoch,
        Self::ClaimlessAfterRestart,
        Self::MemoryWrittenAfterBeat,
        Self::VoterUsesOwnLease,
        Self::NoMargin,
        Self::MajorityOfHalf,
        Self::TwoGrantsAtATime,
        Self::ReleaseToNonClaimant,
        Self::ReleasedBeforeElementDropped,
        Self::NoWithdrawal,
        Self::RenewalForDeafPeer,
        Self::EvidenceWindowCutShort,
        Self::KeepsOnStaleEvidence,
        Self::TakesWithoutFence,
        Self::VotersChangedInOneStep,
        Self::SecondStepTooSoon,
        Self::StartsBeforeWon,
        Self::NoExclusiveWait,
        Self::StopsInStartOrder,
        Self::NobodyYieldsOnMeeting,
        Self::NoSelfSuspicion,
        Self::RestartAdoptsNothing,
        Self::ForgetsFailures,
        Self::PlanIgnoresHolder,
        Self::ElementBeforeMemory,
        Self::WordShortened,
        Self::StaleProofOfClear,
        Self::RepairsUnderRunning,
        Self::RestartsUnseenAddress,
        Self::FencesWithoutNeed,
        Self::LateAnswerCounts,
        Self::LostBeatCounts,
        Self::WatchdogWaitsOnce,
        Self::HoldsUnguarded,
        Self::TrustsUnguarded,
        Self::ClaimsBeyondMost,
        Self::KeepsBeyondMost,
        Self::WeightsIgnored,
        Self::ReturnsAtOnce,
        Self::YieldsUndamped,
    ];
}

/// Which mistake this core makes, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mutation {
    #[cfg(feature = "mutants")]
    chosen: Option<Mutant>,
}

impl Mutation {
    /// Makes this mistake.
    #[cfg(feature = "mutants")]
    pub(crate) fn of(mutant: Mutant) -> Self {
        Self { chosen: Some(mutant) }
    }

    /// Whether this mistake is made.
    #[cfg(feature = "mutants")]
    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.chosen == Some(mutant)
    }

    /// Whether this mistake is made: never.
    #[cfg(not(feature = "mutants"))]
    #[allow(clippy::unused_self, reason = "the same call as with the feature")]
    pub(crate) const fn is(self, _mutant: Mutant) -> bool {
        false
    }
}
