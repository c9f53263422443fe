//! A stack of N replicas: from the command until all of them run.

use std::time::{Duration, Instant};

use e2e::{BUSYBOX, Host, eventually};

use crate::Lab;
use crate::docker::Docker;
use crate::table::{Bar, Table};

pub(crate) fn measure(lab: &Lab, table: &mut Table) {
    for (replicas, rounds) in [(1, 9), (10, 5), (100, 3)] {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(up(&lab.ours, replicas));
            peer.extend(lab.docker.as_ref().map(|docker| deploy(docker, replicas)));
        }
        table.times(&format!("stack of {replicas}, up to all running"), &ours, &peer, Bar::Times(8.0));
    }
}

fn file(host: &Host, replicas: u32) -> String {
    let text = format!(
        "version: '3.8'\nservices:\n  web:\n    image: {BUSYBOX}\n    command: sleep 100000\n    stop_grace_period: 0s\n    deploy: {{replicas: {replicas}}}\n"
    );
    host.write("stack.yaml", &text)
}

/// `up` returns when all run.
fn up(host: &Host, replicas: u32) -> Duration {
    let file = file(host, replicas);
    let took = host.rswarm(["up", "-p", "s", "-f", &file]).ok().took;
    host.rswarm(["down", "-p", "s"]).ok();
    took
}

/// `stack deploy` returns at once, so the clock runs until the service has all its replicas.
fn deploy(docker: &Docker, replicas: u32) -> Duration {
    let file = file(&docker.host, replicas);
    let start = Instant::now();
    docker.call(&["stack", "deploy", "--resolve-image", "never", "-c", &file, "s"]).ok();
    let wanted = format!("{replicas}/{replicas}");
    eventually("all replicas run", Duration::from_secs(120), || {
        docker.call(&["service", "ls", "--format", "{{.Replicas}}"]).text() == wanted
    });
    let took = start.elapsed();
    // Docker may refuse the network while tasks are on their way out of it, and forgets it then: asked until all is gone
    let gone = || {
        docker.call(&["stack", "rm", "s"]);
        docker.call(&["ps", "-aq"]).text().is_empty()
            && docker.call(&["network", "ls", "-qf", "name=s_"]).text().is_empty()
    };
    eventually("all is removed", Duration::from_secs(120), gone);
    took
}
