//! Archives and pulls.

use crate::fake::{Answer, Asked, Fake};
use crate::{command, run, run_with_input, snapshot};
use api::{ApiError, Call, DownloadCall, ErrorKind, Reply, StreamCall, StreamItem, UploadCall};
use model::Login;

#[test]
fn archives_arrive_whole_from_files_and_pipes() {
    let fake = Fake::new(|asked| match asked {
        Asked::Upload(..) => Answer::Items(vec![StreamItem::Message("Loaded image: a:1".to_owned())]),
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Done),
        other => panic!("{other:?}"),
    });
    let archive: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    std::fs::write(fake.root.path().join("a.tar"), &archive).unwrap();
    assert_eq!(run(&fake, &["load", "-i", "a.tar"]), "exit 0\n-- out\nLoaded image: a:1\n-- err\n");
    assert_eq!(fake.asked().pop(), Some(Asked::Upload(UploadCall::Load, archive.clone())));
    run_with_input(&fake, &["image", "import", "-c", "CMD [\"sh\"]", "-", "own:1"], &archive);
    let call =
        UploadCall::Import { reference: "own:1".to_owned(), changes: vec!["CMD [\"sh\"]".to_owned()], message: None };
    assert_eq!(fake.asked().pop(), Some(Asked::Upload(call, archive)));
    let output = run(&fake, &["image", "import", "/no/such", "x:1"]);
    assert_eq!(output, "exit 1\n-- out\n-- err\nerror: open /no/such: No such file or directory (os error 2)\n");
    let output = run(&fake, &["image", "import", "a.tar"]);
    assert!(output.contains("error: the image needs a name\nhint: "), "{output}");
}

#[test]
fn a_saved_archive_is_there_whole_or_not_at_all() {
    let mut fail = false;
    let fake = Fake::new(move |asked| match asked {
        Asked::Download(DownloadCall::Save(names)) if names == &["a:1"] => {
            if std::mem::replace(&mut fail, true) {
                Answer::Refuse(ApiError::new(ErrorKind::Failed, "broken"))
            } else {
                Answer::Archive(b"archive".to_vec())
            }
        }
        other => panic!("{other:?}"),
    });
    let path = fake.root.path().join("out.tar");
    assert_eq!(run(&fake, &["save", "-o", "out.tar", "a:1"]), "exit 0\n-- out\n-- err\n");
    assert_eq!(std::fs::read(&path).unwrap(), b"archive");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(run(&fake, &["save", "-o", "out.tar", "a:1"]), "exit 1\n-- out\n-- err\nerror: broken\n");
    assert!(!path.exists() && !fake.root.path().join("out.tar.part").exists());
}

#[test]
fn removals_say_what_went() {
    let fake = Fake::new(|asked| match asked {
        Asked::Call(Call::RemoveImage { reference, .. }) if reference == "used" => {
            let mut error = ApiError::new(ErrorKind::Conflict, "image used is in use by container box");
            error.hint = Some("remove the container first".to_owned());
            Answer::Refuse(error)
        }
        Asked::Call(Call::RemoveImage { .. }) => {
            Answer::Reply(Reply::Lines(vec!["Untagged: a:1".to_owned(), "Deleted: sha256:1".to_owned()]))
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(
        run(&fake, &["rmi", "a:1", "used"]),
        "exit 1\n-- out\nUntagged: a:1\nDeleted: sha256:1\n-- err\nerror: image used is in use by container box\nhint: remove the container first\n"
    );
}

#[test]
fn pruning_asks_unless_told() {
    let fake = Fake::new(|asked| match asked {
        Asked::Call(Call::PruneImages { all: true }) => {
            Answer::Reply(Reply::Pruned(api::PruneReport { removed: vec!["a:1".to_owned()], reclaimed: 5_000_000 }))
        }
        other => panic!("{other:?}"),
    });
    let output = run(&fake, &["image", "prune", "-a"]);
    assert!(output.starts_with("exit 1\n") && output.contains("nobody can be asked"), "{output}");
    assert_eq!(
        run(&fake, &["image", "prune", "-a", "-f"]),
        "exit 0\n-- out\nDeleted Images:\na:1\n\nTotal reclaimed space: 5MB\n-- err\n"
    );
}

#[test]
fn a_pull_takes_along_the_login_for_its_registry_and_no_other() {
    let fake = Fake::new(|asked| match asked {
        Asked::Stream(StreamCall::Pull { .. }) => Answer::Items(Vec::new()),
        Asked::Call(Call::Ping) => Answer::Reply(Reply::Done),
        other => panic!("{other:?}"),
    });
    let file = |text: &str| {
        std::fs::create_dir_all(fake.root.path().join("home/.docker")).unwrap();
        std::fs::write(fake.root.path().join("home/.docker/config.json"), text).unwrap();
    };
    let pull = |image: &str| {
        let home = fake.root.path().join("home");
        let said = snapshot(command(&fake, &["pull", "-q", image]).env("HOME", home).spawn().unwrap());
        let Some(Asked::Stream(StreamCall::Pull { logins, .. })) = fake.asked().pop() else { panic!("no pull") };
        (said, logins)
    };
    // joe:secret
    file(
        r#"{"auths": {"a:5000": {"auth": "am9lOnNlY3JldA=="}, "https://index.docker.io/v1/": {"identitytoken": "t"}}}"#,
    );
    let (_, logins) = pull("a:5000/web");
    let joe = Login::Password { user: "joe".to_owned(), password: "secret".to_owned() };
    assert_eq!((logins.hosts().collect::<Vec<_>>(), logins.get("a:5000")), (vec!["a:5000"], Some(&joe)));
    let (_, logins) = pull("busybox");
    assert_eq!(
        (logins.hosts().collect::<Vec<_>>(), logins.get("docker.io")),
        (vec!["docker.io"], Some(&Login::Refresh("t".to_owned())))
    );
    assert!(pull("b:5000/web").1.is_empty());
    // Most images are for everybody: the pull goes on.
    file(r#"{"auths": "secret"}"#);
    let (said, logins) = pull("a:5000/web");
    assert!(logins.is_empty() && said.starts_with("exit 0"), "{said}");
    assert!(said.contains("warning: look for a login for a:5000: ") && !said.contains("secret"), "{said}");
}
