//! The rest of a fingerprint: what a node knows of itself.

use super::*;

impl Core {
    /// After so long a quiet this node steps in.
    fn patience(&self, group: GroupId) -> Span {
        let before = self.rank_before_us(group);
        self.config.timing.deadtime * 2 + self.config.timing.keepalive * 3 * (before + 1)
    }
}

impl Taking<'_> {
    pub(super) fn stored(&mut self, stored: &Stored) {
        let Stored { largest_lease, voters } = stored;
        self.out.word(largest_lease.0);
        self.out.flag(voters.is_some());
        voters.iter().for_each(|voters| self.voter_sets(voters));
    }

    pub(super) fn voter_sets(&mut self, voters: &VoterSets) {
        let VoterSets { now, before } = voters;
        self.voter_set(now);
        self.out.flag(before.is_some());
        before.iter().for_each(|before| self.voter_set(before));
    }

    fn voter_set(&mut self, set: &VoterSet) {
        let VoterSet { nodes, method } = set;
        self.out.count(nodes.len());
        nodes.iter().for_each(|node| self.node(*node));
        self.out.word(*method as u64);
    }

    pub(super) fn memory(&mut self, memory: Option<&Memory>) {
        self.out.flag(memory.is_some());
        let Some(Memory { grants, claims, warm, unsure, orders, servers, hold_off }) = memory else { return };
        self.out.flag(*hold_off);
        self.out.count(grants.len());
        for (group, RememberedGrant { holder, incarnation, epoch, sequence, lease }) in grants {
            self.group(*group);
            self.grant(
                *group,
                &Grant { holder: *holder, incarnation: *incarnation, epoch: *epoch, sequence: *sequence },
            );
            self.out.word(lease.0);
        }
        self.out.count(claims.len());
        for (group, RememberedClaim { group: _, epoch, phase }) in claims {
            self.group(*group);
            self.epoch(*group, *epoch);
            self.out.word(*phase as u64);
        }
        for places in [warm, unsure] {
            self.out.count(places.len());
            for (group, place) in places {
                self.group(*group);
                self.out.word(u64::from(*place));
            }
        }
        self.orders_of(orders);
        self.server_orders(servers);
    }

    pub(super) fn voter(&mut self, voter: &Voter) {
        let Voter { given, hold_off } = voter;
        self.out.flag(hold_off.is_some());
        if let Some(HoldOff { since, length }) = hold_off {
            self.past(*since, *length);
            self.out.word(length.0);
        }
        self.out.count(given.len());
        for (group, Given { grant, lease, renewed, heir }) in given {
            self.group(*group);
            self.grant(*group, grant);
            self.out.word(lease.0);
            self.past(*renewed, *lease);
            self.maybe_node(*heir);
        }
    }

    pub(super) fn voice(&mut self, voice: &Voice) {
        // The newest number is what others are relative to.
        let Voice { sequence: _, log, last, news_paid, greet, along: _ } = voice;
        self.out.flag(*greet);
        self.future(*news_paid);
        // An older one neither renews nor is heard in time, whatever names it.
        let is_young = |spoken: &&Spoken| self.now.at_least_since(spoken.at) <= self.lease;
        let young = log.iter().rev().take_while(is_young).count();
        self.out.count(young);
        for Spoken { at, counted_from, lease, reach } in log.iter().rev().take(young.max(1)) {
            self.past(*at, self.lease);
            self.past(*counted_from, self.lease);
            self.out.word(lease.0);
            self.out.word(u64::from(*reach));
        }
        self.out.flag(last.is_some());
        last.iter().for_each(|beat| self.said(beat));
    }

    /// Of the own newest beat only what tells whether there is news.
    fn said(&mut self, beat: &Beat) {
        let Beat {
            // The own; the newest.
            sender: _,
            incarnation: _,
            sequence: _,
            // Change by themselves, and are no news.
            sent_at: _,
            heard: _,
            config: _,
            flags,
            voters,
            claims,
            grants,
            facts,
            // For people.
            marks: _,
        } = beat;
        self.flags(*flags);
        let VoterDigests { now, before } = voters;
        self.out.word(*now);
        self.out.word(*before);
        self.out.count(claims.len());
        for (group, Claim { epoch, phase, lease }) in claims {
            self.group(*group);
            self.epoch(*group, *epoch);
            self.out.word(*phase as u64);
            self.out.word(lease.0);
        }
        self.out.count(grants.len());
        for (group, grant) in grants {
            self.group(*group);
            self.grant(*group, &Grant { sequence: Sequence(0), ..*grant });
        }
        self.facts(facts);
    }

    pub(super) fn tenure(&mut self, core: &Core, id: GroupId, tenure: &Tenure) {
        let Tenure {
            // As configured, unless outdated; and then it is only stopped.
            group,
            state,
            units,
            outdated,
            plan,
            epoch_seen,
            raised,
            back_off,
            // Asked with the time of the newest pass.
            quiet_since: _,
            busy: _,
            seen_held,
            last_heir,
            released_at,
            failed_at,
            healthy,
            unfit_told,
            by_evidence,
            shown_since,
            won_at,
            held_until,
            met,
            only_waited,
        } = tenure;
        self.out.flag(*only_waited);
        self.state(id, *state);
        self.out.count(units.len());
        for (unit, resource) in units.iter().zip(&group.resources) {
            // Which run is busy is told at the end of the core.
            let Unit { runs, busy, looked, restarts, failed_at } = unit;
            self.out.word(*runs as u64);
            self.out.flag(busy.is_some());
            // Only a monitored resource is looked at again, and one that could not be stopped.
            let every = resource.monitor.map_or(Span::ZERO, |monitor| monitor.every);
            self.past(*looked, if unit.is_stuck() { group.failure_window } else { every });
            self.out.word(u64::from(*restarts));
            self.past(*failed_at, if *restarts > 0 { group.failure_window + Span(1) } else { Span::ZERO });
        }
        [*outdated, *seen_held, *healthy, *by_evidence].into_iter().for_each(|flag| self.out.flag(flag));
        // The reason is told, never asked.
        let Plan { owner, because: _ } = plan;
        self.maybe_node(*owner);
        self.epoch(id, *epoch_seen);
        self.out.flag(raised.is_some());
        if let Some(super::super::groups::Raised { at, length }) = raised {
            self.past(*at, *length);
            self.out.word(length.0);
        }
        self.future(back_off.map_or(Span::ZERO, |until| until.boot));
        self.past(tenure.quiet_at(core.pace.passed_at), core.patience(id));
        self.maybe_node(*last_heir);
        self.maybe_past(*released_at, self.horizon);
        self.maybe_past(*failed_at, group.failure_window);
        self.unfit(*unfit_told);
        self.out.flag(shown_since.is_some());
        self.name(core.me, core.incarnation, shown_since.unwrap_or_default());
        self.maybe_node(*met);
        // Asked for whether it is longer ago than a lease.
        self.past(*won_at, self.lease + Span(1));
        // Asked only for what came first.
        self.out.flag(held_until.is_some());
        self.out.flag(*held_until >= core.evidence.answered.get(&id).copied());
        core.peers.values().for_each(|peer| self.out.flag(*held_until >= Some(peer.proven_at)));
    }

    fn state(&mut self, id: GroupId, state: State) {
        let deadtime = self.deadtime;
        match state {
            State::Idle => self.out.word(0),
            State::Claiming { epoch, since, regardless, outranked } => {
                self.out.word(1);
                self.out.flag(regardless);
                self.epoch(id, epoch);
                self.past(since, deadtime * 2);
                self.maybe_node(outranked.map(|(node, _)| node));
                self.maybe_past(outranked.map(|(_, at)| at), self.horizon);
            }
            State::Waiting { epoch, since, clear } => {
                self.maybe_past(clear, self.lease);
                self.out.word(2);
                self.epoch(id, epoch);
                self.past(since, self.horizon);
            }
            // From here on times and reasons are only told.
            State::Starting { epoch, since: _ } => {
                self.out.word(3);
                self.epoch(id, epoch);
            }
            State::Held { epoch } => {
                self.out.word(4);
                self.epoch(id, epoch);
            }
            State::Stopping { epoch, since: _, because: _ } => {
                self.out.word(5);
                self.epoch(id, epoch);
            }
            State::Blocked { epoch } => {
                self.out.word(6);
                self.epoch(id, epoch);
            }
        }
    }

    pub(super) fn evidence(&mut self, evidence: &Evidence) {
        let Evidence { watches, answered, told, rounds, round_trip } = evidence;
        self.out.word(round_trip.0);
        self.out.count(watches.len());
        for (interface, watch) in watches {
            let Watch {
                carrier,
                targets,
                active,
                begun,
                asked,
                pinged,
                whole_since,
                seen_since,
                missed,
                told: _,
                silent,
                answering,
            } = watch;
            self.out.word(u64::from(interface.0));
            [*carrier, *targets, *active, *missed].into_iter().for_each(|flag| self.out.flag(flag));
            self.maybe_past(*pinged, self.lease);
            self.maybe_past(*whole_since, self.lease);
            self.maybe_past(*seen_since, self.lease);
            self.past(*begun, self.silence);
            self.out.count(asked.len());
            for Asked { round, at, beat_at, groups, ping, answered, closed } in asked {
                self.out.word(*rounds - round.0);
                self.past(*at, self.lease);
                self.maybe_past(*beat_at, self.lease);
                self.out.flag(*ping);
                self.out.flag(*closed);
                self.out.count(groups.len());
                groups.iter().for_each(|group| self.group(*group));
                self.out.count(answered.len());
                answered.iter().for_each(|group| self.group(*group));
            }
            self.out.count(silent.len());
            for (group, Silence { since, rounds }) in silent {
                self.group(*group);
                self.past(*since, self.lease);
                // Three are enough.
                self.out.word((*rounds).min(3) as u64);
            }
            self.out.count(answering.len());
            for (group, since) in answering {
                self.group(*group);
                self.past(*since, self.lease);
            }
        }
        self.out.count(answered.len());
        for (group, at) in answered {
            self.group(*group);
            self.past(*at, self.silence);
        }
        // Only keeps an alarm from being told twice.
        let _ = told;
    }

    pub(super) fn fencing(&mut self, fencing: &Fencing) {
        let Fencing { off, under_way, failed_at, generation, watchdog_counts } = fencing;
        self.out.maybe(watchdog_counts.map(u64::from));
        self.out.count(off.len());
        for (node, life) in off {
            self.node(*node);
            self.out.word(self.frame.life(*node, *life));
        }
        self.out.count(under_way.len());
        for (node, asked) in under_way {
            self.node(*node);
            self.out.word(*generation - *asked);
        }
        self.out.count(failed_at.len());
        for (node, at) in failed_at {
            self.node(*node);
            self.past(*at, self.silence);
        }
    }
}
