//! The samples of a WAV file: RIFF, 16-bit PCM, one channel, 16 kHz.
//!
//! Other chunks are passed over, and lengths that cannot be are read as "to the end", as programs leave
//! them that write into a pipe.

use tms_guest::{Error, Result, bail_caller};

/// What a WAV file is called.
pub const MEDIA_TYPES: [&str; 4] = ["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"];

/// Samples are plain numbers.
const PCM: u16 = 1;
/// What the samples are is said further on.
const EXTENSIBLE: u16 = 0xFFFE;

/// How the samples are written.
#[derive(PartialEq)]
struct Format {
    /// [`PCM`], or another.
    code: u16,
    channels: u16,
    rate: u32,
    bits: u16,
}

/// What this model takes.
const TAKEN: Format = Format { code: PCM, channels: 1, rate: 16_000, bits: 16 };

impl Format {
    /// Of the chunk `fmt `; none where it is too short.
    fn read(chunk: &[u8]) -> Option<Self> {
        let code = match u16_at(chunk, 0)? {
            EXTENSIBLE => u16_at(chunk, 24)?,
            code => code,
        };
        let rate = u32::from_le_bytes(*chunk.get(4..)?.first_chunk()?);
        Some(Self { code, channels: u16_at(chunk, 2)?, rate, bits: u16_at(chunk, 14)? })
    }
}

fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    bytes.get(place..)?.first_chunk().copied().map(u16::from_le_bytes)
}

/// The samples of a file, as they are: 16-bit, little-endian.
pub fn pcm(file: &[u8]) -> Result<&[u8]> {
    let [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', chunks @ ..] = file else {
        bail_caller!("the file is not a WAV: it does not begin with RIFF and WAVE");
    };
    let short = || Error::caller("the WAV file ends before its samples");
    let mut chunks = chunks;
    let mut known = None;
    loop {
        let (name, rest) = chunks.split_first_chunk::<4>().ok_or_else(short)?;
        let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let length = usize::try_from(u32::from_le_bytes(*length))?;
        match name {
            b"fmt " => {
                let chunk = rest.get(..length).ok_or_else(short)?;
                known = Some(Format::read(chunk).ok_or_else(short)?);
            }
            b"data" => {
                let format = known.ok_or_else(|| {
                    Error::caller("the WAV file does not say how its samples are written")
                })?;
                check(&format)?;
                return Ok(rest.get(..length).unwrap_or(rest));
            }
            _ => {}
        }
        // A chunk of odd length has a byte behind it that does not count.
        chunks = rest.get(length.saturating_add(length % 2)..).ok_or_else(short)?;
    }
}

fn check(format: &Format) -> Result<()> {
    if *format == TAKEN {
        return Ok(());
    }
    let Format { code, channels, rate, bits } = format;
    let kind = if *code == PCM { String::from("PCM") } else { format!("format {code}") };
    bail_caller!(
        "the model takes WAV files of 16-bit PCM, one channel and 16000 Hz; this one has {bits}-bit \
         {kind}, channels: {channels}, and {rate} Hz"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tms_guest::Fault;

    fn chunk(name: &[u8; 4], contents: &[u8]) -> Vec<u8> {
        let mut chunk = [&name[..], &(contents.len() as u32).to_le_bytes(), contents].concat();
        chunk.resize(chunk.len() + contents.len() % 2, 0);
        chunk
    }

    fn format(code: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let frame = channels * bits / 8;
        let bytes = [code, channels].map(u16::to_le_bytes).concat();
        let rates = [rate, rate * u32::from(frame)].map(u32::to_le_bytes).concat();
        chunk(b"fmt ", &[bytes, rates, [frame, bits].map(u16::to_le_bytes).concat()].concat())
    }

    fn plain() -> Vec<u8> {
        format(PCM, 1, 16_000, 16)
    }

    fn wav(chunks: &[Vec<u8>]) -> Vec<u8> {
        let chunks = chunks.concat();
        [b"RIFF", &(chunks.len() as u32 + 4).to_le_bytes()[..], b"WAVE", &chunks].concat()
    }

    #[test]
    fn the_samples_are_found() {
        let samples = [1, 2, 3, 4];
        assert_eq!(pcm(&wav(&[plain(), chunk(b"data", &samples)])).unwrap(), samples);
        let others = [
            chunk(b"JUNK", &[9; 7]),
            plain(),
            chunk(b"LIST", b"INFO"),
            chunk(b"data", &samples),
            chunk(b"tail", &[8]),
        ];
        assert_eq!(pcm(&wav(&others)).unwrap(), samples);
        assert!(pcm(&wav(&[plain(), chunk(b"data", &[])])).unwrap().is_empty());
    }

    #[test]
    fn lengths_that_cannot_be_reach_to_the_end() {
        let mut file = wav(&[plain(), chunk(b"data", &[1, 2, 3, 4])]);
        let place = file.len() - 8;
        file[place..place + 4].fill(0xFF);
        assert_eq!(pcm(&file).unwrap(), [1, 2, 3, 4]);
        file.pop();
        assert_eq!(pcm(&file).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn the_longer_way_to_say_pcm() {
        let mut format = format(EXTENSIBLE, 1, 16_000, 16).split_off(8);
        format.extend([22, 0, 16, 0, 4, 0, 0, 0, 1, 0]);
        format.extend([0; 14]);
        let file = wav(&[chunk(b"fmt ", &format), chunk(b"data", &[5, 6])]);
        assert_eq!(pcm(&file).unwrap(), [5, 6]);
    }

    #[track_caller]
    fn assert_refused(file: &[u8], message: &str) {
        let error = pcm(file).unwrap_err();
        assert_eq!((error.fault(), error.message()), (Fault::Caller, message));
    }

    #[test]
    fn other_files_are_refused() {
        let not = |format: Vec<u8>, what: &str| {
            let takes = "the model takes WAV files of 16-bit PCM, one channel and 16000 Hz";
            let file = wav(&[format, chunk(b"data", &[1, 2])]);
            assert_refused(&file, &format!("{takes}; this one has {what}"));
        };
        not(format(PCM, 1, 22_050, 16), "16-bit PCM, channels: 1, and 22050 Hz");
        not(format(PCM, 2, 16_000, 16), "16-bit PCM, channels: 2, and 16000 Hz");
        not(format(PCM, 1, 16_000, 8), "8-bit PCM, channels: 1, and 16000 Hz");
        not(format(3, 1, 16_000, 32), "32-bit format 3, channels: 1, and 16000 Hz");
        assert_refused(b"", "the file is not a WAV: it does not begin with RIFF and WAVE");
        let unsaid = "the WAV file does not say how its samples are written";
        assert_refused(&wav(&[chunk(b"data", &[1, 2])]), unsaid);
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_or_shorter() {
        let file = wav(&[chunk(b"JUNK", &[9; 3]), plain(), chunk(b"data", &[1, 2, 3, 4])]);
        let whole = file.len();
        for length in 0..whole {
            let end = [1, 2, 3, 4];
            match pcm(&file[..length]) {
                Ok(samples) => assert_eq!(samples, &end[..4 - (whole - length)]),
                Err(error) => assert_eq!(error.fault(), Fault::Caller, "{length}"),
            }
        }
        // A length that is far beyond the file lies outside it.
        let long = [b"JUNK".as_slice(), &[0xFF; 4], &[0; 9]].concat();
        assert_refused(&wav(&[plain(), long]), "the WAV file ends before its samples");
    }
}
