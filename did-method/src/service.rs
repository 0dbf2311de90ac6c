//! Services: a closed set of kinds, and a grammar of endpoints small enough to be law.
//!
//! A rule that validators must agree on may not lean on a URL, IDNA or Unicode library, which change
//! (PROTOCOL §1.1). So an endpoint is
//!
//! ```text
//! endpoint = "https://" host [ ":" port ] *( "/" segment )        at most 256 bytes
//! host     = label 1*( "." label )          a-z 0-9 "-", the last label begins with a letter
//! port     = 1 to 65535 in decimal without leading zero, not 443
//! segment  = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" )         but not "." or ".."
//! ```
//!
//! There is no query, fragment, user, percent-encoding or IP address, so there is no place for a person's data
//! (REQUIREMENTS A1) and each endpoint has one spelling. Nothing here fetches anything.

use sillok_proto::v1::ServiceKind;

/// Longest endpoint, in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 256;

/// Longest host name and longest label, in bytes (RFC 1035 §2.3.4, without the dot of the root).
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Why text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Longer than 256 bytes.
    #[error("the endpoint has {len} bytes, more than 256; use a shorter path")]
    TooLong {
        /// Bytes received.
        len: usize,
    },
    /// Another scheme, or none.
    #[error("the endpoint does not begin with https:// in lower case; only https is allowed")]
    Scheme,
    /// A byte that the grammar does not know in any place: user information, query, fragment, percent-encoding,
    /// white space, a backslash, or text that is not ASCII.
    #[error(
        "the endpoint has the character 0x{byte:02x}; there is no user, query, fragment, percent-encoding or non-ASCII text"
    )]
    Character {
        /// The first such byte.
        byte: u8,
    },
    /// Not a lower-case host name of two or more labels.
    #[error(
        "the host is not a lower-case DNS name with a dot; write a name such as registry.example"
    )]
    Host,
    /// An IPv4 or IPv6 address, or a name that some library would read as one.
    #[error("the host is an IP address; write a DNS name")]
    IpAddress,
    /// Not a port, or the one that https has anyway.
    #[error(
        "the port is not 1 to 65535 without leading zero, or is 443, which https has; correct it or leave it out"
    )]
    Port,
    /// An empty segment, which a trailing slash makes too.
    #[error("the path has an empty segment; leave out double and trailing slashes")]
    EmptySegment,
    /// A segment `.` or `..`.
    #[error("the path has a segment . or ..; write the path it leads to")]
    DotSegment,
}

/// Checks a service endpoint.
///
/// # Errors
///
/// [`EndpointError`].
pub fn check_endpoint(endpoint: &str) -> Result<(), EndpointError> {
    if endpoint.len() > ENDPOINT_BYTES_MAX {
        return Err(EndpointError::TooLong { len: endpoint.len() });
    }
    let rest = endpoint.strip_prefix("https://").ok_or(EndpointError::Scheme)?;
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, Some(path)),
        None => (rest, None),
    };
    if authority.starts_with('[') {
        return Err(EndpointError::IpAddress);
    }
    let known = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':')
    };
    if let Some(byte) = rest.bytes().find(|byte| !known(*byte)) {
        return Err(EndpointError::Character { byte });
    }
    match authority.split_once(':') {
        Some((host, port)) => {
            check_host(host)?;
            check_port(port)?;
        }
        None => check_host(authority)?,
    }
    for segment in path.into_iter().flat_map(|path| path.split('/')) {
        match segment {
            "" => return Err(EndpointError::EmptySegment),
            "." | ".." => return Err(EndpointError::DotSegment),
            _ if segment.contains(':') => return Err(EndpointError::Character { byte: b':' }),
            _ => {}
        }
    }
    Ok(())
}

fn check_host(host: &str) -> Result<(), EndpointError> {
    if host.len() > HOST_BYTES_MAX || !host.contains('.') {
        return Err(EndpointError::Host);
    }
    for label in host.split('.') {
        let letter_digit_hyphen =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=LABEL_BYTES_MAX).contains(&label.len())
            || label.starts_with('-')
            || label.ends_with('-')
            || !label.bytes().all(letter_digit_hyphen)
        {
            return Err(EndpointError::Host);
        }
    }
    // A host that ends in a number is an IPv4 address to URL libraries (also 0x7f.1); no top-level domain is.
    let last = host.rsplit('.').next().unwrap_or(host);
    if last.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(EndpointError::IpAddress);
    }
    Ok(())
}

fn check_port(port: &str) -> Result<(), EndpointError> {
    let digits = !port.starts_with('0') && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if digits && number != 443 => Ok(()),
        _ => Err(EndpointError::Port),
    }
}

/// The identifier of the service in a document, without `#`. Empty for the unspecified kind, which no document has.
#[must_use]
pub const fn service_id(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Unspecified => "",
        ServiceKind::LinkedDomains => "linked-domains",
        ServiceKind::TrustRegistry => "trust-registry",
        ServiceKind::CredentialIssuer => "credential-issuer",
        ServiceKind::StatusList => "status-list",
        ServiceKind::GovernanceFramework => "governance-framework",
        ServiceKind::DidResolver => "did-resolver",
    }
}

/// The `type` of the service in a document. Empty for the unspecified kind, which no document has.
#[must_use]
pub const fn service_type(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Unspecified => "",
        ServiceKind::LinkedDomains => "LinkedDomains",
        ServiceKind::TrustRegistry => "TrustRegistry",
        ServiceKind::CredentialIssuer => "CredentialIssuer",
        ServiceKind::StatusList => "StatusList",
        ServiceKind::GovernanceFramework => "GovernanceFramework",
        ServiceKind::DidResolver => "DidResolver",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(endpoint: &str, expected: EndpointError) {
        assert_eq!(check_endpoint(endpoint), Err(expected), "{endpoint}");
    }

    #[test]
    fn endpoints_inside_the_grammar_are_accepted() {
        let label = "a".repeat(63);
        for endpoint in [
            "https://registry.example",
            "https://registry.example:8443",
            "https://registry.example:1/a",
            "https://registry.example:65535",
            "https://a.b",
            "https://a.b/c",
            "https://1.2.3.4.example",
            "https://0-9.xn--3e0b707e",
            "https://registry.example/v1/Lists/~x_y-z.json",
            "https://registry.example/..a/.../a..",
            &format!("https://{label}.{label}.example"),
            &format!("https://a.b/{}", "c".repeat(256 - 12)),
        ] {
            assert_eq!(check_endpoint(endpoint), Ok(()), "{endpoint}");
        }
    }

    #[test]
    fn an_endpoint_is_at_most_256_bytes() {
        refused(&format!("https://a.b/{}", "c".repeat(245)), EndpointError::TooLong { len: 257 });
    }

    #[test]
    fn only_https_in_lower_case_is_a_scheme() {
        for endpoint in [
            "",
            "http://a.b",
            "HTTPS://a.b",
            "Https://a.b",
            "https:/a.b",
            "https:a.b",
            "//a.b",
            "a.b",
            " https://a.b",
            "ftp://a.b",
            "did:sillok:devnet:z1",
            "mailto:hong@a.b",
            "tel:+821012345678",
        ] {
            refused(endpoint, EndpointError::Scheme);
        }
    }

    #[test]
    fn a1_an_endpoint_has_no_place_for_a_persons_data() {
        let check = |endpoint: &str, byte| refused(endpoint, EndpointError::Character { byte });
        check("https://hong@a.b", b'@');
        check("https://hong:secret@a.b", b'@');
        check("https://a.b?rrn=9001011234567", b'?');
        check("https://a.b/x?name=hong", b'?');
        check("https://a.b/x#hong", b'#');
        check("https://a.b/%ED%99%8D", b'%');
        check("https://a.b/\u{d64d}\u{ae38}\u{b3d9}", 0xed);
        check("https://\u{d64d}.example", 0xed);
        check("https://a.b/hong@a.b", b'@');
        check("https://a.b/a b", b' ');
        check("https://a.b/a\n", b'\n');
        check("https://a.b/a\\b", b'\\');
        check("https://a.b/a:b", b':');
        check("https://a.b/a;b", b';');
        check("https://a.b/a+b", b'+');
        check("https://a.b\0", 0);
    }

    #[test]
    fn a_host_is_a_lower_case_name_with_a_dot() {
        for endpoint in [
            "https://",
            "https:///path",
            "https://localhost",
            "https://localhost:8443",
            "https://A.b",
            "https://a.B",
            "https://a..b",
            "https://.a.b",
            "https://a.b.",
            "https://-a.b",
            "https://a-.b",
            "https://a.-b",
            "https://a_b.c",
            "https://a~b.c",
            "https://:8443",
            "https://:8443/a",
            &format!("https://{}.b", "a".repeat(64)),
        ] {
            refused(endpoint, EndpointError::Host);
        }
    }

    #[test]
    fn an_ip_address_is_no_host() {
        for endpoint in [
            "https://127.0.0.1",
            "https://127.0.0.1:8443/a",
            "https://127.1",
            "https://1.2.3.256",
            "https://0x7f.0x1",
            "https://a.0",
            "https://a.1b",
            "https://[::1]",
            "https://[::1]:8443/a",
            "https://[2001:db8::1]",
        ] {
            refused(endpoint, EndpointError::IpAddress);
        }
        // A single number, and one beyond it, has no dot.
        refused("https://2130706433", EndpointError::Host);
    }

    #[test]
    fn a_port_has_one_spelling() {
        for port in
            ["", "0", "00", "01", "0443", "443", "65536", "99999999999", "-1", "8443a", "80:81"]
        {
            refused(&format!("https://a.b:{port}"), EndpointError::Port);
            refused(&format!("https://a.b:{port}/x"), EndpointError::Port);
        }
    }

    #[test]
    fn a_path_has_no_empty_and_no_dot_segment() {
        for endpoint in [
            "https://a.b/",
            "https://a.b//",
            "https://a.b/c/",
            "https://a.b//c",
            "https://a.b:8443/",
        ] {
            refused(endpoint, EndpointError::EmptySegment);
        }
        for endpoint in [
            "https://a.b/.",
            "https://a.b/..",
            "https://a.b/../c",
            "https://a.b/c/../d",
            "https://a.b/c/./d",
        ] {
            refused(endpoint, EndpointError::DotSegment);
        }
    }

    #[test]
    fn every_kind_has_its_own_id_and_type() {
        let kinds = (1..=6).map(|number| ServiceKind::try_from(number).unwrap());
        let mut names: Vec<_> =
            kinds.flat_map(|kind| [service_id(kind), service_type(kind)]).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 12);
        assert!(!names.contains(&""));
        assert!(ServiceKind::try_from(7).is_err(), "a new kind needs a name here");
    }
}
