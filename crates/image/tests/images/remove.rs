//! `image rm` and `image prune`.

use crate::lab::{Lab, skipped, tar};
use image::{Error, Use, Uses};
use model::image::Digest;

fn made(lab: &Lab, name: &str, content: &str) -> Digest {
    lab.import(&tar(&[("file", content.as_bytes())]), name).unwrap()
}

fn used(id: &Digest, running: bool) -> Uses {
    Uses::from([(id.clone(), vec![Use { container: "web".to_owned(), running }])])
}

fn conflict(result: image::Result<image::Removed>, why: &str) {
    match result {
        Err(Error::Conflict(text)) if text.contains(why) => {}
        other => panic!("expected a conflict with {why:?}, not {other:?}"),
    }
}

#[test]
fn a_name_goes_before_its_image() {
    if skipped() {
        return;
    }
    let mut lab = Lab::new(&[]);
    let id = made(&lab, "one:1", "1");
    lab.store.tag("one:1", "two").unwrap();
    let none = Uses::new();
    let removed = lab.store.remove("one:1", false, &none).unwrap();
    assert_eq!(removed.lines(), ["Untagged: one:1"]);
    conflict(lab.store.remove("two", false, &used(&id, false)), "web");
    lab.store.tag("two", "three").unwrap();
    conflict(lab.store.remove(id.short(), false, &none), "names mean this image");
    let removed = lab.store.remove(id.short(), true, &none).unwrap();
    assert_eq!(removed.lines(), ["Untagged: three:latest", "Untagged: two:latest", &format!("Deleted: {id}")]);
    assert!(removed.reclaimed > 0);
    assert_eq!((lab.names("layers").len(), lab.names("blobs").len()), (0, 0));
    assert!(matches!(lab.store.remove("two", false, &none), Err(Error::NotFound(_))));
    lab.reopen();
    assert!(lab.store.list().is_empty());
}

#[test]
fn what_containers_use_stays() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let id = made(&lab, "app:1", "1");
    conflict(lab.store.remove(id.as_str(), true, &used(&id, true)), "cannot be forced");
    conflict(lab.store.remove(id.as_str(), false, &used(&id, false)), "must be forced");
    // By name and by force: the name goes, the image stays as long as it is used.
    let removed = lab.store.remove("app:1", true, &used(&id, true)).unwrap();
    assert_eq!(removed.lines(), ["Untagged: app:1"]);
    assert!(lab.store.pinned("app:1", Some(id.as_str())).is_ok());
    assert!(lab.store.prune(true, &used(&id, false)).unwrap().deleted.is_empty());
    assert_eq!(lab.store.prune(false, &Uses::new()).unwrap().deleted, [id]);
}

#[test]
fn what_is_leased_stays() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let id = made(&lab, "app:1", "1");
    let none = Uses::new();
    let (digest, lease) = lab.store.pin("app:1").unwrap();
    assert_eq!(digest, id);
    let (_, second) = lab.store.pin("app:1").unwrap();
    drop(second);
    assert_eq!(lab.store.prune(true, &none).unwrap(), image::Removed::default());
    conflict(lab.store.remove("app:1", false, &none), "about to use it");
    conflict(lab.store.remove(id.short(), false, &none), "about to use it");
    // By force: the name goes, the image stays for who is about to use it.
    assert_eq!(lab.store.remove("app:1", true, &none).unwrap().lines(), ["Untagged: app:1"]);
    assert!(lab.store.pinned("app:1", Some(id.as_str())).is_ok());
    drop(lease);
    assert_eq!(lab.store.prune(false, &none).unwrap().deleted, [id]);
    assert_eq!((lab.names("layers").len(), lab.names("blobs").len()), (0, 0));
}

#[test]
fn layers_are_shared() {
    if skipped() {
        return;
    }
    let mut lab = Lab::new(&[]);
    let first = made(&lab, "a:1", "same");
    // Another image of the same layer: imports differ in their time.
    let second = made(&lab, "b:1", "same");
    assert_ne!(first, second);
    lab.store.remove("a:1", false, &Uses::new()).unwrap();
    assert_eq!(lab.names("layers").len(), 1);
    assert_eq!(lab.text("b:1", "file"), "same");
    lab.reopen();
    assert_eq!(lab.text("b:1", "file"), "same");
    assert_eq!(lab.store.list().len(), 1);
    lab.store.prune(true, &Uses::new()).unwrap();
    assert_eq!(lab.names("layers").len(), 0);
}

#[test]
fn ids_have_prefixes() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let ids: Vec<Digest> = (0..20).map(|number| made(&lab, &format!("n:{number}"), &number.to_string())).collect();
    for id in &ids {
        for text in [id.as_str(), id.hex(), id.short()] {
            assert_eq!(lab.store.lookup(text).unwrap().id, *id);
        }
    }
    // Of twenty ids some two begin alike.
    let ambiguous = (0..16u8).any(|digit| matches!(lab.store.lookup(&format!("{digit:x}")), Err(Error::Ambiguous(_))));
    assert!(ambiguous);
    assert!(matches!(lab.store.lookup("nothing"), Err(Error::NotFound(_))));
    assert!(matches!(lab.store.lookup("Not A Name"), Err(Error::Reference(_))));
}
