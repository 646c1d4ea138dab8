"""Reads a HOSTFILE, sets up each of its hosts over ssh and checks that they are alike.

    python launch/lib/hostfile.py HOSTFILE RANKS ENVIRONMENT EXTRA

RANKS is a number or `all`; ENVIRONMENT and EXTRA are those of launch/lib/environment.sh. Prints
three lines: HOST:RANKS,... for mpirun, the number of ranks, and the hosts other than this one. An
error is one line, with exit code 2.
"""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from typing import Any

import facts
import ssh

PROJECT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)(?::([0-9]+))?((?:\s+[a-z_-]+=\S+)*)")
MOST = 100_000  # slots of a host
# bash runs this on every other host, with the arguments PROJECT DIRECTORY ENVIRONMENT EXTRA.
READY = """
set -eu
[[ -r $1/launch/lib/environment.sh ]] ||
  { echo "no $1, expected a copy of the project: start with --copy to make it" >&2; exit 1; }
exec 3<&0 </dev/null
source "$1/launch/lib/environment.sh"
environment "$3" "$4"
exec "$1/$3/bin/python" - "$1" "$2" <&3
"""


class HostfileError(Exception):
    """The HOSTFILE or one of its hosts cannot be used; the message is one line."""


def read(path: Path) -> dict[str, int | None]:
    """Return the slots of each host in a HOSTFILE, None if its line has none.

    Several lines of the same host add up; a line without slots counts as one.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise HostfileError(f"{path}: {reason}, expected a file with one host per line") from None
    slots: dict[str, int | None] = {}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            host, count = parse(text, f"{path}:{number}")
            slots[host] = count if host not in slots else (slots[host] or 1) + (count or 1)
    if not slots:
        raise HostfileError(f"{path}: no host, expected a file with one host per line")
    return slots


def parse(text: str, where: str) -> tuple[str, int | None]:
    """Return the host and the slots of a line."""
    expected = f"expected HOST, HOST:N or HOST slots=N, with N from 1 to {MOST:,}"
    found = LINE.fullmatch(text)
    if found is None:
        raise HostfileError(f"{where}: found {text!r}, {expected}")
    given = [word.split("=") for word in found[3].split()]
    words = {name.replace("-", "_"): value for name, value in given}
    count = words.pop("slots", found[2])
    words.pop("max_slots", None)
    if words or (count is not None and not (count.isdecimal() and 1 <= int(count) <= MOST)):
        raise HostfileError(f"{where}: found {text!r}, {expected}")
    return found[1], None if count is None else int(count)


def is_here(host: str) -> bool:
    """Tell whether a host is this machine, by its address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def check(hosts: list[str], environment: str, extra: str) -> list[dict[str, Any]]:
    """Set up the hosts and return the facts of each; raises HostfileError."""
    here = str(PROJECT), str(Path.cwd())
    own = facts.facts(*map(Path, here))
    command = ["bash", "-c", READY, "launch/hosts", *here, environment, extra]
    text = Path(facts.__file__).read_text()
    answers = ssh.on_all(hosts, lambda host: own if is_here(host) else ssh.ask(host, command, text))
    wrong = [str(answer) for answer in answers if isinstance(answer, ssh.HostError)]
    if not wrong:
        for host, found in zip(hosts, answers, strict=True):
            wrong += filter(None, [difference(host, found, own, environment)])
    names = [answer["name"] for answer in answers] if not wrong else []
    for host, name in zip(hosts, names, strict=False):
        if name in names[: hosts.index(host)]:
            other = hosts[names.index(name)]
            wrong.append(f"{other} and {host} are both named {name}, expected different names")
    if wrong:
        raise HostfileError("; ".join(wrong))
    return answers


def difference(host: str, found: dict[str, Any], own: dict[str, Any], environment: str) -> str:
    """Return a sentence on what differs between a host and this one, "" if nothing does."""
    if found["version"] != own["version"]:
        return (
            f"{host} has dpcnn {found['version']}, expected {own['version']} as here:"
            f" copy {PROJECT} there, or start with --copy"
        )
    if found["fingerprint"] != own["fingerprint"]:
        return (
            f"{host} has different source files of dpcnn {found['version']} (fingerprint"
            f" {found['fingerprint'][:12]}, expected {own['fingerprint'][:12]} as here):"
            f" copy {PROJECT} there, or start with --copy"
        )
    for name in sorted(found["packages"].keys() | own["packages"].keys()):
        versions = [facts["packages"].get(name, "none") for facts in (found, own)]
        if versions[0] != versions[1]:
            return (
                f"{host} has {name} {versions[0]}, expected {versions[1]} as here:"
                f" remove {PROJECT / environment} there, and it is set up again"
            )
    if found["directory"]:
        return ""
    return f"{host} has no directory {Path.cwd()}: create it there, or start with --copy"


def place(slots: dict[str, int], ranks: str, path: Path) -> dict[str, int]:
    """Return the number of ranks on each host; the first hosts fill first."""
    total = sum(slots.values())
    left = total if ranks == "all" else int(ranks)
    if left > total:
        raise HostfileError(f"found {ranks} after -n, expected at most the {total} slots of {path}")
    placed = {}
    for host, count in slots.items():
        placed[host] = min(count, left)
        left -= placed[host]
    return {host: count for host, count in placed.items() if count}


def main(path: Path, ranks: str, environment: str, extra: str) -> int:
    """Print the three lines; return the exit code."""
    try:
        found = read(path)
        checked = check(list(found), environment, extra)
        slots = {
            host: count or facts["cores"]
            for (host, count), facts in zip(found.items(), checked, strict=True)
        }
        placed = place(slots, ranks, path)
    except HostfileError as error:
        print(f"launch/hosts: error: {error}", file=sys.stderr)
        return 2
    print(",".join(f"{host}:{count}" for host, count in placed.items()))
    print(sum(placed.values()))
    print(*(host for host in placed if not is_here(host)))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:5]))
