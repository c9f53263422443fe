//! Small programs for the kernel (eBPF): loaded, given tables, put in their places. All of it belongs to this process
//! and ends with it, however it ends; so nothing may depend on any of it.

pub(crate) use code::{Code, STACK};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

mod code;

/// Commands of `bpf(2)` and kinds of programs and tables (`linux/bpf.h`).
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE: libc::c_long = 2;
const MAP_DELETE: libc::c_long = 3;
const PROGRAM_LOAD: libc::c_long = 5;
const TYPES_LOAD: libc::c_long = 18;
const LINK_CREATE: libc::c_long = 28;
const HASH: u32 = 1;
const SOCKET_STORAGE: u32 = 24;
/// Memory is taken as elements come.
const NO_PREALLOC: u32 = 1;

/// What a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It looks at packets.
    SocketFilter,
    /// It is asked where a socket of a control group goes, or has gone.
    Address(Call),
}

/// The system call that such a program has a say in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Connect4,
    Connect6,
    PeerName4,
    PeerName6,
}

impl Call {
    /// `enum bpf_attach_type`.
    fn number(self) -> u32 {
        match self {
            Call::Connect4 => 10,
            Call::Connect6 => 11,
            Call::PeerName4 => 29,
            Call::PeerName6 => 30,
        }
    }
}

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    place: u32,
}

/// For `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct MapAttr {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; 16],
    interface: u32,
    types: u32,
    key_type: u32,
    value_type: u32,
}

/// For commands about one element of a table.
#[repr(C)]
struct ElementAttr {
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
}

/// For `BPF_BTF_LOAD`.
#[repr(C)]
#[derive(Default)]
struct TypesAttr {
    types: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    rest: u32,
}

/// For `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkAttr {
    program: u32,
    target: u32,
    place: u32,
    flags: u32,
}

fn call<T>(command: libc::c_long, attr: &T) -> io::Result<i32> {
    // SAFETY: the attribute and all that it points to live in the caller, with their lengths told; the kernel copies.
    #[expect(unsafe_code, reason = "rustix knows no bpf")]
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) };
    i32::try_from(answer).ok().filter(|answer| *answer >= 0).ok_or_else(io::Error::last_os_error)
}

fn open<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    let number = call(command, attr)?;
    // SAFETY: the kernel has just opened it for us.
    #[expect(unsafe_code, reason = "a descriptor that a bare system call returned")]
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    Ok(fd)
}

/// A program that the kernel has checked and taken.
#[derive(Debug)]
pub(crate) struct Program {
    fd: OwnedFd,
    kind: Kind,
}

impl AsFd for Program {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Program {
    /// An error is the kernel's, with the last words of its verifier where that has refused.
    pub(crate) fn load(kind: Kind, code: &[u64]) -> io::Result<Program> {
        const LICENSE: &CStr = c"Apache-2.0";
        let (number, place) = match kind {
            Kind::SocketFilter => (1, 0),
            Kind::Address(call) => (18, call.number()),
        };
        let mut attr = LoadAttr {
            kind: number,
            count: code.len() as u32,
            instructions: code.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            place,
            ..LoadAttr::default()
        };
        let refused = match open(PROGRAM_LOAD, &attr) {
            Ok(fd) => return Ok(Program { fd, kind }),
            Err(error) => error,
        };
        let mut log = vec![0_u8; 64 << 10];
        (attr.log_level, attr.log_size, attr.log) = (1, log.len() as u32, log.as_mut_ptr() as u64);
        // It ends like the first time; this time with words.
        let _again = open(PROGRAM_LOAD, &attr);
        let words = CStr::from_bytes_until_nul(&log).map(CStr::to_string_lossy).unwrap_or_default();
        let words: Vec<&str> = words.trim().lines().rev().take(2).collect();
        Err(io::Error::new(refused.kind(), format!("{refused} {}", words.join("; ")).trim_end().to_owned()))
    }

    /// Has it asked for all processes of a control group and those below, together with programs of others. It ends
    /// with what is returned.
    pub(crate) fn attach(&self, group: &Path) -> io::Result<Link> {
        let Kind::Address(call) = self.kind else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "such a program is of no control group"));
        };
        let group = std::fs::File::open(group)?;
        let attr = LinkAttr {
            program: self.fd.as_raw_fd() as u32,
            target: group.as_raw_fd() as u32,
            place: call.number(),
            flags: 0,
        };
        open(LINK_CREATE, &attr).map(|fd| Link { _fd: fd })
    }
}

/// A program in its place.
#[derive(Debug)]
pub(crate) struct Link {
    _fd: OwnedFd,
}

/// A table that programs and this process share.
#[derive(Debug)]
pub(crate) struct Map {
    fd: OwnedFd,
    key: usize,
    value: usize,
}

impl Map {
    /// Keys and values of so many bytes; `entries` at most.
    pub(crate) fn hash(key: usize, value: usize, entries: u32) -> io::Result<Map> {
        let attr = MapAttr {
            kind: HASH,
            key: key as u32,
            value: value as u32,
            entries,
            flags: NO_PREALLOC,
            ..MapAttr::default()
        };
        Ok(Map { fd: open(MAP_CREATE, &attr)?, key, value })
    }

    /// A value of so many words for each socket, for as long as there is the socket.
    pub(crate) fn of_sockets(words: u32) -> io::Result<Map> {
        // The kernel asks what keys and values are.
        let types = code::words(words);
        let size = types.len() as u32;
        let types = open(TYPES_LOAD, &TypesAttr { types: types.as_ptr() as u64, size, ..TypesAttr::default() })?;
        let attr = MapAttr {
            kind: SOCKET_STORAGE,
            key: 4,
            value: words * 4,
            flags: NO_PREALLOC,
            types: types.as_raw_fd() as u32,
            key_type: 1,
            value_type: 2,
            ..MapAttr::default()
        };
        Ok(Map { fd: open(MAP_CREATE, &attr)?, key: 4, value: words as usize * 4 })
    }

    /// Puts it there, whether or not there was something under this key.
    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        assert!(key.len() == self.key && value.len() == self.value, "the kernel reads as much as the table says");
        call(MAP_UPDATE, &self.element(key, value.as_ptr() as u64)).map(drop)
    }

    /// Takes it away; no error where there is none.
    pub(crate) fn remove(&self, key: &[u8]) -> io::Result<()> {
        assert!(key.len() == self.key, "the kernel reads as much as the table says");
        match call(MAP_DELETE, &self.element(key, 0)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn element(&self, key: &[u8], value: u64) -> ElementAttr {
        ElementAttr { map: self.fd.as_raw_fd() as u64, key: key.as_ptr() as u64, value, flags: 0 }
    }
}
