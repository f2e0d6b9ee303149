//! Each instruction with random registers and memory, on the real processor and on ours.
//!
//! `PROCESSOR_ROUNDS=N` gives how many instructions are tried (default 400,000), `PROCESSOR_SEED` another
//! seed. A failure prints the instruction, its seed and all that differs.
#![cfg(target_arch = "x86_64")]

mod availability;
mod native;
mod ours;
mod registers;
mod spaces;
mod stack;
mod xsave;

use std::collections::BTreeMap;

use iced_x86::{
    Code, Decoder, DecoderOptions, Formatter, Instruction, InstructionInfoFactory, Mnemonic,
    NasmFormatter, OpAccess, Register,
};
use native::{Registers, CODE, DATA, DATA_SIZE};

pub struct Random(u64);

impl Random {
    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Values at the borders of all sizes more often than others.
    fn value(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(4).wrapping_sub(2),
            1 => (1u64 << self.below(64)).wrapping_add(self.below(3)).wrapping_sub(1),
            2 => self.next() >> self.below(64),
            3 => self.next() | 0xffff_ffff_0000_0000,
            4 => self.below(256),
            _ => self.next(),
        }
    }

    /// A number as SSE or x87 have it, with special ones often.
    fn float(&mut self, bits: u32) -> u64 {
        let (exponent_bits, fraction_bits) = if bits == 32 { (8, 23) } else { (11, 52) };
        let most = (1u64 << exponent_bits) - 1;
        let exponent = match self.below(8) {
            0 => 0,
            1 => most,
            2 => most - 1,
            3 => 1,
            4 | 5 => most / 2 + self.below(66) - 33,
            _ => self.below(most + 1),
        };
        let fraction = match self.below(6) {
            0 => 0,
            1 => 1 << self.below(fraction_bits),
            2 => (1 << fraction_bits) - 1,
            3 => 1 << (fraction_bits - 1),
            _ => self.next() & ((1 << fraction_bits) - 1),
        };
        self.below(2) << (bits - 1) | exponent << fraction_bits | fraction
    }

    fn vector(&mut self) -> [u8; 16] {
        let words = match self.below(4) {
            0 => [self.next(), self.next()],
            1 => [self.value(), self.value()],
            2 => [0, 0].map(|_: u64| self.float(32) << 32 | self.float(32)),
            _ => [self.float(64), self.float(64)],
        };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&words[0].to_le_bytes());
        bytes[8..].copy_from_slice(&words[1].to_le_bytes());
        bytes
    }
}

/// Bytes that are often the beginning of an instruction.
fn bytes(random: &mut Random) -> [u8; 16] {
    let mut code = [0; 16];
    for byte in &mut code {
        *byte = random.next() as u8;
    }
    // A VEX prefix with one of the three maps of opcodes; most often with registers that are there in all modes.
    if random.below(3) == 0 {
        if random.below(4) == 0 {
            code[0] = 0xc5;
        } else {
            code[0] = 0xc4;
            code[1] = code[1] & 0xe0 | 1 + random.below(3) as u8;
        }
        return code;
    }
    let mut at = 0;
    if random.below(4) == 0 {
        code[at] = 0x66;
        at += 1;
    }
    match random.below(8) {
        0 => {
            code[at] = 0xf2;
            at += 1;
        }
        1 | 2 => {
            code[at] = 0xf3;
            at += 1;
        }
        _ => {}
    }
    if random.below(2) == 0 {
        code[at] = 0x40 | random.below(16) as u8;
        at += 1;
    }
    match random.below(8) {
        0..=2 => code[at] = random.pick(&[random.0 as u8, 0xd8 + (random.0 % 8) as u8]),
        3 | 4 | 5 => {
            code[at] = 0x0f;
        }
        6 => code[at..at + 2].copy_from_slice(&[0x0f, 0x38]),
        _ => code[at..at + 2].copy_from_slice(&[0x0f, 0x3a]),
    }
    code
}

/// What is not for this test: it would leave it, depends on the system, or is tested elsewhere.
fn left_out(instruction: &Instruction) -> bool {
    use iced_x86::FlowControl;
    let info = instruction.code();
    instruction.is_privileged()
        || instruction.flow_control() != FlowControl::Next
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Cpuid | Mnemonic::Rdtsc | Mnemonic::Rdtscp | Mnemonic::Rdpmc | Mnemonic::Rdrand
                | Mnemonic::Rdseed | Mnemonic::Rdpid | Mnemonic::Xgetbv | Mnemonic::Rdfsbase
                | Mnemonic::Rdgsbase | Mnemonic::Wrfsbase | Mnemonic::Wrgsbase | Mnemonic::Sgdt
                | Mnemonic::Sidt | Mnemonic::Sldt | Mnemonic::Str | Mnemonic::Smsw | Mnemonic::Lar
                | Mnemonic::Lsl | Mnemonic::Verr | Mnemonic::Verw | Mnemonic::Popf | Mnemonic::Popfq
                | Mnemonic::Pushf | Mnemonic::Pushfq | Mnemonic::Rdpru | Mnemonic::Rdpkru | Mnemonic::Wrpkru
                // Of the components that a real processor may have: `xsave` tests them.
                | Mnemonic::Xsave | Mnemonic::Xsave64 | Mnemonic::Xsavec | Mnemonic::Xsavec64 | Mnemonic::Xsaveopt
                | Mnemonic::Xsaveopt64 | Mnemonic::Xrstor | Mnemonic::Xrstor64 | Mnemonic::Enter | Mnemonic::Lfs | Mnemonic::Lgs | Mnemonic::Lss
                | Mnemonic::Clac | Mnemonic::Stac | Mnemonic::Sti | Mnemonic::Cli
        )
        || uses_segment_registers(instruction)
        || matches!(instruction.segment_prefix(), Register::FS | Register::GS)
        || format!("{info:?}").starts_with("EVEX")
}

fn uses_segment_registers(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|i| {
        instruction.op_kind(i) == iced_x86::OpKind::Register
            && instruction.op_register(i).is_segment_register()
    })
}

/// Makes the memory operand, if there is one, point into the data. False where it cannot.
fn aim(instruction: &Instruction, registers: &mut Registers, target: u64) -> bool {
    let has_memory = (0..instruction.op_count()).any(|i| instruction.op_kind(i) == iced_x86::OpKind::Memory);
    if !has_memory {
        return true;
    }
    let base = instruction.memory_base();
    let index = instruction.memory_index();
    if instruction.is_vsib() {
        if base.size() != 8 {
            return false;
        }
        registers.gpr[base.number()] = target.wrapping_sub(instruction.memory_displacement64());
        return true;
    }
    if base.size() == 4 || index.size() == 4 || base == Register::RIP || instruction.memory_displ_size() == 8 {
        return false;
    }
    if base == Register::None || base == index {
        return false;
    }
    let scaled = if index == Register::None {
        0
    } else {
        registers.gpr[index.number()].wrapping_mul(u64::from(instruction.memory_index_scale()))
    };
    registers.gpr[base.number()] =
        target.wrapping_sub(scaled).wrapping_sub(instruction.memory_displacement64());
    true
}

#[test]
fn instructions_are_the_processors() {
    let _alone = native::prepare();
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
    };
    let rounds = number("PROCESSOR_ROUNDS", 400_000);
    let mut random = Random(number("PROCESSOR_SEED", 1));
    let only = std::env::var("PROCESSOR_ONLY").unwrap_or_default();
    let mut machine = ours::Ours::new();
    let mut tried: BTreeMap<Code, u64> = BTreeMap::new();
    let mut unknown: BTreeMap<String, u64> = BTreeMap::new();
    let mut failures: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut info = InstructionInfoFactory::new();
    for _ in 0..rounds {
        let seed = random.0;
        let code = bytes(&mut random);
        let mut decoder = Decoder::with_ip(64, &code, CODE, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.is_invalid() || left_out(&instruction) {
            continue;
        }
        if ours::undefined(&instruction, &code) {
            continue;
        }
        if !only.is_empty() && format!("{:?}", instruction.mnemonic()) != only {
            continue;
        }
        let is_string = instruction.is_string_instruction();
        if instruction.has_rep_prefix() && is_string && random.below(4) != 0 {
            continue;
        }
        let mut before = Registers {
            gpr: [0; 16].map(|_: u64| random.value()),
            flags: 0x202 | random.next() & 0x8d5,
            rip: CODE,
            mxcsr: 0,
            signal: 0,
            reserved: [0; 5],
            fx: ours::initial_fx(&mut random),
            ymm_high: ours::initial_ymm(&mut random),
        };
        // Sometimes at a page's end, and beyond the last page.
        let target = match random.below(8) {
            0 => DATA + 0x1000 - random.below(20),
            1 => DATA + DATA_SIZE - random.below(20),
            _ => DATA + 0x800 + random.below(0x100) * random.pick(&[1, 16]),
        };
        before.gpr[4] = DATA + 0x1800 + random.below(64) * 8;
        if is_string {
            before.gpr[6] = DATA + 0x900 + random.below(256);
            before.gpr[7] = DATA + 0x900 + random.below(256);
            before.gpr[1] = random.below(40);
        }
        if instruction.mnemonic() == Mnemonic::Maskmovdqu || instruction.mnemonic() == Mnemonic::Maskmovq {
            // Whether bytes that are not stored can fault is left to the processor.
            before.gpr[7] = target.min(DATA + DATA_SIZE - 16);
        }
        if instruction.mnemonic() == Mnemonic::Xlatb {
            before.gpr[3] = target;
        }
        if instruction.mnemonic() == Mnemonic::Leave {
            before.gpr[5] = target;
        }
        if !aim(&instruction, &mut before, target) {
            continue;
        }
        // BT and the like reach beyond their operand, by what the register says.
        if matches!(
            instruction.mnemonic(),
            Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
        ) && ours::is_memory(&instruction)
            && instruction.op1_register() != Register::None
        {
            let by = instruction.op1_register();
            if by.full_register() == instruction.memory_base().full_register()
                || by.full_register() == instruction.memory_index().full_register()
            {
                continue;
            }
            let full = by.full_register().number();
            before.gpr[full] = random.below(4000).wrapping_sub(2000);
        }
        let uses_stack = info.info(&instruction).used_memory().iter().any(|m| m.base() == Register::RSP && m.access() != OpAccess::NoMemAccess);
        if uses_stack {
            before.gpr[4] = if random.below(8) == 0 { target & !7 } else { before.gpr[4] };
            if !aim(&instruction, &mut before, target) {
                continue;
            }
        }
        let mut contents = vec![0; DATA_SIZE as usize];
        for chunk in contents.chunks_exact_mut(16) {
            chunk.copy_from_slice(&random.vector());
        }
        if instruction.mnemonic() == Mnemonic::Ldmxcsr && target + 4 <= DATA + DATA_SIZE {
            // AMD's processors have bit 17 (misaligned operands), which no other has.
            let at = (target - DATA) as usize;
            contents[at + 2] &= !2;
            if random.below(2) == 0 {
                contents[at + 2..at + 4].fill(0);
            }
        }
        let encoded = &code[..instruction.len()];
        if !machine.knows(encoded) {
            if ours::announced(&instruction) || ours::is_hint(encoded) {
                *unknown.entry(format!("{:?}", instruction.code())).or_default() += 1;
            }
            continue;
        }
        *tried.entry(instruction.code()).or_default() += 1;
        native::data().copy_from_slice(&contents);
        let expected = native::execute(encoded, &before);
        let (actual, memory) = machine.execute(encoded, &before, &contents);
        let differences = ours::differences(&instruction, &before, &expected, &actual, native::data(), &memory);
        if !differences.is_empty() {
            let mut text = String::new();
            NasmFormatter::new().format(&instruction, &mut text);
            let entry = failures.entry(format!("{:?}", instruction.code())).or_default();
            entry.0 += 1;
            if entry.1.is_empty() {
                entry.1 = format!("{text} {encoded:02x?} seed {seed}\n{differences}");
            }
        }
    }
    let total: u64 = tried.values().sum();
    println!("{total} instructions of {} forms", tried.len());
    for (code, (count, text)) in &failures {
        println!("{code}: {count} of {}: {text}", tried.iter().find(|(c, _)| format!("{c:?}") == *code).unwrap().1);
    }
    assert!(failures.is_empty(), "{} forms are wrong: {:?}", failures.len(), failures.keys().collect::<Vec<_>>());
    assert!(unknown.is_empty(), "CPUID announces them, but they have no handler: {unknown:?}");
    assert!(tried.len() as u64 > rounds.min(400_000) / 1000, "too few forms were tried");
}
