//! Address spaces and what the TLB knows of them (SDM volume 3, section 4.10).

use cpu::control::{CR4_PCIDE, CR4_PGE};

use crate::native::DATA;
use crate::ours::{Ours, TABLES};

const NO_FLUSH: u64 = 1 << 63;
const USER: u64 = 7;
const GLOBAL: u64 = 1 << 8;
/// Physical addresses: of the spaces' tables, and of the pages that are there.
const SPACES: [u64; 2] = [TABLES + 0x2_0000, TABLES + 0x3_0000];
const PAGES: [u64; 3] = [0x30_0000, 0x30_1000, 0x30_2000];

struct Spaces {
    ours: Ours,
}

impl Spaces {
    /// Each space has another page at DATA; all of PAGES say in their first byte which one they are.
    fn new() -> Spaces {
        let mut spaces = Spaces { ours: Ours::new() };
        let cpu = &mut spaces.ours.cpu;
        for (at, number) in PAGES.into_iter().zip(0..) {
            cpu.ram.bytes_mut(at, 1).unwrap()[0] = number;
        }
        for tables in SPACES {
            for (level, shift) in [39, 30, 21].into_iter().enumerate() {
                let table = tables + 0x1000 * level as u64;
                cpu.ram.set_entry(table + (DATA >> shift & 0x1ff) * 8, table + 0x1000 | USER);
            }
        }
        cpu.write_control(3, SPACES[0]).unwrap();
        cpu.write_control(4, cpu.control.cr4 | CR4_PCIDE | CR4_PGE).unwrap();
        for number in 0..2 {
            spaces.map(number, 0, number, 0);
        }
        spaces
    }

    /// Has one of PAGES at DATA and so many pages, without telling the processor.
    fn map(&mut self, space: usize, distance: u64, page: usize, flags: u64) {
        let entry = SPACES[space] + 0x3000 + ((DATA >> 12 & 0x1ff) + distance) * 8;
        self.ours.cpu.ram.set_entry(entry, PAGES[page] | USER | flags);
    }

    fn enter(&mut self, space: usize, flags: u64) {
        self.ours.cpu.write_control(3, SPACES[space] | space as u64 + 1 | flags).unwrap();
    }

    /// Which page is at DATA and so many pages.
    fn page(&mut self, distance: u64) -> u8 {
        self.ours.cpu.load::<u8>(DATA + distance * 0x1000).unwrap()
    }
}

#[test]
fn each_has_its_own_pages() {
    let mut spaces = Spaces::new();
    for flags in [0, NO_FLUSH] {
        for turn in 0..6 {
            spaces.enter(turn % 2, flags);
            assert_eq!(spaces.page(0), turn as u8 % 2);
        }
    }
}

#[test]
fn a_flush_forgets_a_space() {
    let mut spaces = Spaces::new();
    spaces.enter(0, 0);
    assert_eq!(spaces.page(0), 0);
    spaces.map(0, 0, 2, 0);
    spaces.enter(0, NO_FLUSH);
    // Nobody has said that it has changed.
    assert_eq!(spaces.page(0), 0);
    spaces.enter(0, 0);
    assert_eq!(spaces.page(0), 2);
    // INVPCID, for one space.
    spaces.map(0, 0, 1, 0);
    spaces.ours.cpu.invalidate_pcid(1, 2, 0).unwrap();
    assert_eq!(spaces.page(0), 2);
    spaces.ours.cpu.invalidate_pcid(1, 1, 0).unwrap();
    assert_eq!(spaces.page(0), 1);
}

#[test]
fn global_pages_stay() {
    let mut spaces = Spaces::new();
    spaces.map(0, 1, 2, GLOBAL);
    spaces.enter(0, 0);
    assert_eq!(spaces.page(1), 2);
    // They are in all spaces, which is seen here as nothing is mapped in this one.
    spaces.enter(1, 0);
    assert_eq!(spaces.page(1), 2);
    spaces.enter(0, 0);
    spaces.map(0, 1, 1, GLOBAL);
    assert_eq!(spaces.page(1), 2);
    spaces.ours.cpu.invalidate_page(DATA + 0x1000);
    assert_eq!(spaces.page(1), 1);
    // Without CR4.PGE there are none, and a change of that flushes.
    spaces.map(0, 1, 0, GLOBAL);
    let cr4 = spaces.ours.cpu.control.cr4;
    spaces.ours.cpu.write_control(4, cr4 & !CR4_PGE).unwrap();
    assert_eq!(spaces.page(1), 0);
    spaces.map(1, 1, 1, GLOBAL);
    spaces.enter(1, 0);
    assert_eq!(spaces.page(1), 1);
}

#[test]
fn however_many_pages_there_were() {
    let mut spaces = Spaces::new();
    let count = 0x200 - (DATA >> 12 & 0x1ff);
    for distance in 0..count {
        for space in 0..2 {
            spaces.map(space, distance, space, 0);
        }
    }
    // In each stay the TLB notes more of them than in the one before.
    for stay in 0..12 {
        let space = stay % 2;
        spaces.enter(space, NO_FLUSH);
        for _ in 0..stay {
            for distance in 0..count {
                assert_eq!(spaces.page(distance), space as u8);
                spaces.ours.cpu.invalidate_page(DATA + distance * 0x1000);
            }
        }
        assert_eq!(spaces.page(0), space as u8);
    }
}
