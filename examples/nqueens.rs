//! In how many ways can N queens stand on a board of N by N, so that none attacks another? A fork for every
//! choice, down to the last row.
//!
//! usage: `cargo run --release --example nqueens -- [N]`, 9 if left out. `GOMAXPROCS` says on how many
//! processors.

#[path = "common/arguments.rs"]
mod arguments;
#[path = "common/contest.rs"]
mod contest;

/// What is taken in the next row: columns and diagonals, a bit for each place.
#[derive(Clone, Copy)]
struct Row {
    board: u32,
    columns: u32,
    left: u32,
    right: u32,
}

impl Row {
    fn first(size: u64) -> Row {
        Row { board: (1 << size) - 1, columns: 0, left: 0, right: 0 }
    }

    fn free(self) -> u32 {
        self.board & !(self.columns | self.left | self.right)
    }

    fn place(self, queen: u32) -> Row {
        Row {
            columns: self.columns | queen,
            left: (self.left | queen) << 1,
            right: (self.right | queen) >> 1,
            ..self
        }
    }
}

/// The ways to go on with a queen on one of the places `free`.
fn serial(row: Row, free: u32) -> u64 {
    if free == 0 {
        return u64::from(row.columns == row.board);
    }
    let (queen, rest) = (free & free.wrapping_neg(), free & (free - 1));
    let next = row.place(queen);
    let ways = serial(next, next.free());
    if rest == 0 { ways } else { ways + serial(row, rest) }
}

fn forked(row: Row, free: u32) -> u64 {
    if free == 0 {
        return u64::from(row.columns == row.board);
    }
    let (queen, rest) = (free & free.wrapping_neg(), free & (free - 1));
    let next = row.place(queen);
    if rest == 0 {
        return forked(next, next.free());
    }
    let (here, elsewhere) = gort::join(move || forked(next, next.free()), move || forked(row, rest));
    here + elsewhere
}

fn main() {
    let [size] = arguments::numbers("nqueens [N], for N from 1 to 16 (9 if left out)", 1..=16);
    let size = size.unwrap_or(9);
    let row = Row::first(size);
    gort::run(|| {
        contest::compare(
            &format!("{size} queens on {} processors: ways", gort::max_procs()),
            &[("serial", &|| serial(row, row.free())), ("join", &|| forked(row, row.free()))],
        );
    });
}
