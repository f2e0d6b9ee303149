//! The real processor: executes one instruction on a given state.
//!
//! State goes in and out by FXRSTOR64 and FXSAVE64, which do not look at pending exceptions: an unmasked
//! exception is seen in the status word and does not become a signal.

use std::ffi::c_void;

extern "C" {
    fn mmap(
        at: *mut c_void,
        length: usize,
        protection: i32,
        flags: i32,
        file: i32,
        offset: i64,
    ) -> *mut c_void;
    fn mprotect(at: *mut c_void, length: usize, protection: i32) -> i32;
    fn munmap(at: *mut c_void, length: usize) -> i32;
    fn fork() -> i32;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    fn setrlimit(resource: i32, limit: *const [u64; 2]) -> i32;
    fn _exit(status: i32) -> !;
}

const PROT_READ: i32 = 1;
const PROT_WRITE: i32 = 2;
const PROT_EXEC: i32 = 4;
const MAP_PRIVATE: i32 = 2;
const MAP_ANONYMOUS: i32 = 0x20;
const RLIMIT_CORE: i32 = 4;
/// Signal of an invalid opcode.
pub const SIGILL: i32 = 4;
/// Signal of a pending x87 exception.
pub const SIGFPE: i32 = 8;

/// FXSAVE's area.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Image(pub [u8; 512]);

/// What RAX holds before an instruction.
pub const RAX: u64 = 0x1234;
const PAGE: usize = 4096;

/// (state in, state out, memory operand, EFLAGS in, EFLAGS out) -> RAX
type Code = unsafe extern "sysv64" fn(*const Image, *mut Image, *mut u8, u64, *mut u64) -> u64;

/// Machine code around one instruction, in a page of its own; the next page holds its memory operand.
pub struct Stub {
    pages: *mut c_void,
}

/// What comes before the instruction.
const BEFORE: [u8; 11] = [
    0xb8, 0x34, 0x12, 0x00, 0x00, // mov eax, RAX
    0x48, 0x0f, 0xae, 0x0f, // fxrstor64 [rdi]
    0x51, 0x9d, // push rcx; popfq
];
/// What comes after it.
const AFTER: [u8; 12] = [
    0x9c, 0x59, // pushfq; pop rcx
    0x48, 0x0f, 0xae, 0x06, // fxsave64 [rsi]
    0xdb, 0xe3, // fninit
    0x49, 0x89, 0x08, // mov [r8], rcx
    0xc3, // ret
];

impl Stub {
    /// A memory operand of the instruction has to be at [RDX].
    pub fn new(instruction: &[u8]) -> Stub {
        let code = [&BEFORE, instruction, &AFTER].concat();
        assert!(code.len() <= PAGE);
        // SAFETY: an anonymous mapping of its own, filled before it becomes executable.
        unsafe {
            let pages = mmap(
                std::ptr::null_mut(),
                2 * PAGE,
                PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(pages as isize, -1, "no memory for machine code");
            std::ptr::copy_nonoverlapping(code.as_ptr(), pages as *mut u8, code.len());
            assert_eq!(mprotect(pages, PAGE, PROT_READ | PROT_EXEC), 0);
            Stub { pages }
        }
    }

    /// Address of the instruction.
    pub fn instruction(&self) -> u64 {
        (self.pages as usize + BEFORE.len()) as u64
    }

    /// Address of its memory operand.
    pub fn operand(&self) -> u64 {
        (self.pages as usize + PAGE) as u64
    }

    /// Executes the instruction. Returns the state, RAX and EFLAGS.
    pub fn execute(&self, state: &Image, memory: &mut [u8; 128], flags: u64) -> (Image, u64, u64) {
        let mut out = Image([0; 512]);
        let mut flags_out = 0;
        // SAFETY: the code touches only its arguments and the registers that the calling convention gives
        // it. It leaves the x87 unit initialized.
        let rax = unsafe {
            let operand = self.operand() as *mut [u8; 128];
            *operand = *memory;
            let code: Code = std::mem::transmute(self.pages);
            let rax = code(
                state,
                &mut out,
                operand as *mut u8,
                flags | 0x202,
                &mut flags_out,
            );
            *memory = *operand;
            rax
        };
        (out, rax, flags_out)
    }

    /// The signal that the instruction ends a process with, if it does.
    pub fn signal(&self, state: &Image) -> Option<i32> {
        // SAFETY: the child only executes the stub, which needs nothing that another thread may hold.
        unsafe {
            let child = fork();
            assert_ne!(child, -1, "no other process");
            if child == 0 {
                setrlimit(RLIMIT_CORE, &[0, 0]);
                self.execute(state, &mut [0; 128], 0);
                _exit(0);
            }
            let mut status = 0;
            assert_eq!(waitpid(child, &mut status, 0), child);
            match status & 0x7f {
                0 => None,
                signal => Some(signal),
            }
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // SAFETY: nothing else refers to the pages.
        unsafe { munmap(self.pages, 2 * PAGE) };
    }
}
