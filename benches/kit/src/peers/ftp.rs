//! The barest FTP client (RFC 959, RFC 2428). It logs in, and moves files over passive data
//! connections as [`Wire`](crate::Wire) does over ferry's: into a buffer, and out of a file by
//! sendfile.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use rustix::net::sockopt::set_tcp_quickack;

use crate::{
    Content,
    wire::{BUFFER_BYTES, TIMEOUT, send_range},
};

/// The user that logs in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login {
    pub(super) user: &'static str,
    pub(super) password: &'static str,
}

/// A control connection.
pub(super) struct Ftp {
    control: BufReader<TcpStream>,
    address: SocketAddr,
    buffer: Box<[u8]>,
}

impl Ftp {
    /// Connects, logs in and asks for bytes as they are.
    pub(super) fn login(address: SocketAddr, login: Login) -> io::Result<Ftp> {
        let control = BufReader::new(connect(address)?);
        let mut ftp = Ftp { control, address, buffer: vec![0; BUFFER_BYTES].into() };
        ftp.expect(&[220])?;
        if ftp.ask(&format!("USER {}", login.user), &[230, 331])?.0 == 331 {
            ftp.ask(&format!("PASS {}", login.password), &[230])?;
        }
        ftp.ask("TYPE I", &[200])?;
        Ok(ftp)
    }

    /// Fetches `name`, which `see` sees piece by piece, and gives how many bytes came.
    pub(super) fn get(&mut self, name: &str, mut see: impl FnMut(&[u8])) -> io::Result<u64> {
        let mut data = self.begin_get(name)?;
        let mut total = 0;
        loop {
            match data.read(&mut self.buffer)? {
                0 => break,
                bytes => {
                    see(&self.buffer[..bytes]);
                    total += bytes as u64;
                }
            }
        }
        // proftpd waits for this before it goes on.
        drop(data);
        self.finish()?;
        Ok(total)
    }

    /// Asks for `name`, and gives the connection on which it comes.
    pub(super) fn begin_get(&mut self, name: &str) -> io::Result<TcpStream> {
        let data = self.passive()?;
        self.ask(&format!("RETR {name}"), &[125, 150])?;
        Ok(data)
    }

    /// Sends `content` as the file `name`.
    pub(super) fn put(&mut self, name: &str, content: &Content) -> io::Result<()> {
        let data = self.passive()?;
        self.ask(&format!("STOR {name}"), &[125, 150])?;
        send_range(&data, &File::open(&content.path)?, &mut 0, content.bytes)?;
        drop(data);
        self.finish()
    }

    /// Waits for the end of a transfer.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.expect(&[226, 250]).map(drop)
    }

    /// Opens a data connection: by EPSV, or by PASV where the server knows no EPSV.
    fn passive(&mut self) -> io::Result<TcpStream> {
        let (code, text) = self.ask("EPSV", &[229, 500, 501, 502, 522])?;
        let port = match code {
            229 => port_of_epsv(&text),
            _ => port_of_pasv(&self.ask("PASV", &[227])?.1),
        };
        let port = port.ok_or_else(|| io::Error::other(format!("no port in {text:?}")))?;
        connect(SocketAddr::new(self.address.ip(), port))
    }

    fn ask(&mut self, command: &str, due: &[u16]) -> io::Result<(u16, String)> {
        self.control.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        self.expect(due).map_err(|error| io::Error::other(format!("{command}: {error}")))
    }

    /// Returns the next reply, to its last line, which begins with its code and a space.
    fn expect(&mut self, due: &[u16]) -> io::Result<(u16, String)> {
        loop {
            let mut line = String::new();
            // Some servers hold a line back until the one before it is acknowledged.
            set_tcp_quickack(self.control.get_ref(), true)?;
            if self.control.read_line(&mut line)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
            match line.split_once(' ').map(|(code, text)| (code.parse(), text)) {
                Some((Ok(code), text)) if due.contains(&code) => return Ok((code, text.trim_end().into())),
                Some((Ok(_), _)) => return Err(io::Error::other(format!("the server says {:?}", line.trim_end()))),
                _ => {}
            }
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// `Entering Extended Passive Mode (|||6446|)`
fn port_of_epsv(text: &str) -> Option<u16> {
    text.rsplit_once("(|||")?.1.split_once('|')?.0.parse().ok()
}

/// `Entering Passive Mode (127,0,0,1,25,46).`
fn port_of_pasv(text: &str) -> Option<u16> {
    let inside = text.rsplit_once('(')?.1.split_once(')')?.0;
    let mut numbers = inside.split(',').skip(4).map(str::parse::<u8>);
    Some(u16::from_be_bytes([numbers.next()?.ok()?, numbers.next()?.ok()?]))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    const LOGIN: Login = Login { user: "me", password: "secret" };

    /// Returns a server that gives one file and takes one, with `passive` to say how it opens data
    /// connections.
    fn server(epsv: bool) -> (SocketAddr, thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let taken = thread::spawn(move || {
            let mut control = BufReader::new(listener.accept().unwrap().0);
            let data = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let port = data.local_addr().unwrap().port();
            let mut taken = Vec::new();
            let say = |control: &mut BufReader<TcpStream>, text: &str| {
                control.get_mut().write_all(text.as_bytes()).unwrap();
            };
            say(&mut control, "220-two\r\n lines\r\n220 hello\r\n");
            let mut line = String::new();
            while control.read_line(&mut line).unwrap() > 0 {
                let [high, low] = port.to_be_bytes();
                match line.trim_end() {
                    "USER me" => say(&mut control, "331 and?\r\n"),
                    "PASS secret" => say(&mut control, "230 in\r\n"),
                    "TYPE I" => say(&mut control, "200 so be it\r\n"),
                    "EPSV" if epsv => say(&mut control, &format!("229 Extended (|||{port}|)\r\n")),
                    "PASV" => say(&mut control, &format!("227 Passive (127,0,0,1,{high},{low}).\r\n")),
                    "RETR a b" => {
                        say(&mut control, "150 here\r\n");
                        data.accept().unwrap().0.write_all(b"bytes").unwrap();
                        say(&mut control, "226 done\r\n");
                    }
                    "STOR c" => {
                        say(&mut control, "150 come\r\n");
                        data.accept().unwrap().0.read_to_end(&mut taken).unwrap();
                        say(&mut control, "226-all\r\n226 done\r\n");
                    }
                    _ => say(&mut control, "500 what?\r\n"),
                }
                line.clear();
            }
            taken
        });
        (address, taken)
    }

    #[test]
    fn both_ways_over_both_kinds_of_passive_connections() {
        let place = tempfile::tempdir().unwrap();
        let content = Content::write(&place.path().join("c"), 100_000);
        for epsv in [true, false] {
            let (address, taken) = server(epsv);
            let mut ftp = Ftp::login(address, LOGIN).unwrap();
            let mut came = Vec::new();
            assert_eq!(ftp.get("a b", |piece| came.extend_from_slice(piece)).unwrap(), 5);
            assert_eq!(came, b"bytes");
            ftp.put("c", &content).unwrap();
            let refused = ftp.get("other", |_| {}).unwrap_err().to_string();
            assert!(refused.contains("RETR other") && refused.contains("500 what?"), "{refused}");
            drop(ftp);
            assert!(taken.join().unwrap() == std::fs::read(&content.path).unwrap());
        }
        assert!(Ftp::login(server(true).0, Login { user: "you", ..LOGIN }).is_err());
    }

    #[test]
    fn ports_are_found_or_not() {
        assert_eq!(port_of_epsv("Entering Extended Passive Mode (|||6446|)"), Some(6446));
        assert_eq!(port_of_pasv("Entering Passive Mode (127,0,0,1,25,46)."), Some(6446));
        for wrong in ["", "(", "(|||", "(|||70000|)", "(1,2,3,4,5)", "(1,2,3,4,5,256)"] {
            assert_eq!((port_of_epsv(wrong), port_of_pasv(wrong)), (None, None), "{wrong:?}");
        }
    }
}
