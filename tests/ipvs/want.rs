//! What a test wants in the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use systole::config::{At, Balancer, Forwarding, Scheduler, Server, Service, Transport, WhenDown};
use systole::director::balancer::Balance;
use systole::director::balancer::ipvs::Ipvs;
use systole::director::table::{Entry, Table, Tables};
use systole::time::Span;

/// A service of TCP.
pub(crate) fn tcp(at: &str) -> At {
    on(at, Transport::Tcp)
}

pub(crate) fn on(at: &str, protocol: Transport) -> At {
    let at: SocketAddr = at.parse().unwrap();
    At::Address { address: at.ip(), port: at.port(), protocol }
}

pub(crate) fn service(at: At, scheduler: &str) -> Service {
    Service {
        at,
        group: None,
        balancer: Balancer::Ipvs,
        scheduler: Some(Scheduler { name: scheduler.to_owned(), flags: [false; 3] }),
        persistence: None,
        one_packet: false,
        servers: BTreeMap::new(),
        sorry: None,
        quorum: 1,
        hysteresis: 0,
        when_down: WhenDown::Remove,
        drain: Span::seconds(0),
    }
}

/// By their addresses, with what they weigh now.
pub(crate) fn table(service: Service, forwarding: Forwarding, servers: &[(&str, u32)]) -> Table {
    let entry = |(address, weight): &(&str, u32)| {
        let server = server(address.parse().unwrap(), forwarding);
        ((*address).to_owned(), Entry { server: Arc::new(server), weight: *weight })
    };
    Table { service: Arc::new(service), entries: servers.iter().map(entry).collect() }
}

pub(crate) fn server(at: SocketAddr, forwarding: Forwarding) -> Server {
    let (address, port): (IpAddr, u16) = (at.ip(), at.port());
    Server { address, port, weight: 1, forwarding, limits: (0, 0), checks: Vec::new() }
}

/// They are called by their numbers.
pub(crate) fn all(tables: &[Table]) -> Tables {
    tables.iter().enumerate().map(|(number, table)| (format!("s{number}"), table.clone())).collect()
}

/// A balancer that begins its life, and has settled this.
pub(crate) fn settled(tables: &Tables) -> Ipvs {
    let mut ipvs = Ipvs::open(BTreeSet::new()).unwrap();
    assert_eq!(ipvs.settle(tables), Ok(vec![]));
    ipvs
}
