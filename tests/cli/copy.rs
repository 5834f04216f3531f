//! `systole copy` between nodes that are folders beside each other. A script stands for ssh: it runs the line that a node
//! would get, with the paths of its folder, so what the nodes have in the end is there to be read. In what they say, the
//! paths are again those of this node, as between machines.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use systole::control::{Answer, Desk, Question};
use tokio::sync::oneshot;

use super::world::Served;

/// Run as `sh FILE NODE LINE`. A node with a file `lost` is not reached any more when the file shall come to its place.
const SSH: &str = r#"here=${0%/*}
[ $# = 2 ] || exit 64
printf '%s\n' "$1" >>"$here/calls"
refuse() { echo "ssh: connect to host $1 port 22: Connection refused" >&2; exit 255; }
[ ! -e "$here/$1/unreachable" ] || refuse "$1"
case $2 in *' reload '*) [ ! -e "$here/$1/lost" ] || refuse "$1" ;; esac
line=$(printf '%s\n' "$2" | sed "s|$here/lb0/|$here/$1/|g")
PATH=$here/$1/bin:/usr/bin:/bin sh -c "$line" 2>"$here/$1/said"
code=$?
sed "s|$here/$1/|$here/lb0/|g" "$here/$1/said" >&2
exit "$code"
"#;

/// A systole that does not know what the file says.
const OLDER: &str = "#!/bin/sh\n[ \"$1\" = --version ] && echo systole 0.0.9 && exit 0\necho \"error: unknown key in $3\" >&2\nexit 1\n";

const BEFORE: &str = "# the one before\n";

/// What daemons have read, in their order: the node and the text that was in the place then.
type Read = Arc<Mutex<Vec<(String, String)>>>;

/// A daemon that reads its configuration again, or refuses to.
#[derive(Clone)]
struct Reader {
    node: String,
    place: PathBuf,
    refuses: bool,
    read: Read,
}

impl Desk for Reader {
    fn ask(&self, question: Question, reply: oneshot::Sender<Answer>) {
        if !matches!(question, Question::Reload) {
            return;
        }
        let text = fs::read_to_string(&self.place).expect("there is a file when it is to be read");
        self.read.lock().expect("no test panics with it").push((self.node.clone(), text));
        let _ = reply.send(match self.refuses {
            true => Answer::Refused(
                "nothing is changed: the cluster's name cannot change while it runs".to_owned(),
            ),
            false => Answer::Done,
        });
    }
}

/// The folders of lb0, which is this node, lb1 and an arbiter.
struct Nodes {
    folder: tempfile::TempDir,
    file: &'static str,
    text: String,
    read: Read,
    daemons: Vec<Served>,
}

impl Nodes {
    fn new(file: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let keys = folder.path().join("lb0/etc/keys");
        let text = format!(
            "[cluster]\nname = \"pair\"\nkeys = \"{}\"\n[node.lb0]\n[node.lb1]\n[node.witness]\narbiter = true\n\
             [link.lan]\ninterface = \"eth0\"\nmulticast = \"239.0.0.43\"\n[group.web]\n[[group.web.resource]]\n\
             agent = \"vip\"\nargs = [\"198.51.100.1/24/eth0\"]\n",
            keys.display()
        );
        let nodes = Self { folder, file, text, read: Read::default(), daemons: Vec::new() };
        for node in ["lb0", "lb1", "witness"] {
            for inside in ["etc", "run", "bin"] {
                fs::create_dir_all(nodes.at(node, inside)).expect("the folder is empty");
            }
            symlink(env!("CARGO_BIN_EXE_systole"), nodes.at(node, "bin/systole"))
                .expect("the folder is empty");
            fs::write(nodes.at(node, "etc/keys"), node).expect("the folder is ours");
        }
        fs::write(nodes.folder.path().join("ssh"), SSH).expect("the folder is ours");
        fs::write(nodes.place("lb0"), &nodes.text).expect("the folder is ours");
        fs::write(nodes.place("lb1"), BEFORE).expect("the folder is ours");
        fs::set_permissions(nodes.place("lb1"), PermissionsExt::from_mode(0o640)).expect("the file is ours");
        nodes
    }

    fn at(&self, node: &str, inside: &str) -> PathBuf {
        self.folder.path().join(node).join(inside)
    }

    fn place(&self, node: &str) -> PathBuf {
        self.at(node, "etc").join(self.file)
    }

    fn daemon(&mut self, node: &str, refuses: bool) {
        let reader =
            Reader { node: node.to_owned(), place: self.place(node), refuses, read: Arc::clone(&self.read) };
        self.daemons.push(Served::start(&self.at(node, "run"), reader));
    }

    /// Code, standard output, standard error; without the name of the folder in it.
    fn copy(&self, arguments: &[&str]) -> (i32, String, String) {
        let here = self.folder.path().display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
        command.args(["copy", "--node", "lb0", "--config"]).arg(self.place("lb0"));
        command.arg("--run-dir").arg(self.at("lb0", "run")).arg("--by").arg(format!("sh {here}/ssh"));
        let output = command.args(arguments).output().expect("the binary is there");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&here, "");
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// The files of a node's configuration and what is in them, in the order of their names.
    fn files(&self, node: &str) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.at(node, "etc")).expect("the folder is there");
        let mut files: Vec<_> = entries
            .map(|entry| {
                let entry = entry.expect("it can be read");
                let text = fs::read_to_string(entry.path()).expect("it can be read");
                (entry.file_name().to_string_lossy().into_owned(), text)
            })
            .collect();
        files.sort();
        files
    }

    fn assert_files(&self, node: &str, wanted: &[(&str, &str)]) {
        let mut wanted: Vec<_> =
            wanted.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        wanted.push(("keys".to_owned(), node.to_owned()));
        wanted.sort();
        assert_eq!(self.files(node), wanted, "{node}");
    }

    /// Every node has what it had at the beginning.
    fn assert_nothing_is_changed(&self) {
        self.assert_files("lb0", &[(self.file, &self.text)]);
        self.assert_files("lb1", &[(self.file, BEFORE)]);
        self.assert_files("witness", &[]);
    }

    fn read(&self) -> Vec<(String, String)> {
        self.read.lock().expect("no test panics with it").clone()
    }

    /// As if these daemons had read the file, in this order.
    fn of_the_file(&self, nodes: &[&str]) -> Vec<(String, String)> {
        nodes.iter().map(|node| ((*node).to_owned(), self.text.clone())).collect()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default()
    }

    /// By another process: a thread that starts a program meanwhile would inherit the file, open for writing.
    fn install(&self, node: &str, script: &str) {
        let path = self.at(node, "bin/systole");
        fs::remove_file(&path).expect("it is there");
        let put = "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"";
        let put = Command::new("sh").args(["-c", put, "sh", script]).arg(path).status();
        assert!(put.expect("there is a shell").success(), "there is room for it");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

const SUMMARY: &str = "cluster pair: 2 nodes, 1 arbiter, 1 link, 1 group, 1 warning; deadtime 2s\n";

#[test]
fn every_node_gets_the_text_and_every_daemon_reads_it_this_one_first() {
    let mut nodes = Nodes::new("systole.toml");
    nodes.daemon("lb1", false);
    nodes.daemon("lb0", false);
    let (code, out, error) = nodes.copy(&[]);
    let said = "lb1: it can be used\nwitness: it can be used\nlb0: the daemon has read its file again\n\
                lb1: it is in its place, and the daemon has read its file again\n\
                witness: it is in its place; no daemon runs there\n\
                `systole check --peers` says whether every daemon has it\n";
    assert_eq!((code, out), (0, format!("{SUMMARY}{said}")), "{error}");
    assert_eq!(
        error.matches("warning: there is one link only").count(),
        1,
        "a warning is given once: {error}"
    );
    assert_eq!(nodes.read(), nodes.of_the_file(&["lb0", "lb1"]));
    let kept = [("systole.toml", nodes.text.as_str()), ("systole.toml.before", BEFORE)];
    nodes.assert_files("lb0", &kept[..1]);
    nodes.assert_files("lb1", &kept);
    nodes.assert_files("witness", &kept[..1]);
    assert_eq!(
        (mode(&nodes.place("lb1")), mode(&nodes.place("witness"))),
        (0o640, 0o644),
        "the old mode stays"
    );
    let (code, _, error) = nodes.copy(&["LB1"]);
    assert_eq!(code, 0, "{error}");
    nodes.assert_files("lb1", &kept);
    assert!(
        !nodes.calls().ends_with("witness\nlb1\n"),
        "only the node that was named is called: {}",
        nodes.calls()
    );
}

#[test]
fn a_node_without_keys_is_told_how_to_get_them_and_gets_none() {
    let nodes = Nodes::new("systole.toml");
    fs::remove_file(nodes.at("lb1", "etc/keys")).expect("it is there");
    let (code, _, error) = nodes.copy(&["lb1"]);
    let wanted = "    warning: lb1 has no /lb0/etc/keys: copy it by hand, with scp -p /lb0/etc/keys lb1:/lb0/etc/keys\n";
    assert!(code == 0 && error.contains(wanted), "{error}");
    assert!(!nodes.at("lb1", "etc/keys").exists());
}

#[test]
fn a_mistake_calls_nobody() {
    let mut nodes = Nodes::new("systole.toml");
    nodes.text.push_str("[group.mail]\nfailbak = true\n");
    fs::write(nodes.place("lb0"), &nodes.text).expect("the file is ours");
    let (code, out, error) = nodes.copy(&[]);
    assert_eq!((code, out.as_str(), nodes.calls().as_str()), (1, "", ""), "{error}");
    assert!(error.contains("did you mean") && error.contains("/systole.toml cannot be used: "), "{error}");
    nodes.assert_nothing_is_changed();
}

#[test]
fn nothing_is_changed_unless_every_node_can_use_it() {
    let mut nodes = Nodes::new("systole.toml");
    nodes.daemon("lb0", false);
    nodes.daemon("lb1", false);
    let end = "systole: not every node can use it: witness\n\
               nothing is changed on any node; mend what is said above, and copy again\n";
    let refused = |said: &str| {
        let (code, out, error) = nodes.copy(&[]);
        assert_eq!((code, out), (1, format!("{SUMMARY}lb1: it can be used\n")), "{error}");
        assert!(error.ends_with(&format!("{said}{end}")), "{error}");
        nodes.assert_nothing_is_changed();
        assert_eq!(nodes.read(), [], "no daemon is told");
    };
    nodes.install("witness", OLDER);
    refused(
        "witness cannot use it:\n    error: unknown key in /lb0/etc/systole.toml\n\
         it has systole 0.0.9, and this node systole 0.1.0: install the same version on both\n",
    );
    fs::remove_file(nodes.at("witness", "bin/systole")).expect("it is there");
    let (_, _, error) = nodes.copy(&[]);
    assert!(error.contains("witness has no systole where its shell looks for it:\n"), "{error}");
    refused("systole: not found\ninstall it there, until this finds it: sh /ssh witness systole --version\n");
    fs::write(nodes.at("witness", "unreachable"), "").expect("the folder is ours");
    let here = "sh /ssh";
    refused(&format!(
        "witness was not reached:\n    ssh: connect to host witness port 22: Connection refused\n\
         try it by hand until it works: {here} witness systole --version\n"
    ));
}

#[test]
fn what_this_daemon_refuses_comes_to_no_other_node() {
    let mut nodes = Nodes::new("systole.toml");
    nodes.daemon("lb0", true);
    nodes.daemon("lb1", false);
    let (code, _, error) = nodes.copy(&[]);
    let wanted = "systole: the daemon of lb0 did not take it: nothing is changed: the cluster's name cannot change while \
                  it runs\nnothing is changed on any other node; mend it, and copy again\n";
    assert!(code == 1 && error.ends_with(wanted), "{error}");
    nodes.assert_nothing_is_changed();
    assert_eq!(nodes.read(), nodes.of_the_file(&["lb0"]));
}

#[test]
fn what_another_daemon_refuses_makes_way_for_the_one_before_and_the_rest_goes_on() {
    let mut nodes = Nodes::new("systole.toml");
    nodes.daemon("lb1", true);
    let (code, out, error) = nodes.copy(&[]);
    assert!(code == 1 && out.ends_with("witness: it is in its place; no daemon runs there\n"), "{out}");
    assert!(out.contains("\nlb0: no daemon runs here\n"), "{out}");
    let wanted = "lb1: the daemon refuses it, goes on as it was, and what stood there before is back in its place:\n    \
                  systole: nothing is changed: the cluster's name cannot change while it runs\n\
                  systole: one node is not done: lb1\n\
                  mend what is said above, and copy again; where it is in its place, that changes nothing\n";
    assert!(error.ends_with(wanted), "{error}");
    assert_eq!(nodes.read(), nodes.of_the_file(&["lb1"]));
    nodes.assert_files("lb1", &[("systole.toml", BEFORE)]);
    nodes.assert_files("witness", &[("systole.toml", &nodes.text)]);
    fs::remove_file(nodes.place("lb1")).expect("it is there");
    assert_eq!(nodes.copy(&["lb1"]).0, 1);
    nodes.assert_files("lb1", &[]);
    fs::write(nodes.place("lb1"), &nodes.text).expect("there is room");
    let (code, _, error) = nodes.copy(&["lb1"]);
    let wanted =
        "goes on as it was, and it was in its place already: mend that before the daemon is started anew";
    assert!(code == 1 && error.contains(wanted), "{error}");
    nodes.assert_files("lb1", &[("systole.toml", &nodes.text)]);
}

#[test]
fn a_symbolic_link_in_the_place_is_left_alone_and_changes_nothing_anywhere() {
    let nodes = Nodes::new("systole.toml");
    fs::remove_file(nodes.place("lb1")).expect("it is there");
    symlink("elsewhere", nodes.place("lb1")).expect("there is room");
    let (code, _, error) = nodes.copy(&[]);
    assert!(code == 1 && error.contains("systole.toml is a symbolic link: put a file there"), "{error}");
    assert_eq!(fs::read_link(nodes.place("lb1")).expect("it is a link"), Path::new("elsewhere"));
    nodes.assert_files("witness", &[]);
}

#[test]
fn a_node_that_is_lost_in_the_middle_is_named_and_the_rest_goes_on() {
    let mut nodes = Nodes::new("systole.toml");
    nodes.daemon("witness", false);
    fs::write(nodes.at("lb1", "lost"), "").expect("the folder is ours");
    let (code, _, error) = nodes.copy(&[]);
    let wanted = "lb1: whether it is in its place is not known:\n    ssh: connect to host lb1 port 22: Connection refused\n\
                  look there at /lb0/etc/systole.toml\nsystole: one node is not done: lb1\n";
    assert!(code == 1 && error.contains(wanted), "{error}");
    assert_eq!(fs::read_to_string(nodes.place("lb1")).expect("it is there"), BEFORE);
    nodes.assert_files("witness", &[("systole.toml", &nodes.text)]);
    assert_eq!(nodes.read(), nodes.of_the_file(&["witness"]));
    fs::remove_file(nodes.at("lb1", "lost")).expect("it is there");
    assert_eq!(nodes.copy(&[]).0, 0);
    assert_eq!(fs::read_to_string(nodes.place("lb1")).expect("it is there"), nodes.text);
}

#[test]
fn a_path_may_have_any_characters() {
    let odd = "it's a $(touch made) `touch made` \"file\"; touch made & \\ *.toml";
    let mut nodes = Nodes::new(odd);
    nodes.daemon("lb1", false);
    let (code, _, error) = nodes.copy(&[]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(nodes.read(), nodes.of_the_file(&["lb1"]));
    nodes.assert_files("lb1", &[(odd, &nodes.text), (&format!("{odd}.before"), BEFORE)]);
    nodes.assert_files("witness", &[(odd, &nodes.text)]);
    assert!(!Path::new("made").exists());
}

#[test]
fn words_that_cannot_be_meant_call_nobody() {
    let nodes = Nodes::new("systole.toml");
    let cases = [
        (&["lb2"][..], "there is no node \"lb2\" in the configuration\ndid you mean lb0?\n"),
        (
            &["lb1", "lb0"],
            "this node is named, and has the file already\nname the other nodes, or none for all of them\n",
        ),
    ];
    for (words, wanted) in cases {
        let (code, _, error) = nodes.copy(words);
        assert!(code == 2 && error.ends_with(&format!("systole: {wanted}")), "{words:?} {error}");
    }
    let alone = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_systole")).arg("copy").args(words).output();
        let output = output.expect("the binary is there");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, error) = alone(&["--config", "conf/heartbeat"]);
    assert!(
        code == 2 && error.starts_with("systole: conf/heartbeat is a Heartbeat directory, and only a "),
        "{error}"
    );
    let (code, error) = alone(&["--config", "conf/systole.toml", "--node", "lb7"]);
    assert!(
        code == 2 && error.contains("systole: this machine is called lb7, and the configuration names lb0"),
        "{error}"
    );
    let (code, error) = alone(&["--config", "conf/systole.toml", "--node", "lb0", "--by", "no-such-ssh -4"]);
    let wanted = "lb1 was not reached:\n    no-such-ssh cannot be run: it is not installed; install it, or name another";
    assert!(code == 1 && error.contains(wanted), "{error}");
    assert_eq!(nodes.calls(), "");
    nodes.assert_nothing_is_changed();
}
