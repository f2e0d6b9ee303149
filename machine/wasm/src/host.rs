//! What is asked of the host, and what a Rust program needs to be one.

mod imports {
    #[link(wasm_import_module = "host")]
    extern "C" {
        /// Milliseconds since any moment.
        pub fn now() -> f64;
        /// Fills with bytes that nobody can know.
        pub fn random(address: *mut u8, length: usize);
        /// Ends the machine with a message (UTF-8).
        pub fn fail(message: *const u8, length: usize) -> !;
    }
}

pub fn now() -> f64 {
    unsafe { imports::now() }
}

pub fn random(bytes: &mut [u8]) {
    unsafe { imports::random(bytes.as_mut_ptr(), bytes.len()) }
}

pub fn fail(message: &str) -> ! {
    unsafe { imports::fail(message.as_ptr(), message.len()) }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    fail(&alloc::format!("{info}"))
}
