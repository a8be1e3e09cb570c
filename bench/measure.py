"""What bench/accept measures with: processor time of whole servers, one cell of the table, the disk, the generator."""
import json
import os
import pathlib
import statistics
import subprocess
import time

from servers import ADDRESS, Failed, answers, free_port, wait_for

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def process_table():
    """pid -> (parent, seconds of its own and of its children that have ended and been waited for)."""
    table = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            fields = pathlib.Path(entry.path, "stat").read_text().rsplit(") ", 1)[1].split()
        except (OSError, IndexError):
            continue                    # it has just ended: its parent has its time
        table[int(entry.name)] = (int(fields[1]), sum(int(ticks) for ticks in fields[11:15]) * TICK_S)
    return table


def cpu_seconds(pids):
    """User and system time of these processes and all of their descendants, dead ones included."""
    table = process_table()
    children = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    total, todo = 0.0, [pid for pid in pids if pid in table]
    while todo:
        pid = todo.pop()
        total += table[pid][1]
        todo += children.get(pid, [])
    return total


def busy_seconds():
    """Processor time of the whole machine, whoever used it."""
    fields = [int(ticks) for ticks in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * TICK_S          # all but idle and waiting for the disk


def disk_counters(folder):
    """Flushes and bytes written of the block device under a folder; None where there is no such thing."""
    device = os.stat(folder).st_dev
    try:
        fields = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
        return int(fields[15]), int(fields[6]) * 512
    except (OSError, IndexError):
        return None


def wait_until_idle(server):
    """Until it uses no processor time any more; gives what it has used in all."""
    last = cpu_seconds(server.pids())
    for _ in range(50):
        time.sleep(0.1)
        now = cpu_seconds(server.pids())
        if now - last < 2 * TICK_S:
            return now
        last = now
    return last


def generate(generator, target, row, seconds, users):
    words = [generator, "-s", row["sessions"], "-l", row["bytes"], "-t", seconds, "-n", users]
    words += ["-k", 1] if row["connections"] == "new" else []
    words += [] if row["pipelining"] else ["-P"]
    done = subprocess.run([str(word) for word in [*words, f"{target[0]}:{target[1]}"]], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(done.stderr.strip())
    return json.loads(done.stdout)


def cell(server, generator, row, seconds, drain_max_s=120):
    """One row on one server, once: everything accepted, then everything in the mailboxes, then everything counted."""
    os.sync()                           # nobody pays for what another has left to write
    held, cpu, disk = server.stored(), wait_until_idle(server), disk_counters(server.folder)
    began, busy = time.monotonic(), busy_seconds()
    load = generate(generator, server.smtp, row, seconds, len(server.users))
    ended = time.monotonic()
    if not server.settled():
        wait_for(server.settled, f"{server.name} to deliver what it has accepted", drain_max_s, 0.01)
        load["drain_seconds"] = time.monotonic() - ended
    else:
        load["drain_seconds"] = 0.0
    written = disk_counters(server.folder)
    cpu = wait_until_idle(server) - cpu
    load["others_processors"] = max(0.0, busy_seconds() - busy - cpu - load["cpu_seconds"]) / (time.monotonic() - began)
    stored = server.stored() - held
    if load["failed"] == 0 and stored != load["accepted"]:
        raise Failed(f"{server.name} said 250 to {load['accepted']} messages and holds {stored} of them")
    if load["accepted"] == 0:
        raise Failed(f"{server.name} accepted nothing: {load['problem']}")
    load["stored"] = stored
    load["server_cpu_seconds"] = cpu
    load["messages_per_second"] = load["accepted"] / (load["seconds"] + load["drain_seconds"])
    load["cpu_ms_per_message"] = 1000 * cpu / load["accepted"]
    if disk is not None and written is not None:
        load["flushes_per_message"] = (written[0] - disk[0]) / load["accepted"]
        load["kib_written_per_message"] = (written[1] - disk[1]) / 1024 / load["accepted"]
    return load


def summary(samples, key):
    values = [sample[key] for sample in samples]
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def flush_ms(folder):
    """What one append of 4 KiB with its fdatasync costs here: the ground everyone stands on."""
    path, block, took = folder / "flush", b"x" * 4096, []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(200):
            began = time.monotonic()
            os.write(descriptor, block)
            os.fdatasync(descriptor)
            took.append((time.monotonic() - began) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(took)


def check_generator(generator, seconds=2):
    """The generator and Postfix's smtp-source, both against Postfix's smtp-sink, which throws everything away: what ours can
    do at most, and what a message costs it. Without pipelining, which smtp-source does not do."""
    port = free_port()
    sink = subprocess.Popen(["smtp-sink", "-u", "nobody", f"{ADDRESS}:{port}", "1000"], stderr=subprocess.DEVNULL)
    rows = []
    try:
        wait_for(lambda: answers(port), "smtp-sink")
        for sessions in (20, 100):
            row = {"sessions": sessions, "bytes": 4096, "connections": "kept", "pipelining": False}
            ours = generate(generator, (ADDRESS, port), row, seconds, 1)
            count = ours["accepted"]
            began, before = time.monotonic(), os.times()
            subprocess.run(["smtp-source", "-d", "-s", str(sessions), "-m", str(count), "-l", "4096", f"{ADDRESS}:{port}"], check=True)
            theirs, after = time.monotonic() - began, os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            rows.append({"sessions": sessions, "ours_per_second": count / ours["seconds"], "source_per_second": count / theirs,
                         "ours_cpu_ms": 1000 * ours["cpu_seconds"] / count, "source_cpu_ms": 1000 * cpu / count})
    finally:
        sink.terminate()
        sink.wait()
    return rows
