//! Tracked UDP flows, and having the kernel forget those that lead to nobody.
//!
//! A flow is translated once, by its first packet; while packets keep coming they follow it, also to an
//! endpoint that is gone. TCP notices, UDP does not. Needs conntrack's netlink interface, of which this is
//! as much as is needed: reading the table, and deleting one entry. It must never touch a flow that is not
//! to one of the ports it was given.
//!
//! Read next: [`crate::proxy::plan::broken_flows`] (which those are).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, sendto, socket_with};

/// Service ports, by address and port, with the endpoints that flows to them may go on to.
pub type Kept = BTreeMap<(Ipv4Addr, u16), BTreeSet<(Ipv4Addr, u16)>>;

/// Entries that are remembered before they are deleted: 65,536 of about 64 bytes are 4 MiB. When there are
/// more the table is read again.
const ENTRIES_MAX: usize = 65_536;
/// Readings of the table in one go; what is left then has been made meanwhile, by the new rules.
const ROUNDS_MAX: usize = 8;
/// Bytes of one answer; the kernel fills at most 32 KiB.
const ANSWER_BYTES: usize = 64 * 1024;

const HEADER_BYTES: usize = 16;
/// After the header: address family, version, two bytes of nothing.
const FAMILY_BYTES: usize = 4;
/// Kinds of messages: the subsystem conntrack, and what is asked of it.
const NEW: u16 = 1 << 8;
const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Flags.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
/// Attributes of an entry, of a tuple, of its addresses and of its protocol.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const ADDRESS_SOURCE: u16 = 1;
const ADDRESS_DESTINATION: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PORT_SOURCE: u16 = 2;
const PORT_DESTINATION: u16 = 3;
/// Bits of an attribute's kind that do not name it.
const KIND_MASK: u16 = 0x3fff;
const INET: u8 = 2;
const UDP: u8 = 17;

/// Has the kernel forget the flows to these ports that lead to none of their endpoints; says how many. It
/// takes as long as reading the table does, so it is not for an async task.
pub fn forget(kept: &Kept) -> io::Result<usize> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    let mut forgotten = 0;
    for _ in 0..ROUNDS_MAX {
        let broken = find(&socket, kept)?;
        for entry in &broken {
            forgotten += usize::from(delete(&socket, entry)?);
        }
        if broken.len() < ENTRIES_MAX {
            break;
        }
    }
    Ok(forgotten)
}

/// What names each broken entry: its original tuple and its id, as attributes.
fn find(socket: &OwnedFd, kept: &Kept) -> io::Result<Vec<Vec<u8>>> {
    send(socket, GET, REQUEST | DUMP, &[])?;
    let mut broken = Vec::new();
    let mut answer = vec![0; ANSWER_BYTES];
    loop {
        let (_, count) = recv(socket, &mut answer[..], RecvFlags::empty())?;
        for (kind, body) in messages(&answer[..count]) {
            match kind {
                DONE => return Ok(broken),
                ERROR => return Err(error_of(body)),
                NEW if broken.len() < ENTRIES_MAX => broken.extend(broken_entry(body, kept)),
                _ => {}
            }
        }
    }
}

/// Whether the entry was still there.
fn delete(socket: &OwnedFd, entry: &[u8]) -> io::Result<bool> {
    send(socket, DELETE, REQUEST | ACKNOWLEDGE, entry)?;
    let mut answer = [0; 1024];
    let (_, count) = recv(socket, &mut answer[..], RecvFlags::empty())?;
    match messages(&answer[..count]).next() {
        Some((ERROR, body)) => match error_of(body) {
            none if none.raw_os_error() == Some(0) => Ok(true),
            error if error.kind() == io::ErrorKind::NotFound => Ok(false),
            error => Err(error),
        },
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "conntrack gave no answer")),
    }
}

fn send(socket: &OwnedFd, kind: u16, flags: u16, attributes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER_BYTES + FAMILY_BYTES + attributes.len()).map_err(io::Error::other)?;
    let mut message = Vec::new();
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // Sequence and sender: one request at a time needs neither.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[INET, 0, 0, 0]);
    message.extend_from_slice(attributes);
    sendto(socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}

/// Kind and body of each message.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Kind, content and whole of each attribute.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & KIND_MASK;
        let content = bytes.get(4..length)?;
        let padded = length.next_multiple_of(4).min(bytes.len());
        let whole = &bytes[..padded];
        bytes = &bytes[padded..];
        Some((kind, content, whole))
    })
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _, _)| *kind == wanted).map(|(_, content, _)| content)
}

fn error_of(body: &[u8]) -> io::Error {
    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
    io::Error::from_raw_os_error(code.saturating_neg())
}

/// One end of a tuple: an address and a port.
fn end(tuple: &[u8], address: u16, port: u16) -> Option<(Ipv4Addr, u16)> {
    let address: [u8; 4] = attribute(attribute(tuple, TUPLE_ADDRESSES)?, address)?.try_into().ok()?;
    let port: [u8; 2] = attribute(attribute(tuple, TUPLE_PROTOCOL)?, port)?.try_into().ok()?;
    Some((address.into(), u16::from_be_bytes(port)))
}

/// What names an entry, if it is a flow to one of these ports that leads to none of its endpoints.
fn broken_entry(body: &[u8], kept: &Kept) -> Option<Vec<u8>> {
    let entry = body.get(FAMILY_BYTES..)?;
    let original = attribute(entry, TUPLE_ORIGINAL)?;
    if attribute(attribute(original, TUPLE_PROTOCOL)?, PROTOCOL_NUMBER)? != [UDP] {
        return None;
    }
    let endpoints = kept.get(&end(original, ADDRESS_DESTINATION, PORT_DESTINATION)?)?;
    let answers_from = end(attribute(entry, TUPLE_REPLY)?, ADDRESS_SOURCE, PORT_SOURCE)?;
    if endpoints.contains(&answers_from) {
        return None;
    }
    let names = attributes(entry).filter(|(kind, _, _)| matches!(*kind, TUPLE_ORIGINAL | ID));
    Some(names.flat_map(|(_, _, whole)| whole.iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_of(kind: u16, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + content.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn tuple(protocol: u8, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
        let addresses =
            [attribute_of(ADDRESS_SOURCE, &from.0), attribute_of(ADDRESS_DESTINATION, &to.0)].concat();
        let ports = [
            attribute_of(PROTOCOL_NUMBER, &[protocol]),
            attribute_of(PORT_SOURCE, &from.1.to_be_bytes()),
            attribute_of(PORT_DESTINATION, &to.1.to_be_bytes()),
        ];
        let nested = 0x8000;
        [
            attribute_of(TUPLE_ADDRESSES | nested, &addresses),
            attribute_of(TUPLE_PROTOCOL | nested, &ports.concat()),
        ]
        .concat()
    }

    fn entry(protocol: u8, to: ([u8; 4], u16), answers_from: ([u8; 4], u16)) -> Vec<u8> {
        let client = ([10, 244, 0, 9], 5000);
        [
            vec![2, 0, 0, 0],
            attribute_of(TUPLE_ORIGINAL | 0x8000, &tuple(protocol, client, to)),
            attribute_of(TUPLE_REPLY | 0x8000, &tuple(protocol, answers_from, client)),
            attribute_of(ID, &[1, 2, 3, 4]),
        ]
        .concat()
    }

    #[test]
    fn only_udp_flows_to_a_given_port_and_to_nobody_of_it_are_broken() {
        let service = ([10, 96, 0, 7], 53);
        let (one, two) = (([10, 244, 0, 1], 5353), ([10, 244, 0, 2], 5353));
        let kept = Kept::from([((service.0.into(), 53), BTreeSet::from([(one.0.into(), 5353)]))]);
        assert!(broken_entry(&entry(UDP, service, two), &kept).is_some());
        assert!(broken_entry(&entry(UDP, service, service), &kept).is_some(), "made before the service");
        assert!(broken_entry(&entry(UDP, service, one), &kept).is_none());
        assert!(broken_entry(&entry(6, service, two), &kept).is_none());
        assert!(broken_entry(&entry(UDP, (service.0, 54), two), &kept).is_none());
        assert!(broken_entry(&entry(UDP, two, two), &kept).is_none());
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        let whole = entry(UDP, ([10, 96, 0, 7], 53), ([10, 244, 0, 2], 5353));
        let kept = Kept::from([((Ipv4Addr::new(10, 96, 0, 7), 53), BTreeSet::new())]);
        let named = broken_entry(&whole, &kept).unwrap();
        assert_eq!(named.len(), 52 + 8, "the original tuple and the id");
        for length in 0..whole.len() - 8 {
            assert!(broken_entry(&whole[..length], &kept).is_none(), "{length} bytes");
        }
    }
}
