//! The unit against the processor that runs the tests: every encoding, on random states.
//!
//! `X87_FUZZ_ROUNDS=1000` runs that many times as many cases, `X87_FUZZ_SEED` with other numbers.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod case;
mod native;
mod random;

use case::{describe, differences, emulate, execute, get16, random_case, st, Case, Instruction};
use native::{Image, Stub, SIGFPE, SIGILL};
use random::Random;
use x87::encoding::is_waiting;
use x87::{status, Class, Fpu, F80};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// Runs random cases of each instruction on both sides. `adjust` may change the two results (the case first)
/// before they are compared.
fn compare(
    instructions: impl Iterator<Item = Instruction>,
    cases: u64,
    adjust: impl Fn(Instruction, &Case, &mut Case, &mut Case),
) {
    let (rounds, seed) = (number("X87_FUZZ_ROUNDS", 1), number("X87_FUZZ_SEED", 0));
    let mut failures = String::new();
    for instruction in instructions {
        let stub = instruction.stub();
        let mut random = Random(seed ^ instruction.seed());
        let mut failed = 0;
        for _ in 0..cases * rounds {
            let case = random_case(&mut random, instruction);
            let mut expected = execute(&stub, &case);
            let mut actual = emulate(instruction, &stub, &case).expect("listed as defined");
            adjust(instruction, &case, &mut expected, &mut actual);
            let found = differences(&expected, &actual);
            if !found.is_empty() {
                failed += 1;
                if failed <= 3 {
                    failures += &format!(
                        "{instruction}: {}\n    {}\n",
                        found.join("; "),
                        describe(&case)
                    );
                }
            }
        }
        if failed > 0 {
            failures += &format!("{instruction}: {failed} of {} differ\n\n", cases * rounds);
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn every_instruction_does_what_the_processor_does() {
    let instructions =
        Instruction::defined().filter(|instruction| !instruction.is_transcendental());
    compare(instructions, 4000, |instruction, before, expected, actual| {
        forgive_exact(instruction, before, expected, actual);
    });
}

#[test]
fn transcendental_functions_are_within_one_unit_of_the_processors() {
    let instructions = Instruction::defined().filter(|instruction| instruction.is_transcendental());
    compare(instructions, 100_000, forgive);
}

#[test]
fn undefined_encodings_are_those_of_the_processor() {
    let state = initial_state(Fpu::new());
    for instruction in Instruction::all() {
        let signal = instruction.stub().signal(&state);
        let expected = if instruction.is_defined() {
            None
        } else {
            Some(SIGILL)
        };
        assert_eq!(signal, expected, "{instruction}");
    }
}

#[test]
fn pending_exceptions_stop_the_instructions_that_wait() {
    let mut fpu = Fpu::new();
    fpu.fldcw(0x037b);
    fpu.set_status_word(status::ZERO_DIVIDE);
    assert!(fpu.pending_exception());
    let state = initial_state(fpu);
    for instruction in Instruction::defined() {
        let signal = instruction.stub().signal(&state);
        let expected = if is_waiting(instruction.escape, instruction.modrm) {
            Some(SIGFPE)
        } else {
            None
        };
        assert_eq!(signal, expected, "{instruction}");
    }
}

#[test]
fn mmx_instructions_share_the_registers() {
    /// Instruction, and what it does to the state and to the memory operand.
    type Form = (&'static [u8], fn(&mut Fpu, &mut [u8; 8]));
    let forms: [Form; 5] = [
        // movq mm1, [rdx]
        (&[0x0f, 0x6f, 0x0a], |fpu, memory| {
            fpu.enter_mmx();
            fpu.set_mm(1, u64::from_le_bytes(*memory));
        }),
        // movq [rdx], mm3
        (&[0x0f, 0x7f, 0x1a], |fpu, memory| {
            fpu.enter_mmx();
            *memory = fpu.mm(3).to_le_bytes();
        }),
        // pxor mm2, mm5
        (&[0x0f, 0xef, 0xd5], |fpu, _| {
            fpu.enter_mmx();
            fpu.set_mm(2, fpu.mm(2) ^ fpu.mm(5));
        }),
        // pmovmskb eax, mm6: reads only
        (&[0x0f, 0xd7, 0xc6], |fpu, _| fpu.enter_mmx()),
        // emms
        (&[0x0f, 0x77], |fpu, _| fpu.emms()),
    ];
    let fchs = Instruction {
        escape: 1,
        modrm: 0xe0,
        short: false,
    };
    for (bytes, effect) in forms {
        let stub = Stub::new(bytes);
        let mut random = Random(bytes[1] as u64);
        for _ in 0..4000 {
            // Any waiting instruction: exceptions must not be pending.
            let case = random_case(&mut random, fchs);
            let expected = execute(&stub, &case);
            let mut actual = case.clone();
            let mut fpu = Fpu::new();
            fpu.fxrstor(&case.state.0, true);
            effect(&mut fpu, (&mut actual.memory[..8]).try_into().unwrap());
            fpu.fxsave(&mut actual.state.0, true);
            actual.flags_ax = expected.flags_ax;
            let found = differences(&expected, &actual);
            assert!(
                found.is_empty(),
                "{bytes:02x?}: {}\n{}",
                found.join("; "),
                describe(&case)
            );
        }
    }
}

/// The state in FXSAVE's format, with a valid MXCSR.
fn initial_state(fpu: Fpu) -> Image {
    let mut state = Image([0; 512]);
    fpu.fxsave(&mut state.0, true);
    state.0[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    state
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

/// Whether it is about as small as the smallest normal number, or smaller.
fn is_tiny(value: F80) -> bool {
    value.class() != Class::Zero && value.exponent() <= 1
}

/// Makes a remainder, or what is scaled, equal to the processor's where it may be so small and exact that processors
/// differ in whether it is an underflow.
fn forgive_exact(instruction: Instruction, before: &Case, expected: &Case, actual: &mut Case) {
    let is_exact = instruction.escape == 1 && matches!(instruction.modrm, 0xf5 | 0xf8 | 0xfd);
    if is_exact && is_tiny(st(&before.state, 0)) {
        *actual = expected.clone();
    }
}

/// Makes a transcendental result that is near enough to the processor's equal to it, and forgets condition
/// codes that are undefined.
fn forgive(instruction: Instruction, before: &Case, expected: &mut Case, actual: &mut Case) {
    if is_tiny(st(&before.state, 0)) {
        // Processors differ in whether the sine of such a number has an underflow.
        *actual = expected.clone();
    }
    for i in 0..2 {
        let (e, a) = (st(&expected.state, i), st(&actual.state, i));
        let number =
            |value: F80| matches!(value.class(), Class::Normal | Class::Denormal | Class::Zero);
        if number(e) && number(a) && distance(e, a) <= 1 {
            actual.state.0[32 + 16 * i..48 + 16 * i]
                .copy_from_slice(&expected.state.0[32 + 16 * i..48 + 16 * i]);
        }
    }
    let trigonometric = matches!(instruction.modrm, 0xf2 | 0xfb | 0xfe | 0xff);
    let faulted =
        !get16(&before.state.0, 2) & get16(&expected.state.0, 2) & status::STACK_FAULT != 0;
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
}
