//! Stands in for the daemon: it says where it is, and does what its configuration's one word says.
//!
//! `write`: says a line every ten milliseconds, for ever. `end`: ends at once with exit code 3. A whole configuration: it
//! is one of a pair.

use std::fs;
use std::process::ExitCode;

use systole::lab::clock;
use systole::net::route::Route;
use systole::time::Span;

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name).unwrap();
        arguments[at + 1].clone()
    };
    let run_dir = value("--run-dir");
    let mut route = Route::open().unwrap();
    let links: Vec<_> = route.links().unwrap().into_iter().map(|link| link.name).collect();
    fs::write(format!("{run_dir}/control.sock"), "here").unwrap();
    println!("{} sees {}", value("--node"), links.join(" "));
    match fs::read_to_string(value("--config")).unwrap().as_str() {
        "write" => {}
        "end" => return ExitCode::from(3),
        _ => super::pair::run(&value("--config"), &value("--node")),
    }
    let mut line = 0;
    loop {
        line += 1;
        eprintln!("line {line}");
        clock::wait(Span::millis(10));
    }
}
