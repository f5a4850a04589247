//! Subscribers and replicas that hear and forget: what makes a PUBLISH, or a write, of a scenario
//! cost something. Invariant: they are on the generator's processor, so a server's CPU time is its
//! own; all of them are subscribed, or online, before anything is measured.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::server::{Client, Server, info_field};
use crate::sys::{self, Epoll};
use crate::{Result, resp};

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
        Listeners::listen(streams, cpu, &[])
    }

    /// `count` replicas, which take a snapshot and all that is written behind it.
    pub(crate) fn replicate(server: &Server, count: usize, cpu: usize) -> Result<Listeners> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let mut client = Client::open(server.port)?;
            // Who does not say that it knows an end mark gets a snapshot at once, from a file.
            client.send(&["PSYNC", "?", "-1"])?;
            streams.push(client.into_stream());
        }
        let mut alive = Vec::new();
        resp::write_command(&mut alive, &[b"REPLCONF", b"ACK", b"0"]);
        let listeners = Listeners::listen(streams, cpu, &alive)?;
        let start = Instant::now();
        let is_online = |info: &str| {
            (0..count).all(|index| {
                info_field(info, &format!("slave{index}"))
                    .is_some_and(|fields| fields.contains("state=online"))
            })
        };
        while !is_online(&server.info()?) {
            if start.elapsed() > ONLINE_TIME_MAX {
                return Err(format!("no replica of {} comes online", server.name).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(listeners)
    }

    /// Discards what comes in on these connections, and sends `alive` on each now and then.
    fn listen(streams: Vec<TcpStream>, cpu: usize, alive: &[u8]) -> Result<Listeners> {
        let mut epoll = Epoll::new(streams.len().clamp(1, 1024))?;
        for (token, stream) in streams.iter().enumerate() {
            stream.set_nonblocking(true)?;
            epoll.add(stream.as_raw_fd(), token)?;
        }
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ended);
        let alive = alive.to_vec();
        let thread = std::thread::Builder::new().name("listeners".to_owned()).spawn(move || {
            // A server that closes a listener is found out by its count of receivers.
            let _ = sys::pin_thread(&[cpu]);
            let mut piece = vec![0; PIECE_BYTES];
            let mut told = Instant::now();
            while !is_over.load(Ordering::Relaxed) {
                let ready = epoll.wait(WAIT_MS).unwrap_or(0);
                (0..ready).for_each(|index| discard(&streams[epoll.token(index)], &mut piece));
                if told.elapsed() >= ALIVE_EVERY {
                    told = Instant::now();
                    for mut stream in &streams {
                        // A server that does not take it drops the replica.
                        let _ = stream.write_all(&alive);
                    }
                }
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
/// How often a replica says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// How long a replica may take until it is online.
const ONLINE_TIME_MAX: Duration = Duration::from_mins(1);
const PIECE_BYTES: usize = 64 * 1024;
