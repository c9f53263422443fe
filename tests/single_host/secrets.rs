//! Secrets and configs: content, owner, mode, and where secrets never are.

use e2e::{BUSYBOX, Host};

#[test]
fn files_with_owner_and_mode() {
    let Some(host) = Host::new() else { return };
    host.write("password", "hunter2");
    let text = format!(
        "services:
  app:
    image: {BUSYBOX}
    command: sh -c 'stat -c \"%n %u %g %a\" /run/secrets/password /run/key /etc/app.conf; cat /run/secrets/password /run/key /etc/app.conf; echo; exec sleep 10000'
    stop_grace_period: 0s
    secrets:
      - password
      - {{source: key, target: /run/key, uid: '1000', gid: '1001', mode: 0400}}
    configs:
      - {{source: conf, target: /etc/app.conf}}
secrets:
  password: {{file: ./password}}
  key: {{environment: KEY}}
configs:
  conf: {{content: 'a = 1'}}
"
    );
    let file = host.write("app.yaml", &text);
    let mut up = host.rswarm_command(["up", "-p", "app", "-f", &file]);
    e2e::run(up.env("KEY", "from the environment")).ok();
    let out = host.sh("logs -p app --no-log-prefix app").ok();
    let wanted = "/run/secrets/password 0 0 444\n/run/key 1000 1001 400\n/etc/app.conf 0 0 444\nhunter2from the environmenta = 1";
    out.prints(wanted);
}

#[test]
fn a_secret_is_never_on_disk_in_clear_and_never_shown() {
    let Some(host) = Host::new() else { return };
    let word = "xyzzy-plugh-4711";
    host.write("s", word);
    let text = format!(
        "services:\n  app: {{image: {BUSYBOX}, command: sh -c 'wc -c < /run/secrets/s; exec sleep 10000', stop_grace_period: 0s, secrets: [s]}}\nsecrets: {{s: {{file: ./s}}}}\n"
    );
    host.up("app", &text).ok();
    let id = host.sh("ps -q -p app").ok().text();
    host.rswarm(["exec", &id, "cat", "/run/secrets/s"]).ok().prints(word);
    // memory-backed inside
    host.rswarm(["exec", &id, "sh", "-c", "grep ' /run/secrets' /proc/mounts | cut -d' ' -f3 | sort -u"])
        .ok()
        .prints("tmpfs");
    // and nowhere in the data root
    let grep = e2e::run(std::process::Command::new("grep").args(["-rl", word]).arg(host.data()));
    assert_eq!(grep.stdout, "", "{grep}");
    host.rswarm(["inspect", &id]).ok().never_says(word);
    host.sh("config -f app.yaml").ok().never_says(word);
    assert!(!host.log_tail().contains(word));
}

#[test]
fn a_changed_secret_is_rolled_out() {
    let Some(host) = Host::new() else { return };
    let text = format!(
        "services:\n  app: {{image: {BUSYBOX}, command: sleep 10000, stop_grace_period: 0s, configs: [c]}}\nconfigs: {{c: {{file: ./c}}}}\n"
    );
    host.write("c", "one");
    host.up("app", &text).ok();
    let read = || {
        let id = host.sh("ps -q -p app").ok().text();
        host.rswarm(["exec", &id, "cat", "/c"]).ok().text()
    };
    assert_eq!(read(), "one");
    host.write("c", "two");
    host.up("app", &text).ok();
    assert_eq!(read(), "two");
}

#[test]
fn a_missing_file_is_told_before_anything_changes() {
    let Some(host) = Host::new() else { return };
    let text = format!("services:\n  app: {{image: {BUSYBOX}, secrets: [s]}}\nsecrets: {{s: {{file: ./not-there}}}}\n");
    host.up("app", &text).fails().complains("not-there");
    host.sh("ps -a -q").ok().prints("");
}

#[test]
fn contents_of_no_stack_are_used_as_external_ones() {
    let Some(host) = Host::new() else { return };
    let secret = host.rswarm_with_input(["secret", "create", "-l", "team=a", "token", "-"], b"s3cr3t").ok().text();
    host.write("conf", "a = 1");
    let file = host.work().join("conf").display().to_string();
    host.rswarm(["config", "create", "conf", &file]).ok();
    host.rswarm(["config", "create", "conf", &file]).fails().complains("config conf is there already");
    host.rswarm_with_input(["secret", "create", "bad name", "-"], b"x").fails().complains("is no name of a secret");
    host.sh("secret ls --format {{.Name}}/{{.Labels}}").ok().prints("token/team=a");
    host.sh("secret ls -q --no-trunc").ok().prints(secret.trim());
    host.sh("secret inspect token").ok().never_says("s3cr3t").says("\"Name\": \"token\"");
    let data = host.sh("config inspect conf").ok().json();
    assert_eq!(data[0]["Spec"]["Data"], "YSA9IDE=");
    let text = format!(
        "services:\n  app: {{image: {BUSYBOX}, command: sh -c 'cat /run/secrets/token /conf; echo; exec sleep 10000', stop_grace_period: 0s, secrets: [token], configs: [conf]}}\nsecrets: {{token: {{external: true}}}}\nconfigs: {{conf: {{external: true}}}}\n"
    );
    host.up("app", &text).ok();
    host.sh("logs -p app --no-log-prefix app").ok().prints("s3cr3ta = 1");
    host.sh("secret rm token").fails().complains("secret token is in use by app_app");
    host.down("app").ok();
    host.sh("secret rm token nothing").fails().says("token").complains("no such secret: nothing");
    host.sh("config rm conf").ok();
    host.sh("config ls -q").ok().prints("");
}
