//! Patterns of names, as glob(7) has them.

/// Whether a text is what a pattern stands for, as fnmatch(3) has it without flags: `*`, `?` and `[…]`. Linear but for one
/// place to come back to.
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'[') => in_brackets(&pattern[p..], text[t]),
            Some(&c) => (c == b'?' || c == text[t]).then_some(1),
            None => None,
        };
        if let Some(step) = step {
            p += step;
            t += 1;
        } else {
            let Some((star, from)) = back else { return false };
            back = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// How long an expression in brackets is, where it is one and holds this byte: `[vw]`, `[!a-z]`. One that is not
/// closed stands for the bracket itself.
fn in_brackets(pattern: &[u8], byte: u8) -> Option<usize> {
    let not = matches!(pattern.get(1), Some(b'!' | b'^'));
    let from = if not { 2 } else { 1 };
    // A closing bracket that comes first is one of the set.
    let close = pattern.iter().skip(from + 1).position(|c| *c == b']').map(|at| at + from + 1);
    let Some(close) = close else { return (byte == b'[').then_some(1) };
    let mut set = &pattern[from..close];
    let mut found = false;
    while let [first, rest @ ..] = set {
        if let [b'-', last, after @ ..] = rest {
            found |= (*first..=*last).contains(&byte);
            set = after;
        } else {
            found |= *first == byte;
            set = rest;
        }
    }
    (found != not).then_some(close + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(glob(b"*", b""));
        assert!(glob(b"a*b*c", b"aXbYbZc"));
        assert!(!glob(b"a*b", b"abc"));
        assert!(glob(b"a**", b"a"));
        assert!(!glob(b"?", b""));
        assert!(glob(b"", b""));
        assert!(glob(b"*.conf", b"a.conf"));
        assert!(!glob(b"*.conf", b"a.conf~"));
        assert!(glob(b"[vw].s", b"w.s"));
        assert!(glob(b"*[!a-c]", b"xd"));
        assert!(!glob(b"[!a-c]", b"b"));
        assert!(glob(b"[]]", b"]"));
        assert!(glob(b"a[", b"a["));
        assert!(!glob(b"[", b"a"));
    }

    proptest::proptest! {
        #[test]
        fn a_pattern_with_stars_in_it_still_matches(name in "[a-c]{0,12}", stars in 0_usize..13) {
            let mut pattern = name.clone();
            pattern.insert(stars.min(name.len()), '*');
            proptest::prop_assert!(glob(pattern.as_bytes(), name.as_bytes()));
            proptest::prop_assert!(glob(name.as_bytes(), name.as_bytes()));
            pattern.push('d');
            proptest::prop_assert!(!glob(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
