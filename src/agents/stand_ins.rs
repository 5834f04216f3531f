//! Programs of Pacemaker and Heartbeat that agents call: this program answers in their names, where it can, and says clearly
//! where it cannot. They stand in a folder of the supervisor's, first on the path of its agents and on nobody else's.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::utsname::uname;

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

/// Puts these names into a folder, as links to this program.
pub(super) fn place(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let program = std::env::current_exe()?;
    for name in NAMES {
        let new = folder.join(format!("{name}.new"));
        let _ = fs::remove_file(&new);
        symlink(&program, &new)?;
        fs::rename(&new, folder.join(name))?;
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
        "crm_master" | "crm_attribute" | "attrd_updater" => {
            // For two of them `-Q` means to be quiet.
            let is_question =
                has(&["-G", "--query", "--get-value"]) || name == "attrd_updater" && has(&["-Q"]);
            if is_question {
                let complaint =
                    format!("{name}: systole keeps no attributes of nodes: there is none to ask for\n");
                Said { text: String::new(), complaint, code: NO_SUCH }
            } else {
                // What weighs for a promotion, which nobody is given: there is nothing to keep.
                told(String::new())
            }
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
        assert_eq!(said("crm_master", &["-Q", "-l", "reboot", "-v", "10"]).unwrap().code, 0);
        assert_eq!(said("attrd_updater", &["-n", "load", "-Q"]).unwrap().code, 6);
        let asked = said("crm_attribute", &["-n", "load", "-G"]).unwrap();
        assert!(asked.code == 6 && asked.complaint.contains("keeps no attributes"), "{asked:?}");
        let other = said("crm_mon", &["--as-xml"]).unwrap();
        assert!(other.code == 1 && other.complaint.contains("a program of Pacemaker"), "{other:?}");
        assert_eq!(said("systole", &["status"]), None);
    }
}
