//! Subscribers that hear and forget: what makes a PUBLISH of a scenario cost something.
//! Invariant: they are on the generator's processor, so a server's CPU time is its own; all of them
//! are subscribed before anything is measured.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::Result;
use crate::server::{Client, Server};
use crate::sys::{self, Epoll};

/// The listeners of one server; they leave when this is dropped.
pub(crate) struct Listeners {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    /// `count` clients, which share `channels` evenly; channels are named as templates name them,
    /// `channel:` and the digits of a key.
    pub(crate) fn subscribe(
        server: &Server,
        count: usize,
        channels: u64,
        cpu: usize,
    ) -> Result<Listeners> {
        let mut streams = Vec::with_capacity(count);
        for index in 0..count {
            let mut client = Client::open(server.port)?;
            client.call(&["SUBSCRIBE", &format!("channel:{:012}", index as u64 % channels)])?;
            streams.push(client.into_stream());
        }
        let mut epoll = Epoll::new(count.clamp(1, 1024))?;
        for (token, stream) in streams.iter().enumerate() {
            stream.set_nonblocking(true)?;
            epoll.add(stream.as_raw_fd(), token)?;
        }
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ended);
        let thread = std::thread::Builder::new().name("listeners".to_owned()).spawn(move || {
            // A server that closes a listener is found out by its count of receivers.
            let _ = sys::pin_thread(&[cpu]);
            let mut piece = vec![0; PIECE_BYTES];
            while !is_over.load(Ordering::Relaxed) {
                let ready = epoll.wait(WAIT_MS).unwrap_or(0);
                (0..ready).for_each(|index| discard(&streams[epoll.token(index)], &mut piece));
            }
        })?;
        Ok(Listeners { ended, thread: Some(thread) })
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic.
            let _ = thread.join();
        }
    }
}

/// Reads all that has come.
fn discard(mut stream: &TcpStream, piece: &mut [u8]) {
    loop {
        match stream.read(piece) {
            Ok(1..) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// How often a thread looks whether it is over.
const WAIT_MS: i32 = 50;
const PIECE_BYTES: usize = 64 * 1024;
