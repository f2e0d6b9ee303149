//! Linear to physical addresses: four levels of page tables (Intel SDM volume 3, chapter 4).

use crate::control::{CR0_WP, CR4_PCIDE, CR4_PGE, EFER_NXE};
use crate::exception::{GENERAL_PROTECTION, PAGE_FAULT};
use crate::memory::PAGE;
use crate::state::Mode;
use crate::tlb;
use crate::{Cpu, Step, Stop};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
/// Of a page that all address spaces have, with CR4.PGE.
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
/// Bits 12 to 51. (CPUID says how many there are; the rest reads as an address outside RAM.)
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// CR3: do not flush, with PCIDs.
pub const NO_FLUSH: u64 = 1 << 63;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Read,
    Write,
    Execute,
}

#[inline(always)]
pub fn canonical(va: u64) -> bool {
    (va as i64) << 16 >> 16 == va as i64
}

impl Cpu {
    /// The physical address, in the rights of the mode that the processor is in. Fills the TLB.
    pub fn translate(&mut self, va: u64, access: Access) -> Result<u64, Stop> {
        self.translate_as(va, access, self.state.mode & Mode::USER != 0)
    }

    /// As supervisor: descriptor tables and task state are read so.
    pub fn translate_as(&mut self, va: u64, access: Access, user: bool) -> Result<u64, Stop> {
        if !canonical(va) {
            return self.raise(GENERAL_PROTECTION, 0);
        }
        match self.walk(va, access, user) {
            Ok(pa) => Ok(pa),
            Err(present) => {
                let nx = self.control.efer & EFER_NXE != 0;
                let code = u64::from(present)
                    | u64::from(access == Access::Write) << 1
                    | u64::from(user) << 2
                    | u64::from(access == Access::Execute && nx) << 4;
                self.control.cr2 = va;
                self.raise(PAGE_FAULT, code as u32)
            }
        }
    }

    /// Makes the TLB know of an address that may be loaded from. False where there is none: that is no fault.
    pub(crate) fn look_up(&mut self, va: u64) -> bool {
        canonical(va) && self.walk(va, Access::Read, self.state.mode & Mode::USER != 0).is_ok()
    }

    /// Err says whether the fault is one of rights (true) or a page is not there (false).
    fn walk(&mut self, va: u64, access: Access, user: bool) -> Result<u64, bool> {
        let nx = self.control.efer & EFER_NXE != 0;
        let mut table = self.control.cr3 & ADDRESS;
        let mut rights = WRITABLE | USER;
        let mut executable = true;
        let mut shift = 39;
        let (slot, entry) = loop {
            let slot = table + (va >> shift & 0x1ff) * 8;
            let entry = self.ram.entry(slot);
            if entry & PRESENT == 0 {
                return Err(false);
            }
            rights &= entry;
            if nx && entry & NO_EXECUTE != 0 {
                executable = false;
            }
            let leaf = shift == 12 || (entry & LARGE != 0 && shift <= 30);
            if leaf {
                break (slot, entry);
            }
            if entry & ACCESSED == 0 {
                self.set_entry(slot, entry | ACCESSED);
            }
            table = entry & ADDRESS;
            shift -= 9;
        };
        let writable = rights & WRITABLE != 0 || (!user && self.control.cr0 & CR0_WP == 0);
        if (user && rights & USER == 0)
            || (access == Access::Write && !writable)
            || (access == Access::Execute && !executable)
        {
            return Err(true);
        }
        let mut updated = entry | ACCESSED;
        if access == Access::Write {
            updated |= DIRTY;
        }
        if updated != entry {
            self.set_entry(slot, updated);
        }
        let offset_mask = (1u64 << shift) - 1;
        let pa = (entry & ADDRESS & !offset_mask) | (va & offset_mask);
        if shift > 12 {
            self.large_low = self.large_low.min(va & !offset_mask);
            self.large_high = self.large_high.max(va | offset_mask);
        }
        let global = entry & GLOBAL != 0 && self.control.cr4 & CR4_PGE != 0;
        self.fill(va, pa, user, global, executable, writable && updated & DIRTY != 0);
        Ok(pa)
    }

    fn set_entry(&mut self, slot: u64, entry: u64) {
        self.ram.set_entry(slot, entry);
        self.written(slot, 8);
    }

    fn fill(&mut self, va: u64, pa: u64, user: bool, global: bool, executable: bool, writable: bool) {
        let page = pa & !(PAGE - 1);
        if !self.ram.contains(page, PAGE) {
            return;
        }
        let host = self.ram.base() as u64 + page;
        let writable = writable && !self.code.holds_code(page);
        self.tlb.fill(va, user, &tlb::Page { host, global, writable, executable });
    }

    /// MOV to CR3.
    pub fn set_cr3(&mut self, value: u64) {
        self.control.cr3 = value & !NO_FLUSH;
        let flush = self.control.cr4 & CR4_PCIDE == 0 || value & NO_FLUSH == 0;
        self.enter_space(flush);
    }

    /// Has the present address space's number, of which the TLB is from now on.
    fn enter_space(&mut self, flush: bool) {
        let pcid = if self.control.cr4 & CR4_PCIDE != 0 { self.control.cr3 & 0xfff } else { 0 };
        let number = self.spaces.number(pcid as usize, flush, &mut self.tlb);
        if number != self.space {
            self.space = number;
            self.tlb.leave_space();
        }
    }

    pub fn flush_tlb(&mut self) {
        self.spaces.forget_all(&mut self.tlb);
        self.enter_space(true);
        self.large_low = u64::MAX;
        self.large_high = 0;
    }

    /// INVLPG. A page that is part of a large one goes with all others of that.
    pub fn invalidate_page(&mut self, va: u64) {
        if (self.large_low..=self.large_high).contains(&va) {
            self.flush_tlb();
        } else {
            self.tlb.forget(va);
        }
    }

    /// Whether a change of CR4 or CR0 flushes the TLB.
    pub fn flushing_bits() -> u64 {
        CR4_PGE | CR4_PCIDE
    }

    /// INVPCID, Intel SDM volume 2.
    pub fn invalidate_pcid(&mut self, kind: u64, pcid: u64, va: u64) -> Step {
        match kind {
            0 if pcid < 4096 => self.invalidate_page(va),
            1 if pcid < 4096 => {
                self.spaces.number(pcid as usize, true, &mut self.tlb);
                // It may be the present one, or all numbers may have been forgotten.
                self.enter_space(false);
            }
            2 | 3 => self.flush_tlb(),
            _ => return self.raise(GENERAL_PROTECTION, 0),
        }
        Ok(())
    }
}
