//! The names and addresses by which the gateway is reached: in `Host`, in `Origin` and in `--listen`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A host as a URL writes it: an address in digits or a name, and perhaps a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Host {
    pub(crate) name: Name,
    pub(crate) port: Option<u16>,
}

/// An address in digits, or a name, in lower case and without the dot that may end it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Name {
    Address(IpAddr),
    Dns(String),
}

impl Host {
    /// `127.0.0.1:3733`, `[::1]:3733`, `Localhost`, `name.example.:80`. A value that is not a host reads as none, and so does one with
    /// credentials in front.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                (Name::Address(address.into()), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, port) = text.split_at(end);
                (Name::parse(name)?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            // RFC 3986, section 3.2.3: the port may be empty.
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            None if port.is_empty() => None,
            _ => return None,
        };
        Some(Self { name, port })
    }
}

impl Name {
    /// An IPv4 address or a name; an IPv6 address stands in brackets, which only [`Host::parse`] reads.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        // Containers have names with underscores.
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let label = |label: &str| !label.is_empty() && label.bytes().all(fits);
        (name.len() <= 253 && name.split('.').all(label))
            .then(|| Self::Dns(name.to_ascii_lowercase()))
    }

    pub(crate) fn is_localhost(&self) -> bool {
        matches!(self, Self::Dns(name) if name == "localhost")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Dns(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_in_every_spelling() {
        for (text, name, port) in [
            ("127.0.0.1:3733", "127.0.0.1", Some(3733)),
            ("127.0.0.1.", "127.0.0.1", None),
            ("[::1]", "[::1]", None),
            ("[0:0:0:0:0:0:0:1]:80", "[::1]", Some(80)),
            ("LocalHost.:3733", "localhost", Some(3733)),
            ("my_box.example:", "my_box.example", None),
        ] {
            let host = Host::parse(text).expect(text);
            assert_eq!((host.name.to_string().as_str(), host.port), (name, port));
        }
    }

    #[test]
    fn what_is_no_host_is_none() {
        for text in [
            "",
            ".",
            ":3733",
            "a..b",
            "localhost..",
            "a b",
            "user@localhost",
            "localhost:http",
            "localhost:+80",
            "localhost:65536",
            "localhost:80:80",
            "localhost/path",
            "::1",
            "[::1",
            "[::1]x",
            "[localhost]",
            "[fe80::1%25eth0]",
            "naïve.example",
            "localhost,evil.example",
        ] {
            assert_eq!(Host::parse(text), None, "{text}");
        }
    }
}
