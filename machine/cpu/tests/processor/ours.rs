//! Our processor, brought into the state that the real one had.

use cpu::control::{CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, XCR0_KNOWN};
use cpu::exception::Fault;
use cpu::memory::Ram;
use cpu::{Bus, Cpu, Memory};
use iced_x86::{Instruction, Mnemonic};

use crate::native::{Registers, CODE, DATA, DATA_SIZE};
use crate::Random;

const RAM: usize = 0x40_0000;
/// Physical addresses.
pub const TABLES: u64 = 0x10_0000;
const CODE_AT: u64 = 0x20_0000;
const DATA_AT: u64 = 0x30_0000;

struct NoDevices;

impl Bus for NoDevices {
    fn read(&mut self, _: u64, _: u8) -> u64 {
        u64::MAX
    }
    fn write(&mut self, _: u64, _: u8, _: u64, _: &mut Memory) {}
    fn port_read(&mut self, _: u16, _: u8, _: &Memory) -> u32 {
        u32::MAX
    }
    fn port_write(&mut self, _: u16, _: u8, _: u32, _: &mut Memory) {}
    fn tsc(&mut self, executed: u64) -> u64 {
        executed
    }
    fn tsc_deadline(&mut self) -> u64 {
        0
    }
    fn set_tsc_deadline(&mut self, _: u64) {}
    fn task_priority(&mut self) -> u64 {
        0
    }
    fn set_task_priority(&mut self, _: u64) {}
    fn poll(&mut self, _: u64, _: &mut Memory) {}
    fn interrupt_pending(&mut self) -> bool {
        false
    }
    fn acknowledge_interrupt(&mut self) -> u8 {
        unreachable!()
    }
    fn reset_requested(&self) -> bool {
        false
    }
}

pub struct Ours {
    pub cpu: Box<Cpu>,
}

impl Ours {
    pub fn new() -> Ours {
        let layout = std::alloc::Layout::from_size_align(RAM, 4096).unwrap();
        let ram = unsafe { Ram::new(std::alloc::alloc_zeroed(layout), RAM as u64) };
        let mut cpu = Cpu::new(ram, Box::new(NoDevices));
        // One table of each level serves both areas, which are in different gigabytes' parts.
        let user = 7;
        let directory = TABLES + 0x2000;
        cpu.ram.set_entry(TABLES, TABLES + 0x1000 | user);
        cpu.ram.set_entry(TABLES + 0x1000, directory | user);
        for (i, (va, pa, size)) in [(CODE, CODE_AT, 0x2000), (DATA, DATA_AT, DATA_SIZE)].into_iter().enumerate() {
            let table = TABLES + 0x3000 + i as u64 * 0x1000;
            cpu.ram.set_entry(directory + (va >> 21) * 8, table | user);
            for page in 0..size / 0x1000 {
                cpu.ram.set_entry(table + ((va >> 12 & 0x1ff) + page) * 8, pa + page * 0x1000 | user);
            }
        }
        cpu.write_control(3, TABLES).unwrap();
        cpu.write_control(4, cpu.control.cr4 | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE).unwrap();
        cpu.control.xcr0 = XCR0_KNOWN;
        let code = cpu::segment::Segment { access: 0xa0fb, ..cpu::segment::Segment::flat_code(0x33) };
        cpu.set_code_segment(code);
        Ours { cpu }
    }

    /// Whether the interpreter has this instruction.
    pub fn knows(&self, instruction: &[u8]) -> bool {
        cpu::has_handler(instruction, self.cpu.state.mode)
    }

    /// The exception that an instruction raises with these control registers, and with this status of the x87 unit.
    pub fn exception(&mut self, instruction: &[u8], cr0: u64, cr4: u64, fx: &[u8; 512]) -> Option<u8> {
        let cpu = &mut self.cpu;
        let usual = (cpu.control.cr0, cpu.control.cr4);
        (cpu.control.cr0, cpu.control.cr4) = (usual.0 | cr0, cr4 | usual.1 & !(CR4_OSFXSR | CR4_OSXMMEXCPT));
        cpu.ram.bytes_mut(CODE_AT, 0x2000).unwrap()[..instruction.len()].copy_from_slice(instruction);
        cpu.written(CODE_AT, 16);
        cpu.state.gpr = [DATA; 16];
        cpu.state.rip = CODE;
        cpu.load_fx(fx, true);
        let result = cpu.try_step();
        (cpu.control.cr0, cpu.control.cr4) = usual;
        result.err().map(|fault| fault.vector)
    }

    /// Sets CR4.OSXSAVE and XCR0.
    pub fn extended(&mut self, cr4: u64, xcr0: u64) {
        self.cpu.control.cr4 = self.cpu.control.cr4 & !CR4_OSXSAVE | cr4;
        self.cpu.control.xcr0 = xcr0;
    }

    /// The exception that MOV to a control register raises.
    pub fn control_exception(&mut self, number: u8, value: u64) -> Option<u8> {
        let code = self.cpu.segments[cpu::segment::CS];
        self.cpu.set_code_segment(cpu::segment::Segment::flat_code(8));
        // MOV CRn, RAX.
        let result = self.privileged(&[0x44, 0x0f, 0x22, 0xc0 | (number & 7) << 3][usize::from(number < 8)..], value, 0);
        self.cpu.set_code_segment(code);
        result
    }

    /// The exception that WRMSR raises.
    pub fn msr_exception(&mut self, number: u32, value: u64) -> Option<u8> {
        let code = self.cpu.segments[cpu::segment::CS];
        self.cpu.set_code_segment(cpu::segment::Segment::flat_code(8));
        let result = self.privileged(&[0x0f, 0x30], value, u64::from(number));
        self.cpu.set_code_segment(code);
        result
    }

    fn privileged(&mut self, instruction: &[u8], value: u64, rcx: u64) -> Option<u8> {
        let cpu = &mut self.cpu;
        cpu.ram.bytes_mut(CODE_AT, 0x2000).unwrap()[..instruction.len()].copy_from_slice(instruction);
        cpu.written(CODE_AT, 16);
        cpu.state.gpr[0] = value;
        cpu.state.gpr[1] = rcx;
        cpu.state.gpr[2] = value >> 32;
        cpu.state.rip = CODE;
        cpu.try_step().err().map(|fault| fault.vector)
    }

    pub fn execute(&mut self, instruction: &[u8], before: &Registers, contents: &[u8]) -> (Registers, Vec<u8>) {
        let cpu = &mut self.cpu;
        cpu.ram.bytes_mut(CODE_AT, 0x2000).unwrap()[..instruction.len()].copy_from_slice(instruction);
        cpu.written(CODE_AT, 16);
        cpu.ram.bytes_mut(DATA_AT, DATA_SIZE).unwrap().copy_from_slice(contents);
        cpu.state.gpr = before.gpr;
        cpu.set_rflags(before.flags);
        cpu.state.rip = CODE;
        cpu.load_fx(&before.fx, true);
        for (register, bytes) in cpu.state.ymm_high.iter_mut().zip(before.ymm_high.as_chunks::<16>().0) {
            *register = simd::Xmm::from_u8x16(*bytes);
        }
        let mut after = *before;
        match cpu.try_step() {
            Err(fault) => after.signal = signal(fault),
            Ok(()) => {}
        }
        after.gpr = cpu.state.gpr;
        after.flags = cpu.rflags();
        after.fx = cpu.save_fx(true);
        for (register, bytes) in cpu.state.ymm_high.iter().zip(after.ymm_high.as_chunks_mut::<16>().0) {
            *bytes = register.u8x16();
        }
        (after, cpu.ram.bytes(DATA_AT, DATA_SIZE).unwrap().to_vec())
    }
}

/// The signal that Linux makes of an exception.
fn signal(fault: Fault) -> u32 {
    use cpu::exception::*;
    (match fault.vector {
        DIVIDE_ERROR | X87_ERROR | SIMD_ERROR => libc::SIGFPE,
        INVALID_OPCODE => libc::SIGILL,
        BREAKPOINT | DEBUG => libc::SIGTRAP,
        ALIGNMENT_CHECK | STACK_FAULT => libc::SIGBUS,
        _ => libc::SIGSEGV,
    }) as u32
}

/// XMM registers and x87 registers with random contents, MXCSR and control word with random settings.
pub fn initial_fx(random: &mut Random) -> [u8; 512] {
    let mut fx = [0; 512];
    // Control word: masked, 64 bits, sometimes another rounding.
    let rounding = if random.below(4) == 0 { random.below(4) } else { 0 };
    fx[0..2].copy_from_slice(&(0x37f | (rounding << 10) as u16).to_le_bytes());
    let top = random.below(8) as u16;
    let mut status = top << 11;
    // Sometimes an exception waits for the next instruction: it is not masked, and the summary and busy bits are set.
    if random.below(12) == 0 {
        let exception = 1 << random.below(6);
        fx[0] &= !exception;
        status |= 0x8080 | u16::from(exception);
    }
    fx[2..4].copy_from_slice(&status.to_le_bytes());
    fx[4] = match random.below(3) {
        0 => 0,
        1 => 0xff,
        _ => random.next() as u8,
    };
    let mut mxcsr = 0x1f80u32;
    if random.below(3) == 0 {
        mxcsr |= (random.below(4) as u32) << 13;
    }
    if random.below(8) == 0 {
        mxcsr |= (random.below(2) as u32) << 15 | (random.below(2) as u32) << 6;
    }
    mxcsr |= random.below(64) as u32 & random.below(64) as u32;
    // Sometimes some exceptions are not masked.
    if random.below(6) == 0 {
        mxcsr &= !((random.below(64) as u32) << 7);
    }
    fx[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    fx[28..32].copy_from_slice(&0xffffu32.to_le_bytes());
    for i in 0..8 {
        let at = 32 + i * 16;
        let fraction = match random.below(4) {
            0 => 1 << 63,
            1 => random.next() | 1 << 63,
            2 => (random.float(64) << 11) | 1 << 63,
            _ => random.next() & random.next() | 1 << 63,
        };
        let exponent = match random.below(6) {
            0 => 0x7fff,
            1 => 0x3fff + random.below(64) as u16,
            _ => 0x3fff + random.below(40) as u16 - 20,
        } | (random.below(2) as u16) << 15;
        fx[at..at + 8].copy_from_slice(&fraction.to_le_bytes());
        fx[at + 8..at + 10].copy_from_slice(&exponent.to_le_bytes());
    }
    for i in 0..16 {
        fx[160 + i * 16..176 + i * 16].copy_from_slice(&random.vector());
    }
    fx
}

pub fn is_memory(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|i| instruction.op_kind(i) == iced_x86::OpKind::Memory)
}

/// Forms whose effect is undefined or another one on AMD's processors than on Intel's.
pub fn undefined(instruction: &Instruction, bytes: &[u8]) -> bool {
    use iced_x86::Code;
    match instruction.code() {
        // #UD on AMD's, as PREFETCHW of a register.
        Code::Reservednop_rm16_r16_0F0D | Code::Reservednop_rm32_r32_0F0D | Code::Reservednop_rm64_r64_0F0D => true,
        // With REX.B it is XCHG R8, RAX, which iced-x86 does not see. No compiler writes it.
        Code::Pause => bytes[..instruction.len()].len() > 2,
        // By more than the operand's size.
        Code::Shld_rm16_r16_CL | Code::Shrd_rm16_r16_CL => true,
        Code::Shld_rm16_r16_imm8 | Code::Shrd_rm16_r16_imm8 => instruction.immediate8() & 31 > 16,
        // AMD's processors read four bytes.
        Code::Movsxd_r16_rm16 => true,
        // MXCSR_MASK: AMD's have a bit more.
        Code::Fxsave_m512byte | Code::Fxsave64_m512byte | Code::Fxrstor_m512byte | Code::Fxrstor64_m512byte => true,
        _ => match instruction.mnemonic() {
            // Approximations that each processor has its own of; the crates simd and x87 test their bounds.
            Mnemonic::Rcpps | Mnemonic::Rcpss | Mnemonic::Rsqrtps | Mnemonic::Rsqrtss | Mnemonic::Vrcpps
            | Mnemonic::Vrcpss | Mnemonic::Vrsqrtps | Mnemonic::Vrsqrtss | Mnemonic::F2xm1
            | Mnemonic::Fyl2x | Mnemonic::Fyl2xp1 | Mnemonic::Fptan | Mnemonic::Fpatan | Mnemonic::Fsin
            | Mnemonic::Fcos | Mnemonic::Fsincos => true,
            // Where exceptions are not masked, ours takes all steps of one half before those of the other: what a later
            // step raises may be reported though an earlier one of the other half should have ended it.
            Mnemonic::Vdpps => instruction.op0_register().is_ymm(),
            // AMD's processors take unaligned operands.
            Mnemonic::Sha1msg1 | Mnemonic::Sha1msg2 | Mnemonic::Sha1nexte | Mnemonic::Sha1rnds4
            | Mnemonic::Sha256msg1 | Mnemonic::Sha256msg2 | Mnemonic::Sha256rnds2 => is_memory(instruction),
            _ => false,
        },
    }
}

/// Upper halves of YMM registers with random contents.
pub fn initial_ymm(random: &mut Random) -> [u8; 256] {
    let mut high = [0; 256];
    for register in high.as_chunks_mut::<16>().0 {
        *register = random.vector();
    }
    high
}

/// Whether the opcode is one of those that do nothing where they have no meaning yet: 0F 18 to 0F 1F.
pub fn is_hint(bytes: &[u8]) -> bool {
    let prefix = |byte: u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let at = bytes.iter().position(|&byte| !prefix(byte)).unwrap_or(bytes.len());
    matches!(bytes[at..], [0x0f, 0x18..=0x1f, ..])
}

/// Whether CPUID says that this instruction is there. (Those of the processors before CPUID and of x86-64 always are.)
pub fn announced(instruction: &Instruction) -> bool {
    use iced_x86::CpuidFeature as F;
    let leaf = |leaf| cpu::cpuid::cpuid(leaf, 0, cpu::cpuid::View::SYSTEM);
    let [_, _, ecx, edx] = leaf(1);
    let [_, ebx7, _, _] = leaf(7);
    let [_, _, ecx_extended, _] = leaf(0x8000_0001);
    instruction.cpuid_features().iter().all(|feature| match feature {
        F::INTEL8086 | F::INTEL186 | F::INTEL286 | F::INTEL386 | F::INTEL486 | F::X64 => true,
        // Without bits of their own; all processors with SSE2 have them.
        F::FPU287 | F::FPU387 | F::MULTIBYTENOP | F::PAUSE | F::CPUID => true,
        F::FPU => edx & 1 != 0,
        F::CX8 => edx >> 8 & 1 != 0,
        F::CMOV => edx >> 15 & 1 != 0,
        F::CLFSH => edx >> 19 & 1 != 0,
        F::MMX => edx >> 23 & 1 != 0,
        F::FXSR => edx >> 24 & 1 != 0,
        F::SSE => edx >> 25 & 1 != 0,
        F::SSE2 => edx >> 26 & 1 != 0,
        F::SSE3 => ecx & 1 != 0,
        F::PCLMULQDQ => ecx >> 1 & 1 != 0,
        F::SSSE3 => ecx >> 9 & 1 != 0,
        F::FMA => ecx >> 12 & 1 != 0,
        F::CMPXCHG16B => ecx >> 13 & 1 != 0,
        F::SSE4_1 => ecx >> 19 & 1 != 0,
        F::SSE4_2 => ecx >> 20 & 1 != 0,
        F::MOVBE => ecx >> 22 & 1 != 0,
        F::POPCNT => ecx >> 23 & 1 != 0,
        F::AES => ecx >> 25 & 1 != 0,
        F::XSAVE => ecx >> 26 & 1 != 0,
        F::AVX => ecx >> 28 & 1 != 0,
        F::F16C => ecx >> 29 & 1 != 0,
        F::BMI1 => ebx7 >> 3 & 1 != 0,
        F::AVX2 => ebx7 >> 5 & 1 != 0,
        F::BMI2 => ebx7 >> 8 & 1 != 0,
        F::LZCNT => ecx_extended >> 5 & 1 != 0,
        _ => false,
    })
}

/// The flags whose values the manual leaves open.
fn undefined_flags(instruction: &Instruction) -> u64 {
    use iced_x86::RflagsBits;
    let bits = instruction.rflags_undefined();
    let mut flags = 0;
    for (name, bit) in [
        (RflagsBits::CF, 1 << 0),
        (RflagsBits::PF, 1 << 2),
        (RflagsBits::AF, 1 << 4),
        (RflagsBits::ZF, 1 << 6),
        (RflagsBits::SF, 1 << 7),
        (RflagsBits::OF, 1 << 11),
    ] {
        if bits & name != 0 {
            flags |= bit;
        }
    }
    match instruction.mnemonic() {
        // By how much decides what is defined.
        Mnemonic::Shl | Mnemonic::Shr | Mnemonic::Sar | Mnemonic::Rol | Mnemonic::Ror | Mnemonic::Rcl
        | Mnemonic::Rcr | Mnemonic::Shld | Mnemonic::Shrd | Mnemonic::Sal => {
            flags |= 1 << 4 | 1 << 11;
        }
        _ => {}
    }
    flags
}

/// What has to be the same on all processors: the rest of what an instruction has left is as in `before`, or as is usual.
fn comparable(instruction: &Instruction, before: &Registers, after: &Registers) -> Registers {
    use iced_x86::OpKind;
    let mut after = *after;
    let size = instruction.memory_size();
    match instruction.mnemonic() {
        // Which of several NaN becomes the sum.
        Mnemonic::Dpps | Mnemonic::Vdpps | Mnemonic::Dppd | Mnemonic::Vdppd => {
            let double = matches!(instruction.mnemonic(), Mnemonic::Dppd | Mnemonic::Vdppd);
            let at = 160 + 16 * instruction.op0_register().number();
            for lane in after.fx[at..at + 16].chunks_exact_mut(if double { 8 } else { 4 }) {
                let is_nan = match *lane {
                    [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).is_nan(),
                    _ => f64::from_le_bytes((&*lane).try_into().unwrap()).is_nan(),
                };
                if is_nan {
                    lane.fill(0xff);
                }
            }
        }
        // Where a store faults, what it has computed may be reported before, and what is stored may have made MMX registers
        // of x87's.
        Mnemonic::Vcvtps2ph if after.signal != 0 => after.fx[24..28].copy_from_slice(&before.fx[24..28]),
        _ if after.signal != 0 && instruction.op1_kind() == OpKind::Register && instruction.op1_register().is_mm() => {
            after.fx[..160].copy_from_slice(&before.fx[..160]);
        }
        // Of the mask only the elements' highest bits count; the others, and what is above the mask, need not be as they
        // were when the instruction faults.
        _ if after.signal != 0 && instruction.is_vsib() => {
            let number = instruction.op2_register().number();
            let element = size.element_size();
            let [data, index] = [instruction.op0_register(), instruction.memory_index()].map(|one| one.size());
            let count = (data / element).min(index / if instruction.is_vsib64() { 8 } else { 4 });
            let low = 160 + 16 * number..176 + 16 * number;
            let high = 16 * number..16 + 16 * number;
            let mut mask = [&after.fx[low.clone()], &after.ymm_high[high.clone()]].concat();
            for (place, lane) in mask.chunks_exact_mut(element).enumerate() {
                let is_set = place < count && lane[element - 1] & 0x80 != 0;
                lane.fill(if is_set { 0xff } else { 0 });
            }
            after.fx[low].copy_from_slice(&mask[..16]);
            after.ymm_high[high].copy_from_slice(&mask[16..]);
        }
        _ => {}
    }
    after
}

pub fn differences(
    instruction: &Instruction,
    before: &Registers,
    expected: &Registers,
    actual: &Registers,
    expected_memory: &[u8],
    actual_memory: &[u8],
) -> String {
    let mut text = String::new();
    let mut different = |name: String, expected: String, actual: String| {
        if expected != actual {
            text += &format!("  {name}: {expected} expected, {actual} found\n");
        }
    };
    if expected.signal != 0 || actual.signal != 0 {
        different("signal".into(), expected.signal.to_string(), actual.signal.to_string());
        // A repeated instruction that faults has done a part.
        if instruction.is_string_instruction() || expected.signal != actual.signal {
            return text;
        }
    }
    let [expected, actual] = [expected, actual].map(|after| comparable(instruction, before, after));
    for i in 0..16 {
        different(
            format!("gpr {i} (was {:#x})", before.gpr[i]),
            format!("{:#x}", expected.gpr[i]),
            format!("{:#x}", actual.gpr[i]),
        );
    }
    let defined = 0x8d5 & !undefined_flags(instruction);
    different(
        format!("flags (were {:#x})", before.flags),
        format!("{:#x}", expected.flags & defined),
        format!("{:#x}", actual.flags & defined),
    );
    // Instruction and data pointers are not kept as AMD's processors do it.
    for (name, range) in [
        ("x87 control", 0..2),
        ("x87 status", 2..4),
        ("x87 tags", 4..5),
        ("mxcsr", 24..28),
    ] {
        different(
            format!("{name} (was {:02x?})", &before.fx[range.clone()]),
            format!("{:02x?}", &expected.fx[range.clone()]),
            format!("{:02x?}", &actual.fx[range]),
        );
    }
    for i in 0..8 {
        let range = 32 + i * 16..42 + i * 16;
        different(
            format!("st {i} (was {:02x?})", &before.fx[range.clone()]),
            format!("{:02x?}", &expected.fx[range.clone()]),
            format!("{:02x?}", &actual.fx[range]),
        );
    }
    for i in 0..16 {
        let range = 160 + i * 16..176 + i * 16;
        different(
            format!("xmm {i} (was {:02x?})", &before.fx[range.clone()]),
            format!("{:02x?}", &expected.fx[range.clone()]),
            format!("{:02x?}", &actual.fx[range]),
        );
    }
    for i in 0..16 {
        let range = i * 16..16 + i * 16;
        different(
            format!("upper half of ymm {i} (was {:02x?})", &before.ymm_high[range.clone()]),
            format!("{:02x?}", &expected.ymm_high[range.clone()]),
            format!("{:02x?}", &actual.ymm_high[range]),
        );
    }
    // Ten bytes may be stored in parts, of which the second one faults.
    let in_parts = expected.signal != 0 && instruction.memory_size().size() == 10;
    if expected_memory != actual_memory && !in_parts {
        let at = expected_memory.iter().zip(actual_memory).position(|(a, b)| a != b).unwrap();
        let end = (at + 16).min(expected_memory.len());
        different(
            format!("memory at {at:#x}"),
            format!("{:02x?}", &expected_memory[at..end]),
            format!("{:02x?}", &actual_memory[at..end]),
        );
    }
    text
}
