//! Connections to the metrics port: few at a time, and none for long.
//!
//! Invariant: whoever connects and sends nothing, or reads nothing, gives his place back after
//! `LIFETIME`; so nobody can take the endpoint, or the process' descriptors, for himself.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 32;
/// Scrapers connect again after it.
const LIFETIME: Duration = Duration::from_mins(1);
/// What accepting waits after it has failed, for want of descriptors as a rule.
const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// The places that all sockets share.
pub(super) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS_MAX))
}

/// A socket, and the places that its connections take.
pub(super) struct Connections {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Connections {
    /// Accepts on a socket that listens.
    pub(super) fn new(
        listener: std::net::TcpListener,
        places: Arc<Semaphore>,
    ) -> io::Result<Connections> {
        listener.set_nonblocking(true)?;
        Ok(Connections { listener: TcpListener::from_std(listener)?, places })
    }
}

impl axum::serve::Listener for Connections {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        loop {
            if let Ok(place) = self.places.clone().acquire_owned().await
                && let Ok((stream, address)) = self.listener.accept().await
            {
                let end = Box::pin(sleep(LIFETIME));
                return (Visit { stream, end, _place: place }, address);
            }
            sleep(FAILED_PAUSE).await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection, until its time is over.
pub(super) struct Visit {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Visit {
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
