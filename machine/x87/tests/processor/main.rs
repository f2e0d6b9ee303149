//! The unit against the processor that runs the tests: every encoding, on random states.
//!
//! `X87_FUZZ_ROUNDS=1000` runs that many times as many cases, `X87_FUZZ_SEED` with other numbers.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod native;
mod random;

use native::{memory_modrm, Image, Processor};
use random::Random;
use x87::encoding::{is_waiting, memory_access, Access, Effect};
use x87::{status, Class, Fpu, F80};

/// An instruction: opcode's lowest three bits, ModRM byte (for a memory operand: the one of the stubs).
#[derive(Clone, Copy, PartialEq)]
struct Instruction {
    escape: u8,
    modrm: u8,
}

impl std::fmt::Display for Instruction {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{:02X} ", 0xd8 + self.escape)?;
        if self.modrm < 0xc0 {
            write!(f, "/{}", self.modrm >> 3)
        } else {
            write!(f, "{:02X}", self.modrm)
        }
    }
}

/// Everything that an instruction takes or gives.
#[derive(Clone)]
struct Case {
    state: Image,
    memory: [u8; 128],
    flags: u64,
    rax: u64,
}

fn get16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

fn st(state: &Image, i: usize) -> F80 {
    F80::from_bytes(state.0[32 + 16 * i..42 + 16 * i].try_into().unwrap())
}

fn random_case(random: &mut Random, instruction: Instruction) -> Case {
    let mut state = Image([0; 512]);
    let masks = match random.below(4) {
        0 => random.next() as u16 & 0x3f,
        1 => 0x3f ^ (1 << random.below(6)),
        _ => 0x3f,
    };
    let precision_rounding = if random.one_in(3) { 0x300 } else { random.next() as u16 & 0xf00 };
    let control = masks | precision_rounding | 0x40;
    let top = random.below(8) as u16;
    let mut exceptions = 0;
    if random.one_in(3) {
        exceptions = random.next() as u16 & 0x7f;
    }
    if is_waiting(instruction.escape, instruction.modrm) {
        exceptions &= masks | 0x40;
    }
    let mut word = (random.next() as u16 & status::CONDITIONS) | top << 11 | exceptions;
    if exceptions & !masks & 0x3f != 0 {
        word |= 0x8080;
    }
    // Fullness by distance from TOP.
    let full = match random.below(6) {
        0 => random.next() as u8,
        1 => 0xff,
        2 => 0x00,
        _ => 0x7f,
    };
    state.0[0..2].copy_from_slice(&control.to_le_bytes());
    state.0[2..4].copy_from_slice(&word.to_le_bytes());
    state.0[4] = full.rotate_left(top as u32);
    state.0[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    let mut first = F80::ZERO;
    for i in 0..8 {
        let value = if i > 0 && random.one_in(4) { random.related(first) } else { random.f80() };
        if i == 0 {
            first = value;
        }
        state.0[32 + 16 * i..42 + 16 * i].copy_from_slice(&value.to_bytes());
    }
    let mut memory = [0; 128];
    let bytes = match (instruction.escape, instruction.modrm >> 3 & 7) {
        (0, _) | (1, 0) => random.f32().to_le_bytes().to_vec(),
        (4, _) | (5, 0) => random.f64().to_le_bytes().to_vec(),
        (3, 5) => random.f80().to_bytes().to_vec(),
        (7, 4) => random.decimal().to_vec(),
        _ => {
            let value = (random.significand() as i64) >> random.below(64);
            value.to_le_bytes().to_vec()
        }
    };
    memory[..bytes.len()].copy_from_slice(&bytes);
    if matches!((instruction.escape, instruction.modrm >> 3), (1 | 5, 4)) {
        let mut other = Fpu::new();
        other.fxrstor(&state.0, true);
        memory[..108].copy_from_slice(&other.fnsave_32());
        memory[..14].iter_mut().for_each(|byte| *byte = if random.one_in(2) { random.next() as u8 } else { *byte });
    }
    Case { state, memory, flags: random.next() & 0x45, rax: 0x1234 }
}

/// What the crate makes of it; `None` if it says that there is no such instruction.
fn emulate(instruction: Instruction, case: &Case) -> Option<Case> {
    let Instruction { escape, modrm } = instruction;
    let mut fpu = Fpu::new();
    fpu.fxrstor(&case.state.0, true);
    let mut after = case.clone();
    if modrm >= 0xc0 {
        match fpu.execute_register(escape, modrm, case.flags as u32) {
            Effect::Done => {}
            Effect::Compared(relation) => {
                let (zero, parity, carry) = relation.flags();
                after.flags = (zero as u64) << 6 | (parity as u64) << 2 | carry as u64;
            }
            Effect::StatusWord(word) => after.rax = word as u64,
            Effect::Undefined => return None,
        }
    } else {
        let reg = modrm >> 3;
        match memory_access(escape, reg) {
            Access::Read(_) => fpu.execute_read(escape, reg, case.memory[..10].try_into().unwrap()),
            Access::Write(size) => {
                if let Some(bytes) = fpu.execute_write(escape, reg) {
                    after.memory[..size].copy_from_slice(&bytes[..size]);
                }
            }
            Access::ReadEnvironment => fpu.fldenv_32(case.memory[..28].try_into().unwrap()),
            Access::WriteEnvironment => after.memory[..28].copy_from_slice(&fpu.fnstenv_32()),
            Access::ReadState => fpu.frstor_32(case.memory[..108].try_into().unwrap()),
            Access::WriteState => after.memory[..108].copy_from_slice(&fpu.fnsave_32()),
            Access::Undefined => return None,
        }
    }
    fpu.fxsave(&mut after.state.0, true);
    Some(after)
}

fn execute(processor: &Processor, instruction: Instruction, case: &Case) -> Case {
    let mut after = case.clone();
    let Instruction { escape, modrm } = instruction;
    let (state, rax, flags) = processor.execute(escape, modrm, &case.state, &mut after.memory, case.flags);
    Case { state, rax, flags: flags & 0x45, ..after }
}

fn is_transcendental(instruction: Instruction) -> bool {
    instruction.escape == 1 && matches!(instruction.modrm, 0xf0..=0xf3 | 0xf9 | 0xfb | 0xfe | 0xff)
}

/// Control, status and tags, and the registers. The pointers are not compared: AMD's processors store them
/// only if an exception is pending.
fn comparable(state: &Image) -> (&[u8], &[u8]) {
    (&state.0[..6], &state.0[32..160])
}

/// What differs, in words; empty if nothing does.
fn differences(expected: &Case, actual: &Case) -> Vec<String> {
    let mut found = Vec::new();
    let everything = |case: &Case| (case.memory, case.flags, case.rax);
    if comparable(&expected.state) == comparable(&actual.state) && everything(expected) == everything(actual) {
        return found;
    }
    let mut check = |what: &str, expected: String, actual: String| {
        if expected != actual {
            found.push(format!("{what}: processor {expected}, crate {actual}"));
        }
    };
    for (what, offset) in [("control", 0), ("status", 2), ("tags", 4)] {
        let hex = |case: &Case| format!("{:04x}", get16(&case.state.0, offset));
        check(what, hex(expected), hex(actual));
    }
    for i in 0..8 {
        let (e, a) = (st(&expected.state, i), st(&actual.state, i));
        let hex = |value: F80| format!("{:04x}:{:016x}", value.sign_exponent, value.significand);
        check(&format!("ST({i})"), hex(e), hex(a));
    }
    check("flags", format!("{:x}", expected.flags), format!("{:x}", actual.flags));
    check("rax", format!("{:x}", expected.rax), format!("{:x}", actual.rax));
    check("memory", format!("{:02x?}", &expected.memory[..108]), format!("{:02x?}", &actual.memory[..108]));
    found
}

fn describe(case: &Case) -> String {
    let mut text = format!(
        "control {:04x} status {:04x} tags {:02x} memory {:02x?} flags {:x}",
        get16(&case.state.0, 0),
        get16(&case.state.0, 2),
        case.state.0[4],
        &case.memory[..10],
        case.flags
    );
    for i in 0..8 {
        let value = st(&case.state, i);
        text += &format!(" {:04x}:{:016x}", value.sign_exponent, value.significand);
    }
    text
}

/// All instructions.
fn instructions() -> Vec<Instruction> {
    let mut all = Vec::new();
    for escape in 0..8 {
        for reg in 0..8 {
            if memory_access(escape, reg) != Access::Undefined {
                all.push(Instruction { escape, modrm: memory_modrm(reg) });
            }
        }
        for modrm in 0xc0..=0xff {
            if Fpu::new().execute_register(escape, modrm, 0) != Effect::Undefined {
                all.push(Instruction { escape, modrm });
            }
        }
    }
    all
}

fn rounds() -> u64 {
    std::env::var("X87_FUZZ_ROUNDS").map_or(1, |text| text.parse().expect("X87_FUZZ_ROUNDS is a number"))
}

fn seed() -> u64 {
    std::env::var("X87_FUZZ_SEED").map_or(0, |text| text.parse().expect("X87_FUZZ_SEED is a number"))
}

#[test]
fn every_instruction_does_what_the_processor_does() {
    let processor = Processor::new();
    let mut failures = String::new();
    for instruction in instructions() {
        if is_transcendental(instruction) {
            continue;
        }
        let mut random = Random(seed() ^ (instruction.escape as u64) << 40 ^ (instruction.modrm as u64) << 32);
        let cases = 4000 * rounds();
        let mut failed = 0;
        for _ in 0..cases {
            let case = random_case(&mut random, instruction);
            let expected = execute(&processor, instruction, &case);
            let actual = emulate(instruction, &case).expect("listed as defined");
            let found = differences(&expected, &actual);
            if !found.is_empty() {
                failed += 1;
                if failed <= 3 {
                    failures += &format!("{instruction}: {}\n    {}\n", found.join("; "), describe(&case));
                }
            }
        }
        if failed > 0 {
            failures += &format!("{instruction}: {failed} of {cases} differ\n\n");
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Distance in units of the last place, between numbers of the same sign.
fn distance(a: F80, b: F80) -> u64 {
    // A denormal's significand goes on where that of the smallest normal numbers ends.
    let key = |value: F80| {
        let exponent = value.exponent().max(1) as i128;
        (exponent << 63) + (value.significand as i128 - (1 << 63))
    };
    if a.is_negative() != b.is_negative() {
        return u64::MAX;
    }
    key(a).abs_diff(key(b)).min(u64::MAX as u128) as u64
}

/// Makes a transcendental result that is near enough to the processor's equal to it, and forgets condition
/// codes that are undefined. Returns the largest distance.
fn forgive(instruction: Instruction, before: &Case, expected: &mut Case, actual: &mut Case) -> u64 {
    let mut largest = 0;
    for i in 0..2 {
        let (e, a) = (st(&expected.state, i), st(&actual.state, i));
        let number = |value: F80| matches!(value.class(), Class::Normal | Class::Denormal | Class::Zero);
        if number(e) && number(a) && distance(e, a) <= 1 {
            largest = largest.max(distance(e, a));
            actual.state.0[32 + 16 * i..48 + 16 * i].copy_from_slice(&expected.state.0[32 + 16 * i..48 + 16 * i]);
        }
    }
    let trigonometric = matches!(instruction.modrm, 0xf2 | 0xfb | 0xfe | 0xff);
    let faulted = !get16(&before.state.0, 2) & get16(&expected.state.0, 2) & status::STACK_FAULT != 0;
    let mut undefined = status::C0 | status::C3;
    if !trigonometric {
        undefined |= status::C2;
    }
    // C1 says how a result was rounded; the two may differ in that. With a stack fault it is exact.
    if !faulted {
        undefined |= status::C1;
    }
    for case in [expected, actual] {
        let word = get16(&case.state.0, 2) & !undefined;
        case.state.0[2..4].copy_from_slice(&word.to_le_bytes());
    }
    largest
}

#[test]
fn transcendental_functions_are_within_one_unit_of_the_processors() {
    let processor = Processor::new();
    let mut failures = String::new();
    for instruction in instructions().into_iter().filter(|&instruction| is_transcendental(instruction)) {
        let mut random = Random(seed() ^ (instruction.modrm as u64) << 32);
        let cases = 100_000 * rounds();
        let (mut failed, mut off) = (0, 0u64);
        for _ in 0..cases {
            let case = random_case(&mut random, instruction);
            let mut expected = execute(&processor, instruction, &case);
            let mut actual = emulate(instruction, &case).expect("listed as defined");
            off += forgive(instruction, &case, &mut expected, &mut actual);
            let found = differences(&expected, &actual);
            if !found.is_empty() {
                failed += 1;
                if failed <= 5 {
                    failures += &format!("{instruction}: {}\n    {}\n", found.join("; "), describe(&case));
                }
            }
        }
        println!("{instruction}: {off} of {cases} results are one unit off the processor's");
        if failed > 0 {
            failures += &format!("{instruction}: {failed} of {cases} differ\n\n");
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}
