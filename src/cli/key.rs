//! `systole key`: makes, lists and replaces the keys that beats are sealed with. A key is never printed. Which file is
//! right is for [`keys`](crate::config::keys) to say; here it is only written, whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::config::keys::KeyRing;
use crate::config::limits;

use super::failure::Failure;
use super::terminal::say;

/// Make, list or replace the keys of the cluster. They are the same on every node.
///
/// Exit status: 0 done, 1 refused, 2 the file could not be read or written.
#[derive(clap::Args, Debug)]
pub struct Key {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Make a key file with one random key, where there is none yet
    New {
        #[command(flatten)]
        file: KeyFile,
    },
    /// List the keys by their ids; the secrets are not shown
    List {
        #[command(flatten)]
        file: KeyFile,
    },
    /// Replace the key in three steps, each of them on every node before the next; without --step say which comes next
    Rotate {
        /// Which step to take
        #[arg(long, value_enum)]
        step: Option<Step>,
        #[command(flatten)]
        file: KeyFile,
    },
}

#[derive(clap::Args, Clone, Debug)]
struct KeyFile {
    /// The key file
    #[arg(long, value_name = "PATH", default_value = "/etc/systole/keys")]
    keys: PathBuf,
}

/// A step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Step {
    /// Add a new key behind the others: it opens, and does not seal yet
    Add,
    /// Move the newest key to the front: it seals, and the old ones still open
    Seal,
    /// Remove all keys but the first
    Drop,
}

/// Random bits of a new key.
const KEY_BYTES: usize = 32;

impl Key {
    /// Does it.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.what {
            What::New { file } => new(&file.keys),
            What::List { file } => list(&file.keys),
            What::Rotate { step, file } => rotate(&file.keys, *step),
        }
    }
}

fn new(path: &Path) -> Result<(), Failure> {
    let line = Zeroizing::new(format!("1 {}\n", random_hex()?.as_str()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match file.and_then(|mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_all())) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let path = path.display();
            return Err(Failure::NotDone(format!(
                "{path} exists, and is left as it is\nreplace its key with `systole key rotate`, on a running cluster, too"
            )));
        }
        Err(error) => return Err(unusable(path, "written", &error)),
    }
    say(&format!(
        "{0} has a new key\nbring it to the other nodes, for example: scp -p {0} NODE:{0}\n",
        path.display()
    ));
    Ok(())
}

fn list(path: &Path) -> Result<(), Failure> {
    let (_, ring) = read(path)?;
    for (id, secret) in &ring.keys {
        let seals = if *id == ring.first { "seals and opens" } else { "opens" };
        say(&format!("{id}  {} bits  {seals}\n", secret.bytes().len() * 8));
    }
    Ok(())
}

fn rotate(path: &Path, step: Option<Step>) -> Result<(), Failure> {
    let (text, ring) = read(path)?;
    if is_authkeys(&text) {
        return Err(Failure::NotDone(format!(
            "{} is Heartbeat's authkeys, which is not rewritten\nmake a file of our own with `systole key new --keys PATH`, and name it in the configuration",
            path.display()
        )));
    }
    let next = next_step(&ring);
    let Some(step) = step else {
        say(&explain(path, next));
        return Ok(());
    };
    if step != next {
        return Err(Failure::NotDone(wrong_step(path, step, next)));
    }
    let text = match step {
        Step::Add => added(&text, &ring, &random_hex()?)?,
        Step::Seal => sealing(&text, newest(&ring)),
        Step::Drop => dropped(&text, ring.first),
    };
    replace(path, &text)?;
    say(&format!("done: {}\n{}", path.display(), afterwards(path, step)));
    Ok(())
}

/// One key: add another. The newest does not seal: let it. It does: the others can go.
fn next_step(ring: &KeyRing) -> Step {
    match ring.keys.len() {
        0 | 1 => Step::Add,
        _ if newest(ring) == ring.first => Step::Drop,
        _ => Step::Seal,
    }
}

/// Ids count up.
fn newest(ring: &KeyRing) -> u16 {
    ring.keys.iter().map(|(id, _)| *id).max().unwrap_or(ring.first)
}

/// The file with a new key at its end.
fn added(text: &str, ring: &KeyRing, hex: &str) -> Result<Zeroizing<String>, Failure> {
    let Some(id) = newest(ring).checked_add(1) else {
        let text = "no id is left above the newest key's\nrenumber the keys by hand, on all nodes alike";
        return Err(Failure::NotDone(text.to_owned()));
    };
    let end = if text.ends_with('\n') { "" } else { "\n" };
    Ok(Zeroizing::new(format!("{text}{end}{id} {hex}\n")))
}

/// The file with this key's line before every other line.
fn sealing(text: &str, id: u16) -> Zeroizing<String> {
    let (first, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| id_of(line) == Some(id));
    joined(first.into_iter().chain(rest))
}

/// The file without any other key than this.
fn dropped(text: &str, id: u16) -> Zeroizing<String> {
    joined(text.lines().filter(|line| id_of(line).is_none_or(|known| known == id)))
}

fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The id of a line with a key; a remark has none.
fn id_of(line: &str) -> Option<u16> {
    line.split_whitespace().next()?.parse().ok()
}

fn is_authkeys(text: &str) -> bool {
    text.lines().any(|line| line.split_whitespace().next() == Some("auth"))
}

fn random_hex() -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
    let filled = SystemRandom::new().fill(&mut *bytes);
    filled.map_err(|_| {
        Failure::Unusable(
            "the kernel gives no random bits\ntry again when the machine has come up".to_owned(),
        )
    })?;
    let mut hex = Zeroizing::new(String::with_capacity(2 * KEY_BYTES));
    for byte in bytes.iter() {
        hex.push_str(&format!("{byte:02x}"));
    }
    Ok(hex)
}

/// The text, which is secret, and what it means.
fn read(path: &Path) -> Result<(Zeroizing<String>, KeyRing), Failure> {
    let mut text = Zeroizing::new(String::new());
    let most = u64::try_from(limits::FILE_BYTES).unwrap_or(u64::MAX);
    let read = File::open(path).and_then(|file| file.take(most).read_to_string(&mut text));
    read.map_err(|error| unusable(path, "read", &error))?;
    match KeyRing::parse(&path.display().to_string(), &text) {
        Ok((ring, _)) => Ok((text, ring)),
        Err(report) => Err(Failure::NotDone(format!("the keys cannot be used\n{report}"))),
    }
}

/// Another daemon or person sees the old file or the new one, and never a part; and nobody else may read either.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let _ = fs::remove_file(&new);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            File::open(path.parent().unwrap_or(path))?.sync_all()
        });
    written.map_err(|error| unusable(path, "written", &error))
}

fn unusable(path: &Path, what: &str, error: &io::Error) -> Failure {
    let help = if error.kind() == io::ErrorKind::NotFound {
        "make a key with `systole key new`, or name the file with --keys PATH"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "do it as root: nobody else may see the keys"
    } else {
        "look at the file and its directory with ls -l"
    };
    let path = path.display();
    Failure::Unusable(format!("{path} cannot be {what}: {error}\n{help}"))
}

fn explain(path: &Path, next: Step) -> String {
    let file = path.display();
    let mark = |step: Step| if step == next { "->" } else { "  " };
    format!(
        "A key is replaced in three steps, and no beat is lost if each is done on every node before the next.\n\
         {} 1. --step add   a new key that opens, but does not seal yet\n\
         {} 2. --step seal  the new key seals; the old one still opens\n\
         {} 3. --step drop  the old key is removed\n\
         Take a step on one node, bring {file} to all others (mode 0600), and run `systole reload` on every node.\n\
         The next step here: systole key rotate --step {}{}\n",
        mark(Step::Add),
        mark(Step::Seal),
        mark(Step::Drop),
        word(next),
        if file.to_string() == DEFAULT { String::new() } else { format!(" --keys {file}") }
    )
}

/// Where the configuration looks by default.
const DEFAULT: &str = "/etc/systole/keys";

fn word(step: Step) -> &'static str {
    match step {
        Step::Add => "add",
        Step::Seal => "seal",
        Step::Drop => "drop",
    }
}

fn wrong_step(path: &Path, step: Step, next: Step) -> String {
    let why = match next {
        Step::Add => "there is only one key",
        Step::Seal => "there is a new key that does not seal yet",
        Step::Drop => "the newest key seals, and an old one is still there",
    };
    format!(
        "{} is not at the step {}: {why}\nthe next one is --step {}, when every node has this file and has reloaded it",
        path.display(),
        word(step),
        word(next)
    )
}

fn afterwards(path: &Path, step: Step) -> String {
    let next = match step {
        Step::Add => "only when all have it: systole key rotate --step seal",
        Step::Seal => "only when all have it: systole key rotate --step drop",
        Step::Drop => "then the old key is gone",
    };
    let path = path.display();
    format!(
        "bring it to every other node (scp -p {path} NODE:{path}) and run `systole reload` on each, this one too\n{next}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> KeyRing {
        KeyRing::parse("keys", text).expect("these keys can be used").0
    }

    #[test]
    fn a_rotation_goes_from_one_key_to_another_and_every_step_opens_what_the_one_before_seals() {
        let one = format!("# ours\n7 {}\n", "0123456789abcdef".repeat(4));
        assert_eq!(next_step(&ring(&one)), Step::Add);
        let two = added(&one, &ring(&one), &"fedcba9876543210".repeat(4)).expect("8 is free");
        assert_eq!((ring(&two).first, next_step(&ring(&two))), (7, Step::Seal));
        let new = sealing(&two, newest(&ring(&two)));
        assert_eq!((ring(&new).first, next_step(&ring(&new))), (8, Step::Drop));
        assert_eq!(ring(&new).key(7), ring(&one).key(7), "what an older node seals is opened");
        let last = dropped(&new, ring(&new).first);
        assert_eq!((ring(&last).keys.len(), next_step(&ring(&last))), (1, Step::Add));
        assert!(last.contains("# ours"), "remarks stay");
    }

    #[test]
    fn an_id_is_never_used_again() {
        let text = format!("65535 {}\n", "0123456789abcdef".repeat(4));
        assert!(added(&text, &ring(&text), "00").is_err());
    }
}
