//! LEB128 numbers: seven bits a byte, the lowest first, the top bit says that more follow. Pure.

use super::codec::BadBlob;

/// Appends `n`.
pub(super) fn put(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

/// Appends a number that may be negative: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(super) fn put_signed(bytes: &mut Vec<u8>, n: i64) {
    put(bytes, ((n << 1) ^ (n >> 63)).cast_unsigned());
}

/// Takes a number off the front.
#[inline]
pub(super) fn take(rest: &mut &[u8]) -> Result<u64, BadBlob> {
    // Nearly all are one byte long.
    if let Some((&byte, tail)) = rest.split_first()
        && byte < 0x80
    {
        *rest = tail;
        return Ok(u64::from(byte));
    }
    take_long(rest)
}

fn take_long(rest: &mut &[u8]) -> Result<u64, BadBlob> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(BadBlob("cut short"))?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        n |= bits << shift;
        if byte < 0x80 {
            return Ok(n);
        }
    }
    Err(BadBlob("number too large"))
}

/// Takes a number off the front that must fit 32 bits.
#[inline]
pub(super) fn take_u32(rest: &mut &[u8]) -> Result<u32, BadBlob> {
    u32::try_from(take(rest)?).map_err(|_| BadBlob("number too large"))
}

/// Takes what [`put_signed`] put.
pub(super) fn take_signed(rest: &mut &[u8]) -> Result<i64, BadBlob> {
    let n = take(rest)?;
    Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
}

/// Adds a difference to an id; the sum must be one too.
#[inline]
pub(super) fn step(from: u32, by: i64) -> Result<u32, BadBlob> {
    u32::try_from(i64::from(from).saturating_add(by)).map_err(|_| BadBlob("id out of range"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any number comes back, and what follows it is left alone.
        #[test]
        fn numbers_round_trip(n in prop_oneof![0..300_u64, any::<u64>()], signed in prop_oneof![-300..300_i64, any::<i64>()]) {
            let mut bytes = Vec::new();
            put(&mut bytes, n);
            put_signed(&mut bytes, signed);
            bytes.push(7);
            let mut rest = &bytes[..];
            prop_assert_eq!((take(&mut rest).unwrap(), take_signed(&mut rest).unwrap(), rest), (n, signed, &[7][..]));
        }
    }

    /// Each way of being wrong has its own words.
    #[test]
    fn wrong_numbers_are_refused() {
        for (bytes, bad) in [(&[][..], "cut short"), (&[0x80], "cut short"), (&[0xff; 10], "number too large")] {
            assert_eq!(take(&mut &bytes[..]), Err(BadBlob(bad)));
        }
        assert!(step(3, -4).is_err() && step(u32::MAX, 1).is_err() && step(3, i64::MIN).is_err());
    }
}
