//! The command line as a whole.

use clap::CommandFactory;

use super::*;

fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("killtrace").chain(line.iter().copied()))
}

fn cli(line: &[&str]) -> Cli {
    parse(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

fn sentence(line: &[&str]) -> String {
    usage_sentence(&parse(line).expect_err(&format!("{line:?}")))
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn options_of_the_contract_are_understood() {
    let cli = cli(&[
        "--target",
        "tmux",
        "--target",
        "unit:a",
        "-p",
        "1,2",
        "-p",
        "3",
        "-f",
        "-e",
        "signal=!CHLD",
        "-e",
        "signal=TERM",
        "-o",
        "out",
        "-ttt",
        "-r",
        "--once",
        "--duration",
        "1h30m",
        "--format",
        "markdown",
        "--color",
        "never",
        "--redact",
        "--exits",
        "-v",
        "-w",
        "x.zst",
        "--btf",
        "b",
    ]);
    assert_eq!(cli.trace.targets.len(), 2);
    assert_eq!(cli.trace.pids, [1, 2, 3]);
    assert!(cli.trace.follow && cli.trace.once && !cli.trace.all);
    assert_eq!(cli.trace.duration, Some(Duration::from_secs(5400)));
    assert_eq!(cli.report.record.as_deref(), Some("x.zst".as_ref()));
    assert_eq!(cli.trace.btf.as_deref(), Some("b".as_ref()));
    assert_eq!((cli.report.time, cli.report.relative, cli.report.verbose), (3, true, 1));
    assert_eq!((cli.report.format, cli.report.color), (Format::Markdown, ColorChoice::Never));
    assert!(cli.report.redact && cli.report.exits);
    let hidden = cli.report.signals.expect("signals").hidden();
    assert!(hidden.contains(&17) && !hidden.contains(&15), "the last one counts");
}

#[test]
fn a_command_keeps_its_own_options() {
    let cli = cli(&["-q", "-u", "alice", "--", "replay", "-p", "--target"]);
    assert!(cli.verb.is_none() && cli.report.quiet);
    assert_eq!(cli.trace.user.as_deref(), Some("alice"));
    assert_eq!(cli.trace.command, ["replay", "-p", "--target"]);
}

#[test]
fn report_options_stand_before_or_after_a_verb() {
    for line in [&["--format", "json", "replay", "f"], &["replay", "f", "--format", "json"]] {
        let cli = cli(line);
        assert_eq!(cli.report.format, Format::Json, "{line:?}");
        assert!(matches!(cli.verb, Some(Verb::Replay { .. })), "{line:?}");
    }
    assert!(matches!(
        cli(&["doctor", "--self-test"]).verb,
        Some(Verb::Doctor { self_test: true, .. })
    ));
}

#[test]
fn usage_errors_are_one_sentence_with_a_remedy() {
    insta::assert_snapshot!(
        [
            &["tmux"][..],
            &["--target", "unti:x"],
            &["--target", ""],
            &["-p", "0"],
            &["-p", "abc"],
            &["--all", "-p", "3"],
            &["-q", "-v", "--all"],
            &["-u", "alice", "--target", "x"],
            &["--duration", "soon", "--all"],
            &["-e", "trace=all", "--all"],
            &["--format", "xml", "--all"],
            &["--tagret", "tmux"],
            &["replay"],
            &["completions"],
            &["-w"],
            &["help"],
            &["--self-test"],
            &["replay", "f", "--target", "x"],
            &["replay", "f", "-p", "3"],
            &["doctor", "--once"],
            &["doctor", "--nope"],
            &["--target", "evil\u{1b}[31m/\u{202e}:x", "--nope\u{1b}[2J"],
        ]
        .map(sentence)
        .join("\n")
    );
}

#[test]
fn what_was_meant_is_guessed_from_what_stands_there() {
    let number = sentence(&["4242"]);
    assert!(number.contains("write `-p 4242`"), "{number}");
    let surplus = sentence(&["replay", "a", "b"]);
    assert!(surplus.contains("too many") && surplus.contains("killtrace replay"), "{surplus}");
    let unit = sentence(&["--target", "unit:a/b"]);
    assert!(unit.contains("no unit can be called a/b.service:"), "{unit}");
}

#[test]
fn the_short_help_fits_one_screen_and_points_to_the_long_one() {
    let short = Cli::command().render_help().to_string();
    assert!(short.lines().count() < 60, "{short}");
    assert!(short.contains("killtrace --help"));
    let long = Cli::command().render_long_help().to_string();
    for words in ["--target", "--self-test", "sudo killtrace --target tmux", "Exit status"] {
        assert!(long.contains(words), "{words} is missing from:\n{long}");
    }
}

#[test]
fn man_page_and_completions_come_from_the_same_definition() {
    let mut man = Vec::new();
    man_page(&mut man).expect("a man page");
    let man = String::from_utf8(man).expect("text");
    assert!(man.contains(".TH killtrace 8") && man.contains("\\-\\-target"), "{man}");
    // There are no other pages.
    assert!(
        !man.contains("(8)") && !man.contains("EXTRA") && man.contains("\\-\\-self\\-test\\fR\n")
    );
    for section in ["EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"] {
        assert!(man.contains(&format!(".SH \"{section}\"\n")), "{section}: {man}");
    }
    for words in
        ["\\fB\\-\\-\\fR \\fICMD\\fR", "killtrace replay\\fR \\fIFILE\\fR", "killtrace completions"]
    {
        assert!(man.contains(words), "{words}: {man}");
    }
    assert!(man.contains("\\-\\-self\\-test"), "{man}");
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish]
    {
        let mut script = Vec::new();
        completions(shell, &mut script).expect("a script");
        assert!(String::from_utf8_lossy(&script).contains("self-test"), "{shell}");
    }
}

/// As zsh and fish have them, tried by hand.
#[test]
fn a_verb_is_the_first_word_and_an_option_may_lack_its_value_yet() {
    let script = |shell| {
        let mut script = Vec::new();
        completions(shell, &mut script).expect("a script");
        String::from_utf8(script).expect("text")
    };
    let zsh = script(clap_complete::Shell::Zsh);
    assert!(!zsh.contains("::command --") && !zsh.contains("$line[2]"), "{zsh}");
    assert!(zsh.contains("case $line[1] in") && zsh.contains("_normal"), "{zsh}");
    let fish = script(clap_complete::Shell::Fish);
    assert!(!fish.contains("or return\n") && fish.contains("or return 0\n"), "{fish}");
}
