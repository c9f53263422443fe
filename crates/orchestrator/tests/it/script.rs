//! Scripts: a cluster in words, then what became of it. A block of commands ends with `----`, what was
//! seen follows, up to an empty line.

mod sources;

use crate::spec::{self, service};
use crate::world::{World, node, short};
use model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

struct Script {
    world: World,
    stack: StackSpec,
    seen: BTreeMap<TaskId, String>,
    names: BTreeMap<TaskId, String>,
    taken: BTreeMap<String, usize>,
    said: BTreeSet<String>,
    out: String,
    started: Time,
    /// Of the last plan.
    basis: Option<String>,
}

/// Runs a script; the same text with what is really seen.
pub(crate) fn run(text: &str) -> String {
    let world = World::new(7);
    let started = world.now;
    let stack = StackSpec { name: "shop".to_owned(), ..StackSpec::default() };
    let mut script = Script {
        world,
        stack,
        seen: BTreeMap::new(),
        names: BTreeMap::new(),
        taken: BTreeMap::new(),
        said: BTreeSet::new(),
        out: String::new(),
        started,
        basis: None,
    };
    let mut result = String::new();
    let mut expected = false;
    for line in text.lines() {
        match (expected, line) {
            (false, "----") => {
                let _ = writeln!(result, "----\n{}", std::mem::take(&mut script.out));
                expected = true;
            }
            (false, line) => {
                let _ = writeln!(result, "{line}");
                let words: Vec<&str> = line.split_whitespace().collect();
                if !line.starts_with('#') && !words.is_empty() {
                    script.command(&words);
                }
            }
            (true, "") => expected = false,
            (true, _) => {}
        }
    }
    result
}

impl Script {
    fn say(&mut self, text: impl AsRef<str>) {
        let _ = writeln!(self.out, "{}", text.as_ref());
    }

    fn command(&mut self, words: &[&str]) {
        let (verb, rest) = (words[0], &words[1..]);
        match verb {
            "node" => self.node(rest),
            "service" => {
                let mut spec = service(Some("shop"), rest[0]);
                rest[1..].iter().for_each(|word| spec::set(&mut spec, word));
                self.stack.services.insert(spec.name.clone(), spec);
            }
            "forget" => drop(self.stack.services.remove(&format!("shop_{}", rest[0]))),
            "forget-object" => {
                self.stack.networks.remove(rest[0]);
                self.stack.volumes.remove(rest[0]);
                self.stack.configs.remove(rest[0]);
            }
            "network" => {
                let name = format!("shop_{}", rest[0]);
                let mut spec =
                    NetworkSpec { name: name.clone(), stack: Some("shop".to_owned()), ..NetworkSpec::default() };
                for word in &rest[1..] {
                    match word.split_once('=') {
                        Some(("subnet", subnet)) => {
                            spec.ipam.push(IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() })
                        }
                        _ if *word == "internal" => spec.internal = true,
                        _ if *word == "ipv6" => spec.ipv6 = true,
                        _ => panic!("`{word}`"),
                    }
                }
                self.stack.networks.insert(name, spec);
            }
            "volume" => {
                let spec =
                    VolumeSpec { name: rest[0].to_owned(), stack: Some("shop".to_owned()), ..VolumeSpec::default() };
                self.stack.volumes.insert(rest[0].to_owned(), spec);
            }
            "content" => {
                let spec = ContentSpec {
                    name: rest[0].to_owned(),
                    stack: Some("shop".to_owned()),
                    data: rest[1].into(),
                    ..ContentSpec::default()
                };
                self.stack.configs.insert(rest[0].to_owned(), spec);
            }
            "up" => self.up(rest),
            "source" => self.source(rest),
            "sync" => self.sync(rest),
            "invalid" | "unreachable" | "reachable" => self.report(verb, rest),
            "suspend" | "resume" => self.ask(Request::Source(Box::new(SourceRequest::Suspend {
                name: rest[0].to_owned(),
                suspended: verb == "suspend",
            }))),
            "sources" => self.sources(),
            "plan" => self.plan(rest),
            "apply" => {
                let basis = self.basis.clone();
                self.ask(Request::Apply { wanted: Box::new(self.wanted(rest)), basis });
            }
            "down" => {
                self.ask(Request::RemoveStack { name: "shop".to_owned(), volumes: rest.contains(&"-v"), timeout: None })
            }
            "run" => {
                let mut spec = service(None, rest[0]);
                rest[1..].iter().for_each(|word| spec::set(&mut spec, word));
                self.ask(Request::PutService { spec: Box::new(spec), create: true });
            }
            "rm" | "rm-f" => {
                let id = self.task(rest[0]).service;
                self.ask(Request::RemoveService { id, force: verb == "rm-f", volumes: false });
            }
            "scale" => {
                let id = self.service(rest[0]).id;
                self.ask(Request::Scale { id, replicas: rest[1].parse().expect("a number") });
            }
            "service-update" => self.update(rest),
            "rollback" => {
                let id = self.service(rest[0]).id;
                self.ask(Request::RollbackService(id));
            }
            "node-update" => self.node_update(rest),
            "node-rm" => self.ask(Request::RemoveNode {
                id: NodeId(rest[0][1..].parse().expect("nNUMBER")),
                force: rest.contains(&"force"),
            }),
            "stop" => self.power(rest[0], PowerAction::Stop { timeout: None, signal: None }),
            "start" => self.power(rest[0], PowerAction::Start),
            "restart" => self.power(rest[0], PowerAction::Restart { timeout: None }),
            "network-rm" => {
                let state = self.world.state();
                let id = state.networks.iter().find(|network| network.spec.name == rest[0]).map(|network| network.id);
                self.ask(Request::RemoveNetwork(id.expect("a network")));
            }
            "volume-rm" => self.ask(Request::RemoveVolume(rest[0].to_owned())),
            "exit" => {
                let (task, now) = (self.task(rest[0]), self.world.now);
                let code = rest[1].parse().expect("a code");
                self.world.host_of(task.id).expect("a host").exit(now, task.id, code, false);
                self.settle();
            }
            "unhealthy" | "healthy" => {
                let (task, now) = (self.task(rest[0]), self.world.now);
                let verdict = if verb == "healthy" { Verdict::Healthy } else { Verdict::Unhealthy };
                self.world.host_of(task.id).expect("a host").health(now, task.id, verdict);
                self.settle();
            }
            "cut" => {
                self.world.cut(NodeId(rest[0][1..].parse().expect("nNUMBER")));
                self.settle();
            }
            "wait" => self.wait(rest[0].trim_end_matches('s').parse().expect("seconds")),
            "waiting" => self.waiting(),
            "avoided" => self.avoided(),
            "show" => self.show(rest),
            _ => panic!("nobody knows how to `{verb}`"),
        }
    }

    fn node(&mut self, words: &[&str]) {
        let number: u128 = words[0][1..].parse().expect("nNUMBER");
        let id = NodeId(number);
        let mut node = self.world.nodes.get(&id).cloned().unwrap_or_else(|| node(number));
        for word in &words[1..] {
            match word.split_once('=') {
                Some(("cpu", value)) => node.nano_cpus = value.parse::<u64>().expect("cores") * 1_000_000_000,
                Some(("memory", value)) => node.memory = value.parse::<u64>().expect("MiB") << 20,
                Some(("route", value)) => node.host_routes.push(value.to_owned()),
                Some((key, value)) => drop(node.labels.insert(key.to_owned(), value.to_owned())),
                None if *word == "drained" => node.availability = Availability::Drain,
                None if *word == "again" => node.incarnation += 1,
                None => panic!("`{word}`"),
            }
        }
        if let Some(host) = self.world.hosts.get_mut(&id) {
            host.silent = false;
        }
        self.world.join(node);
        self.settle();
    }

    /// Where services avoid nodes.
    fn avoided(&mut self) {
        let state = self.world.state();
        for Avoided { service, node, failures, until } in state.avoided {
            let service = state.services.iter().find(|known| known.id == service).expect("a service");
            let until = until.since(self.started).as_secs_f64();
            self.say(format!("{} avoids n{} until {until:.1}s: {failures} failures", service.spec.key, node.0));
        }
    }

    /// The networks that services name are part of the stack.
    fn complete(&mut self) {
        let used =
            self.stack.services.values().any(|spec| spec.networks.iter().any(|net| net.network == "shop_default"));
        if used && !self.stack.networks.contains_key("shop_default") {
            let spec = NetworkSpec {
                name: "shop_default".to_owned(),
                stack: Some("shop".to_owned()),
                ..NetworkSpec::default()
            };
            self.stack.networks.insert(spec.name.clone(), spec);
        }
    }

    fn up(&mut self, words: &[&str]) {
        self.complete();
        self.ask(Request::Deploy {
            stack: Box::new(self.stack.clone()),
            remove_orphans: words.contains(&"--remove-orphans"),
            force_recreate: words.contains(&"--force-recreate"),
        });
    }

    fn service(&self, key: &str) -> Service {
        let services = self.world.state().services;
        services.into_iter().find(|service| service.spec.key == key).unwrap_or_else(|| panic!("no service `{key}`"))
    }

    /// `service-update web image=b`; `--force`, and `version=1` for one that is no news any more.
    fn update(&mut self, words: &[&str]) {
        let service = self.service(words[0]);
        let mut spec = Box::new((*service.spec).clone());
        let mut version = None;
        for word in &words[1..] {
            match word.strip_prefix("version=") {
                Some(number) => version = Some(number.parse().expect("a number")),
                None if *word == "--force" => {}
                None => spec::set(&mut spec, word),
            }
        }
        self.ask(Request::UpdateService { id: service.id, spec, version, force: words.contains(&"--force") });
    }

    /// `node-update n1 drain disk=ssd zone-`.
    fn node_update(&mut self, words: &[&str]) {
        let id = NodeId(words[0][1..].parse().expect("nNUMBER"));
        let (mut availability, mut labels) = (None, BTreeMap::new());
        for word in &words[1..] {
            match (*word, word.split_once('='), word.strip_suffix('-')) {
                ("drain", ..) => availability = Some(Availability::Drain),
                ("pause", ..) => availability = Some(Availability::Pause),
                ("active", ..) => availability = Some(Availability::Active),
                (_, Some((key, value)), _) => drop(labels.insert(key.to_owned(), Some(value.to_owned()))),
                (_, None, Some(key)) => drop(labels.insert(key.to_owned(), None)),
                _ => panic!("`{word}`"),
            }
        }
        self.ask(Request::UpdateNode { id, availability, labels });
    }

    fn power(&mut self, name: &str, action: PowerAction) {
        let task = self.task(name).id;
        self.ask(Request::Power { task, action });
    }

    fn task(&self, name: &str) -> Arc<Task> {
        self.world.task(name).unwrap_or_else(|| panic!("no task `{name}`"))
    }

    fn ask(&mut self, request: Request) {
        match self.world.ask(request) {
            Response::Done { changes, warnings, .. } => {
                for change in changes.iter().filter(|change| change.action != "unchanged") {
                    let fields = change.fields.join("; ");
                    let fields = if fields.is_empty() { fields } else { format!(" ({fields})") };
                    self.say(format!("{} {} {}{fields}", change.kind, self.short_names(&change.name), change.action));
                }
                if !changes.is_empty() && changes.iter().all(|change| change.action == "unchanged") {
                    self.say("nothing changes");
                }
                warnings.iter().for_each(|warning| self.say(format!("warning: {}", warning.message)));
            }
            Response::Refused { kind, diagnostics } => {
                for diagnostic in diagnostics {
                    let text = self.short_names(&diagnostic.message);
                    self.say(format!("refused ({kind:?}): {text}"));
                    diagnostic.hint.iter().for_each(|hint| self.say(format!("  hint: {hint}")));
                }
            }
            Response::State(_) => {}
        }
        self.settle();
    }

    /// Ids are of no interest.
    fn short_names(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (id, name) in &self.names {
            text = text.replace(&id.to_string(), &format!("<{name}>")).replace(&id.short(), &format!("<{name}>"));
        }
        text
    }

    /// Says what has become of tasks since the last look.
    fn settle(&mut self) {
        let state = self.world.state();
        let at = format!("{:>5.1}s", self.world.now.since(self.started).as_millis() as f64 / 1000.0);
        let mut tasks = state.tasks.clone();
        tasks.sort_by_key(|task| (task.created, short(task), task.id));
        let mut lines = Vec::new();
        for task in &tasks {
            let name = self.name(task);
            let status = self.describe(task);
            if self.seen.get(&task.id) != Some(&status) {
                lines.push(format!("{at}  {name} {status}"));
                self.seen.insert(task.id, status);
            }
        }
        let gone: Vec<TaskId> =
            self.seen.keys().filter(|id| !state.tasks.iter().any(|task| task.id == **id)).copied().collect();
        let mut gone: Vec<String> = gone
            .into_iter()
            .map(|id| {
                self.seen.remove(&id);
                format!("{at}  {} gone", self.names[&id])
            })
            .collect();
        gone.sort();
        lines.extend(gone);
        for service in &state.services {
            let status = service.update_status.as_ref().filter(|status| status.state != UpdateState::Updating);
            if let Some(status) = status.filter(|status| self.said.insert(format!("{} {status:?}", service.id))) {
                lines.push(format!("{at}  {}: {}", service.spec.key, status.message));
            }
        }
        lines.iter().for_each(|line| self.say(line));
    }

    /// `web.1`, and `web.1'` for the next in that slot.
    fn name(&mut self, task: &Task) -> String {
        if let Some(name) = self.names.get(&task.id) {
            return name.clone();
        }
        let short = short(task);
        let count = self.taken.entry(short.clone()).or_default();
        let name = if *count == 0 { short } else { format!("{short}#{}", *count + 1) };
        *count += 1;
        self.names.insert(task.id, name.clone());
        name
    }

    fn describe(&self, task: &Task) -> String {
        let status = &task.status;
        let mut text = format!("{:?}", status.state).to_lowercase();
        if let Some(health) = status.container.as_ref().and_then(|container| container.health.as_ref())
            && status.state == TaskState::Running
        {
            let _ = write!(text, ", {:?}", health.verdict);
            text = text.to_lowercase();
        }
        if !status.message.is_empty() {
            let _ = write!(text, ": {}", status.message);
        }
        if self.world.nodes.len() > 1
            && let Some(node) = task.node
        {
            let _ = write!(text, " on n{}", node.0);
        }
        if task.desired == Desired::Ready {
            text.push_str(" (waits)");
        }
        if task.attempt > 1 {
            let _ = write!(text, " (attempt {})", task.attempt);
        }
        text
    }

    fn wait(&mut self, seconds: f64) {
        let end = self.world.now.after(Duration::from_millis((seconds * 1000.0) as u64));
        // In small steps, so that each event is seen at its time.
        while self.world.now < end {
            self.world.run(Duration::from_millis(500).min(end.since(self.world.now)));
            self.settle();
        }
    }

    fn waiting(&mut self) {
        let state = self.world.state();
        let mut lines: Vec<String> = state
            .waiting
            .iter()
            .map(|(id, why)| format!("{}: {}", self.names.get(id).cloned().unwrap_or_default(), self.short_names(why)))
            .collect();
        lines.sort();
        if lines.is_empty() {
            lines.push("nothing waits".to_owned());
        }
        lines.iter().for_each(|line| self.say(line));
    }

    fn show(&mut self, words: &[&str]) {
        let state = self.world.state();
        let assignment =
            self.world.hosts.values().next().and_then(|host| host.assignment.clone()).expect("an assignment");
        match words {
            ["networks"] => state.networks.iter().for_each(|network| {
                self.say(format!("{} {} gateway {}", network.spec.name, network.subnet, network.gateway));
            }),
            ["wire"] => state.networks.iter().for_each(|network| {
                self.say(format!("{} is number {}", network.spec.name, network.vni));
            }),
            ["addresses"] => {
                for task in state.tasks.iter().filter(|task| task.desired <= Desired::Running) {
                    let name = self.name(task);
                    let all: Vec<String> = task
                        .endpoints
                        .iter()
                        .map(|endpoint| {
                            endpoint
                                .address6
                                .map_or_else(|| endpoint.address.to_string(), |v6| format!("{}+{v6}", endpoint.address))
                        })
                        .collect();
                    self.said.insert(format!("~{name} {}", all.join(" ")));
                }
                let lines: Vec<String> =
                    self.said.iter().filter_map(|line| line.strip_prefix('~')).map(str::to_owned).collect();
                lines.iter().for_each(|line| self.say(line));
                self.said.retain(|line| !line.starts_with('~'));
            }
            ["ports"] => assignment.ports.iter().for_each(|port| {
                let behind: Vec<String> =
                    port.backends.iter().map(|(address, port)| format!("{address}:{port}")).collect();
                self.say(format!("{} of {} → {}", port.host_port, port.service, behind.join(" ")));
            }),
            ["zone", network] => {
                let id = state.networks.iter().find(|known| known.spec.name == *network).expect("a network").id;
                let zone = assignment.zones.get(&id).cloned().unwrap_or_default();
                let mut lines: Vec<String> = zone
                    .names
                    .iter()
                    .map(|(name, addresses)| {
                        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                        format!("{} {}", self.short_names(name), addresses.join(" ")).trim_end().to_owned()
                    })
                    .collect();
                lines.sort();
                lines.iter().for_each(|line| self.say(line));
            }
            ["offers", network] => {
                let id = state.networks.iter().find(|known| known.spec.name == *network).expect("a network").id;
                let zone = assignment.zones.get(&id).cloned().unwrap_or_default();
                for (name, offers) in &zone.offers {
                    for offer in offers {
                        let port = |port: &model::ExposedPort| match &port.name {
                            Some(name) => format!("{name}={}", port.first),
                            None => port.first.to_string(),
                        };
                        let ports: Vec<String> = offer.ports.iter().map(port).collect();
                        let targets: Vec<String> =
                            offer.targets.iter().map(|target| self.short_names(target)).collect();
                        self.say(format!("{name} {} → {}", ports.join(" "), targets.join(" ")).trim_end());
                    }
                }
            }
            ["volumes"] => {
                state.volumes.iter().for_each(|volume| self.say(&volume.name));
                assignment.removed_volumes.iter().for_each(|volume| self.say(format!("{volume} is being deleted")));
            }
            ["contents"] => assignment.configs.values().for_each(|content| {
                self.say(format!("{} = {}", content.name, String::from_utf8_lossy(&content.data)));
            }),
            ["entries"] => {
                let count = self.world.log.len();
                self.say(format!("{count} entries"));
            }
            _ => panic!("show what? {words:?}"),
        }
    }
}

macro_rules! scripts {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!("../scripts/", stringify!($name), ".txt"));
            let seen = run(text);
            assert_eq!(seen, run(text), "the same twice");
            if seen.trim_end() != text.trim_end() {
                println!("<<<<{}\n{seen}>>>>", stringify!($name));
                let differ = seen.lines().zip(text.lines()).find(|(seen, text)| seen != text);
                panic!("script {} is seen otherwise, first at {differ:#?}", stringify!($name));
            }
        }
    )*};
}

scripts! { deploy restart depends_on update rollback run_and_rm power down network schedule global_and_jobs contents history ports kept_ports refused_networks service_update drain labels failing volumes node_rm plan sources self_heal unreachable offers undrained joins room retarget update_gates }
