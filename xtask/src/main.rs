//! The project's chores: `cargo xtask VERB`.

mod build_ebpf;
mod check_ebpf;
mod toolchain;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((verb, rest)) if verb == "build-ebpf" => build_ebpf::run(rest),
        Some((verb, rest)) if verb == "check-ebpf" => check_ebpf::run(rest),
        Some((verb, [])) if verb == "setup" => toolchain::install(),
        _ => anyhow::bail!("usage: cargo xtask build-ebpf|check-ebpf|setup"),
    }
}
