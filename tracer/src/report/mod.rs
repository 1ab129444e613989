//! Records out: text, JSON lines, Markdown. Looks nothing up.
