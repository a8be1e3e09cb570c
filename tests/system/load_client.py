"""A client that keeps a server busy over SMTP, submission, LMTP, IMAP and POP3 and remembers every answer: what was asked, when,
and when the server said that it is done (CLOCK_MONOTONIC). It knows nothing of the server's code and uses no mail library.

What is remembered can be asked at any moment T of the past (`Record.judge`): what was acknowledged before T has to be there, byte for
byte and flag for flag; what was asked after T cannot be; what was under way at T may be there whole or not at all. Nothing else may.

Accounts are exclusive: an IMAP worker is the only one to touch its own, so after each of its answers it knows the whole state; a worker
that lost its connection asks the server what happened to the command that was under way, and the answer binds from then on."""
import base64
import collections
import contextlib
import hashlib
import random
import re
import socket
import threading
import time

TIMEOUT = 60
FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Draft", "$Label1", "Project")
BARRIER = "barrier"
STANDARD = {"INBOX", "Drafts", "Sent", "Archive", "Junk", "Trash"}


class Refused(Exception):
    """The server said no, in words."""


class Gone(OSError):
    """The connection ended, or said what cannot be understood: what happened to the last command is not known."""


def digest(data):
    return hashlib.blake2b(data, digest_size=12).hexdigest()


class Wire:
    """A connection by lines."""

    def __init__(self, address, port):
        self.socket = socket.create_connection((address, port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.have = b""

    def close(self):
        self.socket.close()

    @contextlib.contextmanager
    def closed_on_error(self):
        """For what a constructor says: nobody else could close it."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def fill(self):
        data = self.socket.recv(262144)
        if not data:
            raise Gone("the connection ended")
        self.have += data

    def line(self):
        while (at := self.have.find(b"\r\n")) < 0:
            self.fill()
        line, self.have = self.have[:at], self.have[at + 2:]
        return line

    def take(self, count):
        parts, size = [self.have], len(self.have)
        while size < count:
            data = self.socket.recv(262144)
            if not data:
                raise Gone("the connection ended")
            parts.append(data)
            size += len(data)
        whole = b"".join(parts)
        self.have = whole[count:]
        return whole[:count]


class Smtp(Wire):
    def __init__(self, address, port, verb="EHLO", login=None):
        super().__init__(address, port)
        with self.closed_on_error():
            self.reply("220")
            self.command(f"{verb} client.test")
            if login:
                self.command("AUTH PLAIN " + base64.b64encode(f"\0{login[0]}\0{login[1]}".encode()).decode(), "235")

    def reply(self, want):
        while True:
            line = self.line().decode()
            if line[3:4] != "-":
                break
        if not line.startswith(want):
            if line.startswith("421"):
                raise Gone(line)
            raise Refused(line)
        return line

    def command(self, line, want="250"):
        self.send(line + "\r\n")
        return self.reply(want)


class Imap(Wire):
    def __init__(self, address, port, user, password):
        super().__init__(address, port)
        self.number = 0
        with self.closed_on_error():
            self.line()
            self.command(f"LOGIN {user} {password}")

    def response(self):
        """One untagged or tagged response, literals as a list beside it."""
        text, literals = b"", []
        while True:
            line = self.line()
            text += line
            found = re.search(rb"\{(\d+)\}$", line)
            if not found:
                return text, literals
            literals.append(self.take(int(found[1])))

    def command(self, line, literal=None):
        """The untagged responses and the tagged one's text."""
        self.number += 1
        tag = b"a%d " % self.number
        if literal is None:
            self.send(tag + line.encode() + b"\r\n")
        else:
            self.send(tag + line.encode() + b" {%d+}\r\n" % len(literal) + literal + b"\r\n")
        rows = []
        while True:
            text, literals = self.response()
            if text.startswith(b"* BYE"):
                raise Gone(text.decode())
            if text.startswith(tag):
                said = text[len(tag):].decode()
                if not said.startswith("OK"):
                    raise Refused(f"{line[:100]}: {said}")
                return rows, said
            rows.append((text, literals))


def mailboxes_of(imap, command):
    rows, _ = imap.command(f'{command} "" "*"')
    found = {}
    for text, _ in rows:
        match = re.match(rb'\* (?:LIST|LSUB) \(([^)]*)\) "/" "?([^"]*)"?$', text)
        if match:
            found[match[2].decode()] = match[1].decode()
    return found


def look(imap):
    """Everything that the account has: ({mailbox: {uid: (key, flags, digest)}}, subscribed names, {mailbox: uidnext})."""
    boxes, nexts = {}, {}
    for name, attributes in mailboxes_of(imap, "LIST").items():
        boxes[name] = {}
        if "Noselect" in attributes:
            continue
        rows, _ = imap.command(f'EXAMINE "{name}"')
        nexts[name] = next(int(m[1]) for text, _ in rows if (m := re.search(rb"UIDNEXT (\d+)", text)))
        if any(text == b"* 0 EXISTS" for text, _ in rows):
            continue
        rows, _ = imap.command("FETCH 1:* (UID FLAGS BODY.PEEK[])")
        for text, literals in rows:
            if b" FETCH (" not in text or not literals:
                continue
            uid = int(re.search(rb"UID (\d+)", text)[1])
            flags = frozenset(re.search(rb"FLAGS \(([^)]*)\)", text)[1].decode().split()) - {"\\Recent"}
            if uid in boxes[name]:
                raise AssertionError(f"UID {uid} twice in {name}")
            boxes[name][uid] = (key_of(literals[0]), flags, literals[0])
    return boxes, set(mailboxes_of(imap, "LSUB")) - {BARRIER}, nexts


def key_of(data):
    found = re.search(rb"^X-Key: (\S+)\r$", data[:8000], re.M)
    return found[1].decode() if found else None


def message(key, size, chance):
    """Bytes that are nobody else's, with lines that begin with dots and bytes beyond ASCII now and then."""
    body = bytearray()
    while len(body) < size:
        word = b"%x" % chance.getrandbits(256)
        body += (b"." if chance.random() < 0.1 else b"") + word + (b"\xc3\xa9" if chance.random() < 0.1 else b"") + b"\r\n"
    return (f"From: a@client.test\r\nX-Key: {key}\r\nSubject: {key}\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n"
            f"Message-ID: <{key}@client.test>\r\n\r\n").encode() + bytes(body)


class Operation:
    """Something asked of the server. end None: it has not said yes (yet). `effects` on the state of an account, as asked;
    `final` when only some of them were seen to have happened."""
    __slots__ = ("kind", "begin", "end", "effects", "final", "is_refused", "keys", "names")

    def __init__(self, kind, effects=(), keys=(), names=()):
        self.kind, self.effects, self.keys, self.names = kind, list(effects), keys, names
        self.begin, self.end, self.final, self.is_refused = time.monotonic(), None, None, False

    def done(self):
        self.end = time.monotonic()

    def refused(self):
        self.is_refused = True
        self.done()


# ---- the state of an account, and what changes it -----------------------------------------------------------------


class State:
    def __init__(self):
        self.boxes = {name: {} for name in STANDARD}        # {mailbox: {uid: (key, flags)}}
        self.subscribed = None                              # what it is at the beginning is for the server to say

    def apply(self, effect):
        what, *rest = effect
        if what == "box+":
            self.boxes[rest[0]] = {}
        elif what == "box-":
            del self.boxes[rest[0]]
        elif what == "box>":
            self.boxes[rest[1]] = self.boxes.pop(rest[0])
        elif what == "sub+":
            self.subscribed.add(rest[0])
        elif what == "sub-":
            self.subscribed.discard(rest[0])
        elif what == "msg+":
            box, uid, key, flags = rest
            self.boxes[box][uid] = (key, flags)
        elif what == "msg-":
            del self.boxes[rest[0]][rest[1]]
        elif what == "flags":
            box, uid, flags = rest
            self.boxes[box][uid] = (self.boxes[box][uid][0], flags)


def compare(state, maybe, seen_boxes, seen_subscribed):
    """Settles what may have happened by what is seen: applies those effects to the state, and gives them back with the
    differences that remain."""
    happened = []

    def decide(effect, has):
        if has:
            state.apply(effect)
            happened.append(effect)
    for effect in maybe:
        what, *rest = effect
        if what == "box+":
            decide(effect, rest[0] in seen_boxes)
        elif what == "box-":
            decide(effect, rest[0] not in seen_boxes)
        elif what == "box>":
            decide(effect, rest[1] in seen_boxes)
        elif what == "sub+":
            decide(effect, rest[0] in seen_subscribed)
        elif what == "sub-":
            decide(effect, rest[0] not in seen_subscribed)
        elif what == "msg-":
            decide(effect, rest[0] in seen_boxes and rest[1] not in seen_boxes[rest[0]])
        elif what == "flags":
            box, uid, flags = rest
            row = seen_boxes.get(box, {}).get(uid)
            decide(effect, row is not None and row[1] == flags and uid in state.boxes.get(box, {}))
        elif what == "msg+":
            box, _, key, flags = rest
            found = [uid for uid, row in seen_boxes.get(box, {}).items()
                     if row[0] == key and row[1] == flags and uid not in state.boxes.get(box, {})]
            if found and box in state.boxes:
                effect = ("msg+", box, found[0], key, flags)
                decide(effect, True)
    wrong = []
    if set(state.boxes) != set(seen_boxes):
        wrong.append(f"mailboxes: missing {sorted(set(state.boxes) - set(seen_boxes))}, too many {sorted(set(seen_boxes) - set(state.boxes))}")
    if state.subscribed is not None and state.subscribed != seen_subscribed:
        wrong.append(f"subscriptions: {sorted(seen_subscribed)}, not {sorted(state.subscribed)}")
    for name in set(state.boxes) & set(seen_boxes):
        mine, seen = state.boxes[name], seen_boxes[name]
        for uid in set(mine) - set(seen):
            wrong.append(f"{name}: UID {uid} ({mine[uid][0]}) is lost")
        for uid in set(seen) - set(mine):
            wrong.append(f"{name}: UID {uid} ({seen[uid][0]}) should not be there")
        for uid in set(mine) & set(seen):
            if mine[uid] != seen[uid][:2]:
                wrong.append(f"{name}: UID {uid} is {seen[uid][:2]}, not {mine[uid]}")
    return happened, wrong


class Record:
    """Everything that was asked and answered."""

    def __init__(self):
        self.lock = threading.Condition()
        self.accounts = collections.defaultdict(list)       # operations on accounts that are one worker's own, in order
        self.deliveries = []                                # operations with keys = one, names = accounts
        self.removals = []                                  # over POP3: keys, names = (account,)
        self.queued = []                                    # submissions to elsewhere: names = [id] when answered
        self.bodies = {}                                    # key: (bytes, is_exact)
        self.acknowledged = 0
        self.by_kind = collections.Counter()

    def noted(self, operation):
        with self.lock:
            self.acknowledged += 1
            self.by_kind[operation.kind] += 1
            self.lock.notify_all()

    def wait_for_more(self, count, timeout=TIMEOUT):
        with self.lock:
            have = self.acknowledged
            if not self.lock.wait_for(lambda: self.acknowledged >= have + count, timeout):
                raise AssertionError(f"{self.acknowledged - have} answers in {timeout} s, not {count}")

    # ---- judging -------------------------------------------------------------------------------------------------

    def state_at(self, account, moment):
        """What the account has at that moment, and the effects that it may have."""
        state, maybe, kind = State(), [], None
        state.subscribed = set()
        for operation in self.accounts[account]:
            if operation.begin > moment:
                break
            if operation.is_refused and operation.end is not None:
                continue                                    # a no means that nothing was changed
            if operation.end is not None and operation.end <= moment:
                for effect in operation.effects if operation.final is None else operation.final:
                    state.apply(effect)
            else:
                maybe, kind = operation.effects, operation.kind
        return state, maybe, kind

    def judge_bodies(self, seen_boxes):
        wrong = []
        for name, rows in seen_boxes.items():
            for uid, (key, _, data) in rows.items():
                sent, is_exact = self.bodies.get(key, (None, True))
                if sent is None:
                    wrong.append(f"{name}: UID {uid} is nobody's: {data[:80]!r}")
                elif data != sent if is_exact else not data.endswith(sent):
                    wrong.append(f"{name}: UID {uid} ({key}) is altered: {len(data)} bytes of {len(sent)}")
        return wrong

    def judge_account(self, account, moment, seen):
        """Of an IMAP worker's own account: what is wrong with what is seen, as of a moment."""
        seen_boxes, seen_subscribed, nexts = seen
        state, maybe, kind = self.state_at(account, moment)
        happened, wrong = compare(state, maybe, seen_boxes, seen_subscribed)
        wrong += self.judge_bodies(seen_boxes)
        wrong += judge_move(kind, maybe, happened)
        for name, rows in seen_boxes.items():
            if rows and nexts.get(name, 0) <= max(rows):
                wrong.append(f"{name}: UIDNEXT {nexts.get(name)} with UID {max(rows)}")
        return [f"{account}: {text}" for text in wrong]

    def judge_inbox(self, account, moment, seen, no_means_no=False):
        """Of an account that gets mail from everybody, and from which POP3 may take it: nothing but what had to be. Where roles die
        a refusal at a message's end may mean "not known" (RFC 5321 6.1: the client sends it again)."""
        boxes = seen[0]
        count = collections.Counter(row[0] for row in boxes.get("INBOX", {}).values())
        gone = {}
        for operation in self.removals:
            if account in operation.names and operation.begin <= moment and not operation.is_refused:
                is_sure = operation.end is not None and operation.end <= moment
                for key in operation.keys:
                    gone[key] = gone.get(key, False) or is_sure
        wrong, known = self.judge_bodies(boxes), set()
        for operation in self.deliveries:
            if account not in operation.names:
                continue
            key = operation.keys[0]
            known.add(key)
            is_sure = operation.end is not None and operation.end <= moment
            if operation.begin > moment:
                want = {0}
            elif is_sure and operation.is_refused:
                want = {0} if no_means_no else {0, 1}
            elif is_sure:
                want = {0} if gone.get(key) else {0, 1} if key in gone else {1}
            else:
                want = {0, 1}
            if count[key] not in want:
                wrong.append(f"{operation.kind} {key} is there {count[key]} times, not {want}")
        wrong += [f"{key} is nobody's" for key in count if key not in known]
        wrong += [f"mail in {name}" for name, rows in boxes.items() if rows and name != "INBOX"]
        return [f"{account}: {text}" for text in wrong]

    def judge_queue(self, moment, ids):
        wrong = []
        for operation in self.queued:
            if operation.end is not None and operation.end <= moment and not operation.is_refused:
                if not operation.names or operation.names[0] not in ids:
                    wrong.append(f"queue: {operation.keys} {operation.names} is not there")
        late = {operation.names[0] for operation in self.queued if operation.begin > moment and operation.names}
        return wrong + [f"queue: {name} is there before it was sent" for name in late & set(ids)]


def judge_move(kind, maybe, happened):
    """A MOVE that was under way moved each message or did not (RFC 6851 3.3): never lost, never in both."""
    if kind != "MOVE":
        return []
    gone = sum(effect[0] == "msg-" for effect in happened)
    came = sum(effect[0] == "msg+" for effect in happened)
    return [] if gone == came else [f"half a MOVE of {len(maybe) // 2}: {gone} gone, {came} come"]


# ---- workers ------------------------------------------------------------------------------------------------------


class Load:
    """Workers against one server: `ports` by protocol. With a `with`, they run inside."""

    def __init__(self, address, ports, domain, password, record=None, seed=1, sizes=(200, 20000), large=0.02, imap_workers=2, smtp_workers=2,
                 pop3=True, elsewhere=None, pace=0.0):
        self.address, self.ports, self.domain, self.password = address, ports, domain, password
        self.record = record or Record()
        self.chance = random.Random(seed)
        self.sizes, self.large, self.pace = sizes, large, pace
        self.elsewhere = elsewhere
        self.over = threading.Event()
        self.failures = []
        self.count = 0
        work = [(self.imap_work, f"imap{n}") for n in range(imap_workers)]
        work += [(self.smtp_work, f"smtp{n}") for n in range(smtp_workers)] + [(self.lmtp_work, "lmtp"), (self.submission_work, "submission")]
        work += [(self.pop3_work, "pop")] if pop3 else []
        self.threads = [threading.Thread(target=self.run, args=(function, name, random.Random(f"{seed} {name}")), name=name, daemon=True)
                        for function, name in work]

    @staticmethod
    def account_names(imap_workers=2):
        return [f"imap{n}" for n in range(imap_workers)] + ["recipient0", "recipient1", "pop", "sender"]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(2 * TIMEOUT)
            assert not thread.is_alive(), f"the client {thread.name} hangs"
        assert not self.failures, self.failures[0]

    def run(self, function, name, chance):
        """A connection that is lost is made anew, until told to stop. What the worker itself finds wrong ends it."""
        while not self.over.is_set():
            try:
                function(name, chance)
            except Refused as refusal:
                if not re.match(r"4\d\d |.*(NO|BAD|-ERR)", str(refusal)):
                    self.failures.append(f"{name}: {refusal}")
                    return
                self.over.wait(0.02)
            except OSError:
                self.over.wait(0.01)                        # refused or reset: the server is on its way back
            except Exception as error:                      # an AssertionError of judging too
                self.failures.append(f"{name}: {type(error).__name__}: {error}")
                return

    def user(self, name):
        return f"{name}@{self.domain}"

    def fresh(self, chance, is_exact, kind):
        with self.record.lock:
            self.count += 1
            key = f"{kind}-{self.count}-{chance.getrandbits(32):08x}"
        low, high = self.sizes
        size = int(low * (high / low) ** chance.random())
        if chance.random() < self.large:
            size = 300_000
        text = message(key, size, chance)
        self.record.bodies[key] = (text, is_exact)
        return key, text

    def deliver(self, smtp, operation, sender, recipients, text, replies=1):
        """One transaction. The id that the last answer ends with."""
        try:
            smtp.command(f"MAIL FROM:<{sender}> BODY=8BITMIME")
            for recipient in recipients:
                smtp.command(f"RCPT TO:<{recipient}>")
            smtp.command("DATA", "354")
            smtp.send(re.sub(rb"(?m)^\.", b"..", text) + b".\r\n")
            for _ in range(replies):
                said = smtp.reply("250")
        except Refused:
            operation.refused()
            raise
        operation.done()
        self.record.noted(operation)
        return said.split()[-1]

    def smtp_work(self, name, chance):
        with contextlib.closing(Smtp(self.address, self.ports["smtp"])) as smtp:
            for _ in range(chance.randrange(1, 40)):
                if self.over.is_set():
                    return
                to = chance.choice([["recipient0"], ["recipient1"], ["recipient0", "recipient1"], ["pop"]])
                key, text = self.fresh(chance, False, "smtp")
                operation = Operation("SMTP", keys=(key,), names=to)
                self.record.deliveries.append(operation)
                self.deliver(smtp, operation, "a@client.test", [self.user(n) for n in to], text)
                self.over.wait(self.pace)

    def lmtp_work(self, name, chance):
        with contextlib.closing(Smtp(self.address, self.ports["lmtp"], "LHLO")) as smtp:
            for _ in range(chance.randrange(1, 20)):
                if self.over.is_set():
                    return
                to = ["recipient0", "pop"]
                key, text = self.fresh(chance, False, "lmtp")
                operation = Operation("LMTP", keys=(key,), names=to)
                self.record.deliveries.append(operation)
                self.deliver(smtp, operation, "a@client.test", [self.user(n) for n in to], text, replies=2)
                self.over.wait(max(self.pace, 0.005))

    def submission_work(self, name, chance):
        login = (self.user("sender"), self.password)
        with contextlib.closing(Smtp(self.address, self.ports["submission"], login=login)) as smtp:
            for number in range(chance.randrange(1, 20)):
                if self.over.is_set():
                    return
                key, text = self.fresh(chance, False, "sub")
                text = text.replace(b"From: a@client.test", b"From: " + login[0].encode())
                self.record.bodies[key] = (text[text.index(b"X-Key"):], False)
                to, out = ["recipient1"], self.elsewhere and number % 4 == 0
                operation = Operation("QUEUED" if out else "SUBMISSION", keys=(key,), names=[] if out else to)
                (self.record.queued if out else self.record.deliveries).append(operation)
                said = self.deliver(smtp, operation, login[0], [f"{key}@{self.elsewhere}"] if out else [self.user(n) for n in to], text)
                if out:
                    operation.names = [said]
                self.over.wait(max(self.pace, 0.005))

    def pop3_work(self, name, chance):
        with contextlib.closing(Wire(self.address, self.ports["pop3"])) as wire:
            def command(line):
                wire.send(line + "\r\n")
                said = wire.line().decode()
                if not said.startswith("+OK"):
                    raise Refused(said)
                return said
            wire.line()
            command(f"USER {self.user('pop')}")
            command(f"PASS {self.password}")
            count = int(command("STAT").split()[1])
            keys = []
            for number in range(1, min(count, 10) + 1):
                command(f"TOP {number} 0")
                text = b""
                while (line := wire.line()) != b".":
                    text += line + b"\r\n"
                if chance.random() < 0.5:
                    command(f"DELE {number}")
                    keys.append(key_of(text))
            if chance.random() < 0.2:
                return                                      # gone without a QUIT: nothing was deleted (RFC 1939 6)
            operation = Operation("POP3", keys=tuple(keys), names=("pop",))
            self.record.removals.append(operation)
            command("QUIT")
            operation.done()
            self.record.noted(operation)
        self.over.wait(0.1)

    # ---- IMAP: the worker knows the whole state of its account ------------------------------------------------------

    def imap_work(self, name, chance):
        with contextlib.closing(Imap(self.address, self.ports["imap"], self.user(name), self.password)) as imap:
            state = self.settle(imap, name)
            for _ in range(chance.randrange(20, 200)):
                if self.over.is_set():
                    return
                step = chance.choice(IMAP_STEPS)
                step(self, imap, name, state, chance)
                self.over.wait(self.pace)

    def settle(self, imap, name):
        """After a connection was lost: what happened to the command that was under way? The rest has to be as it was said."""
        log = self.record.accounts[name]
        for verb in ("SUBSCRIBE", "UNSUBSCRIBE"):           # one of them changes something: what was asked before has been written by then,
            imap.command(f'{verb} "{BARRIER}"')              # also when only the way to the server was cut and the command went on
        now = time.monotonic()
        seen = look(imap)
        wrong = self.record.judge_account(name, now, seen) if log else []
        state, maybe, _ = self.record.state_at(name, now)
        if not log:
            begin = Operation("BEGIN", [("sub+", box) for box in seen[1]])
            begin.done()
            log.append(begin)
            state, maybe, _ = self.record.state_at(name, time.monotonic())
        if wrong:
            raise AssertionError("; ".join(wrong[:5]))
        happened, _ = compare(state, maybe, seen[0], seen[1])
        if log[-1].end is None:
            log[-1].final = happened
            log[-1].done()
        return state

    def change(self, name, state, operation, command):
        """Asks for it; what the server answered is known when this returns."""
        self.record.accounts[name].append(operation)
        try:
            said = command()
        except Refused:
            operation.refused()
            raise
        return said

    def changed(self, state, operation):
        operation.done()
        for effect in operation.effects:
            state.apply(effect)
        self.record.noted(operation)


def own_boxes(state):
    return [box for box in state.boxes if box not in STANDARD]


def numbers(text):
    """A UID set as a list."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        found += range(int(first), int(last or first) + 1)
    return found


def step_append(load, imap, name, state, chance):
    box = chance.choice(list(state.boxes))
    key, text = load.fresh(chance, True, "append")
    flags = frozenset(flag for flag in FLAGS[:4] if chance.random() < 0.3)
    operation = Operation("APPEND", [("msg+", box, None, key, flags)])
    _, said = load.change(name, state, operation, lambda: imap.command(f'APPEND "{box}" ({" ".join(sorted(flags))})', text))
    operation.effects = [("msg+", box, int(re.search(r"APPENDUID \d+ (\d+)", said)[1]), key, flags)]
    load.changed(state, operation)


def some(state, chance, most):
    """A mailbox with something in it, and some UIDs of it; None when there is none."""
    full = [box for box, rows in state.boxes.items() if rows]
    if not full:
        return None, []
    box = chance.choice(full)
    return box, sorted(chance.sample(sorted(state.boxes[box]), min(len(state.boxes[box]), chance.randrange(1, most))))


def uid_set(uids):
    return ",".join(map(str, uids))


def step_store(load, imap, name, state, chance):
    box, uids = some(state, chance, 12)
    if not uids:
        return
    imap.command(f'SELECT "{box}"')
    flag, is_set = chance.choice(FLAGS), chance.random() < 0.6
    effects = []
    for uid in uids:
        have = state.boxes[box][uid][1]
        want = have | {flag} if is_set else have - {flag}
        if want != have:
            effects.append(("flags", box, uid, want))
    operation = Operation("STORE", effects)
    load.change(name, state, operation, lambda: imap.command(f"UID STORE {uid_set(uids)} {'+' if is_set else '-'}FLAGS.SILENT ({flag})"))
    load.changed(state, operation)


def transfer(load, imap, name, state, chance, verb):
    box, uids = some(state, chance, 5)
    to = chance.choice(list(state.boxes))
    if not uids or (verb == "MOVE" and to == box):
        return
    imap.command(f'SELECT "{box}"')
    came = [("msg+", to, None, *state.boxes[box][uid]) for uid in uids]
    gone = [("msg-", box, uid) for uid in uids] if verb == "MOVE" else []
    operation = Operation(verb, came + gone)
    rows, said = load.change(name, state, operation, lambda: imap.command(f'UID {verb} {uid_set(uids)} "{to}"'))
    found = next(m for text in [said, *(row[0].decode() for row in rows)] if (m := re.search(r"COPYUID \d+ (\S+) ([\d:,]+)", text)))
    new = dict(zip(numbers(found[1]), numbers(found[2])))
    assert sorted(new) == uids, f"{verb} {uids}: {found[0]}"
    operation.effects = [("msg+", to, new[uid], *state.boxes[box][uid]) for uid in uids] + gone
    load.changed(state, operation)


def step_copy(load, imap, name, state, chance):
    transfer(load, imap, name, state, chance, "COPY")


def step_move(load, imap, name, state, chance):
    transfer(load, imap, name, state, chance, "MOVE")


def step_expunge(load, imap, name, state, chance):
    box, uids = some(state, chance, 8)
    if not uids:
        return
    imap.command(f'SELECT "{box}"')
    mark = Operation("STORE", [("flags", box, uid, state.boxes[box][uid][1] | {"\\Deleted"}) for uid in uids])
    load.change(name, state, mark, lambda: imap.command(f"UID STORE {uid_set(uids)} +FLAGS.SILENT (\\Deleted)"))
    load.changed(state, mark)
    every = [uid for uid, row in state.boxes[box].items() if "\\Deleted" in row[1]]
    operation = Operation("EXPUNGE", [("msg-", box, uid) for uid in every])
    load.change(name, state, operation, lambda: imap.command("EXPUNGE"))
    load.changed(state, operation)


def step_create(load, imap, name, state, chance):
    if len(own_boxes(state)) >= 6:
        return
    box = f"box-{chance.getrandbits(24):06x}"
    operation = Operation("CREATE", [("box+", box)])
    load.change(name, state, operation, lambda: imap.command(f'CREATE "{box}"'))
    load.changed(state, operation)


def step_rename(load, imap, name, state, chance):
    boxes = own_boxes(state)
    if not boxes:
        return
    box, to = chance.choice(boxes), f"box-{chance.getrandbits(24):06x}"
    operation = Operation("RENAME", [("box>", box, to)])
    load.change(name, state, operation, lambda: imap.command(f'RENAME "{box}" "{to}"'))
    load.changed(state, operation)


def step_delete(load, imap, name, state, chance):
    boxes = own_boxes(state)
    if len(boxes) < 4:
        return
    box = chance.choice(boxes)
    imap.command('EXAMINE "INBOX"')
    operation = Operation("DELETE", [("box-", box)])
    load.change(name, state, operation, lambda: imap.command(f'DELETE "{box}"'))
    load.changed(state, operation)


def step_subscribe(load, imap, name, state, chance):
    box, is_set = chance.choice(sorted(STANDARD)), chance.random() < 0.5
    operation = Operation("SUBSCRIBE", [("sub+" if is_set else "sub-", box)])
    load.change(name, state, operation, lambda: imap.command(f'{"" if is_set else "UN"}SUBSCRIBE "{box}"'))
    load.changed(state, operation)


IMAP_STEPS = [step_append] * 8 + [step_store] * 6 + [step_copy] * 2 + [step_move] * 3 + [step_expunge] * 3 + [
    step_create, step_rename, step_delete, step_subscribe]
