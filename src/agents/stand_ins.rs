//! Programs of Pacemaker and Heartbeat that agents call: this program answers in their names, where it can, and says clearly
//! where it cannot. They stand in a folder of their own, first on the path of every agent and on nobody else's.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::utsname::uname;

use super::call::OCF_MARKS;

/// Below the folder in which agents keep their marks.
pub(super) const FOLDER: &str = "/run/resource-agents/systole";

const NAMES: [&str; 7] =
    ["ha_logger", "crm_node", "crm_master", "crm_attribute", "attrd_updater", "crm_resource", "crm_mon"];

/// What Pacemaker's programs end with where there is no such attribute.
const NO_SUCH: u8 = 6;

/// What one of them says, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// To standard output.
    pub text: String,
    /// To standard error.
    pub complaint: String,
    /// The exit code.
    pub code: u8,
}

/// Makes what every agent expects to find: the folder for its marks, and these names.
pub fn prepare() -> io::Result<()> {
    fs::create_dir_all(OCF_MARKS)?;
    fs::create_dir_all(FOLDER)?;
    let program = std::env::current_exe()?;
    for name in NAMES {
        let (place, new) = (Path::new(FOLDER).join(name), Path::new(FOLDER).join(format!("{name}.new")));
        if fs::read_link(&place).is_ok_and(|target| target == program) {
            continue;
        }
        let _ = fs::remove_file(&new);
        symlink(&program, &new)?;
        fs::rename(&new, &place)?;
    }
    Ok(())
}

/// The answer in another program's name; `None`: that is none of them.
pub fn answer(name: &str, args: &[String]) -> Option<Said> {
    if !NAMES.contains(&name) {
        return None;
    }
    let has = |words: &[&str]| args.iter().any(|arg| words.contains(&arg.as_str()));
    let told = |text: String| Said { text, complaint: String::new(), code: 0 };
    Some(match name {
        "ha_logger" => told(message(args)),
        "crm_node" if has(&["-n", "--name"]) => told(format!("{}\n", this_machine())),
        // What weighs for a promotion, which nobody is: there is nothing to keep.
        "crm_master" | "crm_attribute" | "attrd_updater" if !has(&["-G", "--query", "-Q", "--get-value"]) => {
            told(String::new())
        }
        "crm_master" | "crm_attribute" | "attrd_updater" => {
            let complaint =
                format!("{name}: systole keeps no attributes of nodes: there is none to ask for\n");
            Said { text: String::new(), complaint, code: NO_SUCH }
        }
        _ => {
            let complaint =
                format!("{name} is a program of Pacemaker, and systole has nothing to say in its place\n");
            Said { text: String::new(), complaint, code: 1 }
        }
    })
}

/// Without the options and what belongs to them.
fn message(args: &[String]) -> String {
    let mut words = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.as_str() {
            "-t" | "-D" => drop(rest.next()),
            word => words.push(word),
        }
    }
    words.join(" ") + "\n"
}

fn this_machine() -> String {
    uname().map(|machine| machine.nodename().to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, args: &[&str]) -> Option<Said> {
        answer(name, &args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn agents_get_an_answer_where_there_is_one_and_a_clear_word_where_there_is_none() {
        let log = said("ha_logger", &["-t", "pen[7]", "-D", "ha-debug", "it", "runs"]).unwrap();
        assert_eq!((log.text.as_str(), log.code), ("it runs\n", 0));
        assert_eq!(said("crm_node", &["-n"]).unwrap().text, format!("{}\n", this_machine()));
        assert_eq!(said("crm_master", &["-l", "reboot", "-v", "10"]).unwrap().code, 0);
        let asked = said("crm_attribute", &["-n", "load", "-G"]).unwrap();
        assert!(asked.code == 6 && asked.complaint.contains("keeps no attributes"), "{asked:?}");
        let other = said("crm_mon", &["--as-xml"]).unwrap();
        assert!(other.code == 1 && other.complaint.contains("a program of Pacemaker"), "{other:?}");
        assert_eq!(said("systole", &["status"]), None);
    }
}
