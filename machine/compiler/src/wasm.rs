//! WebAssembly's binary format, as far as it is needed here.
//!
//! An encoder of our own and not the crate wasm-encoder: it has no enumeration of instructions between
//! the compiler and the bytes, it knows where an instruction lies (which branch hints need), and it is
//! small.

use alloc::vec::Vec;

/// Opcodes, as in the core specification's appendix "Index of Instructions".
pub mod op {
    pub const UNREACHABLE: u8 = 0x00;
    pub const BLOCK: u8 = 0x02;
    pub const LOOP: u8 = 0x03;
    pub const IF: u8 = 0x04;
    pub const ELSE: u8 = 0x05;
    pub const END: u8 = 0x0b;
    pub const BR: u8 = 0x0c;
    pub const BR_IF: u8 = 0x0d;
    pub const BR_TABLE: u8 = 0x0e;
    pub const CALL: u8 = 0x10;
    pub const RETURN_CALL_INDIRECT: u8 = 0x13;
    pub const SELECT: u8 = 0x1b;
    pub const LOCAL_GET: u8 = 0x20;
    pub const LOCAL_SET: u8 = 0x21;
    pub const LOCAL_TEE: u8 = 0x22;
    pub const I32_LOAD: u8 = 0x28;
    pub const I64_LOAD: u8 = 0x29;
    pub const I64_LOAD8_U: u8 = 0x31;
    pub const I64_LOAD16_U: u8 = 0x33;
    pub const I64_LOAD32_U: u8 = 0x35;
    pub const I32_STORE: u8 = 0x36;
    pub const I64_STORE: u8 = 0x37;
    pub const I64_STORE8: u8 = 0x3c;
    pub const I64_STORE16: u8 = 0x3d;
    pub const I64_STORE32: u8 = 0x3e;
    pub const I32_CONST: u8 = 0x41;
    pub const I64_CONST: u8 = 0x42;
    pub const F32_CONST: u8 = 0x43;
    pub const F64_CONST: u8 = 0x44;
    pub const I32_EQZ: u8 = 0x45;
    pub const I32_EQ: u8 = 0x46;
    pub const I32_NE: u8 = 0x47;
    pub const I32_LT_S: u8 = 0x48;
    pub const I32_LT_U: u8 = 0x49;
    pub const I32_GT_S: u8 = 0x4a;
    pub const I32_GT_U: u8 = 0x4b;
    pub const I32_LE_S: u8 = 0x4c;
    pub const I32_LE_U: u8 = 0x4d;
    pub const I32_GE_S: u8 = 0x4e;
    pub const I32_GE_U: u8 = 0x4f;
    pub const I64_EQZ: u8 = 0x50;
    pub const I64_EQ: u8 = 0x51;
    pub const I64_NE: u8 = 0x52;
    pub const I64_LT_S: u8 = 0x53;
    pub const I64_LT_U: u8 = 0x54;
    pub const I64_GT_S: u8 = 0x55;
    pub const I64_GT_U: u8 = 0x56;
    pub const I64_LE_S: u8 = 0x57;
    pub const I64_LE_U: u8 = 0x58;
    pub const I64_GE_S: u8 = 0x59;
    pub const I64_GE_U: u8 = 0x5a;
    pub const F32_EQ: u8 = 0x5b;
    pub const F32_LT: u8 = 0x5d;
    pub const F64_EQ: u8 = 0x61;
    pub const F64_LT: u8 = 0x63;
    pub const I32_POPCNT: u8 = 0x69;
    pub const I32_ADD: u8 = 0x6a;
    pub const I32_SUB: u8 = 0x6b;
    pub const I32_MUL: u8 = 0x6c;
    pub const I32_AND: u8 = 0x71;
    pub const I32_OR: u8 = 0x72;
    pub const I32_XOR: u8 = 0x73;
    pub const I32_SHL: u8 = 0x74;
    pub const I32_SHR_U: u8 = 0x76;
    pub const I32_ROTL: u8 = 0x77;
    pub const I32_ROTR: u8 = 0x78;
    pub const I64_CLZ: u8 = 0x79;
    pub const I64_CTZ: u8 = 0x7a;
    pub const I64_POPCNT: u8 = 0x7b;
    pub const I64_ADD: u8 = 0x7c;
    pub const I64_SUB: u8 = 0x7d;
    pub const I64_MUL: u8 = 0x7e;
    pub const I64_DIV_S: u8 = 0x7f;
    pub const I64_DIV_U: u8 = 0x80;
    pub const I64_REM_S: u8 = 0x81;
    pub const I64_REM_U: u8 = 0x82;
    pub const I64_AND: u8 = 0x83;
    pub const I64_OR: u8 = 0x84;
    pub const I64_XOR: u8 = 0x85;
    pub const I64_SHL: u8 = 0x86;
    pub const I64_SHR_S: u8 = 0x87;
    pub const I64_SHR_U: u8 = 0x88;
    pub const I64_ROTL: u8 = 0x89;
    pub const I64_ROTR: u8 = 0x8a;
    pub const F32_ABS: u8 = 0x8b;
    pub const F32_SQRT: u8 = 0x91;
    pub const F32_ADD: u8 = 0x92;
    pub const F32_SUB: u8 = 0x93;
    pub const F32_MUL: u8 = 0x94;
    pub const F32_DIV: u8 = 0x95;
    pub const F64_ABS: u8 = 0x99;
    pub const F64_SQRT: u8 = 0x9f;
    pub const F64_ADD: u8 = 0xa0;
    pub const F64_SUB: u8 = 0xa1;
    pub const F64_MUL: u8 = 0xa2;
    pub const F64_DIV: u8 = 0xa3;
    pub const I32_WRAP_I64: u8 = 0xa7;
    pub const I64_EXTEND_I32_U: u8 = 0xad;
    pub const I64_TRUNC_F32_S: u8 = 0xae;
    pub const I64_TRUNC_F64_S: u8 = 0xb0;
    pub const F32_CONVERT_I64_S: u8 = 0xb4;
    pub const F32_DEMOTE_F64: u8 = 0xb6;
    pub const F64_CONVERT_I64_S: u8 = 0xb9;
    pub const F64_PROMOTE_F32: u8 = 0xbb;
    pub const I32_REINTERPRET_F32: u8 = 0xbc;
    pub const I64_REINTERPRET_F64: u8 = 0xbd;
    pub const F32_REINTERPRET_I32: u8 = 0xbe;
    pub const F64_REINTERPRET_I64: u8 = 0xbf;
    pub const I32_EXTEND8_S: u8 = 0xc0;
    pub const I32_EXTEND16_S: u8 = 0xc1;
    pub const I64_EXTEND8_S: u8 = 0xc2;
    pub const I64_EXTEND16_S: u8 = 0xc3;
    pub const I64_EXTEND32_S: u8 = 0xc4;
    pub const SIMD: u8 = 0xfd;
}

/// The second byte or bytes of instructions that begin with `op::SIMD`.
pub mod simd {
    pub const V128_LOAD: u32 = 0;
    pub const V128_STORE: u32 = 11;
    pub const V128_CONST: u32 = 12;
    pub const I8X16_SWIZZLE: u32 = 14;
    pub const I8X16_SPLAT: u32 = 15;
    pub const I16X8_SPLAT: u32 = 16;
    pub const I32X4_SPLAT: u32 = 17;
    pub const I64X2_SPLAT: u32 = 18;
    pub const F32X4_EQ: u32 = 65;
    pub const F64X2_EQ: u32 = 71;
    pub const I16X8_EXTEND_LOW_I8X16_S: u32 = 135;
    pub const I16X8_EXTEND_LOW_I8X16_U: u32 = 137;
    pub const I32X4_ALL_TRUE: u32 = 163;
    pub const I32X4_EXTEND_LOW_I16X8_S: u32 = 167;
    pub const I32X4_EXTEND_LOW_I16X8_U: u32 = 169;
    pub const I64X2_ALL_TRUE: u32 = 195;
    pub const I64X2_EXTEND_LOW_I32X4_S: u32 = 199;
    pub const I64X2_EXTEND_LOW_I32X4_U: u32 = 201;
    pub const F32X4_SQRT: u32 = 227;
    pub const F32X4_ADD: u32 = 228;
    pub const F32X4_SUB: u32 = 229;
    pub const F32X4_MUL: u32 = 230;
    pub const F32X4_DIV: u32 = 231;
    pub const F64X2_SQRT: u32 = 239;
    pub const F64X2_ADD: u32 = 240;
    pub const F64X2_SUB: u32 = 241;
    pub const F64X2_MUL: u32 = 242;
    pub const F64X2_DIV: u32 = 243;
    pub const I8X16_SHUFFLE: u32 = 13;
    pub const I32X4_EXTRACT_LANE: u32 = 27;
    pub const I32X4_REPLACE_LANE: u32 = 28;
    pub const I64X2_EXTRACT_LANE: u32 = 29;
    pub const I64X2_REPLACE_LANE: u32 = 30;
    pub const F32X4_EXTRACT_LANE: u32 = 31;
    pub const F32X4_REPLACE_LANE: u32 = 32;
    pub const F64X2_EXTRACT_LANE: u32 = 33;
    pub const F64X2_REPLACE_LANE: u32 = 34;
    pub const I8X16_EQ: u32 = 35;
    pub const I8X16_GT_S: u32 = 39;
    pub const I16X8_EQ: u32 = 45;
    pub const I16X8_GT_S: u32 = 49;
    pub const I32X4_EQ: u32 = 55;
    pub const I32X4_GT_S: u32 = 59;
    pub const V128_AND: u32 = 78;
    pub const V128_ANDNOT: u32 = 79;
    pub const V128_OR: u32 = 80;
    pub const V128_XOR: u32 = 81;
    pub const V128_BITSELECT: u32 = 82;
    pub const V128_ANY_TRUE: u32 = 83;
    pub const I8X16_BITMASK: u32 = 100;
    pub const I8X16_NARROW_I16X8_S: u32 = 101;
    pub const I8X16_NARROW_I16X8_U: u32 = 102;
    pub const I8X16_SHR_S: u32 = 108;
    pub const I8X16_ADD: u32 = 110;
    pub const I8X16_ADD_SAT_S: u32 = 111;
    pub const I8X16_ADD_SAT_U: u32 = 112;
    pub const I8X16_SUB: u32 = 113;
    pub const I8X16_SUB_SAT_S: u32 = 114;
    pub const I8X16_SUB_SAT_U: u32 = 115;
    pub const I8X16_MIN_S: u32 = 118;
    pub const I8X16_MIN_U: u32 = 119;
    pub const I8X16_MAX_S: u32 = 120;
    pub const I8X16_MAX_U: u32 = 121;
    pub const I8X16_AVGR_U: u32 = 123;
    pub const I16X8_NARROW_I32X4_S: u32 = 133;
    pub const I16X8_NARROW_I32X4_U: u32 = 134;
    pub const I16X8_SHL: u32 = 139;
    pub const I16X8_SHR_S: u32 = 140;
    pub const I16X8_SHR_U: u32 = 141;
    pub const I16X8_ADD: u32 = 142;
    pub const I16X8_ADD_SAT_S: u32 = 143;
    pub const I16X8_ADD_SAT_U: u32 = 144;
    pub const I16X8_SUB: u32 = 145;
    pub const I16X8_SUB_SAT_S: u32 = 146;
    pub const I16X8_SUB_SAT_U: u32 = 147;
    pub const I16X8_MUL: u32 = 149;
    pub const I16X8_MIN_S: u32 = 150;
    pub const I16X8_MIN_U: u32 = 151;
    pub const I16X8_MAX_S: u32 = 152;
    pub const I16X8_MAX_U: u32 = 153;
    pub const I16X8_AVGR_U: u32 = 155;
    pub const I32X4_SHL: u32 = 171;
    pub const I32X4_SHR_S: u32 = 172;
    pub const I32X4_SHR_U: u32 = 173;
    pub const I32X4_ADD: u32 = 174;
    pub const I32X4_SUB: u32 = 177;
    pub const I32X4_MUL: u32 = 181;
    pub const I32X4_MIN_S: u32 = 182;
    pub const I32X4_MIN_U: u32 = 183;
    pub const I32X4_MAX_S: u32 = 184;
    pub const I32X4_MAX_U: u32 = 185;
    pub const I32X4_BITMASK: u32 = 164;
    pub const I64X2_BITMASK: u32 = 196;
    pub const I32X4_DOT_I16X8_S: u32 = 186;
    pub const I64X2_SHL: u32 = 203;
    pub const I64X2_SHR_U: u32 = 205;
    pub const I64X2_ADD: u32 = 206;
    pub const I64X2_SUB: u32 = 209;
    pub const I64X2_EQ: u32 = 214;
    pub const I64X2_GT_S: u32 = 217;
    pub const I64X2_EXTMUL_LOW_I32X4_U: u32 = 222;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Type {
    I32 = 0x7f,
    I64 = 0x7e,
    V128 = 0x7b,
    F32 = 0x7d,
    F64 = 0x7c,
}

/// A place that can be branched to: how many were open when it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(u32);

/// What a branch is expected to do, where one knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    Unlikely = 0,
}

/// A function's instructions.
#[derive(Default)]
pub struct Code {
    pub bytes: Vec<u8>,
    depth: u32,
    /// Where branches with hints are.
    pub hints: Vec<(u32, Hint)>,
}

impl Code {
    /// The code, in whose place is none then, as deep in blocks.
    pub fn take(&mut self) -> Code {
        core::mem::replace(self, Code { depth: self.depth, ..Code::default() })
    }

    /// Appends a part of code that was taken from here.
    pub fn append(&mut self, code: &Code, part: core::ops::Range<usize>) {
        let moved = |at: u32| at - part.start as u32 + self.bytes.len() as u32;
        let first = code.hints.partition_point(|&(at, _)| (at as usize) < part.start);
        let within = code.hints[first..].iter().take_while(|&&(at, _)| (at as usize) < part.end);
        self.hints.extend(within.map(|&(at, hint)| (moved(at), hint)));
        self.bytes.extend_from_slice(&code.bytes[part]);
    }

    pub fn op(&mut self, opcode: u8) {
        self.bytes.push(opcode);
    }

    pub fn simd(&mut self, opcode: u32) {
        self.bytes.push(op::SIMD);
        unsigned(&mut self.bytes, opcode);
    }

    /// A SIMD instruction with the number of a lane.
    pub fn lane(&mut self, opcode: u32, lane: u8) {
        self.simd(opcode);
        self.bytes.push(lane);
    }

    pub fn get(&mut self, local: u32) {
        self.bytes.push(op::LOCAL_GET);
        unsigned(&mut self.bytes, local);
    }

    pub fn set(&mut self, local: u32) {
        self.bytes.push(op::LOCAL_SET);
        unsigned(&mut self.bytes, local);
    }

    pub fn tee(&mut self, local: u32) {
        self.bytes.push(op::LOCAL_TEE);
        unsigned(&mut self.bytes, local);
    }

    pub fn i32(&mut self, value: i32) {
        self.bytes.push(op::I32_CONST);
        signed(&mut self.bytes, i64::from(value));
    }

    pub fn i64(&mut self, value: i64) {
        self.bytes.push(op::I64_CONST);
        signed(&mut self.bytes, value);
    }

    pub fn f64(&mut self, value: f64) {
        self.bytes.push(op::F64_CONST);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn f32(&mut self, value: f32) {
        self.bytes.push(op::F32_CONST);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn v128(&mut self, value: u128) {
        self.simd(simd::V128_CONST);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn shuffle(&mut self, lanes: [u8; 16]) {
        self.simd(simd::I8X16_SHUFFLE);
        self.bytes.extend_from_slice(&lanes);
    }

    /// A load or store. Nothing is promised about alignment.
    pub fn memory(&mut self, opcode: u8, offset: u32) {
        self.bytes.extend_from_slice(&[opcode, 0]);
        unsigned(&mut self.bytes, offset);
    }

    pub fn v128_memory(&mut self, opcode: u32, offset: u32) {
        self.simd(opcode);
        self.bytes.push(0);
        unsigned(&mut self.bytes, offset);
    }

    pub fn call(&mut self, function: u32) {
        self.bytes.push(op::CALL);
        unsigned(&mut self.bytes, function);
    }

    /// Pops the function's place in table 0, and its parameters.
    pub fn return_call_indirect(&mut self, kind: u32) {
        self.bytes.push(op::RETURN_CALL_INDIRECT);
        unsigned(&mut self.bytes, kind);
        self.bytes.push(0);
    }

    /// How many blocks, loops and conditions are open.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    fn open(&mut self, opcode: u8, result: Option<Type>) -> Label {
        self.bytes.push(opcode);
        self.bytes.push(result.map_or(0x40, |kind| kind as u8));
        self.depth += 1;
        Label(self.depth)
    }

    pub fn block(&mut self, result: Option<Type>) -> Label {
        self.open(op::BLOCK, result)
    }

    pub fn loop_(&mut self) -> Label {
        self.open(op::LOOP, None)
    }

    pub fn if_(&mut self, result: Option<Type>, hint: Option<Hint>) {
        self.hint(hint);
        let _ = self.open(op::IF, result);
    }

    pub fn else_(&mut self) {
        self.bytes.push(op::ELSE);
    }

    pub fn end(&mut self) {
        self.bytes.push(op::END);
        self.depth -= 1;
    }

    pub fn br(&mut self, label: Label) {
        self.bytes.push(op::BR);
        let relative = self.relative(label);
        unsigned(&mut self.bytes, relative);
    }

    pub fn br_if(&mut self, label: Label, hint: Option<Hint>) {
        self.hint(hint);
        self.bytes.push(op::BR_IF);
        let relative = self.relative(label);
        unsigned(&mut self.bytes, relative);
    }

    /// The last label is the one for all larger numbers.
    pub fn br_table(&mut self, labels: &[Label]) {
        self.bytes.push(op::BR_TABLE);
        unsigned(&mut self.bytes, labels.len() as u32 - 1);
        for &label in labels {
            let relative = self.relative(label);
            unsigned(&mut self.bytes, relative);
        }
    }

    fn relative(&self, label: Label) -> u32 {
        self.depth - label.0
    }

    fn hint(&mut self, hint: Option<Hint>) {
        if let Some(hint) = hint {
            self.hints.push((self.bytes.len() as u32, hint));
        }
    }
}

pub fn unsigned(bytes: &mut Vec<u8>, mut value: u32) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

pub fn signed(bytes: &mut Vec<u8>, mut value: i64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0) {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

pub fn name(bytes: &mut Vec<u8>, name: &str) {
    unsigned(bytes, name.len() as u32);
    bytes.extend_from_slice(name.as_bytes());
}

pub fn section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    unsigned(bytes, content.len() as u32);
    bytes.extend_from_slice(content);
}
