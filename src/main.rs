//! The `ironring` binary: command line, configuration, server, exit code.

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use ironring::base::alloc::{Counting, Mimalloc};
use ironring::server;

#[global_allocator]
static ALLOCATOR: Counting<Mimalloc> = Counting(Mimalloc);

fn main() -> ExitCode {
    let args: Vec<Vec<u8>> = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    server::main(&args)
}
