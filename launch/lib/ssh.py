"""Runs commands on other hosts over ssh, on many at a time."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

# A host that asks for a password or does not answer is an error, not worth waiting for.
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=10")
UNREACHABLE = 255  # ssh's own exit code
SETTING_UP = "Setting up "  # what launch/lib/environment.sh prints before it takes a minute


class HostError(Exception):
    """A command failed on a host; the message is one line that names it."""


def on_all(hosts: Sequence[str], ask: Callable[[str], dict[str, Any]]) -> list[Any]:
    """Return for each host what `ask` returns, or the HostError it raises."""

    def one(host: str) -> dict[str, Any] | HostError:
        try:
            return ask(host)
        except HostError as error:
            return error

    with ThreadPoolExecutor(max(1, len(hosts))) as pool:
        return list(pool.map(one, hosts))


def ask(host: str, command: Sequence[str], text: str = "") -> dict[str, Any]:
    """Run a command on a host with `text` as its standard input; return the JSON it prints last.

    Raises HostError if the command fails.
    """
    process = subprocess.Popen(
        [*SSH, host, shlex.join(command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,  # Ctrl-C is for this process, not for ssh
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(text)
    reason = "no answer"
    for line in filter(str.strip, process.stderr):
        reason = line.strip()
        if reason.startswith(SETTING_UP):
            print(f"{host}: {reason}", file=sys.stderr)
    with process:
        answer = process.stdout.read().splitlines()[-1:]
    if process.returncode == UNREACHABLE:
        reason += f", expected `ssh {host}` to work without a password"
    if process.returncode:
        raise HostError(f"{host}: {reason}")
    return dict(json.loads(answer[0]))
