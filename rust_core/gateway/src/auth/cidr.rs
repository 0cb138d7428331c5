//! Address blocks: which client addresses may use a key, and whose forwarding headers are believed.
//!
//! Apart because both keys and the listener ask. An IPv4 address that arrives mapped into IPv6 (`::ffff:10.0.0.1`, as
//! dual-stack sockets report it) is the IPv4 address, so a block cannot be passed by choosing the other family.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// One block. Host bits of the written address are ignored: `10.1.2.3/8` is `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cidr {
    /// An IPv4 block: masked address, mask.
    V4(u32, u32),
    /// An IPv6 block: masked address, mask.
    V6(u128, u128),
}

/// A text is neither an address nor `address/length`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCidr(pub String);

impl fmt::Display for BadCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an address block; write `10.0.0.0/8`, `2001:db8::/32` or a single address", self.0)
    }
}

impl std::error::Error for BadCidr {}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        parse(text.trim()).ok_or_else(|| BadCidr(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Cidr> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            (address, Some(length.parse::<u32>().ok()?))
        }
        Some(_) => return None,
        None => (text, None),
    };
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) => v4(address.to_bits(), length.unwrap_or(32)),
        IpAddr::V6(address) => match (address.to_ipv4_mapped(), length.unwrap_or(128)) {
            (Some(mapped), length @ 96..) => v4(mapped.to_bits(), length - 96),
            (_, length) => v6(address.to_bits(), length),
        },
    }
}

fn v4(address: u32, length: u32) -> Option<Cidr> {
    let mask = u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0);
    Some(Cidr::V4(address & mask, mask))
}

fn v6(address: u128, length: u32) -> Option<Cidr> {
    let mask = u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0);
    Some(Cidr::V6(address & mask, mask))
}

impl Cidr {
    /// Whether the address is in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Self::V4(network, mask), IpAddr::V4(address)) => address.to_bits() & mask == *network,
            (Self::V6(network, mask), IpAddr::V6(address)) => address.to_bits() & mask == *network,
            // Blocks shorter than the mapping prefix (`::/0`) hold the mapped addresses too.
            (Self::V6(network, mask), IpAddr::V4(address)) => {
                address.to_ipv6_mapped().to_bits() & mask == *network && *mask < MAPPED_MASK
            }
            (Self::V4(..), IpAddr::V6(_)) => false,
        }
    }
}

/// /96: where IPv4 begins inside IPv6.
const MAPPED_MASK: u128 = u128::MAX << 32;

/// Several blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CidrSet(Box<[Cidr]>);

impl CidrSet {
    /// From their texts.
    ///
    /// # Errors
    /// [`BadCidr`] names the first text that is none.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, BadCidr> {
        texts.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>().map(Self)
    }

    /// Whether any block has the address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(address))
    }

    /// Whether there is no block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn has(block: &str, address: &str) -> bool {
        block.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn blocks_hold_their_addresses() {
        assert!(has("10.0.0.0/8", "10.255.0.1"));
        assert!(!has("10.0.0.0/8", "11.0.0.0"));
        assert!(has("10.1.2.3/8", "10.9.9.9"));
        assert!(has("192.0.2.7", "192.0.2.7"));
        assert!(!has("192.0.2.7", "192.0.2.6"));
        assert!(has("0.0.0.0/0", "255.255.255.255"));
        assert!(has("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!has("2001:db8::/32", "2001:db9::1"));
        assert!(has("::1", "::1"));
        assert!(has("fe80::/10", "febf::1"));
    }

    #[test]
    fn mapped_addresses_are_ipv4_addresses() {
        assert!(has("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(!has("10.0.0.0/8", "::ffff:11.1.1.1"));
        assert!(has("::ffff:10.0.0.0/104", "10.1.1.1"));
        assert!(has("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(has("::/0", "10.1.1.1"));
        assert!(!has("0.0.0.0/0", "2001:db8::1"));
        assert!(!has("2001:db8::/32", "10.1.1.1"));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for bad in
            ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/-1", "a/8", "10.0.0.0/8/8"]
        {
            assert_eq!(bad.parse::<Cidr>(), Err(BadCidr(bad.to_owned())));
        }
        assert_eq!(CidrSet::parse(&["10.0.0.0/8", "x"]).unwrap_err(), BadCidr("x".into()));
        assert!(!CidrSet::default().contains(IpAddr::from([1, 1, 1, 1])));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20261125), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_block_holds_what_shares_its_leading_bits(a in any::<u32>(), b in any::<u32>(), length in 0u32..=32) {
            let block: Cidr = format!("{}/{length}", Ipv4Addr::from(a)).parse().unwrap();
            let same = (a ^ b).leading_zeros() >= length;
            prop_assert_eq!(block.contains(Ipv4Addr::from(b).into()), same);
            prop_assert_eq!(block.contains(Ipv4Addr::from(b).to_ipv6_mapped().into()), same);
        }

        #[test]
        fn likewise_in_ipv6(a in any::<u128>(), b in any::<u128>(), length in 0u32..=128) {
            prop_assume!(Ipv6Addr::from(a).to_ipv4_mapped().is_none() && Ipv6Addr::from(b).to_ipv4_mapped().is_none());
            let block: Cidr = format!("{}/{length}", Ipv6Addr::from(a)).parse().unwrap();
            prop_assert_eq!(block.contains(Ipv6Addr::from(b).into()), (a ^ b).leading_zeros() >= length);
        }
    }
}
