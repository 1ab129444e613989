//! The flags. One definition yields `--help`, the man page and the completions.
