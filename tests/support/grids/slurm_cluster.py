"""A real SLURM of four nodes that enforces memory and preempts, all processes of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db", "sbatch", "srun")
NODES = 4


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    """A cluster whose files are below `root`; a node has two processors."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "slurm.conf"
        self.host = socket.gethostname().split(".")[0]
        self.user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """What a client of the cluster has in its environment."""
        return {"SLURM_CONF": str(self.config)}

    def start(self) -> None:
        """Start the daemons one after another and wait until all nodes are idle."""
        ports = free_ports(3 + NODES)
        self.root.mkdir(parents=True)
        self.root.chmod(0o755)
        for folder in ("state", "spool", "log", "database"):
            (self.root / folder).mkdir()
        key = self.root / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        self._configure(ports)
        self._start_munge(key)
        self._start_accounting(ports[0])
        self._daemon("slurmctld", "-D")
        self._wait("slurmctld", lambda: self.run("scontrol", "ping").returncode == 0)
        for node in range(1, NODES + 1):
            self._daemon("slurmd", "-D", "-N", f"n{node}")
        idle = ["sinfo", "--noheader", "--Node", "--states=idle", "--format=%N"]
        self._wait("the nodes", lambda: len(set(self.run(*idle).stdout.split())) == NODES)

    def _configure(self, ports: Sequence[int]) -> None:
        database, control, accounting, *nodes = ports
        lines = [
            "ClusterName=tests",
            f"SlurmctldHost={self.host}(127.0.0.1)",
            f"SlurmUser={self.user}",
            f"SlurmdUser={self.user}",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self.root}/munge.socket,cred_expire=5",
            "CredType=cred/munge",
            f"SlurmctldPort={control}",
            f"SlurmdPort={nodes[0]}",
            f"StateSaveLocation={self.root}/state",
            f"SlurmdSpoolDir={self.root}/spool/%n",
            f"SlurmctldPidFile={self.root}/slurmctld.pid",
            f"SlurmdPidFile={self.root}/slurmd.%n.pid",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "SwitchType=switch/none",
            "MpiDefault=none",
            "ReturnToService=2",
            "KillWait=2",
            "SchedulerParameters=sched_interval=1,bf_interval=1",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "DefMemPerCPU=1000",
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            "SlurmdParameters=config_overrides",
            "JobAcctGatherType=jobacct_gather/linux",
            "JobAcctGatherFrequency=1",
            "JobAcctGatherParams=OverMemoryKill",
            "JobCompType=jobcomp/none",
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={accounting}",
            f"AccountingStoragePass={self.root}/munge.socket",
        ]
        lines += [
            f"NodeName=n{number} NodeHostname={self.host} NodeAddr=127.0.0.1 Port={port} CPUs=2 "
            "RealMemory=4000 State=UNKNOWN"
            for number, port in enumerate(nodes, start=1)
        ]
        lines += [
            "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5",
            "PartitionName=short Nodes=ALL MaxTime=2 State=UP PriorityTier=1",
            "PartitionName=high Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF",
        ]
        self.config.write_text("\n".join(lines) + "\n")
        self._configure_accounting(accounting, database)

    def _configure_accounting(self, port: int, database: int) -> None:
        keeper = self.root / "slurmdbd.conf"
        keeper.write_text(
            "\n".join(
                [
                    "AuthType=auth/munge",
                    f"AuthInfo=socket={self.root}/munge.socket",
                    "DbdHost=localhost",
                    "DbdAddr=127.0.0.1",
                    f"DbdPort={port}",
                    f"SlurmUser={self.user}",
                    f"PidFile={self.root}/slurmdbd.pid",
                    "StorageType=accounting_storage/mysql",
                    "StorageHost=127.0.0.1",
                    f"StoragePort={database}",
                    f"StorageUser={self.user}",
                    "StorageLoc=accounts",
                ]
            )
            + "\n"
        )
        keeper.chmod(0o600)

    def _start_munge(self, key: Path) -> None:
        socket_path = self.root / "munge.socket"
        files = [f"--{name}-file={self.root}/munged.{name}" for name in ("log", "pid", "seed")]
        where = [f"--key-file={key}", f"--socket={socket_path}", *files]
        self._daemon("munged", "--foreground", "--force", *where)
        self._wait("munged", lambda: self.run("munge", "-n", "-S", str(socket_path)).returncode == 0)

    def _start_accounting(self, port: int) -> None:
        data, sock = self.root / "database" / "files", self.root / "database" / "socket"
        options = ["--no-defaults", f"--user={self.user}", f"--datadir={data}"]
        install = [
            "mariadb-install-db",
            *options,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._daemon(
            "mariadbd",
            *options,
            f"--socket={sock}",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
        )
        ask = ["mariadb", "--no-defaults", "-S", str(sock), "-e", "select 1"]
        self._wait("mariadbd", lambda: self.run(*ask).returncode == 0)
        self._daemon("slurmdbd", "-D")
        self._wait("slurmdbd", lambda: self.run("sacctmgr", "--noheader", "list", "cluster").returncode == 0)

    def _daemon(self, *command: str) -> None:
        with (self.root / "log" / f"{command[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        for _ in range(int(seconds / 0.2)):
            if ready():
                return
            dead = [process.args for process in self.processes if process.poll() is not None]
            if dead:
                raise RuntimeError(f"ended too early: {dead}; see {self.root}/log")
            time.sleep(0.2)
        raise RuntimeError(f"{what} is not ready after {seconds:.0f} s; see {self.root}/log")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command as a client of the cluster gives it."""
        return subprocess.run(
            command,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self) -> None:
        """Cancel what runs and end the daemons, the last begun first."""
        self.run("scancel", "--me", "--full", "--signal=KILL")
        self.run("scancel", "--me")
        for _ in range(50):
            if not self.run("squeue", "--noheader").stdout.strip():
                break
            time.sleep(0.1)
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
