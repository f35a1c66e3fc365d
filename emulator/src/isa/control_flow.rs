//! Where diverged lanes meet again.
//!
//! The lanes of a warp that part at a branch meet at its immediate post-dominator. Lanes that exit
//! or trap on the way are not waited for, so a path to an early exit must not hide the meeting
//! point of the others: post-dominance is taken over the paths to the last exit of the code alone.
//! Code that cannot reach it (a role of a warp-specialised kernel that returns on its own, say) is
//! treated the same way with the exits that it can reach.
//!
//! Dominators: Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm", 2001, on the
//! reversed graph.

use super::ir::{Inst, Op};

/// For each branch of `code`, the first instruction of its immediate post-dominator; see
/// [`Kernel::reconvergence`](super::ir::Kernel::reconvergence).
pub fn reconvergence(code: &[Inst]) -> Vec<Option<u32>> {
    let graph = Graph::new(code);
    let post_dominators = graph.post_dominators(code);
    (0..code.len())
        .map(|index| match &code[index].op {
            Op::Branch { .. } if code[index].guard.is_none() => None,
            Op::Branch { .. } | Op::BranchIndexed { .. } => {
                let block = post_dominators[graph.block_of[index]]?;
                Some(graph.starts[block] as u32)
            }
            _ => None,
        })
        .collect()
}

/// Basic blocks. A guarded `exit` does not end a block: the lanes that stay go on.
struct Graph {
    /// First instruction of each block.
    starts: Vec<usize>,
    block_of: Vec<usize>,
    successors: Vec<Vec<usize>>,
    predecessors: Vec<Vec<usize>>,
}

/// Instructions after `index`, and whether it ends a basic block.
fn flow(code: &[Inst], index: usize) -> (Vec<usize>, bool) {
    let guarded = code[index].guard.is_some();
    let (mut next, ends) = match &code[index].op {
        Op::Branch { target, .. } => (vec![*target as usize], true),
        Op::BranchIndexed { targets, .. } => (
            targets.iter().map(|target| *target as usize).collect(),
            true,
        ),
        Op::Exit | Op::Trap if !guarded => return (Vec::new(), true),
        _ => return (vec![index + 1], false),
    };
    if guarded {
        next.push(index + 1);
    }
    (next, ends)
}

impl Graph {
    fn new(code: &[Inst]) -> Graph {
        let mut leader = vec![false; code.len()];
        if let Some(first) = leader.first_mut() {
            *first = true;
        }
        for index in 0..code.len() {
            let (next, ends) = flow(code, index);
            if ends {
                for target in next.into_iter().chain([index + 1]) {
                    if let Some(leader) = leader.get_mut(target) {
                        *leader = true;
                    }
                }
            }
        }
        let starts: Vec<usize> = (0..code.len()).filter(|index| leader[*index]).collect();
        let mut block_of = vec![0; code.len()];
        for (block, start) in starts.iter().enumerate() {
            let end = starts.get(block + 1).copied().unwrap_or(code.len());
            block_of[*start..end].fill(block);
        }
        let mut graph = Graph {
            successors: vec![Vec::new(); starts.len()],
            predecessors: vec![Vec::new(); starts.len()],
            starts,
            block_of,
        };
        for block in 0..graph.starts.len() {
            let end = graph.starts.get(block + 1).copied().unwrap_or(code.len());
            for target in flow(code, end - 1).0 {
                if let Some(successor) = graph.block_of.get(target).copied() {
                    graph.successors[block].push(successor);
                    graph.predecessors[successor].push(block);
                }
            }
        }
        graph
    }

    fn post_dominators(&self, code: &[Inst]) -> Vec<Option<usize>> {
        let last = |block: usize| self.starts.get(block + 1).copied().unwrap_or(code.len()) - 1;
        // Exits from the last to the first, then traps.
        let mut roots: Vec<usize> = (0..self.starts.len())
            .rev()
            .filter(|block| self.successors[*block].is_empty())
            .collect();
        roots.sort_by_key(|block| matches!(code[last(*block)].op, Op::Trap));

        let mut result = vec![None; self.starts.len()];
        let mut covered = vec![false; self.starts.len()];
        // Positions in the order of one root's blocks. Shared by all roots, since there can be as many roots as blocks.
        let mut rank = vec![usize::MAX; self.starts.len()];
        for root in roots {
            let order = self.reverse_postorder(root, &mut covered);
            for (position, block) in order.iter().enumerate() {
                rank[*block] = position;
            }
            self.post_dominators_to(&order, &rank, &mut result);
            for block in order {
                rank[block] = usize::MAX;
            }
        }
        result
    }

    /// Fills `result` for the blocks of `order`, which begins with the root; the others have no rank.
    fn post_dominators_to(&self, order: &[usize], rank: &[usize], result: &mut [Option<usize>]) {
        // Indexed by rank; a block's dominator has a smaller rank than the block.
        let mut dominator = vec![usize::MAX; order.len()];
        dominator[0] = 0;
        let mut changed = true;
        while changed {
            changed = false;
            for (position, block) in order.iter().enumerate().skip(1) {
                let mut meet = usize::MAX;
                for successor in &self.successors[*block] {
                    let mut other = rank[*successor];
                    if other == usize::MAX || dominator[other] == usize::MAX {
                        continue;
                    }
                    if meet == usize::MAX {
                        meet = other;
                    }
                    while meet != other {
                        if meet > other {
                            meet = dominator[meet];
                        } else {
                            other = dominator[other];
                        }
                    }
                }
                if dominator[position] != meet {
                    dominator[position] = meet;
                    changed = true;
                }
            }
        }
        for (position, block) in order.iter().enumerate().skip(1) {
            result[*block] = order.get(dominator[position]).copied();
        }
    }

    /// Of the reversed graph, from `root`, without the `covered` blocks, which it adds to.
    fn reverse_postorder(&self, root: usize, covered: &mut [bool]) -> Vec<usize> {
        let mut order = Vec::new();
        let mut stack = vec![(root, 0)];
        covered[root] = true;
        while let Some((block, next)) = stack.pop() {
            match self.predecessors[block].get(next) {
                Some(predecessor) => {
                    stack.push((block, next + 1));
                    if !covered[*predecessor] {
                        covered[*predecessor] = true;
                        stack.push((*predecessor, 0));
                    }
                }
                None => order.push(block),
            }
        }
        order.reverse();
        order
    }
}

#[cfg(test)]
mod tests {
    use super::super::ir::Guard;
    use super::*;

    fn inst(op: Op, guarded: bool) -> Inst {
        Inst {
            guard: guarded.then_some(Guard {
                predicate: 0,
                negated: false,
            }),
            op,
            line: 1,
        }
    }

    /// `.`: something; `xN`: exit; `t`: trap; `bN`: branch to N; `?` after it: guarded; `iN,M`:
    /// indexed.
    fn code(text: &str) -> Vec<Inst> {
        text.split_whitespace()
            .map(|word| {
                let guarded = word.ends_with('?');
                let word = word.trim_end_matches('?');
                let targets = || {
                    word[1..]
                        .split(',')
                        .map(|target| target.parse().unwrap())
                        .collect::<Vec<u32>>()
                };
                let op = match &word[..1] {
                    "." => Op::Nop,
                    "x" => Op::Exit,
                    "t" => Op::Trap,
                    "b" => Op::Branch {
                        target: targets()[0],
                        uniform: false,
                    },
                    "i" => Op::BranchIndexed {
                        index: super::super::ir::Src::Imm(0),
                        targets: targets(),
                    },
                    other => panic!("{other}"),
                };
                inst(op, guarded)
            })
            .collect()
    }

    fn at(text: &str, index: usize) -> Option<u32> {
        reconvergence(&code(text))[index]
    }

    #[test]
    fn diamond() {
        //             0   1 2  3 4 5
        assert_eq!(at("b3? . b4 . . x", 0), Some(4));
        assert_eq!(at("b3? . b4 . . x", 2), None);
    }

    #[test]
    fn if_without_else() {
        assert_eq!(at("b2? . . x", 0), Some(2));
    }

    #[test]
    fn loop_with_break() {
        // 0: body, 1: break to 4, 3: back edge
        let text = ". b4? . b0? . x";
        assert_eq!(at(text, 1), Some(4));
        assert_eq!(at(text, 3), Some(4));
    }

    #[test]
    fn nested_loops() {
        let text = ". . b1? . b0? x";
        assert_eq!(at(text, 2), Some(3));
        assert_eq!(at(text, 4), Some(5));
    }

    #[test]
    fn early_exit_does_not_hide_the_meeting_point() {
        // One arm of the outer branch holds an inner check that traps.
        //          0   1   2 3  4 5 6
        let text = "b5? b4? . b5 t . x";
        assert_eq!(at(text, 0), Some(5));
        assert_eq!(at(text, 1), Some(2));
        let text = text.replace('t', "x");
        assert_eq!(at(&text, 0), Some(5));
    }

    #[test]
    fn guarded_exit_falls_through() {
        assert_eq!(at("b3? x? . . x", 0), Some(3));
    }

    #[test]
    fn roles_that_return_on_their_own() {
        //          0   1   2 3 4  5 6
        let text = "b4? b3? . x b6? . x";
        assert_eq!(at(text, 1), Some(3));
        assert_eq!(at(text, 4), Some(6));
    }

    #[test]
    fn indexed_branch() {
        //          0      1 2  3 4  5 6
        let text = "i1,3,5 . b6 . b6 . x";
        assert_eq!(at(text, 0), Some(6));
    }

    #[test]
    fn many_exits_take_no_more_than_many_blocks() {
        // Quadratic time would be minutes.
        let exits = 200_000;
        let text: String = (0..exits)
            .map(|at| format!("b{}? x ", 2 * at + 2))
            .collect();
        assert_eq!(at(&(text + "x"), 0), Some(2));
    }

    #[test]
    fn endless_loops_and_empty_code_are_no_problem() {
        assert_eq!(at("b0? b0", 0), None);
        assert!(reconvergence(&[]).is_empty());
    }
}
