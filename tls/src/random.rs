//! Randomness, which is the host's: the browser's `crypto.getRandomValues`, or the system's.

use rustls::crypto::{GetRandomFailed, SecureRandom};

/// What the host gives.
#[derive(Debug)]
pub(crate) struct Random;

impl SecureRandom for Random {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        fill(buffer);
        Ok(())
    }
}

/// Some random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut buffer = [0; N];
    fill(&mut buffer);
    buffer
}

fn fill(buffer: &mut [u8]) {
    #[link(wasm_import_module = "host")]
    extern "C" {
        /// Fills memory with random bytes. It cannot fail: where the host has none, it traps.
        fn random(start: *mut u8, size: usize);
    }
    // SAFETY: the host writes to these bytes alone.
    unsafe { random(buffer.as_mut_ptr(), buffer.len()) }
}
