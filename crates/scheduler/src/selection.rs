//! Which nodes a pod's own words allow: [`model::placement`], under the name that it has here.

pub use model::placement::{is_selected, is_tolerated, labels, name, term_matches, untolerated};
