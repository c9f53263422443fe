//! Archives that mean harm.

use crate::lab::{Lab, Raw, gzip, noise, pax, raw, raw_tar, skipped, tar};
use image::Error;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

/// It is refused, the error says why, and nothing is left.
fn refuse(lab: &Lab, what: &str, archive: &[u8], why: &str) {
    let error = lab.import(archive, "hostile").expect_err(what);
    let text = error.to_string();
    assert!(text.contains(why), "{what}: {text}");
    assert!(!error.is_transient(), "{what}: {text}");
    lab.assert_clean();
    assert_eq!(lab.names("layers"), Vec::<String>::new(), "{what}");
    assert_eq!(lab.names("blobs"), Vec::<String>::new(), "{what}");
    assert!(lab.store.list().is_empty());
    let around: Vec<_> = std::fs::read_dir(lab.folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(around, ["images"], "{what}");
}

#[test]
fn paths_and_links_do_not_lead_out() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let deep = "d/".repeat(49);
    for (what, entries, why) in [
        ("climbs", vec![raw("../evil", b'0', "", b"x")], "leads out of the root"),
        ("climbs later", vec![raw("a/../../evil", b'0', "", b"x")], "leads out of the root"),
        ("climbs from the root", vec![raw("/../evil", b'0', "", b"x")], "leads out of the root"),
        ("the root as a file", vec![raw("./", b'2', "/etc", b"")], "the root is a folder"),
        (
            "through a dangling link",
            vec![raw("a", b'2', "/nowhere/at/all", b""), raw("a/evil", b'0', "", b"x")],
            "leads nowhere",
        ),
        (
            "through a dangling link, deeper",
            vec![raw("a", b'2', "../../nowhere", b""), raw("a/b/c/evil", b'0', "", b"x")],
            "leads nowhere",
        ),
        (
            "through links in a circle",
            vec![raw("a", b'2', "b", b""), raw("b", b'2', "a", b""), raw("a/x", b'0', "", b"x")],
            "round in circles",
        ),
        ("through a file", vec![raw("a", b'0', "", b"x"), raw("a/b", b'0', "", b"x")], "no folder"),
        ("hard link out", vec![raw("a", b'1', "../../etc/passwd", b"")], "outside of the root"),
        ("hard link to the host", vec![raw("a", b'1', "/etc/passwd", b"")], "not in the same layer"),
        (
            "hard link through a link",
            vec![raw("d", b'2', "/", b""), raw("a", b'1', "d/etc/passwd", b"")],
            "not in the same layer",
        ),
        ("hard link to a folder", vec![raw("d/", b'5', "", b""), raw("a", b'1', "d", b"")], "which is a folder"),
        ("hard link to the root", vec![raw("a", b'1', "/", b"")], "which is the root"),
        ("a link to nothing", vec![raw("a", b'2', "", b"")], "without a target"),
        ("whiteout of nothing", vec![raw("d/.wh.", b'0', "", b"")], "whiteout of nothing"),
        ("whiteout of the parent", vec![raw("d/.wh...", b'0', "", b"")], "whiteout of nothing"),
        ("unknown type", vec![raw("a", b'Z', "", b"")], "unknown type"),
        (
            "ever deeper through links",
            vec![
                raw(deep.as_str(), b'5', "", b""),
                raw("l1", b'2', deep.as_str(), b""),
                raw("l1/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b'5', "", b""),
                raw("l2", b'2', "l1/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b""),
                raw("l2/e/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b'5', "", b""),
                raw("l3", b'2', "l2/e/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b""),
                raw("l3/e/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b'5', "", b""),
                raw("l4", b'2', "l3/e/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b""),
                raw("l4/e/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b'5', "", b""),
                raw("l5", b'2', "l4/e/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b""),
                raw("l5/e/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b'5', "", b""),
                raw("l6", b'2', "l5/e/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b""),
                raw("l6/e/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d", b'5', "", b""),
            ],
            "too deep",
        ),
    ] {
        refuse(&lab, what, &raw_tar(&entries), why);
    }
}

#[test]
fn absolute_paths_and_links_mean_the_root_of_the_image() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let before = std::fs::read("/etc/passwd").unwrap();
    let archive = raw_tar(&[
        raw("/abs", b'0', "", b"absolute"),
        raw("up", b'2', "../../../../../../..", b""),
        raw("up/through", b'0', "", b"inside"),
        raw("etc/", b'5', "", b""),
        raw("link", b'2', "/etc", b""),
        raw("link/passwd", b'0', "", b"ours"),
        // A link at the very name is replaced, not written through.
        raw("file", b'2', "/etc/passwd", b""),
        raw("file", b'0', "", b"a file now"),
        raw("null", b'3', "", b""),
        raw("pipe", b'6', "", b""),
    ]);
    lab.import(&archive, "absolute").unwrap();
    for (path, text) in [("abs", "absolute"), ("through", "inside"), ("etc/passwd", "ours"), ("file", "a file now")] {
        assert_eq!(lab.text("absolute", path), text);
    }
    assert!(lab.file("absolute", "pipe").unwrap().symlink_metadata().unwrap().file_type().is_fifo());
    assert_eq!(std::fs::read("/etc/passwd").unwrap(), before);
    assert!(!std::path::Path::new("/abs").exists() && !std::path::Path::new("/through").exists());
}

#[test]
fn malformed_and_truncated_archives_are_refused() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let good = tar(&[("a", b"hello"), ("b", &noise(100_000, 1))]);
    refuse(&lab, "nothing", b"", "empty");
    refuse(&lab, "no archive", &noise(4096, 2), "checksum");
    refuse(&lab, "text", b"#!/bin/sh\necho this is no archive\n", "truncated");
    for cut in [100, 512 + 3, 1024 + 200, 60_000] {
        refuse(&lab, "cut", &good[..cut], "truncated");
        let packed = gzip(&good);
        refuse(&lab, "cut gzip", &packed[..cut.min(packed.len() - 1)], "");
        let packed = crate::lab::zstd(&good);
        refuse(&lab, "cut zstd", &packed[..cut.min(packed.len() - 1)], "");
    }
    let mut damaged = gzip(&good);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    refuse(&lab, "damaged gzip", &damaged, "");
    let file = raw("f", b'0', "", b"x");
    let long = noise(300, 3).iter().map(|byte| b'a' + byte % 26).collect::<Vec<u8>>();
    let header = |records: &[Vec<u8>]| records.concat();
    for (what, records, why) in [
        ("NUL in a name", header(&[pax("path", b"a\0b")]), "NUL"),
        ("long name", header(&[pax("path", &long)]), "255 bytes"),
        ("deep path", header(&[pax("path", "d/".repeat(300).as_bytes())]), "folders"),
        ("no number", header(&[pax("size", b"12x")]), "number"),
        ("negative size", header(&[pax("size", b"-1")]), "number"),
        ("huge size", header(&[pax("size", b"9223372036854775807")]), "truncated"),
        ("owner out of range", header(&[pax("uid", b"4294967296")]), "number"),
        ("no record", b"nonsense".to_vec(), "malformed"),
        ("record beyond the end", b"99 path=x\n".to_vec(), "malformed"),
        ("sparse map beyond the end", header(&[pax("GNU.sparse.map", b"0,1"), pax("GNU.sparse.size", b"0")]), "sparse"),
        (
            "sparse map that overlaps",
            header(&[pax("GNU.sparse.map", b"0,1,0,0"), pax("GNU.sparse.size", b"9")]),
            "sparse",
        ),
        (
            "vast sparse file",
            header(&[pax("GNU.sparse.map", b"0,1"), pax("GNU.sparse.size", b"9000000000000000")]),
            "sparse",
        ),
        ("xattr of nonsense", header(&[pax("SCHILY.xattr.user.x", &noise(70_000, 4))]), "extended attribute"),
    ] {
        refuse(&lab, what, &raw_tar(&[raw("x", b'x', "", &records), raw("f", b'0', "", b"x")]), why);
    }
    let vast = vec![b'a'; 2 << 20];
    refuse(&lab, "vast header", &raw_tar(&[raw("x", b'x', "", &vast), file]), "extended header");
    refuse(&lab, "vast name", &raw_tar(&[raw("x", b'L', "", &vast), raw("f", b'0', "", b"x")]), "extended header");
}

#[test]
fn bombs_are_defused() {
    if skipped() {
        return;
    }
    let zeros = gzip(&tar(&[("zeros", &vec![0; 16 << 20])]));
    let lab = Lab::with(&[], |options, _| {
        options.limits.ratio_from = 1 << 20;
        options.limits.ratio = 50;
        options.limits.layer_bytes = 64 << 20;
        options.limits.entries = 100;
    });
    refuse(&lab, "ratio", &zeros, "bomb");
    refuse(&lab, "size", &tar(&[("noise", &noise(65 << 20, 1))]), "unpacks to more");
    let many: Vec<Raw<'_>> = (0..101).map(|_| raw("a", b'5', "", b"")).collect();
    refuse(&lab, "entries", &raw_tar(&many), "more than 100 entries");
    // Below the limits it is an image like any other.
    Lab::new(&[]).import(&zeros, "zeros").unwrap();
}

#[test]
fn an_archive_does_not_speak_to_overlayfs() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let records = [
        pax("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        pax("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        pax("SCHILY.xattr.user.overlay.opaque", b"y"),
        pax("SCHILY.xattr.security.selinux", b"x"),
        pax("SCHILY.xattr.user.kept", b"yes"),
    ];
    let archive = raw_tar(&[raw("x", b'x', "", &records.concat()), raw("d/", b'5', "", b"")]);
    lab.import(&archive, "quiet").unwrap();
    let folder = lab.file("quiet", "d").unwrap();
    let mut names = vec![0u8; 4096];
    let length = rustix::fs::listxattr(&folder, &mut names).unwrap();
    let names: Vec<&[u8]> = names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    // Some kernels add labels of their own.
    let names: Vec<_> = names.into_iter().filter(|name| !name.starts_with(b"security.")).collect();
    assert_eq!(names, [b"user.kept".as_slice()]);
}

#[derive(Debug, Clone)]
struct Generated {
    name: String,
    kind: u8,
    link: String,
    content: Vec<u8>,
}

/// Few names, so that entries meet each other.
fn generated() -> impl Strategy<Value = Generated> {
    let part = prop::sample::select(vec!["a", "b", "c", ".", "..", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..wh.x", ""]);
    let path = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    let link = prop::sample::select(vec!["a", "b", "c", "/", "/a", "../b", "a/b", "..", "../../..", "/nowhere", "c/a"]);
    let kind = prop::sample::select(b"0000555522116371".to_vec());
    (path, kind, link, prop::collection::vec(any::<u8>(), 0..700)).prop_map(|(name, kind, link, content)| Generated {
        name,
        kind,
        link: link.to_owned(),
        content: if kind == b'0' || kind == b'7' { content } else { Vec::new() },
    })
}

fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Whatever an archive has in it: it is refused without a trace, or it is taken, stays within its
/// folder, and can be written again byte for byte.
#[test]
fn generated_archives_stay_inside_and_can_be_saved() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let taken = std::cell::Cell::new(0);
    let outside = || (std::fs::metadata("/etc").unwrap().mtime(), std::fs::read_dir("/").unwrap().count());
    let before = outside();
    runner(400)
        .run(&prop::collection::vec(generated(), 1..12), |entries| {
            let raws: Vec<Raw<'_>> =
                entries.iter().map(|it| raw(it.name.as_str(), it.kind, &it.link, &it.content)).collect();
            match lab.import(&raw_tar(&raws), "generated") {
                Ok(_) => {
                    taken.set(taken.get() + 1);
                    let mut saved = Vec::new();
                    lab.store.save(&["generated:latest".to_owned()], &mut saved).unwrap();
                    lab.store.prune(true, &image::Uses::new()).unwrap();
                }
                Err(Error::Hostile { .. }) => {}
                Err(error) => prop_assert!(false, "{error:?}"),
            }
            lab.assert_clean();
            prop_assert_eq!(lab.names("layers"), Vec::<String>::new());
            let around = std::fs::read_dir(lab.folder.path()).unwrap().count();
            prop_assert_eq!(around, 1);
            Ok(())
        })
        .unwrap();
    assert_eq!(outside(), before);
    assert!(taken.get() > 50, "only {} archives were taken", taken.get());
}

#[test]
fn archives_with_flipped_bytes_never_panic() {
    if skipped() {
        return;
    }
    let lab = Lab::new(&[]);
    let records = [pax("path", b"long/name"), pax("mtime", b"1.5"), pax("SCHILY.xattr.user.x", b"y")].concat();
    let good = raw_tar(&[
        raw("x", b'x', "", &records),
        raw("short", b'0', "", &noise(700, 1)),
        raw("L", b'L', "", b"a/very/long/name\0"),
        raw("name", b'0', "", b"content"),
        raw("link", b'2', "name", b""),
        raw("hard", b'1', "long/name", b""),
    ]);
    let header = 0..good.len();
    runner(600)
        .run(&prop::collection::vec((header, any::<u8>()), 1..4), |flips| {
            let mut archive = good.clone();
            for (at, value) in flips {
                archive[at] = value;
                // The checksum would catch most of it.
                let start = at / 512 * 512;
                if let Ok(block) = <&mut [u8; 512]>::try_from(&mut archive[start..start + 512])
                    && &block[257..262] == b"ustar"
                {
                    block[148..156].fill(b' ');
                    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
            let _either_way = lab.import(&archive, "flipped");
            lab.assert_clean();
            Ok(())
        })
        .unwrap();
}
