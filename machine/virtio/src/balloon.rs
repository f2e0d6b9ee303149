//! A memory balloon (Virtio 5.5): pages that the guest gives to the host, which need not be saved.

use alloc::vec::Vec;

use crate::mmio::{Device, Io, Mmio};
use crate::queue::Fault;
use crate::state::{save_section, Field, Reader, State, StateError};

const INFLATE: usize = 0;
const DEFLATE: usize = 1;
/// The most bytes of page numbers in one request. (Linux has 1024.)
const MAX_REQUEST: usize = 64 * 1024;

mod feature {
    /// The driver tells before it uses a page again.
    pub const MUST_TELL_HOST: u64 = 1 << 0;
    pub const DEFLATE_ON_OOM: u64 = 1 << 2;
}

pub struct Balloon {
    target: u32,
    actual: u32,
    /// A bit for each page of RAM.
    pages: Vec<u64>,
}

impl Balloon {
    /// For a guest with so many pages of 4 KiB.
    pub fn new(pages: u64) -> Balloon {
        Balloon { target: 0, actual: 0, pages: alloc::vec![0; pages.div_ceil(64) as usize] }
    }

    fn serve(&mut self, queue: usize, io: &mut Io) -> Result<(), Fault> {
        while let Some(chain) = io.pop(queue)? {
            if chain.readable.len() > MAX_REQUEST {
                return Err(Fault::Request("the number of a balloon's pages"));
            }
            let numbers = chain.readable.to_vec(io.memory, 0, MAX_REQUEST)?;
            for number in numbers.chunks_exact(4) {
                let page = u32::from_le_bytes([number[0], number[1], number[2], number[3]]);
                if let Some(word) = self.pages.get_mut(page as usize / 64) {
                    let bit = 1 << (page % 64);
                    *word = if queue == INFLATE { *word | bit } else { *word & !bit };
                }
            }
            io.push(queue, chain.head, 0)?;
        }
        Ok(())
    }
}

impl Device for Balloon {
    const ID: u32 = 5;
    const QUEUES: &'static [u16] = &[16, 16];

    fn features(&self) -> u64 {
        feature::MUST_TELL_HOST | feature::DEFLATE_ON_OOM
    }

    /// num_pages and actual
    fn config(&self) -> Vec<u8> {
        [self.target, self.actual].iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn write_config(&mut self, offset: u64, bytes: &[u8]) {
        if let (4, Ok(bytes)) = (offset, bytes.try_into()) {
            self.actual = u32::from_le_bytes(bytes);
        }
    }

    fn run(&mut self, io: &mut Io) -> Result<(), Fault> {
        self.serve(INFLATE, io)?;
        self.serve(DEFLATE, io)
    }

    /// The guest has all its pages again.
    fn reset(&mut self) {
        self.actual = 0;
        self.pages.fill(0);
    }

    fn has_output(&self) -> bool {
        false
    }
}

impl Mmio<Balloon> {
    /// Asks the guest for so many pages in all.
    pub fn set_target(&mut self, pages: u32) {
        if self.device.target != pages {
            self.device.target = pages;
            self.config_changed();
        }
    }

    /// How many pages the guest says that it has given.
    pub fn actual(&self) -> u32 {
        self.device.actual
    }

    /// Whether a page is the host's, so that nobody needs what it contains.
    pub fn holds(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|index| self.device.pages.get(index));
        word.is_some_and(|word| word >> (page % 64) & 1 != 0)
    }
}

impl State for Balloon {
    fn save(&self, out: &mut Vec<u8>) {
        save_section(out, b"VBAL", 1, |out| {
            [self.target, self.actual].save(out);
            self.pages.save(out);
        });
    }

    fn restore(&mut self, reader: &mut Reader) -> Result<(), StateError> {
        let mut section = reader.section(b"VBAL", 1)?;
        [self.target, self.actual] = Field::load(&mut section)?;
        let pages = Vec::load(&mut section)?;
        section.finish()?;
        if pages.len() != self.pages.len() {
            return Err(StateError::Value("the size of a balloon's memory"));
        }
        self.pages = pages;
        Ok(())
    }
}
