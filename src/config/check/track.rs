//! What is tracked beside the network. Whether it is there is not seen from the text: each node looks for itself.

use super::groups::instance_names;
use super::names;
use super::notify::check_program;
use crate::config::diagnostic::{Diagnostic, Findings};
use crate::config::draft::{Draft, DraftTrack, Name, Placed};
use crate::config::limits;
use crate::config::model::{Bearing, Reach, Track, Tracked};
use crate::time::Span;
use crate::types::GroupId;

/// Between two looks, unless the file says otherwise.
const EVERY: Span = Span::seconds(1);

/// Longer than a program takes that is well.
const TIMEOUT: Span = Span::seconds(5);

/// A program may fail by chance; whether a file is there is no matter of chance.
const FALL_OF_A_PROGRAM: u32 = 3;
const RISE_OF_A_PROGRAM: u32 = 2;

pub(super) fn check(draft: &Draft, findings: &mut Findings) {
    let names = draft.tracks.iter().map(|track| &track.name);
    names::check_once("track", names, "give one of them another name", findings);
    if let Some(track) = draft.tracks.get(limits::TRACKS) {
        findings.push(
            Diagnostic::mistake(
                track.name.place,
                format!("more than {} tables [track.NAME]", limits::TRACKS),
            )
            .label("the first beyond")
            .help("let one program look at several things"),
        );
    }
    for track in &draft.tracks {
        check_way(track, findings);
        check_times(track, findings);
        check_bearing(draft, track, findings);
    }
}

fn check_way(track: &DraftTrack, findings: &mut Findings) {
    names::check_name("track", &track.name, findings);
    check_program(&track.program, findings);
    let others = [&track.file, &track.no_file, &track.process];
    let ways = usize::from(track.has_program) + others.iter().filter(|way| way.is_some()).count();
    let is_empty = track.has_program && track.program.is_empty();
    if ways != 1 || is_empty {
        let label = if ways > 1 { "which of them?" } else { "what is looked at?" };
        findings.push(
            Diagnostic::mistake(track.name.place, format!("[track.{}] tracks not one thing", track.name.value))
                .label(label)
                .help("write one of program = \"/path\", file = \"/path\", no-file = \"/path\" and process = \"name\""),
        );
    }
    for path in [&track.file, &track.no_file].into_iter().flatten().filter(|path| !is_absolute(path)) {
        findings.push(
            Diagnostic::mistake(path.place, "the file's path is not absolute")
                .label("does not begin with /")
                .help("write the whole path, such as \"/run/maintenance\""),
        );
    }
    if let Some(process) = track.process.as_ref().filter(|name| name.value.is_empty() || !is_bare(name)) {
        findings.push(
            Diagnostic::mistake(process.place, "that is not the name of a process")
                .label("a name without blanks and /")
                .help("write it as `ps -eo comm` shows it, such as \"haproxy\""),
        );
    }
}

fn is_absolute(path: &Name) -> bool {
    path.value.starts_with('/') && !path.value.contains('\0')
}

fn is_bare(name: &Name) -> bool {
    !name.value.contains(|letter: char| letter == '/' || letter.is_whitespace() || letter.is_control())
}

fn check_times(track: &DraftTrack, findings: &mut Findings) {
    let least = limits::TRACK_EVERY_LEAST;
    if let Some(every) = track.every.as_ref().filter(|every| every.value < least) {
        findings.push(
            Diagnostic::mistake(every.place, format!("nothing is tracked every {}", every.value))
                .label("too often")
                .help(format!("write at least \"{least}\", or leave it out: then it is {EVERY}")),
        );
    }
    let Some(timeout) = &track.timeout else { return };
    let why = if timeout.value == Span::ZERO {
        "nothing is done in so short a time"
    } else if track.has_program {
        return;
    } else {
        "only a program takes time"
    };
    findings.push(
        Diagnostic::mistake(timeout.place, "`timeout` means nothing here")
            .label(why)
            .help(format!("leave it out: then it is {TIMEOUT} for a program")),
    );
}

fn check_bearing(draft: &Draft, track: &DraftTrack, findings: &mut Findings) {
    let name = &track.name.value;
    for group in track.groups.iter().flatten().filter(|_| !draft.lost.groups) {
        names::find_group(draft, &format!("[track.{name}]"), group, findings);
    }
    if track.groups.as_ref().is_some_and(Vec::is_empty) {
        findings.push(
            Diagnostic::mistake(track.name.place, format!("nothing hangs on [track.{name}]"))
                .label("`groups` names none")
                .help("leave `groups` out: then it is all of them"),
        );
    }
    let Some(weight) = &track.weight else { return };
    if track.groups.is_some() {
        findings.push(
            Diagnostic::mistake(weight.place, "`weight` and `groups` do not go together")
                .label("a weight counts for the whole node")
                .help("leave out one of the two: with `groups` the node is unfit for them, with `weight` it only counts for less"),
        );
    } else if draft.groups.iter().all(|group| reach(group.reach.as_ref()) == Reach::Any) {
        findings.push(
            Diagnostic::warning(weight.place, format!("nobody asks what [track.{name}] weighs"))
                .label("counts as ping targets do, and no group asks for these")
                .help("write reach = \"best\" in the groups that shall follow it, or leave `weight` out"),
        );
    }
}

fn reach(written: Option<&Placed<Reach>>) -> Reach {
    written.map_or(Reach::Any, |reach| reach.value)
}

/// Of a draft without mistakes.
pub(super) fn resolve(draft: &Draft, track: &DraftTrack) -> Option<Track> {
    let mut words = track.program.iter().map(|word| word.value.clone());
    let path = |name: &Option<Name>| name.as_ref().map(|name| name.value.clone().into());
    let program =
        words.next().map(|program| Tracked::Program { program: program.into(), args: words.collect() });
    let process = || track.process.as_ref().map(|name| Tracked::Process(name.value.clone()));
    let what = program
        .or_else(|| path(&track.file).map(Tracked::File))
        .or_else(|| path(&track.no_file).map(Tracked::NoFile))
        .or_else(process)?;
    let (fall, rise) = match &what {
        Tracked::Program { .. } => (FALL_OF_A_PROGRAM, RISE_OF_A_PROGRAM),
        Tracked::File(_) | Tracked::NoFile(_) | Tracked::Process(_) => (1, 1),
    };
    let named = |name: &str| track.groups.as_ref().is_none_or(|all| all.iter().any(|one| one.value == name));
    let groups = draft.groups.iter().filter(|group| named(&group.name.value));
    let groups = || groups.flat_map(instance_names).map(|name| GroupId::of(&name)).collect();
    let weight = track.weight.as_ref().and_then(|weight| u16::try_from(weight.value).ok());
    Some(Track {
        name: track.name.value.clone(),
        what,
        every: track.every.as_ref().map_or(EVERY, |every| every.value),
        timeout: track.timeout.as_ref().map_or(TIMEOUT, |timeout| timeout.value),
        fall: track.fall.as_ref().map_or(fall, |fall| fall.value),
        rise: track.rise.as_ref().map_or(rise, |rise| rise.value),
        bearing: weight.map_or_else(|| Bearing::Groups(groups()), Bearing::Weight),
    })
}
