use super::{fold, is_unread, read};

/// Where `word` is read in `text`, as spelled there.
fn found<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let folded = fold(text, &[])?;
    let at = folded.text().to_lowercase().find(word)?;
    text.get(folded.original(&(at..at + word.len()))?)
}

#[test]
fn a_word_is_read_however_it_is_spelled() {
    for spelled in [
        "fal\u{200b}con",
        "f\u{200d}a\u{200c}l\u{2060}c\u{feff}on",
        "fal\u{ad}con",
        "fal\u{e0063}con",
        "fal\u{fe0f}con",
        "fal\u{202e}con",
        "fal\u{34f}con",
        "fa\u{301}lc\u{336}on",
        "ｆａｌｃｏｎ",
        "ＦＡＬＣＯＮ",
        "𝐟𝐚𝐥𝐜𝐨𝐧",
        "𝕗𝓪𝔩𝖈𝚘𝗻",
        "ⓕⓐⓛⓒⓞⓝ",
        "🅵🅰🅻🅲🅾🅽",
        "🇫🇦🇱🇨🇴🇳",
        "ꜰᴀʟᴄᴏɴ",
        "fаlсоn",
        "ｆаlcоn",
        "fαlcοn",
        r"\u0066alcon",
        r"fal\u200bcon",
        r"f\u0061l\u0063on",
    ] {
        let text = format!("before {spelled} after");
        assert_eq!(found(&text, "falcon").map(str::to_owned).as_deref(), Some(spelled), "{spelled}");
    }
    assert_eq!(found("a \u{fb01}ne word", "fine"), Some("\u{fb01}ne"));
    assert_eq!(found("project\u{a0}falcon", "project falcon"), Some("project\u{a0}falcon"));
    assert_eq!(found("mach\u{2011}three", "mach-three"), Some("mach\u{2011}three"));
    assert_eq!(found("４１１１ ２２２２", "4111 2222"), Some("４１１１ ２２２２"));
    assert_eq!(found("ｶﾞｷﾞﾊﾟ", "ガギパ"), Some("ｶﾞｷﾞﾊﾟ"));
    assert_eq!(found("ﾃｽﾄ", "テスト"), Some("ﾃｽﾄ"));
}

#[test]
fn what_reads_as_it_is_spelled_is_left_alone() {
    for text in [
        "",
        "plain text, with \\ and \\n",
        "año, café, Ärger",
        "слово сор",
        "我们的项目",
        "ひらがな カタカナ",
        "한국어",
    ] {
        assert_eq!(fold(text, &[]), None, "{text}");
    }
    // Neither an accent of its own nor a word of another script is a spelling of something else.
    assert_eq!(found("año\u{200b}", "ano"), None);
    assert_eq!(found("сор\u{200b}", "cop"), None);
    // What is spelled plainly is found in the original.
    assert_eq!(found("falcon and \u{200b}", "falcon"), None);
}

#[test]
fn parts_are_read_as_one_where_they_are_joined() {
    let text = "fal\ncon\nfal\ncon";
    let folded = fold(text, &[3]).unwrap();
    assert_eq!(folded.text(), "falcon\nfal\ncon");
    assert_eq!(folded.original(&(0..6)), Some(0..7));
    assert_eq!(folded.original(&(7..10)), None);
}

#[test]
fn only_the_surroundings_of_a_spot_are_read_again() {
    let plain = "some plain words ".repeat(10_000);
    let text = format!("{plain}fal\u{200b}con {plain}fal\u{200b}con");
    let folded = fold(&text, &[]).unwrap();
    assert!(folded.text().len() < 8000, "{}", folded.text().len());
    let found: Vec<_> = folded.text().match_indices("falcon").collect();
    assert_eq!(found.len(), 2);
    for (at, word) in found {
        let original = folded.original(&(at..at + word.len())).unwrap();
        assert_eq!(text.get(original), Some("fal\u{200b}con"));
    }
}

#[test]
fn every_range_leads_back_to_whole_characters() {
    let text = "aｂ\u{200b}ｶﾞ\u{fb03}é\u{301}\\u0041𝐟\u{200d}x ｶﾟ\u{3099}";
    let folded = fold(text, &[]).unwrap();
    let bounds: Vec<usize> =
        (0..=folded.text().len()).filter(|&at| folded.text().is_char_boundary(at)).collect();
    for (index, &start) in bounds.iter().enumerate() {
        for &end in &bounds[index + 1..] {
            if let Some(original) = folded.original(&(start..end)) {
                assert!(text.get(original.clone()).is_some_and(|run| !run.is_empty()), "{original:?}");
            }
        }
    }
}

#[test]
fn a_rule_is_read_as_a_text_is() {
    assert_eq!(read("falcon"), None);
    assert_eq!(read("ｆａｌｃｏｎ").as_deref(), Some("falcon"));
    assert_eq!(read("Falcon\u{2013}9").as_deref(), Some("Falcon-9"));
    assert!(is_unread('\u{200b}') && !is_unread('a'));
}
