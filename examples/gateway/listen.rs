//! Where the gateway listens: an address, a name or a port, and nothing but this machine unless callers need a key.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use tokio::net::{TcpListener, lookup_host};

use crate::host::{Host, Name};

/// `127.0.0.1:3733`, `[::1]:3733`, `localhost:3733`; `:3733` and `3733` are the same at 127.0.0.1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Listen {
    name: Name,
    port: u16,
}

pub(crate) const EXPECTED: &str =
    "an address and a port, like \"127.0.0.1:3733\", \"localhost:3733\" or \"3733\"";

impl Listen {
    pub(crate) const fn loopback(port: u16) -> Self {
        Self {
            name: Name::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port,
        }
    }

    /// The name under which callers will reach this, if it is one.
    pub(crate) fn name(&self) -> Option<&Name> {
        matches!(self.name, Name::Dns(_)).then_some(&self.name)
    }

    /// Listens there. Where other machines could reach it, only if that is `open` to them: to callers with a key, or
    /// because the operator said so.
    pub(crate) async fn bind(&self, open: bool) -> Result<TcpListener, String> {
        let cannot = |error: &dyn fmt::Display| format!("cannot listen on {self}: {error}");
        let addresses = self.addresses().await.map_err(|error| cannot(&error))?;
        let reachable = addresses
            .iter()
            .find(|address| !address.ip().to_canonical().is_loopback());
        if let (Some(address), false) = (reachable, open) {
            return Err(format!(
                "{address} can be reached from other machines, and callers need no key: name the variable that holds \
                 their keys (--access-keys-env, or access_keys_env in the configuration), or say --open"
            ));
        }
        TcpListener::bind(&*addresses)
            .await
            .map_err(|error| cannot(&error))
    }

    /// In the order in which they are tried.
    async fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        match &self.name {
            Name::Address(ip) => Ok(vec![SocketAddr::new(*ip, self.port)]),
            Name::Dns(name) => {
                let found = lookup_host((name.as_str(), self.port)).await?;
                Ok(ipv4_first(found.collect()))
            }
        }
    }
}

/// Where a name has addresses of both kinds, it is IPv4 that all callers know.
fn ipv4_first(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix(':').unwrap_or(text);
        if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
            if let Ok(port) = port.parse() {
                return Ok(Self::loopback(port));
            }
        }
        match Host::parse(text) {
            Some(Host {
                name,
                port: Some(port),
            }) => Ok(Self { name, port }),
            _ => Err(format!("this is not {EXPECTED}")),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Listen {
        text.parse().expect(text)
    }

    #[test]
    fn a_port_alone_is_at_loopback() {
        for text in ["8080", ":8080", "127.0.0.1:8080"] {
            assert_eq!(listen(text), Listen::loopback(8080), "{text}");
        }
    }

    #[test]
    fn names_and_addresses_are_taken_with_a_port() {
        for text in ["localhost:3733", "[::1]:8080", "0.0.0.0:0", "my_box:80"] {
            assert_eq!(listen(text).to_string(), text);
        }
        for nonsense in [
            "",
            ":",
            "localhost",
            "127.0.0.1",
            "[::1]",
            "::1:80",
            "65536",
            "-1",
            "http://localhost:80",
            "localhost:port",
            "localhost:80/v1",
        ] {
            let error = nonsense.parse::<Listen>().expect_err(nonsense);
            assert!(error.contains("localhost:3733"), "{error}");
        }
    }

    #[tokio::test]
    async fn other_machines_are_let_in_only_if_that_was_said() {
        for text in ["0.0.0.0:0", "[::ffff:0.0.0.0]:0"] {
            let error = listen(text).bind(false).await.expect_err("closed");
            assert!(
                error.contains("--open") && error.contains("access_keys_env"),
                "{error}"
            );
        }
        assert!(listen("0.0.0.0:0").bind(true).await.is_ok());
    }

    #[tokio::test]
    async fn loopback_needs_no_word_under_any_name() {
        for text in ["0", "127.0.0.1:0", "localhost:0"] {
            let listener = listen(text).bind(false).await;
            let address = listener.expect(text).local_addr().expect("an address");
            assert!(address.ip().to_canonical().is_loopback(), "{address}");
        }
    }

    #[test]
    fn a_name_listens_where_ipv4_callers_find_it() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (v6, v4) = (address("[::1]:1"), address("127.0.0.1:1"));
        assert_eq!(ipv4_first(vec![v6, v4]), [v4, v6]);
    }
}
