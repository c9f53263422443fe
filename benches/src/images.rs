//! Pulling and unpacking an image of about 300 MB from a registry on the same machine.

use std::process::Command;

use e2e::{Registry, make_layout, rootfs_tar};

use crate::table::{Bar, Table};
use crate::{Lab, REGISTRY};

const ROUNDS: usize = 5;

pub(crate) fn pull(lab: &Lab, table: &mut Table) {
    let layout = big_layout(lab);
    for registry in &lab.registries {
        push(registry, &layout);
    }
    let image = format!("127.0.0.1:{REGISTRY}/big:1");
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(lab.ours.rswarm(["pull", "-q", &image]).ok().took);
        lab.ours.rswarm(["rmi", &image]).ok();
        if let Some(docker) = &lab.docker {
            peer.push(docker.call(&["pull", "-q", &image]).ok().took);
            docker.call(&["rmi", &image]).ok();
        }
    }
    table.times("pull and unpack of 300 MB", &ours, &peer, Bar::Times(2.0));
}

fn push(registry: &Registry, layout: &str) {
    registry.push_layout(layout, "big:1");
}

/// Six layers of 50 MB: half of each is noise, half is text, as programs are.
fn big_layout(lab: &Lab) -> String {
    let host = &lab.ours;
    let layout = make_layout(host, "big", |rootfs| {
        e2e::run(Command::new("tar").arg("-xf").arg(rootfs_tar()).arg("-C").arg(rootfs)).ok();
    });
    let image = format!("{layout}:latest");
    let bundle = host.work().join("big-bundle");
    for layer in 0..6 {
        e2e::run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle)).ok();
        let folder = bundle.join(format!("rootfs/layer{layer}"));
        std::fs::create_dir(&folder).unwrap();
        for file in 0..100 {
            let half = 256 * 1024;
            let script =
                format!("head -c {half} /dev/urandom; seq {layer}{file}00000 {layer}{file}99999 | head -c {half}");
            let target = std::fs::File::create(folder.join(file.to_string())).unwrap();
            assert!(Command::new("sh").args(["-c", &script]).stdout(target).status().unwrap().success());
        }
        e2e::run(Command::new("umoci").args(["repack", "--image", &image]).arg(&bundle)).ok();
        std::fs::remove_dir_all(&bundle).unwrap();
    }
    layout
}
