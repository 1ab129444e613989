//! Names of units (systemd.unit(5)).

/// The template that a unit is an instance of: `sshd@.service` of `sshd@x.service`. `None` where it is no instance.
pub fn template_of(unit: &str) -> Option<String> {
    let (stem, kind) = unit.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_instances() {
        assert_eq!(template_of("ssh@1-2.service").as_deref(), Some("ssh@.service"));
        assert_eq!(template_of("a@x.y.service").as_deref(), Some("a@.service"));
        assert_eq!(template_of("ssh@.service"), None);
        assert_eq!(template_of("plain.service"), None);
        assert_eq!(template_of("no-type@x"), None);
    }
}
