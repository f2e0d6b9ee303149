//! What is used of WASI, preview 1: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md

use alloc::vec;
use alloc::vec::Vec;

const AGAIN: u16 = 6;
const NONBLOCK: u16 = 1 << 2;
const MONOTONIC: u32 = 1;
const CLOCK: u8 = 0;
const READ: u8 = 1;
const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;

#[repr(C)]
struct Place {
    address: *const u8,
    length: usize,
}

mod imports {
    use super::Place;

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    extern "C" {
        pub fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u16;
        pub fn fd_read(fd: u32, places: *const Place, count: usize, read: *mut usize) -> u16;
        pub fn fd_write(fd: u32, places: *const Place, count: usize, written: *mut usize) -> u16;
        pub fn fd_fdstat_set_flags(fd: u32, flags: u16) -> u16;
        pub fn poll_oneoff(wanted: *const u8, events: *mut u8, count: usize, happened: *mut usize) -> u16;
        pub fn proc_exit(code: u32) -> !;
        pub fn random_get(address: *mut u8, length: usize) -> u16;
        pub fn sock_accept(fd: u32, flags: u16, accepted: *mut u32) -> u16;
    }
}

/// Nanoseconds since any moment.
pub fn now() -> u64 {
    let mut time = 0;
    unsafe { imports::clock_time_get(MONOTONIC, 0, &mut time) };
    time
}

pub fn random(bytes: &mut [u8]) {
    unsafe { imports::random_get(bytes.as_mut_ptr(), bytes.len()) };
}

pub fn exit(code: u32) -> ! {
    unsafe { imports::proc_exit(code) }
}

/// Has reads of it come back when there is nothing.
pub fn never_waits(fd: u32) {
    unsafe { imports::fd_fdstat_set_flags(fd, NONBLOCK) };
}

pub fn accept(listener: u32) -> Option<u32> {
    let mut fd = 0;
    (unsafe { imports::sock_accept(listener, NONBLOCK, &mut fd) } == 0).then_some(fd)
}

/// What there is to read, at most so much; None where it has ended or cannot be read.
pub fn read(fd: u32, most: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; most];
    let place = Place { address: bytes.as_ptr(), length: most };
    let mut length = 0;
    match unsafe { imports::fd_read(fd, &place, 1, &mut length) } {
        0 if length == 0 => return None,
        0 => {}
        AGAIN => length = 0,
        _ => return None,
    }
    bytes.truncate(length);
    Some(bytes)
}

/// Writes all of it. False where that cannot be.
pub fn write(fd: u32, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let place = Place { address: bytes.as_ptr(), length: bytes.len() };
        let mut length = 0;
        if unsafe { imports::fd_write(fd, &place, 1, &mut length) } != 0 {
            return false;
        }
        bytes = &bytes[length..];
    }
    true
}

/// Waits until there is something to read of one of these, or so many nanoseconds are over.
pub fn wait(fds: &[u32], nanoseconds: Option<u64>) {
    let count = fds.len() + usize::from(nanoseconds.is_some());
    let mut wanted = vec![0; count * SUBSCRIPTION];
    let mut events = vec![0; count * EVENT];
    for (entry, fd) in wanted.chunks_exact_mut(SUBSCRIPTION).zip(fds) {
        entry[8] = READ;
        entry[16..20].copy_from_slice(&fd.to_le_bytes());
    }
    if let Some(time) = nanoseconds {
        let entry = &mut wanted[fds.len() * SUBSCRIPTION..];
        entry[8] = CLOCK;
        entry[16..20].copy_from_slice(&MONOTONIC.to_le_bytes());
        entry[24..32].copy_from_slice(&time.to_le_bytes());
    }
    let mut happened = 0;
    unsafe { imports::poll_oneoff(wanted.as_ptr(), events.as_mut_ptr(), count, &mut happened) };
}
