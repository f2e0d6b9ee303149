//! Operations outside the tables: conversions with general registers and MMX, masks, lanes, strings, CRC32.

use crate::oracle::{Oracle, State};
use crate::tables::check;
use crate::values::{random, rounds, Random};
use iced_x86::{Code, Instruction, Register};
use simd::{convert, float, integer, mmx, string, Mxcsr, Xmm, Ymm};

fn low(x: Xmm) -> Ymm {
    Ymm([x, Xmm::ZERO])
}

fn with2(code: Code, a: Register, b: Register) -> Oracle {
    Oracle::new(Instruction::with2(code, a, b).unwrap(), false)
}

fn state(random: &mut Random, a: Xmm, b: Xmm) -> State {
    State {
        vector: [Xmm::ZERO, a, b].map(low),
        mmx: [random.next(), random.integers().0[0]],
        rax: random.next(),
        rcx: random.next(),
        rdx: random.next(),
        rflags: 0x202,
        mxcsr: random.mxcsr().0,
        raised: 0,
    }
}

macro_rules! to_general {
    ($($test:ident: $code:ident, $register:ident, $function:ident, $operand:ident, |$x:ident| $bits:expr, $type:ty;)*) => {
        $(
            #[test]
            fn $test() {
                let mut random = random(stringify!($test));
                let oracle = with2(Code::$code, Register::$register, Register::XMM1);
                for _ in 0..rounds(20_000) {
                    let $x = random.$operand();
                    let state = state(&mut random, $x, Xmm::ZERO);
                    check(&$x, &oracle, state, |s| s.rax as $type, |mx: &mut Mxcsr| convert::$function(mx, $bits));
                }
            }
        )*
    };
}

to_general! {
    cvtss2si32: Cvtss2si_r32_xmmm32, EAX, cvtss2si32, singles, |x| x.low32(), i32;
    cvttss2si32: Cvttss2si_r32_xmmm32, EAX, cvttss2si32, singles, |x| x.low32(), i32;
    cvtss2si64: Cvtss2si_r64_xmmm32, RAX, cvtss2si64, singles, |x| x.low32(), i64;
    cvttss2si64: Cvttss2si_r64_xmmm32, RAX, cvttss2si64, singles, |x| x.low32(), i64;
    cvtsd2si32: Cvtsd2si_r32_xmmm64, EAX, cvtsd2si32, doubles, |x| x.0[0], i32;
    cvttsd2si32: Cvttsd2si_r32_xmmm64, EAX, cvttsd2si32, doubles, |x| x.0[0], i32;
    cvtsd2si64: Cvtsd2si_r64_xmmm64, RAX, cvtsd2si64, doubles, |x| x.0[0], i64;
    cvttsd2si64: Cvttsd2si_r64_xmmm64, RAX, cvttsd2si64, doubles, |x| x.0[0], i64;
}

macro_rules! from_general {
    ($($test:ident: $code:ident, $register:ident, |$mx:ident, $rcx:ident| $value:expr, $shown:ident;)*) => {
        $(
            #[test]
            fn $test() {
                let mut random = random(stringify!($test));
                let oracle = with2(Code::$code, Register::XMM1, Register::$register);
                for _ in 0..rounds(20_000) {
                    let mut state = state(&mut random, Xmm::ZERO, Xmm::ZERO);
                    state.rcx = if random.below(2) == 0 { random.integers().0[0] } else { (random.next() as i64 >> random.below(64)) as u64 };
                    let $rcx = state.rcx;
                    let observe = |s: &State| s.vector[1].0[0].$shown()[0];
                    check(&$rcx, &oracle, state, observe, |$mx: &mut Mxcsr| { let _ = &$mx; $value });
                }
            }
        )*
    };
}

from_general! {
    cvtsi2ss32: Cvtsi2ss_xmm_rm32, ECX, |mx, rcx| convert::cvtsi2ss32(mx, rcx as i32), u32x4;
    cvtsi2ss64: Cvtsi2ss_xmm_rm64, RCX, |mx, rcx| convert::cvtsi2ss64(mx, rcx as i64), u32x4;
    cvtsi2sd32: Cvtsi2sd_xmm_rm32, ECX, |mx, rcx| convert::cvtsi2sd32(rcx as i32), u64x2;
    cvtsi2sd64: Cvtsi2sd_xmm_rm64, RCX, |mx, rcx| convert::cvtsi2sd64(mx, rcx as i64), u64x2;
}

#[test]
fn conversions_with_mmx() {
    let mut random = random("conversions_with_mmx");
    let pi2ps = with2(Code::Cvtpi2ps_xmm_mmm64, Register::XMM1, Register::MM1);
    let pi2pd = with2(Code::Cvtpi2pd_xmm_mmm64, Register::XMM1, Register::MM1);
    type ToMmx = fn(&mut Mxcsr, Xmm) -> u64;
    let to_mmx: [(Code, ToMmx, bool); 4] = [
        (Code::Cvtps2pi_mm_xmmm64, convert::cvtps2pi, true),
        (Code::Cvttps2pi_mm_xmmm64, convert::cvttps2pi, true),
        (Code::Cvtpd2pi_mm_xmmm128, convert::cvtpd2pi, false),
        (Code::Cvttpd2pi_mm_xmmm128, convert::cvttpd2pi, false),
    ];
    let to_mmx = to_mmx.map(|(code, f, singles)| (with2(code, Register::MM0, Register::XMM1), code, f, singles));
    for _ in 0..rounds(20_000) {
        let a = random.singles();
        let s = state(&mut random, a, Xmm::ZERO);
        let first = |s: &State| s.vector[1].0[0];
        check(&"cvtpi2ps", &pi2ps, s, first, |mx| convert::cvtpi2ps(mx, a, s.mmx[1]));
        check(&"cvtpi2pd", &pi2pd, s, first, |_| convert::cvtpi2pd(s.mmx[1]));
        for (oracle, code, function, singles) in &to_mmx {
            let a = if *singles { random.singles() } else { random.doubles() };
            let s = state(&mut random, a, Xmm::ZERO);
            check(code, oracle, s, |s| s.mmx[0], |mx| function(mx, a));
        }
    }
}

#[test]
fn masks() {
    let mut random = random("masks");
    let bytes = with2(Code::Pmovmskb_r32_xmm, Register::EAX, Register::XMM1);
    let singles = with2(Code::Movmskps_r32_xmm, Register::EAX, Register::XMM1);
    let doubles = with2(Code::Movmskpd_r32_xmm, Register::EAX, Register::XMM1);
    let small = with2(Code::Pmovmskb_r32_mm, Register::EAX, Register::MM1);
    let test = with2(Code::Ptest_xmm_xmmm128, Register::XMM1, Register::XMM2);
    for _ in 0..rounds(20_000) {
        let (a, b) = (random.integers(), random.integers());
        let a = match random.below(3) {
            0 => integer::pand(a, b),
            1 => integer::pandn(b, a),
            _ => a,
        };
        let s = state(&mut random, a, b);
        assert_eq!(integer::pmovmskb(a) as u64, bytes.run(s).rax);
        assert_eq!(integer::movmskps(a) as u64, singles.run(s).rax);
        assert_eq!(integer::movmskpd(a) as u64, doubles.run(s).rax);
        assert_eq!(mmx::pmovmskb(s.mmx[1]) as u64, small.run(s).rax);
        let flags = test.run(s).rflags;
        assert_eq!(integer::ptest(a, b), (flags & 0x40 != 0, flags & 1 != 0));
        assert_eq!(flags & 0x894, 0);
    }
}

fn with_imm(code: Code, a: Register, b: Register, imm: u8) -> Oracle {
    Oracle::new(Instruction::with3(code, a, b, imm as u32).unwrap(), false)
}

#[test]
fn lanes() {
    let mut random = random("lanes");
    use Register::{EAX, ECX, MM0, MM1, RAX, RCX, XMM1, XMM2};
    for imm in 0..=255 {
        let extract_b = with_imm(Code::Pextrb_r32m8_xmm_imm8, EAX, XMM1, imm);
        let extract_w = with_imm(Code::Pextrw_r32_xmm_imm8, EAX, XMM1, imm);
        let extract_d = with_imm(Code::Pextrd_rm32_xmm_imm8, EAX, XMM1, imm);
        let extract_q = with_imm(Code::Pextrq_rm64_xmm_imm8, RAX, XMM1, imm);
        let extract_m = with_imm(Code::Pextrw_r32_mm_imm8, EAX, MM1, imm);
        let insert_b = with_imm(Code::Pinsrb_xmm_r32m8_imm8, XMM1, ECX, imm);
        let insert_w = with_imm(Code::Pinsrw_xmm_r32m16_imm8, XMM1, ECX, imm);
        let insert_d = with_imm(Code::Pinsrd_xmm_rm32_imm8, XMM1, ECX, imm);
        let insert_q = with_imm(Code::Pinsrq_xmm_rm64_imm8, XMM1, RCX, imm);
        let insert_m = with_imm(Code::Pinsrw_mm_r32m16_imm8, MM0, ECX, imm);
        let insert_s = with_imm(Code::Insertps_xmm_xmmm32_imm8, XMM1, XMM2, imm);
        let extract_s = with_imm(Code::Extractps_rm32_xmm_imm8, EAX, XMM1, imm);
        for _ in 0..rounds(20) {
            let (a, b) = (random.integers(), random.integers());
            let s = state(&mut random, a, b);
            assert_eq!(integer::pextrb(a, imm) as u64, extract_b.run(s).rax);
            assert_eq!(integer::pextrw(a, imm) as u64, extract_w.run(s).rax);
            assert_eq!(integer::pextrd(a, imm) as u64, extract_d.run(s).rax);
            assert_eq!(integer::pextrq(a, imm), extract_q.run(s).rax);
            assert_eq!(integer::extractps(a, imm) as u64, extract_s.run(s).rax);
            assert_eq!(mmx::pextrw(s.mmx[1], imm) as u64, extract_m.run(s).rax);
            let first = |oracle: &Oracle| oracle.run(s).vector[1].0[0];
            assert_eq!(integer::pinsrb(a, s.rcx as u8, imm), first(&insert_b));
            assert_eq!(integer::pinsrw(a, s.rcx as u16, imm), first(&insert_w));
            assert_eq!(integer::pinsrd(a, s.rcx as u32, imm), first(&insert_d));
            assert_eq!(integer::pinsrq(a, s.rcx, imm), first(&insert_q));
            assert_eq!(integer::insertps(a, b, imm), first(&insert_s));
            assert_eq!(mmx::pinsrw(s.mmx[0], s.rcx as u16, imm), insert_m.run(s).mmx[0]);
        }
    }
}

/// Bytes of a small alphabet with zeros among them, so that strings match.
fn text(random: &mut Random) -> Xmm {
    if random.below(8) == 0 {
        return random.integers();
    }
    let wide = random.below(2);
    let letters = 2 + random.below(5);
    let zero = random.below(3);
    let mut x = [0u8; 16];
    for (i, byte) in x.iter_mut().enumerate() {
        if wide == 0 || i % 2 == 0 {
            *byte = (random.below(letters) + u64::from(zero != 0 || random.below(4) != 0)) as u8;
            if random.below(10) == 0 {
                *byte = 0u8.wrapping_sub(*byte);
            }
        }
    }
    Xmm::from_u8x16(x)
}

#[test]
fn strings() {
    let mut random = random("strings");
    use Register::{XMM1, XMM2};
    const RESULT: u64 = 0x8d5;
    for imm in 0..=255 {
        let implicit_index = with_imm(Code::Pcmpistri_xmm_xmmm128_imm8, XMM1, XMM2, imm);
        let implicit_mask = with_imm(Code::Pcmpistrm_xmm_xmmm128_imm8, XMM1, XMM2, imm);
        let explicit_index = with_imm(Code::Pcmpestri_xmm_xmmm128_imm8, XMM1, XMM2, imm);
        let explicit_mask = with_imm(Code::Pcmpestrm_xmm_xmmm128_imm8, XMM1, XMM2, imm);
        let wide_index = with_imm(Code::Pcmpestri64_xmm_xmmm128_imm8, XMM1, XMM2, imm);
        for _ in 0..rounds(400) {
            let a = text(&mut random);
            let mut b = text(&mut random);
            if random.below(4) == 0 {
                b = Xmm::from_u128(a.u128() << (8 * random.below(16)));
            }
            let mut s = state(&mut random, a, b);
            if random.below(8) != 0 {
                s.rax = (random.below(41) as i64 - 20) as u64;
                s.rdx = (random.below(41) as i64 - 20) as u64;
            }
            let context = || format!("{a:x?} {b:x?} {imm:#x} {:#x} {:#x}", s.rax, s.rdx);
            let same = |ours: string::Compared, index: &State, mask: Option<&State>| {
                assert_eq!(ours.index() as u64, index.rcx, "{}", context());
                assert_eq!(ours.flags as u64, index.rflags & RESULT, "{}", context());
                if let Some(mask) = mask {
                    assert_eq!(ours.mask(), mask.vector[0].0[0], "{}", context());
                    assert_eq!(ours.flags as u64, mask.rflags & RESULT, "{}", context());
                }
            };
            same(string::pcmpistr(a, b, imm), &implicit_index.run(s), Some(&implicit_mask.run(s)));
            let narrow = string::pcmpestr(a, s.rax as i32 as i64, b, s.rdx as i32 as i64, imm);
            same(narrow, &explicit_index.run(s), Some(&explicit_mask.run(s)));
            same(string::pcmpestr(a, s.rax as i64, b, s.rdx as i64, imm), &wide_index.run(s), None);
        }
    }
}

#[test]
fn crc32() {
    let mut random = random("crc32");
    use Register::{AL, AX, EAX, ECX, RAX, RCX};
    let byte = with2(Code::Crc32_r32_rm8, ECX, AL);
    let word = with2(Code::Crc32_r32_rm16, ECX, AX);
    let dword = with2(Code::Crc32_r32_rm32, ECX, EAX);
    let qword = with2(Code::Crc32_r64_rm64, RCX, RAX);
    for _ in 0..rounds(20_000) {
        let s = state(&mut random, Xmm::ZERO, Xmm::ZERO);
        let crc = s.rcx as u32;
        assert_eq!(string::crc32_8(crc, s.rax as u8) as u64, byte.run(s).rcx);
        assert_eq!(string::crc32_16(crc, s.rax as u16) as u64, word.run(s).rcx);
        assert_eq!(string::crc32_32(crc, s.rax as u32) as u64, dword.run(s).rcx);
        assert_eq!(string::crc32_64(crc, s.rax) as u64, qword.run(s).rcx);
    }
}

#[test]
fn half_precision() {
    let mut random = random("half_precision");
    let code = Code::VEX_Vcvtph2ps_xmm_xmmm64;
    let widen = Oracle::new(Instruction::with2(code, Register::XMM1, Register::XMM2).unwrap(), true);
    let code = Code::VEX_Vcvtps2ph_xmmm64_xmm_imm8;
    let narrow: [Oracle; 8] = std::array::from_fn(|imm| {
        Oracle::new(Instruction::with3(code, Register::XMM1, Register::XMM2, imm as u32).unwrap(), true)
    });
    for _ in 0..rounds(20_000) {
        let b = Xmm([random.next(), 0]);
        let s = state(&mut random, Xmm::ZERO, b);
        check(&"vcvtph2ps", &widen, s, |s| s.vector[1].0[0], |mx| convert::vcvtph2ps(mx, b));
        for (imm, oracle) in narrow.iter().enumerate() {
            // Around the limits of the format, or anything.
            let b = Xmm::from_u32x4(std::array::from_fn(|_| match random.below(2) {
                0 => random.single(),
                _ => (random.next() as u32 & 0x807f_ffff) | (100 + random.below(45) as u32) << 23,
            }));
            let s = state(&mut random, Xmm::ZERO, b);
            check(&imm, oracle, s, |s| s.vector[1].0[0], |mx| convert::vcvtps2ph(mx, b, imm as u8));
        }
    }
}

#[test]
fn fused() {
    let mut random = random("fused");
    let instruction = |code| Instruction::with3(code, Register::XMM0, Register::XMM1, Register::XMM2).unwrap();
    // Which registers are the factors and the addend.
    let forms = [
        (Code::VEX_Vfmadd132ss_xmm_xmm_xmmm32, Code::VEX_Vfmadd132sd_xmm_xmm_xmmm64, [0, 2, 1]),
        (Code::VEX_Vfmadd213ss_xmm_xmm_xmmm32, Code::VEX_Vfmadd213sd_xmm_xmm_xmmm64, [1, 0, 2]),
        (Code::VEX_Vfmadd231ss_xmm_xmm_xmmm32, Code::VEX_Vfmadd231sd_xmm_xmm_xmmm64, [1, 2, 0]),
    ];
    for (code32, code64, order) in forms {
        let singles = Oracle::new(instruction(code32), true);
        let doubles = Oracle::new(instruction(code64), true);
        for round in 0..rounds(60_000) {
            let single = round % 2 == 0;
            let [mut a, b, mut c]: [Xmm; 3] =
                std::array::from_fn(|_| if single { random.singles() } else { random.doubles() });
            // A sum that cancels, almost or wholly.
            if random.below(4) == 0 {
                a = Xmm([if single { 0x3f80_0000 } else { 0x3ff0_0000_0000_0000 }, 0]);
                c = Xmm([b.0[0] ^ (1 << 63 | 1 << 31) ^ random.below(4), 0]);
            }
            let mut s = state(&mut random, Xmm::ZERO, Xmm::ZERO);
            for (register, value) in order.into_iter().zip([a, b, c]) {
                s.vector[register] = low(value);
            }
            if single {
                let observe = |s: &State| s.vector[0].0[0].low32();
                check(&code32, &singles, s, observe, |mx| float::fma32(mx, a.low32(), b.low32(), c.low32()));
            } else {
                let observe = |s: &State| s.vector[0].0[0].0[0];
                check(&code64, &doubles, s, observe, |mx| float::fma64(mx, a.0[0], b.0[0], c.0[0]));
            }
        }
    }
}

/// Numbers whose sums of products the host's arithmetic gives: with few bits or many, that cancel or are halfway
/// between two numbers, against the fused operation of Rust's library.
#[test]
fn fused_of_ordinary_numbers() {
    let mut random = random("fused_of_ordinary_numbers");
    let mut number = |bits: u64, bias: u64| {
        let fraction = random.next() & ((1 << bits) - 1);
        let fraction = if random.below(2) == 0 { fraction } else { fraction & !0 << random.below(bits) };
        let exponent = bias - 40 + random.below(80);
        (random.below(2) << 63, exponent << bits | fraction, random.below(4))
    };
    for _ in 0..rounds(400_000) {
        let mut mx = Mxcsr(0x1fa0);
        let [a, b, c]: [f64; 3] = std::array::from_fn(|_| {
            let (sign, magnitude, _) = number(52, 1023);
            f64::from_bits(sign | magnitude)
        });
        let c = match number(52, 1023).2 {
            0 => -a * b,
            1 => f64::from_bits((-a * b).to_bits() ^ 1),
            2 => c * 1e-17 * a * b,
            _ => c,
        };
        let [x, y, z] = [a, b, c].map(f64::to_bits);
        assert_eq!(float::fma64(&mut mx, x, y, z), a.mul_add(b, c).to_bits(), "{a:e} {b:e} {c:e}");
        let [a, b, c]: [f32; 3] = std::array::from_fn(|_| {
            let (sign, magnitude, _) = number(23, 127);
            f32::from_bits((sign >> 32 | magnitude) as u32)
        });
        let c = match number(23, 127).2 {
            0 => -a * b,
            1 => f32::from_bits((-a * b).to_bits() ^ 1),
            2 => c * 1e-8 * a * b,
            _ => c,
        };
        let [x, y, z] = [a, b, c].map(f32::to_bits);
        assert_eq!(float::fma32(&mut mx, x, y, z), a.mul_add(b, c).to_bits(), "{a:e} {b:e} {c:e}");
    }
}
