//! SipHash-2-4 with 128 bits: equal hashes of different rows do not happen, not even on purpose (its key is new in every
//! process).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

#[derive(Clone, Copy)]
pub struct Hash {
    key: [u64; 2],
}

impl Hash {
    pub fn random() -> Hash {
        let seed = RandomState::new();
        Hash { key: [seed.hash_one(0u8), seed.hash_one(1u8)] }
    }

    pub fn of(&self, bytes: &[u8]) -> u128 {
        let [k0, k1] = self.key;
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            mix(&mut v, word.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)));
        }
        let tail = words.remainder().iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        mix(&mut v, (bytes.len() as u64) << 56 | tail);
        v[2] ^= 0xee;
        let first = finish(&mut v);
        v[1] ^= 0xdd;
        let second = finish(&mut v);
        u128::from(second) << 64 | u128::from(first)
    }
}

fn mix(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

fn finish(v: &mut [u64; 4]) -> u64 {
    for _ in 0..4 {
        round(v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_vectors() {
        let hash = Hash { key: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908] };
        let of = |size: u8| hash.of(&(0..size).collect::<Vec<_>>()).to_le_bytes();
        assert_eq!(
            of(0),
            [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93]
        );
        assert_eq!(
            of(1),
            [0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45]
        );
    }
}
