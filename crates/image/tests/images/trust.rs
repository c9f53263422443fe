//! TLS: whom a pull trusts, and what it says when it does not. Against Debian's `docker-registry`
//! with a certificate of an authority that `openssl` makes.

use crate::lab::{Lab, has, run};
use crate::real::{Server, is_ready, layout};
use image::{Error, TlsProblem};
use model::Logins;
use std::path::Path;
use std::sync::Arc;

/// Makes an authority (`ca.crt`) and a key and certificate of 127.0.0.1 (`server.*`).
fn certificates(folder: &Path) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let (ca_key, ca) = (path("ca.key"), path("ca.crt"));
    let authority = ["req", "-x509", "-subj", "/CN=test authority", "-days", "2", "-keyout", &ca_key, "-out", &ca];
    run("openssl", &[&authority[..], &new_key].concat());
    let (key, request, certificate) = (path("server.key"), path("server.csr"), path("server.crt"));
    let server = ["req", "-subj", "/CN=registry", "-keyout", &key, "-out", &request];
    run("openssl", &[&server[..], &new_key].concat());
    let names = path("names");
    std::fs::write(&names, "subjectAltName=IP:127.0.0.1\n").unwrap();
    let signed = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-days", "2"];
    run("openssl", &[&signed[..], &["-extfile", &names, "-out", &certificate]].concat());
}

async fn problem(lab: &Lab, name: &str) -> TlsProblem {
    let error: Arc<Error> = lab.store.pull(name, Logins::NONE).unwrap().wait().await.unwrap_err();
    match &*error {
        Error::Tls { problem, .. } => *problem,
        other => panic!("expected a problem of TLS, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_trusted_when_its_certificate_is_in_the_folder() {
    if !is_ready() || !has("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let path = |name: &str| folder.path().join(name);
    let tls =
        format!(", tls: {{certificate: {}, key: {}}}", path("server.crt").display(), path("server.key").display());
    let server = Server::start_with(folder.path(), &tls, "");
    let image = layout(folder.path());
    let name = format!("{}/app:v", server.host);
    let copy = ["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"];
    run("skopeo", &[&copy[..], &[&format!("oci:{image}"), &format!("docker://{name}")]].concat());

    let lab = Lab::new(&[]);
    assert_eq!(problem(&lab, &name).await, TlsProblem::UnknownAuthority);
    lab.assert_clean();
    // The same store, the certificate put there meanwhile.
    let trusted = lab.options.certificates.join(&server.host);
    std::fs::create_dir_all(&trusted).unwrap();
    std::fs::write(trusted.join("ca.crt"), "no certificate").unwrap();
    let error = lab.store.pull(&name, Logins::NONE).unwrap().wait().await.unwrap_err();
    assert!(error.to_string().contains("ca.crt: no certificate in PEM form"), "{error}");
    std::fs::copy(path("ca.crt"), trusted.join("ca.crt")).unwrap();
    lab.store.pull(&name, Logins::NONE).unwrap().wait().await.unwrap();
    assert_eq!(lab.text(&name, "srv/hello"), "hello");
    // Another registry's folder is no help.
    let other = Lab::new(&[]);
    let elsewhere = other.options.certificates.join("127.0.0.1:1");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::copy(path("ca.crt"), elsewhere.join("ca.crt")).unwrap();
    assert_eq!(problem(&other, &name).await, TlsProblem::UnknownAuthority);
    // Who says so is not asked for any certificate.
    let lax = Lab::new(&[&server.host]);
    lax.store.pull(&name, Logins::NONE).unwrap().wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_tls_is_told_from_one_that_is_not_there() {
    if !is_ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), "", "");
    let lab = Lab::new(&[]);
    assert_eq!(problem(&lab, &format!("{}/app:v", server.host)).await, TlsProblem::NoTls);
    let error = lab.store.pull("127.0.0.1:1/app", Logins::NONE).unwrap().wait().await.unwrap_err();
    assert!(matches!(*error, Error::Network { .. }), "{error:?}");
}
