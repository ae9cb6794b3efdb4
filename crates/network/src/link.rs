//! Interfaces, addresses and routes, through netlink.
//!
//! Each function makes sure of one thing and may be called again. All of them block: they run on a thread
//! that may wait, or inside a namespace ([`crate::namespace::inside`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use futures::TryStreamExt;
use futures::future::{Either, select};
use ipnet::Ipv4Net;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::{
    Error, Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

/// errno of an object that is there already.
const EEXIST: i32 = 17;
/// errno of a device that is not there.
const ENODEV: i32 = 19;
/// errno of a route that is not there.
const ESRCH: i32 = 3;

/// Runs `work` with a netlink connection of the network namespace that the calling thread is in.
pub(crate) fn with_handle<T>(work: impl AsyncFnOnce(Handle) -> Result<T, Error>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        match select(std::pin::pin!(work(handle)), std::pin::pin!(connection)).await {
            Either::Left((result, _)) => result.map_err(io::Error::other),
            Either::Right(((), _)) => Err(io::Error::other("the netlink connection closed")),
        }
    })
}

/// The index of an interface, if it is there.
pub(crate) async fn index(handle: &Handle, name: &str) -> Result<Option<u32>, Error> {
    let links = handle.link().get().match_name(name.to_owned()).execute();
    match std::pin::pin!(links).try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(error) if errno(&error) == ENODEV => Ok(None),
        Err(error) => Err(error),
    }
}

/// The bridge, up, with these addresses; its index.
pub(crate) async fn ensure_bridge(
    handle: &Handle,
    name: &str,
    mac: [u8; 6],
    mtu: u32,
    addresses: &[(Ipv4Addr, u8)],
) -> Result<u32, Error> {
    if index(handle, name).await?.is_none() {
        // A fixed hardware address: a bridge otherwise takes that of a port and changes it with the ports.
        let bridge = LinkBridge::new(name).address(mac.to_vec()).mtu(mtu).build();
        unless_there(handle.link().add(bridge).execute().await)?;
    }
    let bridge = required(handle, name).await?;
    for (address, prefix) in addresses {
        let add = handle.address().add(bridge, IpAddr::V4(*address), *prefix);
        unless_there(add.execute().await)?;
    }
    up(handle, bridge).await?;
    Ok(bridge)
}

/// A pair of interfaces: `host` on the bridge, `eth0` in the namespace.
pub(crate) async fn ensure_veth(
    handle: &Handle,
    host: &str,
    bridge: u32,
    namespace: BorrowedFd<'_>,
    mtu: u32,
) -> Result<(), Error> {
    if index(handle, host).await?.is_none() {
        let mut peer = LinkMessageBuilder::<LinkUnspec>::new().name("eth0").mtu(mtu).build();
        peer.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(host)
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        unless_there(handle.link().add(pair).execute().await)?;
    }
    let port = required(handle, host).await?;
    let message = LinkUnspec::new_with_index(port).controller(bridge).up();
    handle.link().set(message.build()).execute().await?;
    // Where `br_netfilter` is on, a packet translated to its own sender is bridged and not routed, and a
    // bridge drops what would leave by the port it came in by unless told otherwise.
    let hairpin = LinkBridgePort::new(port).hairpin(true).build();
    handle.link().set_port(hairpin).execute().await
}

/// The pod's side: loopback and `eth0` up, its address, everything by the gateway.
pub(crate) async fn ensure_pod_side(
    handle: &Handle,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
) -> Result<(), Error> {
    let loopback = required(handle, "lo").await?;
    up(handle, loopback).await?;
    let eth0 = required(handle, "eth0").await?;
    unless_there(handle.address().add(eth0, IpAddr::V4(address), 32).execute().await)?;
    up(handle, eth0).await?;
    let to_gateway = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(gateway, 32)
        .output_interface(eth0)
        .scope(RouteScope::Link)
        .build();
    unless_there(handle.route().add(to_gateway).execute().await)?;
    let default = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::UNSPECIFIED, 0)
        .gateway(gateway)
        .output_interface(eth0)
        .build();
    unless_there(handle.route().add(default).execute().await)
}

/// Packets to `range` are dropped unless a narrower route is there: none leaves by the default route.
pub(crate) async fn ensure_blackhole(handle: &Handle, range: Ipv4Net) -> Result<(), Error> {
    unless_there(handle.route().add(blackhole(range)).execute().await)
}

/// Removes what [`ensure_blackhole`] made.
pub(crate) async fn remove_blackhole(handle: &Handle, range: Ipv4Net) -> Result<(), Error> {
    match handle.route().del(blackhole(range)).execute().await {
        Err(error) if errno(&error) == ESRCH => Ok(()),
        result => result,
    }
}

/// Packets to `range` go to the bridge and, from this host, come from `source`. What is a service was
/// translated before; what is not finds nobody there.
pub(crate) async fn ensure_route(
    handle: &Handle,
    range: Ipv4Net,
    bridge: u32,
    source: Ipv4Addr,
) -> Result<(), Error> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(range.network(), range.prefix_len())
        .output_interface(bridge)
        .pref_source(source)
        .scope(RouteScope::Link)
        .build();
    unless_there(handle.route().add(route).execute().await)
}

/// Removes an interface; none of that name is no error.
pub(crate) async fn remove(handle: &Handle, name: &str) -> Result<(), Error> {
    let Some(index) = index(handle, name).await? else { return Ok(()) };
    match handle.link().del(index).execute().await {
        Err(error) if errno(&error) == ENODEV => Ok(()),
        result => result,
    }
}

/// Names of the interfaces that hang on a bridge.
pub(crate) async fn ports(handle: &Handle, bridge: u32) -> Result<Vec<String>, Error> {
    let links: Vec<_> = handle.link().get().execute().try_collect().await?;
    let on_bridge =
        links.into_iter().filter(|link| link.attributes.contains(&LinkAttribute::Controller(bridge)));
    Ok(on_bridge
        .filter_map(|link| {
            link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
        })
        .collect())
}

fn blackhole(range: Ipv4Net) -> rtnetlink::packet_route::route::RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(range.network(), range.prefix_len())
        .kind(RouteType::BlackHole)
        // After every route that is more than a guess; the default metric is 0.
        .priority(4096)
        .build()
}

async fn up(handle: &Handle, index: u32) -> Result<(), Error> {
    let message = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(message).execute().await
}

/// The index of an interface that must be there.
pub(crate) async fn required(handle: &Handle, name: &str) -> Result<u32, Error> {
    index(handle, name).await?.ok_or_else(|| Error::NamespaceError(format!("no interface {name}")))
}

fn unless_there(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if errno(&error) == EEXIST => Ok(()),
        result => result,
    }
}

fn errno(error: &Error) -> i32 {
    match error {
        Error::NetlinkError(message) => message.raw_code().abs(),
        _ => 0,
    }
}
