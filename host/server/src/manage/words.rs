//! Names and notes that people give to things: what nobody would see in them is refused, here and nowhere else. What is
//! stored already is shown as it is.

use tollgate_core::line::unruly;

use super::ManageError;

/// Refuses a text in which a sign cannot be seen; `field` names it for whoever gave it.
pub(super) fn seen(field: &'static str, text: &str) -> Result<(), ManageError> {
    match unruly(text) {
        None => Ok(()),
        Some(sign) => {
            let sign = sign.escape_unicode();
            Err(ManageError::invalid(
                field,
                format!("a {field} holds no sign that nobody sees, such as {sign}"),
            ))
        }
    }
}

/// The same for several.
pub(super) fn all_seen<'t>(
    field: &'static str,
    texts: impl IntoIterator<Item = &'t str>,
) -> Result<(), ManageError> {
    texts.into_iter().try_for_each(|text| seen(field, text))
}
