//! Regions over several pages, whose pages change or are mapped elsewhere while they run.
//!
//! A loop in the code's first page calls a function in the second one, and goes on in the fifth. Now and then it calls
//! another one, in the fourth, that changes something.

use compiler::{CodeSize, Heat, Module, Source};
use cpu::segment::Segment;
use cpu::Cpu;

use crate::machine::{self, places, CODE_AT, DATA_AT};
use crate::programs::{run, Shape};

const PAGE: u64 = 0x1000;
const FUNCTION: usize = 0x1100;
/// What the function's page is remapped to has another one there.
const OTHER_FUNCTION: usize = 0x2100;
const CHANGE: usize = 0x3080;
const TAIL: usize = 0x4020;
const TURNS: u32 = 6000;
/// In the page that the stack is not in: where the page table is mapped.
const TABLE: u64 = 0x1_0000;

const RETURN: u8 = 0xc3;

struct Code(Vec<u8>);

impl Code {
    fn put(&mut self, at: usize, bytes: &[u8]) -> usize {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        at + bytes.len()
    }

    /// An instruction that ends with the distance to its target.
    fn to(&mut self, at: usize, opcode: &[u8], target: usize) -> usize {
        let end = at + opcode.len() + 4;
        let distance = (target as i64 - end as i64) as i32;
        self.put(at, &[opcode, &distance.to_le_bytes()].concat());
        end
    }

    /// RBX adds up what the function gives; where RCX is a multiple of `every`, a power of two, something is changed.
    fn new(function: usize, every: u8, change: &[u8]) -> Code {
        let mut code = Code(vec![0xf4; 5 * PAGE as usize]);
        let mut at = code.to(0, &[0xe8], function);
        at = code.put(at, &[0x48, 0x01, 0xc3]); // add rbx, rax
        at = code.put(at, &[0xf6, 0xc1, every - 1, 0x75, 5]); // test cl, ...; jne
        at = code.to(at, &[0xe8], CHANGE);
        code.to(at, &[0xe9], TAIL);
        at = code.put(TAIL, &[0x48, 0xff, 0xc9]); // dec rcx
        at = code.to(at, &[0x0f, 0x85], 0); // jnz
        code.put(at, &[0x0f, 0x0b]);
        code.put(CHANGE, change);
        code.put(FUNCTION, &[0xb8, 7, 0, 0, 0, RETURN]); // mov eax, 7
        code.put(OTHER_FUNCTION, &[0xb8, 0, 9, 0, 0, RETURN]);
        code
    }

    fn prepare(&self, cpu: &mut Cpu) {
        let (code, data) = places(CodeSize::Bits64);
        cpu.set_code_segment(Segment { access: 0xa09b, ..Segment::flat_code(0x10) });
        machine::load(cpu, CODE_AT, &self.0);
        cpu.state.rip = code;
        cpu.state.gpr[1] = u64::from(TURNS);
        cpu.state.gpr[4] = data + 0x7000;
    }
}

/// Where the entry of a linear address is in the last table, and that table's address.
fn slot(cpu: &Cpu, va: u64) -> (u64, u64) {
    let mut table = cpu.control.cr3;
    for shift in [39, 30, 21] {
        table = cpu.ram.entry(table + (va >> shift & 0x1ff) * 8) & !0xfff;
    }
    (table + (va >> 12 & 0x1ff) * 8, table)
}

/// RDI points to the entry of the function's page, and RSI is one for the other function's page.
fn show_table(cpu: &mut Cpu) {
    let (code, data) = places(CodeSize::Bits64);
    let (entry, table) = slot(cpu, code + PAGE);
    let (shown, _) = slot(cpu, data + TABLE);
    cpu.ram.set_entry(shown, table | 3);
    cpu.state.gpr[7] = data + TABLE + entry % PAGE;
    cpu.state.gpr[6] = cpu.ram.entry(slot(cpu, code + 2 * PAGE).0);
    // The same address within the page.
    let bytes = cpu.ram.bytes(CODE_AT + OTHER_FUNCTION as u64, 6).unwrap().to_vec();
    assert_eq!(OTHER_FUNCTION % PAGE as usize, FUNCTION % PAGE as usize);
    assert_eq!(bytes[5], RETURN);
    cpu.state.gpr[8] = code + PAGE;
}

fn compare(code: &Code, also: impl Fn(&mut Cpu)) -> Cpu64 {
    let shape = Shape { name: "pages", tail_calls: true, least_orders: 1 };
    run(CodeSize::Bits64, &shape, &|cpu: &mut Cpu| {
        code.prepare(cpu);
        also(cpu);
    })
}

type Cpu64 = Box<Cpu>;

/// Where the code is, all of it hot.
impl Source for Code {
    fn page(&self, distance: i32) -> Option<&[u8]> {
        self.0.chunks(PAGE as usize).nth(usize::try_from(distance).ok()?)
    }
    fn heat(&self, distance: i64) -> Heat {
        if (0..self.0.len() as i64).contains(&distance) {
            Heat::Hot
        } else {
            Heat::Never
        }
    }
    fn is_free(&self, _: i64) -> bool {
        true
    }
}

#[test]
fn a_region_has_pages_that_are_called_and_jumped_to() {
    let code = Code::new(FUNCTION, 64, &[RETURN]);
    let mut module = Module::new(machine::processor(CodeSize::Bits64).addresses());
    let compiled = module.add(CodeSize::Bits64, &code, &[0]).unwrap();
    let mut pages: Vec<i32> = compiled.pages.iter().map(|page| page.distance).collect();
    assert_eq!(pages[0], 0);
    pages.sort_unstable();
    assert_eq!(pages, [0, 1, 3, 4]);
}

#[test]
fn a_page_is_mapped_elsewhere() {
    // xchg [rdi], rsi; invlpg [r8]
    let code = Code::new(FUNCTION, 64, &[0x48, 0x87, 0x37, 0x41, 0x0f, 0x01, 0x38, RETURN]);
    let cpu = compare(&code, show_table);
    assert!(cpu.state.gpr[3] > 7 * u64::from(TURNS));
}

#[test]
fn a_page_is_not_mapped() {
    // cmp ecx, 1024; jne; and as before, to an entry that is not present: the fault ends it.
    let change =
        [0x81, 0xf9, 0, 4, 0, 0, 0x75, 7, 0x48, 0x87, 0x37, 0x41, 0x0f, 0x01, 0x38, RETURN];
    let cpu = compare(&Code::new(FUNCTION, 64, &change), |cpu| {
        show_table(cpu);
        cpu.state.gpr[6] = 0;
    });
    assert_eq!(cpu.state.gpr[1], 1023);
}

#[test]
fn a_page_is_written_to() {
    // inc byte [rdi]
    let code = Code::new(FUNCTION, 64, &[0xfe, 0x07, RETURN]);
    let cpu = compare(&code, |cpu| cpu.state.gpr[7] = places(CodeSize::Bits64).0 + FUNCTION as u64 + 1);
    assert!(cpu.state.gpr[3] > 7 * u64::from(TURNS));
}

#[test]
fn another_address_space_has_another_page_there() {
    // xchg rsi, r9; mov cr3, rsi
    let code = Code::new(FUNCTION, 16, &[0x49, 0x87, 0xf1, 0x0f, 0x22, 0xde, RETURN]);
    let cpu = compare(&code, |cpu| {
        let (code, _) = places(CodeSize::Bits64);
        let root = cpu.control.cr3;
        // A copy of all tables above the code, from this address on.
        let mut copy = DATA_AT + 0x4_0000;
        cpu.state.gpr[6] = root;
        cpu.state.gpr[9] = copy;
        let mut table = root;
        for shift in [39, 30, 21, 12] {
            let bytes = cpu.ram.bytes(table, PAGE).unwrap().to_vec();
            cpu.ram.bytes_mut(copy, PAGE).unwrap().copy_from_slice(&bytes);
            let entry = copy + (code >> shift & 0x1ff) * 8;
            if shift == 12 {
                let other = cpu.ram.entry(entry + 16);
                cpu.ram.set_entry(entry + 8, other);
            } else {
                table = cpu.ram.entry(entry) & !0xfff;
                copy += PAGE;
                cpu.ram.set_entry(entry, copy | 7);
            }
        }
    });
    assert!(cpu.state.gpr[3] > 7 * u64::from(TURNS));
}

#[test]
fn a_function_returns_to_elsewhere() {
    let mut code = Code::new(FUNCTION, 64, &[RETURN]);
    // mov eax, 5; test cl, 1; je; add qword [rsp], 3: over the addition.
    let bytes = [0xb8, 5, 0, 0, 0, 0xf6, 0xc1, 1, 0x74, 5, 0x48, 0x83, 0x04, 0x24, 3, RETURN];
    code.put(FUNCTION, &bytes);
    let cpu = compare(&code, |_| {});
    assert_eq!(cpu.state.gpr[3], 5 * u64::from(TURNS) / 2);
}

#[test]
fn a_function_goes_over_the_border_of_pages() {
    for begin in [0x1ffb, 0x1ffc, 0x1ffd, 0x1fff] {
        let mut code = Code::new(begin, 64, &[RETURN]);
        code.put(begin, &[0xb8, 3, 0, 0, 0, 0xff, 0xc0, RETURN]); // mov eax, 3; inc eax
        let cpu = compare(&code, |_| {});
        assert_eq!(cpu.state.gpr[3], 4 * u64::from(TURNS));
    }
}
