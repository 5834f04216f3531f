//! What every request does, with two real cores behind the socket.

use serde_json::{Value, json};
use systole::time::Span;
use systole::types::NodeId;

use super::server::Client;
use super::world::{FakeDesk, PAIR, SHARED, Served, World};

fn pair() -> (tempfile::TempDir, Served, FakeDesk) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let desk = FakeDesk::new(World::new(PAIR), "lb0");
    let served = Served::start(folder.path(), desk.clone());
    (folder, served, desk)
}

fn ask(client: &mut Client, mut request: Value) -> Value {
    request["version"] = 1.into();
    client.ask(&request.to_string())
}

/// Asks until it is so. Every question is a millisecond of virtual time.
fn until(client: &mut Client, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..20_000 {
        let status = ask(client, json!({"ask": "status"}));
        if wanted(&status) {
            return status;
        }
    }
    panic!("it never came about: {}", ask(client, json!({"ask": "status"})));
}

fn on(node: &'static str) -> impl Fn(&Value) -> bool {
    move |status| status["groups"][0]["holder"] == node && status["groups"][0]["served"] == true
}

#[test]
fn a_group_goes_where_it_is_ordered_and_back() {
    let (folder, _served, _desk) = pair();
    let mut client = Client::connect(folder.path());
    until(&mut client, on("lb0"));
    assert_eq!(ask(&mut client, json!({"ask": "standby"}))["answer"], "done");
    let status = until(&mut client, on("lb1"));
    assert_eq!((&status["nodes"][0]["name"], &status["nodes"][0]["standby"]), (&json!("lb0"), &json!(true)));
    assert_eq!(ask(&mut client, json!({"ask": "online", "node": "LB0"}))["answer"], "done");
    until(&mut client, |status| status["nodes"][0]["standby"] == false);
    assert_eq!(ask(&mut client, json!({"ask": "takeover", "group": "web"}))["answer"], "done");
    until(&mut client, on("lb0"));
    assert_eq!(ask(&mut client, json!({"ask": "move", "group": "web", "node": "lb1"}))["answer"], "done");
    until(&mut client, on("lb1"));
    assert_eq!(ask(&mut client, json!({"ask": "avoid", "group": "web", "node": "lb1"}))["answer"], "done");
    until(&mut client, on("lb0"));
    assert_eq!(ask(&mut client, json!({"ask": "unmove", "group": "web"}))["answer"], "done");
    assert_eq!(ask(&mut client, json!({"ask": "cleanup", "group": "web"}))["answer"], "done");
    assert_eq!(ask(&mut client, json!({"ask": "fence-ack", "node": "lb1"}))["answer"], "done");
    assert_eq!(ask(&mut client, json!({"ask": "maintenance", "on": true}))["answer"], "done");
    until(&mut client, |status| status["maintenance"] == true);
    assert_eq!(ask(&mut client, json!({"ask": "maintenance", "on": false}))["answer"], "done");
    let reload = ask(&mut client, json!({"ask": "reload"}));
    assert_eq!(
        (&reload["answer"], &reload["why"]),
        (&json!("refused"), &json!("systole.toml has mistakes; see `systole check`"))
    );
    assert_eq!(ask(&mut client, json!({"ask": "stop"}))["answer"], "done");
    assert_eq!(ask(&mut client, json!({"ask": "status"}))["answer"], "error", "the core is gone");
}

#[test]
fn what_the_core_refuses_is_refused_with_its_reason() {
    let text = PAIR.replace("failback = false", "only = [\"lb0\"]");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let desk = FakeDesk::new(World::new(&text), "lb0");
    let _served = Served::start(folder.path(), desk);
    let answer =
        ask(&mut Client::connect(folder.path()), json!({"ask": "move", "group": "web", "node": "lb1"}));
    assert_eq!(
        (&answer["answer"], answer["why"].as_str()),
        (
            &json!("refused"),
            Some("the order about web is refused: the configuration does not allow it on that node")
        )
    );
}

#[test]
fn the_journal_is_read_on_from_a_number_and_anew_in_another_life() {
    let (folder, _served, _desk) = pair();
    let mut client = Client::connect(folder.path());
    let all = ask(&mut client, json!({"ask": "events"}));
    let numbers = |answer: &Value| -> Vec<u64> {
        answer["events"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|told| told["number"].as_u64())
            .collect()
    };
    assert_eq!((numbers(&all)[0], &all["life"], &all["more"]), (1, &json!(1), &json!(false)));
    let last = all["next_after"].as_u64().expect("a number");
    assert_eq!(numbers(&all).last(), Some(&last));
    let rest = ask(&mut client, json!({"ask": "events", "after": last - 2, "life": 1}));
    assert_eq!(numbers(&rest), [last - 1, last]);
    let none = ask(&mut client, json!({"ask": "events", "after": last, "life": 1}));
    assert_eq!((numbers(&none), &none["next_after"]), (vec![], &json!(last)));
    let other_life = ask(&mut client, json!({"ask": "events", "after": last, "life": 7}));
    assert_eq!(numbers(&other_life), numbers(&all));
}

#[test]
fn who_follows_hears_what_happens_and_a_long_journal_comes_in_pieces() {
    let (folder, _served, desk) = pair();
    let mut orders = Client::connect(folder.path());
    for round in 0..200 {
        let order = json!({"ask": "maintenance", "on": round % 2 == 0});
        assert_eq!(ask(&mut orders, order)["answer"], "done");
    }
    let mut follower = Client::connect(folder.path());
    follower.send("{\"version\":1,\"ask\":\"events\",\"follow\":true}\n");
    let mut heard = Vec::new();
    loop {
        let answer = follower.read();
        heard.extend(
            answer["events"].as_array().expect("a list").iter().filter_map(|told| told["number"].as_u64()),
        );
        if answer["more"] == false {
            break;
        }
    }
    let expected: Vec<u64> = (1..=*heard.last().expect("much has happened")).collect();
    assert_eq!(heard, expected, "none is missing and none comes twice");
    assert!(heard.len() > 200);
    desk.world.lock().expect("nobody panics").crash("lb1");
    // The silent world goes on by what others ask.
    until(&mut orders, |status| status["nodes"][1]["liveness"] == "dead");
    let mut kinds = Vec::new();
    while !kinds.contains(&json!("peer-down")) {
        let answer = follower.read();
        kinds
            .extend(answer["events"].as_array().expect("it goes on").iter().map(|told| told["kind"].clone()));
    }
    assert!(kinds.contains(&json!("peer-late")));
}

#[test]
fn whether_the_plug_may_be_pulled_is_said_with_the_reason() {
    let pull = |world: &World| {
        let pull = systole::control::shape::Status::new(&world.snapshot("lb0")).pull;
        (pull.safe, pull.text)
    };
    let mut world = World::new(PAIR);
    assert_eq!(pull(&world), (true, "lb0 may be pulled: lb1 is up and able to take web".to_owned()));
    world.order("lb0", systole::cluster::Command::Standby { node: NodeId::of("lb1") });
    world.run_for(Span::seconds(1));
    let text = "lb0 must not be pulled: no other node can take web: lb1 is on standby";
    assert_eq!(pull(&world), (false, text.to_owned()));
    world.order("lb0", systole::cluster::Command::Online { node: NodeId::of("lb1") });
    world.order("lb0", systole::cluster::Command::Maintenance { on: true, group: None });
    world.run_for(Span::seconds(1));
    let text = "lb0 must not be pulled: it holds web, and nothing moves it during maintenance";
    assert_eq!(pull(&world), (false, text.to_owned()));
    world.order("lb0", systole::cluster::Command::Maintenance { on: false, group: None });
    world.fails_on = vec![NodeId::of("lb1")];
    world.order(
        "lb0",
        systole::cluster::Command::Move {
            group: systole::types::GroupId::of("web"),
            node: NodeId::of("lb1"),
        },
    );
    world.run_for(Span::seconds(10));
    let (safe, text) = pull(&world);
    assert!(
        !safe && text.contains("no other node can take web: lb1 is unfit: a resource failed there"),
        "{text}"
    );
    world.crash("lb1");
    world.run_for(Span::seconds(10));
    let (safe, text) = pull(&world);
    assert!(!safe, "{text}");
}

#[test]
fn without_a_tie_break_the_other_of_a_pair_takes_nothing() {
    let text = PAIR.replace("ping = [\"192.0.2.254\"]", "method = \"none\"");
    let status = systole::control::shape::Status::new(&World::new(&text).snapshot("lb1"));
    let wanted =
        "lb1 must not be pulled: the pair has no tie-break, so the other alone keeps and takes nothing";
    assert_eq!((status.pull.safe, status.pull.text.as_str()), (false, wanted));
}

fn pull_of_lb0(text: &str, before: impl FnOnce(&mut World)) -> (bool, String) {
    let mut world = World::new(text);
    before(&mut world);
    let pull = systole::control::shape::Status::new(&world.snapshot("lb0")).pull;
    (pull.safe, pull.text)
}

#[test]
fn instances_go_to_whoever_would_have_them_and_not_all_to_the_first() {
    let well = pull_of_lb0(&SHARED.replace("MORE", ""), |_| ());
    let text = "lb0 may be pulled: lb1 is up and able to take web:0; lb2 is up and able to take web:3";
    assert_eq!(well, (true, text.to_owned()));
    let one_left = pull_of_lb0(&SHARED.replace("MORE", "only = [\"lb0\", \"lb1\"]"), |_| ());
    let text = "lb0 may be pulled: lb1 is up and able to take 3 instances of web";
    assert_eq!(one_left, (true, text.to_owned()));
}

#[test]
fn a_node_must_not_be_pulled_while_the_others_have_as_many_instances_as_they_may() {
    let full = pull_of_lb0(&SHARED.replace("MORE", "clones-per-node = 2"), |_| ());
    let text = "lb0 must not be pulled: there is no node for 2 of the 2 instances of web that it holds: lb1 would have as \
                many instances as it may have; lb2 would have as many instances as it may have";
    assert_eq!(full, (false, text.to_owned()));
    let room = pull_of_lb0(&SHARED.replace("MORE", "clones-per-node = 3"), |_| ());
    assert!(room.0, "{}", room.1);
    let standby = pull_of_lb0(&SHARED.replace("MORE", "clones-per-node = 5"), |world| {
        world.order("lb0", systole::cluster::Command::Standby { node: NodeId::of("lb2") });
        world.run_for(Span::seconds(2));
    });
    let text = "lb0 must not be pulled: no other node can take web:2: lb1 would have as many instances as it may have; \
                lb2 is on standby";
    assert_eq!(standby, (false, text.to_owned()));
    let nowhere = pull_of_lb0(&SHARED.replace("MORE", "only = [\"lb0\"]"), |_| ());
    assert_eq!(nowhere, (false, "lb0 must not be pulled: no other node may own web".to_owned()));
}

/// Beside instances the groups are named, and what goes with another one goes where that goes.
#[test]
fn what_goes_with_another_group_is_taken_where_that_goes() {
    let with = "[group.mail]\nprefer = [\"lb0\", \"lb2\"]\n[[group.mail.resource]]\nagent = \"vip\"\nargs = [\"198.51.100.2/24/eth0\"]\n\
                [group.post]\nwith = \"mail\"\n[[group.post.resource]]\nagent = \"vip\"\nargs = [\"198.51.100.3/24/eth0\"]\n";
    let text = SHARED.replace("MORE", "") + with;
    let well = pull_of_lb0(&text, |_| ());
    let wanted =
        "lb0 may be pulled: lb1 is up and able to take web:0; lb2 is up and able to take mail, post, web:3";
    assert_eq!(well, (true, wanted.to_owned()));
    let text = text.replace("with = \"mail\"", "with = \"mail\"\nonly = [\"lb0\", \"lb1\"]");
    let wanted = "lb0 must not be pulled: no other node can take post: it goes where mail goes";
    assert_eq!(pull_of_lb0(&text, |_| ()), (false, wanted.to_owned()));
}

/// Two addresses, three services. The machine that is called one has a server in two of them; many more are in the third.
fn with_services() -> String {
    let mut text = PAIR.replace("args = [\"198.51.100.1/24/eth0\"]", "args = [\"198.51.100.1/24/eth0\"]\n[[group.web.resource]]\nagent = \"vip\"\nargs = [\"2001:db8::1/64/eth0\"]");
    text.push_str(
        "[service.mail]\naddress = \"198.51.100.1:25\"\ncheck = false\n[service.mail.server]\none = { address = \"10.0.0.1:25\" }\n\
         [service.six]\naddress = \"[2001:db8::1]:80\"\ncheck = false\n[service.six.server]\nsix = { address = \"[fd00::6]:80\" }\n\
         [service.web]\naddress = \"198.51.100.1:80\"\ncheck = false\n[service.web.server]\none = { address = \"10.0.0.1:80\" }\n",
    );
    for number in 0..70 {
        text.push_str(&format!("more{number} = {{ address = \"10.0.1.{number}:80\" }}\n"));
    }
    text
}

#[test]
fn servers_are_ordered_by_any_of_their_names_and_freed_by_any_that_means_no_more() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let desk = FakeDesk::new(World::new(&with_services()), "lb0");
    let _served = Served::start(folder.path(), desk);
    let mut client = Client::connect(folder.path());
    let drain = |server: &str| json!({"ask": "drain", "server": server});
    let undrain = |server: &str| json!({"ask": "undrain", "server": server});
    until(&mut client, on("lb0"));
    let mut told = 0;
    let mut news = |client: &mut Client| -> Vec<String> {
        let events = ask(client, json!({"ask": "events", "after": told}));
        told = events["next_after"].as_u64().expect("a number");
        let all = events["events"].as_array().expect("a list").clone();
        let of_servers = all.iter().filter(|event| event["kind"] == "servers-ordered");
        of_servers.filter_map(|event| event["text"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(news(&mut client), [""; 0]);
    // The name and the address mean the same here.
    assert_eq!(ask(&mut client, drain("one"))["answer"], "done");
    assert_eq!(news(&mut client), ["an operator ordered: no new connections for one"]);
    assert_eq!(ask(&mut client, undrain("10.0.0.1"))["answer"], "done");
    assert_eq!(news(&mut client), ["an operator ordered: one as the checks and the configuration say"]);
    assert_eq!(ask(&mut client, undrain("10.0.0.1"))["answer"], "done", "it is so already");
    // An address is the same however it is written.
    assert_eq!(ask(&mut client, drain("FD00:0::6"))["answer"], "done");
    assert_eq!(news(&mut client), ["an operator ordered: no new connections for fd00::6"]);
    assert_eq!(ask(&mut client, undrain("six"))["answer"], "done");
    assert_eq!(news(&mut client).len(), 1);
    // Of one service less is meant than was ordered: the wider order stays, and that is said.
    assert_eq!(ask(&mut client, drain("one"))["answer"], "done");
    let of_web = |mut order: Value| {
        order["service"] = "web".into();
        order
    };
    assert_eq!(
        ask(&mut client, of_web(json!({"ask": "weigh", "server": "one", "weight": 3})))["answer"],
        "done"
    );
    assert_eq!(news(&mut client).len(), 2);
    let refused = ask(&mut client, of_web(undrain("one")));
    assert_eq!(refused["answer"], "refused");
    let why = refused["why"].as_str().expect("a reason");
    assert!(why.starts_with("they are still meant by the order for one, which means more servers"), "{why}");
    assert_eq!(
        news(&mut client),
        ["an operator ordered: one of web as the checks and the configuration say"]
    );
    assert_eq!(ask(&mut client, of_web(drain("10.0.0.1")))["answer"], "done");
    assert_eq!(ask(&mut client, undrain("one"))["answer"], "done");
    assert_eq!(news(&mut client).len(), 3, "the order for all of them, and that for those of one service");
}

#[test]
fn an_order_for_servers_that_are_not_there_or_for_too_many_is_refused() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let desk = FakeDesk::new(World::new(&with_services()), "lb0");
    let _served = Served::start(folder.path(), desk);
    let mut client = Client::connect(folder.path());
    until(&mut client, on("lb0"));
    let unknown = ask(&mut client, json!({"ask": "drain", "server": "onee"}));
    assert_eq!((&unknown["answer"], &unknown["help"]), (&json!("error"), &json!("did you mean one?")));
    let unknown = ask(&mut client, json!({"ask": "drain", "server": "one", "service": "wbe"}));
    assert_eq!((&unknown["answer"], &unknown["help"]), (&json!("error"), &json!("did you mean web?")));
    let elsewhere = ask(&mut client, json!({"ask": "drain", "server": "six", "service": "web"}));
    assert_eq!(elsewhere["answer"], "error", "it is in another service");
    for number in 0..64 {
        let order = json!({"ask": "weigh", "server": format!("more{number}"), "weight": 0});
        assert_eq!(ask(&mut client, order)["answer"], "done", "{number}");
    }
    let weigh = |server: &str, weight: u32| json!({"ask": "weigh", "server": server, "weight": weight});
    let refused = ask(&mut client, weigh("more64", 5));
    assert_eq!(refused["answer"], "refused");
    assert!(refused["why"].as_str().is_some_and(|why| why.contains("64 orders for servers hold already")));
    assert_eq!(ask(&mut client, weigh("more7", 5))["answer"], "done", "there is one for it already");
    assert_eq!(ask(&mut client, json!({"ask": "undrain", "server": "more7"}))["answer"], "done");
    assert_eq!(ask(&mut client, weigh("more64", 5))["answer"], "done", "there is room again");
    assert_eq!(ask(&mut client, weigh("one", 70_000))["answer"], "error", "no weight is so large");
}
