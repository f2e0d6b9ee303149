//! Compiled C programs, run as a machine runs them: by `Cpu::run`, with what is hot compiled on the way.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;

use compiler::tiers::Tiers;
use compiler::CodeSize;
use cpu::compiled::Function;
use cpu::{Cpu, Outcome};

use crate::engine::Wasm;
use crate::machine::{self, places, CODE_AT, DATA_AT, DATA_SIZE};
use crate::{arena, differences};

thread_local! {
    static WASM: RefCell<Option<Wasm>> = const { RefCell::new(None) };
}

extern "C" fn call<const INDEX: u32>(entry: u32, rip: u64, budget: i64) -> u32 {
    let parameters = (entry, rip, budget);
    WASM.with_borrow_mut(|wasm| wasm.as_mut().expect("the engine is set up").call(INDEX, parameters))
}

macro_rules! functions {
    ($($high:literal)*) => { [$(functions!(@ $high)),*] };
    (@ $high:literal) => {
        [call::<{ $high * 8 }>, call::<{ $high * 8 + 1 }>, call::<{ $high * 8 + 2 }>, call::<{ $high * 8 + 3 }>,
         call::<{ $high * 8 + 4 }>, call::<{ $high * 8 + 5 }>, call::<{ $high * 8 + 6 }>, call::<{ $high * 8 + 7 }>]
    };
}

/// Functions of the processor's kind, each for the one at a place in WebAssembly's table.
const FUNCTIONS: [[Function; 8]; 16] = functions!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

fn build(code_size: CodeSize, options: &[&str]) -> Vec<u8> {
    let (code, data) = places(code_size);
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lockstep/programs.c");
    let program = directory.join(format!("programs-{code_size:?}{}", options.concat()));
    let status = Command::new("cc")
        .args(options)
        .args([
            "-static",
            "-nostdlib",
            "-ffreestanding",
            "-fno-stack-protector",
            "-fno-pic",
            "-no-pie",
            "-mpopcnt",
        ])
        .args(if code_size == CodeSize::Bits32 { ["-m32", "-mstackrealign"] } else { ["-m64", "-mcmodel=large"] })
        .arg(format!("-DDATA={data:#x}"))
        .args(["-fno-asynchronous-unwind-tables", "-fno-toplevel-reorder", "-Wl,--build-id=none", "-Wl,-N"])
        .arg(format!("-Wl,-Ttext={code:#x}"))
        .args(["-Wl,--oformat=binary", "-Wl,-estart", source, "-o"])
        .arg(&program)
        .status()
        .expect("the tests need a C compiler, cc");
    assert!(status.success());
    std::fs::read(program).unwrap()
}

fn prepare(cpu: &mut Cpu, code_size: CodeSize, program: &[u8]) {
    let (code, data) = places(code_size);
    machine::load(cpu, CODE_AT, program);
    cpu.state.rip = code;
    cpu.state.gpr[4] = data + 0x7_0000;
}

fn compare(code_size: CodeSize, options: &[&str], tail_calls: bool) {
    let program = build(code_size, options);
    let (memory, _guard) = arena::begin();
    WASM.set(Some(Wasm::new(memory)));
    let mut reference = machine::processor(code_size);
    let mut cpu = arena::inside(|| machine::processor(code_size));
    prepare(&mut reference, code_size, &program);
    prepare(&mut cpu, code_size, &program);
    let mut slices = 0;
    // The program ends by an instruction that faults; there is nothing to handle that.
    while reference.run(100_000) != Outcome::Shutdown {
        slices += 1;
        assert!(slices < 10_000, "the program does not end");
    }
    let (orders, functions) = run(&mut cpu, tail_calls);
    let text = differences(&reference, &cpu);
    let executed = (reference.executed(), cpu.executed());
    println!(
        "{options:?}: {} instructions, {} calls of compiled code, {orders} modules, {functions} functions",
        executed.0,
        calls()
    );
    assert!(text.is_empty(), "{text}");
    assert_eq!(executed.0, executed.1);
    assert!(cpu.ram.bytes(DATA_AT, DATA_SIZE).unwrap().iter().any(|&byte| byte != 0));
    assert!(orders > 2);
}

/// Runs to the end, with what is hot compiled on the way. Returns how many modules there were, and how many functions.
fn run(cpu: &mut Cpu, tail_calls: bool) -> (u32, u32) {
    let mut tiers = Tiers::new(cpu, tail_calls);
    let mut next = 0;
    let mut orders = 0;
    for slice in 0.. {
        assert!(slice < 1_000_000, "the program does not end");
        if cpu.run(1000 + slice % 77) == Outcome::Shutdown {
            break;
        }
        if let Some(order) = tiers.order(cpu) {
            orders += 1;
            if order.first {
                next = 0;
            }
            let base = next;
            next += order.functions;
            WASM.with_borrow_mut(|wasm| wasm.as_mut().unwrap().instantiate(&order.bytes, base));
            tiers.install(cpu, order.number, base, |place| {
                FUNCTIONS[place as usize / 8][place as usize % 8] as usize
            });
        }
    }
    (orders, next)
}

fn calls() -> u64 {
    WASM.with_borrow(|wasm| wasm.as_ref().unwrap().calls)
}

#[test]
fn unoptimised() {
    compare(CodeSize::Bits64, &["-O0"], true);
}

#[test]
fn optimised() {
    compare(CodeSize::Bits64, &["-O2"], true);
}

#[test]
fn vectorised() {
    compare(CodeSize::Bits64, &["-O3"], true);
}

#[test]
fn without_tail_calls() {
    compare(CodeSize::Bits64, &["-O1"], false);
}

#[test]
fn optimised_of_32_bits() {
    compare(CodeSize::Bits32, &["-O2"], true);
}

#[test]
fn vectorised_of_32_bits() {
    compare(CodeSize::Bits32, &["-O3", "-msse2", "-mfpmath=sse"], false);
}

/// Sums eight numbers that are side by side, with one look at the TLB for all of them, 30,000 times. Returns how often
/// compiled code was called.
fn sum_at(distance: u64) -> u64 {
    // mov rax, [rbx]; add rax, [rbx+8] and so on; add rdx, rax; sub ecx, 1; jnz to the beginning; ud2
    let mut program = vec![0x48, 0x8b, 0x03];
    for place in 1..8 {
        program.extend([0x48, 0x03, 0x43, 8 * place]);
    }
    program.extend([0x48, 0x01, 0xc2, 0x83, 0xe9, 0x01, 0x75]);
    program.extend([(-(program.len() as i8) - 1) as u8, 0x0f, 0x0b]);
    let (memory, _guard) = arena::begin();
    WASM.set(Some(Wasm::new(memory)));
    let mut cpu = arena::inside(|| machine::processor(CodeSize::Bits64));
    prepare(&mut cpu, CodeSize::Bits64, &program);
    let (_, data) = places(CodeSize::Bits64);
    cpu.state.gpr[1] = 30_000;
    cpu.state.gpr[2] = 0;
    cpu.state.gpr[3] = data + distance;
    for (number, place) in (1u64..).zip(cpu.ram.bytes_mut(DATA_AT + distance, 64).unwrap().chunks_exact_mut(8)) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    run(&mut cpu, true);
    assert_eq!(cpu.state.gpr[2], 30_000 * 36);
    calls()
}

#[test]
fn windows_over_the_end_of_a_page_are_given_up() {
    assert!(sum_at(0x800) < 1000);
    // Until that is done, each turn leaves the code.
    let calls = sum_at(0x1000 - 32);
    assert!((2000..10_000).contains(&calls), "{calls} calls");
}
