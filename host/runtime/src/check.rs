//! What is wrong with a set of bindings before anything of it is loaded.

use crate::binding::{Binding, Kind, Limits};
use crate::error::ReloadError;

/// Refuses bindings that contradict each other.
pub(crate) fn check(bindings: &[Binding], limits: &Limits) -> Result<(), ReloadError> {
    let refuse = |text: String| Err(ReloadError::Bindings(text));
    for (at, binding) in bindings.iter().enumerate() {
        let earlier = &bindings[..at];
        if earlier.iter().any(|other| other.name == binding.name) {
            return refuse(format!("`{}` is bound twice", binding.name));
        }
        if binding.kind != Kind::ProviderAdapter && earlier.iter().any(|other| other.kind == binding.kind) {
            return refuse(format!("`{}` is a second {}", binding.name, binding.kind.name()));
        }
        if !is_file_stem(&binding.component) {
            return refuse(format!("`{}` is no component name", binding.component));
        }
        if binding.deadline_ms == 0 {
            return refuse(format!("`{}` has no time to run", binding.name));
        }
        if binding.memory_bytes_max > limits.memory_bytes_ceiling {
            return refuse(format!("`{}` asks for more memory than any component may have", binding.name));
        }
    }
    Ok(())
}

/// Whether `name` stays inside the directory it is joined to.
fn is_file_stem(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::{Binding, Kind, Limits, check};

    #[test]
    fn contradicting_bindings_are_refused() {
        let pricing = || Binding::new("price", "discount-points", Kind::PricingPolicy);
        let refused = |bindings: &[Binding], words: &str| {
            let text = check(bindings, &Limits::DEFAULT).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        };
        refused(&[pricing(), pricing()], "bound twice");
        refused(&[pricing(), Binding { name: "other".into(), ..pricing() }], "a second pricing-policy");
        refused(&[Binding { component: "../etc/passwd".into(), ..pricing() }], "no component name");
        refused(&[Binding { component: ".hidden".into(), ..pricing() }], "no component name");
        refused(&[Binding { deadline_ms: 0, ..pricing() }], "no time");
        refused(&[Binding { memory_bytes_max: usize::MAX, ..pricing() }], "memory");
        assert!(check(&[pricing()], &Limits::DEFAULT).is_ok());
    }
}
