//! System software that does anything at all: no input of the guest ends the machine with anything but
//! an exception of the guest's or an outcome that is reported.
//!
//! Ring 0 executes random instructions, system instructions above all, with random registers, control
//! registers, descriptors and page tables. (Panics are the failures; the test's profile has overflows
//! checked.) RAM lies between bytes that must stay as they are. `HOSTILE_ROUNDS=N` gives how many programs
//! are run, `HOSTILE_SEED` the first one's seed.

use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};

use board::{Board, Ram};
use cpu::segment::Table;
use cpu::{Cpu, Outcome};

const SIZE: usize = 1 << 20;
const MARGIN: usize = 1 << 16;
const CANARY: u8 = 0xa5;

// Physical addresses, and linear ones where the tables have not been changed.
const CODE: u64 = 0x1_0000;
const CODE_SIZE: u64 = 0x4000;
const GDT: u64 = 0x2_0000;
const IDT: u64 = 0x2_1000;
const TSS: u64 = 0x2_2000;
const TABLES: u64 = 0x3_0000;
const STACK: u64 = 0x8_0000;
const DATA: u64 = 0x9_0000;
const APIC: u64 = 0xfee0_0000;
const VIRTIO: u64 = 0xd000_0000;

struct Random(u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
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

    /// Numbers and addresses that system software deals with.
    fn value(&mut self) -> u64 {
        match self.below(16) {
            0 => self.below(16),
            1 => self.next(),
            2 => 1 << self.below(64),
            3 => (1u64 << self.below(64)).wrapping_sub(1),
            4 => self.next() >> self.below(64),
            5 => 0x0000_7fff_ffff_f000 + self.below(0x2000),
            6 => 0xffff_7fff_ffff_f000u64.wrapping_add(self.below(0x2000)),
            7 => 0u64.wrapping_sub(self.below(32)),
            8 => self.pick(&[APIC, VIRTIO]) + self.below(0x1000) * self.pick(&[1, 4]),
            9 => SIZE as u64 - self.below(32),
            10 => self.pick(&[GDT, IDT, TSS]) + self.below(0x200),
            11 => TABLES + self.below(0x5000),
            12 => CODE + self.below(CODE_SIZE),
            13 => self.selector(),
            _ => DATA + self.below(0x4000),
        }
    }

    fn selector(&mut self) -> u64 {
        self.below(20) * 8 | self.pick(&[0, 0, 0, 3, 3, 4, 1, 2, 7])
    }

    /// The number of a model-specific register.
    fn register(&mut self) -> u64 {
        let known = [
            0x10, 0x1b, 0x3a, 0x3b, 0x8b, 0xfe, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x1a0, 0x277, 0x6e0, 0xc000_0080,
            0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0103,
        ];
        match self.below(8) {
            0 => self.next(),
            1 => 0x800 + self.below(0x100),
            _ => self.pick(&known),
        }
    }

    /// A value that a control register may have, a few bits of it wrong.
    fn control(&mut self) -> u64 {
        let usual = self.pick(&[0x8001_0033, 0x0002_06b0, TABLES, TABLES | 5, 1 << 63 | TABLES, 0x501, 0xd01, 0]);
        match self.below(3) {
            0 => usual,
            1 => usual ^ 1 << self.below(64),
            _ => self.value(),
        }
    }

    /// A descriptor or gate that may do.
    fn descriptor(&mut self) -> [u64; 2] {
        let base = self.value();
        let limit = self.pick(&[0, 0x67, 0xfff, 0xf_ffff]);
        let access = match self.below(6) {
            // Code and data of both privileges, 64-bit, 32-bit and 16-bit code.
            0 => self.pick(&[0xa09b, 0xa0fb, 0xc09b, 0xc0fb, 0x009b, 0xa09f]),
            1 => self.pick(&[0xc093, 0xc0f3, 0x4097, 0x0091]),
            // Task state, local table, gates.
            2 => self.pick(&[0x0089, 0x008b, 0x0082, 0x008c, 0x008e, 0x00ee]),
            _ => self.next() & 0xf0ff,
        };
        let low = limit & 0xffff | (base & 0xff_ffff) << 16 | access << 40 | (limit >> 16 & 15) << 48
            | (base >> 24 & 0xff) << 56;
        [low, if self.below(4) == 0 { self.next() } else { base >> 32 }]
    }

    fn gate(&mut self) -> [u64; 2] {
        let target = CODE + self.below(CODE_SIZE);
        let kind = self.pick(&[0x8e, 0x8e, 0x8f, 0xee, 0xef, 0x0e, 0x85, 0x8c]);
        let selector = if self.below(4) == 0 { self.selector() } else { 8 };
        let ist = if self.below(4) == 0 { self.below(8) } else { 0 };
        [target & 0xffff | selector << 16 | ist << 32 | kind << 40 | (target >> 16 & 0xffff) << 48, 0]
    }

    fn instruction(&mut self, code: &mut Vec<u8>) {
        let modrm = 0xc0 | self.below(64) as u8;
        match self.below(40) {
            // mov reg, value, with which most of the others begin.
            0..=7 => {
                let register = self.below(16) as u8;
                let value = match self.below(3) {
                    0 => self.control(),
                    _ => self.value(),
                };
                code.extend([0x48 | register >> 3, 0xb8 | register & 7]);
                code.extend(value.to_le_bytes());
            }
            8 => {
                // WRMSR or RDMSR of a register that there may be.
                code.push(0xb9);
                code.extend((self.register() as u32).to_le_bytes());
                code.extend([0x0f, self.pick(&[0x30, 0x30, 0x32])]);
            }
            9 | 10 => code.extend([0x0f, self.pick(&[0x20, 0x22, 0x22, 0x21, 0x23]), modrm]),
            11 | 12 => {
                // LGDT and the like, with [rsi], or registers.
                let group = self.pick(&[0x00, 0x01]);
                let field = (self.below(8) as u8) << 3;
                code.extend([0x0f, group, if self.below(2) == 0 { field | 6 } else { 0xc0 | field | self.below(8) as u8 }]);
            }
            13 => code.extend([0x0f, 0x01, self.pick(&[0xf8, 0xf9, 0xc8, 0xca, 0xd0, 0xd1, 0xee, 0xef])]),
            14 => code.extend([0x8e, modrm]),
            15 => code.extend([self.pick(&[0x48, 0x66, 0x40]), self.pick(&[0xcf, 0xcb, 0xc3, 0x9d, 0x9c])]),
            16 => code.extend([0x48, 0x0f, self.pick(&[0x05, 0x07, 0x34, 0x35])]),
            17 => code.extend([0xcd, self.next() as u8]),
            18 => code.push(self.pick(&[0xcc, 0xf1, 0xf4, 0xfa, 0xfb, 0xf8, 0x9b])),
            19 => code.extend([0xf4, 0xfb, 0xf4]),
            // Far jump and call to [rsi], [rdi], [rbx].
            20 | 21 => code.extend([0x48 * (self.below(2) as u8), 0xff, self.pick(&[0x2e, 0x1e, 0x2f, 0x1b])]),
            // IN and OUT.
            22 => code.extend([self.pick(&[0xe4, 0xe6, 0xe5, 0xe7]), self.pick(&[0x20, 0x21, 0x40, 0x43, 0x61, 0x70, 0xa1])]),
            23 => code.extend([self.pick(&[0xec, 0xee, 0xed, 0xef, 0x6c, 0x6e])]),
            24 => code.extend([0x66, 0x0f, 0x38, 0x82, self.below(64) as u8]),
            25 => code.extend([0x0f, self.pick(&[0x02, 0x03, 0x06, 0x08, 0x09, 0xa0, 0xa1, 0xa2, 0xa9, 0xb2]), modrm]),
            26 => code.extend([0x0f, 0xae, (self.below(8) as u8) << 3 | 6]),
            // Repeated string instructions.
            27 => code.extend([self.pick(&[0xf2, 0xf3]), 0x48, self.pick(&[0xa4, 0xa5, 0xa6, 0xab, 0xac, 0xaf, 0x6d])]),
            // Stores of 64 bits, to tables too.
            28..=30 => code.extend([0x48, self.pick(&[0x89, 0x8b, 0x01]), (self.below(8) as u8) << 3 | self.pick(&[0, 1, 2, 3, 6, 7])]),
            31 => code.extend([0xeb, self.next() as u8]),
            32 => code.extend([0xf3, 0x0f, 0xae, modrm]),
            33 => code.extend([self.pick(&[0xc8, 0xc9, 0xca, 0xd7]), self.next() as u8, self.next() as u8, self.next() as u8]),
            _ => {
                for _ in 0..1 + self.below(12) {
                    let byte = self.next() as u8;
                    code.push(byte);
                }
            }
        }
    }
}

/// A machine with its memory between canaries.
struct Hostile {
    memory: Box<[u128]>,
    offset: usize,
}

impl Hostile {
    fn new() -> Hostile {
        let memory = vec![u128::from_ne_bytes([CANARY; 16]); (SIZE + 2 * MARGIN + 4096) / 16].into_boxed_slice();
        let base = memory.as_ptr() as usize;
        let offset = (base + MARGIN).next_multiple_of(4096) - base;
        Hostile { memory, offset }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let length = self.memory.len() * 16;
        unsafe { core::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast(), length) }
    }

    fn is_intact(&mut self) -> bool {
        let offset = self.offset;
        let bytes = self.bytes();
        bytes[..offset].iter().chain(&bytes[offset + SIZE..]).all(|&byte| byte == CANARY)
    }

    fn run(&mut self, seed: u64) -> Outcome {
        let offset = self.offset;
        self.bytes()[offset..offset + SIZE].fill(0);
        let base = unsafe { self.bytes().as_mut_ptr().add(offset) };
        // The machine is gone before the memory is looked at again.
        let ram = unsafe { cpu::memory::Ram::new(base, SIZE as u64) };
        let mut cpu = Cpu::new(ram, Box::new(Board::new(SIZE as u64)));
        let mut random = Random(seed);
        prepare(&mut cpu, &mut random);
        let mut time = 0;
        let mut outcome = Outcome::Budget;
        for _ in 0..8 {
            outcome = cpu.run(500);
            time += 1_000_000;
            look_after(&mut cpu, outcome, &mut time);
            if !matches!(outcome, Outcome::Budget | Outcome::Halt) {
                break;
            }
        }
        outcome
    }
}

/// What a host does between two slices.
fn look_after(cpu: &mut Cpu, outcome: Outcome, time: &mut u64) {
    let executed = cpu.executed();
    let (bus, mut memory) = cpu.bus_and_memory();
    let board = (bus as &mut dyn std::any::Any).downcast_mut::<Board>().unwrap();
    if outcome == Outcome::Halt {
        *time = (*time).max(board.next_timer().unwrap_or(0).min(*time + 1_000_000_000));
    }
    board.clock.look(*time, executed, false);
    board.next_timer();
    board.uart.take_output();
    board.p9.take_request(&mut Ram(&mut memory));
    board.net.take_frame(&mut Ram(&mut memory));
    board.console.take_output(0, &mut Ram(&mut memory));
    board.entropy.provide(&[1; 64], &mut Ram(&mut memory));
    board.update_lines();
}

fn prepare(cpu: &mut Cpu, random: &mut Random) {
    let mut code = Vec::new();
    while code.len() < CODE_SIZE as usize {
        random.instruction(&mut code);
    }
    code.truncate(CODE_SIZE as usize);
    cpu.ram.bytes_mut(CODE, CODE_SIZE).unwrap().copy_from_slice(&code);
    for at in (DATA..DATA + 0x4000).step_by(8) {
        let value = random.value();
        cpu.ram.set_entry(at, value);
    }
    // Descriptors: the first ones are of use.
    for (i, descriptor) in [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00af_fb00_0000_ffff, 0x00cf_f300_0000_ffff, 0x00cf_fb00_0000_ffff]
        .into_iter()
        .enumerate()
    {
        cpu.ram.set_entry(GDT + i as u64 * 8, descriptor);
    }
    for at in (GDT + 48..GDT + 0x200).step_by(16) {
        let [low, high] = random.descriptor();
        cpu.ram.set_entry(at, low);
        cpu.ram.set_entry(at + 8, high);
    }
    for vector in 0..256 {
        let [low, high] = random.gate();
        cpu.ram.set_entry(IDT + vector * 16, low);
        cpu.ram.set_entry(IDT + vector * 16 + 8, high);
    }
    for at in (TSS..TSS + 0x68).step_by(4) {
        let stack = if random.below(3) == 0 { random.value() } else { STACK };
        cpu.ram.set_entry(at, stack);
    }
    // All of RAM where it is, then some of the devices; a few entries are wrong.
    let all = 7;
    let entry = |cpu: &mut Cpu, random: &mut Random, at: u64, value: u64| {
        let value = match random.below(60) {
            0 => value ^ 1 << random.below(64),
            1 => value | 0x80,
            2 if random.below(4) == 0 => random.next(),
            _ => value,
        };
        cpu.ram.set_entry(at, value);
    };
    cpu.ram.set_entry(TABLES, TABLES + 0x1000 | all);
    entry(cpu, random, TABLES + 0xff8, TABLES + 0x1000 | all);
    cpu.ram.set_entry(TABLES + 0x1000, TABLES + 0x2000 | all);
    entry(cpu, random, TABLES + 0x1008, 1 << 30 | 0x80 | all);
    entry(cpu, random, TABLES + 0x1018, TABLES + 0x5000 | all);
    for (i, table) in [TABLES + 0x3000, TABLES + 0x4000].into_iter().enumerate() {
        cpu.ram.set_entry(TABLES + 0x2000 + i as u64 * 8, table | all);
        for page in 0..512 {
            entry(cpu, random, table + page * 8, (i as u64 * 512 + page) << 12 | all);
        }
    }
    for page in 0..512 {
        entry(cpu, random, TABLES + 0x5000 + page * 8, 3 << 30 | page << 21 | 0x80 | all);
    }
    cpu.gdtr = Table { base: GDT, limit: 0x1ff, reserved: [0; 3] };
    cpu.idtr = Table { base: IDT, limit: 0xfff, reserved: [0; 3] };
    cpu.tr = cpu::segment::Segment { base: TSS, limit: 0x67, access: 0x8b, selector: 0x40 };
    cpu.set_code_segment(cpu::segment::Segment::flat_code(8));
    cpu.write_control(3, TABLES).unwrap();
    cpu.write_control(4, 0x6b0).unwrap();
    cpu.write_msr(cpu::control::msr::EFER, 0xd01).unwrap();
    for register in 0..16 {
        cpu.state.gpr[register] = random.value();
    }
    cpu.state.gpr[4] = STACK;
    let flags = random.next() & 0x7fff;
    cpu.set_rflags(flags);
    cpu.state.rip = CODE + random.below(64);
}

#[test]
fn nothing_ends_the_machine_but_what_is_reported() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
    };
    let rounds = number("HOSTILE_ROUNDS", 1_500);
    let first = number("HOSTILE_SEED", 1);
    let mut machine = Hostile::new();
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for seed in first..first + rounds {
        let outcome = catch_unwind(AssertUnwindSafe(|| machine.run(seed)));
        let Ok(outcome) = outcome else { panic!("HOSTILE_SEED={seed} HOSTILE_ROUNDS=1") };
        assert!(machine.is_intact(), "HOSTILE_SEED={seed} wrote outside RAM");
        *outcomes.entry(format!("{outcome:?}")).or_default() += 1;
    }
    println!("{outcomes:?}");
    // Otherwise the programs are not what they should be.
    if rounds >= 1000 {
        for kind in [Outcome::Budget, Outcome::Dead, Outcome::Shutdown] {
            assert!(outcomes.contains_key(&format!("{kind:?}")), "{outcomes:?}");
        }
    }
}
