//! Terminals: prompts, sizes, control keys, detaching and attaching again.

use e2e::{BUSYBOX, Host, Pty};

#[test]
fn a_shell_on_a_terminal() {
    let Some(host) = Host::new() else { return };
    let mut pty = Pty::spawn(&mut host.rswarm_command(["run", "-it", "--rm", BUSYBOX, "sh"]));
    pty.expect("# ");
    pty.send("tty; stty size\r");
    pty.expect("/dev/pts/0");
    pty.expect("24 80");
    pty.resize(40, 132);
    std::thread::sleep(std::time::Duration::from_millis(300));
    pty.send("stty size\r");
    pty.expect("40 132");
    // ctrl-C ends what runs, not the shell
    pty.send("sleep 1000\r");
    std::thread::sleep(std::time::Duration::from_millis(300));
    pty.send("\x03");
    pty.send("echo still he''re\r");
    pty.expect("still here");
    pty.send("exit 3\r");
    assert_eq!(pty.wait(), 3);
}

#[test]
fn detach_and_attach_again() {
    let Some(host) = Host::new() else { return };
    let mut pty = Pty::spawn(&mut host.rswarm_command(["run", "-it", "--name", "box", BUSYBOX, "sh"]));
    pty.expect("# ");
    pty.send("X=remembered\r");
    pty.expect("# ");
    pty.send("\x10\x11");
    assert_eq!(pty.wait(), 0, "{}", pty.seen);
    assert_eq!(host.inspect("box", "{{.State.Running}}"), "true");
    let mut pty = Pty::spawn(&mut host.rswarm_command(["attach", "box"]));
    pty.send("echo it was $X\r");
    pty.expect("it was remembered");
    pty.send("exit\r");
    assert_eq!(pty.wait(), 0);
    assert_eq!(host.inspect("box", "{{.State.Status}}"), "exited");
}

#[test]
fn other_keys_detach_where_asked() {
    let Some(host) = Host::new() else { return };
    let words = ["run", "-it", "--detach-keys", "ctrl-x,x", "--name", "box", BUSYBOX, "sh"];
    let mut pty = Pty::spawn(&mut host.rswarm_command(words));
    pty.expect("# ");
    pty.send("\x18x");
    assert_eq!(pty.wait(), 0, "{}", pty.seen);
    assert_eq!(host.inspect("box", "{{.State.Running}}"), "true");
}

#[test]
fn exec_on_a_terminal() {
    let Some(host) = Host::new() else { return };
    host.sleeper("--name box");
    let mut pty = Pty::spawn(&mut host.rswarm_command(["exec", "-it", "box", "sh"]));
    pty.expect("# ");
    pty.send("stty size; echo $TERM\r");
    pty.expect("24 80");
    pty.expect("xterm");
    pty.send("exit 4\r");
    assert_eq!(pty.wait(), 4);
    assert_eq!(host.inspect("box", "{{.State.Running}}"), "true");
}

#[test]
fn a_terminal_is_refused_where_there_is_none() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-it", "--rm", BUSYBOX, "true"]).fails().complains("terminal");
}

#[test]
fn two_clients_see_the_same_container() {
    let Some(host) = Host::new() else { return };
    host.rswarm(["run", "-dit", "--name", "box", BUSYBOX, "sh"]).ok();
    let mut first = Pty::spawn(&mut host.rswarm_command(["attach", "box"]));
    let mut second = Pty::spawn(&mut host.rswarm_command(["attach", "box"]));
    std::thread::sleep(std::time::Duration::from_millis(300));
    first.send("echo seen by bo''th\r");
    first.expect("seen by both");
    second.expect("seen by both");
}
