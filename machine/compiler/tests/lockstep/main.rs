//! Compiled code against the interpreter: the same registers, flags, memory and counts of instructions
//! wherever it leaves.
//!
//! `LOCKSTEP_ROUNDS=N` gives how many random programs are tried, `LOCKSTEP_SEED` another seed. A failure
//! prints the program and its seed.

mod arena;
mod engine;
mod generate;
mod machine;
mod programs;
mod vex;

use compiler::{CodeSize, Module, Start, Wanted};
use cpu::state::{Exit, Mode};
use cpu::Cpu;
use engine::Wasm;
use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};
use machine::{CODE_AT, CODE_SIZE, DATA_AT, DATA_SIZE};

#[global_allocator]
static ALLOCATOR: arena::Arena = arena::Arena;

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

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Values at the borders of all sizes more often than others.
    pub fn value(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(4).wrapping_sub(2),
            1 => (1u64 << self.below(64)).wrapping_add(self.below(3)).wrapping_sub(1),
            2 => self.next() >> self.below(64),
            3 => self.next() | 0xffff_ffff_0000_0000,
            4 => self.below(256),
            _ => self.next(),
        }
    }
}

impl Random {
    /// A value, or what is one or two ordinary numbers in floating point.
    fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => (self.below(2000) as f64 / 8.0 - 100.0).to_bits(),
            1 => f64::to_bits(self.next() as f64 / self.next() as f64),
            2 => {
                let one = |random: &mut Random| u64::from((random.below(2000) as f32 / 8.0 - 100.0).to_bits());
                one(self) << 32 | one(self)
            }
            _ => self.value(),
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn listing(code_size: CodeSize, code: &[u8], from: usize) -> String {
    let mut text = String::new();
    let mut decoder = Decoder::with_ip(if code_size == CodeSize::Bits32 { 32 } else { 64 }, code, 0, DecoderOptions::NONE);
    decoder.set_position(from).unwrap();
    decoder.set_ip(from as u64);
    let mut formatter = NasmFormatter::new();
    let mut last = 0;
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let mut line = String::new();
        formatter.format(&instruction, &mut line);
        if last == 0xf4 && code[instruction.ip() as usize] == 0xf4 {
            break;
        }
        last = code[instruction.ip() as usize];
        text += &format!("{:5x}  {line}\n", instruction.ip());
    }
    text
}

/// What differs between two processors.
fn differences(reference: &Cpu, cpu: &Cpu) -> String {
    let mut text = String::new();
    let mut different = |name: String, expected: u64, actual: u64| {
        if expected != actual {
            text += &format!("  {name}: {expected:#x} expected, {actual:#x} found\n");
        }
    };
    for i in 0..16 {
        different(format!("gpr {i}"), reference.state.gpr[i], cpu.state.gpr[i]);
    }
    different("rip".into(), reference.state.rip, cpu.state.rip);
    different("flags".into(), reference.rflags(), cpu.rflags());
    for i in 0..16 {
        for half in 0..2 {
            different(format!("xmm {i}"), reference.state.xmm[i].0[half], cpu.state.xmm[i].0[half]);
            let upper = |cpu: &Cpu| cpu.state.ymm_high[i].0[half];
            different(format!("upper half of ymm {i}"), upper(reference), upper(cpu));
        }
    }
    // Compiled code does not tell of denormal operands: see `vector`.
    let mxcsr = |cpu: &Cpu| u64::from(cpu.state.mxcsr & !2);
    different("mxcsr".into(), mxcsr(reference), mxcsr(cpu));
    if reference.fpu != cpu.fpu {
        text += &format!("  fpu: {:x?} expected,\n    {:x?} found\n", reference.fpu, cpu.fpu);
    }
    let data = |cpu: &Cpu| cpu.ram.bytes(DATA_AT, DATA_SIZE).unwrap().to_vec();
    let (expected, actual) = (data(reference), data(cpu));
    if let Some(at) = (0..expected.len()).find(|&at| expected[at] != actual[at]) {
        text += &format!("  memory at {at:#x}: {:#x} expected, {:#x} found\n", expected[at], actual[at]);
    }
    text
}

/// Of the data, what programs use.
const PAGES: u64 = 8;

#[derive(Default)]
struct Counts {
    compiled: u64,
    stepped: u64,
    calls: u64,
}

/// One random program, from random states.
fn program(
    seed: u64,
    code_size: CodeSize,
    wasm: &mut Wasm,
    cpu: &mut Cpu,
    reference: &mut Cpu,
    function: u32,
    counts: &mut Counts,
) {
    let mut random = Random(seed);
    let (code_place, data) = machine::places(code_size);
    // In the first page or in the last one.
    let distance = random.below(2) * (CODE_SIZE - 0x1000);
    let page = code_place + distance;
    let (pointer, index) = generate::pointer_and_index(code_size);
    // Of 32-bit code, the registers' high halves may be anything.
    let above = if code_size == CodeSize::Bits32 { 0xffff_ffff_0000_0000 } else { 0 };
    let blocks = 1 + random.below(12) as usize;
    let (starts, code) = generate::page(&mut random, code_size, blocks);
    let mut module = Module::new(cpu.addresses());
    let begin: Vec<u16> = starts.iter().copied().filter(|_| random.below(3) == 0).chain([starts[0]]).collect();
    let begin: Vec<Start> =
        begin.into_iter().map(|offset| Start { offset, entered: random.below(2) == 0 }).collect();
    let windows = random.below(8) != 0;
    let compiled = module.add(cpu.state.mode, &code, &begin, windows, &|_| Wanted::Here);
    for cpu in [&mut *cpu, &mut *reference] {
        machine::load(cpu, CODE_AT + distance, &code);
    }
    let Some(compiled) = compiled else { return };
    wasm.instantiate(&module.finish(), function);
    let mut rights = [7; PAGES as usize];
    if random.below(3) == 0 {
        // Not there, read only, or never written to.
        rights[random.below(PAGES) as usize] = random.pick(&[0, 5, 7]);
    }
    for cpu in [&mut *cpu, &mut *reference] {
        machine::set_rights(cpu, code_size, &rights);
    }
    cpu.written(DATA_AT, PAGES * 0x1000);
    cpu.state.event = 0;
    if random.below(8) == 0 {
        // As if some of it were code, too.
        cpu.watch_code(DATA_AT + random.below(PAGES) * 0x1000, random.next());
    }
    for _ in 0..4 {
        let gpr: [u64; 16] = std::array::from_fn(|i| {
            let low = match i as u8 {
                4 => data + 0x4000 + random.below(64) * 8,
                i if i == index => random.below(16),
                i if i == pointer => {
                    data + 0x1000 * random.below(4) + random.pick(&[0x800, 0xff8, random.0 % 0x1000, 0x1000])
                }
                _ => return random.value(),
            };
            low | random.next() & above
        });
        let flags = random.next() & 0x8d5 | 2;
        let mut entry = random.below(compiled.entries.len() as u64) as usize;
        let seed_of_data = random.next();
        let mxcsr = random.pick(&[0x1f80u32, 0x1fa0, 0x1fa0, 0x1fa0, 0x3fa0, 0x9fe0, 0x1fc0]);
        // Rarely with unmasked exceptions.
        let x87_control = random.pick(&[0x37fu16, 0x37f, 0x27f, 0xf7f, 0x37f ^ 1 << (random.0 % 6)]);
        let vectors: [[u64; 2]; 32] = std::array::from_fn(|_| [random.number(), random.number()]);
        for cpu in [&mut *cpu, &mut *reference] {
            cpu.state.gpr = gpr;
            cpu.set_rflags(flags);
            cpu.state.mxcsr = mxcsr;
            cpu.fpu.fninit();
            cpu.fpu.fldcw(x87_control);
            for (register, value) in cpu.state.xmm.iter_mut().chain(&mut cpu.state.ymm_high).zip(vectors) {
                register.0 = value;
            }
            cpu.state.rip = page + u64::from(compiled.entries[entry]);
            cpu.state.budget = 0;
            let mut random = Random(seed_of_data);
            for word in cpu.ram.bytes_mut(DATA_AT, 0x8000).unwrap().chunks_exact_mut(8) {
                word.copy_from_slice(&random.number().to_le_bytes());
            }
        }
        for _ in 0..20 {
            let budget = 1 + random.below(60) as i64;
            cpu.state.budget = budget;
            let before = format!("{:x?} flags {flags:x} entry {:x}", cpu.state.gpr, compiled.entries[entry]);
            let exit = wasm.call(function, (entry as u32, cpu.state.rip, budget));
            let executed = budget - cpu.state.budget;
            counts.calls += 1;
            counts.compiled += executed as u64;
            let fail = |text: String| -> ! {
                panic!(
                    "seed {seed}: after {executed} instructions, exit {exit}:\n{text}before: {before}\n{}",
                    listing(code_size, &code, starts[0] as usize)
                )
            };
            if executed < 0 || executed > budget + 200 {
                fail(format!("  budget {budget}\n"));
            }
            for _ in 0..executed {
                let place = reference.state.rip.wrapping_sub(page) as usize;
                if let Err(fault) = reference.try_step() {
                    if !cpu::has_handler(&code[place..], reference.state.mode) {
                        // There is nothing to compare with.
                        return;
                    }
                    fail(format!("  {fault:?} missed at {:x}\n", reference.state.rip));
                }
            }
            // The interpreter may have begun an instruction that has several accesses, and do it again.
            let stepped = [Exit::Step, Exit::Window].map(|exit| exit as u32).contains(&exit).then(|| (reference.try_step(), cpu.try_step()));
            let mut text = differences(reference, cpu);
            let dirty = [&*reference, &*cpu].map(|cpu| machine::dirty(cpu, code_size, PAGES));
            if dirty[0] != dirty[1] && stepped.is_none() {
                text += &format!("  dirty pages: {:#b} expected, {:#b} found\n", dirty[0], dirty[1]);
            }
            if !text.is_empty() {
                fail(text);
            }
            if let Some((expected, actual)) = stepped {
                counts.stepped += 1;
                cpu.state.event = 0;
                let page_fault = expected.as_ref().is_err_and(|fault| fault.vector == 14);
                if expected != actual || (page_fault && reference.control.cr2 != cpu.control.cr2) {
                    fail(format!("  {expected:?} expected, {actual:?} found"));
                }
                if expected.is_err() {
                    break;
                }
            }
            // It goes on where that is an entry.
            let place = cpu.state.rip.wrapping_sub(page);
            match compiled.entries.iter().position(|&at| u64::from(at) == place) {
                Some(next) => entry = next,
                None => break,
            }
        }
    }
}

fn random_programs(code_size: CodeSize) {
    let (memory, _guard) = arena::begin();
    let mut wasm = Wasm::new(memory);
    let mut reference = machine::processor(code_size);
    let mut cpu = arena::inside(|| machine::processor(code_size));
    let seed = setting("LOCKSTEP_SEED", 1);
    let rounds = setting("LOCKSTEP_ROUNDS", 1500);
    let mut counts = Counts::default();
    for round in 0..rounds {
        let function = (round % 60_000) as u32;
        program(seed + round, code_size, &mut wasm, &mut cpu, &mut reference, function, &mut counts);
    }
    println!(
        "{} calls, {} instructions compiled, {} left to the interpreter",
        counts.calls, counts.compiled, counts.stepped
    );
    if rounds >= 1000 {
        // The comparison says something only where compiled code does something.
        assert!(counts.compiled > 20 * rounds && counts.compiled > 5 * counts.stepped);
    }
}

#[test]
fn random_programs_of_64_bits() {
    random_programs(CodeSize::Bits64);
}

#[test]
fn random_programs_of_32_bits() {
    random_programs(CodeSize::Bits32);
}

#[test]
fn ways_into_a_region_are_those_from_which_the_others_can_be_reached() {
    #[rustfmt::skip]
    let code = [
        0xb9, 10, 0, 0, 0, // 0: mov ecx, 10
        0xff, 0xc9,        // 5: dec ecx
        0xf6, 0xc1, 1,     // 7: test cl, 1
        0x74, 2,           // 10: je 14
        0xff, 0xc0,        // 12: inc eax
        0x85, 0xc9,        // 14: test ecx, ecx
        0x75, 0xf3,        // 16: jne 5
        0xc3,              // 18: ret
    ];
    let mut page = vec![0xcc; 4096];
    page[..code.len()].copy_from_slice(&code);
    let ways = |starts: &[(u16, bool)]| {
        let starts: Vec<Start> = starts.iter().map(|&(offset, entered)| Start { offset, entered }).collect();
        let mut module = Module::new(compiler::Addresses { cpu: 4096, tables: [8192; 2], links: None });
        let compiled = module.add(Mode::LONG, &page, &starts, true, &|_| Wanted::Here).expect("it is code");
        (compiled.entries, compiled.inner)
    };
    // 5 is where the loop is left when the budget is used up.
    assert_eq!(ways(&[(0, false), (5, false), (12, false), (14, false)]), (vec![0, 5], vec![12, 14]));
    assert_eq!(ways(&[(12, false), (14, false)]), (vec![5], vec![12, 14]));
    assert_eq!(ways(&[(12, false), (0, false), (14, true)]), (vec![0, 5, 14], vec![12]));
}
