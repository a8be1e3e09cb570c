#!/usr/bin/env python3
"""Plays the POP3 transcripts to a whole server: line for line, and with everything that may be pipelined at once. Each gets
an account that has just been made, so that UIDs begin at 1."""
import fnmatch
import imaplib
import pathlib
import re
import socket
import ssl
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))

import thurn    # noqa: E402

PASSWORD = "secret word"
PLAYABLE_MIN = 7        # a runner that skips everything has shown nothing


class Mismatch(Exception):
    pass


def unescape(text):
    codes = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
    return re.sub(r"\\(x..|.)", lambda m: chr(int(m[1][1:], 16)) if m[1][0] == "x" else codes[m[1]], text)


def context(server):
    trusting = ssl.create_default_context(cafile=server.certificate)
    trusting.check_hostname = False
    return trusting


class Play:
    def __init__(self, server, path, is_pipelined, source):
        self.source = source
        self.server, self.path, self.is_pipelined = server, path, is_pipelined
        self.tls_active, self.connection, self.buffer, self.number = False, None, b"", 0
        self.to_send, self.expected = b"", []

    def connect(self):
        if self.connection:
            return
        port = self.server.ports["pop3s" if self.tls_active else "pop3"]
        self.connection = socket.create_connection((self.server.address, port), thurn.TIMEOUT, (self.source, 0))
        if self.tls_active:
            self.connection = context(self.server).wrap_socket(self.connection)

    def line(self):
        while b"\r\n" not in self.buffer:
            piece = self.connection.recv(65536)
            if not piece:
                raise Mismatch("the server closed")
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("latin-1")

    def settle(self):
        self.connect()
        if self.to_send:
            self.connection.sendall(self.to_send)
        self.to_send = b""
        for number, pattern in self.expected:
            self.number = number
            line = self.line()
            glob = re.sub(r"([\[\]?])", r"[\1]", pattern)
            if not fnmatch.fnmatchcase(line, glob):
                raise Mismatch(f"got {line!r}, want {pattern!r}")
        self.expected = []

    def append(self, text):
        with imaplib.IMAP4(self.server.address, self.server.ports["imap"]) as imap:
            imap.starttls(context(self.server))
            imap.login("alice@example.org", PASSWORD)
            imap.append("INBOX", None, None, text)

    def directive(self, words):
        if words == "tls active":
            self.tls_active = True
        elif words.startswith("messages "):
            for _ in range(int(words.split()[1])):
                self.append(b"Subject: x\r\n\r\nx\r\n")
        elif words == "tls":
            self.settle()
            self.buffer = b""
            self.connection = context(self.server).wrap_socket(self.connection)
        elif words == "close":
            self.settle()
            if self.buffer or self.connection.recv(1):
                raise Mismatch("the server does not close")
        elif words == "again":
            self.settle()
            self.connection.close()
            self.connection, self.buffer = None, b""
        else:
            raise Mismatch(f"unknown directive {words!r}")

    def run(self):
        message = None
        for number, line in enumerate(self.path.read_text().split("\n"), 1):
            self.number = number
            if message is not None and line == "! end":
                self.append("".join(message).encode("latin-1"))
                message = None
            elif message is not None:
                message.append(unescape(line) + "\r\n")
            elif line == "! message":
                message = []
            elif line.startswith("! "):
                self.directive(line[2:])
            elif line.startswith("C: "):
                if self.expected and not self.is_pipelined:
                    self.settle()
                self.to_send += unescape(line[3:]).encode("latin-1") + b"\r\n"
            elif line.startswith("S: "):
                self.expected.append((number, unescape(line[3:])))
        self.settle()
        self.connection.close()


def main():
    failed, played, sources = 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        server = thurn.Server(folder, "example.org", protocols=("smtp", "imap", "pop3", "pop3s"))
        server.host = "pop.example.org"
        try:
            server.start()
            server.add_domain()
            for path in sorted((HERE / "pop3").glob("*.txt")):
                if "\n! bare\n" in path.read_text():
                    print(path.name, "skipped: for the bare machine")
                    continue
                for is_pipelined in (False, True):
                    server.add_account("alice", PASSWORD)
                    sources += 1        # whoever guesses is slowed down by address
                    play = Play(server, path, is_pipelined, f"127.0.1.{sources}")
                    try:
                        play.run()
                        played += not is_pipelined
                        print(path.name, "pipelined" if is_pipelined else "in lockstep", "ok", flush=True)
                    except (Mismatch, OSError) as problem:
                        failed += 1
                        print(f"{path.name}:{play.number}: failed: {problem}", flush=True)
                    server.thurn("account", "remove", "alice@example.org")
        finally:
            server.stop()
            if failed:
                print(server.said(), end="")
    return 1 if failed or played < PLAYABLE_MIN else 0


if __name__ == "__main__":
    sys.exit(main())
