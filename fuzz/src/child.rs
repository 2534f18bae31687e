//! A hostile process of native code: whatever it sends and leaves in the memory that it shares, the server
//! neither crashes nor reads beside that memory.

use tms::nn::process::answer;

/// The first two bytes say how many of the others are sent; the rest is left in the memory.
pub fn run(input: &[u8]) -> bool {
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return false };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (sent, left) = rest.split_at(length);
    answer::hear(sent, left);
    true
}
