//! The name server of a scenario: 127.0.0.1 port 53 of its own network namespace.

#[path = "../../../crates/net/src/dns/test_server.rs"]
mod test_server;

/// Serves the zone text on 127.0.0.1 until the process ends. Names that it does not have do not exist.
pub(crate) fn start(zone: String) {
    start_on("127.0.0.1", zone);
}

/// The same on another address.
pub(crate) fn start_on(address: &str, zone: String) {
    let address = format!("{address}:53").parse().unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _server = test_server::TestServer::start_on(address, &zone).await;
            ready.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    is_ready.recv().unwrap();
}
