//! The metrics endpoint and the status page, over HTTP on a port of their own.
//!
//! Invariant: nobody can change anything here, and nobody here holds a core up: counters are read
//! where the cores publish them, the rest is asked for, answered between two batches of commands, and
//! missing where a core does not answer in time. Source: Prometheus' text format, version 0.0.4.

mod connections;
mod cores;
mod exposition;
mod history;
mod redis;
mod status;

use std::net::TcpListener;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::base::sys;
use crate::observe::log;
use crate::observe::report::CoreReport;
use crate::observe::server::ServerFacts;
use connections::Connections;
use exposition::Exposition;
use history::History;

/// Where a core sends its report.
pub type Inquiry = UnboundedSender<CoreReport>;

/// A core that has not answered by then runs something long: it is left out.
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// What the endpoint reads.
#[derive(Clone)]
pub(super) struct Observer {
    cores: Vec<Sender<Inquiry>>,
    event_fds: Vec<RawFd>,
    server: Arc<ServerFacts>,
}

impl Observer {
    /// Asks through `cores`, each of which is woken by its eventfd.
    pub(super) fn new(
        cores: Vec<Sender<Inquiry>>,
        event_fds: Vec<RawFd>,
        server: Arc<ServerFacts>,
    ) -> Observer {
        Observer { cores, event_fds, server }
    }

    /// What the cores tell of themselves, by core; those that answer in time.
    async fn reports(&self) -> Vec<CoreReport> {
        let (sender, mut receiver) = unbounded_channel();
        for (core, event_fd) in self.cores.iter().zip(&self.event_fds) {
            if core.send(sender.clone()).is_ok() {
                sys::write_event(*event_fd);
            }
        }
        drop(sender);
        let mut reports = Vec::new();
        let all = receive_all(&mut receiver, &mut reports);
        // Those that have come by then are there.
        let _ = tokio::time::timeout(ANSWER_WAIT, all).await;
        reports.sort_by_key(|report: &CoreReport| report.core);
        reports
    }
}

async fn receive_all(receiver: &mut UnboundedReceiver<CoreReport>, into: &mut Vec<CoreReport>) {
    while let Some(report) = receiver.recv().await {
        into.push(report);
    }
}

/// What requests are answered from.
#[derive(Clone)]
struct Site {
    observer: Observer,
    history: History,
}

/// Answers on these sockets from now on.
pub(super) fn serve(listeners: Vec<TcpListener>, observer: &Observer) {
    if listeners.is_empty() {
        return;
    }
    let history = History::default();
    tokio::task::spawn_local(history.clone().go_on(observer.server.clone()));
    let site = Site { observer: observer.clone(), history };
    let router = Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/status.json", get(status))
        .layer(middleware::from_fn(guard))
        .with_state(site);
    let places = connections::places();
    for listener in listeners {
        let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
        match Connections::new(listener, places.clone()) {
            Ok(connections) => {
                let router = router.clone().layer(Extension(IsLocal(is_local)));
                tokio::task::spawn_local(async move { axum::serve(connections, router).await });
            }
            Err(error) => log::warning(format!("Cannot answer for metrics: {error}")),
        }
    }
}

/// The socket listens on a loopback address only.
#[derive(Clone, Copy)]
struct IsLocal(bool);

/// Keeps the pages of other sites out: a browser on this machine reaches loopback addresses, but names
/// the site that it believes to talk to.
async fn guard(request: Request, next: Next) -> Response {
    let is_local = request.extensions().get().is_some_and(|IsLocal(is_local)| *is_local);
    if is_local && !names_loopback(request.headers()) {
        return (StatusCode::FORBIDDEN, "Only as localhost or by address.\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in SAFETY_HEADERS {
        headers.insert(name.clone(), header::HeaderValue::from_static(value));
    }
    response
}

/// The page may fetch its figures, and nothing else from anywhere.
const SAFETY_HEADERS: &[(header::HeaderName, &str)] = &[
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
];

/// True if the Host header is missing, an address or `localhost`.
fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

async fn page() -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], status::PAGE).into_response()
}

async fn metrics(State(site): State<Site>) -> Response {
    let reports = site.observer.reports().await;
    let mut text = Exposition::default();
    redis::describe(&mut text, &reports);
    cores::describe(&mut text, &site.observer.server, &reports);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.finish())
        .into_response()
}

async fn status(State(site): State<Site>) -> Response {
    let reports = site.observer.reports().await;
    let figures = status::figures(&site.observer.server, &reports, &site.history);
    ([(header::CONTENT_TYPE, "application/json")], figures.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_a_loopback_name() {
        let names = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, header::HeaderValue::from_static(host));
            names_loopback(&headers)
        };
        for host in ["localhost", "LOCALHOST:9121", "127.0.0.1:9121", "[::1]:9121", "10.0.0.7"] {
            assert!(names(host), "{host}");
        }
        for host in ["evil.example", "evil.example:9121", "localhost.evil.example", "[evil"] {
            assert!(!names(host), "{host}");
        }
        assert!(names_loopback(&HeaderMap::new()));
    }
}
