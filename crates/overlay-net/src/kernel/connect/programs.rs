//! What is asked at `connect` and at `getpeername`.

use super::super::bpf::{Call, Code, STACK};
use super::{MARK, Maps, SUM_BEGIN, SUM_TIMES};

/// `struct bpf_sock_addr`: the address asked for, and whose socket it is.
const ADDRESS4: i16 = 4;
const ADDRESS6: i16 = 8;
const PROTOCOL: i16 = 36;
const SOCKET: i16 = 64;
/// `struct bpf_sock`.
const SOCKET_MARK: i16 = 16;

/// Functions of the kernel (`linux/bpf.h`).
const LOOK_UP: u32 = 1;
const CHANCE: u32 = 7;
const SET_OPTION: u32 = 49;
const STORAGE: u32 = 107;
const FORGET: u32 = 108;
const NAMESPACE: u32 = 122;
/// It is made where there is none.
const CREATE: i32 = 1;

const TCP: u32 = 6;
/// What comes before an address of IPv4 in one of IPv6.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// Registers that stay: the question; a sum.
const ASKED: u8 = 6;
const SUM: u8 = 7;
const COUNT: u8 = 8;
/// Places on the stack: the number of the namespace; the key of a slot, which is group, virtual address and number, of
/// which all but the number is the key of a service; the backend; the value of an option of the socket.
const COOKIE: i16 = -8;
const GROUP: i16 = -32;
const VIP: i16 = -28;
const SLOT: i16 = -12;
const BACKEND: i16 = -48;
const OPTION: i16 = -52;
/// Bytes of an address, and of the key of a slot.
const ADDRESS: i16 = 16;
const KEY: i16 = 24;

pub(super) fn of(call: Call, maps: &Maps) -> Vec<u64> {
    let mut code = Code::default();
    code.copy(ASKED, 1);
    match call {
        Call::Connect4 | Call::Connect6 => translate(&mut code, maps, call == Call::Connect4),
        Call::PeerName4 | Call::PeerName6 => tell(&mut code, maps, call == Call::PeerName4),
    }
    // Whatever was done: go on.
    code.end(1)
}

/// Where the words of the address are in the question, of those that a backend has.
fn words(v4: bool) -> impl Iterator<Item = (i16, i16)> {
    let all = (0..4).map(|word| (ADDRESS6 + 4 * word, 4 * word));
    all.map(move |(asked, word)| if v4 { (ADDRESS4, word) } else { (asked, word) }).skip(if v4 { 3 } else { 0 })
}

fn translate(code: &mut Code, maps: &Maps, v4: bool) {
    code.load(0, ASKED, PROTOCOL).out_unless(0, TCP);

    code.copy(1, ASKED).call(NAMESPACE).store_long(STACK, COOKIE, 0);
    code.map(1, &maps.members).address(2, STACK, COOKIE.into()).call(LOOK_UP).out_if_zero(0);
    code.load(1, 0, 0).store(STACK, GROUP, 1).number(SUM, SUM_BEGIN.cast_signed());
    sum(code, [COOKIE, COOKIE + 4]);
    sum(code, [GROUP]);
    code.load(1, 0, 4).out_if_differs(SUM, 1);

    // One that has called before is nobody's that it was then; and a mark that its program has set is its program's.
    code.map(1, &maps.sockets).load_long(2, ASKED, SOCKET).call(FORGET);
    code.load_long(1, ASKED, SOCKET).load(1, 1, SOCKET_MARK).only_if(1, MARK, |code| mark(code, 0));
    code.load_long(1, ASKED, SOCKET).load(1, 1, SOCKET_MARK).out_unless(1, 0);

    if v4 {
        code.store_number(STACK, VIP, 0).store_number(STACK, VIP + 4, 0).store_number(STACK, VIP + 8, MAPPED);
    }
    for (asked, word) in words(v4) {
        code.load(0, ASKED, asked).store(STACK, VIP + word, 0);
    }
    code.map(1, &maps.services).address(2, STACK, GROUP.into()).call(LOOK_UP).out_if_zero(0);
    code.load(COUNT, 0, 0).out_if_zero(COUNT);

    code.call(CHANCE).modulo(0, COUNT).store(STACK, SLOT, 0);
    code.map(1, &maps.slots).address(2, STACK, GROUP.into()).call(LOOK_UP).out_if_zero(0);
    for word in (0..ADDRESS).step_by(4) {
        code.load(1, 0, word).store(STACK, BACKEND + word, 1);
    }
    code.number(SUM, SUM_BEGIN.cast_signed());
    sum(code, (GROUP..GROUP + KEY).step_by(4));
    sum(code, (BACKEND..BACKEND + ADDRESS).step_by(4));
    code.load(1, 0, ADDRESS).out_if_differs(SUM, 1);

    // What can't be remembered and marked is not translated, but by the rules.
    code.map(1, &maps.sockets).load_long(2, ASKED, SOCKET).number(3, 0).number(4, CREATE).call(STORAGE);
    code.out_if_zero(0);
    for word in (0..ADDRESS).step_by(4) {
        code.load(1, STACK, VIP + word).store(0, word, 1);
        code.load(1, STACK, BACKEND + word).store(0, ADDRESS + word, 1);
    }
    mark(code, MARK);
    code.out_unless(0, 0);
    for (asked, word) in words(v4) {
        code.load(1, STACK, BACKEND + word).store(ASKED, asked, 1);
    }
}

/// Adds words of the stack to the sum, with register 1.
fn sum(code: &mut Code, words: impl IntoIterator<Item = i16>) {
    for word in words {
        code.load(1, STACK, word).mix(SUM, 1, SUM_TIMES);
    }
}

/// Gives the socket this mark; register 0 is 0 then.
fn mark(code: &mut Code, mark: u32) {
    code.store_number(STACK, OPTION, mark);
    code.copy(1, ASKED).number(2, libc::SOL_SOCKET).number(3, libc::SO_MARK).address(4, STACK, OPTION.into());
    code.number(5, 4).call(SET_OPTION);
}

fn tell(code: &mut Code, maps: &Maps, v4: bool) {
    code.map(1, &maps.sockets).load_long(2, ASKED, SOCKET).number(3, 0).number(4, 0).call(STORAGE).out_if_zero(0);
    // It may have called somebody else since.
    for (asked, word) in words(v4) {
        code.load(1, ASKED, asked).load(2, 0, ADDRESS + word).out_if_differs(1, 2);
    }
    for (asked, word) in words(v4) {
        code.load(1, 0, word).store(ASKED, asked, 1);
    }
}
