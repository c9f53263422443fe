//! PID 1 of a container with `init: true`: starts the program, hands every signal on to it, reaps what
//! is left to it, and ends with its code. No libc and no allocation: it has to run in any image.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub const EXECVE: usize = 59;
    pub const GETPID: usize = 39;
    pub const EXIT_GROUP: usize = 231;
    pub const KILL: usize = 62;
    pub const WRITE: usize = 1;
    pub const WAIT4: usize = 61;
    pub const CLONE: usize = 56;
    pub const SETPGID: usize = 109;
    pub const IOCTL: usize = 16;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGTIMEDWAIT: usize = 128;
}

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub const EXECVE: usize = 221;
    pub const GETPID: usize = 172;
    pub const EXIT_GROUP: usize = 94;
    pub const KILL: usize = 129;
    pub const WRITE: usize = 64;
    pub const WAIT4: usize = 260;
    pub const CLONE: usize = 220;
    pub const SETPGID: usize = 154;
    pub const IOCTL: usize = 29;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
}

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "mov rdi, rsp", "and rsp, -16", "call {main}", "ud2", main = sym main);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x0, sp", "bl {main}", "brk #1", main = sym main);

/// A raw system call.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, args: [usize; 5]) -> isize {
    let result;
    // SAFETY: the kernel keeps to its own convention; what the arguments mean is the caller's word.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// A raw system call.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, args: [usize; 5]) -> isize {
    let result;
    // SAFETY: as above.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] as isize => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
        );
    }
    result
}

const SIGCHLD: usize = 17;
const SIGTTIN: usize = 21;
const SIGTTOU: usize = 22;
const TIOCSPGRP: usize = 0x5410;
const ENOENT: isize = -2;
const EACCES: isize = -13;
const ENOTDIR: isize = -20;

fn exit(code: usize) -> ! {
    // SAFETY: ends the process.
    unsafe { call(numbers::EXIT_GROUP, [code, 0, 0, 0, 0]) };
    loop {}
}

/// Sets the signal mask; the kernel's set has 64 bits.
fn set_mask(mask: u64) {
    const SET: usize = 2;
    // SAFETY: the mask lives until the call is over.
    unsafe { call(numbers::RT_SIGPROCMASK, [SET, &raw const mask as usize, 0, 8, 0]) };
}

/// The word of C at this address.
unsafe fn word<'a>(start: *const u8) -> &'a [u8] {
    let mut length = 0;
    // SAFETY: words that the kernel hands over end with a zero.
    unsafe {
        while *start.add(length) != 0 {
            length += 1;
        }
        core::slice::from_raw_parts(start, length)
    }
}

/// Executes `argv[0]`, looked for in PATH if it has no slash. Returns the error that says most.
unsafe fn execute(argv: *const *const u8, envp: *const *const u8) -> isize {
    // SAFETY: both are the kernel's own arrays, which end with a null.
    unsafe {
        let name = word(*argv);
        if name.contains(&b'/') {
            return call(numbers::EXECVE, [*argv as usize, argv as usize, envp as usize, 0, 0]);
        }
        let mut path: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let mut at = envp;
        while !(*at).is_null() {
            if let Some(value) = word(*at).strip_prefix(b"PATH=") {
                path = value;
            }
            at = at.add(1);
        }
        let mut error = ENOENT;
        for folder in path.split(|byte| *byte == b':') {
            let mut buffer = [0u8; 4096];
            let folder = if folder.is_empty() { b"." } else { folder };
            let end = folder.len() + 1 + name.len();
            if end >= buffer.len() {
                continue;
            }
            let (head, rest) = buffer.split_at_mut(folder.len());
            head.copy_from_slice(folder);
            rest[0] = b'/';
            rest[1..=name.len()].copy_from_slice(name);
            let result = call(numbers::EXECVE, [buffer.as_ptr() as usize, argv as usize, envp as usize, 0, 0]);
            if result != ENOENT && result != ENOTDIR {
                error = result;
            }
        }
        error
    }
}

fn say(text: &[u8]) {
    // SAFETY: the text lives until the call is over.
    unsafe { call(numbers::WRITE, [2, text.as_ptr() as usize, text.len(), 0, 0]) };
}

extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the kernel puts argc, argv and envp there.
    let (argc, argv) = unsafe { (*stack, stack.add(1).cast::<*const u8>()) };
    // SAFETY: envp follows the null that ends argv.
    let envp = unsafe { argv.add(argc + 1) };
    let mut first = 1;
    // SAFETY: below argc there are words.
    if argc > 1 && unsafe { word(*argv.add(1)) } == b"--" {
        first = 2;
    }
    if first >= argc {
        say(b"init: no command\n");
        exit(125);
    }
    // What means a fault of its own must not be waited for (ILL TRAP ABRT BUS FPE SEGV SYS).
    let faults: u64 = [4, 5, 6, 7, 8, 11, 31].iter().fold(0, |mask, signal| mask | 1 << (signal - 1));
    let ours = !faults;
    set_mask(ours);
    // SAFETY: a plain copy, as fork(2) makes.
    let child = unsafe { call(numbers::CLONE, [SIGCHLD, 0, 0, 0, 0]) };
    if child == 0 {
        foreground();
        set_mask(0);
        // SAFETY: from `first` on there is at least one word.
        let error = unsafe { execute(argv.add(first), envp) };
        say(b"init: the program could not be executed\n");
        exit(if error == EACCES { 126 } else { 127 });
    }
    if child < 0 {
        say(b"init: fork failed\n");
        exit(125);
    }
    serve(child as usize, ours)
}

/// Gives the caller a process group of its own, the one that the terminal (if any) talks to. The
/// signal that asks whether it may is blocked here.
fn foreground() {
    // SAFETY: these touch the caller itself and its terminal only.
    unsafe {
        call(numbers::SETPGID, [0; 5]);
        let group = call(numbers::GETPID, [0; 5]) as i32;
        call(numbers::IOCTL, [0, TIOCSPGRP, &raw const group as usize, 0, 0]);
    }
}

fn serve(child: usize, ours: u64) -> ! {
    loop {
        // SAFETY: the mask lives until the call is over; no information and no timeout are asked for.
        let signal = unsafe { call(numbers::RT_SIGTIMEDWAIT, [&raw const ours as usize, 0, 0, 8, 0]) };
        match usize::try_from(signal) {
            Ok(SIGCHLD) => reap(child),
            // Stopping init would stop nothing but the handing on.
            Ok(SIGTTIN | SIGTTOU) | Err(_) => {}
            // SAFETY: a signal for one process.
            Ok(signal) => {
                unsafe { call(numbers::KILL, [child, signal, 0, 0, 0]) };
            }
        }
    }
}

fn reap(child: usize) {
    const NO_HANG: usize = 1;
    loop {
        let mut status: i32 = 0;
        // SAFETY: the status lives until the call is over.
        let pid = unsafe { call(numbers::WAIT4, [usize::MAX, &raw mut status as usize, NO_HANG, 0, 0]) };
        if pid <= 0 {
            return;
        }
        if pid as usize == child {
            let signal = status & 0x7f;
            exit(if signal == 0 { (status >> 8 & 0xff) as usize } else { 128 + signal as usize });
        }
    }
}

// What the compiler calls by name where there is no libc. Volatile, so that it does not see them for
// what they are and let them call themselves.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    for at in 0..length {
        // SAFETY: the caller says that both have so many bytes.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    for at in 0..length {
        // SAFETY: the caller says that there are so many bytes.
        unsafe { to.add(at).write_volatile(byte as u8) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    for at in 0..length {
        // SAFETY: the caller says that both have so many bytes.
        if unsafe { a.add(at).read_volatile() != b.add(at).read_volatile() } {
            return 1;
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    for at in 0..length {
        // SAFETY: as above.
        let (a, b) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the text ends with a zero.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// Named by core's own code, never called: a panic ends the process.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(125)
}
