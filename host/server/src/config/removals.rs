//! What one file says and the next one does not: of providers, policies and models, which are taken up while the
//! gateway runs. What is left out falls back to a default, and nobody may have meant that.

use toml::{Table, Value};

/// What is taken up while the gateway runs, but for models, which have names of their own.
const SECTIONS: [&str; 2] = ["providers", "policies"];
/// Members whose defaults do no harm: how, and not where or whether.
const HARMLESS: [&str; 3] = ["http2", "deadline_ms", "memory_bytes_max"];

/// What `old` says and `new` leaves out, or empties: `providers.local`, ``models.`fast` ``.
pub(crate) fn between(old: &Table, new: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for section in SECTIONS {
        lost(section, old.get(section), new.get(section), &mut found);
    }
    for (name, model) in models(old) {
        let same = models(new).find(|(other, _)| *other == name).map(|(_, model)| model);
        lost(&format!("models.`{name}`"), Some(model), same, &mut found);
    }
    found
}

fn models(table: &Table) -> impl Iterator<Item = (&str, &Value)> {
    let list = table.get("models").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|model| Some((model.get("name")?.as_str()?, model)))
}

fn lost(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<String>) {
    match (old, new) {
        (None, _) => {}
        (Some(_), None) => found.push(path.to_owned()),
        (Some(Value::Table(old)), Some(Value::Table(new))) => {
            for (name, value) in old.iter().filter(|(name, _)| !HARMLESS.contains(&name.as_str())) {
                lost(&format!("{path}.{name}"), Some(value), new.get(name), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if new.is_empty() && !old.is_empty() => {
            found.push(path.to_owned());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::between;

    const WHOLE: &str = r#"
[providers.openai]
base_url = "http://private"
http2 = true
[providers.local]
adapter = "openai"
base_url = "http://local"
[[models]]
name = "fast"
provider = "local"
fallbacks = ["gpt-4o"]
[policies.content_filter]
on_error = "closed"
deadline_ms = 9
config = { words = ["falcon"], action = "mask" }
"#;

    fn check(new: &str, expected: &[&str]) {
        let [old, new] = [WHOLE, new].map(|text| text.parse().unwrap());
        assert_eq!(between(&old, &new), expected, "{new}");
    }

    #[test]
    fn what_is_left_out_or_emptied_is_named_and_what_is_changed_or_added_is_not() {
        check(WHOLE, &[]);
        check("", &["providers", "policies", "models.`fast`"]);
        check("[server]\nworkers = 1", &["providers", "policies", "models.`fast`"]);
        let without = |line: &str| WHOLE.replacen(line, "", 1);
        check(&without("base_url = \"http://private\"\n"), &["providers.openai.base_url"]);
        check(&without("http2 = true\n"), &[]);
        check(&without("deadline_ms = 9\n"), &[]);
        check(&without("on_error = \"closed\"\n"), &["policies.content_filter.on_error"]);
        check(&without("fallbacks = [\"gpt-4o\"]\n"), &["models.`fast`.fallbacks"]);
        let words = "policies.content_filter.config.words";
        check(&without("words = [\"falcon\"], "), &[words]);
        check(&WHOLE.replace("[\"falcon\"]", "[]"), &[words]);
        check(&WHOLE.replace("falcon", "eagle"), &[]);
        check(&WHOLE.replace("http://private", "http://other"), &[]);
        check(&WHOLE.replace("\"fast\"", "\"quick\""), &["models.`fast`"]);
        check(&format!("{WHOLE}[providers.more]\nadapter = \"openai\"\nbase_url = \"http://m\"\n"), &[]);
    }

    #[test]
    fn whatever_is_cut_off_at_a_line_something_is_missed() {
        let lines: Vec<&str> = WHOLE.lines().collect();
        let old = WHOLE.parse().unwrap();
        for count in 0..lines.len() - 1 {
            let Ok(new) = lines[..count].join("\n").parse() else { continue };
            assert!(!between(&old, &new).is_empty(), "{count} lines");
        }
    }
}
