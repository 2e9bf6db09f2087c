//! A proxy between a store and a server that loses, answers and holds back what it is told to.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What becomes of a request.
pub(crate) enum Verdict {
    /// It goes to the server, and the answer comes back.
    Pass,
    /// The server never sees it; this comes back.
    Answer(&'static str),
    /// The connection ends before the server sees it.
    Cut,
    /// The server sees it, and the connection ends before the answer comes back.
    EatReply,
    /// The connection ends, and the server sees it when it is let go.
    Hold,
}

/// The words of a request.
pub(crate) type Request = Vec<Vec<u8>>;
type Judge = dyn FnMut(&Request) -> Verdict + Send;

/// A proxy, which ends with the process.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    server: u16,
    judge: Arc<Mutex<Box<Judge>>>,
    held: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Proxy {
    /// One to the server at `server` that lets everything pass.
    pub(crate) fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Proxy {
            port: listener.local_addr().unwrap().port(),
            server,
            judge: Arc::new(Mutex::new(Box::new(|_| Verdict::Pass))),
            held: Arc::default(),
        };
        let own = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let own = own.clone();
                // A connection that breaks is what this is for.
                thread::spawn(move || _ = own.serve(client.unwrap()));
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on `judge` decides.
    pub(crate) fn judge(&self, judge: impl FnMut(&Request) -> Verdict + Send + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    /// Lets go of what was held: the server does it, and what it answers is returned.
    pub(crate) fn let_go(&self) -> Vec<Vec<u8>> {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        let deliver = |bytes: Vec<u8>| {
            let mut server = TcpStream::connect(("127.0.0.1", self.server)).unwrap();
            server.write_all(&bytes).unwrap();
            read_reply(&mut BufReader::new(server)).unwrap()
        };
        held.into_iter().map(deliver).collect()
    }

    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(("127.0.0.1", self.server))?;
        let (mut to_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
        let (mut from_client, mut from_server) = (BufReader::new(client), BufReader::new(server));
        loop {
            let (request, bytes) = read_request(&mut from_client)?;
            let verdict = (self.judge.lock().unwrap())(&request);
            match verdict {
                Verdict::Answer(answer) => to_client.write_all(answer.as_bytes())?,
                Verdict::Pass | Verdict::EatReply => {
                    to_server.write_all(&bytes)?;
                    let reply = read_reply(&mut from_server)?;
                    if matches!(verdict, Verdict::EatReply) {
                        return to_client.shutdown(Shutdown::Both);
                    }
                    to_client.write_all(&reply)?;
                }
                Verdict::Hold => {
                    self.held.lock().unwrap().push(bytes);
                    return to_client.shutdown(Shutdown::Both);
                }
                Verdict::Cut => return to_client.shutdown(Shutdown::Both),
            }
        }
    }
}

/// Whether a request is the call of a script that writes a batch: the only one with a session's reply among its keys.
pub(crate) fn is_write(request: &Request) -> bool {
    request[0] == b"EVALSHA" && String::from_utf8_lossy(&request[3]).contains("o:")
}

fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    if line.ends_with(b"\r\n") { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn number(line: &[u8]) -> i64 {
    std::str::from_utf8(&line[1..line.len() - 2]).unwrap().parse().unwrap()
}

fn read_request(from: &mut impl BufRead) -> io::Result<(Request, Vec<u8>)> {
    let mut bytes = read_line(from)?;
    let mut words = Vec::new();
    for _ in 0..number(&bytes) {
        let line = read_line(from)?;
        let mut word = vec![0; usize::try_from(number(&line)).unwrap() + 2];
        from.read_exact(&mut word)?;
        bytes.extend_from_slice(&line);
        bytes.extend_from_slice(&word);
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Ok((words, bytes))
}

fn read_reply(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut bytes = read_line(from)?;
    match bytes[0] {
        b'$' if number(&bytes) >= 0 => {
            let mut text = vec![0; usize::try_from(number(&bytes)).unwrap() + 2];
            from.read_exact(&mut text)?;
            bytes.extend_from_slice(&text);
        }
        b'*' => {
            for _ in 0..number(&bytes).max(0) {
                bytes.extend_from_slice(&read_reply(from)?);
            }
        }
        _ => {}
    }
    Ok(bytes)
}
