//! IP addresses and networks as patterns (manual section 10.12).

use std::net::IpAddr;

/// An address with a mask length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`. A mask longer than the address means the whole address.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Network> {
        let text = std::str::from_utf8(text).ok()?;
        let (address, mask) = match text.split_once('/') {
            Some((address, mask)) => (address, Some(mask)),
            None => (text, None),
        };
        // A zone (`fe80::1%eth0`) says nothing about the peer's address.
        let address: IpAddr = address.split_once('%').map_or(address, |(front, _)| front).parse().ok()?;
        let width = width(address);
        let bits = match mask {
            Some(mask) if mask.bytes().all(|b| b.is_ascii_digit()) => {
                mask.parse().unwrap_or(width).min(width)
            }
            Some(_) => return None,
            None => width,
        };
        Some(Network { address, bits })
    }

    /// Whether it is one address.
    #[must_use]
    pub fn single(&self) -> Option<IpAddr> {
        (self.bits == width(self.address)).then_some(self.address)
    }

    /// Whether an address is in it. IPv4 and IPv6 never meet; mapped addresses are the caller's to convert.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let shift = 32_u32.saturating_sub(u32::from(self.bits));
                (u32::from(net) ^ u32::from(address)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let shift = 128_u32.saturating_sub(u32::from(self.bits));
                (u128::from(net) ^ u128::from(address)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// An address with all bits behind a mask length cleared.
#[must_use]
pub fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

/// The address as a lookup key: IPv6 in full, its parts joined by a given character (manual section 10.13).
#[must_use]
pub fn key_text(address: IpAddr, separator: char) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let parts: Vec<String> = address.segments().iter().map(|part| format!("{part:04x}")).collect();
            parts.join(&separator.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_hold() {
        let inside = |net: &str, address: &str| {
            Network::parse(net.as_bytes()).unwrap().contains(address.parse().unwrap())
        };
        assert!(inside("1.2.3.4", "1.2.3.4") && !inside("1.2.3.4", "1.2.3.5"));
        assert!(
            inside("192.168.23.236/31", "192.168.23.237") && !inside("192.168.23.236/31", "192.168.23.238")
        );
        assert!(inside("0.0.0.0/0", "9.9.9.9") && !inside("0.0.0.0/0", "::1") && !inside("::/0", "1.2.3.4"));
        assert!(inside("abcd::/16", "abcd::1") && !inside("abcd::/16", "abce::1"));
        assert!(inside("1.2.3.4/33", "1.2.3.4") && !inside("1.2.3.4/33", "1.2.3.5"));
        assert!(Network::parse(b"1.2.3/24").is_none() && Network::parse(b"1.2.3.4/x").is_none());
        assert_eq!(masked("10.1.1.1".parse().unwrap(), 8).to_string(), "10.0.0.0");
        assert_eq!(key_text("abcd::1".parse().unwrap(), '.'), "abcd.0000.0000.0000.0000.0000.0000.0001");
    }
}
