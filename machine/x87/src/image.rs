//! The state in memory: FNSTENV and FNSAVE (protected-mode layouts, Intel SDM vol. 1, 8.1.10), the x87
//! part of FXSAVE (10.5.1), and snapshots.

use crate::control::status;
use crate::f80::F80;
use crate::fpu::Fpu;

/// Bytes of the environment with 16-bit operand size.
pub const ENVIRONMENT_16: usize = 14;
/// Bytes of the environment with 32-bit operand size, also in 64-bit mode.
pub const ENVIRONMENT_32: usize = 28;
/// Bytes that the registers take after the environment in FNSAVE's area.
const REGISTERS: usize = 80;
/// Bytes of FNSAVE's area with 16-bit operand size.
pub const SAVE_16: usize = ENVIRONMENT_16 + REGISTERS;
/// Bytes of FNSAVE's area with 32-bit operand size.
pub const SAVE_32: usize = ENVIRONMENT_32 + REGISTERS;
/// Bytes of FXSAVE's area.
pub const FXSAVE: usize = 512;

fn put<const N: usize>(area: &mut [u8], offset: usize, bytes: [u8; N]) {
    area[offset..offset + N].copy_from_slice(&bytes);
}

fn get<const N: usize>(area: &[u8], offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&area[offset..offset + N]);
    bytes
}

fn get16(area: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(get(area, offset))
}

fn get32(area: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(get(area, offset))
}

fn get64(area: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(get(area, offset))
}

/// Environment and state.
impl Fpu {
    /// FNSTENV with 16-bit operand size. Masks all exceptions afterwards.
    pub fn fnstenv_16(&mut self) -> [u8; ENVIRONMENT_16] {
        let environment = self.environment_16();
        self.control |= status::EXCEPTIONS;
        environment
    }

    /// FNSTENV with 32-bit operand size. Masks all exceptions afterwards.
    pub fn fnstenv_32(&mut self) -> [u8; ENVIRONMENT_32] {
        let environment = self.environment_32();
        self.control |= status::EXCEPTIONS;
        environment
    }

    fn environment_16(&self) -> [u8; ENVIRONMENT_16] {
        let mut area = [0; ENVIRONMENT_16];
        let words = [
            self.control,
            self.status_word(),
            self.tag_word(),
            self.instruction_offset as u16,
            self.instruction_selector,
            self.data_offset as u16,
            self.data_selector,
        ];
        for (index, word) in words.into_iter().enumerate() {
            put(&mut area, 2 * index, word.to_le_bytes());
        }
        area
    }

    fn environment_32(&self) -> [u8; ENVIRONMENT_32] {
        const RESERVED: u32 = 0xffff_0000;
        let mut area = [0; ENVIRONMENT_32];
        let words = [
            RESERVED | self.control as u32,
            RESERVED | self.status_word() as u32,
            RESERVED | self.tag_word() as u32,
            self.instruction_offset as u32,
            self.instruction_selector as u32 | ((self.opcode as u32) << 16),
            self.data_offset as u32,
            RESERVED | self.data_selector as u32,
        ];
        for (index, word) in words.into_iter().enumerate() {
            put(&mut area, 4 * index, word.to_le_bytes());
        }
        area
    }

    /// FLDENV with 16-bit operand size. The opcode, which this layout lacks, becomes 0.
    pub fn fldenv_16(&mut self, area: &[u8; ENVIRONMENT_16]) {
        self.fldcw(get16(area, 0));
        self.set_status_word(get16(area, 2));
        self.set_tag_word(get16(area, 4));
        self.instruction_offset = get16(area, 6) as u64;
        self.instruction_selector = get16(area, 8);
        self.data_offset = get16(area, 10) as u64;
        self.data_selector = get16(area, 12);
        self.opcode = 0;
    }

    /// FLDENV with 32-bit operand size.
    pub fn fldenv_32(&mut self, area: &[u8; ENVIRONMENT_32]) {
        self.fldcw(get16(area, 0));
        self.set_status_word(get16(area, 4));
        self.set_tag_word(get16(area, 8));
        self.instruction_offset = get32(area, 12) as u64;
        self.instruction_selector = get16(area, 16);
        self.opcode = get16(area, 18) & 0x07ff;
        self.data_offset = get32(area, 20) as u64;
        self.data_selector = get16(area, 24);
    }

    /// FNSAVE with 16-bit operand size. Initializes the unit afterwards.
    pub fn fnsave_16(&mut self) -> [u8; SAVE_16] {
        let mut area = [0; SAVE_16];
        put(&mut area, 0, self.environment_16());
        self.save_registers(&mut area[ENVIRONMENT_16..]);
        self.fninit();
        area
    }

    /// FNSAVE with 32-bit operand size. Initializes the unit afterwards.
    pub fn fnsave_32(&mut self) -> [u8; SAVE_32] {
        let mut area = [0; SAVE_32];
        put(&mut area, 0, self.environment_32());
        self.save_registers(&mut area[ENVIRONMENT_32..]);
        self.fninit();
        area
    }

    /// FRSTOR with 16-bit operand size.
    pub fn frstor_16(&mut self, area: &[u8; SAVE_16]) {
        self.fldenv_16(&get(area, 0));
        self.restore_registers(&area[ENVIRONMENT_16..]);
    }

    /// FRSTOR with 32-bit operand size.
    pub fn frstor_32(&mut self, area: &[u8; SAVE_32]) {
        self.fldenv_32(&get(area, 0));
        self.restore_registers(&area[ENVIRONMENT_32..]);
    }

    /// ST(0) to ST(7), ten bytes each.
    fn save_registers(&self, area: &mut [u8]) {
        for i in 0..8 {
            put(area, 10 * i, self.st(i).to_bytes());
        }
    }

    fn restore_registers(&mut self, area: &[u8]) {
        for i in 0..8 {
            self.set_physical(
                self.top().wrapping_add(i),
                F80::from_bytes(get(area, 10 * i)),
            );
        }
    }

    /// The x87 part of FXSAVE, FXSAVE64 with `wide` (REX.W): bytes 0 to 23 and 32 to 159. The rest of the
    /// area (MXCSR, XMM registers) stays.
    pub fn fxsave(&self, area: &mut [u8; FXSAVE], wide: bool) {
        put(area, 0, self.control.to_le_bytes());
        put(area, 2, self.status_word().to_le_bytes());
        put(area, 4, [self.full, 0]);
        put(area, 6, self.opcode.to_le_bytes());
        put(area, 8, self.instruction_offset.to_le_bytes());
        put(area, 16, self.data_offset.to_le_bytes());
        if !wide {
            put(area, 12, (self.instruction_selector as u32).to_le_bytes());
            put(area, 20, (self.data_selector as u32).to_le_bytes());
        }
        for i in 0..8 {
            put(area, 32 + 16 * i, [0; 16]);
            put(area, 32 + 16 * i, self.st(i).to_bytes());
        }
    }

    /// The x87 part of FXRSTOR, FXRSTOR64 with `wide`.
    pub fn fxrstor(&mut self, area: &[u8; FXSAVE], wide: bool) {
        self.fldcw(get16(area, 0));
        self.set_status_word(get16(area, 2));
        self.full = area[4];
        self.opcode = get16(area, 6) & 0x07ff;
        if wide {
            self.instruction_offset = get64(area, 8);
            self.data_offset = get64(area, 16);
            self.instruction_selector = 0;
            self.data_selector = 0;
        } else {
            self.instruction_offset = get32(area, 8) as u64;
            self.instruction_selector = get16(area, 12);
            self.data_offset = get32(area, 16) as u64;
            self.data_selector = get16(area, 20);
        }
        for i in 0..8 {
            self.set_physical(
                self.top().wrapping_add(i),
                F80::from_bytes(get(area, 32 + 16 * i)),
            );
        }
    }
}

/// Snapshots.
impl Fpu {
    /// Bytes of a snapshot.
    pub const SNAPSHOT: usize = core::mem::size_of::<Fpu>();

    /// The whole state as bytes: the structure's own layout, little endian.
    pub fn to_bytes(&self) -> [u8; Fpu::SNAPSHOT] {
        let mut area = [0; Fpu::SNAPSHOT];
        for index in 0..8 {
            put(&mut area, 8 * index, self.significands[index].to_le_bytes());
            put(
                &mut area,
                64 + 2 * index,
                self.sign_exponents[index].to_le_bytes(),
            );
        }
        put(&mut area, 80, self.instruction_offset.to_le_bytes());
        put(&mut area, 88, self.data_offset.to_le_bytes());
        put(&mut area, 96, self.instruction_selector.to_le_bytes());
        put(&mut area, 98, self.data_selector.to_le_bytes());
        put(&mut area, 100, self.opcode.to_le_bytes());
        put(&mut area, 102, self.control.to_le_bytes());
        put(&mut area, 104, self.status.to_le_bytes());
        put(&mut area, 106, [self.full, self.top]);
        put(&mut area, 108, self.reserved);
        area
    }

    /// The state that `to_bytes` gave. Any bytes make a valid state.
    pub fn from_bytes(area: &[u8; Fpu::SNAPSHOT]) -> Fpu {
        let mut fpu = Fpu::new();
        for index in 0..8 {
            let value = F80::new(get16(area, 64 + 2 * index), get64(area, 8 * index));
            fpu.set_physical(index, value);
        }
        fpu.instruction_offset = get64(area, 80);
        fpu.data_offset = get64(area, 88);
        fpu.instruction_selector = get16(area, 96);
        fpu.data_selector = get16(area, 98);
        fpu.opcode = get16(area, 100);
        fpu.fldcw(get16(area, 102));
        fpu.status = get16(area, 104) & crate::fpu::STORED_STATUS;
        fpu.full = area[106];
        fpu.top = area[107] & 7;
        fpu
    }
}
