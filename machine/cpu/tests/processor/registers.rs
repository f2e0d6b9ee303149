//! Values that control registers and model-specific registers do not take: #GP (SDM volume 3, sections 2.5,
//! 4.10.1, 5.10, 11.8 and 12.12.2; volume 4 for the registers). Only ring 0 could ask the real processor.

use cpu::control::{msr, CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR0_PG, CR0_WP, CR4_PAE, CR4_PCIDE, CR4_PGE};
use cpu::exception::{GENERAL_PROTECTION, INVALID_OPCODE};

use crate::ours::{Ours, TABLES};

const CR0: u64 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
const NW: u64 = 1 << 29;
const CD: u64 = 1 << 30;
const NO_FLUSH: u64 = 1 << 63;
const GP: Option<u8> = Some(GENERAL_PROTECTION);

#[test]
fn control_registers() {
    let mut ours = Ours::new();
    for (number, value, exception) in [
        (0, CR0, None),
        (0, CR0 | CD | NW, None),
        (0, CR0 | NW, GP),
        (0, CR0 | 1 << 32, GP),
        (0, CR0 & !CR0_PG, GP),
        (0, CR0 & !CR0_PE, GP),
        (1, 0, Some(INVALID_OPCODE)),
        (2, u64::MAX, None),
        (3, TABLES | 5, None),
        (3, TABLES | 1 << 40, GP),
        (3, TABLES | NO_FLUSH, GP),
        // PCIDs begin with the first one.
        (4, CR4_PAE | CR4_PCIDE, GP),
        (3, TABLES, None),
        (4, CR4_PAE | CR4_PCIDE, None),
        (3, TABLES | 5 | NO_FLUSH, None),
        (4, CR4_PAE | CR4_PCIDE | CR4_PGE, None),
        (4, CR4_PCIDE, GP),
        (4, CR4_PAE | 1 << 12, GP),
        (4, CR4_PAE | 1 << 40, GP),
        (5, 0, Some(INVALID_OPCODE)),
        (8, 15, None),
        (8, 16, GP),
    ] {
        assert_eq!(ours.control_exception(number, value), exception, "CR{number} = {value:#x}");
    }
}

#[test]
fn model_specific_registers() {
    let mut ours = Ours::new();
    for (number, value, exception) in [
        (msr::PAT, 0x0007_0406_0007_0406, None),
        (msr::PAT, 0x0007_0406_0007_0402, GP),
        (msr::PAT, 0x0800_0000_0000_0000, GP),
        (msr::LSTAR, 0xffff_8000_0000_0000, None),
        (msr::LSTAR, 0x0000_8000_0000_0000, GP),
        (msr::KERNEL_GS_BASE, 0xffff_7fff_ffff_ffff, GP),
        (msr::EFER, 0xd01, None),
        (msr::EFER, 0x001, GP),
        (msr::EFER, 0x1d01, GP),
        (0x1234, 0, GP),
        (0xffff_ffff, u64::MAX, GP),
    ] {
        assert_eq!(ours.msr_exception(number, value), exception, "MSR {number:#x} = {value:#x}");
    }
}
