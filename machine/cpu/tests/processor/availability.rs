//! Whether MMX and SSE are there, by the control registers (SDM volume 3, sections 12.1 and 13.1). What only a kernel
//! can set the real processor does not show to this test.

use cpu::control::{CR0_EM, CR0_TS, CR4_OSFXSR, CR4_OSXMMEXCPT};
use cpu::exception::{DEVICE_NOT_AVAILABLE, INVALID_OPCODE, SIMD_ERROR, X87_ERROR};

use crate::ours::Ours;

const PADDB_MM: &[u8] = &[0x0f, 0xfc, 0xc1];
const EMMS: &[u8] = &[0x0f, 0x77];
const PADDB_XMM: &[u8] = &[0x66, 0x0f, 0xfc, 0xc1];
const DIVPS: &[u8] = &[0x0f, 0x5e, 0xc1];
const CVTPS2PI: &[u8] = &[0x0f, 0x2d, 0xc1];
const MOVQ2DQ: &[u8] = &[0xf3, 0x0f, 0xd6, 0xc1];
const PTEST: &[u8] = &[0x66, 0x0f, 0x38, 0x17, 0xc1];
const CVTTSD2SI: &[u8] = &[0xf2, 0x48, 0x0f, 0x2c, 0xc1];
const ALL: u64 = CR4_OSFXSR | CR4_OSXMMEXCPT;

/// All zeros, all exceptions masked.
fn quiet() -> [u8; 512] {
    let mut fx = [0; 512];
    fx[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
    fx[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
    fx
}

#[test]
fn control_registers_decide() {
    let mut ours = Ours::new();
    let fx = quiet();
    for instruction in [PADDB_MM, EMMS] {
        for cr4 in [0, ALL] {
            assert_eq!(ours.exception(instruction, 0, cr4, &fx), None);
            assert_eq!(ours.exception(instruction, CR0_TS, cr4, &fx), Some(DEVICE_NOT_AVAILABLE));
            assert_eq!(ours.exception(instruction, CR0_EM | CR0_TS, cr4, &fx), Some(INVALID_OPCODE));
        }
    }
    for instruction in [PADDB_XMM, DIVPS, CVTPS2PI, MOVQ2DQ, PTEST, CVTTSD2SI] {
        assert_eq!(ours.exception(instruction, 0, ALL, &fx), None, "{instruction:02x?}");
        assert_eq!(ours.exception(instruction, CR0_TS, ALL, &fx), Some(DEVICE_NOT_AVAILABLE), "{instruction:02x?}");
        assert_eq!(ours.exception(instruction, CR0_EM, ALL, &fx), Some(INVALID_OPCODE), "{instruction:02x?}");
        assert_eq!(ours.exception(instruction, CR0_TS, 0, &fx), Some(INVALID_OPCODE), "{instruction:02x?}");
    }
}

#[test]
fn errors_of_x87_come_first() {
    let mut ours = Ours::new();
    let mut fx = quiet();
    // Invalid operation: raised, and not masked.
    fx[0] &= !1;
    fx[2..4].copy_from_slice(&0x8081u16.to_le_bytes());
    for instruction in [PADDB_MM, EMMS, CVTPS2PI, MOVQ2DQ] {
        assert_eq!(ours.exception(instruction, 0, ALL, &fx), Some(X87_ERROR));
        assert_eq!(ours.exception(instruction, CR0_TS, ALL, &fx), Some(DEVICE_NOT_AVAILABLE));
    }
    assert_eq!(ours.exception(PADDB_XMM, 0, ALL, &fx), None);
}

#[test]
fn unmasked_errors_are_undefined_to_systems_without_them() {
    let mut ours = Ours::new();
    let mut fx = quiet();
    // 0 / 0: invalid, not masked.
    fx[24..28].copy_from_slice(&0x1f00u32.to_le_bytes());
    assert_eq!(ours.exception(DIVPS, 0, ALL, &fx), Some(SIMD_ERROR));
    assert_eq!(ours.exception(DIVPS, 0, CR4_OSFXSR, &fx), Some(INVALID_OPCODE));
}

/// libgcc's unwinder reads the shadow stack's pointer to learn whether there is one.
#[test]
fn hints_without_a_meaning_do_nothing() {
    let mut ours = Ours::new();
    for instruction in [
        &[0xf3, 0x0f, 0x1e, 0xfa][..],       // ENDBR64
        &[0xf3, 0x48, 0x0f, 0x1e, 0xc8],     // RDSSPQ RAX
        &[0xf3, 0x0f, 0x1e, 0xc8],           // RDSSPD EAX
        &[0x66, 0x0f, 0x1a, 0x00],           // BNDMOV BND0, [RAX]
        &[0xf3, 0x0f, 0x1b, 0x00],           // BNDMK BND0, [RAX]
        &[0x0f, 0x1c, 0x00],                 // CLDEMOTE [RAX]
        &[0x0f, 0x18, 0x35, 0, 0, 0, 0],     // PREFETCHIT1 [RIP]
        &[0x0f, 0x0d, 0x10],                 // PREFETCHWT1 [RAX]
        &[0x0f, 0x1d, 0xc0],
        &[0x0f, 0x19, 0x84, 0x00, 0, 0, 0, 0],
    ] {
        assert_eq!(ours.exception(instruction, 0, ALL, &quiet()), None, "{instruction:02x?}");
    }
}
