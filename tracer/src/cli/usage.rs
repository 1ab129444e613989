//! Usage errors, each as one sentence.

use std::error::Error as _;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{Cli, parse_pid};

/// A usage error of clap's as one sentence that ends with what to do.
pub fn usage_sentence(error: &clap::Error) -> String {
    let texts = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.as_str()],
        Some(ContextValue::Strings(texts)) => texts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let text = |kind| texts(kind).into_iter().next().unwrap_or_default();
    let argument = text(ContextKind::InvalidArg);
    let option = named(argument);
    let help = help_of(error);
    let sentence = match error.kind() {
        ErrorKind::InvalidSubcommand => stray(text(ContextKind::InvalidSubcommand)),
        ErrorKind::UnknownArgument if !argument.starts_with('-') => match verb_of(error) {
            Some(usage) => format!("'{argument}' is one argument too many: write {usage}"),
            None => stray(argument),
        },
        ErrorKind::UnknownArgument => {
            match (elsewhere(argument, error), text(ContextKind::SuggestedArg)) {
                (Some(sentence), _) => sentence,
                (None, "") => format!("there is no option {argument}: see {help}"),
                (None, similar) => format!("there is no option {argument}: do you mean {similar}?"),
            }
        }
        ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue);
            let why = error.source().map_or_else(String::new, ToString::to_string);
            format!("{option} '{value}': {why}")
        }
        ErrorKind::InvalidValue => match text(ContextKind::InvalidValue) {
            "" => format!("{option} needs a value: write {argument}"),
            value => {
                let known = texts(ContextKind::ValidValue).join(", ");
                format!("{option} '{value}': use one of {known}")
            }
        },
        ErrorKind::ArgumentConflict => {
            let prior = texts(ContextKind::PriorArg).into_iter().map(named);
            let prior = prior.collect::<Vec<_>>().join(" and ");
            if prior == option {
                return format!("{option} is given twice: leave one out");
            }
            format!("{option} and {prior} exclude each other: leave one out")
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = texts(ContextKind::InvalidArg).into_iter().map(named);
            format!("{} is missing: see {help}", missing.collect::<Vec<_>>().join(" and "))
        }
        _ => {
            let rendered = error.render().to_string();
            let first = rendered.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            format!("{first}: see {help}")
        }
    };
    crate::report::escape::terminal(&sentence).into_owned()
}

/// How the verb is used that an error is about, where there is one.
fn verb_of(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return None };
    let usage = usage.to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    (usage.starts_with("killtrace ") && !usage.contains('\n')).then(|| usage.to_owned())
}

/// Where the help is that an error sends to.
fn help_of(error: &clap::Error) -> String {
    let usage = verb_of(error).unwrap_or_default();
    let verb = usage
        .split_whitespace()
        .nth(1)
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
    verb.map_or_else(
        || "`killtrace --help`".to_owned(),
        |verb| format!("`killtrace {verb} --help`"),
    )
}

/// An argument by name, as it is written: without its value, and without clap's marks of what can be repeated.
fn named(argument: &str) -> &str {
    match argument.split_whitespace().next().unwrap_or_default().trim_end_matches("...") {
        "<CMD>" | "[CMD]" | "--" => "-- CMD",
        name => name.trim_start_matches('<').trim_end_matches('>'),
    }
}

/// An option that stands at the wrong place: one of a trace behind a verb, or one of a verb without it.
fn elsewhere(option: &str, error: &clap::Error) -> Option<String> {
    let command = Cli::command();
    let is_called = |known: &clap::Arg| {
        known.get_long().is_some_and(|long| option.strip_prefix("--") == Some(long))
            || known
                .get_short()
                .is_some_and(|short| option.strip_prefix('-') == Some(&short.to_string()))
    };
    if verb_of(error).is_some() {
        let known = command.get_arguments().any(is_called);
        return known.then(|| not_for_verbs(option));
    }
    let verb = command.get_subcommands().find(|verb| verb.get_arguments().any(is_called))?;
    Some(format!("{option} is an option of a verb: write `killtrace {} {option}`", verb.get_name()))
}

/// What is said of an option of a trace where a verb stands.
pub fn not_for_verbs(option: &str) -> String {
    format!("{option} is for tracing, and this verb does not trace: leave one of them out")
}

/// Somebody wrote `killtrace tmux`, or `killtrace 4242`.
fn stray(word: &str) -> String {
    if word == "help" {
        return "'help' is no verb of killtrace: write `killtrace --help`".to_owned();
    }
    if parse_pid(word).is_ok() {
        return format!(
            "'{word}' is no verb of killtrace: write `-p {word}` to watch that process"
        );
    }
    format!(
        "'{word}' is no verb of killtrace: write `--target {word}` to watch a process of that name, or \
         `-- {word}` to start it"
    )
}
