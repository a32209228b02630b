//! The sum of all values in a binary tree, with a fork at every inner node: little work for a fork, and memory that
//! has to be fetched.
//!
//! usage: `cargo run --release --example tree_sum -- [DEPTH]`: 2^DEPTH - 1 nodes, 16 if left out. `GOMAXPROCS`
//! says on how many processors.

#[path = "common/arguments.rs"]
mod arguments;
#[path = "common/contest.rs"]
mod contest;

struct Node {
    value: u64,
    children: Option<(Box<Node>, Box<Node>)>,
}

/// A tree in which the children of `value` are twice that, and one more: so all values are different.
fn grow(depth: u64, value: u64) -> Box<Node> {
    let children =
        (depth > 1).then(|| gort::join(|| grow(depth - 1, 2 * value), || grow(depth - 1, 2 * value + 1)));
    Box::new(Node { value, children })
}

fn serial(node: &Node) -> u64 {
    let Some((left, right)) = &node.children else { return node.value };
    node.value + serial(left) + serial(right)
}

fn joined(node: &Node) -> u64 {
    let Some((left, right)) = &node.children else { return node.value };
    let (left, right) = gort::join(move || joined(left), move || joined(right));
    node.value + left + right
}

fn joined_then(node: &Node) -> u64 {
    let Some((left, right)) = &node.children else { return node.value };
    let value = node.value;
    gort::join_then(move || joined_then(left), move || joined_then(right), move |a, b| value + a + b)
}

fn main() {
    let [depth] = arguments::numbers("tree_sum [DEPTH], from 1 to 26 (16 if left out)", 1..=26);
    let depth = depth.unwrap_or(16);
    gort::run(|| {
        let tree = grow(depth, 1);
        let tree = &*tree;
        contest::compare(
            &format!("{} nodes on {} processors: sum", (1_u64 << depth) - 1, gort::max_procs()),
            &[("serial", &|| serial(tree)), ("join", &|| joined(tree)), ("join_then", &|| joined_then(tree))],
        );
        let count = 1_u64 << depth;
        assert_eq!(serial(tree), count * (count - 1) / 2);
    });
}
