//! The daemon's memory in /run: what the next one of this boot goes on from.
//!
//! Beats and orders wait for it, so it is written into two files that stay open, in turn: while one is written, the other
//! keeps what was remembered before. The first line says how long the text is, and its sum: one that was being written when
//! the daemon was killed is seen by that and does not count, for nothing rests on it yet. Nothing is fsynced: it is
//! worthless after a reboot, and says so by the boot's id.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::cluster::Memory;

use super::files::{FileError, system};

const FILES: [&str; 2] = ["memory-0.json", "memory-1.json"];

/// Where both files are.
#[derive(Debug)]
pub(super) struct MemoryFiles {
    run: PathBuf,
    boot: String,
    /// Of the newest that was written whole.
    turn: u64,
    open: [Option<File>; 2],
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    length: usize,
    sum: String,
}

/// The second.
#[derive(Serialize, Deserialize)]
struct Text<'a> {
    turn: u64,
    boot: Cow<'a, str>,
    memory: Cow<'a, Memory>,
}

impl MemoryFiles {
    pub(super) fn new(run: &Path, boot: &str) -> Self {
        Self { run: run.to_owned(), boot: boot.to_owned(), turn: 0, open: [None, None] }
    }

    /// What an earlier daemon of this boot remembered. `None` after a reboot, and where anything but a cut speaks against
    /// the newest: beats rest on what it said, and what is older must not be taken for it.
    pub(super) fn read(&mut self) -> Option<Memory> {
        let texts: Vec<Text<'_>> = match FILES.map(|file| read(&self.run.join(file))) {
            [Some(one), Some(other)] => one.into_iter().chain(other).collect(),
            _ => return None,
        };
        let newest = texts.into_iter().filter(|text| text.boot == self.boot).max_by_key(|text| text.turn)?;
        self.turn = newest.turn;
        Some(newest.memory.into_owned())
    }

    /// Written when this returns. Both files are there from the first time on: whoever cleans up in /run must not take the
    /// newest with him and leave the one before.
    pub(super) fn write(&mut self, memory: &Memory) -> Result<(), FileError> {
        let is_new = self.write_turn(memory)?;
        if is_new {
            self.write_turn(memory)?;
        }
        Ok(())
    }

    /// Whether its file had to be made.
    fn write_turn(&mut self, memory: &Memory) -> Result<bool, FileError> {
        let place = usize::from(self.turn.is_multiple_of(2));
        let path = self.run.join(FILES[place]);
        let help = ", make room there: until then this node says nothing";
        self.write_into(memory, place, &path).map_err(system(&path, "written", help))
    }

    fn write_into(&mut self, memory: &Memory, place: usize, path: &Path) -> io::Result<bool> {
        let turn = self.turn + 1;
        let (boot, memory) = (Cow::Borrowed(&*self.boot), Cow::Borrowed(memory));
        let text = serde_json::to_vec(&Text { turn, boot, memory })?;
        let mut whole = serde_json::to_vec(&Head { length: text.len(), sum: sum(&text) })?;
        whole.push(b'\n');
        whole.extend(text);
        let open = self.open[place].take();
        let stands = open.filter(|file| file.metadata().is_ok_and(|meta| meta.nlink() > 0));
        let is_new = stands.is_none() && !path.exists();
        let file = match stands {
            Some(file) => file,
            None => OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?,
        };
        file.write_all_at(&whole, 0)?;
        self.open[place] = Some(file);
        self.turn = turn;
        Ok(is_new)
    }
}

/// What the daemon leaves behind when it stops in good order: nothing runs here any more.
pub(super) fn forget(run: &Path) {
    for file in FILES {
        let _ = fs::remove_file(run.join(file));
    }
}

/// The text of a file, or none where it was cut while it was written; what stands behind it is the rest of an older, longer
/// one. `None` for a file that is not there, cannot be read, or is whole and not understood.
fn read(path: &Path) -> Option<Option<Text<'static>>> {
    let bytes = fs::read(path).ok()?;
    let cut = Some(None);
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return cut };
    let Ok(head) = serde_json::from_slice::<Head>(&bytes[..end]) else { return cut };
    match bytes[end + 1..].get(..head.length) {
        Some(text) if sum(text) == head.sum => serde_json::from_slice(text).ok().map(Some),
        Some(_) | None => cut,
    }
}

fn sum(text: &[u8]) -> String {
    digest(&SHA256, text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::beat::{Order, ServerOrder, ServerOrders, ServerWish, Subject, Wish};
    use crate::cluster::RememberedGrant;
    use crate::time::Span;
    use crate::types::{Epoch, GroupId, Incarnation, NodeId, Sequence, ServersId};

    /// So many groups were granted.
    fn memory(groups: u64) -> Memory {
        let grant = RememberedGrant {
            holder: NodeId::of("lb0"),
            incarnation: Incarnation(7),
            epoch: Epoch(3),
            sequence: Sequence(0),
            lease: Span::seconds(1),
        };
        let names: Vec<String> = (0..groups).map(|group| format!("web{group}")).collect();
        let order = Order { version: 1, wish: Wish::Place(NodeId::of("lb1")) };
        Memory {
            grants: names.iter().map(|name| (GroupId::of(name), grant)).collect(),
            claims: BTreeMap::new(),
            warm: BTreeSet::from([(GroupId::of("web"), 1)]),
            unsure: BTreeSet::new(),
            orders: BTreeMap::from([(Subject::Group(GroupId::of("web")), order)]),
            servers: ServerOrders {
                given: BTreeMap::from([(NodeId::of("lb0"), 7)]),
                hold: BTreeSet::from([(
                    ServersId::of(Some("web"), "one"),
                    ServerOrder { number: 7, by: NodeId::of("lb0"), wish: ServerWish::Weight(3) },
                )]),
            },
            hold_off: true,
        }
    }

    fn read_all(run: &Path) -> Option<Memory> {
        MemoryFiles::new(run, "this").read()
    }

    #[test]
    fn the_newest_comes_back_also_to_the_daemon_after_the_next_and_not_after_a_reboot() {
        let run = tempfile::tempdir().unwrap();
        let mut files = MemoryFiles::new(run.path(), "this");
        assert_eq!(files.read(), None);
        for groups in [3, 1, 2] {
            files.write(&memory(groups)).unwrap();
            assert_eq!(read_all(run.path()), Some(memory(groups)));
        }
        let mut next = MemoryFiles::new(run.path(), "this");
        next.read();
        for groups in [5, 1] {
            next.write(&memory(groups)).unwrap();
            assert_eq!(read_all(run.path()), Some(memory(groups)));
        }
        let mut reboot = MemoryFiles::new(run.path(), "another");
        assert_eq!(reboot.read(), None);
        reboot.write(&memory(4)).unwrap();
        assert_eq!(MemoryFiles::new(run.path(), "another").read(), Some(memory(4)));
        forget(run.path());
        assert_eq!(MemoryFiles::new(run.path(), "another").read(), None);
    }

    #[test]
    fn one_that_was_cut_anywhere_while_it_was_written_leaves_the_one_before() {
        let run = tempfile::tempdir().unwrap();
        let mut files = MemoryFiles::new(run.path(), "this");
        for groups in [4, 2] {
            files.write(&memory(groups)).unwrap();
        }
        let path = run.path().join(FILES[0]);
        let old = fs::read(&path).unwrap();
        files.write(&memory(3)).unwrap();
        let new = fs::read(&path).unwrap();
        assert_eq!(read_all(run.path()), Some(memory(3)));
        let cut_after = |cut: usize| [&new[..cut], &old[cut..]].concat();
        for cut in (0..new.len()).take_while(|cut| cut_after(*cut) != new) {
            fs::write(&path, cut_after(cut)).unwrap();
            assert_eq!(read_all(run.path()), Some(memory(2)), "cut after {cut} bytes");
        }
        fs::write(&path, "").unwrap();
        assert_eq!(read_all(run.path()), Some(memory(2)));
    }

    #[test]
    fn an_older_memory_is_not_taken_for_a_newest_that_is_gone_or_not_understood() {
        let run = tempfile::tempdir().unwrap();
        let mut files = MemoryFiles::new(run.path(), "this");
        for groups in [1, 2, 3] {
            files.write(&memory(groups)).unwrap();
        }
        let path = run.path().join(FILES[usize::from(files.turn % 2 == 1)]);
        let whole = fs::read(&path).unwrap();
        let other = "{\"turn\":9,\"boot\":\"this\",\"memory\":\"of another version\"}";
        let head = serde_json::to_string(&Head { length: other.len(), sum: sum(other.as_bytes()) }).unwrap();
        fs::write(&path, format!("{head}\n{other}")).unwrap();
        assert_eq!(read_all(run.path()), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(read_all(run.path()), None);
        fs::write(&path, whole).unwrap();
        assert_eq!(read_all(run.path()), Some(memory(3)));
    }

    #[test]
    fn files_that_somebody_removes_are_made_anew_and_where_none_can_be_that_is_said() {
        let run = tempfile::tempdir().unwrap();
        let mut files = MemoryFiles::new(run.path(), "this");
        for groups in 1..5 {
            files.write(&memory(groups)).unwrap();
            forget(run.path());
            files.write(&memory(groups)).unwrap();
            assert_eq!(read_all(run.path()), Some(memory(groups)));
        }
        fs::remove_dir_all(run.path()).unwrap();
        assert!(files.write(&memory(1)).is_err());
        fs::create_dir(run.path()).unwrap();
        files.write(&memory(2)).unwrap();
        assert_eq!(read_all(run.path()), Some(memory(2)));
    }
}
