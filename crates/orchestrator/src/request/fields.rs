//! Which fields of two specs differ, for people.

use model::{ContainerSpec, Mode, ServiceSpec};

/// `image: nginx:1.26 → nginx:1.27`, or only the name where values are long or secret.
pub(super) fn differing(old: &ServiceSpec, new: &ServiceSpec) -> Vec<String> {
    let mut fields = Vec::new();
    let mut check = |is_same: bool, name: &str| {
        if !is_same {
            fields.push(name.to_owned());
        }
    };
    let ServiceSpec {
        name: _,
        key: _,
        stack,
        standalone: _,
        labels,
        mode,
        container,
        restart,
        resources,
        placement,
        update,
        rollback,
        networks,
        network_mode,
        ports,
        exposed,
        endpoint_mode,
        depends_on,
    } = new;
    check(old.stack == *stack, "stack");
    check(old.labels == *labels, "deploy.labels");
    check(old.mode == *mode, &mode_text(old.mode, *mode));
    check(old.restart == *restart, "restart_policy");
    check(old.resources == *resources, "resources");
    check(old.placement == *placement, "placement");
    check(old.update == *update, "update_config");
    check(old.rollback == *rollback, "rollback_config");
    check(old.networks == *networks, "networks");
    check(old.network_mode == *network_mode, "network_mode");
    check(old.ports == *ports, "ports");
    check(old.exposed == *exposed, "expose");
    check(old.endpoint_mode == *endpoint_mode, "endpoint_mode");
    check(old.depends_on == *depends_on, "depends_on");
    of_container(&old.container, container, &mut check);
    fields
}

fn of_container(old: &ContainerSpec, new: &ContainerSpec, check: &mut impl FnMut(bool, &str)) {
    let ContainerSpec {
        image,
        image_digest,
        pull_policy,
        container_name,
        entrypoint,
        command,
        env,
        working_dir,
        user,
        group_add,
        hostname,
        domainname,
        labels,
        extra_hosts,
        dns,
        dns_search,
        dns_opt,
        mounts,
        configs,
        secrets,
        healthcheck,
        stop_signal,
        stop_grace_period,
        init,
        tty,
        stdin_open,
        read_only,
        privileged,
        cap_add,
        cap_drop,
        no_new_privileges,
        seccomp,
        devices,
        device_cgroup_rules,
        ulimits,
        sysctls,
        shm_size,
        pid_host,
        ipc_host,
        uts_host,
        cgroup_host,
        logging,
        oom_score_adj,
        oom_kill_disable,
        auto_remove,
    } = new;
    check(old.image == *image, &format!("image: {} → {image}", old.image));
    if old.image == *image {
        check(old.image_digest == *image_digest, "image (a newer one of the same name)");
    }
    check(old.pull_policy == *pull_policy, "pull_policy");
    check(old.container_name == *container_name, "container_name");
    check(old.entrypoint == *entrypoint, "entrypoint");
    check(old.command == *command, "command");
    check(old.env == *env, &names("environment", &old.env, env));
    check(old.working_dir == *working_dir, "working_dir");
    check(old.user == *user, "user");
    check(old.group_add == *group_add, "group_add");
    check(old.hostname == *hostname, "hostname");
    check(old.domainname == *domainname, "domainname");
    check(old.labels == *labels, &names("labels", &old.labels, labels));
    check(old.extra_hosts == *extra_hosts, "extra_hosts");
    check(old.dns == *dns, "dns");
    check(old.dns_search == *dns_search, "dns_search");
    check(old.dns_opt == *dns_opt, "dns_opt");
    check(old.mounts == *mounts, "volumes");
    check(old.configs == *configs, "configs");
    check(old.secrets == *secrets, "secrets");
    check(old.healthcheck == *healthcheck, "healthcheck");
    check(old.stop_signal == *stop_signal, "stop_signal");
    check(old.stop_grace_period == *stop_grace_period, "stop_grace_period");
    check(old.init == *init, "init");
    check(old.tty == *tty, "tty");
    check(old.stdin_open == *stdin_open, "stdin_open");
    check(old.read_only == *read_only, "read_only");
    check(old.privileged == *privileged, "privileged");
    check(old.cap_add == *cap_add, "cap_add");
    check(old.cap_drop == *cap_drop, "cap_drop");
    check(old.no_new_privileges == *no_new_privileges && old.seccomp == *seccomp, "security_opt");
    check(old.devices == *devices, "devices");
    check(old.device_cgroup_rules == *device_cgroup_rules, "device_cgroup_rules");
    check(old.ulimits == *ulimits, "ulimits");
    check(old.sysctls == *sysctls, "sysctls");
    check(old.shm_size == *shm_size, "shm_size");
    check(old.pid_host == *pid_host, "pid");
    check(old.ipc_host == *ipc_host, "ipc");
    check(old.uts_host == *uts_host, "uts");
    check(old.cgroup_host == *cgroup_host, "cgroup");
    check(old.logging == *logging, "logging");
    check(old.oom_score_adj == *oom_score_adj, "oom_score_adj");
    check(old.oom_kill_disable == *oom_kill_disable, "oom_kill_disable");
    check(old.auto_remove == *auto_remove, "auto_remove");
}

/// Names of entries that differ, never their values: those may be secret.
fn names<V: PartialEq>(
    field: &str,
    old: &std::collections::BTreeMap<String, V>,
    new: &std::collections::BTreeMap<String, V>,
) -> String {
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    let differ = new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| key);
    let all: Vec<&str> = gone.chain(differ).map(String::as_str).collect();
    format!("{field}: {}", all.join(", "))
}

fn mode_text(old: Mode, new: Mode) -> String {
    match (old, new) {
        (Mode::Replicated { replicas: old }, Mode::Replicated { replicas: new }) => format!("replicas: {old} → {new}"),
        _ => "mode".to_owned(),
    }
}
