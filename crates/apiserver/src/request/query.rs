//! What a URL's query means.

use client::Propagation;
use model::encoded::Revision;
use model::field::{Error, ErrorList, Path};
use model::resource::GroupVersionKind;
use model::status::Status;

use super::path::percent_decode;
use super::{FieldValidation, ListQuery, Match, WatchQuery, WriteOptions};

/// The parameters of a query, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query string apart.
    pub(crate) fn parse(text: &str) -> Result<Query, Status> {
        let broken = || Status::bad_request("the query of the URL is malformed");
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode(name, true).ok_or_else(broken)?;
            pairs.push((name, percent_decode(value, true).ok_or_else(broken)?));
        }
        Ok(Query(pairs))
    }

    /// The first value of `name`; empty when there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// A boolean as Go's query conversion reads it: there is anything but false and 0.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.all(name).next().is_some_and(|value| !matches!(value.to_lowercase().as_str(), "false" | "0"))
    }

    /// A number, where there is one.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }

    fn revision(&self) -> Result<Option<Revision>, Status> {
        match self.text("resourceVersion") {
            "" => Ok(None),
            text => text.parse().map(|number| Some(Revision(number))).map_err(|_| {
                let error =
                    Error::invalid(&Path::new("resourceVersion"), text, "must be an unsigned integer");
                Status::bad_request(format!("invalid resource version: {error}"))
            }),
        }
    }

    /// The revision that a get must not be older than.
    pub(crate) fn get(&self) -> Result<Option<Revision>, Status> {
        self.revision()
    }

    /// The options of a list.
    pub(crate) fn list(&self) -> Result<ListQuery, Status> {
        let revision = self.revision()?;
        let continue_token = self.text("continue").to_owned();
        let named = self.text("resourceVersionMatch");
        let path = Path::new("resourceVersionMatch");
        let mut errors = ErrorList::new();
        if self.all("sendInitialEvents").next().is_some() {
            let path = Path::new("sendInitialEvents");
            errors.push(Error::forbidden(&path, "sendInitialEvents is forbidden for list"));
        }
        if !named.is_empty() {
            if self.text("resourceVersion").is_empty() {
                let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(Error::forbidden(&path, detail));
            }
            if !continue_token.is_empty() {
                let detail = "resourceVersionMatch is forbidden when continue is provided";
                errors.push(Error::forbidden(&path, detail));
            }
            if !matches!(named, "Exact" | "NotOlderThan") {
                errors.push(Error::not_supported(&path, named, &["Exact", "NotOlderThan", ""]));
            }
            if named == "Exact" && revision == Some(Revision(0)) {
                let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(Error::forbidden(&path, detail));
            }
        }
        if !errors.is_empty() {
            return Err(invalid("ListOptions", &errors));
        }
        if !continue_token.is_empty() && revision.is_some_and(|revision| revision.0 > 0) {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let limit = self.number("limit")?.unwrap_or(0);
        // A list at a revision with a limit and no match is exact, as upstream has it.
        let exact = named == "Exact"
            || named.is_empty() && limit > 0 && revision.is_some_and(|revision| revision.0 > 0);
        Ok(ListQuery {
            label_selector: self.text("labelSelector").to_owned(),
            field_selector: self.text("fieldSelector").to_owned(),
            limit: usize::try_from(limit).unwrap_or(0),
            continue_token,
            revision,
            revision_match: if exact { Match::Exact } else { Match::NotOlderThan },
        })
    }

    /// The options of a watch.
    pub(crate) fn watch(&self) -> Result<WatchQuery, Status> {
        let send_initial_events = self.flag("sendInitialEvents");
        let named = self.text("resourceVersionMatch");
        let path = Path::new("resourceVersionMatch");
        let mut errors = ErrorList::new();
        let initial_given = self.all("sendInitialEvents").next().is_some();
        if initial_given && named != "NotOlderThan" {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(Error::forbidden(&path, detail));
        }
        if !initial_given && !named.is_empty() {
            let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(Error::forbidden(&path, detail));
        }
        if !errors.is_empty() {
            return Err(invalid("ListOptions", &errors));
        }
        let timeout = self.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
        Ok(WatchQuery {
            label_selector: self.text("labelSelector").to_owned(),
            field_selector: self.text("fieldSelector").to_owned(),
            after: self.revision()?,
            send_initial_events,
            bookmarks: self.flag("allowWatchBookmarks"),
            timeout_seconds: timeout.filter(|seconds| *seconds > 0),
        })
    }

    /// The options of a write; `options_kind` names them in errors.
    pub(crate) fn write(&self, options_kind: &str) -> Result<WriteOptions, Status> {
        let mut errors = ErrorList::new();
        for stage in self.all("dryRun").filter(|stage| !matches!(*stage, "All" | "")) {
            errors.push(Error::not_supported(&Path::new("dryRun"), stage, &["All"]));
        }
        let field_manager = self.text("fieldManager").to_owned();
        if field_manager.len() > FIELD_MANAGER_BYTES_MAX {
            errors.push(Error::too_long(&Path::new("fieldManager"), FIELD_MANAGER_BYTES_MAX));
        }
        let field_validation = match self.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let path = Path::new("fieldValidation");
                errors.push(Error::not_supported(&path, other, &["Ignore", "Strict", "Warn"]));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(invalid(options_kind, &errors));
        }
        let dry_run = self.all("dryRun").any(|stage| stage == "All");
        Ok(WriteOptions { dry_run, field_validation, field_manager, assumes_namespace: false })
    }

    /// Options of a deletion that came in the query rather than the body.
    pub(crate) fn delete(&self, request: &mut super::DeleteRequest) -> Result<(), Status> {
        if let Some(seconds) = self.number("gracePeriodSeconds")? {
            request.options.grace_period_seconds = Some(seconds);
        }
        match self.text("propagationPolicy") {
            "" => {}
            policy => {
                let found = crate::pipeline::delete::propagation(policy);
                let found = found.map_err(|error| invalid("DeleteOptions", &vec![error]))?;
                request.options.propagation = Some(found);
            }
        }
        match self.text("orphanDependents") {
            "" => {}
            "true" => request.options.propagation = Some(Propagation::Orphan),
            _ => request.options.propagation = Some(Propagation::Background),
        }
        request.dry_run |= self.write("DeleteOptions")?.dry_run;
        Ok(())
    }
}

/// Upstream's limit on the name of a field manager.
const FIELD_MANAGER_BYTES_MAX: usize = 128;

fn invalid(kind: &str, errors: &ErrorList) -> Status {
    let gvk = GroupVersionKind::parse("meta.k8s.io/v1", kind).expect("has one slash");
    Status::invalid(&gvk, "", errors)
}
