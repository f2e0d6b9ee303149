//! Compiled C programs, run as a machine runs them: by `Cpu::run`, with what is hot compiled on the way.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;

use compiler::tiers::Tiers;
use compiler::CodeSize;
use cpu::{Cpu, Outcome};

use crate::engine::Wasm;
use crate::machine::{self, places, CODE_AT, DATA_AT, DATA_SIZE};
use crate::{arena, differences};

thread_local! {
    static WASM: RefCell<Option<Wasm>> = const { RefCell::new(None) };
}

extern "C" fn call<const INDEX: u32>(entry: u32) -> u32 {
    WASM.with_borrow_mut(|wasm| wasm.as_mut().expect("the engine is set up").call(INDEX, entry))
}

type Function = extern "C" fn(u32) -> u32;

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
    let mut tiers = Tiers::new(&mut cpu, tail_calls);
    let mut next = 0;
    let mut orders = 0;
    for slice in 0.. {
        assert!(slice < 1_000_000, "the program does not end");
        if cpu.run(1000 + slice % 77) == Outcome::Shutdown {
            break;
        }
        if let Some(order) = tiers.order(&mut cpu) {
            orders += 1;
            if order.first {
                next = 0;
            }
            let base = next;
            next += order.functions;
            WASM.with_borrow_mut(|wasm| wasm.as_mut().unwrap().instantiate(&order.bytes, base));
            tiers.install(&mut cpu, order.number, base, |place| {
                FUNCTIONS[place as usize / 8][place as usize % 8] as usize
            });
        }
    }
    let text = differences(&reference, &cpu);
    let executed = (reference.executed(), cpu.executed());
    println!(
        "{options:?}: {} instructions, {} calls of compiled code, {orders} modules, {next} functions",
        executed.0,
        calls()
    );
    assert!(text.is_empty(), "{text}");
    assert_eq!(executed.0, executed.1);
    assert!(cpu.ram.bytes(DATA_AT, DATA_SIZE).unwrap().iter().any(|&byte| byte != 0));
    assert!(orders > 2);
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
