//! Requests and their answers on the wire: one of each to a stream, a length and a canonical message.

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response;
use prost::Message;
use sillok_proto::{decode, encode};
use std::io;
use std::marker::PhantomData;

/// Longest request for blocks, in bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 64;
/// Longest request for a part of a snapshot, in bytes: it may name a thousand heads.
pub(super) const SNAPSHOT_REQUEST_BYTES_MAX: usize = 64 << 10;
/// Longest answer, in bytes.
pub(super) const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// Encodes and decodes requests `Q` and answers `A` of bounded length.
#[derive(Debug)]
pub(super) struct Exchange<Q, A> {
    request_bytes_max: usize,
    messages: PhantomData<fn() -> (Q, A)>,
}

impl<Q, A> Exchange<Q, A> {
    /// With requests of at most this many bytes.
    pub(super) const fn new(request_bytes_max: usize) -> Self {
        Self { request_bytes_max, messages: PhantomData }
    }
}

impl<Q, A> Clone for Exchange<Q, A> {
    fn clone(&self) -> Self {
        Self::new(self.request_bytes_max)
    }
}

impl<Q, A> request_response::Codec for Exchange<Q, A>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    type Protocol = StreamProtocol;
    type Request = Q;
    type Response = A;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Q>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, self.request_bytes_max).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<A>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, RESPONSE_BYTES_MAX).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Q,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &request, self.request_bytes_max).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: A,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &response, RESPONSE_BYTES_MAX).await
    }
}

async fn read<M: Message + Default>(
    io: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> io::Result<M> {
    let mut length = [0u8; 4];
    io.read_exact(&mut length).await?;
    let length = u32::from_le_bytes(length);
    if length as usize > bytes_max {
        return Err(invalid("the message is longer than allowed"));
    }
    // Grows with what arrives: a length alone makes nobody allocate.
    let mut bytes = Vec::new();
    io.take(length.into()).read_to_end(&mut bytes).await?;
    if bytes.len() != length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    decode(&bytes, bytes_max).map_err(invalid)
}

async fn write(
    io: &mut (impl AsyncWrite + Unpin),
    message: &impl Message,
    bytes_max: usize,
) -> io::Result<()> {
    let bytes = encode(message);
    if bytes.len() > bytes_max {
        return Err(invalid("the message is longer than allowed"));
    }
    let length = u32::try_from(bytes.len()).map_err(invalid)?;
    io.write_all(&length.to_le_bytes()).await?;
    io.write_all(&bytes).await?;
    io.close().await
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;
    use sillok_proto::v1::SyncRequest;

    async fn read_request(bytes: &[u8]) -> Result<SyncRequest, io::ErrorKind> {
        read(&mut Cursor::new(bytes), REQUEST_BYTES_MAX).await.map_err(|error| error.kind())
    }

    fn framed(length: u32, message: &[u8]) -> Vec<u8> {
        [&length.to_le_bytes(), message].concat()
    }

    #[tokio::test]
    async fn a_request_is_read_as_it_was_written() {
        let request = SyncRequest { from_height: 7, blocks_max: 20 };
        let mut wire = Cursor::new(Vec::new());
        write(&mut wire, &request, REQUEST_BYTES_MAX).await.unwrap();
        assert_eq!(read_request(wire.get_ref()).await, Ok(request));
    }

    #[tokio::test]
    async fn what_is_too_long_torn_or_not_canonical_is_refused() {
        let cases = [
            (framed(u32::MAX, &[]), io::ErrorKind::InvalidData),
            (framed(65, &[8; 65]), io::ErrorKind::InvalidData),
            (framed(2, &[8]), io::ErrorKind::UnexpectedEof),
            (vec![1, 0], io::ErrorKind::UnexpectedEof),
            // An explicit default, and an unknown field.
            (framed(2, &[8, 0]), io::ErrorKind::InvalidData),
            (framed(2, &[120, 1]), io::ErrorKind::InvalidData),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read_request(&bytes).await, Err(expected), "{bytes:?}");
        }
    }
}
