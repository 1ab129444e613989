//! Names of the kernel functions on a stack.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
};

/// A return address further than this behind the start of a function is not in it: it belongs to
/// something that was loaded after the list was read.
const MAX_FUNCTION: u64 = 256 * 1024;

/// What stands on top of every stack that a program takes: itself, and how it was called.
const PROLOGUE: &[&str] =
    &["bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_", "bpf_get_stack"];

/// The list of the kernel's symbols.
const LIST: &str = "/proc/kallsyms";

/// Why the kernel's functions have no names here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nameless {
    /// The kernel shows addresses to nobody.
    #[error("kernel.kptr_restrict=2 hides the names of the kernel's functions")]
    Restricted,
    /// It shows them to others (`kallsyms_show_value` of `kernel/ksyms_common.c`).
    #[error("without CAP_SYSLOG the kernel hides the names of its functions")]
    NotPermitted,
    /// There is no list.
    #[error(
        "there is no /proc/kallsyms: /proc shows processes only (subset=pid), or the kernel was built without"
    )]
    NoList,
}

/// The kernel's symbols: read when the first stack arrives, which may be never.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Opened early: whether addresses are shown is decided by who opens the file.
    file: Option<File>,
    table: Option<Table>,
}

/// Functions by address.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table {
    /// Address, and where its name begins in `names`; in order.
    starts: Vec<(u64, u32)>,
    /// Names, each ended by a newline.
    names: String,
}

impl Symbols {
    /// Gets hold of the list, without reading it.
    pub fn open() -> Self {
        Self { file: File::open(LIST).ok(), table: None }
    }

    /// Names of the functions, innermost first, without the program that took the stack and without
    /// what compilers append (`.part.0`, `.isra.0`, `.constprop.0`, `.cold`); an address where no
    /// name is known. Empty where the kernel hides its addresses.
    pub fn resolve(&mut self, frames: &[u64]) -> Vec<String> {
        let file = &mut self.file;
        let table = self.table.get_or_insert_with(|| {
            let mut text = Vec::new();
            if let Some(mut file) = file.take()
                && file.read_to_end(&mut text).is_err()
            {
                text.clear();
            }
            Table::parse(&String::from_utf8_lossy(&text))
        });
        if table.starts.is_empty() {
            return Vec::new();
        }
        frames
            .iter()
            .map(|frame| (frame, table.name(frame.saturating_sub(1))))
            .skip_while(|(_, name)| {
                name.is_some_and(|name| PROLOGUE.iter().any(|start| name.starts_with(start)))
            })
            .map(|(frame, name)| name.map_or_else(|| format!("{frame:#x}"), str::to_owned))
            .collect()
    }
}

impl Table {
    /// Reads lines of the form `ffffffff81000000 T name [module]`; what is no function is left out.
    fn parse(text: &str) -> Self {
        let mut table = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Ok(address) = u64::from_str_radix(address, 16) else { continue };
            let function = matches!(kind, "t" | "T" | "w" | "W");
            // `__pfx_` marks the padding in front of a function.
            if !function || address == 0 || name.starts_with("__pfx_") {
                continue;
            }
            let Ok(at) = u32::try_from(table.names.len()) else { break };
            table.starts.push((address, at));
            table.names.push_str(without_suffix(name));
            table.names.push('\n');
        }
        // Stable: of several names for one address the first one stays in front.
        table.starts.sort_by_key(|(address, _)| *address);
        table.starts.dedup_by_key(|(address, _)| *address);
        table
    }

    /// The function that contains an address.
    fn name(&self, address: u64) -> Option<&str> {
        let index = self.starts.partition_point(|(start, _)| *start <= address).checked_sub(1)?;
        let (start, at) = *self.starts.get(index)?;
        if address - start >= MAX_FUNCTION {
            return None;
        }
        self.names.get(usize::try_from(at).ok()?..)?.lines().next()
    }
}

/// Whether the kernel's functions will have names for this process.
///
/// # Errors
/// Why not.
pub fn function_names() -> Result<(), Nameless> {
    let file = File::open(LIST).map_err(|_| Nameless::NoList)?;
    if tells_addresses(BufReader::new(file).lines().map_while(Result::ok)) {
        return Ok(());
    }
    let restricted = fs::read_to_string("/proc/sys/kernel/kptr_restrict");
    Err(match restricted.as_deref().map(str::trim) {
        Ok("2") => Nameless::Restricted,
        _ => Nameless::NotPermitted,
    })
}

/// Whether the first function has an address. On x86-64 the list begins with what each CPU has of its own, counted
/// from 0.
fn tells_addresses(lines: impl Iterator<Item = String>) -> bool {
    let mut functions = lines.filter_map(|line| {
        let (address, rest) = line.split_once(' ')?;
        rest.starts_with(['t', 'T']).then(|| address.chars().any(|digit| digit != '0'))
    });
    functions.next() == Some(true)
}

/// A name without what compilers append to parts and copies of a function.
fn without_suffix(name: &str) -> &str {
    match name.find('.') {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
ffffffff81000000 T _text
ffffffff81001000 t __tty_hangup.part.0
ffffffff81000ff0 t __pfx___tty_hangup
ffffffff81002000 T do_exit
ffffffff81002000 T do_exit_alias
ffffffff81003000 D some_data
ffffffffc0000000 t module_function\t[module]
ffffffffc0900000 t bpf_prog_6deef7357e7b4530_signal_generate\t[bpf]
nonsense
zz T bad_address
";

    fn symbols() -> Symbols {
        Symbols { file: None, table: Some(Table::parse(KALLSYMS)) }
    }

    #[test]
    fn what_a_cpu_has_of_its_own_is_no_function_at_zero() {
        let tells = |text: &str| tells_addresses(text.lines().map(str::to_owned));
        let own = "0000000000000000 A fixed_percpu_data\n";
        assert!(tells(&format!("{own}ffffffff81000000 T _stext\n")));
        assert!(tells("ffff800008000000 T _text\n"));
        assert!(!tells(&format!("{own}0000000000000000 T _stext\n")));
        assert!(!tells(own));
    }

    #[test]
    fn return_addresses_get_the_name_of_the_function_they_lie_in() {
        let frames = [0xffff_ffff_8100_2000, 0xffff_ffff_8100_2001, 0xffff_ffff_c000_0100];
        assert_eq!(symbols().resolve(&frames), ["__tty_hangup", "do_exit", "module_function"]);
    }

    #[test]
    fn the_program_itself_is_left_out_and_another_one_is_not() {
        let program = 0xffff_ffff_c090_0010;
        let frames = [program, 0xffff_ffff_8100_2010, program];
        assert_eq!(
            symbols().resolve(&frames),
            ["do_exit", "bpf_prog_6deef7357e7b4530_signal_generate"]
        );
    }

    #[test]
    fn what_has_no_name_shows_as_its_address() {
        assert_eq!(symbols().resolve(&[0xffff_ffff_d000_0000]), ["0xffffffffd0000000"]);
        assert_eq!(symbols().resolve(&[0]), ["0x0"]);
    }

    #[test]
    fn hidden_addresses_give_no_names_at_all() {
        let table = Table::parse("0000000000000000 T _text\n0000000000000000 T do_exit\n");
        let mut symbols = Symbols { file: None, table: Some(table) };
        assert!(symbols.resolve(&[0xffff_ffff_8100_2000]).is_empty());
    }
}
