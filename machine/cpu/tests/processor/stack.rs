//! Addresses that are not canonical: #SS where the stack segment is meant, else #GP. Linux makes SIGBUS
//! of the one and SIGSEGV of the other.

use crate::native::{self, Registers, DATA};
use crate::ours::{initial_fx, Ours};
use crate::Random;

const RSP: usize = 4;
const RBP: usize = 5;

/// Instructions, and which registers they take addresses from.
const INSTRUCTIONS: &[(&str, &[u8])] = &[
    ("push rax", &[0x50]),
    ("push ax", &[0x66, 0x50]),
    ("push 1", &[0x6a, 1]),
    ("push fs", &[0x0f, 0xa0]),
    ("push [rbx]", &[0xff, 0x33]),
    ("push [rbp]", &[0xff, 0x75, 0]),
    ("pushfq", &[0x9c]),
    ("pop rax", &[0x58]),
    ("pop ax", &[0x66, 0x58]),
    ("pop [rbx]", &[0x8f, 0x03]),
    ("pop [rbp]", &[0x8f, 0x45, 0]),
    ("popfq", &[0x9d]),
    ("call rax", &[0xff, 0xd0]),
    ("call [rbp]", &[0xff, 0x55, 0]),
    ("ret", &[0xc3]),
    ("ret 16", &[0xc2, 16, 0]),
    ("retf", &[0xcb]),
    ("iretq", &[0x48, 0xcf]),
    ("leave", &[0xc9]),
    ("enter 16, 0", &[0xc8, 16, 0, 0]),
    ("enter 16, 2", &[0xc8, 16, 0, 2]),
    ("mov rax, [rbx]", &[0x48, 0x8b, 0x03]),
    ("mov rax, [rbp]", &[0x48, 0x8b, 0x45, 0]),
    ("mov rax, [rsp]", &[0x48, 0x8b, 0x04, 0x24]),
    ("mov [rbp + 8], rax", &[0x48, 0x89, 0x45, 8]),
    ("mov rax, [rbx + rbp]", &[0x48, 0x8b, 0x04, 0x2b]),
    ("mov rax, [rbp + rbx]", &[0x48, 0x8b, 0x44, 0x1d, 0]),
    ("mov rax, ds:[rbp]", &[0x3e, 0x48, 0x8b, 0x45, 0]),
    ("mov rax, ss:[rbx]", &[0x36, 0x48, 0x8b, 0x03]),
    ("mov rax, gs:[rbp]", &[0x65, 0x48, 0x8b, 0x45, 0]),
    ("add [rbp], rax", &[0x48, 0x01, 0x45, 0]),
    ("movups xmm0, [rbp]", &[0x0f, 0x10, 0x45, 0]),
    ("movups xmm0, [rbx]", &[0x0f, 0x10, 0x03]),
    ("fld [rbp]", &[0xdd, 0x45, 0]),
    ("fld [rbx]", &[0xdd, 0x03]),
    ("fxsave [rsp]", &[0x0f, 0xae, 0x04, 0x24]),
    ("cmpxchg16b [rbp]", &[0x48, 0x0f, 0xc7, 0x4d, 0]),
    ("lods", &[0xac]),
    ("lods ss:", &[0x36, 0xac]),
    ("movs ss:", &[0x36, 0xa4]),
    ("stos", &[0xaa]),
    ("xlat", &[0xd7]),
];

#[test]
fn outside_the_canonical_addresses() {
    let _alone = native::prepare();
    let mut random = Random(1);
    let mut ours = Ours::new();
    let mut wrong = Vec::new();
    for &(name, code) in INSTRUCTIONS {
        for place in [0x0000_8000_0000_0000, 0x1234_5678_0000_0000, 0xffff_7fff_ffff_f000] {
            for stack in [false, true] {
                // Either what the stack pointers hold or what the others do is outside.
                let mut before = Registers {
                    gpr: [if stack { DATA + 0x1000 } else { place }; 16],
                    flags: 0x202,
                    rip: native::CODE,
                    mxcsr: 0,
                    signal: 0,
                    reserved: [0; 5],
                    fx: initial_fx(&mut random),
                    ymm_high: [0; 256],
                };
                for register in [RSP, RBP] {
                    before.gpr[register] = if stack { place } else { DATA + 0x1000 };
                }
                // All masked, nothing waits.
                before.fx[0..4].copy_from_slice(&[0x7f, 3, 0, 0]);
                // What calls, returns and POPF take from there is an address that is not canonical, either.
                let contents = vec![0x80; native::DATA_SIZE as usize];
                native::data().copy_from_slice(&contents);
                let expected = native::execute(code, &before).signal;
                let actual = ours.execute(code, &before, &contents).0.signal;
                if expected != actual {
                    wrong.push(format!("{name} (stack {stack}, {place:#x}): {expected}, not {actual}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
