//! MXCSR, and the image of all registers that FXSAVE and FXRSTOR have.

use iced_x86::Mnemonic;

use crate::decode::{Handler, Op};
use crate::exception::GENERAL_PROTECTION;
use crate::fxstate::MXCSR_MASK;
use crate::{Cpu, Step, Stop};

fn load_mxcsr(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let va = cpu.address(op);
    let value = cpu.load::<u32>(va)?;
    if value & !MXCSR_MASK != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.state.mxcsr = value;
    // Compiled code takes rounding and masks for granted.
    Err(Stop::Leave)
}

fn store_mxcsr(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_sse()?;
    let va = cpu.address(op);
    let value = cpu.state.mxcsr;
    cpu.store::<u32>(va, value)
}

/// FXSAVE. XMM8 to XMM15 are left out in 32-bit code.
fn save_state<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_not_available()?;
    let va = cpu.address(op);
    if va & 15 != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let image = cpu.save_fx(WIDE);
    if cpu.long() {
        // The last 96 bytes are the software's.
        cpu.store_bytes(va, &image[..416])
    } else {
        cpu.store_bytes(va, &image[..288])
    }
}

fn restore_state<const WIDE: bool>(cpu: &mut Cpu, op: &Op) -> Step {
    cpu.check_not_available()?;
    let va = cpu.address(op);
    if va & 15 != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    let mut image = cpu.save_fx(WIDE);
    let size = if cpu.long() { 416 } else { 288 };
    cpu.load_bytes(va, &mut image[..size])?;
    if u32::from_le_bytes([image[24], image[25], image[26], image[27]]) & !MXCSR_MASK != 0 {
        return cpu.raise(GENERAL_PROTECTION, 0);
    }
    cpu.load_fx(&image, WIDE);
    Err(Stop::Leave)
}

/// `mnemonic`: the instruction's, or that of the SSE instruction that it is with a VEX prefix.
pub fn select(mnemonic: Mnemonic) -> Option<Handler> {
    Some(match mnemonic {
        Mnemonic::Ldmxcsr => load_mxcsr,
        Mnemonic::Stmxcsr => store_mxcsr,
        Mnemonic::Fxsave => save_state::<false>,
        Mnemonic::Fxsave64 => save_state::<true>,
        Mnemonic::Fxrstor => restore_state::<false>,
        Mnemonic::Fxrstor64 => restore_state::<true>,
        _ => return None,
    })
}
