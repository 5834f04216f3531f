//! The language of the scenarios: text in, steps out, or the line that cannot be read.
//!
//! The first line is a comment and a claim. Then come `cluster:` and `group NAME:`, then steps:
//! `at TIME COMMAND` (since the start), `wait TIME`, `expect …` (see `scenario.rs` for what each means). `#` begins a
//! comment.

use systole::cluster::{Action, Command};
use systole::config::{Promise, TiebreakMethod};
use systole::types::{GroupId, NodeId};

use crate::agents::AgentEnd;
use crate::cluster::Shape;
use crate::faults::{Op, Way, Who};
use crate::node::MemoryFate;

/// A line that cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Unreadable {
    pub(crate) line: usize,
    pub(crate) why: String,
}

/// A node as written.
#[derive(Clone, Debug)]
pub(crate) struct NodeLine {
    pub(crate) name: String,
    pub(crate) arbiter: bool,
    /// Not of the cluster at first.
    pub(crate) later: bool,
}

/// A group as written.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupLine {
    pub(crate) name: String,
    pub(crate) prefer: Vec<String>,
    pub(crate) serves: bool,
    pub(crate) failback: bool,
    pub(crate) failback_delay: u64,
    /// So many instances, `NAME:0` and on; 0: it is no clone.
    pub(crate) clones: u16,
    pub(crate) most: Option<u16>,
    pub(crate) weights: Vec<(String, u16)>,
    pub(crate) exclusive: bool,
    pub(crate) at_least_one: bool,
    pub(crate) after: Option<String>,
    pub(crate) apart: Option<String>,
    pub(crate) with: Option<String>,
    pub(crate) resources: u64,
    pub(crate) warm: bool,
    pub(crate) monitor: Option<u64>,
    pub(crate) restarts: u32,
    pub(crate) window: Option<u64>,
}

impl GroupLine {
    pub(crate) fn promise(&self) -> Promise {
        if self.at_least_one { Promise::AtLeastOne } else { Promise::AtMostOne }
    }

    /// What is configured by this line: the group, or each of its instances.
    pub(crate) fn names(&self) -> Vec<String> {
        match self.clones {
            0 => vec![self.name.clone()],
            count => (0..count).map(|index| format!("{}:{index}", self.name)).collect(),
        }
    }
}

/// What is looked for among the sights.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// `None`: somebody.
    pub(crate) node: Option<usize>,
    pub(crate) verb: Verb,
}

/// What a node does.
#[derive(Clone, Debug)]
pub(crate) enum Verb {
    Raises(GroupId),
    /// The daemon deletes the element.
    Drops(GroupId),
    /// The element ends, one way or another.
    Loses(GroupId),
    Starts(GroupId, u16),
    Stops(GroupId, u16),
    GoesOff,
    Says(String),
}

/// What is so, at a time.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Holds(usize, GroupId),
    NobodyHolds(GroupId),
    HeldOnce(GroupId),
    RunsNothing(usize, GroupId),
    /// So many of these instances of one clone.
    Has(usize, usize, Vec<GroupId>),
}

/// One thing that is expected.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    Now(State, u64),
    Seen(Pattern, u64),
    Order(Pattern, Pattern),
    Never(Pattern, u64),
    Unbroken(GroupId, u64),
    NothingMoves(u64),
    Moves(GroupId, u64),
    /// A node sends at most so many beats in so long.
    Beats(usize, u64, u64),
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    At(u64, Do),
    Wait(u64),
    Expect(Expect),
}

/// A command of a scenario.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    Op(Op),
    Heal,
    Boot(usize),
    Start(usize, MemoryFate),
    Clock {
        node: usize,
        ppm: i64,
    },
    Attacker,
    /// The step-one configuration, with the nodes that come later; then the second step.
    Voters {
        joint: bool,
        nodes: Vec<usize>,
    },
    Deadtime {
        span: u64,
        nodes: Vec<usize>,
    },
    /// The most instances of every clone that a node may have.
    Most {
        most: u16,
        nodes: Vec<usize>,
    },
}

/// A whole scenario.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) claim: String,
    pub(crate) nodes: Vec<NodeLine>,
    pub(crate) shape: Shape,
    pub(crate) warntime: Option<u64>,
    pub(crate) initdead: Option<u64>,
    pub(crate) watchdog: Option<u64>,
    pub(crate) groups: Vec<GroupLine>,
    pub(crate) steps: Vec<(usize, String, Step)>,
}

type Read<T> = Result<T, String>;

pub(crate) fn parse(text: &str) -> Result<Script, Unreadable> {
    let claim = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default().to_owned();
    if claim.is_empty() {
        return Err(Unreadable { line: 1, why: "the first line is `# ` and the claim".to_owned() });
    }
    let mut script = Script {
        claim,
        nodes: Vec::new(),
        shape: Shape::plain(0, 100_000, 500_000),
        warntime: None,
        initdead: None,
        watchdog: None,
        groups: Vec::new(),
        steps: Vec::new(),
    };
    for (number, line) in text.lines().enumerate() {
        let bare = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = bare.split_whitespace().collect();
        let read = match words[..] {
            [] => Ok(()),
            ["cluster:", ref rest @ ..] => script.read_cluster(rest),
            ["group", name, ref rest @ ..] => script.read_group(name, rest),
            ref step => script.read_step(step).map(|step| {
                script.steps.push((number + 1, bare.trim().to_owned(), step));
            }),
        };
        read.map_err(|why| Unreadable { line: number + 1, why })?;
    }
    Ok(script)
}

pub(crate) fn time(word: &str) -> Read<u64> {
    let (number, unit) = if let Some(number) = word.strip_suffix("ms") {
        (number, 1_000)
    } else if let Some(number) = word.strip_suffix('s') {
        (number, 1_000_000)
    } else {
        return Err(format!("`{word}` is no time: 500ms or 2s"));
    };
    number.parse::<u64>().map(|number| number * unit).map_err(|_| format!("`{word}` is no time: 500ms or 2s"))
}

fn number(word: &str) -> Read<u64> {
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

fn few(word: &str) -> Read<u16> {
    word.parse().map_err(|_| format!("`{word}` is no small number"))
}

impl Script {
    fn read_cluster(&mut self, mut words: &[&str]) -> Read<()> {
        loop {
            words = match words {
                [] => break,
                ["keepalive", span, rest @ ..] => {
                    self.shape.keepalive = time(span)?;
                    rest
                }
                ["deadtime", span, rest @ ..] => {
                    self.shape.lease = time(span)?;
                    rest
                }
                ["warntime", span, rest @ ..] => {
                    self.warntime = Some(time(span)?);
                    rest
                }
                ["initdead", span, rest @ ..] => {
                    self.initdead = Some(time(span)?);
                    rest
                }
                ["links", count, rest @ ..] => {
                    self.shape.links = usize::try_from(number(count)?).unwrap_or(1);
                    rest
                }
                ["link-over-service", rest @ ..] => {
                    self.shape.link_over_service = true;
                    rest
                }
                ["tiebreak", method, rest @ ..] => {
                    self.shape.method = match *method {
                        "evidence" => TiebreakMethod::Evidence,
                        "fence" => TiebreakMethod::Fence,
                        "none" => TiebreakMethod::None,
                        other => return Err(format!("`{other}` is no tie-break")),
                    };
                    self.shape.fences = *method == "fence";
                    rest
                }
                ["watchdog", span, rest @ ..] => {
                    self.watchdog = Some(time(span)?);
                    rest
                }
                [node, rest @ ..] => {
                    let (name, kind) = node.split_once('(').unwrap_or((node, ")"));
                    let (arbiter, later) = (kind.contains("arbiter"), kind.contains("later"));
                    if !matches!(kind, ")" | "arbiter)" | "later)") {
                        return Err(format!("`{node}`: a node, or NAME(arbiter), or NAME(later)"));
                    }
                    self.nodes.push(NodeLine { name: name.to_owned(), arbiter, later });
                    rest
                }
            }
        }
        self.shape.names = self.nodes.iter().map(|node| node.name.clone()).collect();
        Ok(())
    }

    fn read_group(&mut self, name: &str, mut words: &[&str]) -> Read<()> {
        let name = name.strip_suffix(':').ok_or("`group NAME:`")?;
        let mut group = GroupLine { name: name.to_owned(), resources: 1, ..GroupLine::default() };
        loop {
            words = match words {
                [] => break,
                ["prefer", rest @ ..] => {
                    let named = rest.iter().take_while(|word| self.node(word).is_ok()).count();
                    group.prefer = rest[..named].iter().map(|&word| word.to_owned()).collect();
                    &rest[named..]
                }
                ["serves", rest @ ..] => {
                    group.serves = true;
                    rest
                }
                ["failback", rest @ ..] => {
                    group.failback = true;
                    rest
                }
                ["failback-delay", span, rest @ ..] => {
                    group.failback_delay = time(span)?;
                    rest
                }
                ["exclusive", rest @ ..] => {
                    group.exclusive = true;
                    rest
                }
                ["at-least-one", rest @ ..] => {
                    group.at_least_one = true;
                    rest
                }
                ["warm", rest @ ..] => {
                    group.warm = true;
                    rest
                }
                ["after", other, rest @ ..] => {
                    group.after = Some((*other).to_owned());
                    rest
                }
                ["apart", other, rest @ ..] => {
                    group.apart = Some((*other).to_owned());
                    rest
                }
                ["with", other, rest @ ..] => {
                    group.with = Some((*other).to_owned());
                    rest
                }
                ["resources", count, rest @ ..] => {
                    group.resources = number(count)?;
                    rest
                }
                ["monitor", span, rest @ ..] => {
                    group.monitor = Some(time(span)?);
                    rest
                }
                ["restarts", count, rest @ ..] => {
                    group.restarts = u32::try_from(number(count)?).unwrap_or(0);
                    rest
                }
                ["window", span, rest @ ..] => {
                    group.window = Some(time(span)?);
                    rest
                }
                words => self.read_shares(&mut group, words)?,
            }
        }
        self.groups.push(group);
        Ok(())
    }

    /// What is said of a clone; the words after it.
    fn read_shares<'a, 'b>(&self, group: &mut GroupLine, words: &'a [&'b str]) -> Read<&'a [&'b str]> {
        match words {
            ["clones", count, rest @ ..] => {
                group.clones = few(count)?;
                Ok(rest)
            }
            ["clones-per-node", most, rest @ ..] => {
                group.most = Some(few(most)?);
                Ok(rest)
            }
            ["weight", node, weight, rest @ ..] => {
                self.node(node)?;
                group.weights.push(((*node).to_owned(), few(weight)?));
                Ok(rest)
            }
            other => Err(format!("`{}` says nothing about a group", other.join(" "))),
        }
    }

    fn read_step(&self, words: &[&str]) -> Read<Step> {
        match words {
            ["at", when, command @ ..] => Ok(Step::At(time(when)?, self.read_command(command)?)),
            ["wait", span] => Ok(Step::Wait(time(span)?)),
            ["expect", what @ ..] => Ok(Step::Expect(self.read_expect(what)?)),
            _ => Err(format!("`{}`: at, wait or expect", words.join(" "))),
        }
    }

    fn node(&self, name: &str) -> Read<usize> {
        self.nodes
            .iter()
            .position(|node| node.name == name)
            .ok_or_else(|| format!("there is no node `{name}`"))
    }

    fn who(&self, name: &str) -> Read<Who> {
        self.node(name).map(Who::Node)
    }

    fn nodes(&self, words: &[&str]) -> Read<Vec<usize>> {
        match words {
            ["everybody"] => Ok((0..self.nodes.len()).collect()),
            names => names.iter().map(|name| self.node(name)).collect(),
        }
    }

    fn group(&self, name: &str) -> Read<GroupId> {
        self.place(name).map(|_| GroupId::of(name))
    }

    fn place(&self, name: &str) -> Read<usize> {
        // The place in the order of ids, which is the order of a configuration's groups.
        let names = self.groups.iter().flat_map(GroupLine::names);
        let mut ids: Vec<GroupId> = names.map(|name| GroupId::of(&name)).collect();
        ids.sort_unstable();
        ids.iter()
            .position(|id| *id == GroupId::of(name))
            .ok_or_else(|| format!("there is no group `{name}`"))
    }

    fn instances(&self, name: &str) -> Read<Vec<GroupId>> {
        let line = self.groups.iter().find(|group| group.name == name && group.clones > 0);
        let names = line.ok_or_else(|| format!("there is no clone `{name}`"))?.names();
        Ok(names.iter().map(|name| GroupId::of(name)).collect())
    }

    fn read_command(&self, words: &[&str]) -> Read<Do> {
        let op = |op: Op| Ok(Do::Op(op));
        match words {
            ["heal"] => Ok(Do::Heal),
            ["cut", ..]
            | ["lose", ..]
            | ["delay", ..]
            | ["target", ..]
            | ["pull", ..]
            | ["plug", ..]
            | ["loosen", ..]
            | ["split", ..] => self.read_network(words),
            ["attacker", "records"] => Ok(Do::Attacker),
            ["replay", count, "to", node] => op(Op::Replay { to: self.who(node)?, count: number(count)? }),
            ["crash", node] => op(Op::Off { who: self.who(node)?, after: 0, ghosts: false }),
            ["boot", node] => Ok(Do::Boot(self.node(node)?)),
            ["reboot", node, "for", span] => {
                op(Op::Off { who: self.who(node)?, after: time(span)?, ghosts: false })
            }
            ["kill", node] => op(Op::Kill { who: self.who(node)?, mid: 0, fate: MemoryFate::Kept, after: 0 }),
            ["start", node] => Ok(Do::Start(self.node(node)?, MemoryFate::Kept)),
            ["start", node, "without", "memory"] => Ok(Do::Start(self.node(node)?, MemoryFate::Lost)),
            ["restart", node] => op(self.restart(node, MemoryFate::Kept)?),
            ["restart", node, "without", "memory"] => op(self.restart(node, MemoryFate::Lost)?),
            ["hang", node, "for", span] => op(Op::Hang { who: self.who(node)?, length: time(span)? }),
            ["pause", node, "for", span] => op(self.pause(node, span, false)?),
            ["suspend", node, "for", span] => op(self.pause(node, span, true)?),
            ["slow", "kernel", "of", node] => op(Op::SlowCommits { who: self.who(node)?, length: 0 }),
            ["break", "watchdog", "of", node] => {
                op(Op::BreakWatchdog { who: self.who(node)?, disarms: false, length: 0 })
            }
            ["disarm", "watchdog", "of", node] => {
                op(Op::BreakWatchdog { who: self.who(node)?, disarms: true, length: 0 })
            }
            ["flush", node] => op(Op::Flush { who: self.who(node)? }),
            ["clock", "of", node, "fast"] => Ok(Do::Clock { node: self.node(node)?, ppm: crate::draw::PPM }),
            ["clock", "of", node, "slow"] => Ok(Do::Clock { node: self.node(node)?, ppm: -crate::draw::PPM }),
            ["voters", "with", "before", "on", nodes @ ..] => {
                Ok(Do::Voters { joint: true, nodes: self.nodes(nodes)? })
            }
            ["voters", "alone", "on", nodes @ ..] => {
                Ok(Do::Voters { joint: false, nodes: self.nodes(nodes)? })
            }
            ["deadtime", span, "on", nodes @ ..] => {
                Ok(Do::Deadtime { span: time(span)?, nodes: self.nodes(nodes)? })
            }
            ["clones-per-node", most, "on", nodes @ ..] => {
                Ok(Do::Most { most: few(most)?, nodes: self.nodes(nodes)? })
            }
            _ => self.read_order(words),
        }
    }

    fn restart(&self, node: &str, fate: MemoryFate) -> Read<Op> {
        Ok(Op::Kill { who: self.who(node)?, mid: 0, fate, after: 20_000 })
    }

    fn pause(&self, node: &str, span: &str, jumps: bool) -> Read<Op> {
        Ok(Op::Pause { who: self.who(node)?, length: time(span)?, jumps, queues: false })
    }

    fn read_network(&self, words: &[&str]) -> Read<Do> {
        let op = match words {
            ["cut", "cable", "of", node] => {
                Op::Cable { who: self.who(node)?, interface: 0, cut: true, length: 0 }
            }
            ["pull", "cable", "of", node] => {
                Op::Cable { who: self.who(node)?, interface: 0, cut: false, length: 0 }
            }
            ["loosen", "cable", "of", node, "cut", cut, "whole", whole] => Op::LooseCable {
                who: self.who(node)?,
                interface: 0,
                cut: time(cut)?,
                whole: time(whole)?,
                length: 0,
                keeps: true,
            },
            ["plug", "cable", "of", node] => Op::Plug { node: self.node(node)?, interface: 0 },
            ["cut", node, "from", "everybody", rest @ ..] => {
                let who = self.who(node)?;
                match rest {
                    [] => Op::Cut { who, way: Way::Both, link: None, flap: 0, length: 0 },
                    ["outgoing"] => Op::Cut { who, way: Way::Out, link: None, flap: 0, length: 0 },
                    ["incoming"] => Op::Cut { who, way: Way::In, link: None, flap: 0, length: 0 },
                    ["on", "link", link] => {
                        let link = u16::try_from(number(link)?).ok();
                        Op::Cut { who, way: Way::Both, link, flap: 0, length: 0 }
                    }
                    ["for", span] => {
                        Op::Cut { who, way: Way::Both, link: None, flap: 0, length: time(span)? }
                    }
                    ["flapping", span] => {
                        Op::Cut { who, way: Way::Both, link: None, flap: time(span)?, length: 0 }
                    }
                    other => {
                        return Err(format!(
                            "`{}`: outgoing, incoming, on link N, for TIME, flapping TIME",
                            other.join(" ")
                        ));
                    }
                }
            }
            ["cut", a, "from", b] => {
                Op::CutPair { a: self.node(a)?, b: self.node(b)?, one_way: false, length: 0 }
            }
            ["lose", share] => {
                let percent = share.strip_suffix('%').ok_or_else(|| format!("`{share}` is no percentage"))?;
                Op::Noise { loss: number(percent)? * 10, duplication: 0, extra: 0, length: 0 }
            }
            ["delay", span, "for", length] => {
                Op::Noise { loss: 0, duplication: 100, extra: time(span)?, length: time(length)? }
            }
            ["target", "down"] => Op::TargetDown { length: 0 },
            ["target", "down", "for", span] => Op::TargetDown { length: time(span)? },
            ["split", "service", "for", span] => Op::ServiceSplit { length: time(span)? },
            other => return Err(format!("`{}` can't be read", other.join(" "))),
        };
        Ok(Do::Op(op))
    }

    fn read_order(&self, words: &[&str]) -> Read<Do> {
        let command = |node: usize, command| Ok(Do::Op(Op::Command { who: Who::Node(node), command }));
        let id = |name: &str| self.node(name).map(|_| NodeId::of(name));
        match words {
            ["standby", node] => command(self.node(node)?, Command::Standby { node: id(node)? }),
            ["online", node] => command(self.node(node)?, Command::Online { node: id(node)? }),
            ["takeover", group, "on", node] => {
                command(self.node(node)?, Command::Takeover { group: self.group(group)? })
            }
            ["move", group, "to", node] => {
                command(0, Command::Move { group: self.group(group)?, node: id(node)? })
            }
            ["avoid", group, "on", node] => {
                command(0, Command::Avoid { group: self.group(group)?, node: id(node)? })
            }
            ["unmove", group] => command(0, Command::Unmove { group: self.group(group)? }),
            ["maintenance", "on"] => command(0, Command::Maintenance { on: true, group: None }),
            ["maintenance", "off"] => command(0, Command::Maintenance { on: false, group: None }),
            ["maintenance", "on", "of", group] => {
                command(0, Command::Maintenance { on: true, group: Some(self.group(group)?) })
            }
            ["maintenance", "off", "of", group] => {
                command(0, Command::Maintenance { on: false, group: Some(self.group(group)?) })
            }
            ["leave", node] => Ok(Do::Op(Op::Leave { who: self.who(node)?, after: 0 })),
            ["everybody", "loses", percent, "of", group] => self.lose(None, percent, group),
            [node, "loses", percent, "of", group] => self.lose(Some(self.who(node)?), percent, group),
            [group, "dies"] => Ok(Do::Op(Op::Dies { group: self.place(group)? })),
            ["fail", action, "of", group, "on", node, rest @ ..] => {
                let action = match *action {
                    "start" => Action::Start,
                    "stop" => Action::Stop,
                    "monitor" => Action::Monitor,
                    other => return Err(format!("`{other}`: start, stop or monitor")),
                };
                let length = match rest {
                    [] => 0,
                    ["for", span] => time(span)?,
                    other => return Err(format!("`{}`: for TIME", other.join(" "))),
                };
                let (who, group) = (self.who(node)?, self.place(group)?);
                Ok(Do::Op(Op::Agent { who, group, resource: 0, action, end: AgentEnd::Fails, length }))
            }
            other => Err(format!("`{}` can't be read", other.join(" "))),
        }
    }

    fn lose(&self, of: Option<Who>, percent: &str, group: &str) -> Read<Do> {
        let percent = percent.strip_suffix('%').ok_or_else(|| format!("`{percent}` is no percentage"))?;
        Ok(Do::Op(Op::Servers {
            group: self.place(group)?,
            percent: u8::try_from(number(percent)?).map_err(|_| "at most 100%")?,
            of,
            length: 0,
        }))
    }

    fn read_expect(&self, words: &[&str]) -> Read<Expect> {
        if let Some(place) = words.iter().position(|word| *word == "before") {
            return Ok(Expect::Order(self.pattern(&words[..place])?, self.pattern(&words[place + 1..])?));
        }
        let (what, span) = match words {
            [what @ .., "within" | "for", span] => (what, Some(time(span)?)),
            what => (what, None),
        };
        let needed = || span.ok_or("how long? `for TIME` or `within TIME`".to_owned());
        match what {
            ["nothing", "moves"] => Ok(Expect::NothingMoves(needed()?)),
            [group, "unbroken"] => Ok(Expect::Unbroken(self.group(group)?, needed()?)),
            ["moves", "of", group, "<=", count] => Ok(Expect::Moves(self.group(group)?, number(count)?)),
            [node, "sends", "<=", count, "beats"] => {
                Ok(Expect::Beats(self.node(node)?, number(count)?, needed()?))
            }
            ["no", pattern @ ..] => Ok(Expect::Never(self.pattern(pattern)?, needed()?)),
            [node, "holds", group] if *node != "nobody" => {
                Ok(Expect::Now(State::Holds(self.node(node)?, self.group(group)?), span.unwrap_or(0)))
            }
            [node, "has", count, "of", group] => Ok(Expect::Now(
                State::Has(self.node(node)?, usize::from(few(count)?), self.instances(group)?),
                span.unwrap_or(0),
            )),
            ["nobody", "holds", group] => {
                Ok(Expect::Now(State::NobodyHolds(self.group(group)?), span.unwrap_or(0)))
            }
            [group, "held", "once"] => {
                Ok(Expect::Now(State::HeldOnce(self.group(group)?), span.unwrap_or(0)))
            }
            [node, "runs", "nothing", "of", group] => {
                Ok(Expect::Now(State::RunsNothing(self.node(node)?, self.group(group)?), span.unwrap_or(0)))
            }
            pattern => Ok(Expect::Seen(self.pattern(pattern)?, needed()?)),
        }
    }

    fn pattern(&self, words: &[&str]) -> Read<Pattern> {
        let [node, verb, rest @ ..] = words else {
            return Err(format!("`{}`: NODE VERB WHAT", words.join(" ")));
        };
        let node = if *node == "somebody" { None } else { Some(self.node(node)?) };
        let object = || rest.first().copied().ok_or_else(|| format!("{verb} what?"));
        let resource = || -> Read<(GroupId, u16)> {
            let (group, place) = object()?.split_once('/').ok_or("a resource is written GROUP/PLACE")?;
            Ok((self.group(group)?, u16::try_from(number(place)?).unwrap_or(0)))
        };
        let verb = match *verb {
            "raises" => Verb::Raises(self.group(object()?)?),
            "drops" => Verb::Drops(self.group(object()?)?),
            "loses" => Verb::Loses(self.group(object()?)?),
            "starts" => resource().map(|(group, place)| Verb::Starts(group, place))?,
            "stops" => resource().map(|(group, place)| Verb::Stops(group, place))?,
            "goes" => Verb::GoesOff,
            "says" => Verb::Says(object()?.to_owned()),
            other => return Err(format!("`{other}`: raises, drops, loses, starts, stops, goes off, says")),
        };
        Ok(Pattern { node, verb })
    }
}
