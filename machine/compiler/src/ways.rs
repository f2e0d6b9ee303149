//! The ways between blocks, as each one's successors.

use alloc::vec;
use alloc::vec::Vec;

/// Of each block, from where there are ways to it.
pub fn predecessors(successors: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut predecessors = vec![Vec::new(); successors.len()];
    for (block, targets) in successors.iter().enumerate() {
        for &target in targets {
            predecessors[target].push(block);
        }
    }
    predecessors
}

/// Adds a block, and all that can be reached from it, to those that are reached.
pub fn reach(block: usize, successors: &[Vec<usize>], reached: &mut [bool]) {
    let mut work = vec![block];
    while let Some(block) = work.pop() {
        if !core::mem::replace(&mut reached[block], true) {
            work.extend_from_slice(&successors[block]);
        }
    }
}
