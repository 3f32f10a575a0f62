//! Whose TCP socket is at the other end: one exact question to the kernel (`man 7 sock_diag`), without privileges.
//!
//! In: both addresses of a connection that we accepted. Out: user and inode of the peer's socket, if it is in this network namespace
//! and connected. The kernel answers within the call that asks, so nothing is waited for.
//!
//! Only an `ESTABLISHED` socket with an inode has an owner. A socket that its process has closed stays in the kernel until the last
//! bytes are acknowledged, and is then reported with uid 0 (`sock_i_uid`, net/core/sock.c): that is nobody, not root.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with, sockopt,
};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u8 = 1;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_sockid`: ports, addresses, interface, cookie.
const SOCKET_ID: usize = 48;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 8 + SOCKET_ID;
/// `struct inet_diag_msg`: what precedes the id, the id, five words of which the last two are uid and inode.
const ANSWER: usize = 4 + SOCKET_ID + 20;

/// The owner of a connected socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// Who made it, as seen from this user namespace.
    pub uid: u32,
    /// Number that `/proc/PID/fd` shows as `socket:[inode]`.
    pub inode: u32,
}

/// The owner of the socket whose own address is `peer` and which is connected to `local`; `None` if this network namespace has no
/// such socket, or it is not connected any more.
///
/// # Errors
/// The kernel has no such interface, or refuses it.
pub fn owner(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<SocketOwner>> {
    let (peer, local) = (canonical(peer), canonical(local));
    let id = socket_id(peer, local)?;
    let sequence = 0x7072_6f66;
    let mut request = Vec::with_capacity(HEADER + REQUEST);
    request.extend_from_slice(&u32::try_from(HEADER + REQUEST).expect("72").to_ne_bytes());
    request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request.extend_from_slice(&u32::to_ne_bytes(sequence));
    request.extend_from_slice(&[0; 4]);
    let family = if peer.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    request.extend_from_slice(&[u8::try_from(family.as_raw()).expect("2 or 10"), IPPROTO_TCP, 0, 0]);
    request.extend_from_slice(&u32::MAX.to_ne_bytes());
    request.extend_from_slice(&id);

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::SOCK_DIAG))?;
    // Not needed while the kernel answers within `send`; bounds what is not foreseen.
    let second = Some(std::time::Duration::from_secs(1));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, second)?;
    send(&socket, &request, SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    parse(&answer[..length.min(answer.len())], sequence, peer, local)
}

/// IPv4 in IPv6 (`::ffff:127.0.0.1`) is IPv4 to the kernel's table of connections.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn socket_id(own: SocketAddr, other: SocketAddr) -> io::Result<[u8; SOCKET_ID]> {
    let mut id = [0; SOCKET_ID];
    id[0..2].copy_from_slice(&own.port().to_be_bytes());
    id[2..4].copy_from_slice(&other.port().to_be_bytes());
    match (own.ip(), other.ip()) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            id[4..8].copy_from_slice(&own.octets());
            id[20..24].copy_from_slice(&other.octets());
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => {
            id[4..20].copy_from_slice(&own.octets());
            id[20..36].copy_from_slice(&other.octets());
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    // No interface, no cookie (INET_DIAG_NOCOOKIE).
    id[40..48].fill(0xff);
    Ok(id)
}

/// One end in an `inet_diag_sockid`: 0 is the socket's own, 1 the one it is connected to.
fn end(id: &[u8], family: u8, end: usize) -> SocketAddr {
    let port = u16::from_be_bytes([id[2 * end], id[2 * end + 1]]);
    let bytes: [u8; 16] = id[4 + 16 * end..][..16].try_into().expect("16 bytes");
    let v4 = i32::from(family) == libc::AF_INET;
    let ip = if v4 { [bytes[0], bytes[1], bytes[2], bytes[3]].into() } else { IpAddr::from(bytes).to_canonical() };
    SocketAddr::new(ip, port)
}

fn parse(answer: &[u8], sequence: u32, peer: SocketAddr, local: SocketAddr) -> io::Result<Option<SocketOwner>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "an answer of sock_diag that makes no sense");
    let word = |at: usize| -> io::Result<u32> {
        let bytes = answer.get(at..at + 4).ok_or_else(bad)?;
        Ok(u32::from_ne_bytes(bytes.try_into().expect("4 bytes")))
    };
    let kind = answer.get(4..6).ok_or_else(bad)?;
    let kind = u16::from_ne_bytes(kind.try_into().expect("2 bytes"));
    if word(8)? != sequence {
        return Err(bad());
    }
    if kind == NLMSG_ERROR {
        let error = io::Error::from_raw_os_error(word(HEADER)?.cast_signed().wrapping_neg());
        return if error.raw_os_error() == Some(libc::ENOENT) { Ok(None) } else { Err(error) };
    }
    let found = answer.get(HEADER..HEADER + ANSWER).filter(|_| kind == SOCK_DIAG_BY_FAMILY).ok_or_else(bad)?;
    let owner = SocketOwner { uid: word(HEADER + ANSWER - 8)?, inode: word(HEADER + ANSWER - 4)? };
    let (family, state, id) = (found[0], found[1], &found[4..4 + SOCKET_ID]);
    // A listening socket, which the kernel finds for want of a connected one, has another state and no other end.
    let same = end(id, family, 0) == peer && end(id, family, 1) == local;
    let connected = state == TCP_ESTABLISHED && owner.inode != 0 && same;
    Ok(connected.then_some(owner))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn inode(stream: &TcpStream) -> u32 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap();
        let text = link.to_str().unwrap().strip_prefix("socket:[").unwrap().strip_suffix(']').unwrap();
        text.parse().unwrap()
    }

    /// The kernel names this very process's socket, over IPv4, IPv6, and IPv4 by an IPv6 socket on either side.
    #[test]
    fn the_peer_of_a_loopback_connection_is_found() {
        let uid = rustix::process::getuid().as_raw();
        for (listen, connect) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
            ("[::]:0", "127.0.0.1"),
            ("[::]:0", "::1"),
            ("127.0.0.1:0", "::ffff:127.0.0.1"),
        ] {
            let listener = TcpListener::bind(listen).unwrap();
            let to = SocketAddr::new(connect.parse().unwrap(), listener.local_addr().unwrap().port());
            let ours = TcpStream::connect(to).unwrap();
            let (theirs, peer) = listener.accept().unwrap();
            let owner = owner(peer, theirs.local_addr().unwrap()).unwrap();
            assert_eq!(owner, Some(SocketOwner { uid, inode: inode(&ours) }), "{listen} {connect}");
        }
    }

    /// A socket that was closed belongs to nobody, although the kernel says uid 0; so does one that never was.
    #[test]
    fn a_closed_socket_belongs_to_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, peer) = listener.accept().unwrap();
        let local = theirs.local_addr().unwrap();
        assert!(owner(peer, local).unwrap().is_some());
        ours.shutdown(Shutdown::Write).unwrap();
        assert_eq!(owner(peer, local).unwrap(), None, "half closed");
        drop(ours);
        assert_eq!(owner(peer, local).unwrap(), None, "closed, our end open");
        // Nobody is connected from the listener's own port: the listener itself, which the kernel finds, is no owner.
        assert_eq!(owner(local, SocketAddr::new(local.ip(), 1)).unwrap(), None);
    }
}
