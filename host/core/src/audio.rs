//! How long a recording is, by what its container says and by how many bytes it has.
//!
//! Only what a provider does not state is reckoned so. MPEG audio and uncompressed recordings are measured; the others
//! say how long they are, which is believed as far as their bytes could be so short. Formats: RIFF WAVE, ISO 11172-3
//! (frames), RFC 9639 (FLAC), RFC 3533 with RFC 7845 (Ogg, Opus), ISO 14496-12 (`mvhd`).

use memchr::memmem;

/// Bytes of a second of speech as it is usually sent: of a recording that does not say how long it is.
const USUAL_BYTES: u64 = 4_000;
/// Bytes of a second that is packed as loosely as any is.
const LOOSE_BYTES: u64 = 40_000;
/// Samples of a second of Opus, whatever went in.
const OPUS_RATE: u64 = 48_000;

/// Seconds of a recording, rounded up; at least one.
#[must_use]
pub fn seconds(bytes: &[u8]) -> u64 {
    let length = bytes.len() as u64;
    let measured = wave(bytes).or_else(|| mpeg(bytes));
    let told = || flac(bytes).or_else(|| ogg(bytes)).or_else(|| mp4(bytes));
    let seconds = measured.or_else(|| told().map(|told| told.max(length / LOOSE_BYTES)));
    seconds.unwrap_or_else(|| length.div_ceil(USUAL_BYTES)).max(1)
}

fn at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn little32(bytes: &[u8], place: usize) -> Option<u64> {
    at(bytes, place).map(|bytes| u32::from_le_bytes(bytes).into())
}

fn big32(bytes: &[u8], place: usize) -> Option<u64> {
    at(bytes, place).map(|bytes| u32::from_be_bytes(bytes).into())
}

/// What is left of the data, whatever its head says of its length, over the bytes of a second.
fn wave(bytes: &[u8]) -> Option<u64> {
    if !bytes.starts_with(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return None;
    }
    let format = memmem::find(bytes.get(..4096.min(bytes.len()))?, b"fmt ")? + 8;
    let rate = little32(bytes, format + 4)?;
    let [channels, bits] = [2, 14].map(|place| at(bytes, format + place).map(u16::from_le_bytes));
    let second = rate.checked_mul(u64::from(channels?))?.checked_mul(u64::from(bits?).div_ceil(8))?;
    let data = memmem::find(bytes, b"data").map_or(format, |data| data + 8);
    (bytes.len().saturating_sub(data) as u64).checked_add(second.checked_sub(1)?)?.checked_div(second)
}

/// The frames of MPEG audio, layer III, each by its own head.
fn mpeg(bytes: &[u8]) -> Option<u64> {
    let mut place = match bytes {
        [b'I', b'D', b'3', _, _, _, sizes @ ..] => {
            let size = sizes.get(..4)?.iter().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f));
            10 + size
        }
        _ => 0,
    };
    let (mut samples, mut rate, mut frames) = (0_u64, 0, 0);
    while let Some(frame) = at(bytes, place).and_then(Frame::read) {
        samples += frame.samples;
        rate = frame.rate;
        frames += 1;
        place += frame.bytes;
    }
    // One that seems to be there may be chance.
    if frames > 1 { samples.div_ceil(rate).into() } else { None }
}

struct Frame {
    samples: u64,
    rate: u64,
    bytes: usize,
}

impl Frame {
    fn read(head: [u8; 4]) -> Option<Self> {
        const RATES: [u64; 3] = [44_100, 48_000, 32_000];
        const FIRST: [u64; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
        const SECOND: [u64; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
        let layer_three = head[0] == 0xff && head[1] & 0xe6 == 0xe2;
        let (version, rate) = (head[1] >> 3 & 3, usize::from(head[2] >> 2 & 3));
        if !layer_three || version == 1 {
            return None;
        }
        let (first, halved) = (version == 3, [2, 1, 1, 0][usize::from(version)]);
        let rate = RATES.get(rate)? >> halved;
        let kilobits = if first { FIRST } else { SECOND }.get(usize::from(head[2] >> 4)).copied()?;
        let samples = if first { 1152 } else { 576 };
        let bytes = samples / 8 * kilobits * 1000 / rate + u64::from(head[2] >> 1 & 1);
        (kilobits > 0).then_some(Self { samples, rate, bytes: usize::try_from(bytes).ok()? })
    }
}

fn flac(bytes: &[u8]) -> Option<u64> {
    let info = bytes.strip_prefix(b"fLaC")?;
    let packed = u64::from_be_bytes(at(info, 14)?);
    let (rate, samples) = (packed >> 44, packed & 0xf_ffff_ffff);
    Some(samples).filter(|samples| *samples > 0)?.checked_add(rate.checked_sub(1)?)?.checked_div(rate)
}

/// The position that the last page tells.
fn ogg(bytes: &[u8]) -> Option<u64> {
    if !bytes.starts_with(b"OggS") {
        return None;
    }
    let head = bytes.get(..512.min(bytes.len()))?;
    let rate = match memmem::find(head, b"\x01vorbis") {
        Some(place) => little32(bytes, place + 12)?,
        None => memmem::find(head, b"OpusHead").map(|_| OPUS_RATE)?,
    };
    let last = memmem::rfind(bytes, b"OggS")?;
    let position = u64::from_le_bytes(at(bytes, last + 6)?);
    position.checked_add(rate.checked_sub(1)?)?.checked_div(rate)
}

fn mp4(bytes: &[u8]) -> Option<u64> {
    if bytes.get(4..8) != Some(b"ftyp") {
        return None;
    }
    let head = memmem::find(bytes, b"mvhd")? + 4;
    let (scale, length) = match bytes.get(head)? {
        0 => (big32(bytes, head + 12)?, big32(bytes, head + 16)?),
        _ => (big32(bytes, head + 20)?, u64::from_be_bytes(at(bytes, head + 24)?)),
    };
    length.checked_add(scale.checked_sub(1)?)?.checked_div(scale)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    /// Sixteen bits, one channel.
    fn wave(rate: u32, bytes: usize) -> Vec<u8> {
        let mut wave = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wave.extend(rate.to_le_bytes());
        // What it says of the bytes of a second, and of all of them, is not believed.
        wave.extend([0xff; 4]);
        wave.extend(b"\x02\0\x10\0data\x01\0\0\0");
        wave.resize(wave.len() + bytes, 0);
        wave
    }

    #[test]
    fn a_recording_is_as_long_as_its_container_and_its_bytes_say() {
        assert_eq!(seconds(&wave(16_000, 32_000 * 3)), 3);
        assert_eq!(seconds(&wave(16_000, 32_000 * 3 + 1)), 4);
        // 128 kbit/s at 44.1 kHz: 417 bytes and 1152 samples a frame, and a tag before them.
        let mut mpeg = b"ID3\x04\0\0\0\0\0\x02xx".to_vec();
        for _ in 0..77 {
            let frame = mpeg.len();
            mpeg.extend([0xff, 0xfb, 0x90, 0x00]);
            mpeg.resize(frame + 417, 0);
        }
        assert_eq!(seconds(&mpeg), 3);
        let mut flac = b"fLaC\0\0\0\x22".to_vec();
        flac.extend([0; 10]);
        flac.extend((16_000_u64 << 44 | 48_001).to_be_bytes());
        assert_eq!(seconds(&flac), 4);
        let mut opus = b"OggS\0\0".to_vec();
        opus.extend([0; 22]);
        opus.extend(b"OpusHead");
        opus.extend(b"OggS\0\x04");
        opus.extend(96_000_u64.to_le_bytes());
        assert_eq!(seconds(&opus), 2);
        let mut mp4 = b"\0\0\0\x18ftypM4A \0\0\0\0mvhd\0\0\0\0".to_vec();
        mp4.extend([0; 8]);
        mp4.extend([1000_u32, 7001].map(u32::to_be_bytes).concat());
        assert_eq!(seconds(&mp4), 8);
    }

    #[test]
    fn what_says_nothing_or_lies_is_reckoned_by_its_bytes() {
        assert_eq!(seconds(b""), 1);
        assert_eq!(seconds(&[0; 40_001]), 11);
        let mut short = b"\0\0\0\x18ftypM4A \0\0\0\0mvhd\0\0\0\0".to_vec();
        short.extend([0; 8]);
        short.extend([1000_u32, 1].map(u32::to_be_bytes).concat());
        short.resize(4_000_000, 0);
        assert_eq!(seconds(&short), 100);
        for odd in [&b"RIFF\0\0\0\0WAVE"[..], b"fLaC", b"OggS", b"\0\0\0\0ftyp", b"ID3\x04", &[0xff; 64]] {
            assert!(seconds(odd) >= 1);
        }
        assert!(seconds(&wave(0, 10)) >= 1);
    }
}
