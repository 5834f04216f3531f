//! What an OCF agent says of itself when it is asked for `meta-data`: an XML document.

use roxmltree::{Document, Node, ParsingOptions};

use crate::time::Span;

/// The document, as far as somebody asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaData {
    /// The agent's name, as it calls itself.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// A line.
    pub short: String,
    /// Several.
    pub long: String,
    /// What can be set.
    pub parameters: Vec<Parameter>,
    /// What can be asked.
    pub actions: Vec<Advice>,
}

/// A parameter of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Nothing works without it.
    pub required: bool,
    /// What holds where it is not said.
    pub default: Option<String>,
    /// `string`, `integer`, `boolean`, `time` …
    pub kind: String,
    /// A line.
    pub short: String,
    /// Several.
    pub long: String,
}

/// An action, with how long it may take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// The action's name.
    pub name: String,
    /// Longer, and something is wrong.
    pub timeout: Option<Span>,
    /// Between two of them.
    pub interval: Option<Span>,
    /// `OCF_CHECK_LEVEL`: 0, 10, 20.
    pub depth: u32,
    /// Only of an instance in this role.
    pub role: Option<String>,
}

impl MetaData {
    /// Reads what an agent printed. A warning that it printed before the document is passed over.
    pub fn parse(printed: &str) -> Result<Self, String> {
        let begin =
            ["<?xml", "<!DOCTYPE", "<resource-agent"].iter().filter_map(|word| printed.find(word)).min();
        let text = begin.and_then(|begin| printed.get(begin..)).ok_or("it prints no XML")?;
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text.trim_end(), options)
            .map_err(|error| format!("its XML is broken: {error}"))?;
        let root = document.root_element();
        if !root.has_tag_name("resource-agent") {
            return Err(format!("it describes a <{}>, not a <resource-agent>", root.tag_name().name()));
        }
        Ok(Self {
            name: attribute(root, "name"),
            version: attribute(root, "version"),
            short: words_of(root, "shortdesc"),
            long: text_of(root, "longdesc"),
            parameters: below(root, "parameters", "parameter").map(parameter).collect(),
            actions: below(root, "actions", "action").map(advice).collect(),
        })
    }

    /// What it says of an action at a depth.
    pub fn action(&self, name: &str, depth: u32) -> Option<&Advice> {
        let mut same = self.actions.iter().filter(|action| action.name == name);
        same.find(|action| action.depth == depth)
    }

    /// How long an action may take by its advice.
    pub fn timeout(&self, name: &str) -> Option<Span> {
        self.action(name, 0).or_else(|| self.actions.iter().find(|action| action.name == name))?.timeout
    }
}

fn parameter(node: Node<'_, '_>) -> Parameter {
    let content = node.children().find(|child| child.has_tag_name("content"));
    Parameter {
        name: attribute(node, "name"),
        required: matches!(node.attribute("required"), Some("1" | "true" | "yes")),
        default: content.and_then(|content| content.attribute("default")).map(str::to_owned),
        kind: content.map(|content| attribute(content, "type")).unwrap_or_default(),
        short: words_of(node, "shortdesc"),
        long: text_of(node, "longdesc"),
    }
}

fn advice(node: Node<'_, '_>) -> Advice {
    Advice {
        name: attribute(node, "name"),
        // None at all is what some mean by zero.
        timeout: node.attribute("timeout").and_then(duration).filter(|limit| *limit > Span::ZERO),
        interval: node.attribute("interval").and_then(duration),
        depth: node.attribute("depth").and_then(|depth| depth.trim().parse().ok()).unwrap_or(0),
        role: node.attribute("role").map(str::to_owned),
    }
}

fn below<'a, 'input: 'a>(
    root: Node<'a, 'input>,
    list: &'static str,
    entry: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    let lists = root.children().filter(move |child| child.has_tag_name(list));
    lists.flat_map(|list| list.children()).filter(move |child| child.has_tag_name(entry))
}

fn attribute(node: Node<'_, '_>, name: &str) -> String {
    node.attribute(name).unwrap_or_default().to_owned()
}

/// In one line.
fn words_of(node: Node<'_, '_>, tag: &str) -> String {
    text_of(node, tag).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text_of(node: Node<'_, '_>, tag: &str) -> String {
    let child = node.children().find(|child| child.has_tag_name(tag));
    child.and_then(|child| child.text()).unwrap_or_default().trim().to_owned()
}

/// As agents write it: `20s`, `500ms`, `1min`, or a number of seconds.
pub fn duration(text: &str) -> Option<Span> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let micros: u64 = match unit.trim() {
        "us" | "usec" => 1,
        "ms" | "msec" => 1_000,
        "" | "s" | "sec" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" | "hr" => 3_600_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(Span::micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMMY: &str = r#"<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="Dummy" version="1.0">
<version>1.0</version>
<longdesc lang="en">
This is a Dummy &amp; more.
</longdesc>
<shortdesc lang="en">Example
 stateless agent</shortdesc>
<parameters>
<parameter name="state" unique-group="state" required="1">
<longdesc lang="en">Location.</longdesc>
<shortdesc lang="en">State file</shortdesc>
<content type="string" default="/run/x.state" />
</parameter>
</parameters>
<actions>
<action name="start"        timeout="20s" />
<action name="monitor"      timeout="30" interval="10s" depth="10"/>
<action name="monitor"      timeout="20s" interval="10s" depth="0"/>
</actions>
</resource-agent>
"#;

    #[test]
    fn what_an_agent_says_of_itself_is_read() {
        let data = MetaData::parse(&format!("setlocale: cannot change locale\n{DUMMY}")).unwrap();
        assert_eq!((data.name.as_str(), data.short.as_str()), ("Dummy", "Example stateless agent"));
        assert_eq!(data.long, "This is a Dummy & more.");
        let [state] = data.parameters.as_slice() else { panic!("{:?}", data.parameters) };
        assert!(state.required && state.default.as_deref() == Some("/run/x.state"));
        assert_eq!(data.timeout("monitor"), Some(Span::seconds(20)), "the plain one, wherever it stands");
        assert_eq!(data.action("monitor", 10).unwrap().timeout, Some(Span::seconds(30)));
        assert_eq!(data.timeout("promote"), None);
    }

    #[test]
    fn what_is_no_description_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "no XML"),
            ("usage: Dummy {start|stop}", "no XML"),
            ("<?xml version=\"1.0\"?><resource-agent>", "broken"),
            ("<?xml version=\"1.0\"?><domain/>", "<domain>"),
        ] {
            let said = MetaData::parse(text).unwrap_err();
            assert!(said.contains(why), "{text:?}: {said}");
        }
    }

    #[test]
    fn durations_are_read_as_agents_write_them() {
        for (text, span) in [
            ("20s", Some(Span::seconds(20))),
            (" 20 ", Some(Span::seconds(20))),
            ("500ms", Some(Span::millis(500))),
            ("2min", Some(Span::seconds(120))),
            ("", None),
            ("soon", None),
            ("20 parsecs", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(duration(text), span, "{text:?}");
        }
    }
}
