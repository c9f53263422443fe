//! The seccomp filter of a spec, compiled to the kernel's BPF.
//!
//! A program first tells the architecture, then finds the call's number by binary search over
//! ranges of equal outcome, and only for calls with conditions looks at arguments:
//!
//! ```text
//! load arch ─ x86-64 ─ load nr ─ tree of ranges ─┬─ return ACTION
//!           │                                    └─ conditions ─ return ACTION
//!           ├ x86 (if the spec lists it) ─ the same with its own numbers
//!           └ other: kill
//! ```
//!
//! `seccompiler` is not used for it: one filter of that crate knows one action beside the default
//! and kills programs of the machine's second architecture, both of which Docker's profile needs.

mod bpf;
mod names;

use super::Error;
use super::sys::{self, SockFilter};
use bpf::{Condition, Outcome, Rule};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    program: Vec<SockFilter>,
    flags: u64,
}

/// An architecture whose calls a filter can tell apart: `AUDIT_ARCH_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    X86_64,
    X86,
    Arm64,
}

impl Target {
    const NATIVE: Option<Target> = if cfg!(target_arch = "x86_64") {
        Some(Target::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Target::Arm64)
    } else {
        None
    };

    fn audit(self) -> u32 {
        match self {
            Target::X86_64 => 0xc000_003e,
            Target::X86 => 0x4000_0003,
            Target::Arm64 => 0xc000_00b7,
        }
    }

    /// The number of the call `name` there.
    fn number(self, name: &str) -> Option<u32> {
        let at = names::NAMES.binary_search_by(|(known, ..)| (*known).cmp(name)).ok()?;
        let (_, x86_64, x86, arm64) = names::NAMES[at];
        let number = match self {
            Target::X86_64 => x86_64,
            Target::X86 => x86,
            Target::Arm64 => arm64,
        };
        u32::try_from(number).ok()
    }
}

/// A number that the kernel gives for calls that it does not know.
const ENOSYS: u32 = libc::ENOSYS as u32;
/// Errors above this are no errors to a caller.
const MAX_ERRNO: u32 = 4095;
/// Set in the number of a call of the x32 variant of x86-64.
const X32_BIT: u32 = 0x4000_0000;
/// The kernel takes no longer programs.
const MAX_LENGTH: usize = 4096;

/// The profile that was compiled last, which nearly always is the next one too: containers of one
/// host share Docker's, and those who fork many of them call [`warm_up`] before.
static LAST: Mutex<Option<(LinuxSeccomp, Option<Filter>)>> = Mutex::new(None);

/// Compiles a profile ahead of the containers that will use it, also in children forked later.
pub(crate) fn warm_up(profile: &LinuxSeccomp) {
    // What is wrong with it is said when a container uses it.
    let _ = Filter::of(profile);
}

impl Filter {
    /// The filter of a profile, from memory if it was the last one.
    pub(crate) fn of(spec: &LinuxSeccomp) -> Result<Option<Self>, Error> {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, filter)) = last.as_ref().filter(|(known, _)| known == spec) {
            return Ok(filter.clone());
        }
        let filter = Self::compile(spec)?;
        *last = Some((spec.clone(), filter.clone()));
        Ok(filter)
    }

    /// Compiles what a spec says; `None` if it allows everything.
    fn compile(spec: &LinuxSeccomp) -> Result<Option<Self>, Error> {
        let native = Target::NATIVE.ok_or_else(|| Error::text("seccomp: not known for this architecture"))?;
        let rules = spec.syscalls().as_deref().unwrap_or_default();
        let default = action(spec.default_action(), spec.default_errno_ret())?;
        if rules.is_empty() && spec.default_action() == LinuxSeccompAction::ScmpActAllow {
            return Ok(None);
        }
        let listed = spec.architectures().as_deref().unwrap_or_default();
        let mut targets = BTreeSet::from([native]);
        if native == Target::X86_64 && listed.contains(&Arch::ScmpArchX86) {
            targets.insert(Target::X86);
        }
        let mut program = Program { default, sections: Vec::new() };
        for target in targets {
            program.sections.push((target, outcomes(spec, target)?));
        }
        let program = program.assemble();
        if program.len() > MAX_LENGTH {
            return Err(Error::text("seccomp: the profile is too large for the kernel"));
        }
        Ok(Some(Self { program, flags: flags(spec)? }))
    }

    /// Puts it on this process, for good.
    pub(crate) fn load(&self) -> Result<(), Error> {
        match sys::seccomp_load(&self.program, self.flags) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::io("load the seccomp filter", error)),
        }
    }
}

fn flags(spec: &LinuxSeccomp) -> Result<u64, Error> {
    let Some(flags) = spec.flags() else { return Ok(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW) };
    flags.iter().try_fold(0, |bits, flag| {
        Ok(bits
            | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                // There is one thread.
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                    return Err(Error::text("seccomp: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is not supported"));
                }
            })
    })
}

/// What the kernel is to return for an action.
fn action(action: LinuxSeccompAction, number: Option<u32>) -> Result<u32, Error> {
    if action == LinuxSeccompAction::ScmpActNotify {
        return Err(Error::text("seccomp: SCMP_ACT_NOTIFY is not supported"));
    }
    if number.is_some_and(|number| number > MAX_ERRNO) {
        return Err(Error::text(format!("seccomp: errno {} is out of range", number.unwrap_or_default())));
    }
    Ok(match action {
        // Its number is data for the tracer or handler; without one it is EPERM, as with runc.
        LinuxSeccompAction::ScmpActTrap => libc::SECCOMP_RET_TRAP | number.unwrap_or(0),
        other => other.as_u32(number),
    })
}

/// The outcome of each call of one architecture that the spec names.
fn outcomes(spec: &LinuxSeccomp, target: Target) -> Result<BTreeMap<u32, Outcome>, Error> {
    let mut calls: BTreeMap<u32, Outcome> = BTreeMap::new();
    for rule in spec.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        let alternatives = alternatives(rule.args().as_deref().unwrap_or_default())?;
        // Names that this table does not have are of other architectures or future kernels, where
        // the default fits.
        for number in rule.names().iter().filter_map(|name| target.number(name)) {
            let outcome = calls.entry(number).or_insert_with(|| Outcome { rules: Vec::new(), otherwise: None });
            if alternatives.is_empty() {
                // The first word on a call without conditions counts.
                outcome.otherwise.get_or_insert(action);
            }
            let rules = alternatives.iter().map(|conditions| Rule { conditions: conditions.clone(), action });
            outcome.rules.extend(rules);
        }
    }
    Ok(calls)
}

/// The action for calls younger than any that the profile names. They do not exist, as far as
/// programs should know: those try an older call after ENOSYS and give up after EPERM.
fn for_younger(default: u32) -> u32 {
    match default & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ERRNO | libc::SECCOMP_RET_KILL_THREAD | libc::SECCOMP_RET_KILL_PROCESS => {
            libc::SECCOMP_RET_ERRNO | ENOSYS
        }
        _ => default,
    }
}

/// Sets of conditions of which one has to hold. By the habit of runc, conditions on different
/// arguments must all hold, but with two on one argument each stands alone.
fn alternatives(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Condition>>, Error> {
    let conditions = args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let distinct: BTreeSet<u32> = conditions.iter().map(|condition| condition.argument).collect();
    Ok(if conditions.is_empty() {
        Vec::new()
    } else if distinct.len() == conditions.len() {
        vec![conditions]
    } else {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    })
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition, Error> {
    let argument = u32::try_from(arg.index()).ok().filter(|index| *index < 6);
    let argument = argument.ok_or_else(|| Error::text(format!("seccomp: there is no argument {}", arg.index())))?;
    let value = arg.value();
    let test = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => bpf::Test::NotEqual(value),
        LinuxSeccompOperator::ScmpCmpEq => bpf::Test::Equal { mask: u64::MAX, value },
        LinuxSeccompOperator::ScmpCmpMaskedEq => bpf::Test::Equal { mask: value, value: arg.value_two().unwrap_or(0) },
        LinuxSeccompOperator::ScmpCmpLt => bpf::Test::Less(value),
        LinuxSeccompOperator::ScmpCmpLe => bpf::Test::LessOrEqual(value),
        LinuxSeccompOperator::ScmpCmpGe => bpf::Test::GreaterOrEqual(value),
        LinuxSeccompOperator::ScmpCmpGt => bpf::Test::Greater(value),
    };
    Ok(Condition { argument, test })
}

/// A filter before it is assembled.
struct Program {
    default: u32,
    sections: Vec<(Target, BTreeMap<u32, Outcome>)>,
}

impl Program {
    fn assemble(&self) -> Vec<SockFilter> {
        let mut program = vec![bpf::load(bpf::ARCH)];
        for (target, calls) in &self.sections {
            let mut section = vec![bpf::load(bpf::NUMBER)];
            if *target == Target::X86_64 {
                // No distribution's kernel runs x32; say so whatever the profile lists.
                section.extend(bpf::if_at_least(X32_BIT, vec![bpf::ret(libc::SECCOMP_RET_ERRNO | ENOSYS)]));
            }
            section.extend(bpf::tree(calls, self.default, for_younger(self.default)));
            program.extend(bpf::if_equal(target.audit(), section));
        }
        program.push(bpf::ret(libc::SECCOMP_RET_KILL_PROCESS));
        program
    }
}

#[cfg(test)]
mod tests;
