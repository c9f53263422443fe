//! The archive reader against headers that lie, and trees of every kind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use super::header::number;
use super::*;
use proptest::prelude::*;

fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut input = archive;
    let limits = Limits::default();
    let mut reader = Reader::new(&mut input, &limits, ());
    let mut entries = Vec::new();
    while let Some(entry) = reader.next()? {
        let mut content = Vec::new();
        reader.payload(reader.left(), &mut |bytes| {
            content.extend_from_slice(bytes);
            Ok(())
        })?;
        entries.push((entry, content));
    }
    Ok(entries)
}

#[test]
fn numbers_are_octal_or_binary() {
    for (field, value) in [
        (b"0000644\0".as_slice(), Some(0o644)),
        (b"   644 \0", Some(0o644)),
        (b"\0\0\0\0\0\0\0\0", Some(0)),
        (b"7777777", Some(0o7_777_777)),
        (b"9\0\0\0", None),
        (b"-1\0\0", None),
        (&[0x80, 0, 0, 1, 0], Some(256)),
        (&[0xff, 0xff, 0xff, 0xff, 0xfe], Some(-2)),
        (&[0xff; 12], Some(-1)),
        (&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None),
    ] {
        assert_eq!(number(field), value, "{field:?}");
    }
}

#[test]
fn an_archive_may_end_without_its_end() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(5);
    builder.append_data(&mut header, "a", b"hello".as_slice()).unwrap();
    let whole = builder.into_inner().unwrap();
    // With its end mark, without it, and without the padding of its last file.
    for length in [whole.len(), 1024, 512 + 5] {
        let entries = read(&whole[..length]).unwrap();
        assert_eq!((entries.len(), entries[0].1.as_slice()), (1, b"hello".as_slice()), "{length}");
    }
    assert!(read(&whole[..512 + 4]).is_err());
    assert!(read(&whole[..511]).is_err());
    assert!(read(&[]).unwrap().is_empty());
}

proptest! {
    #[test]
    fn what_another_writer_writes_is_read(
        files in prop::collection::vec(("[a-z]{1,90}(/[a-z]{1,90}){0,3}", prop::collection::vec(any::<u8>(), 0..1500), any::<u32>()), 0..6)
    ) {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content, owner) in &files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_uid(u64::from(*owner));
            header.set_mode(0o4755);
            builder.append_data(&mut header, name, content.as_slice()).unwrap();
        }
        let entries = read(&builder.into_inner().unwrap()).unwrap();
        prop_assert_eq!(entries.len(), files.len());
        for ((entry, content), (name, expected, owner)) in entries.iter().zip(&files) {
            prop_assert_eq!(&entry.path, name.as_bytes());
            prop_assert_eq!(content, expected);
            prop_assert_eq!((entry.uid, entry.mode, entry.kind), (*owner, 0o4755, Kind::File));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _either_way = read(&bytes);
    }

    #[test]
    fn any_extended_header_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(records) = Records::default().parse(&bytes) {
            let _either_way = records.apply(&mut Entry::default());
        }
    }
}

#[test]
fn times_have_fractions_and_signs() {
    for (value, time) in [
        ("0", (0, 0)),
        ("1700000000.5", (1_700_000_000, 500_000_000)),
        ("12.123456789123", (12, 123_456_789)),
        ("-3", (-3, 0)),
        ("-1.25", (-2, 750_000_000)),
        ("-0.5", (-1, 500_000_000)),
    ] {
        let record = format!("mtime={value}\n");
        let length = record.len() + 3;
        let mut entry = Entry::default();
        Records::default().parse(format!("{length} {record}").as_bytes()).unwrap().apply(&mut entry).unwrap();
        assert_eq!(entry.mtime, time, "{value}");
    }
}
