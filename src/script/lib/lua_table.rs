//! `table.insert`, `remove` and `sort`: the functions of `table` whose work grows with the table.
//!
//! Invariant: results, errors and the order of equal elements are those of Lua 5.1, whose quicksort
//! this is, so that an order function sees the same questions; each move and comparison is charged.
//! Source: Lua 5.1 reference manual, section 5.5; Sedgewick, "Algorithms", quicksort with the median
//! of three.

use std::ffi::c_int;

use super::stack::{self, Kind, Stack, functions};

/// Replaces functions of the global table `table`.
pub fn install(lua: &mlua::Lua) -> mlua::Result<()> {
    stack::install(
        lua,
        c"table",
        functions![c"insert" => insert, c"remove" => remove, c"sort" => sort],
        |_| {},
    )
}

/// The length of the table that the first argument has to be.
fn length(stack: Stack<'_>) -> i32 {
    stack.check_table(1);
    stack.raw_length(1) as i32
}

fn insert(stack: Stack<'_>) -> c_int {
    let mut end = length(stack).wrapping_add(1);
    let mut at = end;
    match stack.top() {
        2 => {}
        3 => {
            at = stack.check_integer(2) as i32;
            end = end.max(at);
            for place in (i64::from(at) + 1..=i64::from(end)).rev() {
                stack.charge(STEPS_PER_MOVE);
                stack.raw_get_at(1, place as i32 - 1);
                stack.raw_set_at(1, place as i32);
            }
        }
        _ => stack.raise(format_args!("wrong number of arguments to 'insert'")),
    }
    stack.raw_set_at(1, at);
    0
}

fn remove(stack: Stack<'_>) -> c_int {
    let end = length(stack);
    let at = stack.integer_or(2, i64::from(end)) as i32;
    if at < 1 || at > end {
        return 0;
    }
    stack.raw_get_at(1, at);
    for place in at..end {
        stack.charge(STEPS_PER_MOVE);
        stack.raw_get_at(1, place + 1);
        stack.raw_set_at(1, place);
    }
    stack.push_nil();
    stack.raw_set_at(1, end);
    1
}

fn sort(stack: Stack<'_>) -> c_int {
    let length = length(stack);
    stack.need_stack(40, c"");
    if !matches!(stack.kind(2), Kind::None | Kind::Nil) {
        stack.check_function(2);
    }
    stack.set_top(2);
    let mut ranges = Ranges { waiting: [(0, 0); DEPTH_MAX], count: 0 };
    ranges.push(1, length);
    while let Some((low, high)) = ranges.pop() {
        sort_range(stack, &mut ranges, low, high);
    }
    0
}

/// Ranges that wait for their turn. The smaller half goes first, so they are at most as many as a
/// length has bits.
struct Ranges {
    waiting: [(i32, i32); DEPTH_MAX],
    count: usize,
}

impl Ranges {
    fn push(&mut self, low: i32, high: i32) {
        self.waiting[self.count] = (low, high);
        self.count += 1;
    }

    fn pop(&mut self) -> Option<(i32, i32)> {
        self.count = self.count.checked_sub(1)?;
        Some(self.waiting[self.count])
    }
}

/// Sorts up to three elements; of more, parts them around their median and leaves two ranges.
fn sort_range(stack: Stack<'_>, ranges: &mut Ranges, low: i32, high: i32) {
    if low >= high {
        return;
    }
    order(stack, low, high);
    if high - low == 1 {
        return;
    }
    let middle = i32::midpoint(low, high);
    if !order(stack, low, middle) {
        order(stack, middle, high);
    }
    if high - low == 2 {
        return;
    }
    let split = part(stack, low, high, middle);
    // The smaller part is sorted first: it is pushed last.
    if split - low < high - split {
        ranges.push(split + 1, high);
        ranges.push(low, split - 1);
    } else {
        ranges.push(low, split - 1);
        ranges.push(split + 1, high);
    }
}

/// Exchanges two elements if the later is less than the earlier; whether it did.
fn order(stack: Stack<'_>, earlier: i32, later: i32) -> bool {
    stack.raw_get_at(1, earlier);
    stack.raw_get_at(1, later);
    let exchange = less(stack, -1, -2);
    if exchange {
        // The later's value is on top.
        stack.raw_set_at(1, earlier);
        stack.raw_set_at(1, later);
    } else {
        stack.pop(2);
    }
    exchange
}

/// Moves what is less than the median to the front, and what is greater to the back: the place of the
/// median.
fn part(stack: Stack<'_>, low: i32, high: i32, middle: i32) -> i32 {
    // The median goes before the last and stays on the stack.
    stack.raw_get_at(1, middle);
    stack.push_value(-1);
    stack.raw_get_at(1, high - 1);
    stack.raw_set_at(1, middle);
    stack.raw_set_at(1, high - 1);
    let (mut up, mut down) = (low, high - 1);
    loop {
        up += 1;
        stack.raw_get_at(1, up);
        while less(stack, -1, -2) {
            if up > high {
                stack.raise(format_args!("invalid order function for sorting"));
            }
            stack.pop(1);
            up += 1;
            stack.raw_get_at(1, up);
        }
        down -= 1;
        stack.raw_get_at(1, down);
        while less(stack, -3, -1) {
            if down < low {
                stack.raise(format_args!("invalid order function for sorting"));
            }
            stack.pop(1);
            down -= 1;
            stack.raw_get_at(1, down);
        }
        if down < up {
            break;
        }
        stack.raw_set_at(1, up);
        stack.raw_set_at(1, down);
    }
    stack.pop(3);
    stack.raw_get_at(1, high - 1);
    stack.raw_get_at(1, up);
    stack.raw_set_at(1, high - 1);
    stack.raw_set_at(1, up);
    up
}

/// Whether the order function, or Lua's `<` where there is none, puts the one value before the other.
fn less(stack: Stack<'_>, left: c_int, right: c_int) -> bool {
    stack.charge(STEPS_PER_COMPARISON);
    if stack.kind(2) == Kind::Nil {
        return stack.less_than(left, right);
    }
    stack.push_value(2);
    // The function lies above both, then the first argument above the second.
    stack.push_value(left - 1);
    stack.push_value(right - 2);
    stack.call(2, 1);
    let result = stack.truth(-1);
    stack.pop(1);
    result
}

/// What a move costs, in nanoseconds or so.
const STEPS_PER_MOVE: usize = 10;

/// What a comparison costs without a function.
const STEPS_PER_COMPARISON: usize = 20;

/// Two more than a range waits for each bit of a length.
const DEPTH_MAX: usize = 34;
