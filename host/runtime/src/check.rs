//! What is wrong with a set of bindings before anything of it is loaded.

use crate::binding::{Binding, Kind, Limits, Variant, WHOLE_PPM};
use crate::error::ReloadError;
use crate::spec;

/// Most variants of one binding.
const VARIANTS_MAX: usize = 16;

/// Refuses bindings that contradict each other, or themselves.
pub(crate) fn check(bindings: &[Binding], limits: &Limits) -> Result<(), ReloadError> {
    let refuse = |text: String| Err(ReloadError::Bindings(text));
    let mut names = Vec::new();
    for (at, binding) in bindings.iter().enumerate() {
        let earlier = &bindings[..at];
        for variant in &binding.variants {
            let name = spec::name(binding, variant);
            if names.contains(&name) {
                return refuse(format!("`{name}` is bound twice"));
            }
            names.push(name);
        }
        if binding.kind != Kind::ProviderAdapter && earlier.iter().any(|other| other.kind == binding.kind) {
            return refuse(format!("`{}` is a second {}", binding.name, binding.kind.name()));
        }
        if binding.deadline_ms == 0 {
            return refuse(format!("`{}` has no time to run", binding.name));
        }
        if binding.memory_bytes_max > limits.memory_bytes_ceiling {
            return refuse(format!("`{}` asks for more memory than any component may have", binding.name));
        }
        check_variants(binding).map_err(ReloadError::Bindings)?;
    }
    Ok(())
}

/// Refuses variants that cannot share the work of their binding.
fn check_variants(binding: &Binding) -> Result<(), String> {
    let Binding { name, kind, variants, .. } = binding;
    if variants.len() > VARIANTS_MAX {
        return Err(format!(
            "`{name}` has {} variants: at most {VARIANTS_MAX} may share its work",
            variants.len()
        ));
    }
    if *kind == Kind::ProviderAdapter && variants.len() > 1 {
        return Err(format!("`{name}` has {} variants: a {} has one", variants.len(), kind.name()));
    }
    for variant in variants {
        if !is_file_stem(&variant.component) {
            return Err(format!("`{}` is no component name", variant.component));
        }
        if !variant.name.is_empty() && !is_file_stem(&variant.name) {
            return Err(format!("`{}` is no name of a variant", variant.name));
        }
        if variant.share_ppm > WHOLE_PPM {
            let name = spec::name(binding, variant);
            return Err(format!(
                "`{name}` has a share of {}, which is more than all",
                percent(variant.share_ppm.into())
            ));
        }
    }
    let serving = variants.iter().filter(|variant| !variant.shadow);
    match serving.map(|Variant { share_ppm, .. }| u64::from(*share_ppm)).sum() {
        whole if whole == u64::from(WHOLE_PPM) => Ok(()),
        sum => Err(format!(
            "the shares of `{name}` add up to {}: those of the variants that serve must add up to 100 %",
            percent(sum)
        )),
    }
}

/// Millionths as an operator reads them.
fn percent(ppm: u64) -> String {
    let digits = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    format!("{} %", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// Whether `name` stays inside the directory it is joined to.
fn is_file_stem(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::binding::{Binding, Kind, Limits, Variant, WHOLE_PPM};

    fn pricing() -> Binding {
        Binding::new("price", "discount-points", Kind::PricingPolicy)
    }

    fn refused(bindings: &[Binding], words: &str) {
        let text = check(bindings, &Limits::DEFAULT).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn contradicting_bindings_are_refused() {
        let of = |component: &str| Binding::new("price", component, Kind::PricingPolicy);
        refused(&[pricing(), pricing()], "bound twice");
        refused(&[pricing(), Binding { name: "other".into(), ..pricing() }], "a second pricing-policy");
        refused(&[of("../etc/passwd")], "no component name");
        refused(&[of(".hidden")], "no component name");
        refused(&[Binding { deadline_ms: 0, ..pricing() }], "no time");
        refused(&[Binding { memory_bytes_max: usize::MAX, ..pricing() }], "memory");
        assert!(check(&[pricing()], &Limits::DEFAULT).is_ok());
    }

    #[test]
    fn shares_that_do_not_make_a_whole_are_refused() {
        let variant = |name: &str, share_ppm| Variant {
            name: name.to_owned(),
            share_ppm,
            ..Variant::new("discount-points", "{}")
        };
        let of = |variants| [Binding { variants, ..pricing() }];
        refused(&of(vec![]), "add up to 0 %");
        refused(&of(vec![variant("", 900_000)]), "the shares of `price` add up to 90 %");
        refused(&of(vec![variant("", WHOLE_PPM), variant("b", 1)]), "add up to 100.0001 %");
        refused(&of(vec![variant("", WHOLE_PPM + 1)]), "`price` has a share of 100.0001 %");
        let shadow = |share_ppm| Variant { shadow: true, ..variant("s", share_ppm) };
        refused(&of(vec![shadow(WHOLE_PPM)]), "add up to 0 %");
        assert!(check(&of(vec![variant("", WHOLE_PPM), shadow(50_000)]), &Limits::DEFAULT).is_ok());
        assert!(check(&of(vec![variant("", 900_000), variant("b", 100_000)]), &Limits::DEFAULT).is_ok());
    }

    #[test]
    fn variants_that_cannot_be_told_apart_are_refused() {
        let half = |name: &str| Variant {
            name: name.to_owned(),
            share_ppm: WHOLE_PPM / 2,
            ..Variant::new("discount-points", "{}")
        };
        let of = |variants| [Binding { variants, ..pricing() }];
        refused(&of(vec![half(""), half("")]), "`price` is bound twice");
        refused(&of(vec![half("a"), half("a")]), "`price/a` is bound twice");
        refused(&of(vec![half("a"), half("b/c")]), "no name of a variant");
        let adapter =
            Binding { kind: Kind::ProviderAdapter, variants: vec![half("a"), half("b")], ..pricing() };
        refused(&[adapter], "`price` has 2 variants: a provider-adapter has one");
        let many = |count: u32| (0..count).map(|n| half(&n.to_string())).collect();
        refused(&of(many(17)), "at most 16");
    }
}
