use proptest::prelude::*;

use super::*;

fn address(text: &str) -> ProxiedClient {
    ProxiedClient::Address(text.parse().unwrap())
}

/// A header of version 2.
fn binary(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, kind], &length, rest].concat()
}

/// A field of version 2.
fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind, high, low], value].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x34, 0x2e, 0xe0];

fn v6(from: &str) -> Vec<u8> {
    let from: Ipv6Addr = from.parse().unwrap();
    [&from.octets()[..], &[0; 16], &[0, 80], &[0, 1]].concat()
}

#[test]
fn headers_that_are_right() {
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 12000\r\n".to_vec(), address("192.0.2.1:4660")),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_vec(), address("255.255.255.255:65535")),
        (b"PROXY TCP6 2001:db8::1 ::1 0 1\r\n".to_vec(), address("[2001:db8::1]:0")),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 9 1\r\n".to_vec(), address("192.0.2.1:9")),
        (b"PROXY UNKNOWN\r\n".to_vec(), ProxiedClient::Unknown),
        (b"PROXY UNKNOWN 127.0.0.1 127.0.0.1 1 1\r\n".to_vec(), ProxiedClient::Unknown),
        (format!("PROXY UNKNOWN {}\r\n", "f".repeat(91)).into_bytes(), ProxiedClient::Unknown),
        (binary(0x21, 0x11, &V4), address("192.0.2.1:4660")),
        (binary(0x21, 0x12, &V4), address("192.0.2.1:4660")),
        (binary(0x21, 0x21, &v6("2001:db8::1")), address("[2001:db8::1]:80")),
        (binary(0x21, 0x22, &v6("::ffff:127.0.0.1")), address("127.0.0.1:80")),
        (binary(0x21, 0x31, &[1; 216]), ProxiedClient::Unknown),
        (binary(0x21, 0x00, b"whatever"), ProxiedClient::Unknown),
        (binary(0x21, 0x10, b""), ProxiedClient::Unknown),
        (binary(0x20, 0x00, b""), ProxiedClient::Proxy),
        (binary(0x20, 0x11, &V4), ProxiedClient::Proxy),
        (binary(0x20, 0xff, b"whatever"), ProxiedClient::Proxy),
        (
            binary(0x21, 0x11, &[&V4[..], &field(4, b""), &field(2, b"host"), &field(0xe0, &[0; 300])].concat()),
            address("192.0.2.1:4660"),
        ),
        (
            binary(0x21, 0x11, &[&V4[..], &field(4, &vec![0; MAX_HEADER_BYTES - 31])].concat()),
            address("192.0.2.1:4660"),
        ),
    ] {
        assert_eq!(parse(&header), Ok(Some((client, header.len()))), "{header:?}");
        let more = [&header[..], b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n"].concat();
        assert_eq!(parse(&more), Ok(Some((client, header.len()))), "what follows it is left alone: {header:?}");
        for length in 0..header.len() {
            assert_eq!(parse(&header[..length]), Ok(None), "{length} bytes of {header:?}");
        }
    }
}

#[test]
fn headers_that_are_wrong() {
    use ProxyError::*;
    for (bytes, error) in [
        (b"HEALTH\r\n".to_vec(), Missing),
        (b"\x16\x03\x01".to_vec(), Missing),
        (b"proxy TCP4".to_vec(), Missing),
        (b"PROXY\r\n".to_vec(), Missing),
        (b"\r\n\r\n\0\r\nQUIT\r\n".to_vec(), Missing),
        (format!("PROXY UNKNOWN {}\r\n", "f".repeat(92)).into_bytes(), TooLong),
        ([b"PROXY ".to_vec(), vec![b' '; 101]].concat(), TooLong),
        (binary(0x21, 0x11, &[&V4[..], &field(4, &vec![0; MAX_HEADER_BYTES - 30])].concat()), TooLong),
        ([&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat(), TooLong),
        ([&SIGNATURE[..], &[0x20, 0x00, 0xff, 0xff]].concat(), TooLong),
    ] {
        assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
    }
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
        "PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n",
        "PROXY TCP4 01.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n",
        "PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\r\n",
    ] {
        assert!(matches!(parse(line.as_bytes()), Err(Malformed(_))), "{line:?}");
    }
    let cut = field(4, b"abc");
    for (command, kind, rest) in [
        (0x11, 0x11, V4.to_vec()),
        (0x22, 0x11, V4.to_vec()),
        (0x21, 0x13, V4.to_vec()),
        (0x21, 0x41, V4.to_vec()),
        (0x21, 0x11, V4[..11].to_vec()),
        (0x21, 0x11, vec![]),
        (0x21, 0x21, V4.to_vec()),
        (0x21, 0x31, vec![0; 215]),
        (0x21, 0x11, [&V4[..], &[4]].concat()),
        (0x21, 0x11, [&V4[..], &[4, 0]].concat()),
        (0x21, 0x11, [&V4[..], &cut[..5]].concat()),
        (0x21, 0x31, [&[0; 216][..], &cut[..5]].concat()),
        (0x21, 0x11, [&V4[..], &field(CRC32C_TYPE, b"abc")].concat()),
    ] {
        assert!(matches!(parse(&binary(command, kind, &rest)), Err(Malformed(_))), "{command:x} {kind:x} {rest:?}");
    }
    // It is told as soon as it is known.
    assert!(matches!(parse(&binary(0x23, 0, b"")[..13]), Err(Malformed(_))));
    assert_eq!(parse(b"PRX"), Err(Missing));
}

#[test]
fn a_checksum_is_checked() {
    let whole =
        |sum: u32| binary(0x21, 0x11, &[&V4[..], &field(CRC32C_TYPE, &sum.to_be_bytes()), &field(4, b"")].concat());
    let right = crc32c_without(&whole(0), 31);
    assert_eq!(parse(&whole(right)), Ok(Some((address("192.0.2.1:4660"), 38))));
    assert_eq!(parse(&whole(right ^ 1)), Err(ProxyError::Checksum));
    let mut other = whole(right);
    other[16] ^= 1;
    assert_eq!(parse(&other), Err(ProxyError::Checksum));
    // The check value of CRC-32C.
    assert_eq!(crc32c_without(b"123456789", 9), 0xe306_9283);
}

#[test]
fn networks() {
    let network = |text: &str| text.parse::<Network>();
    for (text, shown, inside, outside) in [
        ("10.0.0.1", "10.0.0.1/32", "10.0.0.1", "10.0.0.2"),
        ("10.0.0.1/8", "10.0.0.1/8", "10.255.0.9", "11.0.0.1"),
        ("10.0.0.1/32", "10.0.0.1/32", "::ffff:10.0.0.1", "::10.0.0.1"),
        ("0.0.0.0/0", "0.0.0.0/0", "255.1.2.3", "2001:db8::1"),
        ("::/0", "::/0", "2001:db8::1", "1.2.3.4"),
        ("::1", "::1/128", "::1", "::2"),
        ("2001:db8::/33", "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.1.1.1", "11.0.0.0"),
        ("127.0.0.1/31", "127.0.0.1/31", "127.0.0.0", "127.0.0.2"),
    ] {
        let network = network(text).unwrap();
        assert_eq!(network.to_string(), shown);
        assert!(network.contains(inside.parse().unwrap()), "{inside} is in {text}");
        assert!(!network.contains(outside.parse().unwrap()), "{outside} is not in {text}");
    }
    for wrong in [
        "",
        "/",
        "10.0.0.1/",
        "10.0.0.1/33",
        "10.0.0.1/+8",
        "10.0.0.1/-1",
        "::/129",
        "10.0.0",
        "proxy",
        "10.0.0.1/8/8",
        "::ffff:10.0.0.0/95",
        "[::1]",
        "10.0.0.1:80",
        "fe80::1%eth0",
        "10.0.0.1/99999999999",
        " 10.0.0.1",
    ] {
        assert!(network(wrong).is_err(), "{wrong:?}");
    }
}

proptest! {
    /// However the bytes come, the answer is that for all of them, and never changes once it is given.
    #[test]
    fn prefixes_agree(start in 0..3_usize, rest in prop::collection::vec(any::<u8>(), 0..64)) {
        let start = [&b"PROXY TCP4 1.1.1.1 "[..], &[&SIGNATURE[..], &[0x21, 0x11, 0, 20]].concat(), b""][start].to_vec();
        let bytes = [start, rest].concat();
        let whole = parse(&bytes);
        for length in 0..bytes.len() {
            let part = parse(&bytes[..length]);
            prop_assert!(part == Ok(None) || part == whole);
        }
        if let Ok(Some((_, length))) = whole {
            prop_assert!(length <= bytes.len() && length <= MAX_HEADER_BYTES);
            prop_assert_eq!(parse(&bytes[..length]), whole);
            prop_assert_eq!(parse(&bytes[..length - 1]), Ok(None));
        }
    }

    #[test]
    fn addresses_come_back(from: SocketAddr, to: SocketAddr, filler in prop::collection::vec(any::<u8>(), 0..200)) {
        let expected = ProxiedClient::Address(SocketAddr::new(from.ip().to_canonical(), from.port()));
        let octets = |ip: IpAddr| match ip { IpAddr::V4(ip) => ip.octets().to_vec(), IpAddr::V6(ip) => ip.octets().to_vec() };
        if from.is_ipv4() == to.is_ipv4() {
            let (word, kind) = if from.is_ipv4() { ("TCP4", 0x11) } else { ("TCP6", 0x21) };
            let line = format!("PROXY {word} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes();
            prop_assert_eq!(parse(&line), Ok(Some((expected, line.len()))));
            let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
            let rest = [octets(from.ip()), octets(to.ip()), ports, field(4, &filler)].concat();
            let header = binary(0x21, kind, &rest);
            prop_assert_eq!(parse(&header), Ok(Some((expected, header.len()))));
        }
    }

    #[test]
    fn networks_are_as_they_are_shown(address: IpAddr, bits in 0..=32_u32, other: IpAddr) {
        let network: Network = format!("{}/{bits}", address.to_canonical()).parse().unwrap();
        prop_assert!(network.contains(address));
        prop_assert_eq!(network.to_string().parse::<Network>(), Ok(network));
        if bits == 0 {
            prop_assert_eq!(network.contains(other), address.to_canonical().is_ipv4() == other.to_canonical().is_ipv4());
        }
    }
}
