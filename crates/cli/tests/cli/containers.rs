//! `run`, `exec`, `attach`, `stop` and their kin.

use crate::fake::{Answer, Asked, Fake};
use crate::{command, run, run_with_input, snapshot};
use api::frame::Frame;
use api::{ApiError, Call, ErrorKind, PullProgress, Reply, SessionCall, StreamCall, StreamItem};
use serde_json::json;

fn here() -> Answer {
    Answer::Reply(Reply::Inspect(json!({ "Config": { "ExposedPorts": { "80/tcp": {} } } })))
}

fn not_found(message: &str) -> Answer {
    Answer::Refuse(ApiError::new(ErrorKind::NotFound, message))
}

/// A daemon with the image; sessions are answered so.
fn running(session: impl Fn() -> Answer + Send + 'static) -> Fake {
    Fake::new(move |asked| match asked {
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Done),
        Asked::Call(Call::InspectImage(_)) => here(),
        Asked::Session(_) => session(),
        other => panic!("{other:?}"),
    })
}

fn frames(frames: &[Frame]) -> impl Fn() -> Answer + Send + 'static {
    let frames = frames.to_vec();
    move || Answer::Frames(frames.clone())
}

#[test]
fn streams_are_kept_apart_and_the_code_is_the_containers() {
    let out = [Frame::Stdout(b"to out\n".to_vec()), Frame::Stderr(b"to err\n".to_vec()), Frame::Exit(7)];
    let fake = running(frames(&out));
    let words = ["run", "--rm", "--name", "box", "-e", "A=1", "img", "sh", "-c", "exit 7"];
    assert_eq!(run(&fake, &words), "exit 7\n-- out\nto out\n-- err\nto err\n");
    let Some(Asked::Session(SessionCall::Run { spec, stdin, size, .. })) = fake.asked().pop() else { panic!() };
    assert_eq!((spec.name.as_str(), stdin, size), ("box", false, None));
    assert_eq!(spec.container.command.as_deref(), Some(&["sh".to_owned(), "-c".to_owned(), "exit 7".to_owned()][..]));
    assert!(spec.container.auto_remove);
}

#[test]
fn what_could_not_start_says_so_with_dockers_code() {
    let out = [Frame::Stderr(b"rswarm: nope: not found\n".to_vec()), Frame::Exit(127)];
    assert_eq!(
        run(&running(frames(&out)), &["run", "img", "nope"]),
        "exit 127\n-- out\n-- err\nrswarm: nope: not found\n"
    );
    let refused = running(|| Answer::Refuse(ApiError::new(ErrorKind::Failed, "no room")));
    assert_eq!(run(&refused, &["run", "img"]), "exit 125\n-- out\n-- err\nerror: no room\n");
    let lost = running(|| Answer::Frames(vec![Frame::Error(ApiError::new(ErrorKind::Failed, "lost it"))]));
    assert_eq!(run(&lost, &["run", "img"]), "exit 125\n-- out\n-- err\nerror: lost it\n");
    assert_eq!(
        run(&refused, &["run", "-m", "lots", "img"]),
        "exit 125\n-- out\n-- err\nerror: --memory: `lots` is no size: write a number with b, k, m, g or t, such as 512m\n"
    );
}

#[test]
fn input_reaches_the_process_when_it_is_wanted() {
    let fake = running(|| Answer::Echo);
    let input = "line\n".repeat(100_000);
    let output = run_with_input(&fake, &["run", "-i", "--rm", "img", "cat"], input.as_bytes());
    assert_eq!(output, format!("exit 0\n-- out\n{input}-- err\n"));
}

#[test]
fn signals_are_passed_on() {
    let fake = running(|| Answer::UntilSignal("TERM"));
    let mut child = command(&fake, &["run", "img"]).spawn().unwrap();
    let mut first = [0u8; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(snapshot(child), "exit 5\n-- out\n-- err\n");
}

#[test]
fn in_the_background_the_id_is_printed() {
    let answer = |failure: Option<(i32, ApiError)>| {
        Fake::new(move |asked| match asked {
            Asked::Call(Call::Ping) => Answer::Reply(Reply::Done),
            Asked::Call(Call::InspectImage(_)) => here(),
            Asked::Call(Call::Run { .. }) => {
                Answer::Reply(Reply::Started { id: "abc123".to_owned(), failure: failure.clone() })
            }
            other => panic!("{other:?}"),
        })
    };
    let fake = answer(None);
    assert_eq!(run(&fake, &["run", "-d", "-P", "--name", "web", "img"]), "exit 0\n-- out\nabc123\n-- err\n");
    let Some(Asked::Call(Call::Run { spec, .. })) = fake.asked().pop() else { panic!() };
    assert_eq!(spec.ports.iter().map(|port| port.target).collect::<Vec<_>>(), [80]);
    let failing = answer(Some((127, ApiError::new(ErrorKind::Failed, "nope: not found"))));
    assert_eq!(
        run(&failing, &["run", "-d", "--name", "web", "img", "nope"]),
        "exit 127\n-- out\nabc123\n-- err\nerror: start container web: nope: not found\n"
    );
}

#[test]
fn a_name_that_nobody_chose_is_chosen_again_when_it_is_taken() {
    let mut tries = 0;
    let fake = Fake::new(move |asked| match asked {
        Asked::Call(Call::Run { .. }) => {
            tries += 1;
            match tries {
                1 => Answer::Refuse(ApiError::new(ErrorKind::Conflict, "taken")),
                _ => Answer::Reply(Reply::Started { id: "abc".to_owned(), failure: None }),
            }
        }
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Done),
        _ => here(),
    });
    assert_eq!(run(&fake, &["run", "-d", "img"]), "exit 0\n-- out\nabc\n-- err\n");
    let names: Vec<String> = fake
        .asked()
        .into_iter()
        .filter_map(|asked| match asked {
            Asked::Call(Call::Run { spec, .. }) => Some(spec.name.clone()),
            _ => None,
        })
        .collect();
    assert!(names.len() == 2 && names[0] != names[1] && names[0].contains('_'), "{names:?}");
}

#[test]
fn an_image_that_is_not_here_is_pulled_with_progress() {
    let progress = |status: &str| {
        StreamItem::Pull(PullProgress { id: "4f4fb7".to_owned(), status: status.to_owned(), current: 0, total: 0 })
    };
    let fake = Fake::new(move |asked| match asked {
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Done),
        Asked::Call(Call::InspectImage(_)) => not_found("no such image: img"),
        Asked::Stream(StreamCall::Pull { .. }) => {
            Answer::Items(vec![progress("downloading"), progress("downloading"), progress("done")])
        }
        Asked::Session(_) => Answer::Frames(vec![Frame::Exit(0)]),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        run(&fake, &["run", "img"]),
        "exit 0\n-- out\n-- err\nimage img is not here: pulling it\n4f4fb7: downloading\n4f4fb7: done\n"
    );
    assert_eq!(run(&fake, &["run", "-q", "img"]), "exit 0\n-- out\n-- err\nimage img is not here: pulling it\n");
}

#[test]
fn exec_and_attach_end_with_the_code() {
    let fake = Fake::new(|asked| match asked {
        Asked::Session(SessionCall::Exec { process, .. }) if process.detach => Answer::Frames(vec![Frame::Exit(0)]),
        Asked::Session(_) => Answer::Frames(vec![Frame::Stdout(b"hi\n".to_vec()), Frame::Exit(9)]),
        Asked::Call(Call::InspectContainer(name)) if name == "ended" => {
            Answer::Reply(Reply::Inspect(json!({ "State": { "Running": false } })))
        }
        Asked::Call(Call::InspectContainer(_)) => {
            Answer::Reply(Reply::Inspect(json!({ "State": { "Running": true }, "Config": { "OpenStdin": false } })))
        }
        other => panic!("{other:?}"),
    });
    let words = ["exec", "-e", "A=1", "-u", "nobody", "-w", "/tmp", "box", "sh", "-c", "x", "-i"];
    assert_eq!(run(&fake, &words), "exit 9\n-- out\nhi\n-- err\n");
    let Some(Asked::Session(SessionCall::Exec { container, process })) = fake.asked().pop() else { panic!() };
    assert_eq!(container, "box");
    assert_eq!((process.args.join(" "), process.env.join(" ")), ("sh -c x -i".to_owned(), "A=1".to_owned()));
    assert!(!process.stdin && !process.tty);
    assert_eq!(run(&fake, &["exec", "-d", "box", "true"]), "exit 0\n-- out\n-- err\n");
    assert_eq!(run(&fake, &["attach", "box"]), "exit 9\n-- out\nhi\n-- err\n");
    assert_eq!(run(&fake, &["attach", "ended"]), "exit 1\n-- out\n-- err\nerror: container ended is not running\n");
    assert_eq!(run(&fake, &["start", "-a", "box"]), "exit 9\n-- out\nhi\n-- err\n");
}

#[test]
fn every_name_is_done_and_those_that_fail_are_told() {
    let fake = Fake::new(|asked| match asked {
        Asked::Call(Call::Power { container, .. } | Call::Kill { container, .. } | Call::Pause(container))
            if container == "nobody" =>
        {
            not_found("no such container: nobody")
        }
        Asked::Call(Call::Wait(name)) => Answer::Reply(Reply::Exited(if name == "a" { 4 } else { 0 })),
        Asked::Call(Call::RemoveContainer { container, .. }) if container == "nobody" => {
            not_found("no such container: nobody")
        }
        Asked::Call(_) => Answer::Reply(Reply::Done),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        run(&fake, &["stop", "-t", "0", "a", "nobody", "b"]),
        "exit 1\n-- out\na\nb\n-- err\nerror: no such container: nobody\n"
    );
    assert_eq!(run(&fake, &["wait", "a", "b"]), "exit 0\n-- out\n4\n0\n-- err\n");
    assert_eq!(run(&fake, &["kill", "-s", "HUP", "a"]), "exit 0\n-- out\na\n-- err\n");
    assert_eq!(run(&fake, &["rm", "nobody"]), "exit 1\n-- out\n-- err\nerror: no such container: nobody\n");
    assert_eq!(
        run(&fake, &["rm", "-f", "nobody", "a"]),
        "exit 0\n-- out\na\n-- err\nwarning: no such container: nobody\n"
    );
    assert_eq!(run(&fake, &["container", "pause", "a"]), "exit 0\n-- out\na\n-- err\n");
}

#[test]
fn a_terminal_is_refused_where_there_is_none() {
    let fake = running(frames(&[]));
    let output = run(&fake, &["run", "-it", "img"]);
    assert!(output.starts_with("exit 125\n") && output.contains("no terminal"), "{output}");
    assert!(fake.asked().is_empty());
}
