//! The suite that every backend must pass.

mod standalone {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nadb_conformance::Subject;
    use nadb_redis::{RedisBackend, RedisOptions};

    use crate::server::Server;

    /// A store of its own on a server of its own, which lives as long as the subject.
    fn subject() -> Subject {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let server = Server::start(&[]);
        let prefix = format!("test{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        let url = format!("{}?prefix={prefix}", server.url());
        let open = move || {
            let _server = &server;
            let options = RedisOptions::from_url(&url).unwrap();
            Arc::new(RedisBackend::open(options).unwrap())
        };
        Subject::new(open()).with_reopen(move || open())
    }

    nadb_conformance::tests!(subject, excluded: include_str!("excluded_standalone.txt"));
}
