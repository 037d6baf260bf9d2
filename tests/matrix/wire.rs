//! HTTP messages as bytes, unchanged. A parser that rebuilds a message would change `Host`, and every signature would be wrong.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt};

/// A request or a response, byte for byte.
#[derive(Clone, Debug)]
pub struct Message {
    /// The head with its final empty line.
    pub head: Vec<u8>,
    /// The body with its framing.
    pub body: Vec<u8>,
}

impl Message {
    /// The first line.
    pub fn first_line(&self) -> String {
        String::from_utf8_lossy(&self.head).lines().next().unwrap_or_default().to_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.head).into_owned();
        text.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// All bytes.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.head[..], &self.body].concat()
    }

    /// Half of the body, or half of the head if there is no body.
    pub fn half(&self) -> Vec<u8> {
        if self.body.is_empty() {
            return self.head[..self.head.len() / 2].to_vec();
        }
        [&self.head[..], &self.body[..self.body.len() / 2]].concat()
    }

    fn chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|how| how.eq_ignore_ascii_case("chunked"))
    }
}

/// Reads messages from one side of a connection.
pub struct Reader<R> {
    from: R,
    rest: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// A reader at the start of a connection.
    pub fn new(from: R) -> Self {
        Self { from, rest: Vec::new() }
    }

    /// Reads the head of a message. `None`: the other side has closed the connection.
    pub async fn head(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(end) = position(&self.rest, b"\r\n\r\n") {
                return Ok(Some(Message { head: self.take(end + 4), body: Vec::new() }));
            }
            if !self.more().await? {
                return if self.rest.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads the body for this head. Neither AWS nor its clients end a body by closing the connection.
    pub async fn body(&mut self, message: &mut Message) -> Result<()> {
        if message.chunked() {
            return self.chunks(message).await;
        }
        let length = message.header("content-length").map_or(Ok(0), |text| text.parse());
        let length = length.map_err(|_| Error::from(ErrorKind::InvalidData))?;
        message.body = self.exactly(length).await?;
        Ok(())
    }

    /// Reads the response to a request, without interim responses.
    pub async fn answer(&mut self, method: &str) -> Result<Message> {
        loop {
            let mut answer = self.head().await?.ok_or(ErrorKind::UnexpectedEof)?;
            let status = answer.first_line().split(' ').nth(1).unwrap_or_default().to_owned();
            if status.starts_with('1') {
                continue;
            }
            if method != "HEAD" && status != "204" && status != "304" {
                self.body(&mut answer).await?;
            }
            return Ok(answer);
        }
    }

    async fn chunks(&mut self, message: &mut Message) -> Result<()> {
        loop {
            let line = self.line().await?;
            let text = String::from_utf8_lossy(&line).into_owned();
            let size = usize::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16);
            let size = size.map_err(|_| Error::from(ErrorKind::InvalidData))?;
            message.body.extend(line);
            if size == 0 {
                break;
            }
            message.body.extend(self.exactly(size + 2).await?);
        }
        loop {
            let trailer = self.line().await?;
            message.body.extend(&trailer);
            if trailer == b"\r\n" {
                return Ok(());
            }
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(end) = position(&self.rest, b"\r\n") {
                return Ok(self.take(end + 2));
            }
            if !self.more().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.rest.len() < length {
            if !self.more().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.take(length))
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.rest.split_off(length);
        std::mem::replace(&mut self.rest, rest)
    }

    async fn more(&mut self) -> Result<bool> {
        Ok(self.from.read_buf(&mut self.rest).await? > 0)
    }
}

fn position(bytes: &[u8], of: &[u8]) -> Option<usize> {
    bytes.windows(of.len()).position(|window| window == of)
}
