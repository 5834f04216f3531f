//! Documents, scripts and project files: what a stranger finds, and what must not get out.

use std::process::Command;

use super::source::{Source, house, root};
use super::{Finding, assert_clean, lines, whole};

/// Folders of the machines on which this was built.
const MACHINES: [&str; 4] = ["/wo|rk/", "/tmp|/h/", "/ro|ot/", "/home/run|ner/"];

/// Hosts that crates or packages come from. A build goes to the registry that the user has set, so none is named.
const REGISTRIES: [&str; 7] = [
    "static.cra|tes.io",
    "index.cra|tes.io",
    "sparse+ht|tp",
    "py|pi.org",
    "registry.np|mjs",
    "proxy.go|lang",
    "arti|factory",
];

/// The one source in `Cargo.lock`: cargo's name for the public registry, whichever copy of it is used.
const LOCKED_SOURCE: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

fn silent_files(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.text.starts_with("//!") {
        return Vec::new();
    }
    let mend = "begin with `//!`: what it is for, and what it must never do";
    vec![Finding::new(&source.path, 1, "the file does not say what it is for", mend)]
}

fn scripts(source: &Source) -> Vec<Finding> {
    let placed = source.path.starts_with("tests/") || source.path.starts_with(".ci/");
    let name = source.path.rsplit('/').next().unwrap_or_default();
    let shebang = source.text.starts_with("#!/");
    // What has no extension in these places, and is no hidden file, is there to be run.
    let is_script = source.path.ends_with(".sh")
        || !name.contains('.') && (source.path.starts_with(".ci/") || source.path.matches('/').count() == 1);
    let mut found = Vec::new();
    if placed && (shebang || is_script) && !source.executable {
        let mend = "chmod +x, and git update-index --chmod=+x";
        found.push(Finding::new(&source.path, 1, "a script that cannot be run", mend));
    }
    if placed && (source.executable || is_script) && !shebang {
        found.push(Finding::new(
            &source.path,
            1,
            "a script without a shebang",
            "begin with #!/usr/bin/env bash",
        ));
    }
    found
}

fn leaks(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for machine in MACHINES.map(whole) {
            let begins = |(at, _): (usize, &str)| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.$}".contains(c))
            };
            if line.match_indices(&machine).any(begins) {
                let mend = "name it relative to the house, or take it from the environment";
                found.push(Finding::new(
                    &source.path,
                    index + 1,
                    format!("`{machine}`, of a build machine"),
                    mend,
                ));
            }
        }
        let foreign = source.path == "Cargo.lock" && line.starts_with("source = ") && line != LOCKED_SOURCE;
        if foreign || REGISTRIES.map(whole).iter().any(|host| line.contains(host)) {
            let mend = "leave the choice of the registry to the user's own cargo";
            found.push(Finding::new(&source.path, index + 1, "a registry's host", mend));
        }
    }
    found
}

/// Pages of `docs/` that no door leads to.
fn unlinked(pages: &[Source]) -> Vec<Finding> {
    let doors = |source: &&Source| ["README.md", "ARCHITECTURE.md"].contains(&source.path.as_str());
    let text: String = pages.iter().filter(doors).map(|source| source.text.as_str()).collect();
    let docs = pages.iter().filter(|source| source.path.starts_with("docs/"));
    docs.filter(|source| !text.contains(&format!("]({}", source.path)))
        .map(|source| {
            Finding::new(&source.path, 1, "no page leads here", "link it from README.md or ARCHITECTURE.md")
        })
        .collect()
}

/// Links that lead nowhere. `exists` is asked for a path below the house.
fn broken_links(source: &Source, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    if !source.path.ends_with(".md") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains(':') && !exists(&beside(&source.path, file)) {
                let what = format!("`{link}` leads nowhere");
                found.push(Finding::new(&source.path, index + 1, what, "mend the link, or write the page"));
            }
        }
    }
    found
}

/// The path of `link`, as it stands on the page at `page`.
fn beside(page: &str, link: &str) -> String {
    let mut path: Vec<&str> = page.split('/').collect();
    path.pop();
    for step in link.split('/') {
        match step {
            ".." => drop(path.pop()),
            "." | "" => {}
            name => path.push(name),
        }
    }
    path.join("/")
}

/// The first cells, in backticks, of the tables under a heading.
fn named_in_table(page: &str, heading: &str) -> Vec<(usize, String, String)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (index, line) in page.lines().enumerate() {
        if line.starts_with('#') {
            inside = line.trim_start_matches('#').trim() == heading;
        } else if let (true, Some(rest)) = (inside, line.strip_prefix("| `")) {
            let name = rest.split('`').next().unwrap_or_default();
            found.push((index + 1, name.trim_end_matches('/').to_owned(), line.to_owned()));
        }
    }
    found
}

/// The parts that the test command has, against those that the page for contributors lists.
fn untold_parts(page: &Source, listed: &[String]) -> Vec<Finding> {
    let told = named_in_table(&page.text, "The parts");
    let mend = "the table and `tests/run --list` name the same parts";
    let missing = listed.iter().filter(|part| told.iter().all(|(_, name, _)| name != *part));
    let missing =
        missing.map(|part| Finding::new(&page.path, 1, format!("the part `{part}` is not listed"), mend));
    let extra = told.iter().filter(|(_, name, _)| !listed.contains(name));
    let extra = extra
        .map(|(line, name, _)| Finding::new(&page.path, *line, format!("there is no part `{name}`"), mend));
    missing.chain(extra).collect()
}

/// The rooms that stand, against those that the page on the architecture lists.
fn untold_rooms(page: &Source, standing: &[&str]) -> Vec<Finding> {
    let told = named_in_table(&page.text, "The rooms");
    let missing = standing.iter().filter(|room| told.iter().all(|(_, name, _)| name != *room));
    let missing = missing.map(|room| {
        let what = format!("the room `{room}` is not listed");
        Finding::new(&page.path, 1, what, "add it to the table under \"The rooms\"")
    });
    let wrong = told.iter().filter_map(|(line, name, row)| {
        match (standing.contains(&name.as_str()), row.contains("planned")) {
            (true, true) => Some(Finding::new(
                &page.path,
                *line,
                format!("`{name}` stands, and is called planned"),
                "say what is there",
            )),
            (false, false) => Some(Finding::new(
                &page.path,
                *line,
                format!("`{name}` does not stand"),
                "call it planned, or take it out",
            )),
            (true, false) | (false, true) => None,
        }
    });
    missing.chain(wrong).collect()
}

/// The mutants of the core, against those that the page on the protocol lists.
fn untold_mutants(page: &Source, mutants: &Source) -> Vec<Finding> {
    let after = mutants.lines.iter().skip_while(|line| line.code.trim() != "pub enum Mutant {").skip(1);
    let variants = after.map(|line| line.code.trim()).take_while(|code| *code != "}");
    let names: Vec<&str> = variants.filter_map(|code| code.strip_suffix(',')).collect();
    let told = named_in_table(&page.text, "Mutants");
    let mend = "the table under \"Mutants\" and src/cluster/mutant.rs name the same";
    let missing = names.iter().filter(|name| told.iter().all(|(_, told, _)| told != *name));
    let missing = missing.map(|name| Finding::new(&page.path, 1, format!("`{name}` is not listed"), mend));
    let extra = told.iter().filter(|(_, name, _)| !names.contains(&name.as_str()));
    let extra =
        extra.map(|(line, name, _)| Finding::new(&page.path, *line, format!("no mutant `{name}`"), mend));
    missing.chain(extra).collect()
}

fn page(path: &str) -> &'static Source {
    house().iter().find(|source| source.path == path).unwrap_or_else(|| panic!("{path} is missing"))
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    assert_clean(&house().iter().flat_map(silent_files).collect::<Vec<_>>());
}

#[test]
fn a_file_that_does_not_say_what_it_is_for_is_found() {
    assert_eq!(lines(&silent_files(&Source::new("src/a.rs", "use std::fmt;\n//! Late.\n"))), [1]);
    assert_clean(&silent_files(&Source::new("src/a.rs", "//! For this.\n")));
}

#[test]
fn scripts_can_be_run() {
    assert_clean(&house().iter().flat_map(scripts).collect::<Vec<_>>());
}

#[test]
fn a_script_that_cannot_be_run_is_found() {
    let mut script = Source::new("tests/any", "#!/bin/sh\n");
    assert_eq!(scripts(&script).len(), 1);
    script.executable = true;
    assert_clean(&scripts(&script));
    script.text = "echo\n".to_owned();
    assert_eq!(scripts(&script).len(), 1);
    assert_eq!(scripts(&Source::new(".ci/any", "echo\n")).len(), 2);
    assert_clean(&scripts(&Source::new("tests/config/haresources", "lb0 pen\n")));
    assert_clean(&scripts(&Source::new("tests/config/a.toml", "[cluster]\n")));
}

#[test]
fn no_build_machine_and_no_registry_is_named() {
    assert_clean(&house().iter().flat_map(leaks).collect::<Vec<_>>());
}

#[test]
fn a_build_machine_or_registry_is_found() {
    let text = format!(
        "cd {}x\nnet{}x\n# {}\n",
        whole("/wo|rk/"),
        whole("/wo|rk/"),
        whole("https://static.cra|tes.io")
    );
    assert_eq!(lines(&leaks(&Source::new("docs/a.md", &text))), [1, 3]);
    let lock = format!("{LOCKED_SOURCE}\nsource = \"git+https://example.org/a\"\n");
    assert_eq!(lines(&leaks(&Source::new("Cargo.lock", &lock))), [2]);
}

#[test]
fn the_readme_names_the_test_command() {
    assert!(
        page("README.md").text.contains("`tests/run`"),
        "README.md:1: say how to run the tests: `tests/run`"
    );
}

#[test]
fn every_page_can_be_found_from_the_front_door() {
    assert_clean(&unlinked(house()));
}

#[test]
fn a_page_that_nobody_links_is_found() {
    let pages =
        [("README.md", "See [a](docs/a.md).\n"), ("docs/a.md", "A.\n"), ("docs/b.md", "B: docs/b.md\n")];
    let found = unlinked(&pages.map(|(path, text)| Source::new(path, text)));
    assert_eq!(found.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), ["docs/b.md"]);
}

#[test]
fn links_lead_somewhere() {
    let exists = |path: &str| root().join(path).exists();
    assert_clean(&house().iter().flat_map(|source| broken_links(source, exists)).collect::<Vec<_>>());
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let text = "[a](../README.md) [b](b.md#c) [d](https://example.org) [e](#f)\n[g](g.md)\n";
    let exists = |path: &str| ["README.md", "docs/b.md"].contains(&path);
    assert_eq!(lines(&broken_links(&Source::new("docs/a.md", text), exists)), [2]);
}

#[test]
fn the_parts_of_the_test_command_are_those_in_the_contributors_table() {
    let command = root().join("tests/run");
    let listed = Command::new(command).arg("--list").output().expect("tests/run can be run");
    let listed = String::from_utf8(listed.stdout).expect("the list is plain text");
    let parts: Vec<String> =
        listed.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(parts.len() > 5, "tests/run --list says only {parts:?}");
    assert_clean(&untold_parts(page("CONTRIBUTING.md"), &parts));
}

#[test]
fn a_part_that_is_not_listed_and_a_listed_part_that_is_not_there_are_found() {
    let text = "# The parts\n\n| part | what |\n| --- | --- |\n| `fmt` | a |\n| `dust` | b |\n\n# Else\n| `x` | y |\n";
    let found = untold_parts(&Source::new("CONTRIBUTING.md", text), &["fmt".to_owned(), "unit".to_owned()]);
    assert_eq!(lines(&found), [1, 6]);
}

#[test]
fn the_rooms_of_the_house_are_those_on_the_page() {
    let inside = house().iter().filter_map(Source::room).filter(|room| !["lib", "main"].contains(room));
    let standing: std::collections::BTreeSet<&str> = inside.collect();
    assert_clean(&untold_rooms(page("ARCHITECTURE.md"), &Vec::from_iter(standing)));
}

#[test]
fn a_room_that_is_not_on_the_page_and_a_stale_plan_are_found() {
    let text =
        "## The rooms\n| `beat` | a |\n| `wire/` | b, planned |\n| `net/` | c, planned |\n| `attic` | d |\n";
    let found = untold_rooms(&Source::new("ARCHITECTURE.md", text), &["beat", "cellar", "wire"]);
    assert_eq!(lines(&found), [1, 3, 5]);
}

#[test]
fn the_mutants_of_the_core_are_those_on_the_page() {
    assert_clean(&untold_mutants(page("docs/protocol.md"), page("src/cluster/mutant.rs")));
}

#[test]
fn a_mutant_that_is_not_on_the_page_and_a_listed_one_that_is_not_there_are_found() {
    let mutants =
        Source::new("src/cluster/mutant.rs", "pub enum Mutant {\n    NoMargin,\n    NoHoldOff,\n}\n");
    let text = "### Mutants\n\n| mutant |\n| --- |\n| `NoMargin` |\n| `NoSuch` |\n";
    assert_eq!(lines(&untold_mutants(&Source::new("docs/protocol.md", text), &mutants)), [1, 6]);
}
