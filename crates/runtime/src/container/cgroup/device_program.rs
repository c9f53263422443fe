//! The device rules of version 2: a small eBPF program that the kernel asks at each open and mknod.

use super::Error;
use super::devices::{Rule, Rules};
use super::files::Folder;
use crate::container::sys;
use std::os::fd::AsRawFd;

/// One instruction, `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u8,
    pub(super) dst: u8,
    pub(super) src: u8,
    pub(super) off: i16,
    pub(super) imm: i32,
}

impl Instruction {
    fn encode(self) -> u64 {
        let off = u16::from_le_bytes(self.off.to_le_bytes());
        let imm = u32::from_le_bytes(self.imm.to_le_bytes());
        u64::from(self.code) | u64::from(self.dst | self.src << 4) << 8 | u64::from(off) << 16 | u64::from(imm) << 32
    }
}

const LOAD_WORD: u8 = 0x61;
const MOVE_IMM: u8 = 0xb7;
const MOVE_REG: u8 = 0xbf;
const AND_IMM: u8 = 0x57;
const SHIFT_RIGHT_IMM: u8 = 0x77;
const JUMP_NOT_EQUAL_IMM: u8 = 0x55;
const JUMP_NOT_EQUAL_REG: u8 = 0x5d;
const JUMP_EQUAL_IMM: u8 = 0x15;
const EXIT: u8 = 0x95;

/// Bits of the kind of device and of the access wanted, as the kernel hands them over.
pub(super) const BLOCK: i32 = 1;
pub(super) const CHARACTER: i32 = 2;
pub(super) const MKNOD: i32 = 1;
pub(super) const READ: i32 = 2;
pub(super) const WRITE: i32 = 4;

fn op(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Instruction {
    Instruction { code, dst, src, off, imm }
}

/// The program for `rules`: the last one first, since the last that matches decides; and nothing.
pub(super) fn compile(rules: &Rules) -> Vec<Instruction> {
    let mut program = vec![
        // r2 kind, r3 access, r4 major, r5 minor; r1 is where the kernel put them
        op(LOAD_WORD, 2, 1, 0, 0),
        op(MOVE_REG, 3, 2, 0, 0),
        op(AND_IMM, 2, 0, 0, 0xffff),
        op(SHIFT_RIGHT_IMM, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules.0.iter().rev() {
        program.extend(rule_code(rule));
    }
    program.extend([op(MOVE_IMM, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    program
}

/// Decides if the rule matches, else falls off its end.
fn rule_code(rule: &Rule) -> Vec<Instruction> {
    let mut code = Vec::new();
    match rule.kind {
        'b' => code.push(op(JUMP_NOT_EQUAL_IMM, 2, 0, 0, BLOCK)),
        'c' => code.push(op(JUMP_NOT_EQUAL_IMM, 2, 0, 0, CHARACTER)),
        _ => {}
    }
    let access = [(rule.read, READ), (rule.write, WRITE), (rule.mknod, MKNOD)];
    let access = access.iter().filter(|(on, _)| *on).fold(0, |bits, (_, bit)| bits | bit);
    if access != READ | WRITE | MKNOD && rule.allow {
        // Everything that is wanted has to be in the rule.
        code.push(op(MOVE_REG, 1, 3, 0, 0));
        code.push(op(AND_IMM, 1, 0, 0, access));
        code.push(op(JUMP_NOT_EQUAL_REG, 1, 3, 0, 0));
    } else if access != READ | WRITE | MKNOD {
        // A denial holds if anything that is wanted is in it: skip it only when nothing is.
        code.push(op(MOVE_REG, 1, 3, 0, 0));
        code.push(op(AND_IMM, 1, 0, 0, access));
        code.push(op(JUMP_EQUAL_IMM, 1, 0, 0, 0));
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number {
            code.push(op(JUMP_NOT_EQUAL_IMM, register, 0, 0, number.cast_signed()));
        }
    }
    let end = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        let jump = matches!(instruction.code, JUMP_NOT_EQUAL_IMM | JUMP_NOT_EQUAL_REG | JUMP_EQUAL_IMM);
        if jump {
            // Over the rest of the tests and the two instructions that decide.
            instruction.off = (end - at - 1 + 2) as i16;
        }
    }
    code.extend([op(MOVE_IMM, 0, 0, 0, i32::from(rule.allow)), op(EXIT, 0, 0, 0, 0)]);
    code
}

const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_ATTACH: i32 = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u64 = 15;
const BPF_CGROUP_DEVICE: u64 = 6;
/// A group below may have a program of its own; both are asked.
const BPF_F_ALLOW_MULTI: u64 = 2;

/// Puts the rules on a group.
pub(super) fn attach(folder: &Folder, rules: &Rules) -> Result<(), Error> {
    let program: Vec<u64> = compile(rules).into_iter().map(Instruction::encode).collect();
    let license = c"GPL";
    let load = [
        BPF_PROG_TYPE_CGROUP_DEVICE | (program.len() as u64) << 32,
        program.as_ptr() as u64,
        license.as_ptr() as u64,
        0,
        0,
        0,
    ];
    let failed = |what: &str| {
        let what = format!("{what} the device rules of {}", folder.path().display());
        move |error| Error::io(what, error)
    };
    let program = sys::bpf(BPF_PROG_LOAD, &load).map(sys::own_fd).map_err(failed("load"))?;
    let group = folder.open_readable()?;
    let attach =
        [group.as_raw_fd() as u64 | (program.as_raw_fd() as u64) << 32, BPF_CGROUP_DEVICE | BPF_F_ALLOW_MULTI << 32];
    sys::bpf(BPF_PROG_ATTACH, &attach).map(drop).map_err(failed("attach"))
}
