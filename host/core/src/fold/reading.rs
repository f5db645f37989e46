//! What one character is read as.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::compose;

/// What a character is read as, where that is not itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// It takes no room.
    Nothing,
    /// Another one.
    One(char),
    /// Several.
    Many(String),
    /// A mark, which may make another letter of the one before it.
    Mark(char),
}

/// What a character is read as; `None` where it is itself.
pub(super) fn reading(c: char) -> Option<Reading> {
    if is_plain(c) {
        return None;
    }
    if is_unread(c) {
        return Some(Reading::Nothing);
    }
    let sign = match c {
        '\u{a0}'
        | '\u{1680}'
        | '\u{2000}'..='\u{200a}'
        | '\u{202f}'
        | '\u{205f}'
        | '\u{2800}'
        | '\u{3000}' => ' ',
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => '-',
        '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{2b9}' | '\u{2bc}' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' => '"',
        '\u{2044}' | '\u{2215}' => '/',
        '\u{3099}' | '\u{309a}' => return Some(Reading::Mark(c)),
        '\u{ff9e}' => return Some(Reading::Mark('\u{3099}')),
        '\u{ff9f}' => return Some(Reading::Mark('\u{309a}')),
        // Regional indicators, which are shown as letters in boxes, and letters in boxes and circles.
        '\u{1f1e6}'..='\u{1f1ff}' => letter(c, 0x1_f1e6),
        '\u{1f150}'..='\u{1f169}' => letter(c, 0x1_f150),
        '\u{1f170}'..='\u{1f189}' => letter(c, 0x1_f170),
        _ => small_capital(c).unwrap_or(c),
    };
    if sign != c {
        return Some(Reading::One(sign));
    }
    let mut read = std::iter::once(c).nfkc();
    let (first, second) = (read.next()?, read.next());
    match second {
        None if first == c => None,
        None => Some(Reading::One(first)),
        Some(second) => Some(Reading::Many([first, second].into_iter().chain(read).collect())),
    }
}

/// What most texts of other scripts are made of, and is read as it stands.
const fn is_plain(c: char) -> bool {
    matches!(c,
        '\0'..='\x7f'
        | '\u{c0}'..='\u{17e}'
        | '\u{370}'..='\u{482}'
        | '\u{48a}'..='\u{5ff}'
        | '\u{620}'..='\u{63f}'
        | '\u{641}'..='\u{6ff}'
        | '\u{900}'..='\u{e32}'
        | '\u{3001}'..='\u{3098}'
        | '\u{30a0}'..='\u{30fe}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{1f300}'..='\u{1faff}')
}

/// Whether a character takes no room of its own: what Unicode lets be ignored, marks on letters, and what only makes a
/// word longer.
#[must_use]
pub const fn is_unread(c: char) -> bool {
    matches!(c,
        '\u{ad}'
        | '\u{300}'..='\u{36f}'
        | '\u{483}'..='\u{489}'
        | '\u{61c}'
        | '\u{640}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{fe20}'..='\u{fe2f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d159}'
        | '\u{1d165}'..='\u{1d182}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The letter that a mark makes of another.
pub(super) fn made_of(base: char, mark: char) -> Option<char> {
    compose(base, mark)
}

/// The letter of an alphabet that begins at a code point.
fn letter(c: char, first: u32) -> char {
    u8::try_from(u32::from(c) - first).map_or(c, |index| char::from(b'A' + index % 26))
}

/// Small capitals, which have no compatibility form.
const fn small_capital(c: char) -> Option<char> {
    Some(match c {
        'ᴀ' => 'a',
        'ʙ' => 'b',
        'ᴄ' => 'c',
        'ᴅ' => 'd',
        'ᴇ' => 'e',
        'ꜰ' => 'f',
        'ɢ' => 'g',
        'ʜ' => 'h',
        'ɪ' => 'i',
        'ᴊ' => 'j',
        'ᴋ' => 'k',
        'ʟ' => 'l',
        'ᴍ' => 'm',
        'ɴ' => 'n',
        'ᴏ' => 'o',
        'ᴘ' => 'p',
        'ʀ' => 'r',
        'ꜱ' => 's',
        'ᴛ' => 't',
        'ᴜ' => 'u',
        'ᴠ' => 'v',
        'ᴡ' => 'w',
        'ʏ' => 'y',
        'ᴢ' => 'z',
        _ => return None,
    })
}

/// The Latin letter that a letter of another script, or an odd Latin one, looks like.
pub(super) const fn looks_like(c: char) -> Option<char> {
    Some(match c {
        'а' | 'α' | 'ɑ' => 'a',
        'А' | 'Α' => 'A',
        'Ь' | 'ь' => 'b',
        'В' | 'Β' => 'B',
        'с' | 'ϲ' => 'c',
        'С' | 'Ϲ' => 'C',
        'ԁ' => 'd',
        'е' | 'ҽ' => 'e',
        'Е' | 'Ε' => 'E',
        'ɡ' | 'ց' => 'g',
        'һ' | 'հ' => 'h',
        'Н' | 'Η' => 'H',
        'і' | 'ι' | 'ı' => 'i',
        'І' | 'Ι' | 'Ӏ' => 'I',
        'ӏ' => 'l',
        'ј' => 'j',
        'Ј' => 'J',
        'к' | 'κ' => 'k',
        'К' | 'Κ' => 'K',
        'м' => 'm',
        'М' | 'Μ' => 'M',
        'ո' => 'n',
        'Ν' => 'N',
        'о' | 'ο' | 'օ' => 'o',
        'О' | 'Ο' => 'O',
        'р' | 'ρ' => 'p',
        'Р' | 'Ρ' => 'P',
        'ԛ' => 'q',
        'г' => 'r',
        'ѕ' => 's',
        'Ѕ' => 'S',
        'т' | 'τ' => 't',
        'Т' | 'Τ' => 'T',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' | 'ѡ' => 'w',
        'х' | 'χ' => 'x',
        'Х' | 'Χ' => 'X',
        'у' | 'γ' => 'y',
        'У' | 'Υ' => 'Y',
        'Ζ' => 'Z',
        _ => return None,
    })
}
