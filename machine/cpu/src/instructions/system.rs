//! System instructions, and those that change how the processor works.

use iced_x86::{Code, Instruction, Mnemonic, Register};

use super::{invalid, is_memory, load_rm, operand_size, pick, set_zf, Dword, Qword, Width, Word};
use crate::control::{CR0_TS, CR4_FSGSBASE, CR4_TSD, EFER_SCE};
use crate::cpuid::{cpuid, Level, View};
use crate::decode::{Handler, Op};
use crate::exception::{DF, GENERAL_PROTECTION, IF, INVALID_OPCODE, RF, VM};
use crate::memory::Scalar;
use crate::segment::{Segment, Table, DS, ES, FS, GS, SS};
use crate::state::{Mode, R11, RAX, RBX, RCX, RDX, RSP};
use crate::{Cpu, Step, Stop};

fn nothing(_: &mut Cpu, _: &Op) -> Step {
    Ok(())
}

impl Cpu {
    /// No interrupt before the next instruction is done.
    pub fn shadow_interrupts(&mut self) {
        self.shadow = true;
        self.interrupt_slice();
    }

    fn privileged(&mut self) -> Step {
        if self.privilege() != 0 {
            return self.raise(GENERAL_PROTECTION, 0);
        }
        Ok(())
    }
}

fn halt(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()?;
    Err(Stop::Halt)
}

fn interrupts_off(cpu: &mut Cpu, _: &Op) -> Step {
    if u64::from(cpu.privilege()) > cpu.state.system_flags >> 12 & 3 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.state.system_flags &= !IF;
    Ok(())
}

fn interrupts_on(cpu: &mut Cpu, _: &Op) -> Step {
    if u64::from(cpu.privilege()) > cpu.state.system_flags >> 12 & 3 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    if cpu.state.system_flags & IF == 0 {
        cpu.state.system_flags |= IF;
        cpu.shadow_interrupts();
        return Err(Stop::Leave);
    }
    Ok(())
}

fn direction_clear(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.state.system_flags &= !DF;
    Ok(())
}

fn direction_set(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.state.system_flags |= DF;
    Ok(())
}

// -- Control registers and model-specific ones ---------------------------------------

fn read_control(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let value = cpu.read_control(op.b)?;
    full_register(cpu, op.a, value);
    Ok(())
}

fn write_control(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let value = cpu.state.gpr[op.b as usize];
    cpu.write_control(op.a, value)?;
    Err(Stop::Leave)
}

/// Registers are moved to and from control registers whole.
fn full_register(cpu: &mut Cpu, register: u8, value: u64) {
    if cpu.long() {
        Qword::set(cpu, register, value);
    } else {
        Dword::set(cpu, register, value);
    }
}

fn read_debug(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let value = cpu.control.dr[debug_number(op.b)];
    full_register(cpu, op.a, value);
    Ok(())
}

/// Breakpoints are kept, but never hit.
fn write_debug(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let value = cpu.state.gpr[op.b as usize];
    let number = debug_number(op.a);
    if number >= 6 && value >> 32 != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.control.dr[number] = match number {
        6 => value & 0xe00f | 0xffff_0ff0,
        7 => value & 0xffff_2bff | 0x400,
        _ => value,
    };
    Ok(())
}

/// DR4 and DR5 are other names of DR6 and DR7.
fn debug_number(number: u8) -> usize {
    match number & 7 {
        4 => 6,
        5 => 7,
        other => other as usize,
    }
}

fn clear_task_switched(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()?;
    cpu.control.cr0 &= !CR0_TS;
    Ok(())
}

fn store_machine_status<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let value = cpu.control.cr0;
    if MEMORY {
        let va = cpu.address(op);
        return cpu.store::<u16>(va, value as u16);
    }
    W::set(cpu, op.a, value & W::MASK);
    Ok(())
}

fn load_machine_status<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let value = load_rm::<Word, MEMORY>(cpu, op, op.a)?;
    // PE can be set, not cleared.
    let cr0 = cpu.control.cr0 & !0xe | value & 0xf;
    cpu.write_control(0, cr0)?;
    Err(Stop::Leave)
}

fn read_msr(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()?;
    let value = cpu.read_msr(cpu.state.gpr[RCX] as u32)?;
    cpu.state.gpr[RAX] = value & 0xffff_ffff;
    cpu.state.gpr[RDX] = value >> 32;
    Ok(())
}

fn write_msr(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()?;
    let value = cpu.state.gpr[RDX] << 32 | cpu.state.gpr[RAX] & 0xffff_ffff;
    cpu.write_msr(cpu.state.gpr[RCX] as u32, value)?;
    Err(Stop::Leave)
}

fn read_time(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.control.cr4 & CR4_TSD != 0 && cpu.privilege() != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let tsc = cpu.tsc();
    cpu.state.gpr[RAX] = tsc & 0xffff_ffff;
    cpu.state.gpr[RDX] = tsc >> 32;
    Ok(())
}

fn read_time_and_processor(cpu: &mut Cpu, op: &Op) -> Step {
    read_time(cpu, op)?;
    cpu.state.gpr[RCX] = cpu.control.tsc_aux;
    Ok(())
}

fn identify(cpu: &mut Cpu, _: &Op) -> Step {
    let leaf = cpu.state.gpr[RAX] as u32;
    let subleaf = cpu.state.gpr[RCX] as u32;
    let view = View {
        level: if cpu.privilege() == 0 { Level::V3 } else { cpu.level },
        os_xsave: cpu.control.cr4 & crate::control::CR4_OSXSAVE != 0,
        xcr0: cpu.control.xcr0,
    };
    let [eax, ebx, ecx, edx] = cpuid(leaf, subleaf, view);
    cpu.state.gpr[RAX] = u64::from(eax);
    cpu.state.gpr[RBX] = u64::from(ebx);
    cpu.state.gpr[RCX] = u64::from(ecx);
    cpu.state.gpr[RDX] = u64::from(edx);
    Ok(())
}

fn invalidate_page(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let va = cpu.address(op);
    cpu.invalidate_page(va);
    Err(Stop::Leave)
}

fn invalidate_pcid(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let va = cpu.address(op);
    let [pcid, linear] = cpu.load128(va)?;
    let kind = cpu.state.gpr[op.a as usize];
    cpu.invalidate_pcid(kind, pcid, linear)?;
    Err(Stop::Leave)
}

fn cache_control(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()
}

/// CLFLUSH and CLWB: the address has to be there.
fn flush_line(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    cpu.load::<u8>(va).map(|_| ())
}

// -- Segments ---------------------------------------------------------------------------

fn store_segment<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = u64::from(cpu.segments[op.b as usize].selector);
    if MEMORY {
        let va = cpu.address(op);
        return cpu.store::<u16>(va, selector as u16);
    }
    W::set(cpu, op.a, selector);
    Ok(())
}

fn load_segment<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = load_rm::<Word, MEMORY>(cpu, op, op.b)? as u16;
    cpu.load_segment(op.a as usize, selector)?;
    if op.a as usize == SS {
        cpu.shadow_interrupts();
    }
    Err(Stop::Leave)
}

/// LDS, LES, LFS, LGS and LSS, the segment's number in `c`.
fn load_far<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let va = cpu.address(op);
    let offset = W::load(cpu, va)?;
    let selector = cpu.load::<u16>(va.wrapping_add(W::Value::SIZE))?;
    cpu.load_segment(op.c as usize, selector)?;
    W::set(cpu, op.a, offset);
    Err(Stop::Leave)
}

fn store_table<const INTERRUPTS: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let table = if INTERRUPTS { cpu.idtr } else { cpu.gdtr };
    let va = cpu.address(op);
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&table.limit.to_le_bytes());
    bytes[2..].copy_from_slice(&table.base.to_le_bytes());
    let size = if cpu.long() { 10 } else { 6 };
    cpu.store_bytes(va, &bytes[..size])
}

fn load_table<const INTERRUPTS: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let va = cpu.address(op);
    let limit = cpu.load::<u16>(va)?;
    let base = if cpu.long() {
        cpu.load::<u64>(va.wrapping_add(2))?
    } else {
        u64::from(cpu.load::<u32>(va.wrapping_add(2))?)
    };
    if !crate::paging::canonical(base) {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let table = Table { base, limit, reserved: [0; 3] };
    if INTERRUPTS {
        cpu.idtr = table;
    } else {
        cpu.gdtr = table;
    }
    Ok(())
}

fn load_local_table<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let selector = load_rm::<Word, MEMORY>(cpu, op, op.a)? as u16;
    if selector & 0xfffc == 0 {
        cpu.ldtr = Segment::null(selector);
        return Ok(());
    }
    let segment = cpu.load_system_segment(selector)?;
    if segment.kind() != 2 {
        return cpu.raise(GENERAL_PROTECTION, u32::from(selector & 0xfffc));
    }
    cpu.ldtr = segment;
    Ok(())
}

fn load_task<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.privileged()?;
    let selector = load_rm::<Word, MEMORY>(cpu, op, op.a)? as u16;
    cpu.load_task(selector)
}

fn store_system_selector<const TASK: bool, const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = if TASK { cpu.tr.selector } else { cpu.ldtr.selector };
    if MEMORY {
        let va = cpu.address(op);
        return cpu.store::<u16>(va, selector);
    }
    W::set(cpu, op.a, u64::from(selector));
    Ok(())
}

/// The segment that LAR, LSL, VERR or VERW asks about, where it may be seen.
fn visible(cpu: &mut Cpu, selector: u16) -> Result<Option<Segment>, Stop> {
    let Some(segment) = cpu.try_descriptor(selector)? else {
        return Ok(None);
    };
    let privilege = cpu.privilege().max((selector & 3) as u8);
    Ok(Some(segment).filter(|segment| segment.conforming() || segment.privilege() >= privilege))
}

fn access_rights<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = load_rm::<Word, MEMORY>(cpu, op, op.b)? as u16;
    let segment = visible(cpu, selector)?
        .filter(|segment| !segment.is_system() || matches!(segment.kind(), 2 | 9 | 11 | 12));
    if let Some(segment) = segment {
        W::set(cpu, op.a, u64::from(segment.access) << 8);
    }
    set_zf(cpu, segment.is_some());
    Ok(())
}

fn segment_limit<const MEMORY: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = load_rm::<Word, MEMORY>(cpu, op, op.b)? as u16;
    let segment = visible(cpu, selector)?
        .filter(|segment| !segment.is_system() || matches!(segment.kind(), 2 | 9 | 11));
    if let Some(segment) = segment {
        W::set(cpu, op.a, u64::from(segment.limit));
    }
    set_zf(cpu, segment.is_some());
    Ok(())
}

fn verify<const WRITE: bool, const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let selector = load_rm::<Word, MEMORY>(cpu, op, op.a)? as u16;
    let can = visible(cpu, selector)?.is_some_and(|segment| {
        !segment.is_system() && if WRITE { segment.writable() } else { segment.readable() }
    });
    set_zf(cpu, can);
    Ok(())
}

/// ARPL, which 64-bit code does not have.
fn adjust_requested_privilege<const MEMORY: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    let privilege = Word::get(cpu, op.b) & 3;
    let va = if MEMORY { cpu.address(op) } else { 0 };
    let selector = if MEMORY { Word::load(cpu, va)? } else { Word::get(cpu, op.a) };
    let raises = selector & 3 < privilege;
    if raises {
        let selector = selector & !3 | privilege;
        if MEMORY {
            Word::store(cpu, va, selector)?;
        } else {
            Word::set(cpu, op.a, selector);
        }
    }
    set_zf(cpu, raises);
    Ok(())
}

fn swap_gs(cpu: &mut Cpu, _: &Op) -> Step {
    cpu.privileged()?;
    core::mem::swap(&mut cpu.state.gs_base, &mut cpu.control.kernel_gs_base);
    Ok(())
}

fn check_base_instructions(cpu: &mut Cpu) -> Step {
    if cpu.control.cr4 & CR4_FSGSBASE == 0 {
        return cpu.raise(INVALID_OPCODE, 0);
    }
    Ok(())
}

fn read_base<const GS_SEGMENT: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    check_base_instructions(cpu)?;
    let base = if GS_SEGMENT { cpu.state.gs_base } else { cpu.state.fs_base };
    W::set(cpu, op.a, base & W::MASK);
    Ok(())
}

fn write_base<const GS_SEGMENT: bool, W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    check_base_instructions(cpu)?;
    let base = W::get(cpu, op.a);
    if !crate::paging::canonical(base) {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    if GS_SEGMENT {
        cpu.state.gs_base = base;
    } else {
        cpu.state.fs_base = base;
    }
    Ok(())
}

// -- System calls -------------------------------------------------------------------------

/// Code and stack as SYSCALL and SYSENTER set them, without looking at descriptors.
fn kernel_segments(cpu: &mut Cpu, selector: u16) {
    cpu.segments[SS] = Segment::flat_data((selector & 0xfffc) + 8);
    cpu.set_code_segment(Segment::flat_code(selector & 0xfffc));
}

fn user_segments(cpu: &mut Cpu, code: u16, stack: u16, long: bool) {
    let code_access = if long { 0xa0fb } else { 0xc0fb };
    cpu.segments[SS] = Segment { base: 0, limit: u32::MAX, access: 0xc0f3, selector: stack | 3 };
    cpu.set_code_segment(Segment { base: 0, limit: u32::MAX, access: code_access, selector: code | 3 });
}

fn system_call(cpu: &mut Cpu, _: &Op) -> Step {
    // Intel's processors have it in 64-bit mode only.
    if cpu.control.efer & EFER_SCE == 0 || !cpu.long() {
        return cpu.raise(INVALID_OPCODE, 0);
    }
    let flags = cpu.rflags();
    cpu.state.gpr[RCX] = cpu.state.rip;
    cpu.state.gpr[R11] = flags & !RF;
    cpu.state.rip = cpu.control.lstar;
    let masked = flags & !cpu.control.fmask & !RF;
    cpu.set_rflags(masked);
    kernel_segments(cpu, (cpu.control.star >> 32) as u16);
    Err(Stop::Leave)
}

fn system_return<W: Width>(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.control.efer & EFER_SCE == 0 || !cpu.long() {
        return cpu.raise(INVALID_OPCODE, 0);
    }
    cpu.privileged()?;
    let long = W::BITS == 64;
    let target = W::get(cpu, RCX as u8);
    if !crate::paging::canonical(target) {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let flags = cpu.state.gpr[R11] & !(RF | VM);
    cpu.set_rflags(flags);
    let selector = (cpu.control.star >> 48) as u16;
    user_segments(cpu, if long { selector.wrapping_add(16) } else { selector }, selector.wrapping_add(8), long);
    cpu.state.rip = target;
    if cpu.state.system_flags & IF != 0 {
        cpu.interrupt_slice();
    }
    Err(Stop::Leave)
}

fn system_enter(cpu: &mut Cpu, _: &Op) -> Step {
    if cpu.control.sysenter_cs & 0xfffc == 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.state.system_flags &= !(VM | IF);
    cpu.state.gpr[RSP] = cpu.control.sysenter_esp;
    cpu.state.rip = cpu.control.sysenter_eip;
    kernel_segments(cpu, cpu.control.sysenter_cs as u16);
    Err(Stop::Leave)
}

fn system_exit<W: Width>(cpu: &mut Cpu, _: &Op) -> Step {
    let selector = cpu.control.sysenter_cs as u16;
    if selector & 0xfffc == 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.privileged()?;
    let long = W::BITS == 64;
    let (target, stack) = (W::get(cpu, RDX as u8), W::get(cpu, RCX as u8));
    if !crate::paging::canonical(target) || !crate::paging::canonical(stack) {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let (code, data) = if long { (32, 40) } else { (16, 24) };
    user_segments(cpu, selector.wrapping_add(code), selector.wrapping_add(data), long);
    cpu.state.gpr[RSP] = stack;
    cpu.state.rip = target;
    Err(Stop::Leave)
}

pub fn select(instruction: &Instruction, mode: u32, op: &mut Op) -> Option<Handler> {
    let long = mode & Mode::LONG != 0;
    let size = || operand_size(instruction, 0);
    let memory = is_memory(instruction, 0);
    let source_in_memory = is_memory(instruction, 1);
    /// Three sizes of a general register.
    macro_rules! register_size {
        ($size:expr, $name:ident $(, $generic:tt)*) => {
            match $size {
                2 => $name::<$($generic,)* Word> as Handler,
                4 => $name::<$($generic,)* Dword>,
                _ => $name::<$($generic,)* Qword>,
            }
        };
    }
    let mut far = |number: usize| {
        op.c = number as u8;
        register_size!(size(), load_far)
    };
    Some(match instruction.mnemonic() {
        Mnemonic::Nop | Mnemonic::Pause | Mnemonic::Lfence | Mnemonic::Mfence | Mnemonic::Sfence
        | Mnemonic::Endbr64 | Mnemonic::Endbr32 | Mnemonic::Prefetcht0 | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2 | Mnemonic::Prefetchnta | Mnemonic::Prefetchw | Mnemonic::Prefetch
        | Mnemonic::Reservednop | Mnemonic::Cldemote
        // What is a NOP without the feature that it belongs to: programs use it without asking CPUID.
        | Mnemonic::Rdsspd | Mnemonic::Rdsspq | Mnemonic::Prefetchwt1 | Mnemonic::Prefetchit0
        | Mnemonic::Prefetchit1 => nothing,
        Mnemonic::Hlt => halt,
        Mnemonic::Cli => interrupts_off,
        Mnemonic::Sti => interrupts_on,
        Mnemonic::Cld => direction_clear,
        Mnemonic::Std => direction_set,
        Mnemonic::Mov => {
            let special = |operand: u32, is: fn(Register) -> bool| {
                super::is_register(instruction, operand) && is(instruction.op_register(operand))
            };
            if special(0, Register::is_cr) {
                write_control
            } else if special(1, Register::is_cr) {
                read_control
            } else if special(0, Register::is_dr) {
                write_debug
            } else if special(1, Register::is_dr) {
                read_debug
            } else if special(0, Register::is_segment_register) {
                if instruction.op0_register() == Register::CS {
                    invalid
                } else {
                    pick(source_in_memory, load_segment::<false>, load_segment::<true>)
                }
            } else if special(1, Register::is_segment_register) {
                if memory {
                    store_segment::<true, Word>
                } else {
                    register_size!(size(), store_segment, false)
                }
            } else {
                return None;
            }
        }
        Mnemonic::Clts => clear_task_switched,
        Mnemonic::Smsw if memory => store_machine_status::<true, Word>,
        Mnemonic::Smsw => register_size!(size(), store_machine_status, false),
        Mnemonic::Lmsw => pick(memory, load_machine_status::<false>, load_machine_status::<true>),
        Mnemonic::Rdmsr => read_msr,
        Mnemonic::Wrmsr => write_msr,
        Mnemonic::Rdtsc => read_time,
        Mnemonic::Rdtscp => read_time_and_processor,
        Mnemonic::Cpuid => identify,
        Mnemonic::Invlpg => invalidate_page,
        Mnemonic::Invpcid => invalidate_pcid,
        Mnemonic::Wbinvd | Mnemonic::Invd => cache_control,
        Mnemonic::Clflush => flush_line,
        Mnemonic::Lds => far(DS),
        Mnemonic::Les => far(ES),
        Mnemonic::Lfs => far(FS),
        Mnemonic::Lgs => far(GS),
        Mnemonic::Lss => far(SS),
        Mnemonic::Sgdt => store_table::<false>,
        Mnemonic::Sidt => store_table::<true>,
        Mnemonic::Lgdt => load_table::<false>,
        Mnemonic::Lidt => load_table::<true>,
        Mnemonic::Lldt => pick(memory, load_local_table::<false>, load_local_table::<true>),
        Mnemonic::Ltr => pick(memory, load_task::<false>, load_task::<true>),
        Mnemonic::Sldt if memory => store_system_selector::<false, true, Word>,
        Mnemonic::Sldt => register_size!(size(), store_system_selector, false, false),
        Mnemonic::Str if memory => store_system_selector::<true, true, Word>,
        Mnemonic::Str => register_size!(size(), store_system_selector, true, false),
        Mnemonic::Lar if source_in_memory => register_size!(size(), access_rights, true),
        Mnemonic::Lar => register_size!(size(), access_rights, false),
        Mnemonic::Lsl if source_in_memory => register_size!(size(), segment_limit, true),
        Mnemonic::Lsl => register_size!(size(), segment_limit, false),
        Mnemonic::Verr => pick(memory, verify::<false, false>, verify::<false, true>),
        Mnemonic::Verw => pick(memory, verify::<true, false>, verify::<true, true>),
        Mnemonic::Arpl => pick(memory, adjust_requested_privilege::<false>, adjust_requested_privilege::<true>),
        Mnemonic::Swapgs if long => swap_gs,
        Mnemonic::Rdfsbase => register_size!(size(), read_base, false),
        Mnemonic::Rdgsbase => register_size!(size(), read_base, true),
        Mnemonic::Wrfsbase => register_size!(size(), write_base, false),
        Mnemonic::Wrgsbase => register_size!(size(), write_base, true),
        Mnemonic::Syscall => system_call,
        Mnemonic::Sysret | Mnemonic::Sysretq => match instruction.code() {
            Code::Sysretq => system_return::<Qword>,
            _ => system_return::<Dword>,
        },
        Mnemonic::Sysenter => system_enter,
        Mnemonic::Sysexit | Mnemonic::Sysexitq => match instruction.code() {
            Code::Sysexitq => system_exit::<Qword>,
            _ => system_exit::<Dword>,
        },
        _ => return None,
    })
}
