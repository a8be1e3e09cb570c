"""What every test of the whole program needs: servers in temporary folders on free loopback ports, DNS, accounts.

A Server is one complete Thurn on one loopback address; Network is a set of them with a real DNS server (nsd) between.
Everything that was started is stopped, and every folder removed, when the with-block ends. Waiting is for events (a
line in the log, an answer), bounded by TIMEOUT; there is no sleep that a test's outcome hangs on.
"""
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD = pathlib.Path(os.environ.get("THURN_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build"))
THURN = BUILD / "src/cli/thurn"
TIMEOUT = float(os.environ.get("THURN_TEST_TIMEOUT", "30"))
PASSWORD = "wonderland"
PROTOCOLS = ("smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s")


def wait_until(condition, what, timeout=TIMEOUT):
    """The first true value of condition(); fails with what was waited for."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout:.0f} s in vain for {what}")
        time.sleep(0.02)


_given_ports = set()


def _first_ephemeral_port():
    try:
        return int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32768


def free_port(address):
    """A port that nobody has at this address nor at another of this machine, not given twice in one test program, and below
    those that the system gives to connections: none of them can come between now and when it is listened on."""
    while True:
        port = random.randrange(10000, max(11000, _first_ephemeral_port()))
        kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for kind in kinds:
                stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("0.0.0.0", port))
            if port not in _given_ports:
                _given_ports.add(port)
                return port


def run(*words, check=True, **kwargs):
    """A command to its end; its output is text. Fails with that output when it failed."""
    kwargs.setdefault("timeout", 4 * TIMEOUT)
    done = subprocess.run([str(word) for word in words], capture_output=True, **{"text": True, **kwargs})
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


class Server:
    """One complete server. `ports` by protocol; `settings` is YAML text put behind the generated configuration."""

    def __init__(self, folder, domain, address="127.0.0.2", *, dns_port=None, delivery_port=None, smtp_port=None,
                 settings="", protocols=PROTOCOLS, program=None, sections=None, log_to_file=True, env=None):
        self.folder = pathlib.Path(folder)
        self.domain = domain
        self.host = f"mail.{domain}"
        self.address = address
        self.program = str(program or THURN)
        self.ports = {name: smtp_port if name == "smtp" and smtp_port else free_port(address) for name in protocols}
        self.dns_port = dns_port
        self.delivery_port = delivery_port or self.ports.get("smtp")
        self.settings = settings
        self.sections = sections or {}
        self.env = env or {}                  # of the server, besides the test's own
        self.process = None
        self.may_lose_mail = False            # a test that takes some away says so; otherwise the ledger has to balance when it stops
        self.may_lose_roles = False           # a test that kills some says so; otherwise one that died is a failure
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.config = self.folder / "thurn.yaml"
        self.log_path = self.folder / "log"
        self.stderr_path = self.folder / "stderr"
        self.certificate = self.folder / "certificate.pem"
        self.key = self.folder / "key.pem"

    # ---- configuration ----

    def make_certificate(self):
        if self.certificate.exists():
            return
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-subj", f"/CN={self.host}", "-addext", f"subjectAltName=DNS:{self.host},DNS:{self.domain},IP:{self.address}",
            "-keyout", self.key, "-out", self.certificate)
        self.key.chmod(0o600)

    def section(self, name, lines):
        """A section of the configuration: generated lines, and what the test adds to it."""
        extra = self.sections.get(name, [])
        return [f"{name}:"] + [f"  {line}" for line in [*lines, *extra]] if lines or extra else []

    def write_config(self):
        self.make_certificate()
        listen = [f'{name}: "{self.address}:{port}"' for name, port in self.ports.items()]
        lines = [
            f"host_name: {self.host}",
            f"data_dir: {self.data}",
            f"run_dir: {self.folder}/run",
            "user: none",
            *self.section("tls", [f"certificate: {self.certificate}", f"key: {self.key}"]),
            *self.section("listen", listen),
            *self.section("log", ["format: json", f"file: {self.log_path}"]),
            *self.section("delivery", [f"port: {self.delivery_port}", f"source: {self.address}", "retry_first: 1s", "retry_max: 5s"]),
            *self.section("dns", ([f'servers: ["127.0.0.1@{self.dns_port}"]', "allow_loopback_mx: yes"] if self.dns_port else [])),
            *self.section("limits", ["edges: 2"]),
            self.settings,
        ]
        self.config.write_text("\n".join(lines) + "\n")

    # ---- life ----

    def start(self, wait=True):
        if not self.config.exists():
            self.write_config()
        self.stderr = open(self.stderr_path, "ab")
        self.process = subprocess.Popen([self.program, "serve", "--config", str(self.config)], stdin=subprocess.DEVNULL,
                                        stdout=self.stderr, stderr=self.stderr, env={**os.environ, **self.env})
        if wait:
            wait_until(self._is_ready, f"{self.host} to be ready; it said: {self.said()}")
        return self

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.host} ended with {self.process.returncode} at its start: {self.said()}")
        return self.thurn("status", check=False).returncode == 0

    def said(self):
        """Standard error so far."""
        return self.stderr_path.read_text(errors="replace") if self.stderr_path.exists() else ""

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{self.host} did not stop on SIGTERM")
        if getattr(self, "stderr", None):
            self.stderr.close()
        died = self.events("role-died")
        if died and not self.may_lose_roles:
            self.may_lose_roles = True
            raise AssertionError(f"roles of {self.host} died: {died}; it said: {self.said()}")
        if (self.folder / "data/store/state.db").exists() and not self.may_lose_mail:
            self.may_lose_mail = True
            ledger = self.thurn("ledger", check=False)
            if ledger.returncode != 0 and "there is no store in" not in ledger.stderr:      # stopped while it was being made
                raise AssertionError(f"the ledger of {self.host} does not balance:\n{ledger.stdout}{ledger.stderr}")
            self.may_lose_mail = False
        return self.process.returncode if self.process else None

    def use_small_segments(self, size=256 * 1024):
        """Between a first start and the first message: the log's files are small then, so that a short run fills, empties and
        uses again many of them. Their size is a number in the store."""
        run(sys.executable, pathlib.Path(__file__).with_name("sealed.py"), self.data / "store/state.db", f"UPDATE meta SET value = {size} WHERE key = 'segment_bytes'",
            env={**os.environ, **self.env})

    def roles(self):
        """Rows of `thurn status`: dictionaries with role, pid, ..."""
        return [json.loads(line) for line in self.thurn("status", "--json").stdout.splitlines()]

    # ---- the command line ----

    def thurn(self, *words, check=True, **kwargs):
        env = {**os.environ, "THURN_CONFIG": str(self.config), **kwargs.pop("env", {})}
        return run(self.program, *words, check=check, env=env, **kwargs)

    def add_domain(self, domain=None):
        self.thurn("domain", "add", domain or self.domain)

    def add_account(self, name, password=PASSWORD, *options):
        address = name if "@" in name else f"{name}@{self.domain}"
        self.thurn("account", "add", address, *options, input=password + "\n")
        return address

    def add_alias(self, address, *targets):
        self.thurn("alias", "add", address, *targets)

    def queue(self, *words):
        return [json.loads(line) for line in self.thurn("queue", "list", "--json", *words).stdout.splitlines()]

    def why(self, message_id):
        return json.loads(self.thurn("why", message_id, "--json").stdout)

    def audit(self):
        """What `thurn ledger` and `thurn verify` find wrong with the running server; nothing, when all is well."""
        wrong = []
        for command in ("ledger", "verify"):
            done = self.thurn(command, check=False)
            if done.returncode != 0:
                wrong.append(f"thurn {command} says {done.returncode}: {done.stdout[-1500:]}{done.stderr[-500:]}")
        return wrong

    # ---- the log ----

    def events(self, event=None, **fields):
        """Log lines as dictionaries, by event and by the values of fields."""
        found = []
        for line in self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []:
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if (event is None or row.get("event") == event) and all(row.get(k) == v for k, v in fields.items()):
                    found.append(row)
        return found

    def wait_event(self, event, timeout=TIMEOUT, **fields):
        return wait_until(lambda: self.events(event, **fields), f"{self.host} to log {event} {fields}", timeout)[-1]


class Dns:
    """A real authoritative server (nsd) on a free port of 127.0.0.1, with the zones it is given."""

    def __init__(self, folder, zones):
        self.folder = pathlib.Path(folder)
        self.zones = zones                    # {"recipient.test": ["@ MX 10 mail", "mail A 127.0.0.3"]}
        self.port = free_port("127.0.0.1")
        self.process = None

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = ["server:", "  ip-address: 127.0.0.1", f"  port: {self.port}", '  username: ""', '  chroot: ""', "  server-count: 1",
                 f'  zonesdir: "{self.folder}"', f'  pidfile: "{self.folder}/nsd.pid"', '  database: ""', "  rrl-ratelimit: 0",
                 f'  zonelistfile: "{self.folder}/zone.list"', f'  xfrdfile: "{self.folder}/xfrd.state"', f'  xfrdir: "{self.folder}"',
                 "remote-control:", "  control-enable: no"]
        for zone, records in self.zones.items():
            text = ["$TTL 60", f"@ SOA ns.{zone}. root.{zone}. 1 3600 600 86400 60", "@ NS ns", "ns A 127.0.0.1", *records]
            (self.folder / f"{zone}.zone").write_text("\n".join(text) + "\n")
            lines += ["zone:", f'  name: "{zone}"', f'  zonefile: "{zone}.zone"']
        config = self.folder / "nsd.conf"
        config.write_text("\n".join(lines) + "\n")
        self.output = open(self.folder / "nsd.log", "wb")
        self.process = subprocess.Popen(["nsd", "-d", "-c", str(config)], stdout=self.output, stderr=self.output)
        wait_until(self._answers, "nsd to answer")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError("nsd ended: " + (self.folder / "nsd.log").read_text(errors="replace"))
        query = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07version\x04bind\x00\x00\x10\x00\x03"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            with contextlib.suppress(OSError):
                probe.sendto(query, ("127.0.0.1", self.port))
                return probe.recv(512)[:2] == query[:2]
        return False

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(TIMEOUT)
        if getattr(self, "output", None):
            self.output.close()


class Network(contextlib.ExitStack):
    """sender.test on 127.0.0.2 and recipient.test on 127.0.0.3 with DNS between, each with alice and bob; or what
    `servers` says: {domain: address}. More zones may be added before start()."""

    def __init__(self, servers=None, accounts=("alice", "bob"), start=True, zones=None, **options):
        super().__init__()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="thurn-test-"))
        self.callback(shutil.rmtree, self.folder, ignore_errors=True)
        servers = servers or {"sender.test": "127.0.0.2", "recipient.test": "127.0.0.3"}
        addresses = list(servers.values())
        port = free_port(addresses[0])
        self.smtp_port = port
        self.zones = {domain: ["@ MX 10 mail", f"mail A {address}", f"@ A {address}"] for domain, address in servers.items()}
        self.zones.update(zones or {})
        self.dns = Dns(self.folder / "dns", self.zones)
        self.servers = {domain: Server(self.folder / domain, domain, address, dns_port=self.dns.port, smtp_port=port, **options)
                        for domain, address in servers.items()}
        self.accounts = accounts
        if start:
            self.start()

    def start(self):
        try:
            self.callback(self.dns.stop)
            self.dns.start()
            for server in self.servers.values():
                self.callback(server.stop)
                server.start()
                server.add_domain()
                for name in self.accounts:
                    server.add_account(name)
        except BaseException:
            self.close()
            raise
        return self

    def __getitem__(self, domain):
        return self.servers[domain]


@contextlib.contextmanager
def one_server(accounts=("alice", "bob"), domain="recipient.test", start=True, **options):
    """A server by itself, without DNS."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="thurn-test-"))
    server = Server(folder, domain, **options)
    try:
        if start:
            server.start()
            server.add_domain()
            for name in accounts:
                server.add_account(name)
        yield server
    finally:
        try:
            server.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
