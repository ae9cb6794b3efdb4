//! Create: a new object, or none.

use std::sync::Arc;

use model::encoded::Encoded;
use model::status::Status;
use serde_json::Value;
use store::Expected;

use super::commit::Outcome;
use super::{TRIES_MAX, intake, metadata};
use crate::admission::{Operation, Review};
use crate::api::Api;
use crate::codec;
use crate::request::{Address, Context, Input, WriteOptions};
use crate::reviews;

/// Tries to find a free name for `generateName`; upstream's number.
const NAME_TRIES_MAX: usize = 8;

impl Api {
    /// Makes an object. `address.name` is not looked at: a new object brings its name.
    pub async fn create(
        &self,
        cx: &Context,
        address: &Address,
        input: Input,
        options: &WriteOptions,
    ) -> Result<Arc<Encoded>, Status> {
        let kind = address.kind;
        let mut object = intake::accept(cx, kind, input, options)?;
        metadata::settle_namespace(&mut object, address)?;
        if !matches!(metadata::text(&object, "resourceVersion"), "" | "0") {
            let text = "resourceVersion should not be set on objects to be created";
            return Err(Status::bad_request(text));
        }
        let base = metadata::text(&object, "generateName").to_owned();
        let generates = metadata::text(&object, "name").is_empty() && !base.is_empty();
        let tries = if generates { NAME_TRIES_MAX } else { TRIES_MAX };
        let mut name = metadata::text(&object, "name").to_owned();
        for _ in 0..tries {
            let mut object = object.clone();
            if generates {
                name = self.random(|rng| {
                    use rand::Rng;
                    metadata::generated_name(&base, |count| rng.random_range(0..count))
                });
                metadata::of_mut(&mut object).insert("name".to_owned(), name.as_str().into());
            }
            match self.create_once(cx, address, object, options).await? {
                Outcome::Done(object) => return Ok(object),
                Outcome::Outdated if generates => {}
                Outcome::Outdated => return Err(Status::already_exists(&kind.gvr, &name)),
                Outcome::Disturbed => {}
            }
        }
        if generates {
            return Err(Status::already_exists(&kind.gvr, &name));
        }
        Err(Status::conflict(&kind.gvr, &name, "too many writes at the same time; please try again"))
    }

    async fn create_once(
        &self,
        cx: &Context,
        address: &Address,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Status> {
        let kind = address.kind;
        kind.strategy.default(&mut object);
        let name = metadata::text(&object, "name").to_owned();
        let address = Address::new(kind, &address.namespace, &name);
        let mut review = Review::new(Operation::Create, &address, cx, options.dry_run);
        review.assumes_namespace = options.dry_run && options.assumes_namespace;
        self.admission.mutate(self, &mut review, &mut object, None).await?;
        kind.strategy.default(&mut object);
        let is_review = kind.strategy.is_review();
        if !is_review {
            // First: what a kind makes of a new object may hold its uid.
            metadata::stamp_new(&mut object, kind, self.new_uid(), self.now());
        }
        kind.strategy.prepare_create(&mut object);
        let mut errors = if is_review { Vec::new() } else { metadata::validate(&object, kind) };
        errors.extend(kind.strategy.validate_create(&object));
        if !errors.is_empty() {
            return Err(Status::invalid(&kind.gvk, &name, &errors));
        }
        self.admission.validate(self, &mut review, Some(&object), None).await?;
        kind.strategy.warnings(&object, None).into_iter().for_each(|warning| cx.warn(warning));
        if kind.strategy.is_review() {
            let answered = reviews::answer(self, cx, &address, object).await?;
            return codec::unstored(kind, &answered).map(Outcome::Done);
        }
        if options.dry_run {
            if self.store.get(&address.key()).is_some() {
                return Ok(Outcome::Outdated);
            }
            return codec::unstored(kind, &object).map(Outcome::Done);
        }
        self.put(&address, &object, Expected::Absent, review.companions).await
    }
}
