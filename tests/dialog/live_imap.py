#!/usr/bin/env python3
"""Plays the IMAP transcripts (README.md here) to a whole server, TLS included: the same files as imap.c plays to the machines.

What a transcript wants that cannot be had from outside makes it skipped, with the reason. Each transcript that begins
behind a login has an account of its own; what it sets up is set up by IMAP. Each is played line for line and, unless it
says "! lockstep", with everything pipelined.
"""
import imaplib
import pathlib
import re
import socket
import ssl
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "system")]

import thurn    # noqa: E402

TIMEOUT = 20
PASSWORD = "secret word"
CANNOT = ("bare", "plain", "append-max")
PLAYABLE_MIN = 12       # a runner that skips everything has shown nothing
DATE = '"22-Nov-2026 07:47:28 +0100"'


class Skip(Exception):
    pass


class Failure(Exception):
    pass


def unescape(text):
    def one(match):
        code = match.group(1)
        if code[0] == "x":
            return chr(int(code[1:], 16))
        if code[0] == "{":
            return code[1] * int(code[2:-1])
        return {"r": "\r", "n": "\n", "0": "\0"}[code]
    return re.sub(r"\\(x[0-9a-f]{2}|\{.\d+\}|[rn0])", one, text).encode("latin-1")


def pattern(text):
    """A star at the start is what untagged responses begin with; mechanisms may be more with TLS."""
    text = unescape(text).decode("latin-1")
    start, text = (r"\*", text[1:]) if text.startswith("*") else ("", text)
    loose = start + ".*".join(re.escape(part) for part in text.split("*"))
    loose = loose.replace(r"AUTH=SCRAM\-SHA\-256\ ", r"(?:AUTH=SCRAM\-SHA\-256\-PLUS\ )?AUTH=SCRAM\-SHA\-256\ ")
    return re.compile(loose, re.DOTALL)


def tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Connection:
    def __init__(self, address):
        self.socket = socket.create_connection(address, TIMEOUT)
        self.rest = b""
        self.to_send, self.expected = b"", []

    def line(self):
        while b"\r\n" not in self.rest:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                return None
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\r\n")
        return line

    def send(self):
        if self.to_send:
            try:
                self.socket.sendall(self.to_send)
            except (BrokenPipeError, ConnectionResetError):
                pass                                # the answers will tell
        self.to_send = b""

    def compare(self, play=None):
        for number, text in self.expected:
            line = self.line()
            told = line and re.match(rb"\* OK \[UIDVALIDITY (\d+)\]", line)
            if told and play:
                play.uidvalidity = told[1].decode()
            if line is None or not pattern(text).fullmatch(line.decode("latin-1")):
                raise Failure(f"line {number}: got {line!r}, want {text!r}")
        self.expected = []

    def start_tls(self):
        if self.rest:
            raise Failure(f"the server spoke between its answer and TLS: {self.rest!r}")
        self.socket = tls_context().wrap_socket(self.socket)

    def login(self, user):
        self.to_send = b'in LOGIN %s "%s"\r\n' % (user.encode(), PASSWORD.encode())
        self.expected = [(0, "* OK *"), (0, "in OK [CAPABILITY IMAP4rev1 *] logged in")]
        self.send()
        self.compare()


class Play:
    def __init__(self, server, user, is_pipelined):
        self.server, self.user, self.is_pipelined = server, user, is_pipelined
        self.connections = {}
        self.has_tls = False
        self.message = None
        self.has_account = False
        self.uidvalidity = "0"          # the last one that was told: $UIDVALIDITY

    def connection(self, number=1):
        if number not in self.connections:
            protocol = "imaps" if self.has_tls else "imap"
            connection = self.connections[number] = Connection((self.server.address, self.server.ports[protocol]))
            if self.has_tls:
                connection.start_tls()
        return self.connections[number]

    def settle(self):
        for connection in self.connections.values():
            connection.send()
            connection.compare(self)    # before the next one speaks: what it is told may depend on it

    def hang_up(self):
        for connection in self.connections.values():
            connection.socket.close()
        self.connections = {}

    def need_account(self):
        if not self.has_account:
            self.server.add_account(self.user, PASSWORD, *self.account_options)
        self.has_account = True

    account_options = ()

    def by_imap(self, act):
        """Set-up over a connection of its own."""
        self.need_account()
        with imaplib.IMAP4_SSL(self.server.address, self.server.ports["imaps"], ssl_context=tls_context()) as client:
            client.login(self.user, PASSWORD)
            status, data = act(client)
            if status != "OK":
                raise Failure(f"set-up: {data}")

    def add_message(self, mailbox, flags, text):
        self.by_imap(lambda client: client.append(mailbox, f"({flags})", DATE, text))

    def set_up(self, words):
        name, values = words[0], words[1:]
        if name == "session" or name == "sessions":
            self.hang_up()
            self.need_account()
            self.has_tls = True
            for number in range(1, int(values[0]) + 1 if values else 2):
                self.connection(number).login(self.user)
        elif name == "message":
            self.message = (values[0] if values else "INBOX", " ".join(values[1:]), [])
        elif name == "messages":
            for _ in range(int(values[0])):
                self.add_message("INBOX", "", b"Subject: x\r\n\r\nx\r\n")
        elif name == "mailbox":
            wire = values[0] if values[0].isascii() else values[0].encode("utf-7").decode().replace("+", "&")   # modified UTF-7
            self.by_imap(lambda client: client.create(wire))
        elif name == "quota":
            self.account_options = ("--quota", values[0])
        elif name == "lockstep":
            if self.is_pipelined:
                raise Skip("its connections hear of each other")
        else:
            raise Failure(f"unknown directive {words}")

    def directive(self, line):
        words = line.split()
        if words[0] in CANNOT:
            raise Skip(f"! {words[0]}")
        if words[0] == "tls":
            if words[1:] == ["active"]:
                self.has_tls = True
            elif words[1:]:
                raise Skip("another setting of TLS")
            else:
                self.settle()
                self.connection().start_tls()
        elif words[0] == "close":
            self.settle()
            if self.connection().line() is not None:
                raise Failure("the connection is still open")
        elif words[0] == "again":
            self.settle()
            self.hang_up()
        else:
            self.settle()
            self.set_up(words)

    def line(self, number, line):
        if self.message:
            mailbox, flags, lines = self.message
            if line == "! end":
                self.message = None
                self.add_message(mailbox, flags, b"".join(unescape(text) + b"\r\n" for text in lines))
            else:
                lines.append(line)
            return
        match = re.fullmatch(r"([CS])(\d?):(?: (.*))?", line)
        if match:
            connection = self.connection(int(match[2] or 1))
            text = match[3] or ""
            if match[1] == "S":
                connection.expected.append((number, text))
                return
            if not self.is_pipelined and any(other.expected for other in self.connections.values()):
                self.settle()
            text = text.replace("$UIDVALIDITY", self.uidvalidity)
            connection.to_send += unescape(text[:-1]) if text.endswith("\\") else unescape(text) + b"\r\n"
        elif line.startswith(("! send ", "! expect ")):
            _, what, count, text = line.split(" ", 3)
            for _ in range(int(count)):
                self.line(number, ("C: " if what == "send" else "S: ") + text)
        elif line.startswith("! "):
            self.directive(line[2:])

    def run(self, lines):
        try:
            for number, line in enumerate(lines, 1):
                self.line(number, line)
            self.settle()
        finally:
            self.hang_up()


def play(path, server):
    """None when it went as written, else (kind, why) with kind "skipped" or "failed"."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for is_pipelined in (False, True):
        user = f"{path.stem}{'2' if is_pipelined else '1'}@{server.domain}"
        try:
            Play(server, user, is_pipelined).run(lines)
        except Skip as why:
            if not is_pipelined:
                return "skipped", str(why)
        except (Failure, TimeoutError, ssl.SSLError, imaplib.IMAP4.error) as why:
            return "failed", f"{'pipelined' if is_pipelined else 'line for line'}: {why!r}"
    return None


def main():
    failed, played = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        server = thurn.Server(folder, "example.org", protocols=("smtp", "imap", "imaps"))
        server.host = "imap.example.org"
        try:
            server.start()
            server.add_domain()
            server.add_account("alice", PASSWORD)
            for path in sorted((HERE / "imap").glob("*.txt")):
                outcome = play(path, server)
                failed += outcome is not None and outcome[0] == "failed"
                played += outcome is None
                print(path.name, "ok" if outcome is None else f"{outcome[0]}: {outcome[1]}", flush=True)
        finally:
            server.stop()
            print(server.said(), end="")
    if played < PLAYABLE_MIN:
        print(f"only {played} were played")
    return 1 if failed or played < PLAYABLE_MIN else 0


if __name__ == "__main__":
    sys.exit(main())
