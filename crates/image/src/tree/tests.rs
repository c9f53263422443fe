//! There and back, every rule of `cp` about where things go, and what tries to leave.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::*;
use crate::error::Result;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

fn root(path: &Path) -> OwnedFd {
    std::fs::File::open(path).unwrap().into()
}

fn packed(from: &Path, path: &str, follow: bool) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    pack(root(from), path.as_bytes(), follow, &mut archive).map(|()| archive)
}

fn put(archive: &[u8], root_folder: &Path, to: &str, how: How) -> Result<()> {
    let mut input = archive;
    unpack(root(root_folder), to.as_bytes(), how, Owners::Mine, &mut input)
}

/// Paths of all files below, links as `name -> target`.
fn tree(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, top: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            match path.read_link() {
                Ok(target) => found.push(format!("{name} -> {}", target.display())),
                Err(_) if path.is_dir() => {
                    found.push(format!("{name}/"));
                    walk(&path, top, found);
                }
                Err(_) => found.push(name),
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let from = tempfile::tempdir().unwrap();
    let long = "l".repeat(200);
    std::fs::create_dir_all(from.path().join("top/in").join(&long)).unwrap();
    std::fs::write(from.path().join("top/in").join(&long).join("deep"), "deep").unwrap();
    std::fs::write(from.path().join("top/big"), vec![7; 700_000]).unwrap();
    std::fs::write(from.path().join("top/empty"), "").unwrap();
    std::fs::hard_link(from.path().join("top/big"), from.path().join("top/other")).unwrap();
    symlink(&long, from.path().join("top/link")).unwrap();
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(from.path().join("top/big"), mode(0o4711)).unwrap();
    std::fs::set_permissions(from.path().join("top/in"), mode(0o750)).unwrap();
    let archive = packed(from.path(), "/top", false).unwrap();
    // An independent reader understands it.
    let names = tar::Archive::new(archive.as_slice()).entries().unwrap().count();
    assert_eq!(names, 8);
    let to = tempfile::tempdir().unwrap();
    put(&archive, to.path(), "/", How::Thing).unwrap();
    assert_eq!(tree(to.path()), tree(from.path()));
    let facts = |root: &Path, path: &str| std::fs::metadata(root.join(path)).unwrap();
    assert_eq!(std::fs::read(to.path().join("top/big")).unwrap(), vec![7; 700_000]);
    assert_eq!(facts(to.path(), "top/big").ino(), facts(to.path(), "top/other").ino());
    assert_eq!(facts(to.path(), "top/big").mode() & 0o7777, 0o711, "set-user-id is not for a new owner");
    assert_eq!(facts(to.path(), "top/in").mode() & 0o7777, 0o750);
    for path in ["top", "top/in", "top/big"] {
        let time = |facts: std::fs::Metadata| (facts.mtime(), facts.mtime_nsec());
        assert_eq!(time(facts(to.path(), path)), time(facts(from.path(), path)), "{path}");
    }
    // Twice is as good as once.
    put(&archive, to.path(), "/", How::Thing).unwrap();
    assert_eq!(tree(to.path()), tree(from.path()));
}

#[test]
fn things_land_where_cp_puts_them() {
    let from = tempfile::tempdir().unwrap();
    std::fs::create_dir(from.path().join("d")).unwrap();
    std::fs::write(from.path().join("d/x"), "x").unwrap();
    std::fs::write(from.path().join("f"), "new").unwrap();
    let file = packed(from.path(), "f", false).unwrap();
    let folder = packed(from.path(), "d/", false).unwrap();
    type Landed = std::result::Result<&'static [&'static str], &'static str>;
    let cases: [(&[u8], &str, How, Landed); 13] = [
        (&file, "socket", How::Thing, Err("socket is neither a file nor a folder")),
        (&file, "/new", How::Thing, Ok(&["new"])),
        (&file, "there", How::Thing, Ok(&["there/f"])),
        (&file, "there/old", How::Thing, Ok(&[])),
        (&file, "to-old", How::Thing, Ok(&[])),
        (&file, "dangling", How::Thing, Ok(&["there/made"])),
        (&file, "new/", How::Thing, Err("there is no folder new/")),
        (&file, "no/such", How::Thing, Err("there is no folder no/")),
        (&folder, "new", How::Thing, Ok(&["new/", "new/x"])),
        (&folder, "there", How::Thing, Ok(&["there/d/", "there/d/x"])),
        (&folder, "there", How::Contents, Ok(&["there/x"])),
        (&folder, "/up/there/new/", How::Thing, Ok(&["there/new/", "there/new/x"])),
        (&folder, "there/old", How::Thing, Err("there/old is a file: a folder cannot take its place")),
    ];
    for (archive, to, how, expected) in cases {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("there")).unwrap();
        std::fs::write(place.path().join("there/old"), "old").unwrap();
        symlink("/there/old", place.path().join("to-old")).unwrap();
        symlink("there/made", place.path().join("dangling")).unwrap();
        symlink("../../..", place.path().join("up")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(place.path().join("socket")).unwrap();
        let before = tree(place.path());
        let result = put(archive, place.path(), to, how);
        let after = tree(place.path());
        let added: Vec<&str> = after.iter().filter(|path| !before.contains(path)).map(String::as_str).collect();
        match expected {
            Ok(expected) => {
                result.unwrap_or_else(|error| panic!("{to}: {error}"));
                assert_eq!(added, expected, "{to}");
                let old = std::fs::read_to_string(place.path().join("there/old")).unwrap();
                assert_eq!(old == "new", to.ends_with("old"), "{to}");
            }
            Err(why) => {
                assert_eq!(result.unwrap_err().to_string(), why);
                assert_eq!(added, [""; 0], "{to}");
            }
        }
    }
}

#[test]
fn links_are_taken_or_followed_within_the_root() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("rootfs");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(outer.path().join("secret"), "out").unwrap();
    std::fs::write(inner.join("secret"), "in").unwrap();
    symlink("/../secret", inner.join("link")).unwrap();
    symlink("/proc/self/root/etc/passwd", inner.join("magic")).unwrap();
    let place = tempfile::tempdir().unwrap();
    put(&packed(&inner, "link", true).unwrap(), place.path(), "followed", How::Thing).unwrap();
    put(&packed(&inner, "link", false).unwrap(), place.path(), "taken", How::Thing).unwrap();
    assert_eq!(tree(place.path()), ["followed", "taken -> /../secret"]);
    assert_eq!(std::fs::read_to_string(place.path().join("followed")).unwrap(), "in");
    assert_eq!(packed(&inner, "../../secret", false).unwrap().len(), packed(&inner, "secret", false).unwrap().len());
    assert_eq!(packed(&inner, "magic", true).unwrap_err().to_string(), "there is no magic");
    assert_eq!(packed(&inner, "nope", false).unwrap_err().to_string(), "there is no nope");
    assert_eq!(packed(&inner, "secret/", false).unwrap_err().to_string(), "secret/: a part of the path is no folder");
}

#[test]
fn no_archive_leaves_its_place() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("rootfs");
    std::fs::create_dir_all(inner.join("to")).unwrap();
    std::fs::create_dir(outer.path().join("beside")).unwrap();
    let archive = |entries: &[(&str, tar::EntryType, &str)]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, link) in entries {
            let mut header = tar::Header::new_ustar();
            // Past the checks of this writer.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, std::io::empty()).unwrap();
        }
        builder.into_inner().unwrap()
    };
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let through = archive(&[("a", Directory, ""), ("a/l", Symlink, "../../beside"), ("a/l/x", Regular, "")]);
    assert!(put(&through, &inner, "to", How::Thing).unwrap_err().to_string().contains("no folder"));
    // By name, links mean what they mean inside.
    put(&archive(&[("l", Symlink, "/../../beside"), ("l/x", Regular, "")]), &inner, "to", How::Entries).unwrap_err();
    std::fs::create_dir(inner.join("run")).unwrap();
    put(&archive(&[("m", Symlink, "/run"), ("m/x", Regular, "")]), &inner, "to", How::Entries).unwrap();
    assert!(inner.join("run/x").is_file());
    for entries in [
        &[("../beside/x", Regular, "")][..],
        &[("a", Directory, ""), ("a/../../x", Regular, "")],
        &[("a", Directory, ""), ("b", Regular, "")],
        &[("h", Link, "../../beside")],
        &[("h", Link, "m")],
    ] {
        assert!(put(&archive(entries), &inner, "to", How::Thing).is_err(), "{entries:?}");
    }
    assert_eq!(tree(&outer.path().join("beside")), [""; 0]);
    let left = tree(outer.path());
    assert!(!left.iter().any(|path| path.contains(".rswarm-cp")), "{left:?}");
}
