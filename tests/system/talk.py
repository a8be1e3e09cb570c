"""Conversations by the byte: a client that sends exactly what it is told, and a scripted SMTP server that keeps exactly
what it was sent. Nothing of Python's mail libraries, which would correct what these tests want wrong."""
import base64
import contextlib
import socket
import ssl
import threading

import thurn


def tls_client_context():
    """Any certificate will do: the tests of verification say so themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Talk:
    """A client's side of a line protocol."""

    def __init__(self, address, port, *, tls=False, source=None, timeout=thurn.TIMEOUT):
        self.socket = socket.create_connection((address, port), timeout, (source, 0) if source else None)
        self.timeout = timeout
        self.have = b""
        if tls:
            self.start_tls()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def start_tls(self):
        """The handshake alone. What was read before it would be lost: there must not be any."""
        assert not self.have, f"said in the clear before the handshake: {self.have!r}"
        plain = self.socket
        try:
            self.socket = tls_client_context().wrap_socket(plain)
        except BaseException:
            plain.close()
            raise

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def fill(self):
        """Reads once more; False at the end of the connection."""
        try:
            data = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        self.have += data
        return bool(data)

    def line(self):
        """The next line without its CRLF; b"" only for an empty line, None at the end of the connection."""
        while b"\r\n" not in self.have:
            if not self.fill():
                return None
        line, self.have = self.have.split(b"\r\n", 1)
        return line

    def until(self, end):
        while end not in self.have:
            if not self.fill():
                raise AssertionError(f"the connection ended before {end!r}: {self.have[-300:]!r}")
        data, self.have = self.have.split(end, 1)
        return data + end

    def rest(self):
        """Everything up to the end of the connection."""
        while self.fill():
            pass
        data, self.have = self.have, b""
        return data

    def is_closed(self):
        """Has the server closed, having said nothing more? Waits for that."""
        return self.rest() == b""

    # ---- SMTP ----

    def reply(self):
        """An SMTP reply of one or more lines, joined by newlines; None at the end of the connection."""
        lines = []
        while True:
            line = self.line()
            if line is None:
                return None
            lines.append(line.decode())
            if line[3:4] != b"-":
                return "\n".join(lines)

    def command(self, line):
        self.send((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        return self.reply()

    def expect(self, line, start):
        got = self.command(line)
        assert got is not None and got.startswith(start), f"{line!r} was answered {got!r}, not {start}"
        return got

    def greet(self, name="client.test", verb="EHLO"):
        """Greeting and EHLO; the extensions as a list of lines."""
        got = self.reply()
        assert got is not None and got.startswith("220"), f"greeted with {got!r}"
        return [line[4:] for line in self.expect(f"{verb} {name}", "250").split("\n")]

    def upgrade(self, name="client.test"):
        self.expect("STARTTLS", "220")
        self.start_tls()
        return [line[4:] for line in self.expect(f"EHLO {name}", "250").split("\n")]

    def login(self, user, password=thurn.PASSWORD):
        self.expect("AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode(), "235")

    def mail(self, sender, *recipients, text=b"Subject: x\r\n\r\nx\r\n", parameters=""):
        """A whole transaction; the answer to its end."""
        self.expect(f"MAIL FROM:<{sender}>{parameters}", "250")
        for recipient in recipients:
            self.expect(recipient if recipient.startswith("RCPT") else f"RCPT TO:<{recipient}>", "250")
        self.expect("DATA", "354")
        self.send(text + b".\r\n")
        return self.reply()


def submission(server, user="alice", password=thurn.PASSWORD):
    """A client of a server's submission port, logged in over STARTTLS."""
    talk = Talk(server.address, server.ports["submission"])
    try:
        talk.greet()
        talk.upgrade()
        talk.login(user if "@" in user else f"{user}@{server.domain}", password)
    except BaseException:
        talk.close()
        raise
    return talk


def submit(server, user, recipients, text, parameters="", rcpt=""):
    """Submits as somebody and gives back the queue's id."""
    sender = user if "@" in user else f"{user}@{server.domain}"
    with submission(server, user) as talk:
        got = talk.mail(sender, *[f"RCPT TO:<{r}>{rcpt}" for r in recipients], text=text, parameters=parameters)
        assert got.startswith("250"), got
        return got.split()[-1]


def mails(server, user, password=thurn.PASSWORD):
    """Every message in a mailbox, byte for byte, over POP3."""
    with Talk(server.address, server.ports["pop3s"], tls=True) as talk:
        talk.line()
        for line in (f"USER {user if '@' in user else f'{user}@{server.domain}'}", f"PASS {password}", "STAT"):
            talk.send(line + "\r\n")
            answer = talk.line()
            assert answer is not None and answer.startswith(b"+OK"), f"{line}: {answer!r}"
        found = []
        for number in range(1, int(answer.split()[1]) + 1):
            talk.send(f"RETR {number}\r\n")
            talk.line()
            text = talk.until(b"\r\n.\r\n")[:-3]
            found.append((b"\n" + text).replace(b"\n..", b"\n.")[1:])
        talk.send("QUIT\r\n")
        return found


def wait_mails(server, user, count=1):
    """The same when there are so many."""
    return thurn.wait_until(lambda: (lambda found: found if len(found) >= count else None)(mails(server, user)),
                            f"{count} messages in the mailbox of {user} at {server.domain}")


class Sink:
    """A scripted SMTP (or LMTP) server. It keeps its clients' commands and the raw bytes of their messages; a message is
    kept before its 250 goes out, so before a Sink is closed a test waits until the sender knows.

    `answer(verb, line, sink)` may give a reply (without CRLF) in place of the usual one, or None; or "close" to hang up,
    and "silence" to say nothing. The verb of a message's end is ".". `extensions` is what EHLO offers."""

    def __init__(self, address, port=0, *, extensions=("8BITMIME", "PIPELINING"), answer=None, certificate=None, key=None,
                 implicit_tls=False, breaks_tls=False, name="sink.test", family=socket.AF_INET):
        self.address = address
        self.family = family
        self.port = port                # 0: any
        self.extensions = list(extensions)
        self.answer = answer or (lambda verb, line, sink: None)
        self.implicit_tls = implicit_tls
        self.breaks_tls = breaks_tls    # offers STARTTLS and hangs up at the handshake
        self.name = name
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate, key)
        self.connections = 0
        self.sources = []               # addresses of clients
        self.commands = []              # every command line, as text, in order
        self.messages = []              # raw bytes between DATA's 354 and CRLF.CRLF, dots as they came; BDAT's joined
        self.is_secret = []             # for each message: was it under TLS
        self.lock = threading.Condition()
        self.open = set()
        self.listener = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.listener = socket.create_server((self.address, self.port), family=self.family)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()
        return self

    def stop(self):
        if self.listener is None:
            return
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(thurn.TIMEOUT)
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.listener = None

    def wait_messages(self, count=1):
        with self.lock:
            if not self.lock.wait_for(lambda: len(self.messages) >= count, thurn.TIMEOUT):
                raise AssertionError(f"{self.name} has {len(self.messages)} messages, not {count}; commands: {self.commands}")
            return list(self.messages)

    def wait_commands(self, count=1, start=""):
        """So many commands that begin so."""
        with self.lock:
            found = lambda: [c for c in self.commands if c.upper().startswith(start.upper())]
            if not self.lock.wait_for(lambda: len(found()) >= count, thurn.TIMEOUT):
                raise AssertionError(f"{self.name} has seen {self.commands}, not {count} of {start}")
            return found()

    # ---- one connection ----

    def _accept(self):
        while True:
            try:
                connection, source = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.sources.append(source[0])
                self.open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            connection.settimeout(4 * thurn.TIMEOUT)
            if self.implicit_tls:
                self.open.discard(connection)
                connection = self.context.wrap_socket(connection, server_side=True)
                self.open.add(connection)
            self._converse(connection)
        except (OSError, EOFError):
            pass
        finally:
            self.open.discard(connection)
            connection.close()

    def _note(self, line):
        with self.lock:
            self.commands.append(line)
            self.lock.notify_all()

    def _keep(self, message, is_secret):
        with self.lock:
            self.messages.append(message)
            self.is_secret.append(is_secret)
            self.lock.notify_all()

    def _reply(self, connection, verb, line, usual):
        text = self.answer(verb, line, self)
        text = usual if text is None else text
        if text == "close":
            raise EOFError
        if text != "silence":
            connection.sendall(text.encode() + b"\r\n")
        return text

    def _converse(self, connection, is_greeting=True):
        have = bytearray()

        def fill():
            data = connection.recv(65536)
            if not data:
                raise EOFError
            have.extend(data)

        def take(count):
            while len(have) < count:
                fill()
            data = bytes(have[:count])
            del have[:count]
            return data

        def until(end):
            while (at := have.find(end)) < 0:
                fill()
            return take(at + len(end))

        if is_greeting:
            self._reply(connection, "", "", f"220 {self.name} ESMTP")
        chunks = b""
        recipients = 0
        while True:
            line = until(b"\r\n")[:-2].decode("utf-8", "replace")
            verb = line.split(" ")[0].upper()
            if verb != "BDAT":
                self._note(line)
            if verb in ("EHLO", "LHLO"):
                extensions = self.extensions + (
                    ["STARTTLS"] if self.breaks_tls or (self.context and not isinstance(connection, ssl.SSLSocket)) else [])
                words = [self.name, *extensions]
                self._reply(connection, verb, line, "\r\n".join(
                    f"250{'-' if i + 1 < len(words) else ' '}{word}" for i, word in enumerate(words)))
            elif verb == "STARTTLS" and self.breaks_tls:
                self._reply(connection, verb, line, "220 go on")
                return
            elif verb == "STARTTLS" and self.context:
                if self._reply(connection, verb, line, "220 go on").startswith("220"):
                    self.open.discard(connection)
                    with self.context.wrap_socket(connection, server_side=True) as secret:
                        self.open.add(secret)
                        self._converse(secret, is_greeting=False)
                    self.open.discard(secret)
                    return
            elif verb == "MAIL":
                recipients = 0
                self._reply(connection, verb, line, "250 ok")
            elif verb == "RCPT":
                recipients += self._reply(connection, verb, line, "250 ok").startswith("2")
            elif verb == "DATA" and not recipients:
                self._reply(connection, verb, line, "554 no valid recipients")
            elif verb == "DATA":
                if self._reply(connection, verb, line, "354 go on").startswith("354"):
                    while len(have) < 3:
                        fill()
                    text = take(3)[:0] if bytes(have[:3]) == b".\r\n" else until(b"\r\n.\r\n")[:-3]
                    self._keep(text, isinstance(connection, ssl.SSLSocket))
                    self._reply(connection, ".", "", "250 kept")
            elif verb == "BDAT":
                words = line.split()
                chunks += take(int(words[1]))
                self._note(line)
                is_last = len(words) > 2 and words[2].upper() == "LAST"
                if is_last:
                    self._keep(chunks, isinstance(connection, ssl.SSLSocket))
                    chunks = b""
                self._reply(connection, "." if is_last else verb, line, "250 kept")
            elif verb == "QUIT":
                self._reply(connection, verb, line, "221 good-bye")
                return
            elif verb == "AUTH":
                text = self._reply(connection, verb, line, "235 come in")
                while text.startswith("334"):
                    line = until(b"\r\n")[:-2].decode()
                    self._note(line)
                    text = self._reply(connection, "AUTH", line, "235 come in")
            else:
                self._reply(connection, verb, line, "250 ok")
