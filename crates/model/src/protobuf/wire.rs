//! Protocol buffers on the wire: tags, varints, lengths.

use super::ProtobufError;

/// What stands behind one tag.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// Kubernetes has no field of this type; it is skipped where it is unknown.
    Fixed32,
}

impl<'a> Item<'a> {
    pub(super) fn bytes(self, field: &str) -> Result<&'a [u8], ProtobufError> {
        match self {
            Item::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtobufError::WireType(field.to_owned())),
        }
    }

    pub(super) fn text(self, field: &str) -> Result<&'a str, ProtobufError> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| ProtobufError::Utf8(field.to_owned()))
    }

    pub(super) fn varint(self, field: &str) -> Result<u64, ProtobufError> {
        match self {
            Item::Varint(number) => Ok(number),
            _ => Err(ProtobufError::WireType(field.to_owned())),
        }
    }

    pub(super) fn fixed64(self, field: &str) -> Result<u64, ProtobufError> {
        match self {
            Item::Fixed64(bits) => Ok(bits),
            _ => Err(ProtobufError::WireType(field.to_owned())),
        }
    }
}

/// The fields of one message, in the order written. After an error there is nothing more.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    fn field(&mut self) -> Result<(u32, Item<'a>), ProtobufError> {
        let tag = varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or(ProtobufError::Tag(tag))?;
        let item = match tag & 7 {
            0 => Item::Varint(varint(&mut self.rest)?),
            1 => {
                let bytes = take(&mut self.rest, 8)?;
                Item::Fixed64(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
            }
            2 => {
                let length = varint(&mut self.rest)?;
                let length = usize::try_from(length).map_err(|_| ProtobufError::Truncated)?;
                Item::Bytes(take(&mut self.rest, length)?)
            }
            5 => {
                take(&mut self.rest, 4)?;
                Item::Fixed32
            }
            // Groups (3 and 4) are long gone from the format, and Kubernetes never had any.
            _ => return Err(ProtobufError::Tag(tag)),
        };
        Ok((number, item))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Item<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Numbers written one after the other without tags.
pub(super) fn packed(mut bytes: &[u8]) -> impl Iterator<Item = Result<u64, ProtobufError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let number = varint(&mut bytes);
        if number.is_err() {
            bytes = &[];
        }
        Some(number)
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ProtobufError> {
    let (taken, left) = rest.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
    *rest = left;
    Ok(taken)
}

/// Seven bits a byte, the lowest first; ten bytes at most, the last of which holds one bit.
fn varint(rest: &mut &[u8]) -> Result<u64, ProtobufError> {
    let mut number = 0_u64;
    for shift in (0..70).step_by(7) {
        let (&byte, left) = rest.split_first().ok_or(ProtobufError::Truncated)?;
        *rest = left;
        if shift == 63 && byte > 1 {
            return Err(ProtobufError::Overflow);
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(ProtobufError::Overflow)
}
