//! Update: the whole object anew (PUT), through the main resource or one of its parts.

use model::status::Status;

use super::modify::{Part, Proposal};
use super::{Written, intake, metadata};
use crate::api::Api;
use crate::request::{Address, Context, Input, WriteOptions};

impl Api {
    /// Writes an object.
    pub async fn update(
        &self,
        cx: &Context,
        address: &Address,
        part: Part,
        input: Input,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let kind = address.kind;
        let mut object = intake::accept(cx, kind, input, options)?;
        metadata::settle_namespace(&mut object, address)?;
        metadata::check_name(&object, address)?;
        let absent = self.store.get(&address.key()).is_none();
        if absent && part == Part::Main && kind.create_on_update {
            let input = Input::from(object);
            let object = self.create(cx, address, input, options).await?;
            return Ok(Written { object, created: true });
        }
        let conditional = !matches!(metadata::text(&object, "resourceVersion"), "" | "0");
        if !conditional {
            metadata::of_mut(&mut object).remove("resourceVersion");
        }
        self.modify(cx, address, part, options, |_| Ok(Proposal { object: object.clone(), conditional }))
            .await
    }
}
