//! `volume`, `network`, `events`, `top`, `port`, `restart`, `history`, `explain`, `version`, `info`,
//! `system df`, and terminals.

use crate::fake::{Answer, Asked, Fake};
use crate::stacks::{change, done};
use crate::{command, run, run_with_input};
use api::frame::Frame;
use api::{
    ApiError, Call, DaemonInfo, ErrorKind, Event, HistoryRow, ImageRow, PruneReport, Reply, SessionCall, StreamCall,
    StreamItem, TopTable, VolumeRow,
};
use model::{Network, NetworkId, NetworkSpec, PowerAction, Request, Response, State, Subnet, VolumeSpec};
use serde_json::json;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};

fn volume(name: &str, anonymous: bool) -> VolumeRow {
    let labels = [("tier".to_owned(), "back".to_owned())].into();
    let spec = VolumeSpec { name: name.to_owned(), labels, ..VolumeSpec::default() };
    VolumeRow { spec, anonymous, mountpoint: format!("/v/{name}") }
}

fn state() -> State {
    let net = |id: u128, name: &str| Network {
        id: NetworkId(id << 120),
        spec: NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() },
        subnet: Subnet::parse("10.0.0.0/24").unwrap(),
        gateway: "10.0.0.1".parse().unwrap(),
        subnet6: None,
        gateway6: None,
        created: model::Time(1_000),
        vni: 0,
    };
    State { networks: vec![net(0xb, "bridge"), net(0xa, "app")], ..State::default() }
}

fn host() -> Fake {
    Fake::new(|asked| match asked {
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Pong(DaemonInfo {
            life: 0,
            worker: None,
            locked: false,
            version: "9.9.9".to_owned(),
            pid: 7,
            data_root: "/d".to_owned(),
            run_root: "/r".to_owned(),
            cgroup: "v2".to_owned(),
            oci_runtime: "built-in".to_owned(),
            node: "00".to_owned(),
        })),
        Asked::Call(Call::Volumes) => Answer::Reply(Reply::Volumes(vec![volume("data", false), volume("f00d", true)])),
        Asked::Call(Call::RemoveVolume(name)) => match name.as_str() {
            "data" | "f00d" => Answer::Reply(Reply::Done),
            _ => Answer::Refuse(ApiError::new(ErrorKind::NotFound, format!("no such volume: {name}"))),
        },
        Asked::Call(Call::PruneVolumes { .. }) => {
            Answer::Reply(Reply::Pruned(PruneReport { removed: vec!["f00d".to_owned()], reclaimed: 2_000_000 }))
        }
        Asked::Call(Call::VolumeUsage) => {
            Answer::Reply(Reply::Usage(vec![("data".to_owned(), 1000), ("f00d".to_owned(), 500)]))
        }
        Asked::Call(Call::ContainerUsage(_)) => Answer::Reply(Reply::Usage(Vec::new())),
        Asked::Call(Call::Containers { .. }) => Answer::Reply(Reply::Containers(Vec::new())),
        Asked::Call(Call::Images { .. }) => Answer::Reply(Reply::Images(vec![ImageRow {
            id: "sha256:0123456789abcdef".to_owned(),
            repository: "busybox".to_owned(),
            tag: "1".to_owned(),
            digest: None,
            created: 0,
            size: 4_300_000,
        }])),
        Asked::Call(Call::Cluster { request, .. }) => match request.as_ref() {
            Request::Read => Answer::Reply(Reply::Cluster(Box::new(Response::State(Box::new(state()))))),
            Request::CreateVolume(spec) => done(vec![change("volume", &spec.name, "created")]),
            Request::CreateNetwork(_) => Answer::Reply(Reply::Cluster(Box::new(Response::Done {
                revision: 1,
                id: Some("cafe".to_owned()),
                changes: Vec::new(),
                warnings: Vec::new(),
            }))),
            Request::RemoveNetwork(_) => done(vec![change("network", "app", "removed")]),
            other => panic!("{other:?}"),
        },
        Asked::Call(Call::Power { container, .. }) if container == "nobody" => {
            Answer::Refuse(ApiError::new(ErrorKind::NotFound, "no such container: nobody"))
        }
        Asked::Call(Call::Power { .. }) => Answer::Reply(Reply::Done),
        Asked::Call(Call::InspectContainer(_)) => {
            Answer::Reply(Reply::Inspect(json!({ "NetworkSettings": { "Ports": {
            "53/udp": [{ "HostIp": "::1", "HostPort": "5353" }],
            "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }],
            "90/tcp": null,
        } } })))
        }
        Asked::Call(Call::Top { .. }) => Answer::Reply(Reply::Top(TopTable {
            titles: vec!["UID".to_owned(), "CMD".to_owned()],
            processes: vec![vec!["0".to_owned(), "sleep 9".to_owned()]],
        })),
        Asked::Call(Call::History(_)) => Answer::Reply(Reply::History(vec![HistoryRow {
            id: "sha256:0123456789abcdef".to_owned(),
            created: 1_700_000_000,
            created_by: "COPY a b".to_owned(),
            size: 1_500_000,
            comment: "made".to_owned(),
        }])),
        Asked::Stream(StreamCall::Events { .. }) => Answer::Items(vec![
            event("container", "start", "abc", &[("image", "img"), ("name", "web")]),
            event("volume", "create", "data", &[("driver", "local")]),
        ]),
        other => panic!("{other:?}"),
    })
}

fn event(kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) -> StreamItem {
    StreamItem::Event(Event {
        time_nano: 1_700_000_000_000_000_001,
        kind: kind.to_owned(),
        action: action.to_owned(),
        id: id.to_owned(),
        attributes: attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    })
}

#[test]
fn volumes_are_listed_made_and_removed() {
    let fake = host();
    assert_eq!(
        run(&fake, &["volume", "ls"]),
        "exit 0\n-- out\nDRIVER    VOLUME NAME\nlocal     data\nlocal     f00d\n-- err\n"
    );
    assert_eq!(
        run(&fake, &["volume", "ls", "-f", "name=da", "--format", "{{.Name}} {{.Mountpoint}} {{.Label \"tier\"}}"]),
        "exit 0\n-- out\ndata /v/data back\n-- err\n"
    );
    assert_eq!(run(&fake, &["volume", "create", "--label", "a=b", "new"]), "exit 0\n-- out\nnew\n-- err\n");
    let asked = fake.asked();
    let made = asked.iter().find_map(|asked| match asked {
        Asked::Call(Call::Cluster { request, .. }) => match request.as_ref() {
            Request::CreateVolume(spec) => Some(spec.labels.clone()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(made, Some([("a".to_owned(), "b".to_owned())].into()));
    assert_eq!(
        run(&fake, &["volume", "rm", "data", "nope", "f00d"]),
        "exit 1\n-- out\ndata\nf00d\n-- err\nerror: no such volume: nope\n"
    );
    assert_eq!(run(&fake, &["volume", "rm", "-f", "nope"]), "exit 0\n-- out\nnope\n-- err\n");
    let pruned = run(&fake, &["volume", "prune", "-f"]);
    assert!(pruned.contains("f00d\n") && pruned.contains("2MB"), "{pruned}");
}

#[test]
fn networks_are_listed_made_and_removed() {
    let fake = host();
    assert_eq!(
        run(&fake, &["network", "ls"]),
        "exit 0\n-- out\n\
         NETWORK ID     NAME      DRIVER    SCOPE\n\
         0a0000000000   app       bridge    local\n\
         0b0000000000   bridge    bridge    local\n\
         000000000001   host      host      local\n\
         000000000002   none      null      local\n-- err\n"
    );
    let refused = run(&fake, &["network", "rm", "host"]);
    assert!(refused.starts_with("exit 1") && refused.contains("network host is predefined"), "{refused}");
    let words = ["network", "create", "--internal", "--subnet", "10.5.0.0/24", "--gateway", "10.5.0.1", "inner"];
    assert_eq!(run(&fake, &words), "exit 0\n-- out\ncafe\n-- err\n");
    assert_eq!(
        run(&fake, &["network", "rm", "app", "nope"]),
        "exit 1\n-- out\napp\n-- err\nerror: no such network: nope\n"
    );
    let asked = fake.asked();
    let requests: Vec<&Request> = asked
        .iter()
        .filter_map(|asked| match asked {
            Asked::Call(Call::Cluster { request, .. }) if **request != Request::Read => Some(request.as_ref()),
            _ => None,
        })
        .collect();
    let [Request::CreateNetwork(spec), Request::RemoveNetwork(NetworkId(id))] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert!(spec.internal && spec.ipam[0].gateway.as_deref() == Some("10.5.0.1") && *id == 0xa << 120);
    assert!(run(&fake, &["network", "create", "-d", "macvlan", "x"]).contains("`macvlan` is no driver"));
}

#[test]
fn events_as_lines_as_json_and_by_template() {
    let fake = host();
    assert_eq!(
        run(&fake, &["events", "--since", "10m", "--until", "0s"]),
        "exit 0\n-- out\n\
         2023-11-14T22:13:20.000000001+00:00 container start abc (image=img, name=web)\n\
         2023-11-14T22:13:20.000000001+00:00 volume create data (driver=local)\n-- err\n"
    );
    let template = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
    assert_eq!(
        run(&fake, &["system", "events", "-f", "type=container", "--format", template]),
        "exit 0\n-- out\ncontainer start web\n-- err\n"
    );
    let json = run(&fake, &["events", "-f", "type=volume", "--format", "{{json .}}"]);
    assert!(json.contains("\"Actor\":{\"Attributes\":{\"driver\":\"local\"},\"ID\":\"data\"}"), "{json}");
    assert!(run(&fake, &["events", "-f", "colour=red"]).starts_with("exit 1\n"));
}

#[test]
fn what_runs_inside_and_which_ports_lead_there() {
    let fake = host();
    assert_eq!(run(&fake, &["top", "web"]), "exit 0\n-- out\nUID       CMD\n0         sleep 9\n-- err\n");
    assert_eq!(run(&fake, &["port", "web"]), "exit 0\n-- out\n53/udp -> [::1]:5353\n80/tcp -> 0.0.0.0:8080\n-- err\n");
    assert_eq!(run(&fake, &["port", "web", "80"]), "exit 0\n-- out\n0.0.0.0:8080\n-- err\n");
    assert_eq!(
        run(&fake, &["port", "web", "90"]),
        "exit 1\n-- out\n-- err\nerror: port 90/tcp of container web is not published\n"
    );
}

#[test]
fn restarting_takes_seconds_and_names() {
    let fake = host();
    assert_eq!(
        run(&fake, &["restart", "-t", "3", "a", "nobody"]),
        "exit 1\n-- out\na\n-- err\nerror: no such container: nobody\n"
    );
    assert_eq!(run(&fake, &["start", "a", "b"]), "exit 0\n-- out\na\nb\n-- err\n");
    let Asked::Call(Call::Power { action: PowerAction::Restart { timeout }, .. }) = &fake.asked()[0] else { panic!() };
    assert_eq!(*timeout, Some(3));
}

#[test]
fn history_and_codes_are_told() {
    let fake = host();
    let template = "{{.ID}} {{.CreatedBy}} {{.Size}} {{.Comment}}";
    assert_eq!(
        run(&fake, &["history", "--format", template, "img"]),
        "exit 0\n-- out\n0123456789ab COPY a b 1.5MB made\n-- err\n"
    );
    assert!(run(&fake, &["explain", "RS0104"]).starts_with("exit 0\n-- out\nRS0104: "));
    assert!(run(&fake, &["explain", "RS9999"]).starts_with("exit 1\n"));
    assert!(run(&fake, &["explain"]).lines().count() > 50);
}

#[test]
fn the_daemon_and_its_disk() {
    let fake = host();
    let version = run(&fake, &["version", "--format", "{{.Server.Version}} {{.Server.Pid}}"]);
    assert_eq!(version, "exit 0\n-- out\n9.9.9 7\n-- err\n");
    let info = run(&fake, &["info"]);
    assert!(info.contains("Server Version: 9.9.9\n") && info.contains("Networks: 2\n"), "{info}");
    assert_eq!(
        run(&fake, &["system", "df"]),
        "exit 0\n-- out\n\
         TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
         Images          1         0         4.3MB     4.3MB\n\
         Containers      0         0         0B        0B\n\
         Local Volumes   2         0         1.5kB     1.5kB\n-- err\n"
    );
    std::fs::remove_file(fake.socket()).unwrap();
    let version = run(&fake, &["version"]);
    assert!(version.starts_with("exit 1\n-- out\nClient:\n Version: ") && !version.contains("Server"), "{version}");
}

/// A terminal of 24 rows and 80 columns: the side of the person, and that of the program.
fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program =
        rustix::fs::open(name, rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY, rustix::fs::Mode::empty());
    let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&person, size).unwrap();
    (person, program.unwrap())
}

/// What a program shows that was started on a terminal, once it has shown this; its end.
fn shown_until(person: &OwnedFd, wanted: &str) -> String {
    let mut shown = Vec::new();
    let mut file = std::fs::File::from(person.as_fd().try_clone_to_owned().unwrap());
    while !String::from_utf8_lossy(&shown).contains(wanted) {
        let mut buffer = [0; 256];
        // The last of the other side's descriptors has been closed.
        let Ok(count @ 1..) = file.read(&mut buffer) else { break };
        shown.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&shown).into_owned()
}

fn on_terminal(fake: &Fake, words: &[&str], program: &OwnedFd) -> std::process::Child {
    let mut command = command(fake, words);
    let end = || std::process::Stdio::from(program.try_clone().unwrap());
    command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm");
    command.spawn().unwrap()
}

#[test]
fn a_session_on_a_terminal_tells_its_size_and_ends_with_the_detach_keys() {
    let fake = Fake::new(|asked| match asked {
        Asked::Call(Call::InspectImage(_)) => Answer::Reply(Reply::Inspect(json!({}))),
        Asked::Session(_) => Answer::OpenFrames(vec![Frame::Stdout(b"/ # ".to_vec())]),
        other => panic!("{other:?}"),
    });
    let (person, program) = terminal();
    let mut child = on_terminal(&fake, &["run", "-it", "img", "sh"], &program);
    let shown = shown_until(&person, "/ # ");
    assert!(shown.contains("/ # "), "{shown:?}");
    let raw = rustix::termios::tcgetattr(&program).unwrap();
    assert!(!raw.local_modes.contains(rustix::termios::LocalModes::ECHO), "what is typed is for the container");
    rustix::io::write(&person, b"\x10\x11").unwrap();
    assert!(child.wait().unwrap().success());
    let restored = rustix::termios::tcgetattr(&program).unwrap();
    assert!(restored.local_modes.contains(rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON));
    let asked = fake.asked();
    let Some(Asked::Session(SessionCall::Run { size, spec, stdin: true, .. })) = asked.last() else {
        panic!("{asked:?}")
    };
    assert_eq!((*size, spec.container.tty), (Some((24, 80)), true));
}

#[test]
fn a_terminal_gets_colours_unless_they_are_not_wanted() {
    let fake = Fake::new(|_| Answer::Refuse(ApiError::new(ErrorKind::NotFound, "nothing")));
    let shown = |no_color: Option<&str>| {
        let (person, program) = terminal();
        let mut command = command(&fake, &["top", "x"]);
        let end = || std::process::Stdio::from(program.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm");
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let status = command.spawn().unwrap().wait().unwrap();
        assert_eq!(status.code(), Some(1));
        // The command has its own ends of the terminal.
        drop(command);
        drop(program);
        shown_until(&person, "nothing\r\n")
    };
    assert_eq!(shown(None), "\x1b[31merror\x1b[0m: nothing\r\n");
    assert_eq!(shown(Some("1")), "error: nothing\r\n");
}

#[test]
fn pruning_asks_and_takes_no_for_an_answer() {
    let fake = host();
    let output = run_with_input(&fake, &["volume", "prune"], b"n\n");
    assert!(!fake.asked().iter().any(|asked| matches!(asked, Asked::Call(Call::PruneVolumes { .. }))), "{output}");
}
