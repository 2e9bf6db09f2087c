//! What went wrong: what a server's error means, and what users are told.

use nadb_core::{Error, ErrorKind};
use redis::{RedisError, ServerError};

/// What to do about an error that a server answered. In all of these cases the call was not done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The slot lives elsewhere now: `host:port`.
    Moved(String),
    /// This once ask elsewhere: `host:port`.
    Ask(String),
    /// Load the scripts.
    NoScript,
    /// Perhaps later.
    Later,
    /// Perhaps later, and of another server: this one takes no writes any more.
    Demoted,
    /// Never.
    Final(Error),
}

/// An error as the server worded it.
pub(crate) fn words(error: &ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default()).trim_end().to_owned()
}

impl Refusal {
    /// What an error that `server` answered means.
    pub(crate) fn of(error: &ServerError, server: &str) -> Refusal {
        let refused = |kind, what: &str| {
            Refusal::Final(Error::new(kind, format!("the server {server} {what}: {}", words(error))))
        };
        let address = || {
            let (_slot, address) = error.details().unwrap_or_default().split_once(' ')?;
            let address = address.split(' ').next().unwrap_or_default();
            // Without a host it is the one that was asked, on another port.
            let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
            Some(if address.starts_with(':') { format!("{host}{address}") } else { address.to_owned() })
        };
        match error.code() {
            "MOVED" => address().map_or(Refusal::Later, Refusal::Moved),
            "ASK" => address().map_or(Refusal::Later, Refusal::Ask),
            "NOSCRIPT" => Refusal::NoScript,
            "TRYAGAIN" | "LOADING" | "BUSY" | "CLUSTERDOWN" | "NOREPLICAS" => Refusal::Later,
            "READONLY" | "MASTERDOWN" => Refusal::Demoted,
            "OOM" => refused(ErrorKind::NoSpace, "has no memory left for writes"),
            "MISCONF" => {
                refused(ErrorKind::ReadOnly, "takes no writes while it cannot keep its data on its disk")
            }
            "NOAUTH" | "WRONGPASS" => refused(ErrorKind::Backend, "refuses user or password"),
            "NOPERM" => refused(ErrorKind::Backend, "does not permit that to this user"),
            "CORRUPT" => refused(ErrorKind::Corruption, "has a damaged record"),
            _ => refused(ErrorKind::Backend, "reports"),
        }
    }
}

/// Why nothing came back.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was sent.
    NotSent(String),
    /// It was sent, at least in part, and there is no answer.
    Lost(String),
    /// There is no use in trying again.
    Final(Error),
}

impl Failure {
    /// Connecting to `server` failed.
    pub(crate) fn connecting(server: &str, error: &RedisError) -> Failure {
        if error.kind() == redis::ErrorKind::AuthenticationFailed {
            let words = format!("the server {server} refuses user or password");
            return Failure::Final(Error::new(ErrorKind::Backend, words));
        }
        if error.kind() == redis::ErrorKind::InvalidClientConfig {
            let words = format!("the server {server} cannot be connected to: {error}");
            return Failure::Final(Error::new(ErrorKind::Backend, words));
        }
        Failure::NotSent(format!("connecting to {server} failed: {error}"))
    }

    /// Sending to `server`, or waiting for its answer, failed.
    pub(crate) fn talking(server: &str, error: &RedisError) -> Failure {
        let what = if error.is_timeout() {
            "does not answer in time".to_owned()
        } else {
            format!("is gone: {error}")
        };
        Failure::Lost(format!("the server {server} {what}"))
    }
}

/// An answer of another form than was asked for.
pub(crate) fn unexpected(what: &str) -> Error {
    Error::new(ErrorKind::Backend, format!("the server answered {what} in a form that makes no sense"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: &str, detail: &str) -> Refusal {
        let error = redis::make_extension_error(code.into(), Some(detail.into()));
        Refusal::of(&ServerError::try_from(error).unwrap(), "h:1")
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let moved = |code| match refusal(code, "3999 127.0.0.1:6381") {
            Refusal::Moved(address) | Refusal::Ask(address) => address,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (moved("MOVED"), moved("ASK")),
            ("127.0.0.1:6381".to_owned(), "127.0.0.1:6381".to_owned())
        );
        assert!(matches!(refusal("MOVED", "3999 :6381"), Refusal::Moved(address) if address == "h:6381"));
        for code in ["TRYAGAIN", "LOADING", "BUSY", "CLUSTERDOWN", "NOREPLICAS"] {
            assert!(matches!(refusal(code, "x"), Refusal::Later), "{code}");
        }
        assert!(matches!(refusal("READONLY", "x"), Refusal::Demoted));
        assert!(matches!(refusal("NOSCRIPT", "x"), Refusal::NoScript));
        for (code, kind) in [
            ("OOM", ErrorKind::NoSpace),
            ("MISCONF", ErrorKind::ReadOnly),
            ("NOAUTH", ErrorKind::Backend),
            ("WHATEVER", ErrorKind::Backend),
        ] {
            let Refusal::Final(error) = refusal(code, "of the server") else { panic!("{code} is final") };
            assert_eq!(error.kind(), kind);
            assert!(
                error.to_string().contains("of the server") && error.to_string().contains("h:1"),
                "{error}"
            );
        }
    }
}
