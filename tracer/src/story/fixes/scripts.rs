//! Remedies in scripts that end more than they mean to.

use super::super::verdict::Fix;
use super::{fix, remark};

/// A script that ends what it has started, and not its whole process group with itself.
pub fn narrower_script() -> Fix {
    fix(
        "have the script end only what it has started",
        vec![
            remark("in the script, look for kill 0 and kill -- -$$, also in its traps: grep -nE 'kill|trap' SCRIPT"),
            remark("in place of kill 0: kill $(jobs -p), which leaves the script itself and its neighbours alone"),
        ],
        "the script goes on to its own exit status, and whoever shares its process group is not signalled",
    )
    .but("what its children have started in turn is not signalled by that")
    .check("the next run of the script exits with its own status, not by a signal")
    .see("kill(2), bash(1) trap and jobs")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows a command in a remark is taken along by whoever pastes it: `trap` alone prints the reader's own traps.
    #[test]
    fn what_looks_at_the_script_looks_at_nothing_of_the_reader_s() {
        let look = narrower_script().commands.remove(0);
        let (_, command) = look.rsplit_once(": ").expect("a command");
        assert_eq!(command, "grep -nE 'kill|trap' SCRIPT");
    }
}
