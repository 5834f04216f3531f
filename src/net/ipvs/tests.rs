//! Each message against the bytes that `linux/ip_vs.h` and `linux/genetlink.h` make of it, and answers of every kind: whole,
//! cut, and from kernels that are older or newer. The bytes are those of a little-endian machine.
#![cfg(target_endian = "little")]

use proptest::prelude::*;

use crate::config::Transport;

use super::message::*;
use super::*;

const FAMILY: u16 = 0x25;

const WEB: At =
    At::Address { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80)), port: 443, protocol: Transport::Tcp };

const WEB_6: At = At::Address {
    address: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53)),
    port: 53,
    protocol: Transport::Udp,
};

fn plain(at: At) -> Service {
    let scheduler = "rr".to_owned();
    let (scheduler_flags, one_packet, engine) = ([false; 3], false, String::new());
    Service { at, scheduler, scheduler_flags, one_packet, persistence: None, engine }
}

fn server(address: IpAddr) -> Destination {
    let (method, wrapping) = (Method::Nat, Wrapping::default());
    Destination { address, port: 8080, method, wrapping, weight: 300, upper: 70_000, lower: 5 }
}

/// One attribute: struct nlattr { u16 length with these four, u16 kind }, the value, and zeros up to a multiple of four.
fn attr(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [length.to_le_bytes(), kind.to_le_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// struct genlmsghdr { u8 command, u8 version, u16 nothing }, then the attributes.
fn generic(command: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    [vec![command, 1, 0, 0], parts.concat()].concat()
}

/// NLA_F_NESTED is the top bit of the kind.
fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attr(0x8000 | kind, &parts.concat())
}

/// IPVS_SVC_ATTR_AF, _PROTOCOL, _ADDR (always 16 bytes), _PORT (big-endian).
fn web() -> Vec<Vec<u8>> {
    vec![
        vec![6, 0, 1, 0, 2, 0, 0, 0],
        vec![6, 0, 2, 0, 6, 0, 0, 0],
        vec![20, 0, 3, 0, 192, 0, 2, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![6, 0, 4, 0, 0x01, 0xbb, 0, 0],
    ]
}

fn web_6() -> Vec<Vec<u8>> {
    vec![
        vec![6, 0, 1, 0, 10, 0, 0, 0],
        vec![6, 0, 2, 0, 17, 0, 0, 0],
        vec![20, 0, 3, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53],
        vec![6, 0, 4, 0, 0, 53, 0, 0],
    ]
}

/// IPVS_SVC_ATTR_SCHED_NAME, _FLAGS (struct ip_vs_flags { u32 flags, u32 mask }), _TIMEOUT, _NETMASK.
fn rest(scheduler: &[u8], flags: u8, timeout: u32, mask: [u8; 4]) -> Vec<Vec<u8>> {
    vec![
        attr(6, scheduler),
        vec![12, 0, 7, 0, flags, 0, 0, 0, 0x3d, 0, 0, 0],
        attr(8, &timeout.to_le_bytes()),
        attr(9, &mask),
    ]
}

#[test]
fn the_family_is_asked_for_by_its_name() {
    // CTRL_CMD_GETFAMILY is 3, CTRL_ATTR_FAMILY_NAME 2.
    let bytes = [3, 1, 0, 0, 9, 0, 2, 0, b'I', b'P', b'V', b'S', 0, 0, 0, 0];
    assert_eq!(get_family().body(), bytes);
    // CTRL_ATTR_FAMILY_NAME comes before CTRL_ATTR_FAMILY_ID.
    let answer = generic(1, &[attr(2, b"IPVS\0"), attr(1, &[0x25, 0])]);
    assert_eq!(read_family(&answer), Some(FAMILY));
    assert_eq!(read_family(&answer[..12]), None);
}

#[test]
fn a_plain_service_is_made_with_a_mask_of_all_ones() {
    let parts = [web(), rest(b"rr\0", 0, 0, [255; 4])].concat();
    // IPVS_CMD_NEW_SERVICE and IPVS_CMD_SET_SERVICE; IPVS_CMD_ATTR_SERVICE is 1.
    assert_eq!(step(FAMILY, &Step::Make(plain(WEB))).body(), generic(1, &[nested(1, &parts)]));
    assert_eq!(step(FAMILY, &Step::Alter(plain(WEB))).body(), generic(2, &[nested(1, &parts)]));
}

#[test]
fn what_a_service_may_have_is_in_its_flags_its_timeout_and_its_mask() {
    let persistence = Some(Persistence { timeout_seconds: 360, mask: 23 });
    let service = Service { persistence, scheduler_flags: [true, false, true], ..plain(WEB) };
    // IP_VS_SVC_F_PERSISTENT 1, _SCHED1 8, _SCHED3 32; the mask in the network's order.
    let parts = [web(), rest(b"rr\0", 0x29, 360, [255, 255, 254, 0])].concat();
    assert_eq!(step(FAMILY, &Step::Make(service.clone())).body(), generic(1, &[nested(1, &parts)]));

    let persistence = Some(Persistence { timeout_seconds: 360, mask: 64 });
    let service = Service {
        at: WEB_6,
        one_packet: true,
        scheduler_flags: [false, true, false],
        persistence,
        engine: "sip".to_owned(),
        ..service
    };
    // IP_VS_SVC_F_ONEPACKET 4, _SCHED2 16; IPVS_SVC_ATTR_PE_NAME 11. Of IPv6 the mask is a number of bits in the machine's
    // order.
    let mut parts = [web_6(), rest(b"rr\0", 0x15, 360, [64, 0, 0, 0])].concat();
    parts.insert(5, attr(11, b"sip\0"));
    assert_eq!(step(FAMILY, &Step::Make(service)).body(), generic(1, &[nested(1, &parts)]));
}

#[test]
fn a_service_of_marked_packets_has_no_address() {
    let parts = [
        vec![vec![6, 0, 1, 0, 10, 0, 0, 0], vec![8, 0, 5, 0, 0x07, 0x01, 0, 0]],
        rest(b"rr\0", 0, 0, [128, 0, 0, 0]),
    ];
    let at = At::Mark { mark: 0x107, v6: true };
    assert_eq!(step(FAMILY, &Step::Make(plain(at))).body(), generic(1, &[nested(1, &parts.concat())]));
}

#[test]
fn a_service_is_named_without_the_rest_where_it_is_only_meant() {
    assert_eq!(step(FAMILY, &Step::Delete(WEB)).body(), generic(3, &[nested(1, &web())]));
    assert_eq!(get_service(FAMILY, WEB_6).body(), generic(4, &[nested(1, &web_6())]));
    assert_eq!(get_services(FAMILY).body(), [4, 1, 0, 0]);
    assert_eq!(get_destinations(FAMILY, WEB).body(), generic(8, &[nested(1, &web())]));
    assert_eq!(zero(FAMILY, Some(WEB)).body(), generic(16, &[nested(1, &web())]));
    assert_eq!(zero(FAMILY, None).body(), [16, 1, 0, 0]);
}

/// IPVS_DEST_ATTR_ADDR_FAMILY 11, _ADDR 1, _PORT 2 (big-endian).
fn place() -> Vec<Vec<u8>> {
    vec![
        vec![6, 0, 11, 0, 2, 0, 0, 0],
        vec![20, 0, 1, 0, 10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![6, 0, 2, 0, 0x1f, 0x90, 0, 0],
    ]
}

/// IPVS_DEST_ATTR_FWD_METHOD 3, _WEIGHT 4, _U_THRESH 5, _L_THRESH 6.
fn numbers(method: u8) -> Vec<Vec<u8>> {
    vec![
        vec![8, 0, 3, 0, method, 0, 0, 0],
        vec![8, 0, 4, 0, 0x2c, 0x01, 0, 0],
        vec![8, 0, 5, 0, 0x70, 0x11, 1, 0],
        vec![8, 0, 6, 0, 5, 0, 0, 0],
    ]
}

#[test]
fn a_destination_stands_beside_its_service() {
    let to = server([10, 1, 2, 3].into());
    let both = |command, parts: &[Vec<u8>]| generic(command, &[nested(1, &web()), nested(2, parts)]);
    let whole = [place(), numbers(0)].concat();
    assert_eq!(step(FAMILY, &Step::Add(WEB, to.clone())).body(), both(5, &whole));
    assert_eq!(step(FAMILY, &Step::Set(WEB, to.clone())).body(), both(6, &whole));
    assert_eq!(step(FAMILY, &Step::Remove(WEB, to.address, to.port)).body(), both(7, &place()));
    // IP_VS_CONN_F_MASQ, _LOCALNODE, _TUNNEL, _DROUTE, _BYPASS.
    let methods =
        [Method::Nat, Method::Local, Method::Tunnel, Method::Direct, Method::Bypass, Method::Other(5)];
    for (number, method) in (0..).zip(methods) {
        let whole = [place(), numbers(number)].concat();
        assert_eq!(
            step(FAMILY, &Step::Add(WEB, Destination { method, ..to.clone() })).body(),
            both(5, &whole)
        );
    }
    // IPVS_DEST_ATTR_TUN_TYPE 13, _TUN_PORT 14 (big-endian), _TUN_FLAGS 15.
    let to = Destination { wrapping: Wrapping { kind: 1, port: 6080, flags: 2 }, ..to };
    let wrapped =
        [vec![5, 0, 13, 0, 1, 0, 0, 0], vec![6, 0, 14, 0, 0x17, 0xc0, 0, 0], vec![6, 0, 15, 0, 2, 0, 0, 0]];
    assert_eq!(step(FAMILY, &Step::Add(WEB, to)).body(), both(5, &[whole, wrapped.to_vec()].concat()));
}

#[test]
fn timeouts_are_of_the_first_level() {
    let timeouts = Timeouts { tcp: 900, tcp_end: 120, udp: 300 };
    let parts = [
        vec![8, 0, 4, 0, 0x84, 0x03, 0, 0],
        vec![8, 0, 5, 0, 120, 0, 0, 0],
        vec![8, 0, 6, 0, 0x2c, 0x01, 0, 0],
    ];
    // IPVS_CMD_SET_CONFIG and IPVS_CMD_GET_CONFIG, which the kernel answers with the former.
    assert_eq!(set_timeouts(FAMILY, timeouts).body(), generic(12, &parts));
    assert_eq!(get_timeouts(FAMILY).body(), [13, 1, 0, 0]);
    assert_eq!(read_timeouts(&generic(12, &parts)), Some(timeouts));
    assert_eq!(read_timeouts(&generic(12, &parts[..2])), None);
}

#[test]
fn a_daemon_has_its_state_its_interface_and_its_number() {
    let path = SyncPath::default();
    let sends = SyncDaemon { role: SyncRole::Sends, interface: "eth1".to_owned(), id: 7, path };
    // IPVS_DAEMON_ATTR_STATE 1, _MCAST_IFN 2, _SYNC_ID 3; IPVS_CMD_ATTR_DAEMON is 3.
    let parts = vec![
        vec![8, 0, 1, 0, 1, 0, 0, 0],
        vec![9, 0, 2, 0, b'e', b't', b'h', b'1', 0, 0, 0, 0],
        vec![8, 0, 3, 0, 7, 0, 0, 0],
    ];
    assert_eq!(start(FAMILY, &sends).body(), generic(9, &[nested(3, &parts)]));
    assert_eq!(
        stop(FAMILY, SyncRole::Receives).body(),
        generic(10, &[nested(3, &[vec![8, 0, 1, 0, 2, 0, 0, 0]])])
    );
    assert_eq!(get_daemons(FAMILY).body(), [11, 1, 0, 0]);
    assert_eq!(read_daemon(&generic(9, &[nested(3, &parts)])), Some(sends.clone()));
    // _MCAST_GROUP 5 (big-endian), _MCAST_PORT 7, _MCAST_TTL 8, _SYNC_MAXLEN 4.
    let group = Some([239, 1, 2, 3].into());
    let path = SyncPath { group, port: Some(8849), hops: Some(3), longest: Some(1452) };
    let more = vec![
        vec![6, 0, 4, 0, 0xac, 0x05, 0, 0],
        vec![8, 0, 5, 0, 239, 1, 2, 3],
        vec![6, 0, 7, 0, 0x91, 0x22, 0, 0],
        vec![5, 0, 8, 0, 3, 0, 0, 0],
    ];
    let sends = SyncDaemon { path, ..sends };
    let bytes = generic(9, &[nested(3, &[parts.clone(), more].concat())]);
    assert_eq!(start(FAMILY, &sends).body(), bytes);
    assert_eq!(read_daemon(&bytes), Some(sends.clone()));
    let group = "ff05::1".parse().ok();
    let sends = SyncDaemon { path: SyncPath { group, ..path }, ..sends };
    assert_eq!(read_daemon(start(FAMILY, &sends).body()), Some(sends));
    let unknown =
        generic(9, &[nested(3, &[vec![8, 0, 1, 0, 3, 0, 0, 0], parts[1].clone(), parts[2].clone()])]);
    assert_eq!(read_daemon(&unknown), None, "there is no third state");
}

/// IPVS_STATS_ATTR_*: CONNS, INPKTS, OUTPKTS, INBYTES, OUTBYTES, then the rates CPS, INPPS, OUTPPS, INBPS, OUTBPS.
fn counted(wide: bool) -> Vec<Vec<u8>> {
    (1..=10_u16)
        .map(|kind| {
            // Of the older ones, bytes have 64 bits among the totals only.
            if wide || kind == 4 || kind == 5 {
                attr(kind, &(u64::from(kind) + (1 << 40)).to_le_bytes())
            } else {
                attr(kind, &u32::from(kind).to_le_bytes())
            }
        })
        .collect()
}

fn counters(first: u64, more: u64) -> Counters {
    let [connections, packets_in, packets_out, bytes_in, bytes_out] =
        std::array::from_fn(|at| first + u64::try_from(at).unwrap() + more);
    Counters { connections, packets_in, packets_out, bytes_in, bytes_out }
}

#[test]
fn a_service_comes_back_with_what_was_counted() {
    // The kernel says of a service in its table that it is: IP_VS_SVC_F_HASHED, 2. Its mask is all ones.
    let flags = vec![12, 0, 7, 0, 0x2b, 0, 0, 0, 255, 255, 255, 255];
    let parts = [
        web(),
        vec![attr(6, b"wlc\0"), flags, attr(8, &[44, 1, 0, 0]), attr(9, &[255, 255, 0, 0])],
        vec![nested(10, &counted(false)), nested(12, &counted(true)), attr(77, b"of a later kernel")],
    ];
    let seen = read_service(&generic(1, &[attr(99, &[1; 7]), nested(1, &parts.concat())])).unwrap();
    let service = Service {
        scheduler: "wlc".to_owned(),
        scheduler_flags: [true, false, true],
        persistence: Some(Persistence { timeout_seconds: 300, mask: 16 }),
        ..plain(WEB)
    };
    assert_eq!(seen.service, service);
    assert_eq!(seen.statistics, Statistics { total: counters(1, 1 << 40), rate: counters(6, 1 << 40) });
}

#[test]
fn an_older_kernel_counts_in_fewer_bits() {
    let parts = [place(), numbers(3), vec![nested(10, &counted(false))]].concat();
    let seen = read_destination(&generic(5, &[nested(2, &parts)]), false).unwrap();
    let total = Counters { bytes_in: 4 + (1 << 40), bytes_out: 5 + (1 << 40), ..counters(1, 0) };
    assert_eq!(seen.statistics, Statistics { total, rate: counters(6, 0) });
    // Nor does it say of which family a destination is.
    let seen = read_destination(&generic(5, &[nested(2, &parts[1..])]), false).unwrap();
    assert_eq!(seen.destination, Destination { method: Method::Direct, ..server([10, 1, 2, 3].into()) });
    assert!(
        read_destination(&generic(5, &[nested(2, &parts[1..])]), true).unwrap().destination.address.is_ipv6()
    );
}

#[test]
fn a_destination_comes_back_with_its_connections() {
    // IPVS_DEST_ATTR_ACTIVE_CONNS 7, _INACT_CONNS 8, _PERSIST_CONNS 9.
    let connections = (7..=9).map(|kind: u16| attr(kind, &u32::from(kind).to_le_bytes())).collect();
    let parts = [place(), numbers(2), connections].concat();
    let seen = read_destination(&generic(5, &[nested(2, &parts)]), true).unwrap();
    assert_eq!(seen.destination, Destination { method: Method::Tunnel, ..server([10, 1, 2, 3].into()) });
    assert_eq!((seen.active, seen.inactive, seen.persistent), (7, 8, 9));
}

#[test]
fn what_nobody_of_ours_could_be_is_passed_over() {
    let mut esp = web();
    esp[1] = vec![6, 0, 2, 0, 50, 0, 0, 0];
    let bytes = generic(1, &[nested(1, &[esp, rest(b"rr\0", 0, 0, [255; 4])].concat())]);
    assert_eq!(read_service(&bytes), None);
    let mut unknown = web();
    unknown[0] = vec![6, 0, 1, 0, 7, 0, 0, 0];
    let bytes = generic(1, &[nested(1, &[unknown, rest(b"rr\0", 0, 0, [255; 4])].concat())]);
    assert_eq!(read_service(&bytes), None);
    // A mask that is no prefix is none that we could have set.
    let bytes = generic(1, &[nested(1, &[web(), rest(b"rr\0", 1, 9, [255, 0, 255, 0])].concat())]);
    let mask = read_service(&bytes).unwrap().service.persistence.unwrap().mask;
    assert_eq!(mask, u8::MAX);
}

fn any_at() -> impl Strategy<Value = At> {
    let protocol = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp), Just(Transport::Sctp)];
    prop_oneof![
        (any::<IpAddr>(), any::<u16>(), protocol).prop_map(|(address, port, protocol)| At::Address {
            address,
            port,
            protocol
        }),
        (any::<u32>(), any::<bool>()).prop_map(|(mark, v6)| At::Mark { mark, v6 }),
    ]
}

proptest! {
    #[test]
    fn what_is_put_is_what_is_read(
        at in any_at(),
        scheduler in "[a-z]{1,15}",
        scheduler_flags: [bool; 3],
        one_packet: bool,
        persistence in proptest::option::of((any::<u32>(), 0_u8..=128)),
    ) {
        let longest = if is_v6(at) { 128 } else { 32 };
        let persistence = persistence
            .map(|(timeout_seconds, mask)| Persistence { timeout_seconds, mask: mask.min(longest) });
        let engine = String::new();
        let service = Service { at, scheduler, scheduler_flags, one_packet, persistence, engine };
        let seen = read_service(step(FAMILY, &Step::Make(service.clone())).body());
        prop_assert_eq!(seen.map(|seen| seen.service), Some(service));
    }

    #[test]
    fn a_destination_that_is_put_is_read(
        address: IpAddr, port: u16, weight: u32, limits: (u32, u32), number in 0_u8..8, wrapping: (u8, u16, u16),
    ) {
        let method = [
            Method::Nat, Method::Local, Method::Tunnel, Method::Direct, Method::Bypass,
            Method::Other(5), Method::Other(6), Method::Other(7),
        ][usize::from(number)];
        let wrapping = Wrapping { kind: wrapping.0, port: wrapping.1, flags: wrapping.2 };
        let (upper, lower) = limits;
        let to = Destination { address, port, method, wrapping, weight, upper, lower };
        let seen = read_destination(step(FAMILY, &Step::Add(WEB, to.clone())).body(), false);
        prop_assert_eq!(seen.map(|seen| seen.destination), Some(to));
    }

    #[test]
    fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (read_family(&bytes), read_service(&bytes), read_destination(&bytes, true));
        let _ = (read_timeouts(&bytes), read_daemon(&bytes));
        let inside = generic(1, &[attr(1, &bytes), attr(2, &bytes), attr(3, &bytes)]);
        let _ = (read_service(&inside), read_destination(&inside, false), read_daemon(&inside));
    }
}

#[test]
fn a_cut_answer_is_none_or_says_less() {
    let parts = [web(), rest(b"rr\0", 1, 9, [255; 4])].concat();
    let whole = generic(1, &[nested(1, &parts)]);
    for length in 0..whole.len() {
        assert_eq!(read_service(&whole[..length]), None, "{length} bytes");
    }
}

/// Whether the machine of this test has IPVS is its own business: it says so, or speaks.
#[test]
fn a_kernel_without_ipvs_is_told_what_to_do() {
    match Ipvs::open() {
        Err(OpenError::Missing) => {
            let words = OpenError::Missing.to_string();
            assert_eq!(words, "this kernel has no IPVS: modprobe ip_vs, or balancer = \"nftables\"");
        }
        opened => assert!(opened.is_ok(), "{opened:?}"),
    }
}
