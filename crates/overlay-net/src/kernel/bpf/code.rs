//! What a program is written with: one instruction after the other, and one way out.

use super::Map;
use std::os::fd::AsRawFd;

/// Operations (`linux/bpf_common.h`, `linux/bpf.h`).
const LOAD: u64 = 0x61;
const LOAD_LONG: u64 = 0x79;
const STORE: u64 = 0x63;
const STORE_LONG: u64 = 0x7b;
const STORE_NUMBER: u64 = 0x62;
const MOVE: u64 = 0xbf;
const MOVE_NUMBER: u64 = 0xb7;
const ADD_NUMBER: u64 = 0x07;
const MODULO: u64 = 0x9c;
const XOR: u64 = 0xac;
const TIMES_NUMBER: u64 = 0x24;
const LOAD_MAP: u64 = 0x18;
const IS_MAP: u64 = 1;
const CALL: u64 = 0x85;
const EXIT: u64 = 0x95;
const IF_EQUALS_NUMBER: u64 = 0x15;
const IF_DIFFERS: u64 = 0x5d;
const IF_DIFFERS_NUMBER: u64 = 0x56;

/// Where a program keeps what it needs is told from the end of its stack.
pub(crate) const STACK: u8 = 10;

/// A program under way. Numbers without a type are registers: 0 is a result, 1 to 5 are what a function is called
/// with and are lost by that, 6 to 9 stay.
#[derive(Debug, Default)]
pub(crate) struct Code {
    words: Vec<u64>,
    /// Where it jumps to the way out.
    jumps: Vec<usize>,
}

impl Code {
    fn push(&mut self, code: u64, to: u8, from: u8, offset: i16, number: u32) -> &mut Code {
        let offset = u64::from(offset.cast_unsigned());
        self.words.push(code | u64::from(to) << 8 | u64::from(from) << 12 | offset << 16 | u64::from(number) << 32);
        self
    }

    /// `to = *(from + offset)`, four bytes.
    pub(crate) fn load(&mut self, to: u8, from: u8, offset: i16) -> &mut Code {
        self.push(LOAD, to, from, offset, 0)
    }

    /// The same with eight, or with an address.
    pub(crate) fn load_long(&mut self, to: u8, from: u8, offset: i16) -> &mut Code {
        self.push(LOAD_LONG, to, from, offset, 0)
    }

    /// `*(to + offset) = from`, four bytes.
    pub(crate) fn store(&mut self, to: u8, offset: i16, from: u8) -> &mut Code {
        self.push(STORE, to, from, offset, 0)
    }

    /// The same with eight.
    pub(crate) fn store_long(&mut self, to: u8, offset: i16, from: u8) -> &mut Code {
        self.push(STORE_LONG, to, from, offset, 0)
    }

    /// `*(to + offset) = number`, four bytes.
    pub(crate) fn store_number(&mut self, to: u8, offset: i16, number: u32) -> &mut Code {
        self.push(STORE_NUMBER, to, 0, offset, number)
    }

    /// `to = from`
    pub(crate) fn copy(&mut self, to: u8, from: u8) -> &mut Code {
        self.push(MOVE, to, from, 0, 0)
    }

    /// `to = number`
    pub(crate) fn number(&mut self, to: u8, number: i32) -> &mut Code {
        self.push(MOVE_NUMBER, to, 0, 0, number.cast_unsigned())
    }

    /// `to = from + offset`
    pub(crate) fn address(&mut self, to: u8, from: u8, offset: i32) -> &mut Code {
        self.copy(to, from).push(ADD_NUMBER, to, 0, 0, offset.cast_unsigned())
    }

    /// `to %= by`, as numbers of four bytes without sign.
    pub(crate) fn modulo(&mut self, to: u8, by: u8) -> &mut Code {
        self.push(MODULO, to, by, 0, 0)
    }

    /// `to = (to ^ with) * number`, four bytes without sign.
    pub(crate) fn mix(&mut self, to: u8, with: u8, number: u32) -> &mut Code {
        self.push(XOR, to, with, 0, 0).push(TIMES_NUMBER, to, 0, 0, number)
    }

    /// `to` is a table. It has to be there until the program is loaded.
    pub(crate) fn map(&mut self, to: u8, map: &Map) -> &mut Code {
        self.push(LOAD_MAP | IS_MAP << 12, to, 0, 0, map.fd.as_raw_fd().cast_unsigned()).push(0, 0, 0, 0, 0)
    }

    /// Calls a function of the kernel.
    pub(crate) fn call(&mut self, function: u32) -> &mut Code {
        self.push(CALL, 0, 0, 0, function)
    }

    fn out(&mut self, code: u64, one: u8, other: u8, number: u32) -> &mut Code {
        self.jumps.push(self.words.len());
        self.push(code, one, other, 0, number)
    }

    /// Ends here if it is 0.
    pub(crate) fn out_if_zero(&mut self, register: u8) -> &mut Code {
        self.out(IF_EQUALS_NUMBER, register, 0, 0)
    }

    /// Ends here unless they are the same.
    pub(crate) fn out_if_differs(&mut self, one: u8, other: u8) -> &mut Code {
        self.out(IF_DIFFERS, one, other, 0)
    }

    /// Ends here unless its lower four bytes are this.
    pub(crate) fn out_unless(&mut self, register: u8, number: u32) -> &mut Code {
        self.out(IF_DIFFERS_NUMBER, register, 0, number)
    }

    /// Does it only if the lower four bytes of a register are this.
    pub(crate) fn only_if(&mut self, register: u8, number: u32, work: impl FnOnce(&mut Code)) -> &mut Code {
        let jump = self.words.len();
        work(self.push(IF_DIFFERS_NUMBER, register, 0, 0, number));
        self.lands(jump);
        self
    }

    /// Has a jump lead to what comes next.
    fn lands(&mut self, jump: usize) {
        self.words[jump] |= ((self.words.len() - jump - 1) as u64 & 0xffff) << 16;
    }

    /// The way out, with this result.
    pub(crate) fn end(mut self, result: i32) -> Vec<u64> {
        std::mem::take(&mut self.jumps).into_iter().for_each(|jump| self.lands(jump));
        self.number(0, result).push(EXIT, 0, 0, 0, 0);
        self.words
    }
}

/// A description of types (BTF, the kernel's `Documentation/bpf/btf.rst`) that has two: 1 is a number of four bytes, 2
/// an array of so many.
pub(super) fn words(count: u32) -> Vec<u8> {
    const NUMBER: u32 = 1 << 24;
    const ARRAY: u32 = 3 << 24;
    let types = [0, NUMBER, 4, 32, 0, ARRAY, 0, 1, 1, count];
    let length = size_of_val(&types) as u32;
    // Magic number and version, length of the header; where types and names begin, and their lengths.
    let header = [0x0001_eb9f, 24, 0, length, length, 1];
    header.iter().chain(&types).flat_map(|word: &u32| word.to_ne_bytes()).chain([0]).collect()
}
