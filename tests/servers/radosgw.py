"""A real S3 server: Ceph's radosgw over one object store in memory."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.servers.processes import free_ports, listening, program, running, until
from tests.servers.s3 import S3Server, environment

_CONF = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{mon1}]
public network = 127.0.0.0/8
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon osd initial require min compat client = luminous
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
osd fast shutdown = true
keyring = {dir}/keyring
run dir = {dir}
admin socket = {dir}/$name.$pid.asok
log file = /dev/null
mon cluster log file = /dev/null
mon data = {dir}/mon
osd data = {dir}/osd
mgr data = {dir}/mgr
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{rgw} tcp_nodelay=1
rgw data = {dir}/rgw
keyring = {dir}/rgw/keyring
rgw enable usage log = false
rgw enable ops log = false
rgw run sync thread = false
rgw gc processor period = 3600
"""


@contextlib.contextmanager
def start_radosgw(folder: Path) -> Iterator[S3Server]:
    """About 10 s and 1 GB of memory. Raises ServerMissing; needs no root once the packages are there."""
    for name in ("ceph-mon", "ceph-osd", "ceph-mgr", "radosgw", "radosgw-admin", "ceph", "ceph-authtool", "monmaptool"):
        program(name)
    # Unix sockets have short names: the admin sockets must not lie deep in a test's folder.
    with contextlib.ExitStack() as stack:
        cluster = _Cluster(folder)
        cluster.start(stack)
        env = environment(cluster.port, "lakekey", "lakesecret")
        yield S3Server(kind="radosgw", endpoint=env["AWS_ENDPOINT_URL"], env=env, stranger=cluster.stranger)


class _Cluster:
    """One monitor, one manager, one store in memory, one gateway."""

    def __init__(self, folder: Path) -> None:
        self._dir = folder
        self._conf = folder / "ceph.conf"
        for name in ("mon", "osd", "mgr", "rgw"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._mon_port, self._mon1_port, self.port = free_ports(3)
        self._fsid = str(uuid.uuid4())

    def _run(self, *command: str, within_s: float = 60) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False, cwd=self._dir)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
        return done.stdout

    def _ceph(self, *command: str) -> str:
        return self._run("ceph", "-c", str(self._conf), "--connect-timeout", "30", *command)

    def _admin(self, *command: str) -> str:
        return self._run("radosgw-admin", "-c", str(self._conf), "--name", "client.rgw", *command, within_s=90)

    def start(self, stack: contextlib.ExitStack) -> None:
        """Bring everything up, in the order in which each needs the others."""
        here = str(self._dir)
        self._conf.write_text(
            _CONF.format(fsid=self._fsid, mon=self._mon_port, mon1=self._mon1_port, rgw=self.port, dir=here)
        )
        keys = f"{here}/keyring"
        self._run("ceph-authtool", "-C", keys, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        everything = [part for daemon in ("mon", "osd", "mgr") for part in ("--cap", daemon, "allow *")]
        self._run("ceph-authtool", keys, "--gen-key", "-n", "client.admin", *everything)
        place = f"[v2:127.0.0.1:{self._mon_port},v1:127.0.0.1:{self._mon1_port}]"
        self._run("monmaptool", "--create", "--addv", "a", place, "--fsid", self._fsid, f"{here}/monmap", "--clobber")
        conf = ["-c", str(self._conf)]
        self._run("ceph-mon", *conf, "-i", "a", "--mkfs", "--monmap", f"{here}/monmap", "--keyring", keys)
        self._daemon(stack, "ceph-mon", "-i", "a", ready_port=self._mon_port)
        self._ceph("auth", "get-or-create", "mgr.x", "mon", "allow *", "osd", "allow *", "-o", f"{here}/mgr/keyring")
        self._daemon(stack, "ceph-mgr", "-i", "x", "--keyring", f"{here}/mgr/keyring")
        osd = str(uuid.uuid4())
        self._ceph("osd", "new", osd)
        allowed = ["mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"]
        self._ceph("auth", "get-or-create", "osd.0", *allowed, "-o", f"{here}/osd/keyring")
        self._run("ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", osd, "--keyring", f"{here}/osd/keyring")
        self._daemon(stack, "ceph-osd", "-i", "0", "--keyring", f"{here}/osd/keyring")
        client = ["mon", "allow *", "osd", "allow *", "mgr", "allow *"]
        self._ceph("auth", "get-or-create", "client.rgw", *client, "-o", f"{here}/rgw/keyring")
        self._user("lake", "lakekey", "lakesecret")
        self._daemon(stack, "radosgw", "--name", "client.rgw", ready_port=self.port)

    def _user(self, name: str, key: str, secret: str) -> None:
        self._admin(
            "user", "create", f"--uid={name}", f"--display-name={name}", f"--access-key={key}", f"--secret-key={secret}"
        )

    def stranger(self) -> dict[str, str]:
        """A user who owns nothing."""
        name = f"stranger{uuid.uuid4().hex[:6]}"
        self._user(name, f"{name}key", "strangersecret")
        return environment(self.port, f"{name}key", "strangersecret")

    def _daemon(self, stack: contextlib.ExitStack, name: str, *options: str, ready_port: int | None = None) -> None:
        log = self._dir / f"{name}.log"
        process = stack.enter_context(
            running([name, "-c", str(self._conf), *options, "-f"], log, env={"HOME": str(self._dir)})
        )
        if ready_port is not None:
            until(lambda: listening(ready_port), process, log, 60)
