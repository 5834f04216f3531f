//! `systole copy`: brings the configuration of this node to the others, over the operator's own `ssh`.
//!
//! The daemons have no part in it, and shall have none: a configuration names programs that root runs, so whoever has
//! nothing but the key of the cluster must not be able to change one. Keys are never copied.
//!
//! Nothing is changed before every node has checked the text. Then this node's daemon reads it first: what a daemon refuses
//! although `check` lets it pass is refused here, while nobody else has it. After that each node takes the file and reads
//! it in one step, so that the daemons differ for as short as can be. A file that a daemon refuses makes way for the one
//! before: a daemon that died now would start with what it ran with. One node that fails stops nobody else: the fewer
//! nodes differ, the better.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::config::{Config, LoadError};
use crate::control::Request;
use crate::daemon::which_node;
use crate::types::NodeId;

use super::check::{self, DEFAULT_PATH};
use super::connection::Daemon;
use super::failure::{Failure, finish};
use super::simulate::find_node;
use super::terminal::{complain, say};

/// Bring the configuration of this node to the others by ssh, have it checked there, and let every daemon read it.
///
/// Every node checks it first: if one refuses, nothing is changed anywhere. The file that was there is kept beside it,
/// with .before behind its name. Keys are never copied.
///
/// Exit status: 0 done, 1 it has mistakes or not every node has it, 2 unusable (it cannot be read, no such node).
#[derive(clap::Args, Debug)]
pub struct Copy {
    /// The nodes that get it [default: all others, arbiters too]
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// The systole.toml, at the same path on every node
    #[arg(long, value_name = "PATH", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// Which node of the configuration this is [default: the machine's name]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// What runs a command on a node: a program and its options, split at blanks
    #[arg(long, value_name = "PROGRAM", default_value = "ssh")]
    pub by: String,
    #[command(flatten)]
    daemon: Daemon,
}

/// What `ssh` ends with where it did not reach the node; a node's own shell where it finds no such program.
const NOT_REACHED: i32 = 255;
const NO_PROGRAM: i32 = 127;

/// What [`Lines::place`] ends with where the daemon refused, also what was in its place before, and where none was reached.
/// All else is a step that failed.
const REFUSED: i32 = 21;
const REFUSED_AGAIN: i32 = 23;
const NO_DAEMON: i32 = 22;

impl Copy {
    /// What each node says goes to standard error where it went wrong, else to standard output.
    pub fn run(&self) -> ExitCode {
        if self.config.join("ha.cf").exists() {
            let path = self.config.display();
            return finish(Err(Failure::Unusable(format!(
                "{path} is a Heartbeat directory, and only a systole.toml is copied\ncopy its ha.cf and haresources with scp, then say on each node: systole check --config {path} && systole reload"
            ))));
        }
        match check::read(&self.config) {
            Ok(loaded) => {
                check::tell(&loaded, Path::new("/"));
                finish(self.copy(&loaded.config, &loaded.warnings.render(false)))
            }
            Err(code) => code,
        }
    }

    fn copy(&self, config: &Config, warnings: &str) -> Result<(), Failure> {
        let me =
            which_node(config, self.node.as_deref()).map_err(|why| Failure::Unusable(why.to_string()))?;
        let name = |id: &NodeId| config.nodes.get(id).map_or("", |node| node.name.as_str());
        let nodes = self.others(config, me)?;
        let lines = Lines::new(&self.config, config, &self.daemon.run_dir, name(&me))?;
        let text = fs::read(&self.config).map_err(|error| unreadable(&self.config, &error))?;
        self.offer(&nodes, &lines, &text, warnings)?;
        self.begin_here(name(&me)).inspect_err(|_| self.remove(&nodes, &lines))?;
        let failed: Vec<&str> = nodes.iter().copied().filter(|node| !self.place(node, &lines)).collect();
        if failed.is_empty() {
            say("`systole check --peers` says whether every daemon has it\n");
            return Ok(());
        }
        Err(Failure::NotDone(format!(
            "{} not done: {}\nmend what is said above, and copy again; where it is in its place, that changes nothing",
            if failed.len() == 1 { "one node is" } else { "some nodes are" },
            failed.join(", ")
        )))
    }

    /// The names of those that get it, in their order.
    fn others<'a>(&self, config: &'a Config, me: NodeId) -> Result<Vec<&'a str>, Failure> {
        let found: Vec<NodeId> = if self.nodes.is_empty() {
            config.nodes.keys().copied().filter(|node| *node != me).collect()
        } else {
            self.nodes.iter().map(|name| find_node(config, name)).collect::<Result<_, _>>()?
        };
        if found.contains(&me) {
            let what =
                "this node is named, and has the file already\nname the other nodes, or none for all of them";
            return Err(Failure::Unusable(what.to_owned()));
        }
        if found.is_empty() {
            let what = "the configuration names no other node\nhere `systole reload` is enough";
            return Err(Failure::Unusable(what.to_owned()));
        }
        let mut names: Vec<&str> =
            found.iter().filter_map(|id| Some(config.nodes.get(id)?.name.as_str())).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Every node checks the text, beside its place. Unless all agree, it is gone again. Warnings that were given here
    /// already are not given for each node.
    fn offer(&self, nodes: &[&str], lines: &Lines, text: &[u8], warnings: &str) -> Result<(), Failure> {
        let (mut reached, mut against) = (Vec::new(), Vec::new());
        for node in nodes {
            let answer = self.call(node, &lines.offer(node), text);
            let said = indented(&lines.in_place(&answer.error).replace(warnings, ""));
            if answer.code != NOT_REACHED {
                reached.push(*node);
            }
            if answer.code == 0 {
                say(&format!("{node}: it can be used\n"));
                complain(&said);
                continue;
            }
            against.push(*node);
            complain(&match answer.code {
                NOT_REACHED => format!("{node} was not reached:\n{said}{}", self.how_to_reach(node)),
                NO_PROGRAM => format!(
                    "{node} has no systole where its shell looks for it:\n{said}install it there, until this finds it: {} {node} systole --version\n",
                    self.by
                ),
                _ => format!("{node} cannot use it:\n{said}{}", other_version(&answer.out)),
            });
        }
        if against.is_empty() {
            return Ok(());
        }
        self.remove(&reached, lines);
        Err(Failure::NotDone(format!(
            "not every node can use it: {}\nnothing is changed on any node; mend what is said above, and copy again",
            against.join(", ")
        )))
    }

    fn how_to_reach(&self, node: &str) -> String {
        format!("try it by hand until it works: {} {node} systole --version\n", self.by)
    }

    /// The daemon of this node reads it before any other does. Where none runs, the others are the first.
    fn begin_here(&self, me: &str) -> Result<(), Failure> {
        let why = match self.daemon.connect().and_then(|mut daemon| daemon.order(&Request::Reload {})) {
            Ok(()) => {
                say(&format!("{me}: the daemon has read its file again\n"));
                return Ok(());
            }
            Err(Failure::Unusable(why)) if is_absent(&why) => {
                say(&format!("{me}: no daemon runs here\n"));
                return Ok(());
            }
            Err(Failure::NotDone(why) | Failure::Unusable(why)) => why,
        };
        Err(Failure::NotDone(format!(
            "the daemon of {me} did not take it: {why}\nnothing is changed on any other node; mend it, and copy again"
        )))
    }

    /// The file comes to its place on a node, and its daemon reads it. Whether that was done.
    fn place(&self, node: &str, lines: &Lines) -> bool {
        let answer = self.call(node, &lines.place(), &[]);
        let said = indented(&lines.in_place(&answer.error));
        match answer.code {
            0 => say(&format!("{node}: it is in its place, and the daemon has read its file again\n")),
            NO_DAEMON if is_absent(&answer.error) => {
                say(&format!("{node}: it is in its place; no daemon runs there\n"));
            }
            NO_DAEMON => complain(&format!(
                "{node}: it is in its place, and whether the daemon uses it is not known:\n{said}say there: systole reload\n"
            )),
            REFUSED => complain(&format!(
                "{node}: the daemon refuses it, goes on as it was, and what stood there before is back in its place:\n{said}"
            )),
            REFUSED_AGAIN => complain(&format!(
                "{node}: the daemon refuses it and goes on as it was, and it was in its place already: mend that before \
                 the daemon is started anew, or take {shown}.before back:\n{said}",
                shown = lines.shown
            )),
            code => {
                complain(&format!(
                    "{node}: whether it is in its place is not known:\n{said}look there at {}\n",
                    lines.shown
                ));
                if code != NOT_REACHED {
                    self.remove(&[node], lines);
                }
            }
        }
        answer.code == 0 || answer.code == NO_DAEMON && is_absent(&answer.error)
    }

    /// Nobody ever reads what stays behind, but it should not.
    fn remove(&self, nodes: &[&str], lines: &Lines) {
        for node in nodes {
            let answer = self.call(node, &lines.remove(), &[]);
            if answer.code != 0 {
                let said = indented(&answer.error);
                complain(&format!("{node}: a file stays behind:\n{said}say there: {}\n", lines.remove()));
            }
        }
    }

    /// Runs a line on a node, and gives it the text to read.
    fn call(&self, node: &str, line: &str, text: &[u8]) -> Answer {
        let mut words = self.by.split_whitespace();
        let program = words.next().unwrap_or("ssh");
        let mut command = Command::new(program);
        command.args(words).arg(node).arg(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let not_run = |error: io::Error| {
            let absent = error.kind() == io::ErrorKind::NotFound;
            let why = if absent { "it is not installed".to_owned() } else { error.to_string() };
            let error = format!("{program} cannot be run: {why}; install it, or name another with --by\n");
            Answer { code: NOT_REACHED, out: String::new(), error }
        };
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return not_run(error),
        };
        let input = child.stdin.take();
        // By a thread of its own: whoever waits for room in a pipe cannot empty the other two.
        let (written, output) = std::thread::scope(|scope| {
            let writer = scope.spawn(move || input.is_some_and(|mut input| input.write_all(text).is_ok()));
            let output = child.wait_with_output();
            (writer.join().unwrap_or(false), output)
        });
        let output = match output {
            Ok(output) => output,
            Err(error) => return not_run(error),
        };
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().filter(|code| *code != 0 || written).unwrap_or(NOT_REACHED);
        Answer { code, out: shown(&output.stdout), error: shown(&output.stderr) }
    }
}

/// How a line ended, and what it printed.
struct Answer {
    code: i32,
    out: String,
    error: String,
}

/// The lines that a node's shell runs. POSIX, and each path in quotes.
struct Lines {
    /// The place, for people.
    shown: String,
    /// What stands behind its name beside it. Of this node and this process: two operators don't get in each other's way.
    mark: String,
    /// Where it shall be (`f`), where it is checked (`n`), where the one before waits (`o`) and is kept (`b`).
    names: String,
    keys: String,
    run_dir: String,
}

impl Lines {
    fn new(path: &Path, config: &Config, run_dir: &Path, me: &str) -> Result<Self, Failure> {
        let path = absolute(path)?;
        let mark = format!(".new-{me}-{}", std::process::id());
        let names = [("f", ""), ("n", &mark), ("o", &format!("{mark}-old")), ("b", ".before")];
        let names = names.map(|(name, end)| format!("{name}={}; ", quoted(&format!("{path}{end}")))).concat();
        let (keys, run_dir) = (absolute(&config.keys)?, absolute(run_dir)?);
        Ok(Self { shown: path, mark, names, keys, run_dir })
    }

    /// The text gets mode and owner of the file that it shall replace, as it is written over a copy of it.
    fn offer(&self, node: &str) -> String {
        let keys = &self.keys;
        let without =
            format!("warning: {node} has no {keys}: copy it by hand, with scp -p {keys} {node}:{keys}");
        format!(
            "set -e; umask 022; {}systole --version; \
             if [ -L \"$f\" ]; then echo \"error: $f is a symbolic link: put a file there\" >&2; exit 1; fi; \
             if [ -e \"$f\" ]; then cp -p \"$f\" \"$n\"; fi; cat >\"$n\"; \
             systole check --config \"$n\"; [ -e {} ] || printf '%s\\n' {} >&2",
            self.names,
            quoted(keys),
            quoted(&without)
        )
    }

    /// The one before is kept only when it is another: to copy a text twice does not lose it.
    fn place(&self) -> String {
        format!(
            "set -e; {}if [ ! -e \"$f\" ]; then was=none; elif cmp -s \"$n\" \"$f\"; then was=same; \
             else was=other; cp -p \"$f\" \"$o\"; fi; mv -f \"$n\" \"$f\"; \
             code=0; systole reload --run-dir {} || code=$?; \
             case $code$was in 1none) rm -f \"$f\" ;; 1other) mv -f \"$o\" \"$f\" ;; *other) mv -f \"$o\" \"$b\" ;; esac; \
             case $code$was in 0*) ;; 1same) exit {REFUSED_AGAIN} ;; 1*) exit {REFUSED} ;; 2*) exit {NO_DAEMON} ;; *) exit 1 ;; esac",
            self.names,
            quoted(&self.run_dir)
        )
    }

    fn remove(&self) -> String {
        format!(
            "{}rm -f \"$n\"; if [ -e \"$o\" ]; then if cmp -s \"$o\" \"$f\"; then rm \"$o\"; else mv -f \"$o\" \"$b\"; fi; fi",
            self.names
        )
    }

    /// What a node says of the file beside the place, as if said of the place.
    fn in_place(&self, said: &str) -> String {
        said.replace(&self.mark, "")
    }
}

/// As it stands in a line of any shell: `'` ends the quotes, and is quoted for itself.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// From the root: the other node's shell begins elsewhere.
fn absolute(path: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned));
    whole.ok_or_else(|| {
        Failure::Unusable(format!("{} is no path in UTF-8\nrename it, and copy again", path.display()))
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let why =
        LoadError::Unusable { path: path.to_owned(), why: error.to_string(), help: "look at it with ls -l" };
    Failure::Unusable(why.to_string())
}

/// Whether the words of a command that found no daemon say that none runs, and not that one may not be spoken to.
fn is_absent(why: &str) -> bool {
    why.contains("no daemon was reached") && !why.contains("you may not connect")
}

/// What a node without a key word says of it sounds like a mistake of the operator.
fn other_version(out: &str) -> String {
    let ours = concat!("systole ", env!("CARGO_PKG_VERSION"));
    match out.lines().find(|line| line.starts_with("systole ")) {
        Some(theirs) if theirs != ours => {
            format!("it has {theirs}, and this node {ours}: install the same version on both\n")
        }
        Some(_) | None => String::new(),
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
