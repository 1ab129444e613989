//! The man page.

use std::io;

use clap::CommandFactory;

use super::{Cli, ENVIRONMENT, EXAMPLES, EXIT_STATUS};

/// Where to read on.
const SEE_ALSO: &[&str] =
    &["strace(1)", "systemctl(1)", "loginctl(1)", "journalctl(1)", "signal(7)", "capabilities(7)"];

/// Writes the man page, in roff.
///
/// # Errors
/// What `out` fails with.
pub fn man_page(out: &mut dyn io::Write) -> io::Result<()> {
    // As an argument of its own it would have neither the dashes nor arguments.
    let command = Cli::command().mut_arg("command", |command| command.hide(true));
    let man = clap_mangen::Man::new(command).section("8").manual("killtrace");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let page = String::from_utf8_lossy(&page);
    // The options of a trace are followed by those of reports.
    let behind = ".SH \"HOW TO REPORT\"";
    out.write_all(page.replacen(behind, &format!("{}{behind}", command_in_man()), 1).as_bytes())?;
    let verbs: String = Cli::command().get_subcommands().map(verb_in_man).collect();
    write!(out, ".SH VERBS\n{verbs}")?;
    for (title, text) in
        [("EXAMPLES", EXAMPLES), ("EXIT STATUS", EXIT_STATUS), ("ENVIRONMENT", ENVIRONMENT)]
    {
        let lines: Vec<&str> =
            text.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        writeln!(out, ".SH \"{title}\"\n.nf\n{}\n.fi", roff(&lines.join("\n")))?;
    }
    writeln!(out, ".SH \"SEE ALSO\"\n{}", SEE_ALSO.join(", "))?;
    man.render_version_section(out)
}

/// The program to start.
fn command_in_man() -> String {
    let command = Cli::command();
    let help = command.get_arguments().find(|argument| argument.get_id() == "command");
    let help = help.and_then(|argument| argument.get_help()).map(ToString::to_string);
    format!(
        ".TP\n\\fB\\-\\-\\fR \\fICMD\\fR [\\fIARGS\\fR…]\n{}\n",
        roff(&help.unwrap_or_default())
    )
}

/// A verb with its arguments. There is one page for everything.
fn verb_in_man(verb: &clap::Command) -> String {
    let about = verb.get_long_about().or_else(|| verb.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let of_verb = verb.get_positionals().filter_map(|argument| argument.get_value_names()?.first());
    let names: String = of_verb.map(|name| format!(" \\fI{name}\\fR")).collect();
    let own: String = verb.get_arguments().filter_map(argument_in_man).collect();
    format!(".TP\n\\fBkilltrace {}\\fR{names}\n{}\n{own}", verb.get_name(), roff(&about))
}

/// An argument of a verb, indented below it.
fn argument_in_man(argument: &clap::Arg) -> Option<String> {
    let value = argument.get_value_names().and_then(|names| names.first());
    let value = value.filter(|_| argument.get_action().takes_values());
    let value = value.map(|value| format!("\\fI{value}\\fR")).unwrap_or_default();
    let head = match argument.get_long() {
        Some(name) if value.is_empty() => format!("\\fB\\-\\-{}\\fR", roff(name)),
        Some(name) => format!("\\fB\\-\\-{}\\fR {value}", roff(name)),
        None => value,
    };
    let help = argument.get_long_help().or_else(|| argument.get_help())?.to_string();
    Some(format!(".RS\n.TP\n{head}\n{}\n.RE\n", roff(&help)))
}

/// Plain text in roff, where a dash alone is a hyphen.
fn roff(text: &str) -> String {
    text.replace('\\', "\\\\").replace('-', "\\-")
}
