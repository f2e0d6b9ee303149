//! Compiled C programs, run as a machine runs them: by `Cpu::run`, with what is hot compiled on the way.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;

use compiler::tiers::Tiers;
use cpu::{Cpu, Outcome};

use crate::engine::Wasm;
use crate::machine::{self, CODE, CODE_AT, DATA, DATA_AT, DATA_SIZE};
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

fn build(options: &[&str]) -> Vec<u8> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lockstep/programs.c");
    let program = directory.join(format!("programs{}", options.concat()));
    let status = Command::new("cc")
        .args(options)
        .args([
            "-static",
            "-nostdlib",
            "-ffreestanding",
            "-fno-stack-protector",
            "-fno-pic",
            "-no-pie",
            "-mcmodel=large",
            "-mpopcnt",
        ])
        .args(["-fno-asynchronous-unwind-tables", "-fno-toplevel-reorder", "-Wl,--build-id=none", "-Wl,-N"])
        .arg(format!("-Wl,-Ttext={CODE:#x}"))
        .args(["-Wl,--oformat=binary", "-Wl,-estart", source, "-o"])
        .arg(&program)
        .status()
        .expect("the tests need a C compiler, cc");
    assert!(status.success());
    std::fs::read(program).unwrap()
}

fn prepare(cpu: &mut Cpu, program: &[u8]) {
    machine::load(cpu, CODE_AT, program);
    cpu.state.rip = CODE;
    cpu.state.gpr[4] = DATA + 0x7_0000;
}

fn compare(options: &[&str], tail_calls: bool) {
    let program = build(options);
    let (memory, _guard) = arena::begin();
    WASM.set(Some(Wasm::new(memory)));
    let mut reference = machine::processor();
    let mut cpu = arena::inside(machine::processor);
    prepare(&mut reference, &program);
    prepare(&mut cpu, &program);
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
    compare(&["-O0"], true);
}

#[test]
fn optimised() {
    compare(&["-O2"], true);
}

#[test]
fn vectorised() {
    compare(&["-O3"], true);
}

#[test]
fn without_tail_calls() {
    compare(&["-O1"], false);
}
