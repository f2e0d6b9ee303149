//! Random code of one page: blocks of random instructions with random jumps between them.

use compiler::CodeSize;

use crate::{machine, Random};

/// The registers that point into the data and that are a small index, R15 and R14 or EDI and ESI. These and
/// RSP, the stack, are rarely written to.
pub fn pointer_and_index(code_size: CodeSize) -> (u8, u8) {
    match code_size {
        CodeSize::Bits32 => (7, 6),
        CodeSize::Bits64 => (15, 14),
    }
}

fn register(random: &mut Random, code_size: CodeSize) -> u8 {
    loop {
        let register = random.below(u64::from(pointer_and_index(code_size).1)) as u8;
        if register != 4 {
            return register;
        }
    }
}

/// An absolute address in the data, or one in the segment that GS has, with its prefix.
fn absolute(random: &mut Random, out: &mut Vec<u8>) -> [u8; 4] {
    if random.below(2) == 0 {
        out.push(0x65);
        return i32::from(random.next() as i16 >> 4).to_le_bytes();
    }
    (machine::places(CodeSize::Bits32).1 as u32 + 0x1000 + random.below(0x2000) as u32).to_le_bytes()
}

/// One instruction with a ModRM byte: prefixes, REX, opcode, operands, immediate.
fn encode(
    random: &mut Random,
    code_size: CodeSize,
    out: &mut Vec<u8>,
    size: u8,
    opcode: &[u8],
    mandatory: u8,
    reg: u8,
    memory: bool,
    immediate: usize,
) {
    // 32-bit code has no REX to make it 8.
    let size = if code_size == CodeSize::Bits32 { size.min(4) } else { size };
    let mut prefix = Vec::new();
    let (pointer, index) = pointer_and_index(code_size);
    let rm = register(random, code_size);
    let (rex_b, rex_x, modrm, tail): (u8, u8, u8, Vec<u8>) = if memory {
        let displacement = (random.next() as i8) as i32 * if random.below(16) == 0 { 32 } else { 1 };
        let bytes = displacement.to_le_bytes();
        let short = (-128..128).contains(&displacement);
        let mode = if short { 0x40 } else { 0x80 };
        let bytes = if short { bytes[..1].to_vec() } else { bytes.to_vec() };
        match random.below(6) {
            0 if code_size == CodeSize::Bits32 => (0, 0, 5, absolute(random, &mut prefix).to_vec()),
            0 | 1 => {
                let sib = (random.below(4) as u8) << 6 | (index & 7) << 3 | pointer & 7;
                (1, 1, mode | 4, [vec![sib], bytes].concat())
            }
            2 => (0, 0, mode | 4, [vec![0x24], bytes].concat()),
            _ => (1, 0, mode | pointer & 7, bytes),
        }
    } else {
        (rm >> 3, 0, 0xc0 | rm & 7, Vec::new())
    };
    out.extend(prefix);
    if size == 2 {
        out.push(0x66);
    }
    if mandatory != 0 {
        out.push(mandatory);
    }
    let rex = 0x40 | u8::from(size == 8) << 3 | (reg >> 3) << 2 | rex_x << 1 | rex_b;
    // Without REX, the byte registers 4 to 7 are AH to BH.
    if code_size == CodeSize::Bits64 && (rex != 0x40 || (size == 1 && random.below(2) == 0)) {
        out.push(rex);
    }
    out.extend_from_slice(opcode);
    out.push(modrm | (reg & 7) << 3);
    out.extend(tail);
    for _ in 0..immediate {
        out.push(random.next() as u8);
    }
}

/// One instruction that goes on to the next, in 32-bit code one that 64-bit code has, too, mostly in another
/// form.
pub fn instruction(random: &mut Random, code_size: CodeSize, out: &mut Vec<u8>) {
    let long = code_size == CodeSize::Bits64;
    if !long && random.below(6) == 0 {
        return short(random, out);
    }
    let size = random.pick(if long { &[1u8, 2, 4, 4, 8, 8][..] } else { &[1, 2, 4, 4] });
    let operand_sizes: &[&[u8]] = if long { &[&[], &[0x66], &[0x48]] } else { &[&[], &[0x66]] };
    let wide = u8::from(size != 1);
    let long_size = if size == 1 { 4 } else { size };
    let memory = random.below(3) == 0;
    let reg = register(random, code_size);
    let immediate_size = (size as usize).min(4);
    match random.below(52) {
        0..=5 => {
            let how = random.below(8) as u8;
            let direction = random.below(2) as u8 * 2;
            encode(random, code_size, out, size, &[how << 3 | direction | wide], 0, reg, memory, 0);
        }
        6..=8 => {
            let how = random.below(8) as u8;
            if random.below(2) == 0 && size != 1 {
                encode(random, code_size, out, size, &[0x83], 0, how, memory, 1);
            } else {
                encode(random, code_size, out, size, &[0x80 | wide], 0, how, memory, immediate_size);
            }
        }
        9 => {
            let how = random.pick(&[0u8, 2, 3, 4, 5, 6, 7]);
            let immediate = if how == 0 { immediate_size } else { 0 };
            encode(random, code_size, out, size, &[0xf6 | wide], 0, how, memory, immediate);
        }
        10 => {
            // Divisions that mostly succeed: CDQ or XOR EDX, EDX before.
            let signed = random.below(2) == 0;
            if signed {
                if long_size == 8 {
                    out.push(0x48);
                }
                out.push(0x99);
            } else {
                out.extend([0x31, 0xd2]);
            }
            encode(random, code_size, out, long_size, &[0xf7], 0, if signed { 7 } else { 6 }, memory, 0);
        }
        11 | 12 => {
            let how = random.below(2) as u8;
            encode(random, code_size, out, size, &[0xfe | wide], 0, how, memory, 0);
        }
        13..=15 => {
            let how = random.pick(&[0u8, 1, 2, 3, 4, 5, 7, 4, 5, 7]);
            match random.below(3) {
                0 => encode(random, code_size, out, size, &[0xc0 | wide], 0, how, memory, 1),
                1 => encode(random, code_size, out, size, &[0xd0 | wide], 0, how, memory, 0),
                _ => encode(random, code_size, out, size, &[0xd2 | wide], 0, how, memory, 0),
            }
        }
        16 | 17 => {
            let direction = random.below(2) as u8 * 2;
            encode(random, code_size, out, size, &[0x88 | direction | wide], 0, reg, memory, 0);
        }
        18 => encode(random, code_size, out, size, &[0xc6 | wide], 0, 0, memory, immediate_size),
        19 => encode(random, code_size, out, long_size, &[0x8d], 0, reg, true, 0),
        20 => encode(random, code_size, out, size, &[0x86 | wide], 0, reg, memory, 0),
        21 => {
            if random.below(2) == 0 {
                encode(random, code_size, out, long_size, &[0x6b], 0, reg, memory, 1);
            } else {
                encode(random, code_size, out, long_size, &[0x0f, 0xaf], 0, reg, memory, 0);
            }
        }
        22 | 23 => {
            let opcode = random.pick(&[0xb6u8, 0xb7, 0xbe, 0xbf]);
            encode(random, code_size, out, long_size, &[0x0f, opcode], 0, reg, memory, 0);
        }
        24 if long => encode(random, code_size, out, 8, &[0x63], 0, reg, memory, 0),
        25 | 26 => {
            let condition = random.below(16) as u8;
            encode(random, code_size, out, long_size, &[0x0f, 0x40 | condition], 0, reg, memory, 0);
        }
        27 | 28 => {
            let condition = random.below(16) as u8;
            encode(random, code_size, out, 1, &[0x0f, 0x90 | condition], 0, 0, memory, 0);
        }
        29 => {
            let opcode = random.pick(&[0xa3u8, 0xab, 0xb3, 0xbb]);
            encode(random, code_size, out, long_size, &[0x0f, opcode], 0, reg, false, 0);
        }
        30 => {
            let how = 4 + random.below(4) as u8;
            encode(random, code_size, out, long_size, &[0x0f, 0xba], 0, how, memory, 1);
        }
        31 => {
            let opcode = random.pick(&[0xbcu8, 0xbd]);
            let mandatory = random.pick(&[0u8, 0xf3]);
            encode(random, code_size, out, long_size, &[0x0f, opcode], mandatory, reg, memory, 0);
        }
        32 => encode(random, code_size, out, long_size, &[0x0f, 0xb8], 0xf3, reg, memory, 0),
        33 => {
            let opcode = random.pick(&[0xb0u8, 0xc0]);
            encode(random, code_size, out, size, &[0x0f, opcode | wide], 0, reg, memory, 0);
        }
        34 => {
            let opcode = random.pick(&[0xa4u8, 0xac, 0xa5, 0xad]);
            encode(random, code_size, out, long_size, &[0x0f, opcode], 0, reg, memory, usize::from(opcode & 1 == 0));
        }
        35 => match random.below(4) {
            // BSWAP, CWDE and the like, CDQ and the like.
            0 if long => out.extend([0x48 | reg >> 3, 0x0f, 0xc8 | reg & 7]),
            1 if long => out.extend([0x40 | reg >> 3, 0x0f, 0xc8 | reg & 7]),
            0 | 1 => out.extend([0x0f, 0xc8 | reg]),
            2 => {
                out.extend(random.pick(operand_sizes));
                out.push(0x98);
            }
            _ => {
                out.extend(random.pick(operand_sizes));
                out.push(0x99);
            }
        },
        36 => {
            if long {
                out.push(0x40 | reg >> 3);
            }
            out.push(random.pick(&[0x50u8, 0x58]) | reg & 7);
        }
        37 => out.push(random.pick(&[0xf8u8, 0xf9, 0xf5, 0xfc, 0x9c, 0x90, 0x9f, 0x9e])),
        38 if random.below(2) == 0 => {
            let opcode = random.pick(&[0xf0u8, 0xf1]);
            encode(random, code_size, out, long_size, &[0x0f, 0x38, opcode], 0, reg, true, 0);
        }
        39..=43 => vector(random, code_size, out, memory, reg),
        44..=48 => crate::vex::instruction(random, code_size, out),
        49..=51 => x87(random, code_size, out, memory),
        _ => match random.below(3) {
            // PUSH of an immediate and of memory; an instruction that only the interpreter has.
            0 => out.extend([0x6a, random.next() as u8]),
            1 => encode(random, code_size, out, 4, &[0xff], 0, 6, true, 0),
            _ => encode(random, code_size, out, 8, &[0x0f, 0xc7], 0, 1, true, 0),
        },
    }
}

/// One instruction that only 32-bit code has, or that it has another encoding for.
fn short(random: &mut Random, out: &mut Vec<u8>) {
    let reg = register(random, CodeSize::Bits32);
    match random.below(12) {
        // INC, DEC.
        0..=2 => {
            out.extend(random.pick(&[&[][..], &[], &[0x66]]));
            out.push(0x40 | random.below(2) as u8 * 8 | reg);
        }
        // MOV from and to an absolute address.
        3 | 4 => {
            let address = absolute(random, out);
            out.push(0xa0 | random.below(4) as u8);
            out.extend(address);
        }
        5 => out.extend([&[0x68][..], &(random.next() as u32).to_le_bytes()].concat()),
        // ENTER, LEAVE.
        6 => out.extend([0xc8, random.below(64) as u8, 0, random.below(2) as u8, 0xc9]),
        // MOV ESP, EBP is what LEAVE begins with.
        7 => out.extend([0x89, 0xe5, 0x50 | reg, 0xc9]),
        // PUSHAD, POPAD.
        8 => out.extend([0x60, 0x40 | reg, 0x61]),
        // What adjusts decimal numbers, SALC.
        9 => out.push(random.pick(&[0x27u8, 0x2f, 0x37, 0x3f, 0xd6])),
        10 => out.extend([random.pick(&[0xd4u8, 0xd5]), 1 + random.below(255) as u8]),
        // LEA with addresses of 16 bits.
        _ => out.extend([0x67, 0x8d, reg << 3 | random.below(6) as u8]),
    }
}

/// An instruction of x87, any but those that store or load all of its state.
fn x87(random: &mut Random, code_size: CodeSize, out: &mut Vec<u8>, memory: bool) {
    let escape = random.below(8) as u8;
    let reg = random.below(8) as u8;
    if !memory {
        if random.below(3) == 0 {
            // Room for what is to be loaded.
            out.extend([0xdd, 0xc0 | random.below(8) as u8]);
        }
        return out.extend([0xd8 | escape, 0xc0 | reg << 3 | random.below(8) as u8]);
    }
    // In place of FLDENV, FNSTENV, FRSTOR and FNSAVE, FILD.
    let state = matches!((escape, reg), (1, 4 | 6) | (5, 4 | 6));
    let (escape, reg) = if state { (3, 0) } else { (escape, reg) };
    encode(random, code_size, out, 4, &[0xd8 | escape], 0, reg, true, 0);
}

/// An instruction of SSE.
fn vector(random: &mut Random, code_size: CodeSize, out: &mut Vec<u8>, memory: bool, reg: u8) {
    let mut one = |random: &mut Random, mandatory: u8, opcodes: &[u8], memory: bool, wide: bool, immediate: usize| {
        let opcode = random.pick(opcodes);
        let size = if wide { 8 } else { 4 };
        encode(random, code_size, out, size, &[0x0f, opcode], mandatory, reg, memory, immediate);
    };
    let wide = random.below(2) == 0;
    // Opcodes of three bytes.
    if random.below(12) == 0 {
        if random.below(3) == 0 {
            // Of PALIGNR, counts from 32 on give 0.
            encode(random, code_size, out, 4, &[0x0f, 0x3a, 0x0f], 0x66, reg, memory, 1);
            *out.last_mut().unwrap() %= 40;
        } else {
            let opcode = random.pick(&[0x00u8, 0x00, 0x20, 0x21, 0x23, 0x24, 0x25, 0x30, 0x31, 0x33, 0x34, 0x35]);
            encode(random, code_size, out, 4, &[0x0f, 0x38, opcode], 0x66, reg, memory, 0);
        }
        return;
    }
    match random.below(16) {
        // Moves of all, from and to memory.
        0 | 1 => {
            let mandatory = random.pick(&[0u8, 0x66]);
            one(random, mandatory, &[0x10, 0x11, 0x28, 0x29], memory, false, 0);
        }
        2 => {
            let mandatory = random.pick(&[0x66u8, 0xf3]);
            one(random, mandatory, &[0x6f, 0x7f], memory, false, 0);
        }
        3 => {
            let mandatory = random.pick(&[0xf2u8, 0xf3]);
            one(random, mandatory, &[0x10, 0x11], memory, false, 0);
        }
        4 => one(random, 0x66, &[0x6e, 0x7e], memory, wide, 0),
        5 => {
            if random.below(2) == 0 {
                one(random, 0xf3, &[0x7e], memory, false, 0);
            } else {
                one(random, 0x66, &[0xd6], memory, false, 0);
            }
        }
        6 => {
            let mandatory = random.pick(&[0u8, 0x66]);
            one(random, mandatory, &[0x12, 0x13, 0x16, 0x17], true, false, 0);
        }
        7 => one(random, 0, &[0x12, 0x16], false, false, 0),
        // Integers and logic: most of the second half of the opcodes' map.
        8 | 9 => {
            let mut opcode = 0xd4 + random.below(0x2b) as u8;
            while matches!(opcode, 0xd6 | 0xd7 | 0xe6 | 0xe7 | 0xf0 | 0xf7) {
                opcode = 0xd4 + random.below(0x2b) as u8;
            }
            one(random, 0x66, &[opcode], memory, false, 0);
        }
        10 => one(
            random,
            0x66,
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x74, 0x75, 0x76],
            memory,
            false,
            0,
        ),
        11 => match random.below(3) {
            0 => {
                let mandatory = random.pick(&[0x66u8, 0xf2, 0xf3]);
                one(random, mandatory, &[0x70], memory, false, 1);
            }
            1 => {
                let mandatory = random.pick(&[0u8, 0x66]);
                one(random, mandatory, &[0xc6], memory, false, 1);
            }
            _ => {
                let mandatory = random.pick(&[0u8, 0x66]);
                one(random, mandatory, &[0x14, 0x15, 0x54, 0x55, 0x56, 0x57], memory, false, 0);
            }
        },
        12 => {
            // Shifts by an immediate.
            let opcode = random.pick(&[0x71u8, 0x72, 0x73]);
            let how = if opcode == 0x73 { random.pick(&[2u8, 3, 6, 7]) } else { random.pick(&[2u8, 4, 6]) };
            out.extend([0x66, 0x0f, opcode, 0xc0 | how << 3 | random.below(8) as u8, random.below(70) as u8]);
        }
        13 => match random.below(3) {
            0 => one(random, 0x66, &[0xd7], false, false, 0),
            1 => one(random, 0, &[0x50], false, false, 0),
            _ => one(random, 0x66, &[0x50], false, false, 0),
        },
        // Floating point.
        14 if random.below(3) == 0 => {
            let mandatory = random.pick(&[0u8, 0x66]);
            one(random, mandatory, &[0x58, 0x59, 0x5c, 0x5e, 0x51, 0x58, 0x59], memory, false, 0);
        }
        14 => {
            let mandatory = random.pick(&[0xf2u8, 0xf3]);
            one(random, mandatory, &[0x58, 0x59, 0x5c, 0x5e, 0x51, 0x5a, 0x58, 0x59, 0x5d], memory, false, 0);
        }
        _ => match random.below(3) {
            0 => {
                let mandatory = random.pick(&[0u8, 0x66]);
                one(random, mandatory, &[0x2e, 0x2f], memory, false, 0);
            }
            _ => {
                let mandatory = random.pick(&[0xf2u8, 0xf3]);
                one(random, mandatory, &[0x2a, 0x2c], memory, wide, 0);
            }
        },
    }
}

/// Offsets of the beginnings of blocks, and the page with code from the first of them on.
pub fn page(random: &mut Random, code_size: CodeSize, blocks: usize) -> (Vec<u16>, Vec<u8>) {
    let mut code = vec![0x90; random.below(2000) as usize];
    let mut starts = Vec::new();
    let (pointer, _) = pointer_and_index(code_size);
    // Places of 32-bit distances, to be filled in, and the blocks they lead to.
    let mut branches = Vec::new();
    for _ in 0..blocks {
        starts.push(code.len() as u16);
        for _ in 0..random.below(5) {
            instruction(random, code_size, &mut code);
        }
        let target = random.below(blocks as u64) as usize;
        match random.below(12) {
            0 => {
                code.push(0xe9);
                branches.push((code.len(), 4, target));
                code.extend([0; 4]);
            }
            1 => {
                code.push(0xe8);
                branches.push((code.len(), 4, target));
                code.extend([0; 4]);
            }
            2 => {
                // LOOP and the like reach only near ones: over a jump.
                code.push(random.pick(&[0xe0u8, 0xe1, 0xe2, 0xe3]));
                code.extend([2, 0xeb, 5, 0xe9]);
                branches.push((code.len(), 4, target));
                code.extend([0; 4]);
            }
            3 if random.below(4) == 0 => code.push(0xc3),
            3 if random.below(4) == 0 => code.extend([0xc2, random.below(16) as u8, 0]),
            4 if random.below(4) == 0 => match code_size {
                CodeSize::Bits32 => code.extend([0xff, 0xe0 | pointer]),
                CodeSize::Bits64 => code.extend([0x41, 0xff, 0xe0 | pointer & 7]),
            },
            // Out of the page.
            4 if random.below(4) == 0 => {
                code.push(0xe9);
                let distance = 0x1000 + random.below(0x7000) as i32;
                code.extend((if random.below(2) == 0 { distance } else { -distance }).to_le_bytes());
            }
            5 => {}
            _ => {
                code.extend([0x0f, 0x80 | random.below(16) as u8]);
                branches.push((code.len(), 4, target));
                code.extend([0; 4]);
            }
        }
    }
    code.push(0xf4);
    for (at, size, target) in branches {
        let distance = i32::from(starts[target]) - (at + size) as i32;
        code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }
    assert!(code.len() <= 4096);
    code.resize(4096, 0xf4);
    (starts, code)
}
