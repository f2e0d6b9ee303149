//! Loads and stores of some lanes, and gathers: what the mask leaves out is not accessed, and faults of nothing.

use iced_x86::{Instruction, Mnemonic};
use simd::{Xmm, Ymm};

use super::{is_memory, layout, wide};
use crate::decode::{address, number, Handler, Op, NO_NUMBER};
use crate::instructions::{Dword, Qword, Width};
use crate::{Access, Cpu, Step};

/// A register of 256 bits as lanes of width `W`, zero-extended.
fn lane<W: Width>(value: Ymm, i: usize) -> u64 {
    let per_half = 128 / W::BITS as usize;
    let bit = i % per_half * W::BITS as usize;
    value.0[i / per_half].0[bit / 64] >> (bit % 64) & W::MASK
}

fn set_lane<W: Width>(value: &mut Ymm, i: usize, new: u64) {
    let per_half = 128 / W::BITS as usize;
    let bit = i % per_half * W::BITS as usize;
    let quad = &mut value.0[i / per_half].0[bit / 64];
    *quad = *quad & !(W::MASK << (bit % 64)) | new << (bit % 64);
}

fn lanes<W: Width>(op: &Op) -> usize {
    (if wide(op) { 256 } else { 128 }) / W::BITS as usize
}

/// VMASKMOVPS and the like from memory: what is left out becomes zero.
fn load<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let mask = cpu.ymm(op.b);
    let va = cpu.address(op);
    let mut result = Ymm::default();
    for i in 0..lanes::<W>(op) {
        if lane::<W>(mask, i) & W::TOP != 0 {
            let value = W::load(cpu, va.wrapping_add(i as u64 * u64::from(W::BITS / 8)))?;
            set_lane::<W>(&mut result, i, value);
        }
    }
    cpu.set_ymm(op.a, result);
    Ok(())
}

/// The same to memory: all or nothing is written.
fn store<W: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let (mask, value) = (cpu.ymm(op.b), cpu.ymm(op.c));
    let va = cpu.address(op);
    let size = u64::from(W::BITS / 8);
    let selected = |i: &usize| lane::<W>(mask, *i) & W::TOP != 0;
    for i in (0..lanes::<W>(op)).filter(selected) {
        cpu.probe(va.wrapping_add(i as u64 * size), size, Access::Write)?;
    }
    for i in (0..lanes::<W>(op)).filter(selected) {
        W::store(cpu, va.wrapping_add(i as u64 * size), lane::<W>(value, i))?;
    }
    Ok(())
}

/// The gathers: elements of width `W` at places that indices of width `I` in the register `Op::b` give, selected by
/// the register `Op::c`. What is done stays done when a later element faults, and is not selected any more then.
fn gather<W: Width, I: Width>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_avx()?;
    let indices = cpu.ymm(op.b);
    let elements = lanes::<W>(op).min(lanes::<I>(op));
    let mut result = cpu.ymm(op.a);
    let mut mask = cpu.ymm(op.c);
    let base = cpu.offset(op);
    let scale = op.immediate as u32;
    for i in 0..elements {
        if lane::<W>(mask, i) & W::TOP != 0 {
            let index = I::signed(lane::<I>(indices, i)) as u64;
            let offset = base.wrapping_add(index << scale);
            let va = if op.address_kind() == address::PLAIN { offset } else { cpu.linear(op.segment, cpu.cut(op, offset)) };
            match W::load(cpu, va) {
                Ok(value) => set_lane::<W>(&mut result, i, value),
                Err(stop) => {
                    cpu.set_ymm(op.a, result);
                    cpu.set_ymm(op.c, mask);
                    let on_stack = op.segment as usize == crate::segment::SS;
                    return Err(if on_stack { cpu.on_stack(va, u64::from(W::BITS / 8), stop) } else { stop });
                }
            }
        }
        set_lane::<W>(&mut mask, i, 0);
    }
    // What is above the elements becomes zero.
    for i in elements..256 / W::BITS as usize {
        set_lane::<W>(&mut result, i, 0);
    }
    cpu.set_ymm(op.a, result);
    cpu.set_ymm(op.c, Ymm([Xmm::ZERO; 2]));
    Ok(())
}

/// The memory operand's index is a vector, and the last operand the mask.
fn select_gather(instruction: &Instruction, op: &mut Op) {
    let index = instruction.memory_index();
    op.b = number(index);
    op.c = number(instruction.op_register(2));
    op.immediate = u64::from(op.scale());
    op.index = NO_NUMBER;
    if index.is_ymm() {
        op.code |= layout::WIDE;
    }
    let short = instruction.memory_displ_size() == 4 && instruction.memory_base() == iced_x86::Register::None;
    op.set_addressing(if short { address::BITS32 } else { op.address_kind() }, 0);
}

pub fn select(instruction: &Instruction, op: &mut Op) -> Option<Handler> {
    if instruction.is_vsib() {
        select_gather(instruction, op);
    }
    Some(match instruction.mnemonic() {
        Mnemonic::Vmaskmovps | Mnemonic::Vpmaskmovd if is_memory(instruction, 0) => store::<Dword>,
        Mnemonic::Vmaskmovps | Mnemonic::Vpmaskmovd => load::<Dword>,
        Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovq if is_memory(instruction, 0) => store::<Qword>,
        Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovq => load::<Qword>,
        Mnemonic::Vgatherdps | Mnemonic::Vpgatherdd => gather::<Dword, Dword>,
        Mnemonic::Vgatherdpd | Mnemonic::Vpgatherdq => gather::<Qword, Dword>,
        Mnemonic::Vgatherqps | Mnemonic::Vpgatherqd => gather::<Dword, Qword>,
        Mnemonic::Vgatherqpd | Mnemonic::Vpgatherqq => gather::<Qword, Qword>,
        _ => return None,
    })
}
