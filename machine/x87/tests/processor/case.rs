//! Instructions, and what the processor and the crate make of them on random states.

use x87::encoding::{is_control, is_waiting, memory_access, Access, Effect};
use x87::{status, Fpu, F80};

use crate::native::{Image, Stub, RAX};
use crate::random::Random;

/// An x87 instruction.
#[derive(Clone, Copy, PartialEq)]
pub struct Instruction {
    /// The opcode's lowest three bits.
    pub escape: u8,
    /// The ModRM byte; a memory operand is at [RDX].
    pub modrm: u8,
    /// With a prefix for 16-bit operands.
    pub short: bool,
}

impl Instruction {
    /// Every encoding, whether defined or not.
    pub fn all() -> impl Iterator<Item = Instruction> {
        let operand = (0..8).map(|reg| reg << 3 | 2);
        let modrms: Vec<u8> = operand.chain(0xc0..=0xff).collect();
        (0..8).flat_map(move |escape| {
            modrms.clone().into_iter().flat_map(move |modrm| {
                let has_short = modrm < 0xc0 && matches!((escape, modrm >> 3), (1 | 5, 4 | 6));
                let lengths: &[bool] = if has_short { &[false, true] } else { &[false] };
                lengths.iter().map(move |&short| Instruction {
                    escape,
                    modrm,
                    short,
                })
            })
        })
    }

    /// Every encoding that the crate knows.
    pub fn defined() -> impl Iterator<Item = Instruction> {
        Instruction::all().filter(|instruction| instruction.is_defined())
    }

    pub fn is_defined(self) -> bool {
        if self.modrm < 0xc0 {
            memory_access(self.escape, self.modrm >> 3) != Access::Undefined
        } else {
            Fpu::new().execute_register(self.escape, self.modrm, 0) != Effect::Undefined
        }
    }

    pub fn is_transcendental(self) -> bool {
        self.escape == 1 && matches!(self.modrm, 0xf0..=0xf3 | 0xf9 | 0xfb | 0xfe | 0xff)
    }

    pub fn stub(self) -> Stub {
        let bytes = [0x66, 0xd8 | self.escape, self.modrm];
        Stub::new(if self.short { &bytes } else { &bytes[1..] })
    }

    /// A seed of its own for each.
    pub fn seed(self) -> u64 {
        (self.escape as u64) << 40 | (self.modrm as u64) << 32 | (self.short as u64) << 48
    }
}

impl std::fmt::Display for Instruction {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "{}{:02X} ",
            if self.short { "66 " } else { "" },
            0xd8 + self.escape
        )?;
        if self.modrm < 0xc0 {
            write!(f, "/{}", self.modrm >> 3)
        } else {
            write!(f, "{:02X}", self.modrm)
        }
    }
}

/// Everything that an instruction takes or gives.
#[derive(Clone)]
pub struct Case {
    pub state: Image,
    pub memory: [u8; 128],
    /// OF, SF, ZF, AF, PF and CF at their places in EFLAGS, then AX.
    pub flags_ax: [u8; 4],
}

pub fn get16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

pub fn st(state: &Image, i: usize) -> F80 {
    F80::from_bytes(state.0[32 + 16 * i..42 + 16 * i].try_into().unwrap())
}

pub fn random_case(random: &mut Random, instruction: Instruction) -> Case {
    let mut state = Image([0; 512]);
    let masks = match random.below(4) {
        0 => random.next() as u16 & 0x3f,
        1 => 0x3f ^ (1 << random.below(6)),
        _ => 0x3f,
    };
    let precision_rounding = if random.one_in(3) {
        0x300
    } else {
        random.next() as u16 & 0xf00
    };
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
    // AMD's processors load and store the pointers only with a pending exception.
    if word & status::SUMMARY != 0 {
        state.0[6] = random.next() as u8;
        state.0[7] = random.next() as u8 & 7;
        // Canonical addresses.
        for offset in [8, 16] {
            let address = random.next() >> 17;
            state.0[offset..offset + 8].copy_from_slice(&address.to_le_bytes());
        }
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
        let value = if i > 0 && random.one_in(4) {
            random.related(first)
        } else {
            random.f80()
        };
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
        if instruction.short {
            memory[..94].copy_from_slice(&other.fnsave_16());
        } else {
            memory[..108].copy_from_slice(&other.fnsave_32());
        }
        memory[..14].iter_mut().for_each(|byte| {
            *byte = if random.one_in(2) {
                random.next() as u8
            } else {
                *byte
            }
        });
    }
    Case {
        state,
        memory,
        flags_ax: flags_ax(random.next(), RAX),
    }
}

fn flags_ax(flags: u64, rax: u64) -> [u8; 4] {
    [
        flags as u8 & 0xd5,
        (flags >> 8) as u8 & 0x08,
        rax as u8,
        (rax >> 8) as u8,
    ]
}

/// What the crate makes of it; `None` if it says that there is no such instruction.
pub fn emulate(instruction: Instruction, stub: &Stub, case: &Case) -> Option<Case> {
    let Instruction {
        escape,
        modrm,
        short,
    } = instruction;
    let mut fpu = Fpu::new();
    fpu.fxrstor(&case.state.0, true);
    let mut after = case.clone();
    if modrm >= 0xc0 {
        match fpu.execute_register(escape, modrm, case.flags_ax[0] as u32) {
            Effect::Done => {}
            Effect::Compared(relation) => {
                let (zero, parity, carry) = relation.flags();
                after.flags_ax[1] = 0;
                after.flags_ax[0] = (zero as u8) << 6 | (parity as u8) << 2 | carry as u8;
            }
            Effect::StatusWord(word) => after.flags_ax[2..].copy_from_slice(&word.to_le_bytes()),
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
            Access::ReadEnvironment if short => {
                fpu.fldenv_16(case.memory[..14].try_into().unwrap())
            }
            Access::WriteEnvironment if short => {
                after.memory[..14].copy_from_slice(&fpu.fnstenv_16())
            }
            Access::ReadState if short => fpu.frstor_16(case.memory[..94].try_into().unwrap()),
            Access::WriteState if short => after.memory[..94].copy_from_slice(&fpu.fnsave_16()),
            Access::ReadEnvironment => fpu.fldenv_32(case.memory[..28].try_into().unwrap()),
            Access::WriteEnvironment => after.memory[..28].copy_from_slice(&fpu.fnstenv_32()),
            Access::ReadState => fpu.frstor_32(case.memory[..108].try_into().unwrap()),
            Access::WriteState => after.memory[..108].copy_from_slice(&fpu.fnsave_32()),
            Access::Undefined => return None,
        }
    }
    if !is_control(escape, modrm) {
        let opcode = (escape as u16) << 8 | modrm as u16;
        fpu.note_instruction(0, stub.instruction(), opcode);
        if modrm < 0xc0 {
            fpu.note_operand(0, stub.operand());
        }
    }
    fpu.fxsave(&mut after.state.0, true);
    Some(after)
}

/// What the processor makes of it.
pub fn execute(stub: &Stub, case: &Case) -> Case {
    let mut memory = case.memory;
    let (state, rax, flags) =
        stub.execute(&case.state, &mut memory, get16(&case.flags_ax, 0) as u64);
    Case {
        state,
        memory,
        flags_ax: flags_ax(flags, rax),
    }
}

/// What is compared. AMD's processors store opcode and pointers only if an exception is pending.
fn parts(case: &Case) -> [(&'static str, &[u8]); 14] {
    let state = &case.state.0;
    let pointers = if get16(state, 2) & status::SUMMARY != 0 {
        6..24
    } else {
        6..6
    };
    let st = |i: usize| &state[32 + 16 * i..48 + 16 * i];
    [
        ("control", &state[0..2]),
        ("status", &state[2..4]),
        ("tags", &state[4..6]),
        ("opcode and pointers", &state[pointers]),
        ("ST(0)", st(0)),
        ("ST(1)", st(1)),
        ("ST(2)", st(2)),
        ("ST(3)", st(3)),
        ("ST(4)", st(4)),
        ("ST(5)", st(5)),
        ("ST(6)", st(6)),
        ("ST(7)", st(7)),
        ("memory", &case.memory),
        ("flags and AX", &case.flags_ax),
    ]
}

/// What differs, in words (little-endian numbers); empty if nothing does.
pub fn differences(expected: &Case, actual: &Case) -> Vec<String> {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    parts(expected)
        .into_iter()
        .zip(parts(actual))
        .filter(|((_, expected), (_, actual))| expected != actual)
        .map(|((name, expected), (_, actual))| {
            format!("{name}: processor {}, crate {}", hex(expected), hex(actual))
        })
        .collect()
}

pub fn describe(case: &Case) -> String {
    let mut text = format!(
        "control {:04x} status {:04x} tags {:02x} memory {:02x?} flags {:02x}",
        get16(&case.state.0, 0),
        get16(&case.state.0, 2),
        case.state.0[4],
        &case.memory[..10],
        case.flags_ax[0]
    );
    for i in 0..8 {
        let value = st(&case.state, i);
        text += &format!(" {:04x}:{:016x}", value.sign_exponent, value.significand);
    }
    text
}
