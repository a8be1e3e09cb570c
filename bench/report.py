"""The results of bench/accept as Markdown."""
import statistics

QUIET = 0.1             # of the processors, used by others


def row_name(row):
    notes = [] if row["connections"] == "kept" else ["a new connection each"]
    notes += [] if row["pipelining"] else ["no pipelining"]
    sessions = f"{row['sessions']} session{'s' if row['sessions'] > 1 else ''}"
    return ", ".join([f"{row['bytes'] // 1024} KiB", sessions, *notes])


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def spread(value):
    return f"{number(value['median'])} ({number(value['min'])}-{number(value['max'])})"


def median(samples, key):
    values = sorted(sample["latency_ms"][key] for sample in samples)
    return values[len(values) // 2]


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def throughput(results):
    names = list(results["settings"])
    rows = []
    for row in results["rows"]:
        of = [row["servers"][name] for name in names]
        cells = [row_name(row)] + [spread(server["messages_per_second"]) for server in of]
        if len(of) == 2:
            cells.append(f"**{of[0]['messages_per_second']['median'] / of[1]['messages_per_second']['median']:.1f}**")
        cells += [spread(server["cpu_ms_per_message"]) for server in of]
        if len(of) == 2:
            share = of[1]["cpu_ms_per_message"]["median"] / max(of[0]["cpu_ms_per_message"]["median"], 1e-6)
            cells.append(f"**1/{share:.1f}**")
        rows.append(cells)
    ratio = ["ratio"] if len(names) == 2 else []
    return table(["", *(f"{name}, messages/s" for name in names), *ratio, *(f"{name}, CPU ms a message" for name in names), *ratio], rows)


def latency(results):
    names = list(results["settings"])
    rows = []
    for row in results["rows"]:
        cells = [row_name(row)]
        for name in names:
            samples = row["servers"][name]["samples"]
            cells.append(" / ".join(number(median(samples, key)) for key in ("p50", "p99", "max")))
            cells.append(number(max(sample["drain_seconds"] for sample in samples)))
        rows.append(cells)
    header = [""]
    for name in names:
        header += [f"{name}, p50 / p99 / max", "longest drain, s"]
    return table(header, rows)


def disk(results):
    names = list(results["settings"])
    rows = []
    for row in results["rows"]:
        cells = [row_name(row)]
        for name in names:
            samples = row["servers"][name]["samples"]
            for key in ("flushes_per_message", "kib_written_per_message"):
                values = sorted(sample[key] for sample in samples if key in sample)
                cells.append(number(values[len(values) // 2]) if values else "-")
        rows.append(cells)
    header = [""]
    for name in names:
        header += [f"{name}, flushes a message", "KiB written a message"]
    return table(header, rows)


def troubles(results):
    lines = []
    for row in results["rows"]:
        for name, server in row["servers"].items():
            failed = sum(sample["failed"] for sample in server["samples"])
            served = min(sample["sessions_served"] for sample in server["samples"])
            if failed:
                problem = next(sample["problem"] for sample in server["samples"] if sample["failed"])
                lines.append(f"- {row_name(row)}: {name} failed {failed} messages, the first with: {problem}")
            if served < row["sessions"]:
                lines.append(f"- {row_name(row)}: {name} served {served} of {row['sessions']} sessions; the others waited for a greeting.")
    return "\n".join(lines) or "None: every message was accepted, every session served."


def markdown(results):
    env = results["environment"]
    repetitions = max(len(server["samples"]) for row in results["rows"] for server in row["servers"].values())
    others = statistics.mean(row["others_processors"] for row in results["rows"])
    verdict = "a quiet machine." if others < QUIET * env["processors"] else "**the machine was not quiet**, take the figures with care."
    settings = "\n".join(f"- {name}: {text}." for name, text in results["settings"].items())
    generator = table(["sessions", "bench-load, messages/s", "smtp-source, messages/s", "bench-load, CPU ms", "smtp-source, CPU ms"],
                      [[str(row["sessions"]), number(row["ours_per_second"]), number(row["source_per_second"]), f"{row['ours_cpu_ms']:.4f}",
                        f"{row['source_cpu_ms']:.4f}"] for row in results["generator"]])
    return f"""\
# Accepting mail into a mailbox

Written by `{env['command']}` on {env['date']}, commit {env['commit']}; README.md says what is measured and how to read it.

{env['processors']} processors ({env['model']}), Linux {env['kernel']}, {env['file_system']}; an append of 4 KiB with its fdatasync takes
{env['flush_ms']} ms there (median, before the run). {env['mailboxes']} mailboxes; medians of {repetitions} interleaved repetitions of {env['seconds']:g} s
each, with the least and the greatest in brackets. Load average before the run: {env['load_average_before']:.1f}. Meanwhile others (everything but the server
and the generator) used {others:.2f} processors of the {env['processors']} on average: {verdict}

{settings}

## Messages a second in the mailbox, and processor time

{throughput(results)}

## Milliseconds from MAIL to the 250 after the end of data

The time in which the server goes on delivering after its last 250 is the drain; messages/s include it.

{latency(results)}

## What the disk was asked

By the whole machine while the row ran; anything else that writes is in it.

{disk(results)}

## Trouble

{troubles(results)}

## The generator

Both against Postfix's smtp-sink, 4 KiB, kept connections, no pipelining: what the generator can offer, and what it costs.

{generator}
"""
