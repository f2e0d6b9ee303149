//! The image of the x87 and SSE registers that FXSAVE and FXRSTOR have (SDM volume 1, section 10.5).

use crate::Cpu;

/// MXCSR's bits that can be set.
pub const MXCSR_MASK: u32 = 0xffff;

impl Cpu {
    /// `wide`: pointers of 64 bits (REX.W).
    pub fn save_fx(&self, wide: bool) -> [u8; 512] {
        let mut image = [0; 512];
        self.fpu.fxsave(&mut image, wide);
        image[24..28].copy_from_slice(&self.state.mxcsr.to_le_bytes());
        image[28..32].copy_from_slice(&MXCSR_MASK.to_le_bytes());
        for (i, xmm) in self.state.xmm.iter().enumerate() {
            let at = 160 + i * 16;
            image[at..at + 8].copy_from_slice(&xmm.0[0].to_le_bytes());
            image[at + 8..at + 16].copy_from_slice(&xmm.0[1].to_le_bytes());
        }
        image
    }

    /// MXCSR has to be checked before.
    pub fn load_fx(&mut self, image: &[u8; 512], wide: bool) {
        self.fpu.fxrstor(image, wide);
        let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("eight bytes"));
        self.state.mxcsr = word(24) as u32 & MXCSR_MASK;
        for (i, xmm) in self.state.xmm.iter_mut().enumerate() {
            xmm.0 = [word(160 + i * 16), word(168 + i * 16)];
        }
    }
}
