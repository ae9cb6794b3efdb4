//! x
use model::field::{Error, ErrorList, Path};
/// An image reference.
pub(crate) fn image(image: &str, path: &Path) -> ErrorList {
    if image.is_empty() {
        return vec![Error::required(path, "")];
    }
    if image.trim() != image {
        return vec![Error::invalid(path, image, "must not have leading or trailing whitespace")];
    }
    ErrorList::new()
}
