//! Services as they were read, before they are checked.

use crate::config::diagnostic::Place;
use crate::config::draft::{Name, Placed};
use crate::time::Span;

use super::{Forwarding, Transport, WhenDown};

/// `[sync]`.
#[derive(Debug)]
pub(crate) struct DraftSync {
    pub(crate) place: Place,
    pub(crate) interface: Name,
    pub(crate) id: Option<Placed<u32>>,
}

/// `[service.NAME]`.
#[derive(Debug)]
pub(crate) struct DraftService {
    pub(crate) name: Name,
    pub(crate) address: Option<Name>,
    pub(crate) mark: Option<Placed<u32>>,
    pub(crate) protocol: Option<Placed<Transport>>,
    pub(crate) group: Option<Name>,
    pub(crate) balancer: Option<Name>,
    /// Of HAProxy.
    pub(crate) socket: Option<Name>,
    pub(crate) backend: Option<Name>,
    pub(crate) scheduler: Option<Name>,
    pub(crate) flags: Vec<Name>,
    pub(crate) persistence: Option<Placed<Span>>,
    pub(crate) persistence_mask: Option<Placed<u32>>,
    pub(crate) one_packet: Option<Placed<bool>>,
    pub(crate) forwarding: Option<Placed<Forwarding>>,
    pub(crate) servers: Vec<DraftServer>,
    pub(crate) sorry: Option<Name>,
    pub(crate) quorum: Option<Placed<u32>>,
    pub(crate) hysteresis: Option<Placed<u32>>,
    pub(crate) when_down: Option<WhenDown>,
    pub(crate) drain: Option<Span>,
    /// `None`: not said; none at all: nothing is checked.
    pub(crate) checks: Option<Vec<DraftCheck>>,
}

/// `[service.NAME.server.NAME]`, or one of `servers`.
#[derive(Debug)]
pub(crate) struct DraftServer {
    pub(crate) name: Name,
    pub(crate) address: Option<Name>,
    pub(crate) weight: Option<u32>,
    pub(crate) forwarding: Option<Placed<Forwarding>>,
    pub(crate) limit: Option<Placed<u32>>,
    pub(crate) limit_low: Option<Placed<u32>>,
    /// `None`: those of the service.
    pub(crate) checks: Option<Vec<DraftCheck>>,
}

/// `check = …`. Which of the keys go with its kind, is for the check.
#[derive(Debug)]
pub(crate) struct DraftCheck {
    pub(crate) place: Place,
    pub(crate) kind: Option<Name>,
    pub(crate) address: Option<Name>,
    pub(crate) port: Option<Placed<u32>>,
    pub(crate) source: Option<Name>,
    pub(crate) every: Option<Placed<Span>>,
    pub(crate) timeout: Option<Placed<Span>>,
    pub(crate) rise: Option<u32>,
    pub(crate) fall: Option<u32>,
    pub(crate) keys: DraftKeys,
}

/// The keys that mean something for some kinds only.
#[derive(Debug, Default)]
pub(crate) struct DraftKeys {
    pub(crate) tls: Option<Placed<bool>>,
    pub(crate) certificate: Option<Name>,
    pub(crate) ca: Option<Name>,
    pub(crate) host: Option<Name>,
    pub(crate) method: Option<Name>,
    pub(crate) path: Option<Name>,
    pub(crate) login: Option<Name>,
    pub(crate) status: Option<Vec<Name>>,
    pub(crate) text: Option<Name>,
    pub(crate) pattern: Option<Name>,
    pub(crate) send: Option<Name>,
    pub(crate) name: Option<Name>,
    pub(crate) record: Option<Name>,
    pub(crate) answer: Option<Name>,
    pub(crate) hello: Option<Name>,
    pub(crate) program: Option<Vec<Name>>,
    pub(crate) user: Option<Name>,
    pub(crate) weighs: Option<Placed<bool>>,
}

impl DraftKeys {
    /// The keys that were written, and where.
    pub(crate) fn written(&self) -> Vec<(&'static str, Place)> {
        let name = |key, one: &Option<Name>| one.as_ref().map(|one| (key, one.place));
        let flag = |key, one: &Option<Placed<bool>>| one.as_ref().map(|one| (key, one.place));
        let list = |key, one: &Option<Vec<Name>>| Some((key, one.as_ref()?.first()?.place));
        let all = [
            flag("tls", &self.tls),
            name("certificate", &self.certificate),
            name("ca", &self.ca),
            name("host", &self.host),
            name("method", &self.method),
            name("path", &self.path),
            name("login", &self.login),
            list("status", &self.status),
            name("text", &self.text),
            name("pattern", &self.pattern),
            name("send", &self.send),
            name("name", &self.name),
            name("record", &self.record),
            name("answer", &self.answer),
            name("hello", &self.hello),
            list("program", &self.program),
            name("user", &self.user),
            flag("weighs", &self.weighs),
        ];
        all.into_iter().flatten().collect()
    }
}
