//! The real processor: executes one instruction with given registers, and catches its faults.

use core::arch::global_asm;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// Where code and data are, for the real processor and for ours alike.
pub const CODE: u64 = 0x1000_0000;
pub const DATA: u64 = 0x2000_0000;
pub const DATA_SIZE: u64 = 0x3000;

/// The registers before an instruction, and after it.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq)]
pub struct Registers {
    pub gpr: [u64; 16],
    pub flags: u64,
    pub rip: u64,
    pub mxcsr: u32,
    /// 0, or the signal that the instruction was answered with.
    pub signal: u32,
    pub reserved: [u64; 5],
    /// FXSAVE's format: x87 and XMM registers.
    pub fx: [u8; 512],
    /// Bits 128 to 255 of YMM0 to YMM15.
    pub ymm_high: [u8; 256],
}

#[no_mangle]
static mut BM_REGISTERS: Registers = Registers {
    gpr: [0; 16],
    flags: 0,
    rip: 0,
    mxcsr: 0,
    signal: 0,
    reserved: [0; 5],
    fx: [0; 512],
    ymm_high: [0; 256],
};
#[no_mangle]
static mut BM_HOST_STACK: u64 = 0;
#[no_mangle]
static mut BM_HOST_MXCSR: u32 = 0;

global_asm!(
    ".globl bm_enter",
    "bm_enter:",
    "push rbx; push rbp; push r12; push r13; push r14; push r15",
    "mov [rip + BM_HOST_STACK], rsp",
    "stmxcsr [rip + BM_HOST_MXCSR]",
    "fxrstor64 [rip + BM_REGISTERS + 192]",
    "vinsertf128 ymm0, ymm0, xmmword ptr [rip + BM_REGISTERS + 704], 1",
    "vinsertf128 ymm1, ymm1, xmmword ptr [rip + BM_REGISTERS + 720], 1",
    "vinsertf128 ymm2, ymm2, xmmword ptr [rip + BM_REGISTERS + 736], 1",
    "vinsertf128 ymm3, ymm3, xmmword ptr [rip + BM_REGISTERS + 752], 1",
    "vinsertf128 ymm4, ymm4, xmmword ptr [rip + BM_REGISTERS + 768], 1",
    "vinsertf128 ymm5, ymm5, xmmword ptr [rip + BM_REGISTERS + 784], 1",
    "vinsertf128 ymm6, ymm6, xmmword ptr [rip + BM_REGISTERS + 800], 1",
    "vinsertf128 ymm7, ymm7, xmmword ptr [rip + BM_REGISTERS + 816], 1",
    "vinsertf128 ymm8, ymm8, xmmword ptr [rip + BM_REGISTERS + 832], 1",
    "vinsertf128 ymm9, ymm9, xmmword ptr [rip + BM_REGISTERS + 848], 1",
    "vinsertf128 ymm10, ymm10, xmmword ptr [rip + BM_REGISTERS + 864], 1",
    "vinsertf128 ymm11, ymm11, xmmword ptr [rip + BM_REGISTERS + 880], 1",
    "vinsertf128 ymm12, ymm12, xmmword ptr [rip + BM_REGISTERS + 896], 1",
    "vinsertf128 ymm13, ymm13, xmmword ptr [rip + BM_REGISTERS + 912], 1",
    "vinsertf128 ymm14, ymm14, xmmword ptr [rip + BM_REGISTERS + 928], 1",
    "vinsertf128 ymm15, ymm15, xmmword ptr [rip + BM_REGISTERS + 944], 1",
    "push qword ptr [rip + BM_REGISTERS + 128]",
    "popfq",
    "mov rax, [rip + BM_REGISTERS]",
    "mov rcx, [rip + BM_REGISTERS + 8]",
    "mov rdx, [rip + BM_REGISTERS + 16]",
    "mov rbx, [rip + BM_REGISTERS + 24]",
    "mov rsp, [rip + BM_REGISTERS + 32]",
    "mov rbp, [rip + BM_REGISTERS + 40]",
    "mov rsi, [rip + BM_REGISTERS + 48]",
    "mov rdi, [rip + BM_REGISTERS + 56]",
    "mov r8, [rip + BM_REGISTERS + 64]",
    "mov r9, [rip + BM_REGISTERS + 72]",
    "mov r10, [rip + BM_REGISTERS + 80]",
    "mov r11, [rip + BM_REGISTERS + 88]",
    "mov r12, [rip + BM_REGISTERS + 96]",
    "mov r13, [rip + BM_REGISTERS + 104]",
    "mov r14, [rip + BM_REGISTERS + 112]",
    "mov r15, [rip + BM_REGISTERS + 120]",
    "jmp qword ptr [rip + BM_REGISTERS + 136]",
    ".globl bm_leave",
    "bm_leave:",
    "mov [rip + BM_REGISTERS], rax",
    "mov [rip + BM_REGISTERS + 8], rcx",
    "mov [rip + BM_REGISTERS + 16], rdx",
    "mov [rip + BM_REGISTERS + 24], rbx",
    "mov [rip + BM_REGISTERS + 32], rsp",
    "mov [rip + BM_REGISTERS + 40], rbp",
    "mov [rip + BM_REGISTERS + 48], rsi",
    "mov [rip + BM_REGISTERS + 56], rdi",
    "mov [rip + BM_REGISTERS + 64], r8",
    "mov [rip + BM_REGISTERS + 72], r9",
    "mov [rip + BM_REGISTERS + 80], r10",
    "mov [rip + BM_REGISTERS + 88], r11",
    "mov [rip + BM_REGISTERS + 96], r12",
    "mov [rip + BM_REGISTERS + 104], r13",
    "mov [rip + BM_REGISTERS + 112], r14",
    "mov [rip + BM_REGISTERS + 120], r15",
    "mov rsp, [rip + BM_HOST_STACK]",
    "pushfq",
    "pop qword ptr [rip + BM_REGISTERS + 128]",
    "fxsave64 [rip + BM_REGISTERS + 192]",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 704], ymm0, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 720], ymm1, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 736], ymm2, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 752], ymm3, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 768], ymm4, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 784], ymm5, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 800], ymm6, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 816], ymm7, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 832], ymm8, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 848], ymm9, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 864], ymm10, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 880], ymm11, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 896], ymm12, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 912], ymm13, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 928], ymm14, 1",
    "vextractf128 xmmword ptr [rip + BM_REGISTERS + 944], ymm15, 1",
    ".globl bm_faulted",
    "bm_faulted:",
    "mov rsp, [rip + BM_HOST_STACK]",
    "cld",
    "vzeroupper",
    "fninit",
    "ldmxcsr [rip + BM_HOST_MXCSR]",
    "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
    "ret",
);

extern "C" {
    fn bm_enter();
    fn bm_leave();
    fn bm_faulted();
}

/// Where a signal's context has the general registers, in our order.
const GENERAL: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

extern "C" fn handle(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        let registers = &mut context.uc_mcontext.gregs;
        let rip = registers[libc::REG_RIP as usize] as u64;
        // Only what the tested instruction does is caught.
        if !(CODE..CODE + 0x2000).contains(&rip) {
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        (&raw mut BM_REGISTERS.signal).write(signal as u32);
        (&raw mut BM_REGISTERS.rip).write(rip);
        let general = &raw mut BM_REGISTERS.gpr;
        for (i, &number) in GENERAL.iter().enumerate() {
            (*general)[i] = registers[number as usize] as u64;
        }
        (&raw mut BM_REGISTERS.flags).write(registers[libc::REG_EFL as usize] as u64);
        // The image that the kernel has saved: FXSAVE's, and behind it what XSAVE has in the standard format.
        let image = context.uc_mcontext.fpregs.cast::<u8>();
        (&raw mut BM_REGISTERS.fx).write(image.cast::<[u8; 512]>().read());
        let has_avx = image.add(512).read() & 4 != 0;
        let high = if has_avx { image.add(576).cast::<[u8; 256]>().read() } else { [0; 256] };
        (&raw mut BM_REGISTERS.ymm_high).write(high);
        registers[libc::REG_RIP as usize] = bm_faulted as *const () as i64;
    }
}

/// Maps code and data, and catches faults. Other tests wait as long as the result is kept: there is one place.
pub fn prepare() -> MutexGuard<'static, ()> {
    static ONCE: Once = Once::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    ONCE.call_once(|| unsafe {
        for (address, size, executable) in [(CODE, 0x2000, true), (DATA, DATA_SIZE, false)] {
            let protection =
                libc::PROT_READ | libc::PROT_WRITE | if executable { libc::PROT_EXEC } else { 0 };
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            let mapped = libc::mmap(address as *mut _, size as usize, protection, flags, -1, 0);
            assert_eq!(mapped as u64, address);
        }
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP] {
            let mut action: libc::sigaction = core::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            assert_eq!(libc::sigaction(signal, &action, core::ptr::null_mut()), 0);
        }
    });
    // Each thread has its own.
    unsafe {
        let size = 1 << 16;
        let stack = libc::stack_t {
            ss_sp: Box::leak(vec![0u8; size].into_boxed_slice()).as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: size,
        };
        assert_eq!(libc::sigaltstack(&stack, core::ptr::null_mut()), 0);
    }
    alone
}

/// Executes the instruction at `CODE`, and another one at `landing` when that is where it goes.
/// Registers are those after it; of one that has faulted, those that its handler finds, with the signal.
pub fn execute(instruction: &[u8], registers: &Registers) -> Registers {
    unsafe {
        let mut code = instruction.to_vec();
        // jmp [rip + 0], and where to.
        code.extend_from_slice(&[0xff, 0x25, 0, 0, 0, 0]);
        code.extend_from_slice(&(bm_leave as *const () as u64).to_le_bytes());
        core::ptr::copy_nonoverlapping(code.as_ptr(), CODE as *mut u8, code.len());
        let global = &raw mut BM_REGISTERS;
        global.write(Registers { rip: CODE, signal: 0, ..*registers });
        bm_enter();
        global.read()
    }
}

pub fn data() -> &'static mut [u8] {
    unsafe { core::slice::from_raw_parts_mut(DATA as *mut u8, DATA_SIZE as usize) }
}
