#!/usr/bin/env python3
"""The administrator's commands as a person or a script uses them, with no server running.

    admin.py THURN

Each test is a function whose docstring is its sentence; each gets an empty folder of its own.
"""
import json
import os
import pathlib
import pty
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading

THURN = str(pathlib.Path(sys.argv[1]).resolve())
HOST = "mail.example.test"


class Failed(Exception):
    pass


def thurn(*words, status=0, input=None, name="thurn", env=None):
    """Runs it to its end; fails when its exit status is another one."""
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "TZ": "UTC", **(env or {})}
    done = subprocess.run([name, *map(str, words)], executable=THURN, text=True, capture_output=True, env=environment,
                          timeout=60, **({"input": input} if input is not None else {"stdin": subprocess.DEVNULL}))
    if done.returncode != status:
        raise Failed(f"{name} {' '.join(map(str, words))}: exit status {done.returncode}, want {status}\n{done.stdout}{done.stderr}")
    return done


def check(condition, what):
    if not condition:
        raise Failed(what)


def has(text, part):
    check(part in text, f"no {part!r} in:\n{text}")


def rows(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def trial(folder):
    """A server that was set up below a folder: the environment that names its configuration."""
    thurn("setup", "--prefix", folder / "t", HOST)
    return {"THURN_CONFIG": str(folder / "t/thurn.yaml")}


# ---- the program itself ----

def test_help(folder):
    """every subcommand is listed and has its help, by two ways, and exits with 0"""
    listed = thurn("help").stdout
    has(thurn("--help").stdout, "Usage: thurn COMMAND")
    names = re.findall(r"^  ([a-z]+) ", listed, re.M)
    check(len(names) > 12, listed)
    for name in names:
        has(thurn(name, "--help").stdout, f"Usage: thurn {name}")
        has(thurn("help", name).stdout, f"Usage: thurn {name}")
    for group in ("domain", "account", "alias", "queue"):
        verbs = re.findall(r"^  ([a-z]+) ", thurn(group, "--help").stdout, re.M)
        check(len(verbs) >= 3, group)
        for verb in verbs:
            text = thurn(group, verb, "--help").stdout
            has(text, f"Usage: thurn {group} {verb}")
            has(text, "--config")
            has(text, "--json")


def test_wrong_words(folder):
    """what cannot be understood is named, and exits with 2"""
    for words, says in [
        ((), "Usage: thurn COMMAND"),
        (("explode",), 'there is no command "explode"'),
        (("domain",), "Usage: thurn domain"),
        (("domain", "explode"), 'there is no "domain explode"'),
        (("domain", "add"), "it wants [options] DOMAIN"),
        (("domain", "add", "a", "b"), "it wants [options] DOMAIN"),
        (("domain", "list", "--color"), "there is no option --color"),
        (("domain", "list", "-x"), "there is no option -x"),
        (("domain", "list", "--config"), "--config wants a value"),
        (("domain", "list", "--json=yes"), "takes no value"),
        (("queue", "hold"), "which messages?"),
        (("queue", "list", "--older", "5"), '--older "5": expected a time such as 30m'),
        (("why",), "it wants one ID"),
        (("setup",), "it wants one HOST"),
        (("setup", "localhost"), "give the host's full name"),
        (("setup", "mail..example"), "is no host name"),
        (("setup", "--key", "/k", HOST), "--certificate and --key go together"),
        (("help", "explode"), 'there is no command "explode"'),
    ]:
        done = thurn(*words, status=2)
        has(done.stderr + done.stdout, says)


def test_version(folder):
    """the version is printed"""
    check(re.fullmatch(r"thurn \d+\.\d+\.\d+\n", thurn("version").stdout), "version")
    check(thurn("--version").stdout == thurn("version").stdout, "--version")


def test_names(folder):
    """called as newaliases it does nothing well; called as mailq it asks a server"""
    thurn(name="/usr/bin/newaliases")
    has(thurn(name="mailq", env=trial(folder), status=1).stderr, "no server")
    has(thurn("--help", name="mailq").stdout, "Usage: mailq ")


# ---- configuration ----

def test_check(folder):
    """a configuration is checked: what is wrong is named with its line, what is right is summed up"""
    env = trial(folder)
    config = pathlib.Path(env["THURN_CONFIG"])
    has(thurn("check", env=env).stdout, f"{config}: ok")
    has(thurn("check", config).stdout, "smtp         127.0.0.1:10025")
    check(rows(thurn("check", "--json", config)) == [{"file": str(config), "is_good": True}], "--json")
    text = config.read_text()
    config.write_text(text + "delievery: {}\n")
    has(thurn("check", env=env, status=1).stderr, f'{config}:{text.count(chr(10)) + 1}:1: there is no setting "delievery"')
    (row,) = rows(thurn("check", "--json", config, status=1))
    check(not row["is_good"] and "delievery" in row["problem"], row)
    config.write_text(text.replace("key.pem", "lost.pem"))
    has(thurn("check", env=env, status=1).stderr, "tls.key: ")
    has(thurn("check", env=env, status=1).stderr, "lost.pem cannot be read: No such file")
    has(thurn("check", folder / "nowhere.yaml", status=1).stderr, "there is no such file")


def test_check_pair(folder):
    """a key that is another certificate's is found"""
    trial(folder)
    thurn("setup", "--prefix", folder / "u", HOST)
    shutil.copy(folder / "u/key.pem", folder / "t/key.pem")
    said = thurn("check", folder / "t/thurn.yaml", status=1).stderr
    has(said, "key.pem")
    has(said, "certificate.pem")


def test_sample(folder):
    """the sample is a configuration, and --print gives one that says the same"""
    sample = folder / "sample.yaml"
    sample.write_text(thurn("help", "--sample").stdout.replace("#data_dir: /var/lib/thurn", f"data_dir: {folder}/data")
                      .replace("#run_dir: /run/thurn", f"run_dir: {folder}/run"))
    printed = thurn("check", "--print", sample).stdout
    again = folder / "again.yaml"
    again.write_text(printed)
    check(thurn("check", "--print", again).stdout == printed, "printed again it differs")
    has(printed, "message_size: 50M")


# ---- set-up ----

def test_setup(folder):
    """a trial is set up below one folder, for its owner alone, and can start"""
    said = thurn("setup", "--prefix", folder / "t", HOST).stdout
    for part in ("example.test. MX 10 mail.example.test.", 'example.test. TXT "v=spf1 mx -all"', "made  domain example.test",
                 "_submissions._tcp.example.test. SRV 0 1 10465 mail.example.test.", "thurn account add", "thurn serve"):
        has(said, part)
    check((folder / "t/key.pem").stat().st_mode & 0o777 == 0o600, "the key is for its owner")
    check((folder / "t/data/directory").stat().st_mode & 0o777 == 0o700, "so is the directory")
    env = {"THURN_CONFIG": str(folder / "t/thurn.yaml")}
    check([row["domain"] for row in rows(thurn("domain", "list", "--json", env=env))] == ["example.test"], "domain")
    text = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", folder / "t/certificate.pem"],
                          capture_output=True, text=True).stdout
    has(text, "DNS:mail.example.test")


def test_setup_again(folder):
    """a second set-up keeps what is there, and makes what is missing"""
    thurn("setup", "--prefix", folder / "t", HOST)
    before = {path: path.read_bytes() for path in folder.rglob("*.pem")} | {folder / "t/thurn.yaml": (folder / "t/thurn.yaml").read_bytes()}
    said = thurn("setup", "--prefix", folder / "t", HOST).stdout
    check("made" not in said, said)
    for path, content in before.items():
        check(path.read_bytes() == content, path)
    (folder / "t/thurn.yaml").unlink()
    said = thurn("setup", "--prefix", folder / "t", "--domain", "other.test", HOST).stdout
    has(said, f"made  {folder}/t/thurn.yaml")
    has(said, f"kept  {folder}/t/key.pem")
    has(said, "made  domain other.test")


def test_setup_half(folder):
    """a key without its certificate is not guessed about"""
    thurn("setup", "--prefix", folder / "t", HOST)
    (folder / "t/certificate.pem").unlink()
    has(thurn("setup", "--prefix", folder / "t", HOST, status=1).stderr, "key.pem is there and")
    check(not (folder / "t/certificate.pem").exists(), "nothing was made")


def test_setup_link(folder):
    """set-up writes through no symbolic link"""
    (folder / "t").mkdir()
    (folder / "victim").write_text("mine")
    (folder / "t/thurn.yaml").symlink_to(folder / "new")
    thurn("setup", "--prefix", folder / "t", HOST, status=1)
    check(not (folder / "new").exists() and (folder / "victim").read_text() == "mine", "it wrote through the link")


def test_setup_options(folder):
    """a certificate, a postmaster, an address and ports of one's own"""
    thurn("setup", "--prefix", folder / "a", HOST)
    thurn("setup", "--prefix", folder / "t", "--certificate", folder / "a/certificate.pem", "--key", folder / "a/key.pem",
          "--postmaster", "pm@example.test", "--listen", "::1", "--port-offset", "20000", HOST)
    text = (folder / "t/thurn.yaml").read_text()
    has(text, f'certificate: "{folder}/a/certificate.pem"')
    has(text, 'postmaster: "pm@example.test"')
    has(text, 'smtp: ["[::1]:20025"]')
    check(not (folder / "t/key.pem").exists(), "no key of its own")


def test_setup_wrong(folder):
    """a wrong option leaves no configuration behind"""
    for words, says in ((("--postmaster", "nobody"), "postmaster: "), (("--listen", "localhost"), "listen.smtp: ")):
        has(thurn("setup", "--prefix", folder / "t", *words, HOST, status=1).stderr, says)
        check(not (folder / "t/thurn.yaml").exists(), "it was written")
    thurn("setup", "--prefix", folder / "t", HOST)


def test_setup_unprivileged(folder):
    """who is not root is told what he can do"""
    if os.geteuid() != 0:
        has(thurn("setup", HOST, status=1).stderr, "--prefix DIR")


# ---- the directory ----

def test_accounts(folder):
    """accounts are added, listed, changed and removed without a server"""
    env = trial(folder)
    thurn("account", "add", "alice@example.test", "--quota", "2G", input="wonderland\n", env=env)
    thurn("account", "add", "Bob@example.test", input="builder", env=env)
    listed = rows(thurn("account", "list", "--json", env=env))
    check([(row["account"], row["quota_bytes"], row["is_enabled"]) for row in listed]
          == [("alice@example.test", 2 << 30, True), ("Bob@example.test", 0, True)], listed)
    has(thurn("account", "list", env=env).stdout, "alice@example.test     2G  enabled")
    has(thurn("account", "quota", "bob@example.test", "none", env=env).stdout, "bob@example.test: quota set")
    thurn("account", "quota", "bob@example.test", "lots", env=env, status=2)
    thurn("account", "disable", "bob@example.test", env=env)
    check(not rows(thurn("account", "list", "bob", "--json", env=env))[0]["is_enabled"], "disabled")
    thurn("account", "enable", "bob@example.test", env=env)
    thurn("account", "password", "bob@example.test", input="new\n", env=env)
    thurn("account", "remove", "bob@example.test", env=env)
    has(thurn("account", "remove", "bob@example.test", env=env, status=1).stderr, "there is no account bob@example.test")
    has(thurn("account", "add", "x@elsewhere.test", input="p\n", env=env, status=1).stderr, "thurn domain add elsewhere.test")


def test_aliases(folder):
    """aliases are added, listed and removed"""
    env = trial(folder)
    thurn("alias", "add", "sales@example.test", "alice@example.test", "bob@elsewhere.test", env=env)
    thurn("alias", "add", "@example.test", "alice@example.test", env=env)
    has(thurn("alias", "list", env=env).stdout, "sales@example.test  alice@example.test bob@elsewhere.test")
    check(rows(thurn("alias", "list", "sales", "--json", env=env))
          == [{"alias": "sales@example.test", "targets": ["alice@example.test", "bob@elsewhere.test"]}], "--json")
    thurn("alias", "remove", "@example.test", env=env)
    check(len(rows(thurn("alias", "list", "--json", env=env))) == 1, "removed")


def test_passwords(folder):
    """a password comes from a file, a pipe, or is made: never from the words, and no empty one"""
    env = trial(folder)
    secret = folder / "secret"
    secret.write_text("first line\nsecond line\n")
    thurn("account", "add", "a@example.test", "--password-file", secret, env=env)
    thurn("account", "add", "b@example.test", "--password-file", "-", input="piped\n", env=env)
    made = thurn("account", "add", "c@example.test", "--generate", env=env).stdout
    check(re.search(r"^password: [a-z2-9]{24}$", made, re.M), made)
    other = rows(thurn("account", "password", "c@example.test", "-g", "--json", env=env))
    check(other[-1]["password"] not in made, "it is another one each time")
    has(thurn("account", "add", "d@example.test", input="\n", env=env, status=1).stderr, "the password is empty")
    has(thurn("account", "add", "d@example.test", input="", env=env, status=1).stderr, "no password there")
    has(thurn("account", "add", "d@example.test", input="x" * 2000, env=env, status=1).stderr, "longer than")
    has(thurn("account", "add", "d@example.test", "--password-file", folder / "none", env=env, status=1).stderr, "No such file")
    thurn("account", "add", "d@example.test", "-g", "-p", secret, env=env, status=1)
    thurn("account", "add", "d@example.test", "a password", env=env, status=2)
    check(len(rows(thurn("account", "list", "--json", env=env))) == 3, "what failed added nothing")


def at_terminal(words, answers, env):
    """Runs it on a terminal and types the answers; what was shown, and the exit status."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(THURN, ["thurn", *words], {"PATH": "/usr/bin:/bin", **env})
    shown, answers = b"", list(answers)
    while select.select([fd], [], [], 30)[0]:
        try:
            piece = os.read(fd, 1000)
        except OSError:
            break
        shown += piece
        if answers and shown.endswith(b": "):
            os.write(fd, answers.pop(0).encode() + b"\n")
    os.close(fd)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_terminal(folder):
    """at a terminal the password is asked for twice and never shown"""
    env = trial(folder)
    shown, status = at_terminal(["account", "add", "a@example.test"], ["sesame", "sesame"], env)
    check(status == 0 and "a@example.test: added" in shown and "sesame" not in shown, shown)
    shown, status = at_terminal(["account", "add", "b@example.test"], ["sesame", "other"], env)
    check(status == 1 and "nothing has changed" in shown and "sesame" not in shown, shown)
    check(len(rows(thurn("account", "list", "--json", env=env))) == 1, "one was added")


def test_newer(folder):
    """a directory of a newer version is refused by name, with the way out"""
    import sqlite3
    env = trial(folder)
    with sqlite3.connect(folder / "t/data/directory/directory.db") as db:
        db.execute("UPDATE meta SET value = 99 WHERE name = 'format'")
    said = thurn("account", "list", env=env, status=1).stderr
    has(said, "directory.db was written by a newer version of thurn")
    has(said, "install that version")


def test_no_server(folder):
    """what only a server can do says that there is none, and how to start one"""
    env = trial(folder)
    for words in (["status"], ["reload"], ["stop"], ["queue", "list"], ["why", "0000000000000"]):
        has(thurn(*words, env=env, status=1).stderr, "no server")


# ---- with a role that this test plays ----

FRAME_H = pathlib.Path(__file__).resolve().parents[2] / "src/role/frame.h"
FRAMES = ["FRAME_NONE", *re.findall(r"X\((FRAME_\w+),", FRAME_H.read_text())]


def frame(name, body):
    return struct.pack("<IHI", 6 + len(body), FRAMES.index(name), 0) + body


def text(value):
    return struct.pack("<I", len(value.encode())) + value.encode()


class Role:
    """Answers every call on a control socket with these rows and this outcome; keeps what it was asked."""

    def __init__(self, env, name, answers, rc=0, fault=""):
        folder = pathlib.Path(env["THURN_CONFIG"]).parent / "run"
        folder.mkdir(exist_ok=True)
        self.path = folder / name
        self.answers = b"".join(frame("FRAME_CONTROL_ROW", text(json.dumps(row))) for row in answers)
        self.answers += frame("FRAME_CONTROL_DONE", struct.pack("<BI", rc, 0) + text(fault))
        self.asked = []
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.socket.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            peer, _ = self.socket.accept()
            with peer:
                got = b""
                while len(got) < 4 or len(got) < 4 + struct.unpack_from("<I", got)[0]:
                    piece = peer.recv(65536)
                    if not piece:
                        break
                    got += piece
                if len(got) < 14:
                    continue                # somebody who only looked whether we are there
                (length,) = struct.unpack_from("<I", got, 10)
                command = got[14:14 + length].decode()
                words = got[18 + length:].split(b"\0")[:-1]
                self.asked.append((command, [word.decode() for word in words]))
                peer.sendall(self.answers)


ENTRY = {"id": "0123456789abc", "from": "alice@example.test", "user": "alice@example.test", "size": 2048,
         "accepted": "2024-05-01T12:00:00.000Z", "age_s": 7260,
         "recipients": [{"to": "bob@remote.test", "state": "due", "attempts": 2, "next_attempt": "2099-01-01T00:00:00Z",
                         "last": "451 4.7.1 greylisted\x1b[31m", "remote": "mx.remote.test[192.0.2.9]:25", "status": "4.7.1"},
                        {"to": "carol@remote.test", "state": "held", "attempts": 0}]}


def test_queue(folder):
    """the queue is shown message by message, and what strangers said is shown, not obeyed"""
    env = trial(folder)
    role = Role(env, "control-post.sock", [ENTRY])
    shown = thurn("queue", "list", env=env).stdout
    for part in ("0123456789abc      2K     2h 1m  alice@example.test", "bob@remote.test  waiting, next attempt in ",
                 ", 2 attempts", "mx.remote.test[192.0.2.9]:25: 451 4.7.1 greylisted\\x1b[31m", "carol@remote.test  held",
                 "1 message to 2 recipients, size 2K"):
        has(shown, part)
    check(rows(thurn("queue", "list", "--json", env=env)) == [ENTRY], "--json")
    has(thurn("queue", "hold", "0123456789abc", env=env).stdout, "0123456789abc: held")
    thurn("queue", "delete", "--domain", "remote.test", "--older", "2h", "--held", env=env)
    thurn("queue", "bounce", "--all", env=env)
    thurn("queue", "list", "x", "--held", env=env, status=2)
    check(role.asked[2:] == [("queue-hold", ["id=0123456789abc"]), ("queue-delete", ["domain=remote.test", "older=7200", "held"]),
                             ("queue-bounce", ["all"])], role.asked)


def test_mailq(folder):
    """mailq has the form that scripts know"""
    env = trial(folder)
    Role(env, "control-post.sock", [ENTRY])
    shown = thurn(name="mailq", env=env).stdout
    has(shown, "-Queue ID-      --Size-- ----Arrival Time---- -Sender/Recipient-------\n0123456789abc       2048 Wed May  1 12:00:00  alice@example.test\n")
    has(shown, "\n                                              bob@remote.test\n")
    has(shown, "-- 2 Kbytes in 1 Request.\n")


def test_full(folder):
    """what could not be printed is no success"""
    with open("/dev/full", "wb") as full:
        for words in (("help",), ("help", "--sample"), ("check", "--print")):
            done = subprocess.run([THURN, *words], stdout=full, stderr=subprocess.PIPE, env=trial(folder), text=True)
            check(done.returncode == 1, (words, done.returncode))


def test_mailq_empty(folder):
    """an empty queue is said to be empty"""
    env = trial(folder)
    Role(env, "control-post.sock", [])
    check(thurn(name="mailq", env=env).stdout == "Mail queue is empty\n", "mailq")
    check(thurn("queue", "list", env=env).stdout == "no message in the queue\n", "queue list")


def test_why(folder):
    """a message's life is a timeline"""
    env = trial(folder)
    life = {"id": "0123456789abc", "events": [
        {"time": "2024-05-01T12:00:00.000Z", "event": "accepted", "from": "alice@example.test", "peer": "192.0.2.7", "tls": "TLSv1.3",
         "size": 2048, "queued": ["bob@remote.test"],
         "delivered": [{"to": "carol@example.test", "account": 2, "mailbox": "INBOX", "uid": 7}]},
        {"time": "2024-05-01T12:00:01.000Z", "event": "attempt", "mx": "mx.remote.test", "outcomes": [
            {"to": "bob@remote.test", "state": "due", "code": 451, "reply": "4.7.1 later", "remote": "mx.remote.test[192.0.2.9]:25",
             "next_attempt": "2024-05-01T12:05:01.000Z"}]}],
        "recipients": [{"to": "bob@remote.test", "state": "due", "next_attempt": "2099-01-01T00:00:00Z"}]}
    role = Role(env, "control-post.sock", [life])
    shown = thurn("why", "0123456789abc", env=env).stdout
    for part in ("2024-05-01 12:00:00 accepted", "sender               alice@example.test", "from the host        192.0.2.7",
                 "carol@example.test: into the mailbox INBOX, UID 7", "queued for           bob@remote.test", "2024-05-01 12:00:01 attempt",
                 "server chosen        mx.remote.test", "bob@remote.test: deferred, 451 4.7.1 later (mx.remote.test[192.0.2.9]:25); next attempt 2024-05-01 12:05:01",
                 "In the queue:\n    bob@remote.test: waiting, next attempt in "):
        has(shown, part)
    check(role.asked == [("why", ["id=0123456789abc"])], role.asked)


def test_status(folder):
    """the roles are a table, what they count stands below"""
    env = trial(folder)
    Role(env, "control.sock", [{"role": "launcher", "index": 0, "pid": 10, "state": "ready", "uptime_s": 90, "restarts": 0, "sandbox": "none"},
                               {"role": "edge", "index": 1, "pid": 12, "state": "ready", "uptime_s": 60, "restarts": 2,
                                "sandbox": "user=thurn-edge", "figures": {"sessions": 3, "accepted": 40}}])
    shown = thurn("status", env=env).stdout
    has(shown, "ROLE      PID  STATE      UP  RESTARTS  SANDBOX\n"
               "edge 1     12  ready      1m         2  user=thurn-edge\n"
               "launcher   10  ready  1m 30s         0  none\n")
    has(shown, "edge 1  sessions=3 accepted=40\n")
    has(thurn("reload", env=env).stdout, "in force")


def test_refused(folder):
    """what a role refuses is said, and exits with 1"""
    env = trial(folder)
    Role(env, "control.sock", [], rc=4, fault="thurn.yaml:3:1: there is no setting")
    has(thurn("reload", env=env, status=1).stderr, "thurn reload: thurn.yaml:3:1: there is no setting")


def test_auth_role(folder):
    """with a server the directory's commands go to it, the password with them; a socket left behind is no server"""
    env = trial(folder)
    role = Role(env, "control-auth.sock", [{"account": "a@example.test", "done": "added"}])
    has(thurn("account", "add", "a@example.test", "--quota", "1K", input="sesame\n", env=env).stdout, "a@example.test: added")
    check(role.asked == [("account add", ["a@example.test", "sesame", "1024"])], role.asked)
    (role.path.parent / "control-auth.sock").unlink()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(role.path))
    left.close()
    check(rows(thurn("account", "list", "--json", env=env)) == [], "the directory itself was asked")


# ---- as root, in a private view of the file system and the network ----

ROOT_SCRIPT = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/etc" "$1/var"
cp -a /etc/. "$1/etc/"
mount --bind "$1/etc" /etc
mount --bind "$1/var" /var/lib
mkdir -p /etc/systemd/system
"$2" setup mail.example.org
"$2" setup mail.example.org > "$1/again"
! grep -q "  made" "$1/again"
echo secret | "$2" account add before@example.org
"$2" account list
stat -c '%U %a %n' /etc/thurn/key.pem /var/lib/thurn /var/lib/thurn/directory /var/lib/thurn/directory/directory.db /var/lib/thurn/store
cat /etc/systemd/system/thurn.service
getent passwd thurn-edge
"$2" account remove before@example.org
mkdir "$1/run"
mount --bind "$1/run" /run
ip link set lo up
"$2" serve > "$1/out" 2>&1 &
server=$!
trap 'kill "$server" 2> /dev/null || true' EXIT
for i in $(seq 100); do "$2" status > "$1/status" 2>/dev/null && break; sleep 0.1; done
cat "$1/status"
echo secret | "$2" account add root@example.org
submit() { printf 'Subject: from cron\n\nall is well\n' | (exec -a sendmail "$1" root@example.org); }
for i in $(seq 100); do submit "$2" 2> "$1/said" && break; grep -q "being created, try again" "$1/said"; sleep 0.1; done
echo secret > "$1/password"
"$2" fetch --server localhost:993 --user root@example.org --password-file "$1/password" --insecure get 1
"$2" why "$(sed -n 's/.*event=accepted id=\([^ ]*\).*/\1/p' "$1/out")"
"$2" stop
wait
tail -n 1 "$1/out"
! grep -e secret -e "all is well" "$1/out"
"""


def test_root(folder):
    """root gets users, folders of theirs, a unit, accounts that the auth role can read, and a server whose roles are those users"""
    if os.geteuid() != 0:
        print("test_root: not root here, so what only root can do was not tried; run as root it is")
        return
    probe = subprocess.run(["unshare", "-m", "-n", "mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, text=True)
    if probe.returncode != 0:
        print(f"test_root: this machine lets not even root make name spaces, so it was not tried: {probe.stderr.strip()}")
        return
    for name in ("useradd", "ip"):
        check(shutil.which(name, path="/usr/sbin:/sbin"), f"{name} is missing: tools/packages test")
    done = subprocess.run(["unshare", "-m", "-n", "bash", "-c", ROOT_SCRIPT, "-", str(folder), THURN], capture_output=True, text=True,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    check(done.returncode == 0, done.stdout + done.stderr)
    for line in ("root 600 /etc/thurn/key.pem", "root 711 /var/lib/thurn", "thurn-auth 700 /var/lib/thurn/directory",
                 "thurn-auth 600 /var/lib/thurn/directory/directory.db", "thurn-post 700 /var/lib/thurn/store", "before@example.org: added", "root@example.org: added",
                 "Type=notify", "NoNewPrivileges=yes", "systemctl enable --now thurn", "user=thurn-keys", "user=thurn-auth",
                 "user=thurn-edge", "user=thurn-post", "user=thurn-out", "Subject: from cron", "all is well",
                 "root@example.org: into the mailbox INBOX, UID 1", "event=stopped status=0"):
        has(done.stdout, line)
    check(re.search(r"^thurn-edge:.*:/usr/sbin/nologin$", done.stdout, re.M), "a user that cannot log in")


def main():
    failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        folder = pathlib.Path(tempfile.mkdtemp(prefix="thurn-cli-"))
        try:
            test(folder)
        except Failed as why:
            failed += 1
            print(f"{test.__doc__}: {why}", file=sys.stderr)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


sys.exit(main())
