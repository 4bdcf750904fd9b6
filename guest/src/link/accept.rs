//! Waiting for a host and serving one after the other.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use tokio::net::UnixListener;

use super::handshake::{banner, find_hello, Hello, Search};
use super::line::{Arrival, Descriptor, Doorbell, Line};
use super::read_buffer::ReadBuffer;
use super::session::{self, SessionEnd};
use crate::agent::Agent;
use crate::log;

/// Serves hosts that come to a virtio-serial port, until the port is lost.
pub async fn serve_port(port: OwnedFd, agent: Arc<Agent>) -> io::Result<()> {
    let port = Descriptor::new(port)?;
    let mut buffer = ReadBuffer::default();
    loop {
        let hello = wait_at_port(&port, &mut buffer, &agent).await?;
        let line = Line::new(port.clone())?;
        let end = session::serve(&line, &mut buffer, &hello, &agent).await?;
        // After a violation the bytes that broke it stay: they may be the hello of a host that came without a pause.
        match end {
            SessionEnd::Violation(_) => log::warn(format_args!("{end}")),
            SessionEnd::Detached | SessionEnd::Lost => buffer = ReadBuffer::default(),
        }
    }
}

/// Says that an agent is here whenever a host comes, and returns its hello.
async fn wait_at_port(
    port: &Descriptor,
    buffer: &mut ReadBuffer,
    agent: &Agent,
) -> io::Result<Hello> {
    let doorbell = Doorbell::new(port)?;
    let banner = banner(agent.boot_id());
    let mut is_announced = false;
    loop {
        // Without a host this writes nothing; with one, these few bytes are taken whole or not at all.
        if !is_announced {
            is_announced = port.write(&banner)?.is_some();
            if is_announced {
                agent.contexts.wake();
            }
        }
        if is_announced {
            if let Some(hello) = take_hello(buffer) {
                return Ok(hello);
            }
        }
        match port.read(buffer.space())? {
            Arrival::Bytes(count) => buffer.filled(count),
            Arrival::Nothing => doorbell.ring().await?,
            Arrival::Closed => {
                // The bytes of a host that comes overtake the news of its coming: before that the port counts as closed.
                if is_announced {
                    *buffer = ReadBuffer::default();
                }
                is_announced = false;
                doorbell.ring().await?;
            }
        }
    }
}

/// Serves hosts that connect to a Unix socket, one at a time.
pub async fn serve_socket(path: &Path, agent: Arc<Agent>) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    loop {
        let (connection, _) = listener.accept().await?;
        let descriptor = Descriptor::new(connection.into_std()?.into())?;
        match serve_connection(descriptor, &agent).await {
            Ok(Some(end @ SessionEnd::Violation(_))) => log::warn(format_args!("{end}")),
            Ok(_) => {}
            Err(error) => log::warn(format_args!("the connection failed: {error}")),
        }
    }
}

async fn serve_connection(
    descriptor: Descriptor,
    agent: &Arc<Agent>,
) -> io::Result<Option<SessionEnd>> {
    let line = Line::new(descriptor)?;
    let mut buffer = ReadBuffer::default();
    // A fresh socket takes these few bytes whole.
    line.descriptor().write(&banner(agent.boot_id()))?;
    let hello = loop {
        match line.arrival(buffer.space()).await? {
            Arrival::Bytes(count) => buffer.filled(count),
            Arrival::Nothing => {}
            Arrival::Closed => return Ok(None),
        }
        if let Some(hello) = take_hello(&mut buffer) {
            break hello;
        }
    };
    session::serve(&line, &mut buffer, &hello, agent)
        .await
        .map(Some)
}

fn take_hello(buffer: &mut ReadBuffer) -> Option<Hello> {
    match find_hello(buffer.unread()) {
        Search::Found(hello, used) => {
            buffer.consume(used);
            Some(hello)
        }
        Search::Missing(useless) => {
            buffer.consume(useless);
            None
        }
    }
}
