//! Get and list: from the store's own bytes, at a known revision.

use std::sync::Arc;

use model::encoded::{Encoded, Revision};
use model::status::{Cause, Reason, Status};
use store::{Entry, Range, ReadError};

use super::continuation::Continuation;
use super::selection::Selection;
use crate::api::Api;
use crate::codec;
use crate::request::{Address, ListQuery, Match};

/// Entries read from the store at a time while looking for enough matching ones.
const READ_AHEAD: usize = 500;

/// A page of a collection.
#[derive(Debug)]
pub struct Listed {
    /// The objects.
    pub objects: Vec<Arc<Encoded>>,
    /// The revision they show.
    pub revision: Revision,
    /// Where the next page begins; empty at the end.
    pub continue_token: String,
    /// How many come after; `None` where that would need looking.
    pub remaining: Option<usize>,
}

impl Api {
    /// One object, not older than `not_older_than`.
    pub fn get(&self, address: &Address, not_older_than: Option<Revision>) -> Result<Arc<Encoded>, Status> {
        self.check_not_future(not_older_than)?;
        codec::present(address.kind, &self.entry(address)?.object)
    }

    /// A collection, or a page of it.
    pub fn list(&self, collection: &Address, query: &ListQuery) -> Result<Listed, Status> {
        let selection = Selection::parse(collection.kind, &query.label_selector, &query.field_selector)?;
        let prefix = collection.prefix();
        let mut range = Range { prefix: prefix.clone(), ..Range::default() };
        if query.continue_token.is_empty() {
            self.check_not_future(query.revision)?;
            if query.revision_match == Match::Exact {
                range.at = query.revision;
            }
        } else {
            let token = Continuation::decode(&query.continue_token)?;
            range.at = token.revision;
            range.after = Some(format!("{prefix}{}", token.last));
        }
        if let Some(name) = selection.only_name()
            && query.limit == 0
            && (!collection.kind.namespaced || !collection.namespace.is_empty())
        {
            range.prefix = format!("{prefix}{name}");
        }
        self.pages(collection, &selection, range, &prefix, query.limit)
    }

    fn pages(
        &self,
        collection: &Address,
        selection: &Selection,
        mut range: Range,
        prefix: &str,
        limit: usize,
    ) -> Result<Listed, Status> {
        let everything = selection.is_everything();
        range.limit = match limit {
            0 => 0,
            limit if everything => limit,
            limit => limit.max(READ_AHEAD),
        };
        let mut objects = Vec::new();
        loop {
            let page = self.store.range(&range).map_err(|error| unreadable(&error, &range, prefix))?;
            range.at = Some(page.revision);
            for (index, entry) in page.entries.iter().enumerate() {
                let object = codec::present(collection.kind, &entry.object)?;
                if selection.has(&object)? {
                    objects.push(object);
                }
                let left = page.entries.len() - index - 1 + page.remaining;
                if limit > 0 && objects.len() == limit && left > 0 {
                    let continue_token = token(entry, page.revision, prefix);
                    let remaining = everything.then_some(left);
                    return Ok(Listed { objects, revision: page.revision, continue_token, remaining });
                }
            }
            match page.entries.last() {
                Some(last) if page.remaining > 0 => range.after = Some(last.key.to_string()),
                _ => {
                    let revision = page.revision;
                    return Ok(Listed { objects, revision, continue_token: String::new(), remaining: None });
                }
            }
        }
    }

    pub(crate) fn check_not_future(&self, asked: Option<Revision>) -> Result<(), Status> {
        let Some(asked) = asked.filter(|asked| *asked > self.store.revision()) else { return Ok(()) };
        // Reads see a commit a moment before the store raises its revision: a client may be that fast.
        let probe = Range { prefix: "/".to_owned(), limit: 1, at: Some(asked), ..Range::default() };
        match self.store.range(&probe) {
            Err(ReadError::Future { newest, .. }) => Err(too_large(asked, newest)),
            Ok(_) | Err(ReadError::Compacted { .. }) => Ok(()),
        }
    }
}

fn token(last: &Entry, revision: Revision, prefix: &str) -> String {
    let last = last.key.strip_prefix(prefix).unwrap_or(&last.key).to_owned();
    Continuation { revision: Some(revision), last }.encode()
}

pub(crate) fn too_large(asked: Revision, current: Revision) -> Status {
    let message = format!("Too large resource version: {asked}, current: {current}");
    let mut status = Status::new(Reason::Timeout, message.clone());
    status.details.retry_after_seconds = 1;
    status.details.causes = vec![Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    }];
    status
}

fn unreadable(error: &ReadError, range: &Range, prefix: &str) -> Status {
    match error {
        ReadError::Future { asked, newest } => too_large(*asked, *newest),
        ReadError::Compacted { asked, oldest } => match &range.after {
            None => Status::expired(format!(
                "The resourceVersion for the provided list is too old: {asked} ({oldest})"
            )),
            Some(after) => {
                let last = after.strip_prefix(prefix).unwrap_or(after).to_owned();
                let mut status = Status::expired(
                    "The provided continue parameter is too old to display a consistent list result. \
                     You can start a new list without the continue parameter, or use the continue token \
                     in this response to retrieve the remainder of the results. Continuing with the provided \
                     token results in an inconsistent list - objects that were created, modified, or deleted \
                     between the time the first chunk was returned and now may show up in the list.",
                );
                status.continue_token = Continuation { revision: None, last }.encode();
                status
            }
        },
    }
}
