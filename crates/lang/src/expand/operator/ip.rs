//! Operators on IP addresses, and the reading of addresses that conditions share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use oxim_base::Text;

use super::{Arguments, OperatorRow, operator};
use crate::expand::ExpandError;

pub(super) static ROWS: &[&OperatorRow] = &[
    &operator(
        "ipv6denorm",
        "An address as eight groups of four hexadecimal digits.",
        &[
            ("${ipv6denorm:::1}", "0000:0000:0000:0000:0000:0000:0000:0001"),
            ("${ipv6denorm:1.2.3.4}", "0000:0000:0000:0000:0000:ffff:0102:0304"),
        ],
        |_, _, s| Ok(s.derive(full(six(address(&s)?), ':'))),
    ),
    &operator(
        "ipv6norm",
        "An IPv6 address in its short form.",
        &[
            ("${ipv6norm:2001:db8:0:0:1:0:0:1}", "2001:db8::1:0:0:1"),
            ("${ipv6norm:1.2.3.4}", "::ffff:102:304"),
        ],
        |_, _, s| Ok(s.derive(short(six(address(&s)?)))),
    ),
    &OperatorRow {
        arguments: Arguments::Word,
        ..operator(
            "mask",
            "An address with its low bits masked off; `mask_n` gives IPv6 addresses in the short form with colons.",
            &[
                ("${mask:10.111.131.206/28}", "10.111.131.192/28"),
                (
                    "${mask:3ffe:ffff:836f:0a00:000a:0800:200a:c031/99}",
                    "3ffe.ffff.836f.0a00.000a.0800.2000.0000/99",
                ),
                (
                    "${mask_n:3ffe:ffff:836f:0a00:000a:0800:200a:c031/99}",
                    "3ffe:ffff:836f:a00:a:800:2000::/99",
                ),
            ],
            |_, form, s| masked(&s, form == Some("n")),
        )
    },
    &operator(
        "reverse_ip",
        "An address as the DNS has it in reverse zones.",
        &[("${reverse_ip:192.0.2.4}", "4.2.0.192")],
        |_, _, s| {
            let Some((ip, _)) = parse_masked(&s) else {
                return Err(ExpandError::Failed(format!("reverse_ip() not given an IP address [{s}]")));
            };
            Ok(s.derive(reversed(ip)))
        },
    ),
];

/// An address without mask; IPv6 ones may name a zone, which is ignored.
pub(crate) fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(ip));
    }
    let (bare, zone) = text.split_once('%').unwrap_or((text, ""));
    if zone.contains(|c: char| c == '/' || c.is_ascii_whitespace()) {
        return None;
    }
    bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// An address with the text after its slash, if there is one.
fn parse_masked(text: &Text) -> Option<(IpAddr, Option<u32>)> {
    let bytes = text.as_bytes();
    let Some(slash) = memchr::memrchr(b'/', bytes) else {
        return parse(bytes).map(|ip| (ip, None));
    };
    let (address, mask) = bytes.split_at_checked(slash)?;
    let mask = std::str::from_utf8(mask).ok()?.trim_start_matches('/');
    let mask = if mask.trim_ascii().is_empty() { mask } else { mask.trim_ascii_start() };
    let bits = if mask.is_empty() { 0 } else { mask.parse().ok()? };
    parse(address).map(|ip| (ip, Some(bits)))
}

fn address(text: &Text) -> Result<IpAddr, ExpandError> {
    parse(text.as_bytes()).ok_or_else(|| ExpandError::Failed(format!("\"{text}\" is not an IP address")))
}

fn six(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn full(ip: Ipv6Addr, separator: char) -> String {
    let groups: Vec<String> = ip.segments().iter().map(|g| format!("{g:04x}")).collect();
    groups.join(&separator.to_string())
}

/// The first of the longest runs of zero groups becomes `::`, even a run of one.
fn short(ip: Ipv6Addr) -> String {
    let groups = ip.segments();
    let mut best = (0_usize, 0_usize);
    let mut start = 0_usize;
    for (index, group) in groups.iter().enumerate() {
        if *group != 0 {
            start = index.saturating_add(1);
        } else if index.saturating_add(1).saturating_sub(start) > best.1 {
            best = (start, index.saturating_add(1).saturating_sub(start));
        }
    }
    let text = |range: &[u16]| range.iter().map(|g| format!("{g:x}")).collect::<Vec<_>>().join(":");
    if best.1 == 0 {
        return text(&groups);
    }
    let after = best.0.saturating_add(best.1);
    format!(
        "{}::{}",
        text(groups.get(..best.0).unwrap_or_default()),
        text(groups.get(after..).unwrap_or_default())
    )
}

fn masked(text: &Text, normal: bool) -> Result<Text, ExpandError> {
    let not_address = || ExpandError::Failed(format!("\"{text}\" is not an IP address"));
    let (ip, bits) = parse_masked(text).ok_or_else(not_address)?;
    let bits = bits.ok_or_else(|| ExpandError::Failed(format!("missing mask value in \"{text}\"")))?;
    let width = if ip.is_ipv4() { 32 } else { 128 };
    if bits > width {
        return Err(ExpandError::Failed(format!("mask value too big in \"{text}\"")));
    }
    let shown = match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(width.saturating_sub(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).to_string()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(width.saturating_sub(bits)).unwrap_or(0);
            let ip = Ipv6Addr::from_bits(ip.to_bits() & mask);
            if normal { short(ip) } else { full(ip, '.') }
        }
    };
    Ok(text.derive(format!("{shown}/{bits}")))
}

fn reversed(ip: IpAddr) -> String {
    let ip = match ip {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    };
    let parts: Vec<String> = match ip {
        IpAddr::V4(ip) => ip.octets().iter().rev().map(u8::to_string).collect(),
        IpAddr::V6(ip) => ip
            .octets()
            .iter()
            .rev()
            .flat_map(|b| [format!("{:x}", b & 15), format!("{:x}", b >> 4)])
            .collect(),
    };
    parts.join(".")
}
