//! A link that can be cut: connections to a port of this machine, passed on to another one.
//!
//! Invariant: bytes keep their order; `cut` closes all connections of that moment, with whatever is on
//! its way, and new ones are passed on as before.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// See above.
pub(crate) struct Proxy {
    port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
    is_ending: Arc<AtomicBool>,
    passed: Arc<AtomicU64>,
}

impl Proxy {
    /// Passes connections on to a port of this machine.
    pub(crate) fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (open, is_ending) =
            (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let passed = Arc::new(AtomicU64::new(0));
        let proxy = Proxy {
            port,
            open: open.clone(),
            is_ending: is_ending.clone(),
            passed: passed.clone(),
        };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_ending.load(Ordering::Acquire) {
                    return;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let pair = [(&client, &server), (&server, &client)];
                for (from, to) in pair {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                    let passed = passed.clone();
                    thread::spawn(move || pass(from, to, &passed));
                }
                open.lock().expect("nobody panics with it").extend([client, server]);
            }
        });
        proxy
    }

    /// Where to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Bytes that were passed on, in both directions.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        for stream in self.open.lock().expect("nobody panics with it").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Release);
        self.cut();
        // So that the thread sees it.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, passed: &AtomicU64) {
    let mut chunk = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        passed.fetch_add(count as u64, Ordering::Relaxed);
        if to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
