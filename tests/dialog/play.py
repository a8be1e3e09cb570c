#!/usr/bin/env python3
"""Plays SMTP transcripts (README.md here) to a running server over real connections, TLS included.

    play.py --host ADDRESS [--smtp PORT] [--submission PORT] [--submissions PORT] [--lmtp PORT] FILE...

The server has the standard cast, takes messages of up to 100000 bytes and calls itself mx.recipient.test. What a transcript wants that cannot be had from outside (scripted answers, other
limits) makes it skipped, with the reason; what the machine alone can show (B:, commits, flags) is passed over. Each
transcript is played line for line and with everything pipelined. Exit status 1 when one fails.
"""
import argparse
import re
import socket
import ssl
import sys

TIMEOUT = 20
CANNOT = {"bare": "for the bare machine", "size": "another size limit", "recipients": "another limit of recipients",
          "plain": "AUTH without TLS", "stop": "has to be told to stop"}
ANYTHING = r".*"


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
        return {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}[code]
    return re.sub(r"\\(x[0-9a-f]{2}|\{.\d+\}|[rnt0\\])", one, text).encode("latin-1")


def pattern(text):
    """What may differ from server to server: names of messages, the size limit, mechanisms that need TLS."""
    parts = [re.escape(part) for part in unescape(text).decode("latin-1").split("*")]
    loose = ANYTHING.join(parts)
    loose = re.sub(r"accepted\\ as\\ ID\d+", r"accepted\\ as\\ .*", loose)
    loose = re.sub(r"SIZE\\ 100000", r"SIZE\\ \\d+", loose)
    loose = loose.replace(r"AUTH\ SCRAM", r"AUTH\ (SCRAM\-SHA\-256\-PLUS\ )?SCRAM")
    return re.compile(loose, re.DOTALL)


class Connection:
    def __init__(self, address):
        self.socket = socket.create_connection(address, TIMEOUT)
        self.rest = b""

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass                                    # the replies will tell

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

    def start_tls(self):
        if self.rest:
            raise Failure(f"the server spoke between its reply and TLS: {self.rest!r}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)

    def close(self):
        self.socket.close()


class Play:
    def __init__(self, host, ports, is_pipelined):
        self.host, self.ports, self.is_pipelined = host, ports, is_pipelined
        self.face, self.has_tls, self.connection = "mx", False, None
        self.to_send, self.expected = b"", []

    def connect(self):
        if not self.connection:
            if not self.ports.get(self.face):
                raise Skip(f"no port for {self.face}")
            self.connection = Connection((self.host, self.ports[self.face]))
            if self.has_tls:
                self.connection.start_tls()

    def settle(self):
        self.connect()
        if self.to_send:
            self.connection.send(self.to_send)
        self.to_send = b""
        for number, text in self.expected:
            line = self.connection.line()
            if line is None or not pattern(text).fullmatch(line.decode("latin-1")):
                raise Failure(f"line {number}: got {line!r}, want {text!r}")
        self.expected = []

    def directive(self, words):
        name, *values = words
        if name in CANNOT:
            raise Skip(CANNOT[name])
        if name == "face":
            self.face = values[0]
        elif name == "tls" and values == ["active"]:
            self.face, self.has_tls = "submissions", True
        elif name == "tls" and values:
            raise Skip("another setting of TLS")
        elif name == "tls":
            self.settle()
            self.connection.start_tls()
        elif name == "close":
            self.settle()
            if not values and self.connection.line() is not None:
                raise Failure("the connection is still open")
        elif name == "again":
            if self.connection or self.expected:
                self.settle()
                self.connection.close()
            self.connection = None

    def line(self, number, line):
        kind, text = line[:3], line[3:]
        if kind in ("C: ", "R: ") and not self.is_pipelined and self.expected:
            self.settle()
        if kind == "C: ":
            self.to_send += unescape(text) + b"\r\n"
        elif kind == "R: ":
            self.to_send += unescape(text)
        elif kind == "S: ":
            self.expected.append((number, text))
        elif kind == "A: ":
            raise Skip("scripted answers")
        elif line.startswith(("! send ", "! expect ")):
            _, what, count, text = line.split(" ", 3)
            for _ in range(int(count)):
                self.line(number, ("C: " if what == "send" else "S: ") + text)
        elif line.startswith("! "):
            self.directive(line[2:].split())

    def run(self, lines):
        try:
            for number, line in enumerate(lines, 1):
                self.line(number, line)
            self.settle()
        finally:
            if self.connection:
                self.connection.close()


def play(path, host, ports):
    """None when it went as written, else (kind, why) with kind "skipped" or "failed"."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for is_pipelined in (False, True):
        try:
            Play(host, ports, is_pipelined).run(lines)
        except Skip as why:
            return "skipped", str(why)
        except (Failure, TimeoutError, ssl.SSLError) as why:
            return "failed", f"{'pipelined' if is_pipelined else 'line for line'}: {why!r}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", required=True)
    for name in ("smtp", "submission", "submissions", "lmtp"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("files", nargs="+", metavar="FILE")
    options = parser.parse_args()
    ports = {"mx": options.smtp, "submission": options.submission, "submissions": options.submissions, "lmtp": options.lmtp}
    failed = 0
    for path in options.files:
        outcome = play(path, options.host, ports)
        failed += outcome is not None and outcome[0] == "failed"
        print(path, "ok" if outcome is None else f"{outcome[0]}: {outcome[1]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
