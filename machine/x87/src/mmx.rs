//! The MMX registers, which are the significands of the physical registers (Intel SDM vol. 1, 9.2).

use crate::fpu::Fpu;

impl Fpu {
    /// What every MMX instruction but EMMS does to the x87 state: TOP becomes 0, all tags valid. Ask
    /// `Fpu::pending_exception` before.
    #[inline]
    pub fn enter_mmx(&mut self) {
        self.top = 0;
        self.full = 0xff;
    }

    /// MMi, without effect on the state.
    #[inline]
    pub fn mm(&self, i: usize) -> u64 {
        self.significands[i & 7]
    }

    /// Writes MMi; the exponent and sign bits become ones. `Fpu::enter_mmx` is not included.
    #[inline]
    pub fn set_mm(&mut self, i: usize, value: u64) {
        self.significands[i & 7] = value;
        self.sign_exponents[i & 7] = 0xffff;
    }

    /// EMMS (and FEMMS): all tags empty, TOP 0.
    #[inline]
    pub fn emms(&mut self) {
        self.top = 0;
        self.full = 0;
    }
}
