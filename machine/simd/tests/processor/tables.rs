//! The operations of `simd::table`: each mnemonic found there is executed, none can be forgotten.

use crate::oracle::{Oracle, State};
use crate::values::{random, rounds, Random};
use iced_x86::{Code, EncodingKind, Instruction, Mnemonic, OpCodeOperandKind, Register};
use simd::{table, Mxcsr, Xmm, Ymm};

/// The legacy encodings of a mnemonic with these operands.
fn codes(mnemonic: Mnemonic, registers: &[OpCodeOperandKind], imm: bool) -> Vec<Code> {
    let found: Vec<Code> = Code::values()
        .filter(|code| code.mnemonic() == mnemonic)
        .filter(|code| {
            let info = code.op_code();
            info.encoding() == EncodingKind::Legacy
                && info.mode64()
                && registers.contains(&info.op_kind(0))
                && info.op_kinds().contains(&OpCodeOperandKind::imm8) == imm
        })
        .collect();
    assert!(!found.is_empty(), "{mnemonic:?} is in a table but has no such form");
    found
}

const XMM: &[OpCodeOperandKind] = &[OpCodeOperandKind::xmm_reg, OpCodeOperandKind::xmm_rm];
const MM: &[OpCodeOperandKind] = &[OpCodeOperandKind::mm_reg, OpCodeOperandKind::mm_rm];

/// The instruction on registers 0 and 1.
fn instruction(code: Code, registers: [Register; 2], imm: Option<u8>) -> Instruction {
    let operands = code.op_code().op_count();
    match (imm, operands) {
        (None, _) => Instruction::with2(code, registers[0], registers[1]),
        (Some(imm), 2) => Instruction::with2(code, registers[0], imm as u32),
        (Some(imm), _) => Instruction::with3(code, registers[0], registers[1], imm as u32),
    }
    .unwrap()
}

fn low(x: Xmm) -> Ymm {
    Ymm([x, Xmm::ZERO])
}

fn operands(random: &mut Random) -> (Xmm, Xmm) {
    let mut make = |kind| match kind {
        0 => random.integers(),
        1 => random.singles(),
        _ => random.doubles(),
    };
    let kind = make(0).0[0] % 3;
    let (a, b) = (make(kind), make(kind));
    let b = random.related(a, b);
    (a, if random.below(4) == 0 { Xmm([random.below(70), b.0[1]]) } else { b })
}

fn floats(random: &mut Random, code: Code) -> (Xmm, Xmm) {
    let name = format!("{:?}", code.mnemonic()).to_lowercase();
    let integers = name.starts_with("cvtdq") || random.below(50) == 0;
    let singles = name.ends_with("ps") && name != "cvtpd2ps"
        || name.ends_with("ss") && name != "cvtsd2ss"
        || ["cvtss2sd", "cvtps2pd", "cvtps2dq", "cvttps2dq"].contains(&name.as_str());
    let mut make = || {
        if integers {
            random.integers()
        } else if singles {
            random.singles()
        } else {
            random.doubles()
        }
    };
    let (a, b) = (make(), make());
    (a, random.related(a, b))
}

const APPROXIMATE: [Mnemonic; 4] = [Mnemonic::Rcpps, Mnemonic::Rcpss, Mnemonic::Rsqrtps, Mnemonic::Rsqrtss];

fn packed_cases(
    name: &str,
    imm: bool,
    ordinary: u64,
    operation: impl Fn(Mnemonic) -> Option<Box<dyn Fn(Xmm, Xmm, Xmm, u8) -> Xmm>>,
) {
    let mut random = random(name);
    let mut tested = 0;
    for mnemonic in Mnemonic::values().filter(|mnemonic| !APPROXIMATE.contains(mnemonic)) {
        let Some(operation) = operation(mnemonic) else { continue };
        for code in codes(mnemonic, XMM, imm) {
            for immediate in 0..if imm { 256 } else { 1 } {
                let immediate = immediate as u8;
                let registers = [Register::XMM1, Register::XMM2];
                let oracle = Oracle::new(instruction(code, registers, imm.then_some(immediate)), false);
                for _ in 0..rounds(ordinary) {
                    let (a, b) = operands(&mut random);
                    let third = operands(&mut random).0;
                    let state = State { vector: [third, a, b].map(low), mxcsr: 0x1f80, ..State::default() };
                    let expected = oracle.run(state).vector[1].0[0];
                    let result = operation(a, b, third, immediate);
                    assert_eq!(result, expected, "{code:?} {a:x?} {b:x?} {third:x?} {immediate:#x}");
                }
                tested += 1;
            }
        }
    }
    assert!(tested > 0);
}

#[test]
fn packed() {
    packed_cases("packed", false, 2000, |mnemonic| {
        table::packed(mnemonic).map(|f| Box::new(move |a, b, _, _| f(a, b)) as _)
    });
}

#[test]
fn packed_imm() {
    packed_cases("packed_imm", true, 40, |mnemonic| {
        table::packed_imm(mnemonic).map(|f| Box::new(move |a, b, _, imm| f(a, b, imm)) as _)
    });
}

#[test]
fn packed_xmm0() {
    packed_cases("packed_xmm0", false, 2000, |mnemonic| {
        table::packed_xmm0(mnemonic).map(|f| Box::new(move |a, b, third, _| f(a, b, third)) as _)
    });
}

/// What the processor and this crate make of one state, with exceptions.
pub fn check<T: PartialEq + std::fmt::Debug>(
    what: &dyn std::fmt::Debug,
    oracle: &Oracle,
    state: State,
    observe: impl Fn(&State) -> T,
    operation: impl FnOnce(&mut Mxcsr) -> T,
) {
    let after = oracle.run(state);
    let mut mxcsr = Mxcsr(state.mxcsr);
    let result = mxcsr.execute(operation);
    let context = || {
        format!(
            "{what:x?} {:x?} mmx {:x?} mxcsr {:#x}; ours {result:x?} {:#x}, the processor's {:x?} {:#x} raised {:#x}",
            state.vector.map(|v| v.0[0].0),
            state.mmx,
            state.mxcsr,
            mxcsr.0,
            observe(&after),
            after.mxcsr,
            after.raised
        )
    };
    match &result {
        Ok(result) => {
            assert_eq!(after.raised, 0, "no exception: {}", context());
            assert_eq!(mxcsr.0, after.mxcsr, "MXCSR: {}", context());
            assert_eq!(*result, observe(&after), "result: {}", context());
        }
        Err(_) => assert_eq!(mxcsr.0, after.raised, "exception: {}", context()),
    }
}

fn float_cases<T: PartialEq + std::fmt::Debug>(
    name: &str,
    imm: bool,
    ordinary: u64,
    observe: impl Fn(Mnemonic, &State) -> T,
    operation: impl Fn(Mnemonic) -> Option<Box<dyn Fn(&mut Mxcsr, Xmm, Xmm, u8) -> T>>,
) {
    let mut random = random(name);
    let mut tested = 0;
    for mnemonic in Mnemonic::values() {
        let Some(operation) = operation(mnemonic) else { continue };
        for code in codes(mnemonic, XMM, imm) {
            // CMPPS's reserved immediates and the reserved bits of ROUNDPS are ignored; all are tried.
            for immediate in 0..if imm { 256 } else { 1 } {
                let immediate = immediate as u8;
                let registers = [Register::XMM1, Register::XMM2];
                let oracle = Oracle::new(instruction(code, registers, imm.then_some(immediate)), false);
                for _ in 0..rounds(ordinary) {
                    let (a, b) = floats(&mut random, code);
                    let state = State {
                        vector: [Xmm::ZERO, a, b].map(low),
                        mxcsr: random.mxcsr().0,
                        ..State::default()
                    };
                    let observe = |state: &State| observe(mnemonic, state);
                    check(&(code, immediate), &oracle, state, observe, |mx| operation(mx, a, b, immediate));
                }
                tested += 1;
            }
        }
    }
    assert!(tested > 0);
}

#[test]
fn float() {
    float_cases(
        "float",
        false,
        20_000,
        |_, state| state.vector[1].0[0],
        |mnemonic| table::float(mnemonic).map(|f| Box::new(move |mx: &mut _, a, b, _| f(mx, a, b)) as _),
    );
}

/// What is the same on all processors: which of several NaN becomes a sum of products is not.
fn comparable(mnemonic: Mnemonic, result: Xmm) -> Xmm {
    match mnemonic {
        Mnemonic::Dpps => Xmm::from_u32x4(result.u32x4().map(|lane| if f32::from_bits(lane).is_nan() { !0 } else { lane })),
        Mnemonic::Dppd => Xmm(result.0.map(|lane| if f64::from_bits(lane).is_nan() { !0 } else { lane })),
        _ => result,
    }
}

#[test]
fn float_imm() {
    float_cases(
        "float_imm",
        true,
        200,
        |mnemonic, state| comparable(mnemonic, state.vector[1].0[0]),
        |mnemonic| {
            let operation = table::float_imm(mnemonic)?;
            Some(Box::new(move |mx: &mut _, a, b, imm| comparable(mnemonic, operation(mx, a, b, imm))) as _)
        },
    );
}

#[test]
fn compare() {
    const RESULT: u32 = 0x8d5;
    float_cases(
        "compare",
        false,
        20_000,
        |_, state| state.rflags as u32 & RESULT,
        |mnemonic| table::compare(mnemonic).map(|f| Box::new(move |mx: &mut _, a, b, _| f(mx, a, b)) as _),
    );
}

#[test]
fn mmx() {
    let mut random = random("mmx");
    for mnemonic in Mnemonic::values() {
        let Some(operation) = table::mmx(mnemonic) else { continue };
        for code in codes(mnemonic, MM, false) {
            let oracle = Oracle::new(instruction(code, [Register::MM0, Register::MM1], None), false);
            for _ in 0..rounds(2000) {
                let (Xmm([a, _]), Xmm([b, _])) = operands(&mut random);
                let state = State { mmx: [a, b], mxcsr: 0x1f80, ..State::default() };
                assert_eq!(operation(a, b), oracle.run(state).mmx[0], "{code:?} {a:#x} {b:#x}");
            }
        }
    }
}

#[test]
fn mmx_imm() {
    let mut random = random("mmx_imm");
    for mnemonic in Mnemonic::values() {
        let Some(operation) = table::mmx_imm(mnemonic) else { continue };
        for code in codes(mnemonic, MM, true) {
            for imm in 0..=255 {
                let oracle = Oracle::new(instruction(code, [Register::MM0, Register::MM1], Some(imm)), false);
                for _ in 0..rounds(40) {
                    let (Xmm([a, _]), Xmm([b, _])) = operands(&mut random);
                    let state = State { mmx: [a, b], mxcsr: 0x1f80, ..State::default() };
                    assert_eq!(operation(a, b, imm), oracle.run(state).mmx[0], "{code:?} {a:#x} {b:#x} {imm}");
                }
            }
        }
    }
}

/// The approximations: within the manuals' bound of the exact value, and the processor's own where that is special.
#[test]
fn approximations() {
    let mut random = random("approximations");
    for mnemonic in APPROXIMATE {
        let operation = table::packed(mnemonic).expect("approximations are in the table");
        let root = matches!(mnemonic, Mnemonic::Rsqrtps | Mnemonic::Rsqrtss);
        let [code] = codes(mnemonic, XMM, false)[..] else { panic!("one form") };
        let oracle = Oracle::new(instruction(code, [Register::XMM1, Register::XMM2], None), false);
        for _ in 0..rounds(100_000) {
            let (a, b) = (random.singles(), random.singles());
            let state = State { vector: [Xmm::ZERO, a, b].map(low), mxcsr: 0x1f80, ..State::default() };
            let expected = oracle.run(state).vector[1].0[0].u32x4();
            let result = operation(a, b).u32x4();
            for i in 0..4 {
                let scalar = matches!(mnemonic, Mnemonic::Rcpss | Mnemonic::Rsqrtss);
                let x = f32::from_bits(b.u32x4()[i]);
                let magnitude = x.abs();
                let regular = x.is_normal() && (root || magnitude < 2f32.powi(125)) && !(root && x < 0.0) && !(scalar && i > 0);
                if !regular {
                    if magnitude >= 2f32.powi(125) && magnitude.is_finite() && !root {
                        // Next to the smallest normal number makers differ.
                        continue;
                    }
                    assert_eq!(result[i], expected[i], "{mnemonic:?} {x:e} {:#x}", x.to_bits());
                    continue;
                }
                let exact = if root { 1.0 / (x as f64).sqrt() } else { 1.0 / x as f64 };
                let error = (f32::from_bits(result[i]) as f64 / exact - 1.0).abs();
                assert!(error <= 1.5 / 4096.0, "{mnemonic:?} {x:e}: {error:e}");
            }
        }
    }
}
