//! The registers in memory by XSAVE and its like (SDM volume 1, chapter 13), as the real processor has them there.

use cpu::control::{CR0_TS, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, XCR0_KNOWN};
use cpu::cpuid::{cpuid, Level, View};
use cpu::exception::{DEVICE_NOT_AVAILABLE, INVALID_OPCODE};
use iced_x86::{Decoder, DecoderOptions};

use crate::native::{self, Registers, CODE, DATA};
use crate::ours::{differences, initial_fx, initial_ymm, Ours};
use crate::Random;

const XSAVE: &[u8] = &[0x48, 0x0f, 0xae, 0x23];
const XSAVEOPT: &[u8] = &[0x48, 0x0f, 0xae, 0x33];
const XSAVEC: &[u8] = &[0x48, 0x0f, 0xc7, 0x23];
const XRSTOR: &[u8] = &[0x48, 0x0f, 0xae, 0x2b];
const AREA: usize = 0x1c0;
const HEADER: usize = 512;

fn state(random: &mut Random, components: u64) -> Registers {
    let mut gpr = [0; 16];
    (gpr[0], gpr[3]) = (components, DATA + AREA as u64);
    let mut fx = initial_fx(random);
    // No exception of x87 waits.
    fx[0..4].copy_from_slice(&[0x7f, 3, 0, 0]);
    Registers {
        gpr,
        flags: 0x202,
        rip: CODE,
        mxcsr: 0,
        signal: 0,
        reserved: [0; 5],
        fx,
        ymm_high: initial_ymm(random),
    }
}

/// What is saved over random bytes, and then restored from there.
#[test]
fn areas_are_the_processors() {
    let _alone = native::prepare();
    let mut random = Random(3);
    let mut ours = Ours::new();
    for round in 0..400 {
        let code = random.pick(&[XSAVE, XSAVEOPT, XSAVEC, XRSTOR, XRSTOR]);
        let components = random.below(8);
        let mut before = state(&mut random, components);
        let mut contents = vec![0; native::DATA_SIZE as usize];
        for chunk in contents.chunks_exact_mut(16) {
            chunk.copy_from_slice(&random.vector());
        }
        let area = &mut contents[AREA..];
        area[..512].copy_from_slice(&initial_fx(&mut random));
        area[0..4].copy_from_slice(&[0x7f, 3, 0, 0]);
        area[HEADER..HEADER + 64].fill(0);
        area[HEADER] = random.below(8) as u8;
        match random.below(8) {
            // The compacted format, as it should be, or not.
            0 | 1 => (area[HEADER + 8], area[HEADER + 15]) = (7, 0x80),
            2 => (area[HEADER + 8], area[HEADER + 15]) = (random.below(8) as u8, 0x80),
            3 => area[HEADER + 8 + random.below(16) as usize] = 1,
            4 => area[25] |= random.below(2) as u8,
            5 => before.gpr[3] += random.below(2) * 8,
            _ => {}
        }
        native::data().copy_from_slice(&contents);
        let expected = native::execute(code, &before);
        let (actual, memory) = ours.execute(code, &before, &contents);
        let mut expected_memory = native::data().to_vec();
        // MXCSR_MASK: AMD's processors have a bit more.
        expected_memory[AREA + 28..AREA + 32].copy_from_slice(&memory[AREA + 28..AREA + 32]);
        let instruction = Decoder::with_ip(64, code, CODE, DecoderOptions::NONE).decode();
        let text = differences(&instruction, &before, &expected, &actual, &expected_memory, &memory);
        assert!(text.is_empty(), "round {round}: {code:02x?}\n{text}");
    }
}

/// Those with a VEX prefix need XSAVE enabled, and AVX in XCR0; they do not depend on CR4.OSFXSR.
#[test]
fn control_registers_decide() {
    const VPADDB: &[u8] = &[0xc5, 0xf5, 0xfc, 0xc1];
    const ANDN: &[u8] = &[0xc4, 0xe2, 0x70, 0xf2, 0xc1];
    let mut ours = Ours::new();
    let fx = state(&mut Random(1), 0).fx;
    let all = CR4_OSFXSR | CR4_OSXMMEXCPT;
    assert_eq!(ours.exception(VPADDB, 0, all, &fx), None);
    assert_eq!(ours.exception(VPADDB, 0, 0, &fx), None);
    assert_eq!(ours.exception(VPADDB, CR0_TS, all, &fx), Some(DEVICE_NOT_AVAILABLE));
    assert_eq!(ours.exception(XSAVE, CR0_TS, all, &fx), Some(DEVICE_NOT_AVAILABLE));
    for (cr4, xcr0) in [(0, XCR0_KNOWN), (CR4_OSXSAVE, 3)] {
        ours.extended(cr4, xcr0);
        assert_eq!(ours.exception(VPADDB, CR0_TS, all, &fx), Some(INVALID_OPCODE));
        assert_eq!(ours.exception(ANDN, CR0_TS, all, &fx), None);
    }
}

/// Programs are told of a level, the system's software of all there is.
#[test]
fn cpuid_tells_of_a_level() {
    let view = |level| View { level, os_xsave: true, xcr0: XCR0_KNOWN };
    let [v2, v3] = [Level::V2, Level::V3].map(view);
    let bits = |leaf, register: usize, bits: u32| [v2, v3].map(|view| cpuid(leaf, 0, view)[register] & bits);
    // FMA, XSAVE, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT.
    assert_eq!(bits(1, 2, 0x3c00_1000), [0, 0x3c00_1000]);
    assert_eq!(bits(7, 1, 0x128), [0, 0x128]);
    assert_eq!(bits(0x8000_0001, 2, 0x20), [0, 0x20]);
    assert_eq!(bits(0xd, 0, 7), [0, 7]);
    // AVX-512 and SHA are not there.
    assert_eq!(cpuid(7, 0, v3)[1] & 0x2001_0000, 0);
}
