//! One connection: its two ends, and whose socket is at the other one. The kernel is asked once a connection, when it matters.

use std::net::SocketAddr;

use actix_web::dev::Extensions;
use actix_web::{rt, web};
use tokio::sync::OnceCell;

use super::super::connections::PeerKey;
use crate::sys::sock_diag::{self, SocketOwner};

/// The connection that a request came by.
#[derive(Debug)]
pub struct Peer {
    local: SocketAddr,
    remote: SocketAddr,
    owner: OnceCell<Option<SocketOwner>>,
    /// Whether it is one of those who started this.
    pub(super) starter: OnceCell<bool>,
}

/// Whose a new connection is, for the shares of the server: the user's whose socket it is on loopback, else an address's.
#[must_use]
pub fn key_of(local: SocketAddr, remote: SocketAddr) -> PeerKey {
    let owner = is_loopback(local, remote).then(|| sock_diag::owner(remote, local));
    match owner {
        Some(Ok(Some(owner))) => PeerKey::Uid(owner.uid),
        _ => PeerKey::of_address(local, remote),
    }
}

fn is_loopback(local: SocketAddr, remote: SocketAddr) -> bool {
    [local, remote].iter().all(|end| end.ip().to_canonical().is_loopback())
}

/// Remembers the ends of a new connection for its requests.
pub fn remember(stream: &rt::net::TcpStream, data: &mut Extensions) {
    if let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) {
        data.insert(Peer { local, remote, owner: OnceCell::new(), starter: OnceCell::new() });
    }
}

impl Peer {
    /// Whose socket is at the other end, if that is on this host, by loopback, and connected.
    pub async fn owner(&self) -> Option<SocketOwner> {
        if !is_loopback(self.local, self.remote) {
            return None;
        }
        let (remote, local) = (self.remote, self.local);
        let ask = || async move {
            match web::block(move || sock_diag::owner(remote, local)).await {
                Ok(Ok(owner)) => owner,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the kernel does not say whose socket it is");
                    None
                }
                Err(_stopping) => None,
            }
        };
        *self.owner.get_or_init(ask).await
    }

    /// Whose tries its wrong ones are.
    pub async fn key(&self) -> PeerKey {
        match self.owner().await {
            Some(owner) => PeerKey::Uid(owner.uid),
            None => PeerKey::of_address(self.local, self.remote),
        }
    }
}
