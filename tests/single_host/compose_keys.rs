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
