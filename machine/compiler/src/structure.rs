//! From a graph of blocks to WebAssembly's nested blocks and loops.
//!
//! Strongly connected components become loops, in topological order, and their insides are treated in
//! the same way once the ways back to the loop's header are taken away. Ways forward are branches to
//! the end of a block that ends where their target begins. Ways that enter a loop elsewhere than at its
//! header say so, and lead to its beginning, which branches to where they go.

use alloc::vec;
use alloc::vec::Vec;

use crate::ways;

pub enum Item {
    Node(usize),
    Loop(Loop),
}

pub struct Loop {
    pub header: usize,
    /// Other nodes that are reached from outside.
    pub entries: Vec<usize>,
    pub body: Vec<Item>,
    /// All nodes in it.
    nodes: Vec<usize>,
}

impl Item {
    pub fn contains(&self, node: usize) -> bool {
        match self {
            Item::Node(own) => *own == node,
            Item::Loop(inner) => inner.nodes.contains(&node),
        }
    }

    /// Whether it is a loop that who comes to a node of it enters elsewhere than at its header.
    pub fn is_entered_within(&self, node: usize) -> bool {
        matches!(self, Item::Loop(inner) if inner.header != node)
    }
}

pub struct Structure {
    pub items: Vec<Item>,
    /// All loops' `entries`.
    pub entries: Vec<usize>,
}

struct Builder<'a> {
    successors: &'a [Vec<usize>],
    predecessors: Vec<Vec<usize>>,
    entries: Vec<usize>,
}

/// Arranges the nodes that are reachable from `entries`.
pub fn build(successors: &[Vec<usize>], entries: &[usize]) -> Structure {
    let mut builder = Builder { successors, predecessors: ways::predecessors(successors), entries: Vec::new() };
    let mut reachable = vec![false; successors.len()];
    for &entry in entries {
        ways::reach(entry, successors, &mut reachable);
    }
    let nodes: Vec<usize> = (0..successors.len()).filter(|&node| reachable[node]).collect();
    let items = builder.arrange(&nodes, usize::MAX, entries);
    builder.entries.sort_unstable();
    builder.entries.dedup();
    Structure { items, entries: builder.entries }
}

impl Builder<'_> {
    /// `header` is the node whose incoming ways do not count.
    fn arrange(&mut self, nodes: &[usize], header: usize, entries: &[usize]) -> Vec<Item> {
        let mut items = Vec::new();
        for component in self.components(nodes, header) {
            let single = component[0];
            let in_loop = component.len() > 1 || (single != header && self.successors[single].contains(&single));
            if !in_loop {
                items.push(Item::Node(single));
                continue;
            }
            items.push(Item::Loop(self.loop_of(component, entries)));
        }
        items
    }

    fn loop_of(&mut self, nodes: Vec<usize>, entries: &[usize]) -> Loop {
        let from_outside =
            |node: usize| self.predecessors[node].iter().filter(|source| !nodes.contains(source)).count();
        let inside = |node: usize| self.predecessors[node].iter().filter(|source| nodes.contains(source)).count();
        // The header is where the loop is entered in the region itself, then where most ways back lead.
        let header = *nodes
            .iter()
            .max_by_key(|&&node| (from_outside(node) != 0, entries.contains(&node), inside(node), usize::MAX - node))
            .expect("a component has nodes");
        let others: Vec<usize> = nodes
            .iter()
            .copied()
            .filter(|&node| node != header && (from_outside(node) != 0 || entries.contains(&node)))
            .collect();
        self.entries.extend_from_slice(&others);
        let body = self.arrange(&nodes, header, entries);
        Loop { header, entries: others, body, nodes }
    }

    /// Strongly connected components in topological order (Tarjan's algorithm without recursion).
    fn components(&self, nodes: &[usize], header: usize) -> Vec<Vec<usize>> {
        const UNSEEN: usize = usize::MAX;
        let count = self.successors.len();
        let mut inside = vec![false; count];
        for &node in nodes {
            inside[node] = true;
        }
        let mut index = vec![UNSEEN; count];
        let mut low = vec![0; count];
        let mut on_stack = vec![false; count];
        let mut stack = Vec::new();
        let mut next = 0;
        let mut found: Vec<Vec<usize>> = Vec::new();
        // Backwards, so that what is first in memory comes first where the order is free. The header,
        // which has to be the first of all, comes last.
        let roots = nodes.iter().rev().copied().filter(|&node| node != header);
        for root in roots.chain((header != usize::MAX).then_some(header)) {
            if index[root] != UNSEEN {
                continue;
            }
            let mut calls = vec![(root, 0)];
            while let Some((node, child)) = calls.pop() {
                if child == 0 {
                    index[node] = next;
                    low[node] = next;
                    next += 1;
                    stack.push(node);
                    on_stack[node] = true;
                }
                let mut child = child;
                let mut descends = false;
                while child < self.successors[node].len() {
                    let target = self.successors[node][child];
                    child += 1;
                    if !inside[target] || target == header {
                        continue;
                    }
                    if index[target] == UNSEEN {
                        calls.push((node, child));
                        calls.push((target, 0));
                        descends = true;
                        break;
                    } else if on_stack[target] {
                        low[node] = low[node].min(index[target]);
                    }
                }
                if descends {
                    continue;
                }
                if low[node] == index[node] {
                    let mut component = Vec::new();
                    loop {
                        let member = stack.pop().expect("the node itself is on it");
                        on_stack[member] = false;
                        component.push(member);
                        if member == node {
                            break;
                        }
                    }
                    component.sort_unstable();
                    found.push(component);
                }
                if let Some(&(parent, _)) = calls.last() {
                    low[parent] = low[parent].min(low[node]);
                }
            }
        }
        found.reverse();
        found
    }
}
