//! The real processor: executes one x87 instruction on a given state.
//!
//! State goes in and out by FXRSTOR64 and FXSAVE64, which do not look at pending exceptions: an unmasked
//! exception is seen in the status word and never becomes a signal.

use std::ffi::c_void;

extern "C" {
    fn mmap(address: *mut c_void, length: usize, protection: i32, flags: i32, file: i32, offset: i64) -> *mut c_void;
    fn mprotect(address: *mut c_void, length: usize, protection: i32) -> i32;
}

const PROT_READ: i32 = 1;
const PROT_WRITE: i32 = 2;
const PROT_EXEC: i32 = 4;
const MAP_PRIVATE: i32 = 2;
const MAP_ANONYMOUS: i32 = 0x20;

/// FXSAVE's area.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Image(pub [u8; 512]);

/// Bytes of a stub.
const STUB: usize = 64;
/// Each of D8 to DF with each ModRM byte.
const STUBS: usize = 8 * 256;

/// Stub: (state in, state out, memory operand, EFLAGS in, EFLAGS out, registers in and out) -> RAX.
type Stub = unsafe extern "sysv64" fn(*const Image, *mut Image, *mut u8, u64, *mut u64) -> u64;

/// Machine code that executes each x87 instruction, and each MMX one that the tests ask for.
pub struct Processor {
    code: *mut u8,
}

impl Processor {
    pub fn new() -> Processor {
        let length = STUB * (STUBS + 1);
        // SAFETY: an anonymous mapping of its own, filled before it becomes executable.
        unsafe {
            let code = mmap(std::ptr::null_mut(), length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            assert_ne!(code as isize, -1, "no memory for machine code");
            let code = code as *mut u8;
            for index in 0..STUBS {
                let instruction = [0xd8 | (index >> 8) as u8, index as u8];
                write_stub(code.add(STUB * index), &instruction);
            }
            // EMMS
            write_stub(code.add(STUB * STUBS), &[0x0f, 0x77]);
            assert_eq!(mprotect(code as *mut c_void, length, PROT_READ | PROT_EXEC), 0);
            Processor { code }
        }
    }

    /// Executes the instruction of these two bytes; a memory operand is `memory`, for which ModRM has to
    /// be `memory_modrm`. Returns the state, RAX (0x1234 before) and EFLAGS.
    pub fn execute(&self, escape: u8, modrm: u8, state: &Image, memory: &mut [u8; 128], flags: u64) -> (Image, u64, u64) {
        self.call((escape as usize & 7) << 8 | modrm as usize, state, memory, flags)
    }

    /// Executes EMMS.
    pub fn emms(&self, state: &Image) -> Image {
        self.call(STUBS, state, &mut [0; 128], 0).0
    }

    fn call(&self, index: usize, state: &Image, memory: &mut [u8; 128], flags: u64) -> (Image, u64, u64) {
        let mut out = Image([0; 512]);
        let mut flags_out = 0;
        // SAFETY: the stub at this index touches only its arguments, and the registers that the calling
        // convention gives it. It leaves the x87 unit initialized.
        let rax = unsafe {
            let stub: Stub = std::mem::transmute(self.code.add(STUB * index));
            stub(state, &mut out, memory.as_mut_ptr(), flags | 0x202, &mut flags_out)
        };
        (out, rax, flags_out)
    }
}

/// The ModRM byte for a memory operand at [RDX].
pub fn memory_modrm(reg: u8) -> u8 {
    reg << 3 | 2
}

unsafe fn write_stub(at: *mut u8, instruction: &[u8]) {
    let mut code = vec![
        0xb8, 0x34, 0x12, 0x00, 0x00, // mov eax, 0x1234
        0x48, 0x0f, 0xae, 0x0f, // fxrstor64 [rdi]
        0x51, 0x9d, // push rcx; popfq
    ];
    code.extend_from_slice(instruction);
    code.extend_from_slice(&[
        0x9c, 0x59, // pushfq; pop rcx
        0x48, 0x0f, 0xae, 0x06, // fxsave64 [rsi]
        0xdb, 0xe3, // fninit
        0x49, 0x89, 0x08, // mov [r8], rcx
        0xc3, // ret
    ]);
    assert!(code.len() <= STUB);
    std::ptr::copy_nonoverlapping(code.as_ptr(), at, code.len());
}
