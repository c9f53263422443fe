//! Pulls from a registry that we control.

use crate::fake::Fake;
use crate::lab::{Form, Lab, OCI, SCHEMA2, architecture, digest, image, noise, skipped, tar};
use image::Error;
use model::Logins;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

async fn pull(lab: &Lab, name: &str) -> Result<image::Pulled, Arc<Error>> {
    lab.store.pull(name, Logins::NONE).unwrap().wait().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_layer_arrives() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    let layers = [
        (tar(&[("etc/plain", b"1"), ("etc/same", b"below")]), Form::Plain),
        (tar(&[("etc/gzip", b"2"), ("etc/same", b"above")]), Form::Gzip),
        (tar(&[("etc/zstd", b"3")]), Form::Zstd),
    ];
    for (tag, kind) in [("oci", OCI), ("docker", SCHEMA2)] {
        let made = image(kind, &layers);
        let manifest = fake.serve(tag, &made);
        let lab = Lab::new(&[&fake.host]);
        let pulled = pull(&lab, &fake.name(tag)).await.unwrap();
        assert!(pulled.is_new);
        assert_eq!(pulled.digest.as_str(), manifest);
        assert_eq!(pulled.id.as_str(), digest(&made.config));
        let name = fake.name(tag);
        for (path, text) in [("etc/plain", "1"), ("etc/gzip", "2"), ("etc/zstd", "3"), ("etc/same", "above")] {
            assert_eq!(lab.text(&name, path), text);
        }
        let found = lab.store.lookup(&name).unwrap();
        assert_eq!(found.config.config.cmd, ["/bin/sh"]);
        assert!(found.config.config.volumes.contains("/data"));
        assert_eq!(lab.store.pin(&name).unwrap().0.as_str(), manifest);
        assert_eq!(lab.store.pinned(&name, Some(&manifest)).unwrap().id, pulled.id);
        assert_eq!(lab.store.pinned(&name, Some(pulled.id.as_str())).unwrap().id, pulled.id);
        lab.assert_clean();
        // Again: nothing moves.
        let before = fake.sent.load(Ordering::SeqCst);
        assert!(!pull(&lab, &name).await.unwrap().is_new);
        assert_eq!(fake.sent.load(Ordering::SeqCst), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_has_one_image_for_this_machine() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    let ours = image(OCI, &[(tar(&[("ours", b"x")]), Form::Gzip)]);
    let other = image(OCI, &[(tar(&[("other", b"x")]), Form::Gzip)]);
    let (ours_digest, other_digest) = (fake.serve("ours", &ours), fake.serve("other", &other));
    let entry = |digest: &str, size: usize, os: &str, architecture: &str| {
        json!({"mediaType": OCI, "digest": digest, "size": size,
               "platform": {"os": os, "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        entry(&other_digest, other.manifest.len(), "linux", "s390x"),
        entry(&other_digest, other.manifest.len(), "windows", architecture()),
        entry(&other_digest, other.manifest.len(), "unknown", "unknown"),
        entry(&ours_digest, ours.manifest.len(), "linux", architecture()),
    ]});
    let index_digest = fake.put_manifest("multi", "", serde_json::to_vec(&index).unwrap());
    let lab = Lab::new(&[&fake.host]);
    let pulled = pull(&lab, &fake.name("multi")).await.unwrap();
    assert_eq!(pulled.digest.as_str(), index_digest);
    assert_eq!(lab.text(&fake.name("multi"), "ours"), "x");
    // What was pinned is found by the digest of the index and of the manifest.
    for digest in [&index_digest, &ours_digest] {
        assert_eq!(lab.store.pinned("whatever", Some(digest)).unwrap().id, pulled.id);
    }
    // By digest there is no name, and the image is the same.
    let by_digest = format!("{}/app@{index_digest}", fake.host);
    assert!(!pull(&lab, &by_digest).await.unwrap().is_new);
    assert_eq!(lab.store.lookup(&by_digest).unwrap().id, pulled.id);

    let foreign = json!({"schemaVersion": 2, "manifests": [entry(&other_digest, 1, "linux", "s390x")]});
    fake.put_manifest("foreign", "", serde_json::to_vec(&foreign).unwrap());
    let error = pull(&lab, &fake.name("foreign")).await.unwrap_err().to_string();
    assert!(error.contains("linux/s390x"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_leaves_its_image_without_a_name() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    let base = (tar(&[("base", b"b")]), Form::Gzip);
    let lab = Lab::new(&[&fake.host]);
    fake.serve("v", &image(OCI, &[base.clone(), (tar(&[("a", b"1")]), Form::Gzip)]));
    let first = pull(&lab, &fake.name("v")).await.unwrap();
    fake.serve("v", &image(OCI, &[base, (tar(&[("a", b"2")]), Form::Gzip)]));
    let second = pull(&lab, &fake.name("v")).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(lab.text(&fake.name("v"), "a"), "2");
    let tags: Vec<Option<String>> = lab.store.list().into_iter().map(|row| row.tag).collect();
    assert_eq!(tags.len(), 2);
    assert!(tags.contains(&None) && tags.contains(&Some("v".to_owned())), "{tags:?}");
    // They share their lowest layer.
    let layers = |id: &model::image::Digest| lab.store.lookup(id.as_str()).unwrap().layers;
    assert_eq!(layers(&first.id)[0], layers(&second.id)[0]);
    assert_eq!(lab.names("layers").len(), 3);
    let removed = lab.store.prune(false, &image::Uses::new()).unwrap();
    assert_eq!(removed.deleted, std::slice::from_ref(&first.id));
    assert_eq!(lab.names("layers").len(), 2);
    assert_eq!(lab.text(&fake.name("v"), "base"), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_are_resumed() {
    if skipped() {
        return;
    }
    for no_ranges in [false, true] {
        let fake = Fake::start();
        let content = noise(4 << 20, 7);
        let made = image(OCI, &[(tar(&[("big", &content)]), Form::Gzip)]);
        fake.serve("v", &made);
        fake.behaviour.cut_after.store(1_500_000, Ordering::SeqCst);
        fake.behaviour.no_ranges.store(no_ranges, Ordering::SeqCst);
        let lab = Lab::new(&[&fake.host]);
        let result = tokio::time::timeout(Duration::from_secs(30), pull(&lab, &fake.name("v"))).await.unwrap();
        let size = made.blobs[0].len() as u64;
        if no_ranges {
            // Each connection gets as far as the one before: it is given up.
            let error = result.unwrap_err();
            assert!(matches!(*error, Error::Network { .. }), "{error}");
            assert_eq!(lab.names("staging"), Vec::<String>::new());
        } else {
            result.unwrap();
            assert_eq!(std::fs::read(lab.file(&fake.name("v"), "big").unwrap()).unwrap(), content);
            let sent = fake.sent.load(Ordering::SeqCst);
            assert!(sent < size + (1 << 20), "{sent} bytes were sent of {size}");
            lab.assert_clean();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pull_goes_on_after_a_restart() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    let content = noise(6 << 20, 9);
    let made = image(OCI, &[(tar(&[("big", &content)]), Form::Gzip), (tar(&[("small", b"s")]), Form::Gzip)]);
    fake.serve("v", &made);
    fake.behaviour.stall_after.store(4 << 20, Ordering::SeqCst);
    let mut lab = Lab::new(&[&fake.host]);
    let first = lab.store.pull(&fake.name("v"), Logins::NONE).unwrap();
    let mut progress = first.progress();
    let reached = progress.wait_for(|layers| layers.iter().any(|layer| layer.current > 3 << 20));
    tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap().unwrap();
    drop(first);
    // The unpacker ends by itself once nobody wants the image.
    for _ in 0..200 {
        if lab.names("staging").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(lab.names("staging"), Vec::<String>::new());
    assert!(lab.store.lookup(&fake.name("v")).is_err());
    assert_eq!(lab.names("partial").len(), 1);

    lab.reopen();
    fake.behaviour.stall_after.store(0, Ordering::SeqCst);
    let before = fake.sent.load(Ordering::SeqCst);
    pull(&lab, &fake.name("v")).await.unwrap();
    let sent = fake.sent.load(Ordering::SeqCst) - before;
    assert!(sent < 4 << 20, "{sent} bytes were sent again");
    assert_eq!(std::fs::read(lab.file(&fake.name("v"), "big").unwrap()).unwrap(), content);
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_part_that_is_damaged_is_fetched_anew() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    let made = image(OCI, &[(tar(&[("big", &noise(3 << 20, 3))]), Form::Plain)]);
    fake.serve("v", &made);
    let lab = Lab::new(&[&fake.host]);
    let blob = digest(&made.blobs[0]);
    let partial = lab.partial(&blob);
    std::fs::write(&partial, vec![0; 2 << 20]).unwrap();
    pull(&lab, &fake.name("v")).await.unwrap();
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_of_a_layer_that_is_here_goes_with_the_next_pull() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    let made = image(OCI, &[(tar(&[("big", &noise(2 << 20, 4))]), Form::Plain)]);
    fake.serve("v", &made);
    let mut lab = Lab::new(&[&fake.host]);
    pull(&lab, &fake.name("v")).await.unwrap();
    // The layer has its name, and the part that was kept of its archive was not removed any more.
    let blob = digest(&made.blobs[0]);
    std::fs::write(lab.partial(&blob), &made.blobs[0]).unwrap();
    lab.reopen();
    pull(&lab, &fake.name("v")).await.unwrap();
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_is_asked_again() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    fake.serve("v", &image(OCI, &[(tar(&[("a", b"1")]), Form::Gzip)]));
    let lab = Lab::new(&[&fake.host]);
    fake.behaviour.unavailable.store(2, Ordering::SeqCst);
    pull(&lab, &fake.name("v")).await.unwrap();
    fake.behaviour.unavailable.store(1000, Ordering::SeqCst);
    let error = pull(&lab, &fake.name("w")).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("503"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_the_same_shares_one_download() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    let made = image(OCI, &[(tar(&[("big", &noise(2 << 20, 5))]), Form::Gzip)]);
    fake.serve("v", &made);
    fake.serve(
        "other",
        &image(OCI, &[(tar(&[("big", &noise(2 << 20, 5))]), Form::Gzip), (tar(&[("x", b"")]), Form::Gzip)]),
    );
    fake.behaviour.slow.store(true, Ordering::SeqCst);
    let lab = Lab::new(&[&fake.host]);
    let mut pulls: Vec<_> = (0..8).map(|_| lab.store.pull(&fake.name("v"), Logins::NONE).unwrap()).collect();
    pulls.push(lab.store.pull(&fake.name("other"), Logins::NONE).unwrap());
    for pull in &pulls {
        pull.wait().await.unwrap();
    }
    assert_eq!(fake.count(&digest(&made.blobs[0])), 1);
    assert_eq!(fake.count("manifests/v"), 1);
    lab.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_with_and_without_a_login() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    fake.serve("v", &image(OCI, &[(tar(&[("a", b"1")]), Form::Gzip)]));
    *fake.behaviour.token.lock().unwrap() = Some(("t0k3n".to_owned(), None));
    let lab = Lab::new(&[&fake.host]);
    pull(&lab, &fake.name("v")).await.unwrap();
    assert_eq!(fake.count("/token"), 1);

    // `user:pass word`
    let basic = "dXNlcjpwYXNzIHdvcmQ=";
    *fake.behaviour.token.lock().unwrap() = Some(("t1".to_owned(), Some(format!("Basic {basic}"))));
    let lab = Lab::new(&[&fake.host]);
    let error = pull(&lab, &fake.name("v")).await.unwrap_err();
    assert!(matches!(*error, Error::Denied { .. }) && error.to_string().contains("incorrect username"), "{error}");

    let text = format!(r#"{{"auths": {{"http://{}/v1/": {{"auth": "{basic}"}}}}}}"#, fake.host);
    let lab = Lab::knowing(&[&fake.host], &text);
    pull(&lab, &fake.name("v")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_without_tls_have_to_be_named() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    fake.serve("v", &image(OCI, &[(tar(&[("a", b"1")]), Form::Gzip)]));
    let lab = Lab::new(&[]);
    let error = pull(&lab, &fake.name("v")).await.unwrap_err();
    assert!(matches!(*error, Error::Network { .. }), "{error}");
    let lab = Lab::new(&[&fake.host]);
    let missing = pull(&lab, &fake.name("nowhere")).await.unwrap_err();
    assert!(matches!(*missing, Error::NotOnRegistry { .. }), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_claims_is_checked() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    let lab = Lab::new(&[&fake.host]);
    let made = image(OCI, &[(tar(&[("a", &noise(2 << 20, 1))]), Form::Gzip)]);
    let layer = digest(&made.blobs[0]);
    let refused = async |tag: &str, why: &str| {
        let error = pull(&lab, &fake.name(tag)).await.expect_err(tag);
        let text = error.to_string();
        assert!(text.contains(why), "{tag}: {text} (expected: {why})");
        assert!(!error.is_transient(), "{tag}: {text}");
        lab.assert_clean();
        assert!(lab.store.list().is_empty() && lab.names("layers").is_empty(), "{tag}");
    };
    let edit = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = serde_json::from_slice(&made.manifest).unwrap();
        change(&mut manifest);
        serde_json::to_vec(&manifest).unwrap()
    };
    let tags: [(&str, Vec<u8>, &str); 13] = [
        ("nonsense", b"<html>".to_vec(), "no manifest"),
        ("old", br#"{"schemaVersion": 1, "fsLayers": []}"#.to_vec(), "old or unknown schema"),
        ("long", vec![b' '; 5 << 20], "longer than"),
        ("both", edit(&|it| it["manifests"] = json!([])), "both at once"),
        ("type", edit(&|it| it["mediaType"] = json!("application/vnd.oci.image.index.v1+json")), "media type"),
        (
            "artifact",
            edit(&|it| it["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json")),
            "artifact",
        ),
        ("foreign", edit(&|it| it["layers"][0]["mediaType"] = json!("x.foreign.diff.tar.gzip")), "can't be unpacked"),
        ("sha512", edit(&|it| it["layers"][0]["digest"] = json!("sha512:00")), "malformed manifest"),
        ("big config", edit(&|it| it["config"]["size"] = json!(5 << 20)), "more than"),
        ("more layers", edit(&|it| it["layers"] = json!([it["layers"][0], it["layers"][0]])), "2 layers"),
        ("short", edit(&|it| it["layers"][0]["size"] = json!(1 << 20)), ""),
        ("other config", edit(&|it| it["config"]["digest"] = json!(digest(b"{}"))), "digest"),
        ("many", edit(&|it| it["layers"] = vec![it["layers"][0].clone(); 200].into()), "200 layers"),
    ];
    fake.serve("good", &made);
    fake.put(&format!("/v2/app/blobs/{}", digest(b"{}")), "", b"{} ".to_vec());
    for (tag, manifest, why) in tags {
        let tag = tag.replace(' ', "-");
        fake.put_manifest(&tag, OCI, manifest);
        refused(&tag, why).await;
    }
    // A layer that is not what its digest says, and one that is not what the config says.
    fake.put(&format!("/v2/app/blobs/{layer}"), "", crate::lab::gzip(&tar(&[("a", &noise(2 << 20, 2))])));
    refused("good", "").await;
    let other = image(OCI, &[(tar(&[("b", b"x")]), Form::Gzip)]);
    fake.serve("other", &other);
    let mixed = edit(&|it| {
        it["layers"] = serde_json::from_slice::<serde_json::Value>(&other.manifest).unwrap()["layers"].clone();
    });
    fake.put_manifest("mixed", OCI, mixed);
    refused("mixed", "the config says").await;
    // By digest it must be just that.
    let wanted = digest(&made.manifest);
    fake.put(&format!("/v2/app/manifests/{wanted}"), OCI, other.manifest.clone());
    let error = pull(&lab, &format!("{}/app@{wanted}", fake.host)).await.unwrap_err().to_string();
    assert!(error.contains("something with the digest"), "{error}");
}

/// Says to a copy of this program where its helpers are.
const HELPERS: &str = "IMAGE_TEST_HELPERS";

#[tokio::test(flavor = "multi_thread")]
async fn credential_helpers_are_asked() {
    use std::os::unix::fs::PermissionsExt as _;
    if skipped() {
        return;
    }
    let fake = Fake::start();
    fake.serve("v", &image(OCI, &[(tar(&[("a", b"1")]), Form::Gzip)]));
    *fake.behaviour.token.lock().unwrap() = Some(("t".to_owned(), Some("Basic am9lOnNlY3JldA==".to_owned())));
    // Helpers are found on PATH, which is a process's own: the rest happens in a copy of this one.
    let Ok(bin) = std::env::var(HELPERS) else {
        let bin = tempfile::tempdir().unwrap();
        let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["pull::credential_helpers_are_asked", "--exact", "--nocapture"])
            .env(HELPERS, bin.path())
            .env("PATH", path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    };
    let helper = std::path::Path::new(&bin).join("docker-credential-imagetest");
    let script = format!(
        "#!/bin/sh\nread host\n[ \"$1 $host\" = \"get {}\" ] || {{ echo credentials not found in native keychain; exit 1; }}\n\
         echo '{{\"ServerURL\": \"x\", \"Username\": \"joe\", \"Secret\": \"secret\"}}'\n",
        fake.host
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let with = |text: String| Lab::knowing(&[&fake.host], &text);
    let good = with(format!(r#"{{"credHelpers": {{"{}": "imagetest"}}}}"#, fake.host));
    pull(&good, &fake.name("v")).await.unwrap();
    let store = with(r#"{"credsStore": "imagetest"}"#.to_owned());
    pull(&store, &fake.name("v")).await.unwrap();
    let missing = with(r#"{"credsStore": "is-not-installed"}"#.to_owned());
    let error = pull(&missing, &fake.name("v")).await.unwrap_err();
    assert!(matches!(*error, Error::CredentialHelper { .. }), "{error}");
}
