//! HTTP/1.1 by hand: for bytes that a client library would not send.

use std::collections::HashMap;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::Server;

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    /// Their names in small letters.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The code and the message of an error.
    #[track_caller]
    pub fn error(&self) -> (String, String) {
        let error = self.json();
        let text = |key: &str| error[key].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }
}

/// A connection.
pub struct Http(BufReader<TcpStream>);

impl Http {
    /// To the server's listener for curl and browsers.
    pub async fn connect(server: &Server) -> Self {
        let (_, rest) = server.ready.split_once("http://").expect("the address for curl");
        let address = rest.split([' ', ',']).next().unwrap();
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Sends a request. `headers` are whole lines.
    pub async fn post(&mut self, path: &str, headers: &[&str], body: &[u8]) {
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: test\r\n");
        for line in headers {
            head += line;
            head += "\r\n";
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        self.send(head.as_bytes()).await;
        self.send(body).await;
    }

    /// Calls with JSON.
    pub async fn call(&mut self, path: &str, body: &str) -> Answer {
        self.post(path, &["content-type: application/json"], body.as_bytes()).await;
        self.answer().await
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("the connection ended without an answer")
    }

    /// The next answer; None where the connection ends before it.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        let line = self.line().await?;
        let code = line.split(' ').nth(1)?.parse().unwrap();
        let mut headers = HashMap::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let mut body = Vec::new();
        if let Some(length) = headers.get("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.0.read_exact(&mut body).await.ok()?;
        } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            loop {
                let size = usize::from_str_radix(&self.line().await?, 16).unwrap();
                let start = body.len();
                body.resize(start + size, 0);
                self.0.read_exact(&mut body[start..]).await.ok()?;
                self.line().await?;
                if size == 0 {
                    break;
                }
            }
        }
        Some(Answer { code, headers, body })
    }

    /// Without its end; None at the end of the connection.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }
}
