//! Numbers for Prometheus (`--metrics-addr`): `GET /metrics`, made of the state as it is at that moment. Nothing is
//! counted in between, so that a daemon that nobody asks does nothing for it.

use crate::cluster::{Group, Leader};
use crate::identity::Identity;
use crate::shared::Daemon;
use crate::small_server;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};
use model::{Desired, State};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Callers at once.
const MOST: usize = 16;
/// Serves until the daemon stops.
pub(crate) async fn serve(daemon: Arc<Daemon>, listener: TcpListener) {
    small_server::serve(daemon, listener, MOST, |daemon, request| async move { answer(&daemon, &request).await }).await;
}

async fn answer<B>(daemon: &Arc<Daemon>, request: &Request<B>) -> Response<Full<Bytes>> {
    let plain = |status, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert("content-type", kind);
        response
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match text(daemon).await {
            Ok(text) => plain(StatusCode::OK, text),
            Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        },
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned()),
        _ => plain(StatusCode::NOT_FOUND, "the numbers are at /metrics\n".to_owned()),
    }
}

async fn text(daemon: &Arc<Daemon>) -> Result<String, api::ApiError> {
    let state = daemon.cluster.state().await?;
    let group = daemon.cluster.group().borrow().clone();
    let mut page = Page::default();
    page.one("rswarm_build_info", "Which version runs.", &[("version", &daemon.info.version)], 1);
    of_state(&mut page, &state);
    of_group(&mut page, &group);
    if let Some(log) = daemon.cluster.log() {
        of_log(&mut page, log);
    }
    let help = "Time until requests that change something were answered, be it by another manager.";
    page.histogram("rswarm_request_seconds", help, daemon.cluster.commits());
    let sessions = "Nodes with a session at this manager: all of them where it leads.";
    page.one("rswarm_agent_sessions", sessions, &[], count(daemon.agents.connected().len()));
    let help = "1 while the agent of this node is in session with a manager.";
    page.one("rswarm_agent_in_session", help, &[], u64::from(daemon.in_session.borrow().is_some()));
    let identity = daemon.membership.as_ref().map(|membership| membership.identity());
    let log = Identity::log_folder(&daemon.data_root, identity.as_deref());
    page.one("rswarm_log_bytes", "Log and snapshots of this manager on disk.", &[], size(&log));
    if let Some(peers) = &daemon.peers {
        let help = "When the certificate of this node ends, in seconds since the epoch.";
        page.one("rswarm_certificate_expires_timestamp_seconds", help, &[], peers.told().expires.0 / 1000);
    }
    of_process(&mut page);
    Ok(page.text)
}

/// How many there are of each kind: labels → count.
type Counts = BTreeMap<Labels, u64>;

/// Names of labels with their values.
type Labels = Vec<(&'static str, String)>;

fn of_state(page: &mut Page, state: &State) {
    page.one("rswarm_state_revision", "Revision of the state that is applied here.", &[], state.revision);
    let mut nodes = Counts::new();
    for node in state.nodes.iter().filter(|node| !node.left) {
        let status = if node.ready { "ready" } else { "down" };
        let availability = format!("{:?}", node.availability).to_lowercase();
        let labels =
            vec![("role", node.role().to_string()), ("status", status.to_owned()), ("availability", availability)];
        *nodes.entry(labels).or_default() += 1;
    }
    page.many("rswarm_nodes", "Nodes by role, status and availability.", nodes);
    let (mut tasks, mut restarts) = (Counts::new(), 0);
    let mut serving: BTreeMap<model::ServiceId, u64> = BTreeMap::new();
    for task in &state.tasks {
        let word = format!("{:?}", task.status.state).to_lowercase();
        *tasks.entry(vec![("state", word)]).or_default() += 1;
        restarts += task.status.container.as_ref().map_or(0, |container| u64::from(container.restart_count));
        if task.desired <= Desired::Running && task.is_serving() {
            *serving.entry(task.service).or_default() += 1;
        }
    }
    page.many("rswarm_tasks", "Tasks by state, those of the history included.", tasks);
    page.one("rswarm_container_restarts", "Restarts in place of the containers that are there.", &[], restarts);
    let named = |count: &dyn Fn(&model::Service) -> Option<u64>| -> Counts {
        let services = state.services.iter().filter(|service| !service.spec.standalone);
        services.filter_map(|it| Some((vec![("service", it.spec.name.clone())], count(it)?))).collect()
    };
    let wanted = named(&|service| service.replicas().map(u64::from));
    page.many("rswarm_service_replicas_wanted", "Replicas that a service should have.", wanted);
    let serve = named(&|service| Some(serving.get(&service.id).copied().unwrap_or(0)));
    page.many("rswarm_service_replicas_serving", "Tasks of a service that run and are healthy.", serve);
    page.one("rswarm_tasks_waiting", "Tasks that can't be placed or wait for others.", &[], count(state.waiting.len()));
    let sources = |of: &dyn Fn(&model::Source) -> (Labels, u64)| -> Counts { state.sources.iter().map(of).collect() };
    let outcome = sources(&|source| {
        let outcome = format!("{:?}", source.status.outcome).to_lowercase();
        (vec![("source", source.spec.name.clone()), ("outcome", outcome)], 1)
    });
    page.many("rswarm_source_outcome", "How the last look at a followed source went.", outcome);
    let drift = sources(&|source| (vec![("source", source.spec.name.clone())], count(source.status.drift.len())));
    page.many("rswarm_source_drift", "Things that are otherwise than their source says.", drift);
}

fn of_group(page: &mut Page, group: &Group) {
    page.one("rswarm_raft_is_leader", "1 where this manager leads.", &[], u64::from(group.leader == Leader::Me));
    let learners = count(group.members.len().saturating_sub(group.voters.len()));
    let kinds = [("voter", count(group.voters.len())), ("learner", learners)];
    let members = kinds.map(|(kind, count)| (vec![("kind", kind.to_owned())], count));
    page.many("rswarm_raft_members", "Members of the managers' group, as this one knows it.", members.into());
}

fn of_log(page: &mut Page, log: &store::Timings) {
    page.one("rswarm_raft_term", "Newest term that this manager has on disk.", &[], log.term());
    let help = "Index up to which entries are known here to be committed.";
    page.one("rswarm_raft_commit_index", help, &[], log.commit());
    page.one("rswarm_raft_last_index", "Index of the last entry of the log here.", &[], log.last());
    page.one("rswarm_log_entries", "Entries written to the log since the daemon began.", &[], log.entries());
    page.histogram("rswarm_log_sync_seconds", "Time of each write of the log with its sync.", &log.writes);
}

/// Of this process, under the names that every exporter uses.
fn of_process(page: &mut Page) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let bytes = pages * count(rustix::param::page_size());
    page.one("process_resident_memory_bytes", "Memory of the daemon.", &[], bytes);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    page.one("process_open_fds", "Open descriptors of the daemon.", &[], count(open));
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Bytes of the files in a folder; one that goes meanwhile counts nothing.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file).map(|it| it.len()).sum()
}

/// A page in Prometheus' text format.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn one(&mut self, name: &str, help: &str, labels: &[(&'static str, &str)], value: u64) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.many(name, help, Counts::from([(labels, value)]));
    }

    fn histogram(&mut self, name: &str, help: &str, values: &store::Histogram) {
        let _infallible = write!(self.text, "# HELP {name} {help}\n# TYPE {name} histogram\n");
        let counts = values.counts();
        for (bound, count) in store::BOUNDS.iter().zip(counts) {
            let _infallible = writeln!(self.text, "{name}_bucket{{le=\"{}\"}} {count}", seconds(*bound));
        }
        let all = counts.last().copied().unwrap_or(0);
        let sum = seconds(values.micros());
        let _infallible =
            write!(self.text, "{name}_bucket{{le=\"+Inf\"}} {all}\n{name}_sum {sum}\n{name}_count {all}\n");
    }

    fn many(&mut self, name: &str, help: &str, values: Counts) {
        let _infallible = write!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (labels, value) in values {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _infallible = writeln!(self.text, "{name}{labels} {value}");
        }
    }
}

/// Microseconds as Prometheus wants them.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use model::{Node, NodeId};

    #[test]
    fn nodes_are_counted_by_what_they_are() {
        let node = |id, manager, ready| Node { manager, ready, ..Node::new(NodeId(id), "x") };
        let nodes = vec![node(1, true, true), node(2, false, true), node(3, false, true), node(4, false, false)];
        let mut page = Page::default();
        of_state(&mut page, &State { revision: 7, nodes, ..State::default() });
        for line in [
            "# TYPE rswarm_nodes gauge",
            "rswarm_state_revision 7",
            r#"rswarm_nodes{role="manager",status="ready",availability="active"} 1"#,
            r#"rswarm_nodes{role="worker",status="ready",availability="active"} 2"#,
            r#"rswarm_nodes{role="worker",status="down",availability="active"} 1"#,
            "rswarm_tasks_waiting 0",
        ] {
            assert!(page.text.lines().any(|found| found == line), "{line} is not in\n{}", page.text);
        }
    }

    #[test]
    fn a_histogram_is_as_prometheus_wants_it() {
        let (mut page, values) = (Page::default(), store::Histogram::default());
        for micros in [100, 1500, 3_000_000] {
            values.note(std::time::Duration::from_micros(micros));
        }
        page.histogram("x_seconds", "y", &values);
        for line in [
            "# TYPE x_seconds histogram",
            r#"x_seconds_bucket{le="0.00025"} 1"#,
            r#"x_seconds_bucket{le="0.002"} 2"#,
            r#"x_seconds_bucket{le="2"} 2"#,
            r#"x_seconds_bucket{le="+Inf"} 3"#,
            "x_seconds_sum 3.0016",
            "x_seconds_count 3",
        ] {
            assert!(page.text.lines().any(|found| found == line), "{line} is not in\n{}", page.text);
        }
    }

    #[test]
    fn labels_can_hold_anything() {
        let mut page = Page::default();
        page.one("x", "y", &[("a", "b\"c\\d\ne")], 1);
        assert_eq!(page.text, "# HELP x y\n# TYPE x gauge\nx{a=\"b\\\"c\\\\d\\ne\"} 1\n");
    }
}
