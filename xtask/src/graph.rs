//! Dominators and natural loops of a control-flow graph, by Cooper, Harvey and Kennedy's iteration
//! ("A Simple, Fast Dominance Algorithm", 2001).

use std::collections::BTreeSet;

/// A control-flow graph whose node 0 is the entry.
pub struct Graph {
    successors: Vec<Vec<usize>>,
}

impl Graph {
    pub fn new(successors: Vec<Vec<usize>>) -> Self {
        Self { successors }
    }

    pub fn dominators(&self) -> Dominators {
        let postorder = self.postorder();
        let mut rank = vec![None; self.successors.len()];
        for (position, &node) in postorder.iter().enumerate() {
            rank[node] = Some(position);
        }
        let predecessors = self.predecessors();
        let mut immediate = vec![None; self.successors.len()];
        if let Some(entry) = immediate.first_mut() {
            *entry = Some(0);
        }
        let mut changed = true;
        while changed {
            changed = false;
            for &node in postorder.iter().rev().filter(|&&node| node != 0) {
                let known = predecessors[node]
                    .iter()
                    .copied()
                    .filter(|&predecessor| immediate[predecessor].is_some());
                let dominator = known.reduce(|a, b| nearest_common(a, b, &immediate, &rank));
                if immediate[node] != dominator {
                    immediate[node] = dominator;
                    changed = true;
                }
            }
        }
        Dominators { immediate }
    }

    /// One loop per header: the header of at least one back edge, with every node that reaches the
    /// edge without passing the header.
    pub fn natural_loops(&self) -> Vec<NaturalLoop> {
        let dominators = self.dominators();
        let predecessors = self.predecessors();
        let mut loops: Vec<NaturalLoop> = Vec::new();
        for (node, successors) in self.successors.iter().enumerate() {
            for &header in successors {
                if !dominators.dominates(header, node) {
                    continue;
                }
                let body = body_of_back_edge(node, header, &predecessors);
                match loops.iter_mut().find(|known| known.header == header) {
                    Some(known) => known.body.extend(body),
                    None => loops.push(NaturalLoop { header, body }),
                }
            }
        }
        loops
    }

    fn predecessors(&self) -> Vec<Vec<usize>> {
        let mut predecessors = vec![Vec::new(); self.successors.len()];
        for (node, successors) in self.successors.iter().enumerate() {
            for &successor in successors {
                predecessors[successor].push(node);
            }
        }
        predecessors
    }

    fn postorder(&self) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen = vec![false; self.successors.len()];
        let mut stack = Vec::new();
        if let Some(entry) = seen.first_mut() {
            *entry = true;
            stack.push((0, 0));
        }
        while let Some((node, next)) = stack.pop() {
            match self.successors[node].get(next) {
                Some(&successor) => {
                    stack.push((node, next + 1));
                    if !std::mem::replace(&mut seen[successor], true) {
                        stack.push((successor, 0));
                    }
                }
                None => order.push(node),
            }
        }
        order
    }
}

fn nearest_common(
    mut a: usize,
    mut b: usize,
    immediate: &[Option<usize>],
    rank: &[Option<usize>],
) -> usize {
    while a != b {
        let lower = if rank[a] < rank[b] { &mut a } else { &mut b };
        match immediate[*lower] {
            Some(dominator) => *lower = dominator,
            None => return 0,
        }
    }
    a
}

fn body_of_back_edge(from: usize, header: usize, predecessors: &[Vec<usize>]) -> BTreeSet<usize> {
    let mut body = BTreeSet::from([header]);
    let mut stack = vec![from];
    while let Some(node) = stack.pop() {
        if body.insert(node) {
            stack.extend(&predecessors[node]);
        }
    }
    body
}

pub struct Dominators {
    /// `None`: not reachable from the entry.
    immediate: Vec<Option<usize>>,
}

impl Dominators {
    /// Whether every path from the entry to `node` passes `dominator`. False for unreachable nodes.
    pub fn dominates(&self, dominator: usize, node: usize) -> bool {
        let mut current = node;
        loop {
            let Some(next) = self.immediate[current] else {
                return false;
            };
            if current == dominator {
                return true;
            }
            if next == current {
                return false;
            }
            current = next;
        }
    }

    pub fn reachable(&self, node: usize) -> bool {
        self.immediate[node].is_some()
    }
}

pub struct NaturalLoop {
    pub header: usize,
    pub body: BTreeSet<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 → 1 ⇄ 2, 1 → 3; 3 → 4, 3 → 5 → 6, 4 → 6; 7 is unreachable.
    fn graph() -> Graph {
        Graph::new(vec![
            vec![1],
            vec![2, 3],
            vec![1],
            vec![4, 5],
            vec![6],
            vec![6],
            vec![],
            vec![6],
        ])
    }

    #[test]
    fn dominators_of_a_loop_and_a_diamond() {
        let dominators = graph().dominators();
        assert!(dominators.dominates(1, 2));
        assert!(dominators.dominates(3, 6));
        assert!(dominators.dominates(6, 6));
        assert!(!dominators.dominates(4, 6));
        assert!(!dominators.dominates(5, 4));
        assert!(!dominators.reachable(7));
        assert!(!dominators.dominates(0, 7));
    }

    #[test]
    fn the_loop_is_its_header_and_latch() {
        let loops = graph().natural_loops();
        assert_eq!(loops.len(), 1);
        assert_eq!(loops[0].header, 1);
        assert_eq!(loops[0].body, BTreeSet::from([1, 2]));
    }
}
