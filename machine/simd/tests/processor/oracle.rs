//! Runs one instruction on this computer's processor with a given state.

use iced_x86::code_asm::*;
use iced_x86::Instruction;
use simd::Ymm;

/// What an instruction reads and writes.
#[repr(C, align(32))]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct State {
    pub vector: [Ymm; 3],
    pub mmx: [u64; 2],
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rflags: u64,
    pub mxcsr: u32,
    /// Out: MXCSR as #XM found it; zero if it was not raised.
    pub raised: u32,
}

const MMX: i32 = 96;
const RAX: i32 = 112;
const RCX: i32 = 120;
const RDX: i32 = 128;
const RFLAGS: i32 = 136;
const MXCSR: i32 = 144;
const RAISED: usize = 148;

/// An instruction between the loads and the stores of the state.
pub struct Oracle {
    code: extern "C" fn(*mut State),
}

const ARENA: usize = 1 << 20;
const SLOT: usize = 512;

thread_local! {
    static FREE: std::cell::Cell<(usize, usize)> = const { std::cell::Cell::new((0, 0)) };
}

/// Executable memory for one instruction; kept until the process ends.
fn slot() -> usize {
    FREE.with(|free| {
        let (mut next, mut end) = free.get();
        if next == end {
            // SAFETY: a new private mapping.
            let base = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    ARENA,
                    libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            assert_ne!(base, libc::MAP_FAILED, "no executable memory: {}", std::io::Error::last_os_error());
            (next, end) = (base as usize, base as usize + ARENA);
        }
        free.set((next + SLOT, end));
        next
    })
}

/// Notes MXCSR and masks all exceptions, so that the instruction is executed again and goes through.
extern "C" fn on_exception(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: only the instructions of this module raise SIGFPE in this process, with the state's address in RDI.
    unsafe {
        let context = &mut *(context as *mut libc::ucontext_t);
        let state = context.uc_mcontext.gregs[libc::REG_RDI as usize] as *mut u8;
        let floating = &mut *context.uc_mcontext.fpregs;
        *(state.add(RAISED) as *mut u32) = floating.mxcsr;
        floating.mxcsr |= 0x1f80;
    }
}

fn catch_exceptions() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: plain registration of a handler that is safe to call at any time.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_exception as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGFPE, &action, std::ptr::null_mut()), 0);
        }
    });
}

impl Oracle {
    /// For an instruction on registers 0 to 2, RAX, RCX and RDX. `wide`: with 256-bit registers.
    pub fn new(instruction: Instruction, wide: bool) -> Self {
        Self::build(instruction, wide).unwrap_or_else(|error| panic!("{instruction:?}: {error}"))
    }

    fn build(instruction: Instruction, wide: bool) -> Result<Self, iced_x86::IcedError> {
        catch_exceptions();
        let mut a = CodeAssembler::new(64)?;
        a.ldmxcsr(dword_ptr(rdi + MXCSR))?;
        if wide {
            a.vmovdqu(ymm0, ymmword_ptr(rdi))?;
            a.vmovdqu(ymm1, ymmword_ptr(rdi + 32))?;
            a.vmovdqu(ymm2, ymmword_ptr(rdi + 64))?;
        } else {
            a.movdqu(xmm0, xmmword_ptr(rdi))?;
            a.movdqu(xmm1, xmmword_ptr(rdi + 32))?;
            a.movdqu(xmm2, xmmword_ptr(rdi + 64))?;
        }
        a.movq(mm0, qword_ptr(rdi + MMX))?;
        a.movq(mm1, qword_ptr(rdi + MMX + 8))?;
        a.mov(rax, qword_ptr(rdi + RAX))?;
        a.mov(rcx, qword_ptr(rdi + RCX))?;
        a.mov(rdx, qword_ptr(rdi + RDX))?;
        a.push(qword_ptr(rdi + RFLAGS))?;
        a.popfq()?;
        a.add_instruction(instruction)?;
        a.pushfq()?;
        a.pop(qword_ptr(rdi + RFLAGS))?;
        a.stmxcsr(dword_ptr(rdi + MXCSR))?;
        a.mov(qword_ptr(rdi + RAX), rax)?;
        a.mov(qword_ptr(rdi + RCX), rcx)?;
        a.mov(qword_ptr(rdi + RDX), rdx)?;
        a.movq(qword_ptr(rdi + MMX), mm0)?;
        a.movq(qword_ptr(rdi + MMX + 8), mm1)?;
        a.emms()?;
        if wide {
            a.vmovdqu(ymmword_ptr(rdi), ymm0)?;
            a.vmovdqu(ymmword_ptr(rdi + 32), ymm1)?;
            a.vmovdqu(ymmword_ptr(rdi + 64), ymm2)?;
            a.vzeroupper()?;
        } else {
            a.movdqu(xmmword_ptr(rdi), xmm0)?;
            a.movdqu(xmmword_ptr(rdi + 32), xmm1)?;
            a.movdqu(xmmword_ptr(rdi + 64), xmm2)?;
        }
        // Rust's code expects the state after reset.
        a.push(0x1f80)?;
        a.ldmxcsr(dword_ptr(rsp))?;
        a.add(rsp, 8)?;
        a.ret()?;
        let at = slot();
        let bytes = a.assemble(at as u64)?;
        assert!(bytes.len() <= SLOT);
        // SAFETY: the slot is ours, writable and executable; the bytes are a function of this type.
        let code = unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len());
            std::mem::transmute::<usize, extern "C" fn(*mut State)>(at)
        };
        Ok(Oracle { code })
    }

    /// The state after the instruction.
    pub fn run(&self, mut state: State) -> State {
        state.raised = 0;
        (self.code)(&mut state);
        state
    }
}
