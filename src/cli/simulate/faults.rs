//! The faults of the command line, in its order: an option alone knows only what stands behind itself, and two options
//! not which of them came first.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

/// A fault, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Fail(String),
    Cut(String),
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) named: Vec<Named>,
}

impl Args for Faults {
    fn augment_args(command: Command) -> Command {
        let many = |name: &'static str, value: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name(value).num_args(1..).action(ArgAction::Append).help(help)
        };
        command.arg(many("fail", "NODE", "The daemon of a node and its machine are gone")).arg(many(
            "cut",
            "LINK[@NODE]",
            "Nothing gets over a link any more; with @NODE only the cable of that node is pulled",
        ))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Faults {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut faults = Self::default();
        faults.update_from_arg_matches(matches)?;
        Ok(faults)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let mut placed: Vec<(usize, Named)> = Vec::new();
        for (name, fault) in [("fail", Named::Fail as fn(String) -> Named), ("cut", Named::Cut)] {
            let values = matches.get_many::<String>(name).into_iter().flatten();
            let places = matches.indices_of(name).into_iter().flatten();
            placed.extend(places.zip(values).map(|(place, value)| (place, fault(value.clone()))));
        }
        placed.sort_by_key(|(place, _)| *place);
        self.named = placed.into_iter().map(|(_, named)| named).collect();
        Ok(())
    }
}
