//! The commands: each file opens with its slice of the table, then the handlers in the same order.
//!
//! Invariant: parse arguments, call types and store, write the reply; never a ring, a file or a
//! thread.

pub mod bitmap;
pub mod cluster;
pub mod connection;
mod container;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod keyspace;
pub mod list;
pub mod pubsub;
pub mod replication;
pub mod scripting;
pub mod server;
pub mod set;
pub mod sorted_set;
pub mod stream;
pub mod string;
pub mod transactions;

use crate::command::Command;

/// Every slice of the table.
pub const ALL: &[&[Command]] = &[
    bitmap::bits::COMMANDS,
    bitmap::combine::COMMANDS,
    bitmap::count::COMMANDS,
    bitmap::field::COMMANDS,
    cluster::COMMANDS,
    connection::COMMANDS,
    string::get::COMMANDS,
    string::lcs::COMMANDS,
    string::many::COMMANDS,
    string::numeric::COMMANDS,
    string::range::COMMANDS,
    string::set::COMMANDS,
    sorted_set::add::COMMANDS,
    sorted_set::algebra::COMMANDS,
    sorted_set::members::COMMANDS,
    sorted_set::pop::COMMANDS,
    sorted_set::range::COMMANDS,
    sorted_set::remove::COMMANDS,
    hash::expire::COMMANDS,
    hash::extended::COMMANDS,
    hash::random::COMMANDS,
    hash::read::COMMANDS,
    hash::scan::COMMANDS,
    hash::write::COMMANDS,
    set::algebra::COMMANDS,
    set::members::COMMANDS,
    set::random::COMMANDS,
    generic::dump::COMMANDS,
    generic::migrate::COMMANDS,
    stream::entries::COMMANDS,
    stream::group::COMMANDS,
    stream::info::COMMANDS,
    stream::pending::COMMANDS,
    stream::read::COMMANDS,
    generic::keys::COMMANDS,
    generic::transfer::COMMANDS,
    generic::expire::COMMANDS,
    generic::scan::COMMANDS,
    generic::sort::COMMANDS,
    generic::object::COMMANDS,
    geo::points::COMMANDS,
    geo::search::COMMANDS,
    hyperloglog::COMMANDS,
    keyspace::COMMANDS,
    list::blocking::COMMANDS,
    list::elements::COMMANDS,
    list::ends::COMMANDS,
    list::moving::COMMANDS,
    list::search::COMMANDS,
    pubsub::publish::COMMANDS,
    pubsub::show::COMMANDS,
    pubsub::subscribe::COMMANDS,
    replication::replconf::COMMANDS,
    replication::failover::COMMANDS,
    replication::replicaof::COMMANDS,
    replication::role::COMMANDS,
    replication::sync::COMMANDS,
    replication::wait::COMMANDS,
    scripting::eval::COMMANDS,
    scripting::function::COMMANDS,
    scripting::script::COMMANDS,
    server::acl::COMMANDS,
    server::command::COMMANDS,
    server::command_log::COMMANDS,
    server::config::COMMANDS,
    server::debug::COMMANDS,
    server::info::COMMANDS,
    server::hotkeys::COMMANDS,
    server::latency::COMMANDS,
    server::lolwut::COMMANDS,
    server::memory::COMMANDS,
    server::module::COMMANDS,
    server::persistence::COMMANDS,
    server::monitor::COMMANDS,
    server::process::COMMANDS,
    transactions::COMMANDS,
];
