//! Bodies that come packed (`content-encoding`), unpacked as they come.
//!
//! Nobody asks a provider for a packed answer, and relays, servers and networks in between pack them all the same. What
//! a few bytes may become is bounded, and what is handed out at a time is small however much they become.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex, PoisonError};

use brotli_decompressor::Decompressor;
use bytes::{Buf, Bytes};
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{self, HeaderMap, HeaderValue};

/// Bytes that are handed out at a time.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes that any body may become.
const ALLOWED_BYTES: u64 = 32 << 20;
/// Bytes that one packed byte may become beside that. Text becomes a tenth, the same event again and again a hundredth.
const EXPANSION_MAX: u64 = 128;
/// Layers of packing that are taken off.
const LAYERS_MAX: usize = 3;
/// The largest window that a `zstd` content encoding may have (RFC 9659): 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const BROTLI_BUFFER_BYTES: usize = 4096;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951 where a server takes the name literally.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

/// Why a body cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackedError {
    /// It is not what its name says, or ends too early.
    #[error("it is not packed as it says")]
    Broken(#[source] io::Error),
    /// It becomes more than is believed.
    #[error("it unpacks to more than {0} bytes")]
    TooMuch(u64),
}

impl Packing {
    fn named(name: &str) -> Option<Self> {
        let named = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        match name {
            _ if named(&["gzip", "x-gzip"]) => Some(Self::Gzip),
            _ if named(&["deflate"]) => Some(Self::Deflate),
            _ if named(&["br"]) => Some(Self::Brotli),
            _ if named(&["zstd"]) => Some(Self::Zstd),
            _ => None,
        }
    }

    /// What it is called.
    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// What a body is packed as by its first bytes, where they tell. No JSON and no event begins so.
    fn shown(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Whether a body that is said to be packed so begins so. Where the packing has no mark, it does unless it begins
    /// as text does.
    fn begins(self, bytes: &[u8]) -> bool {
        match self {
            Self::Gzip => bytes.first() == Some(&0x1f),
            Self::Zstd => matches!(bytes, [0x28, ..] | [0x50..=0x5f, 0x2a, ..]),
            Self::Deflate | Self::Brotli => !is_text(bytes),
        }
    }

    /// Takes this layer off what `reader` gives.
    fn unpacked(self, reader: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(reader)),
            Self::Deflate => Box::new(Inflating::Unknown(Some(reader))),
            Self::Brotli => Box::new(Decompressor::new(reader, BROTLI_BUFFER_BYTES)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

/// Whether bytes begin as JSON, events or a page do.
fn is_text(bytes: &[u8]) -> bool {
    let begins = ["{\"", "{ ", "{\n", "{\r", "[{", "[\n", "data:", "event:", ": ", ":\n", "<!", "<h"];
    let bytes = bytes.trim_ascii_start();
    begins.into_iter().any(|begin| bytes.starts_with(begin.as_bytes()))
}

/// The layers of a body, the outermost one first; `None` where one is not known.
pub(crate) fn layers(headers: &HeaderMap) -> Option<Vec<Packing>> {
    let mut layers = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let names = value.to_str().ok()?.split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity")) {
            layers.push(Packing::named(name)?);
        }
    }
    layers.reverse();
    (layers.len() <= LAYERS_MAX).then_some(layers)
}

/// The header that names these layers.
fn encoding(layers: &[Packing]) -> Option<HeaderValue> {
    let names: Vec<&str> = layers.iter().rev().map(|layer| layer.name()).collect();
    HeaderValue::try_from(names.join(", ")).ok()
}

/// What has come and was not unpacked yet.
#[derive(Debug, Default)]
struct Input {
    pieces: VecDeque<Bytes>,
    ended: bool,
}

/// The same, as it is read: what has not come yet would block.
struct Coming(Arc<Mutex<Input>>);

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut input = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = input.ended;
        let Some(piece) = input.pieces.front_mut() else {
            return if ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        };
        let length = piece.len().min(buffer.len());
        piece.copy_to_slice(&mut buffer[..length]);
        if piece.is_empty() {
            input.pieces.pop_front();
        }
        Ok(length)
    }
}

/// `deflate` in either of its two meanings, which the first byte tells.
enum Inflating {
    Unknown(Option<Box<dyn Read + Send>>),
    Zlib(ZlibDecoder<Begun>),
    Raw(DeflateDecoder<Begun>),
}

type Begun = io::Chain<io::Cursor<[u8; 1]>, Box<dyn Read + Send>>;

impl Read for Inflating {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Zlib(decoder) => decoder.read(buffer),
            Self::Raw(decoder) => decoder.read(buffer),
            Self::Unknown(reader) => {
                let mut first = [0];
                match reader.as_mut().map_or(Ok(0), |reader| reader.read(&mut first))? {
                    0 => return Ok(0),
                    _ => {
                        let Some(reader) = reader.take() else { return Ok(0) };
                        let begun = Read::chain(io::Cursor::new(first), reader);
                        // The method of RFC 1950 is 8; RFC 1951 has no such first byte.
                        *self = match first[0] & 0x0f {
                            8 => Self::Zlib(ZlibDecoder::new(begun)),
                            _ => Self::Raw(DeflateDecoder::new(begun)),
                        };
                    }
                }
                self.read(buffer)
            }
        }
    }
}

/// What comes of unpacking.
pub(crate) enum Step {
    /// The next bytes.
    Piece(Bytes),
    /// More has to come first.
    Wait,
    /// The body has ended.
    End,
}

/// Unpacks one body.
pub(crate) struct Unpacker {
    input: Arc<Mutex<Input>>,
    reader: Box<dyn Read + Send>,
    buffer: Box<[u8]>,
    came: u64,
    went: u64,
}

impl Unpacker {
    /// For a body in these layers, the outermost one first.
    ///
    /// # Errors
    /// Where there is no room for it.
    pub(crate) fn new(layers: &[Packing]) -> Result<Self, PackedError> {
        let input = Arc::default();
        let coming: Box<dyn Read + Send> = Box::new(Coming(Arc::clone(&input)));
        let reader = layers.iter().try_fold(coming, |reader, layer| layer.unpacked(reader));
        let reader = reader.map_err(PackedError::Broken)?;
        Ok(Self { input, reader, buffer: vec![0; PIECE_BYTES].into(), came: 0, went: 0 })
    }

    /// Takes in what came.
    pub(crate) fn feed(&mut self, bytes: Bytes) {
        self.came += bytes.len() as u64;
        if !bytes.is_empty() {
            self.input.lock().unwrap_or_else(PoisonError::into_inner).pieces.push_back(bytes);
        }
    }

    /// Nothing more will come.
    pub(crate) fn finish(&mut self) {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
    }

    /// Bytes that came.
    pub(crate) const fn came(&self) -> u64 {
        self.came
    }

    /// Unpacks a little of what came.
    ///
    /// # Errors
    /// [`PackedError`]; nothing comes after one.
    pub(crate) fn step(&mut self) -> Result<Step, PackedError> {
        match self.reader.read(&mut self.buffer) {
            Ok(0) => Ok(Step::End),
            Ok(length) => {
                self.went += length as u64;
                let most = ALLOWED_BYTES.saturating_add(self.came.saturating_mul(EXPANSION_MAX));
                if self.went > most {
                    return Err(PackedError::TooMuch(most));
                }
                Ok(Step::Piece(Bytes::copy_from_slice(&self.buffer[..length])))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Step::Wait),
            Err(error) => Err(PackedError::Broken(error)),
        }
    }
}

/// How a body is packed, once its first bytes are there: what they show counts more than what its head says.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// What the head says; `None` where it names something unknown.
    layers: Option<Vec<Packing>>,
}

impl Said {
    /// What a head says.
    pub(super) fn by(headers: &HeaderMap) -> Self {
        Self { layers: layers(headers) }
    }

    /// The layers of a body that begins so; `None` where nobody can tell what it is.
    pub(super) fn of(&self, first: &[u8]) -> Option<Vec<Packing>> {
        match self.layers.as_deref()? {
            [] => Some(Packing::shown(first).into_iter().collect()),
            [outermost, ..] if outermost.begins(first) => self.layers.clone(),
            _ => Some(Vec::new()),
        }
    }

    /// Makes a head say these layers.
    pub(super) fn tell(layers: &[Packing], headers: &mut HeaderMap) {
        match encoding(layers).filter(|_| !layers.is_empty()) {
            Some(names) => headers.insert(header::CONTENT_ENCODING, names),
            None => headers.remove(header::CONTENT_ENCODING),
        };
    }
}
