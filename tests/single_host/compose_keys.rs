//! Keys of Compose files that no other test tries, each as the container sees it.

use e2e::{BUSYBOX, Host};

#[test]
fn who_and_where_a_container_is() {
    let Some(host) = Host::new() else { return };
    host.write("own.labels", "from.file=yes\nboth=file\n");
    let text = format!(
        "services:
  other:
    image: {BUSYBOX}
    command: [sleep, '10000']
    stop_grace_period: 0s
    volumes: [kept:/kept]
  app:
    image: {BUSYBOX}
    command: [sleep, '10000']
    stop_grace_period: 0s
    hostname: app
    domainname: example.com
    extra_hosts: [fixed:10.9.8.7, 'six=fd00::9']
    dns_search: [one.example, two.example]
    dns_opt: ['timeout:3']
    group_add: ['4242']
    oom_score_adj: 321
    mac_address: 02:42:ac:11:65:43
    cpuset: '0'
    volumes_from: ['other:ro']
    label_file: own.labels
    labels: {{both: own}}
volumes: {{kept: }}
"
    );
    let file = host.write("keys.yaml", &text);
    host.rswarm(["up", "-p", "keys", "-f", &file]).ok();
    let ask = |script: &str| host.rswarm(["exec", "keys-app-1", "sh", "-c", script]).ok();
    ask("cat /proc/sys/kernel/domainname").prints("example.com");
    ask("grep fixed /etc/hosts").says("10.9.8.7");
    ask("grep six /etc/hosts").says("fd00::9");
    ask("cat /etc/resolv.conf").says("search one.example two.example").says("timeout:3");
    ask("id -G").says("4242");
    ask("cat /proc/1/oom_score_adj").prints("321");
    ask("cat /sys/class/net/eth0/address").prints("02:42:ac:11:65:43");
    ask("grep Cpus_allowed_list /proc/1/status").says("\t0");
    host.rswarm(["exec", "keys-other-1", "touch", "/kept/there"]).ok();
    ask("ls /kept").prints("there");
    host.rswarm(["exec", "keys-app-1", "touch", "/kept/mine"]).fails();
    assert_eq!(host.inspect("keys-app-1", "{{index .Config.Labels \"from.file\"}}"), "yes");
    assert_eq!(host.inspect("keys-app-1", "{{.Config.Labels.both}}"), "own");
}

#[test]
fn placeholders_are_filled_in_where_the_container_starts() {
    let Some(host) = Host::new() else { return };
    for slot in 1..=2 {
        host.write(&format!("bound-{slot}/slot"), &slot.to_string());
    }
    host.write("plain.txt", "a word");
    host.write("secret.tmpl", "{{env \"NAME\"}} in {{.Task.Slot}}");
    let text = format!(
        "services:
  app:
    image: {BUSYBOX}
    command: [sleep, '10000']
    stop_grace_period: 0s
    hostname: '{{{{.Node.Hostname}}}}-{{{{.Service.Name}}}}-{{{{.Task.Slot}}}}'
    environment:
      SERVICE: '{{{{.Service.ID}}}} {{{{.Service.Name}}}} {{{{.Service.Labels.team}}}}{{{{index .Service.Labels \"a.b\"}}}}'
      NODE: '{{{{.Node.ID}}}} {{{{.Node.Hostname}}}} {{{{.Node.Platform.OS}}}}'
      TASK: '{{{{ .Task.ID }}}} {{{{.Task.Name}}}} {{{{.Task.Slot}}}}'
      NAME: '{{{{.Service.Name}}}}'
      OTHER: '{{{{range .Things}}}}'
    volumes:
      - data:/data/{{{{.Task.Slot}}}}
      - ./bound-{{{{.Task.Slot}}}}:/bound
    configs: [settings]
    secrets: [hidden, plain]
    deploy:
      replicas: 2
      labels: {{team: core, a.b: '!'}}
volumes:
  data: {{name: 'kept-{{{{.Task.Slot}}}}'}}
configs:
  settings: {{content: '{{{{secret \"plain\"}}}}; {{{{.Node.Hostname}}}}', template_driver: golang}}
secrets:
  plain: {{file: ./plain.txt}}
  hidden: {{file: ./secret.tmpl, template_driver: golang}}
"
    );
    host.up("who", &text).ok();
    let node = host.sh("node inspect self --format {{.ID}}").ok().stdout.trim().to_owned();
    let name = host.sh("node inspect self --format {{.Description.Hostname}}").ok().stdout.trim().to_owned();
    let service = host.sh("service inspect who_app --format {{.ID}}").ok().stdout.trim().to_owned();
    for slot in 1..=2 {
        let container = format!("who-app-{slot}");
        let ask = |script: &str| host.rswarm(["exec", &container, "sh", "-c", script]).ok();
        ask("hostname").prints(&format!("{name}-who_app-{slot}"));
        ask("echo $SERVICE").prints(&format!("{service} who_app core!"));
        ask("echo $NODE").prints(&format!("{node} {name} linux"));
        ask("echo $TASK | cut -d. -f1,2").says(&format!(" who_app.{slot}"));
        ask("echo ${TASK##* }; echo $OTHER").prints(&format!("{slot}\n{{{{range .Things}}}}"));
        ask("cat /settings").prints(&format!("a word; {name}"));
        ask("cat /run/secrets/hidden /bound/slot").prints(&format!("who_app in {slot}{slot}"));
        ask(&format!("hostname > /data/{slot}/who"));
    }
    host.sh("volume ls -q").ok().prints("kept-1\nkept-2");
    host.rswarm(["restart", "who-app-1"]).ok();
    host.rswarm(["exec", "who-app-1", "cat", "/data/1/who"]).ok().prints(&format!("{name}-who_app-1"));
}
