//! A WebSocket client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A WebSocket, with messages of less than 126 bytes.
pub struct WebSocket(TcpStream);

impl WebSocket {
    /// The status of the handshake, and the WebSocket.
    pub fn open(url: &str, path: &str, token: &str) -> (String, Self) {
        let address = url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Token {token}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let status = String::from_utf8_lossy(&head).split_whitespace().nth(1).unwrap_or_default().to_owned();
        (status, Self(stream))
    }

    /// Sends a frame, with a mask of zeros.
    pub fn send(&mut self, kind: u8, content: &[u8]) {
        let length = u8::try_from(content.len()).unwrap();
        self.0.write_all(&[&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], content].concat()).unwrap();
    }

    /// Sends a text.
    pub fn say(&mut self, text: &str) {
        self.send(1, text.as_bytes());
    }

    /// Sends a text, and returns the answer.
    pub fn ask(&mut self, text: &str) -> String {
        self.say(text);
        self.text()
    }

    /// The next text.
    pub fn text(&mut self) -> String {
        let (kind, text) = self.frame();
        assert_eq!(kind, 1, "{text:?}");
        String::from_utf8(text).unwrap()
    }

    /// The kind and the content of the next frame. Pings (9) get their pongs (10).
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).unwrap();
            let mut content = vec![0; usize::from(head[1])];
            self.0.read_exact(&mut content).unwrap();
            match head[0] & 15 {
                9 => self.send(10, &content),
                kind => return (kind, content),
            }
        }
    }
}
