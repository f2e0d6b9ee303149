//! What the host calls. Both share one buffer: a call says how many bytes of it are meant.
//!
//! The host calls nothing while it is called, and there is one thread: nothing is used twice at
//! once.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::UnsafeCell;

use crate::authority::Authority;
use crate::connection::{Connection, Progress};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

const BUFFER_SIZE: usize = 128 << 10;

const ESTABLISHED: u32 = 1;
const ENDED: u32 = 2;
const FAILED: u32 = 4;
const DISTRUSTED: u32 = 8;

struct State {
    /// Empty until it is asked for: in the module, it would be 128 KiB of zeros.
    buffer: Vec<u8>,
    authority: Option<Arc<Authority>>,
    connections: Vec<Option<Box<Connection>>>,
}

struct Shared(UnsafeCell<State>);

// SAFETY: there is one thread.
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State {
    buffer: Vec::new(),
    authority: None,
    connections: Vec::new(),
}));

fn state() -> &'static mut State {
    // SAFETY: there is one thread, each export calls this once, and the host calls none of them
    // from within another one.
    unsafe { &mut *STATE.0.get() }
}

impl State {
    fn connection(&mut self, handle: usize) -> Option<(&mut Connection, &mut [u8])> {
        let connection = self.connections.get_mut(handle)?.as_mut()?;
        Some((connection, &mut self.buffer))
    }

    fn put(&mut self, data: &[u8]) -> usize {
        let size = data.len().min(self.buffer.len());
        self.buffer[..size].copy_from_slice(&data[..size]);
        size
    }
}

/// Where the buffer is.
#[no_mangle]
pub extern "C" fn buffer() -> *const u8 {
    let buffer = &mut state().buffer;
    buffer.resize(BUFFER_SIZE, 0);
    buffer.as_ptr()
}

/// How many bytes it has.
#[no_mangle]
pub extern "C" fn buffer_size() -> usize {
    BUFFER_SIZE
}

/// Makes a new authority, at a time in seconds since 1970.
#[no_mangle]
pub extern "C" fn create_authority(now: f64) {
    state().authority = Some(Arc::new(Authority::new(now as u64)));
}

/// Takes the authority that `size` bytes of the buffer describe; returns 0 where they do not.
#[no_mangle]
pub extern "C" fn restore_authority(size: usize) -> u32 {
    let state = state();
    let Some(found) = state.buffer.get(..size).and_then(Authority::from_bytes) else {
        return 0;
    };
    state.authority = Some(Arc::new(found));
    1
}

/// Puts into the buffer what describes the authority, its secret key included.
#[no_mangle]
pub extern "C" fn save_authority() -> usize {
    let state = state();
    let Some(authority) = state.authority.clone() else {
        return 0;
    };
    state.put(&authority.to_bytes())
}

/// Puts the authority's certificate into the buffer, in DER.
#[no_mangle]
pub extern "C" fn certificate() -> usize {
    let state = state();
    let Some(authority) = state.authority.clone() else {
        return 0;
    };
    state.put(authority.certificate())
}

/// Begins with a connection to a host, whose name is in the buffer. Returns its number, or -1.
#[no_mangle]
pub extern "C" fn open(size: usize, now: f64) -> i32 {
    let state = state();
    let Some(authority) = &state.authority else {
        return -1;
    };
    let Some(host) = state
        .buffer
        .get(..size)
        .and_then(|it| core::str::from_utf8(it).ok())
    else {
        return -1;
    };
    let Ok(connection) = Connection::new(authority, host, now as u64) else {
        return -1;
    };
    let connection = Some(Box::new(connection));
    match state.connections.iter().position(Option::is_none) {
        Some(at) => {
            state.connections[at] = connection;
            at as i32
        }
        None => {
            state.connections.push(connection);
            state.connections.len() as i32 - 1
        }
    }
}

/// Lets a connection take what the client has sent, and returns how far it is.
#[no_mangle]
pub extern "C" fn receive(handle: usize, size: usize) -> u32 {
    let Some((connection, buffer)) = state().connection(handle) else {
        return FAILED;
    };
    connection.receive(buffer.get(..size).unwrap_or_default());
    bits(connection.progress())
}

/// Lets a connection send.
#[no_mangle]
pub extern "C" fn send(handle: usize, size: usize) {
    if let Some((connection, buffer)) = state().connection(handle) {
        connection.send(buffer.get(..size).unwrap_or_default());
    }
}

/// Lets a connection say that it will send no more.
#[no_mangle]
pub extern "C" fn finish(handle: usize) {
    if let Some((connection, _)) = state().connection(handle) {
        connection.finish();
    }
}

/// Moves to the buffer what the client is to be sent, as much as there is room for.
#[no_mangle]
pub extern "C" fn take_encrypted(handle: usize) -> usize {
    let Some((connection, buffer)) = state().connection(handle) else {
        return 0;
    };
    take(connection.encrypted(), buffer)
}

/// Moves to the buffer what the client has said, as much as there is room for.
#[no_mangle]
pub extern "C" fn take_plain(handle: usize) -> usize {
    let Some((connection, buffer)) = state().connection(handle) else {
        return 0;
    };
    take(connection.plain(), buffer)
}

/// Puts into the buffer what is wrong with a connection, a text.
#[no_mangle]
pub extern "C" fn failure(handle: usize) -> usize {
    let Some((connection, buffer)) = state().connection(handle) else {
        return 0;
    };
    let text = connection.failure().as_bytes();
    let size = text.len().min(buffer.len());
    buffer[..size].copy_from_slice(&text[..size]);
    size
}

/// Forgets a connection.
#[no_mangle]
pub extern "C" fn close(handle: usize) {
    if let Some(place) = state().connections.get_mut(handle) {
        *place = None;
    }
}

fn bits(progress: Progress) -> u32 {
    let bit = |set, bit| if set { bit } else { 0 };
    bit(progress.established, ESTABLISHED)
        | bit(progress.ended, ENDED)
        | bit(progress.failed, FAILED)
        | bit(progress.distrusted, DISTRUSTED)
}

fn take(from: &mut Vec<u8>, buffer: &mut [u8]) -> usize {
    let size = from.len().min(buffer.len());
    buffer[..size].copy_from_slice(&from[..size]);
    if size == from.len() {
        *from = Vec::new();
    } else {
        from.drain(..size);
    }
    size
}
