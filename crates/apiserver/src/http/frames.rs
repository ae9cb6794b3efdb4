//! Events of a watch as bytes, made once and shared by every watcher that wants the same form.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use client::transport::WatchEventKind;
use model::encoded::Encoded;

/// Frames kept: watchers of one event ask for it within moments of each other.
const FRAMES_MAX: usize = 512;

/// In which form: the object itself, or one of the forms made from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Object,
    Metadata,
    Table { object: super::negotiate::Include, columns: bool },
}

type Key = (usize, u8, Form);

/// The frames made lately.
#[derive(Default)]
pub(crate) struct Frames {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    // The object is kept with its frame, so that its address cannot come to mean another object.
    frames: HashMap<Key, (Arc<Encoded>, Bytes)>,
    order: VecDeque<Key>,
}

impl Frames {
    /// The frame of `object` in `form`, made by `make` if nobody made it yet.
    pub(crate) fn get<E>(
        &self,
        object: &Arc<Encoded>,
        kind: WatchEventKind,
        form: Form,
        make: impl FnOnce() -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let key = (Arc::as_ptr(object).addr(), kind as u8, form);
        if let Some((_, frame)) = self.lock().frames.get(&key) {
            return Ok(frame.clone());
        }
        let frame = make()?;
        let mut inner = self.lock();
        if inner.frames.insert(key, (Arc::clone(object), frame.clone())).is_none() {
            inner.order.push_back(key);
        }
        while inner.order.len() > FRAMES_MAX {
            if let Some(oldest) = inner.order.pop_front() {
                inner.frames.remove(&oldest);
            }
        }
        Ok(frame)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
