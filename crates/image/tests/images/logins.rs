//! Logins that come along with a pull.

use crate::fake::Fake;
use crate::lab::{Form, Lab, OCI, image, skipped, tar};
use image::{Error, Pulled, Registries};
use model::{Login, Logins};
use std::sync::Arc;

/// base64 of `joe:secret`
const BASIC: &str = "am9lOnNlY3JldA==";

fn joe(host: &str, password: &str) -> Logins {
    let login = Login::Password { user: "joe".to_owned(), password: password.to_owned() };
    [(host.to_owned(), login)].into_iter().collect()
}

async fn pull(lab: &Lab, name: &str, logins: &Logins) -> Result<Pulled, Arc<Error>> {
    lab.store.pull(name, logins).unwrap().wait().await
}

fn private() -> Fake {
    let fake = Fake::start();
    fake.serve("v", &image(OCI, &[(tar(&[("a", b"1")]), Form::Gzip)]));
    *fake.behaviour.token.lock().unwrap() = Some(("t".to_owned(), Some(format!("Basic {BASIC}"))));
    fake
}

/// A store whose own file has this login for the registry.
fn knowing(fake: &Fake, basic: &str) -> Lab {
    Lab::knowing(&[&fake.host], &format!(r#"{{"auths": {{"{}": {{"auth": "{basic}"}}}}}}"#, fake.host))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_comes_along_is_for_that_pull_only() {
    if skipped() {
        return;
    }
    let (fake, name) = (private(), "v");
    let lab = Lab::new(&[&fake.host]);
    let name = fake.name(name);
    let other = pull(&lab, &name, &joe("elsewhere:5000", "secret")).await.unwrap_err();
    assert!(matches!(*other, Error::Denied { .. }), "{other}");
    pull(&lab, &name, &joe(&fake.host, "secret")).await.unwrap();
    // The registry is asked what the tag means each time; the token of before is joe's.
    for logins in [Logins::default(), joe(&fake.host, "wrong")] {
        let refused = pull(&lab, &name, &logins).await.unwrap_err();
        assert!(matches!(*refused, Error::Denied { .. }), "{logins:?}: {refused}");
    }
    let tokens = fake.count("/token");
    pull(&lab, &name, &joe(&fake.host, "secret")).await.unwrap();
    assert_eq!(fake.count("/token"), tokens, "the token is good for a while");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_comes_along_goes_before_the_file_and_the_file_before_nothing() {
    if skipped() {
        return;
    }
    let fake = private();
    let name = fake.name("v");
    // joe:wrong
    let ignorant = knowing(&fake, "am9lOndyb25n");
    pull(&ignorant, &name, &joe(&fake.host, "secret")).await.unwrap();
    let knowing = knowing(&fake, BASIC);
    pull(&knowing, &name, &joe(&fake.host, "expired")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_does_not_shut_out_of_what_everybody_may_have() {
    if skipped() {
        return;
    }
    let fake = Fake::start();
    fake.serve("v", &image(OCI, &[(tar(&[("a", b"1")]), Form::Gzip)]));
    // Whoever shows no login gets a token as well: the fake compares what is shown with nothing.
    *fake.behaviour.token.lock().unwrap() = Some(("t".to_owned(), None));
    let lab = Lab::new(&[&fake.host]);
    pull(&lab, &fake.name("v"), &joe(&fake.host, "expired")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_asked_whether_it_takes_a_login() {
    if skipped() {
        return;
    }
    let fake = private();
    fake.content.lock().unwrap().insert("/v2/".to_owned(), ("application/json".to_owned(), b"{}".to_vec()));
    let registries = Registries::new(&Lab::new(&[&fake.host]).options);
    let check = async |password: &str| {
        let logins = joe(&fake.host, password);
        registries.check(&fake.host, logins.get(&fake.host).unwrap()).await
    };
    check("secret").await.unwrap();
    let refused = check("wrong").await.unwrap_err();
    assert!(matches!(refused, Error::Denied { .. }) && refused.to_string().contains("incorrect username"), "{refused}");
    // One that lets everybody in takes any.
    *fake.behaviour.token.lock().unwrap() = None;
    check("wrong").await.unwrap();
    fake.content.lock().unwrap().clear();
    assert!(matches!(check("secret").await.unwrap_err(), Error::Registry { status: 404, .. }), "that is no registry");
}
