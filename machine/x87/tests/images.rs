//! Images of the state that no instruction makes: snapshots. Those of instructions are compared with the
//! processor's.

use x87::{Constant, Fpu};

fn state() -> Fpu {
    let mut fpu = Fpu::new();
    fpu.fldcw(0x0c7b);
    fpu.fld_constant(Constant::Pi);
    fpu.fld_f64(0);
    fpu.arithmetic_sti(x87::Operation::Divide, 1, false);
    assert!(fpu.pending_exception());
    fpu.note_instruction(0x33, 0x1234_5678_9abc, 0x7f9);
    fpu.note_operand(0x2b, 0x7fff_0000_1111);
    fpu
}

#[test]
fn snapshot_is_the_state() {
    let fpu = state();
    assert_eq!(Fpu::from_bytes(&fpu.to_bytes()), fpu);
    assert_ne!(Fpu::from_bytes(&fpu.to_bytes()), Fpu::new());
}

#[test]
fn snapshot_is_the_structure_in_memory() {
    let fpu = state();
    // SAFETY: the structure has no padding.
    let bytes: [u8; Fpu::SNAPSHOT] = unsafe { std::mem::transmute(fpu.clone()) };
    assert_eq!(bytes, fpu.to_bytes());
}

#[test]
fn any_bytes_are_a_state() {
    let fpu = Fpu::from_bytes(&[0xff; Fpu::SNAPSHOT]);
    assert_eq!(fpu.top(), 7);
    assert_eq!(fpu.control_word(), 0x1f7f);
    assert!(!fpu.pending_exception());
    assert_eq!(fpu.status_word() & 0x8080, 0);
    // SAFETY: every bit pattern is valid.
    let mut raw: Fpu = unsafe { std::mem::transmute([0xffu8; Fpu::SNAPSHOT]) };
    raw.fld_f64(0);
    assert_eq!(raw.top(), 6);
}

#[test]
fn selectors_are_in_the_narrow_image_only() {
    let fpu = state();
    let (mut narrow, mut wide) = ([0xaa; 512], [0xaa; 512]);
    fpu.fxsave(&mut narrow, false);
    fpu.fxsave(&mut wide, true);
    assert_eq!(narrow[6..8], [0xf9, 0x07]);
    assert_eq!(narrow[8..16], [0xbc, 0x9a, 0x78, 0x56, 0x33, 0, 0, 0]);
    assert_eq!(narrow[16..24], [0x11, 0x11, 0, 0, 0x2b, 0, 0, 0]);
    assert_eq!(
        wide[8..24],
        [0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, 0, 0, 0x11, 0x11, 0, 0, 0xff, 0x7f, 0, 0]
    );
    // MXCSR and XMM registers are not the unit's.
    assert!(narrow[24..32]
        .iter()
        .chain(&narrow[160..])
        .all(|&byte| byte == 0xaa));
    let mut again = Fpu::new();
    again.fxrstor(&wide, true);
    let mut image = [0xaa; 512];
    again.fxsave(&mut image, true);
    assert_eq!(image, wide);
    again.fxrstor(&narrow, false);
    again.fxsave(&mut image, false);
    assert_eq!(image, narrow);
}
