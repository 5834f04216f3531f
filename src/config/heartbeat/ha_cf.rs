//! `ha.cf`, directive by directive.

use std::path::PathBuf;

use super::directives::{self, DIRECTIVES, Fate};
use super::haresources::Defaults;
use super::media::Media;
use super::words::{Word, lines, words};
use crate::config::diagnostic::{Diagnostic, Findings, Place};
use crate::config::draft::{
    Draft, DraftFence, DraftNode, DraftRespawn, DraftTiming, DraftWatchdog, Name, Placed,
};
use crate::config::model::{Reach, TiebreakMethod};
use crate::config::{STONITH_FILE, limits, nearest, values};
use crate::time::Span;

/// A directive with its arguments.
pub(super) struct Line<'a> {
    pub(super) file: usize,
    pub(super) name: &'static str,
    pub(super) word: Word<'a>,
    pub(super) args: Vec<Word<'a>>,
}

impl Line<'_> {
    /// Where the directive stands.
    pub(super) const fn place(&self) -> Place {
        Place { file: self.file, start: self.word.start, end: self.word.end() }
    }

    /// Where an argument stands.
    pub(super) const fn at(&self, word: &Word<'_>) -> Place {
        Place { file: self.file, start: word.start, end: word.end() }
    }

    pub(super) fn name_of(&self, word: &Word<'_>) -> Name {
        Placed::new(word.text.to_owned(), self.at(word))
    }

    /// From this argument on there may be passwords.
    fn hide_from(&self, first: usize, findings: &mut Findings) {
        self.args.iter().skip(first).for_each(|word| findings.hide(self.at(word)));
    }

    /// Reports that it lacks arguments.
    pub(super) fn incomplete(&self, usage: &str, findings: &mut Findings) {
        findings.push(
            Diagnostic::mistake(self.place(), format!("`{}` lacks an argument", self.name))
                .label("incomplete")
                .help(format!("write {} {usage}", self.name)),
        );
    }

    /// Its only argument.
    fn single(&self, usage: &str, findings: &mut Findings) -> Option<Word<'_>> {
        match self.args.as_slice() {
            [] => {
                self.incomplete(usage, findings);
                None
            }
            [only] => Some(*only),
            [only, second, ..] => {
                findings.push(
                    Diagnostic::mistake(self.at(second), format!("`{}` takes one argument", self.name))
                        .label("one too many")
                        .help(format!("write {} {usage}", self.name)),
                );
                Some(*only)
            }
        }
    }

    fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        let word = self.single("on, or off", findings)?;
        match word.text.to_lowercase().as_str() {
            "true" | "on" | "yes" | "y" | "1" => Some(true),
            "false" | "off" | "no" | "n" | "0" => Some(false),
            _ => {
                self.wrong(&word, "on or off", findings);
                None
            }
        }
    }

    pub(super) fn wrong(&self, word: &Word<'_>, expected: &str, findings: &mut Findings) {
        findings.push(
            Diagnostic::mistake(self.at(word), format!("`{}` cannot be \"{}\"", self.name, word.text))
                .label(format!("{expected} belongs here"))
                .help(format!("write {} with {expected}", self.name)),
        );
    }

    fn span(&self, findings: &mut Findings) -> Option<Placed<Span>> {
        let word = self.single("2, or 200ms", findings)?;
        match values::span(word.text) {
            Ok(span) => Some(Placed::new(span, self.at(&word))),
            Err(why) => {
                findings.push(
                    Diagnostic::mistake(self.at(&word), format!("`{}` needs a time", self.name))
                        .label(why)
                        .help("write seconds as a plain number, or milliseconds as 200ms"),
                );
                None
            }
        }
    }
}

/// Reads the text of file number `file`. What its directives say of all groups is returned.
pub(super) fn read(file: usize, text: &str, draft: &mut Draft, findings: &mut Findings) -> Defaults {
    let mut reader = Reader { defaults: Defaults::default(), failback: None, media: Media::default() };
    for (start, line) in lines(text) {
        let mut args = words(start, line);
        if args.is_empty() {
            continue;
        }
        let word = args.remove(0);
        let place = Place { file, start: word.start, end: word.end() };
        match directives::find(word.text) {
            None => unknown(word.text, place, findings),
            Some(directive) => match directive.fate {
                Fate::Carried => {
                    reader.read(&Line { file, name: directive.name, word, args }, draft, findings);
                }
                Fate::Explained(why, instead) => {
                    let message = format!("`{}` is not carried over: {why}", directive.name);
                    findings.push(Diagnostic::note(place, message).help(instead));
                }
            },
        }
    }
    reader.finish(file, draft, findings)
}

fn unknown(name: &str, place: Place, findings: &mut Findings) {
    let help = match nearest::nearest(name, DIRECTIVES.iter().map(|directive| directive.name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            "a line is a directive of Heartbeat's ha.cf and its arguments; a comment begins with #".to_owned()
        }
    };
    findings.push(
        Diagnostic::mistake(place, format!("unknown directive `{name}`"))
            .label("no such directive")
            .help(help),
    );
}

struct Reader {
    defaults: Defaults,
    failback: Option<Place>,
    media: Media,
}

impl Reader {
    fn read(&mut self, line: &Line<'_>, draft: &mut Draft, findings: &mut Findings) {
        match line.name {
            "node" => nodes(line, draft, findings),
            "cluster" => draft.cluster = line.single("NAME", findings).map(|word| line.name_of(&word)),
            "keepalive" => draft.timing.keepalive = line.span(findings),
            "deadtime" => draft.timing.deadtime = line.span(findings),
            "warntime" => draft.timing.warntime = line.span(findings),
            "initdead" => draft.timing.initdead = line.span(findings),
            "autojoin" => autojoin(line, findings),
            "auto_failback" | "nice_failback" => self.failback(line, findings),
            "stonith" => stonith(line, draft, findings),
            "stonith_host" => stonith_host(line, findings),
            "crm" | "pacemaker" => crm(line, findings),
            "respawn" => self.respawn(line, draft, findings),
            "failfast" => {
                self.respawn(line, draft, findings);
                findings.push(
                    Diagnostic::note(
                        line.place(),
                        "`failfast` is read as `respawn`: no program's end resets the machine",
                    )
                    .label("it is begun again")
                    .help("if it must, make it a systemd unit with FailureAction=reboot"),
                );
            }
            "watchdog" => {
                let device = line.single("/dev/watchdog", findings).map(|word| PathBuf::from(word.text));
                draft.watchdog = device.map(|device| DraftWatchdog { device, timeout: None });
            }
            _ => self.media.read(line, draft, findings),
        }
    }

    fn failback(&mut self, line: &Line<'_>, findings: &mut Findings) {
        self.failback = Some(line.place());
        if line.name == "nice_failback" {
            let Some(nice) = line.boolean(findings) else { return };
            self.defaults.failback = !nice;
            let instead = if nice { "off" } else { "on" };
            findings.push(
                Diagnostic::warning(line.place(), "`nice_failback` is long obsolete")
                    .label("read as it was meant")
                    .help(format!("write auto_failback {instead}")),
            );
            return;
        }
        let Some(word) = line.single("on, or off", findings) else { return };
        if !word.text.eq_ignore_ascii_case("legacy") {
            if let Some(on) = line.boolean(findings) {
                self.defaults.failback = on;
            }
            return;
        }
        self.defaults.failback = true;
        findings.push(
            Diagnostic::note(line.at(&word), "`auto_failback legacy` is read as `on`")
                .help("write on, or off; here standby and ping targets work with each of them"),
        );
    }

    fn respawn(&mut self, line: &Line<'_>, draft: &mut Draft, findings: &mut Findings) {
        let [user, program, ..] = line.args.as_slice() else {
            return line.incomplete("USER /PATH/TO/PROGRAM", findings);
        };
        match program.text.rsplit('/').next().unwrap_or_default() {
            "ipfail" => self.defaults.reach = Reach::Best,
            "dopd" => findings.push(
                Diagnostic::note(
                    line.at(program),
                    "dopd is not run: systole's leases keep a cut-off node from writing",
                )
                .help("set DRBD's own quorum, or its fence-peer handler"),
            ),
            // It speaks Heartbeat's own tongue.
            "hbagent" | "cibmon" | "ccm" | "pingd" | "mgmtd" | "cib" | "crmd" | "lrmd" | "attrd"
            | "stonithd" => findings.push(
                Diagnostic::note(line.at(program), "it is not run: it asks Heartbeat, and there is none")
                    .help("ask systole: `systole status --json`, or docs/control.md"),
            ),
            name => {
                let alike = |respawn: &&DraftRespawn| {
                    respawn.program.first().is_some_and(|word| word.value.ends_with(&format!("/{name}")))
                };
                let name = match draft.respawns.iter().filter(alike).count() {
                    0 => name.to_owned(),
                    before => format!("{name}-{}", before + 1),
                };
                let place = line.at(program);
                draft.respawns.push(DraftRespawn {
                    name: Placed::new(name, place),
                    program: line.args[1..].iter().map(|word| line.name_of(word)).collect(),
                    user: Some(line.name_of(user)),
                    nodes: Vec::new(),
                });
            }
        }
    }

    fn finish(self, file: usize, draft: &mut Draft, findings: &mut Findings) -> Defaults {
        if self.failback.is_none() {
            findings.push(
                Diagnostic::note(Place::whole(file), "without `auto_failback` a group goes back to its node")
                    .help("write auto_failback on, or off, so that a reader need not know"),
            );
        }
        timing_defaults(file, &mut draft.timing);
        if draft.cluster.is_none() {
            draft.cluster = Some(Placed::new("linux-ha".to_owned(), Place::whole(file)));
        }
        self.defaults
    }
}

/// Heartbeat's own, where a time is not said.
fn timing_defaults(file: usize, timing: &mut DraftTiming) {
    let whole = Place::whole(file);
    let deadtime = timing.deadtime.get_or_insert(Placed::new(Span::seconds(30), whole)).clone();
    timing.keepalive.get_or_insert(Placed::new(Span::seconds(1), whole));
    timing.warntime.get_or_insert(Placed::new(deadtime.value / 2, deadtime.place));
    let initdead = match deadtime.value {
        long if long > Span::seconds(10) => long,
        short if short < Span::seconds(6) => Span::seconds(12),
        middle => middle * 2,
    };
    timing.initdead.get_or_insert(Placed::new(initdead, deadtime.place));
}

fn nodes(line: &Line<'_>, draft: &mut Draft, findings: &mut Findings) {
    if line.args.is_empty() {
        line.incomplete("NAME", findings);
    }
    for word in &line.args {
        let name = line.name_of(word).map(|name| name.to_lowercase());
        // One beyond the limit is reported; the rest would only be read for nothing.
        if draft.nodes.len() <= limits::NODES {
            draft.nodes.push(DraftNode { name, arbiter: false });
        }
    }
}

fn autojoin(line: &Line<'_>, findings: &mut Findings) {
    let Some(word) = line.single("none", findings) else { return };
    match word.text {
        "none" => {}
        "any" | "other" => findings.push(
            Diagnostic::mistake(line.at(&word), "nodes cannot join by themselves")
                .label("who votes must be written down")
                .help("write autojoin none, and a `node` line for each; Heartbeat itself refuses this beside haresources"),
        ),
        _ => line.wrong(&word, "none", findings),
    }
}

fn stonith(line: &Line<'_>, draft: &mut Draft, findings: &mut Findings) {
    let [kind, config, ..] = line.args.as_slice() else {
        return line.incomplete("TYPE CONFIGURATION-FILE", findings);
    };
    if let Some(word) = line.args.get(2) {
        line.hide_from(2, findings);
        findings.push(
            Diagnostic::mistake(line.at(word), "`stonith` takes a type and a file")
                .label("one too many")
                .help("write stonith TYPE CONFIGURATION-FILE, and what else the device needs into that file"),
        );
    }
    let agent = line.name_of(kind).map(|kind| format!("stonith:{kind}"));
    let config = line.name_of(config);
    let name = Placed::new(fence_name(&agent.value, &config.value, draft), agent.place);
    let params = [(STONITH_FILE.to_owned(), config)].into();
    draft.fences.push(DraftFence { name, agent, params, nodes: Vec::new(), delay: Span::ZERO });
    // Heartbeat took over only after its device had said yes.
    draft.method = Some(Placed::new(TiebreakMethod::Fence, line.place()));
}

/// A fence is named after its type. A second device of a type is another one, so it has a number, as the lines have
/// their order; a device that is named once more has the same name, which is a mistake.
fn fence_name(agent: &str, config: &str, draft: &Draft) -> String {
    let alike = draft.fences.iter().filter(|fence| fence.agent.value == agent);
    if let Some(same) =
        alike.clone().find(|fence| fence.params.get(STONITH_FILE).is_some_and(|file| file.value == config))
    {
        return same.name.value.clone();
    }
    let kind = agent.trim_start_matches("stonith:").replace(['/', ':'], "-");
    match alike.count() {
        0 => kind,
        before => format!("{kind}-{}", before + 1),
    }
}

fn stonith_host(line: &Line<'_>, findings: &mut Findings) {
    if line.args.len() < 2 {
        return line.incomplete("HOST TYPE PARAMETERS", findings);
    }
    line.hide_from(2, findings);
    findings.push(
        Diagnostic::warning(line.place(), "`stonith_host` is not carried over: its parameters may be passwords")
            .label("no node is fenced by it")
            .help("put them into a file of root's, and write stonith TYPE FILE; or write a [fence.NAME] in a systole.toml"),
    );
}

fn crm(line: &Line<'_>, findings: &mut Findings) {
    let Some(word) = line.single("off", findings) else { return };
    if matches!(word.text.to_lowercase().as_str(), "false" | "off" | "no" | "n" | "0") {
        return;
    }
    findings.push(
        Diagnostic::mistake(line.at(&word), "the resources belong to a cluster resource manager")
            .label("with it, haresources is not read")
            .help("write the groups into haresources or a systole.toml, and crm off"),
    );
}
