"""The services of docker-compose.yml as plain processes on 127.0.0.1, each on ports of its own."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).parents[1]
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
# Files that say where another service listens: what this machine cannot resolve is written out.
RESOLVED = re.compile(r"server (?P<name>[\w-]+):(?P<port>\d+) resolve(?P<options>[^;]*);")


class StackError(Exception):
    """The stack does not work as the compose file says."""


@dataclass(frozen=True)
class Address:
    """Where a replica of a service listens here."""

    service: str
    port: int  # in its container
    host_port: int  # on this machine

    @property
    def url(self) -> str:
        """For HTTP."""
        return f"http://127.0.0.1:{self.host_port}"


@dataclass
class Running:
    """One process."""

    name: str
    address: Address
    process: "subprocess.Popen[bytes]"
    log: Path


@dataclass
class Stack:
    """Starts services in the order in which they depend on each other.

    Attributes:
        services: of the compose file, variables filled in.
        directory: for configurations, data and logs.
        addresses: by service, one per replica.
        variables: of the API, beyond those of the compose file.
    """

    services: Mapping[str, Any]
    directory: Path
    addresses: dict[str, list[Address]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)

    @classmethod
    def read(cls, names: Sequence[str], directory: Path, replicas: int | None = None) -> "Stack":
        """Take services of the compose file.

        Args:
            names: which.
            directory: for configurations, data and logs.
            replicas: of the API, None for what the file says.
        """
        text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
        filled = VARIABLE.sub(lambda found: os.environ.get(found[1], found[2]), text)
        services = yaml.safe_load(filled)["services"]
        if replicas is not None:
            services["api"]["deploy"]["replicas"] = replicas
        stack = cls({name: services[name] for name in names}, directory)
        for name in names:
            stack.addresses[name] = [
                Address(name, PORTS[name], _free_port()) for _ in range(stack._replicas(name))
            ]
        return stack

    def start(self) -> None:
        """Start everything, each service when those that it needs are healthy.

        Raises:
            StackError: naming the service that does not become healthy.
        """
        for name in _in_order(self.services):
            for number, address in enumerate(self.addresses[name]):
                self.running.append(self._start(name, number, address))
            for running in self.running[-len(self.addresses[name]) :]:
                self._await_health(running)
                print(f"  {running.name:12} healthy, {shlex.join(running.process.args)[:110]}")  # type: ignore[arg-type]

    def restart(self, running: Running) -> Running:
        """Start a process again that has ended, where it was."""
        place = self.running.index(running)
        number = self.addresses[running.address.service].index(running.address)
        self.running[place] = self._start(running.address.service, number, running.address)
        self._await_health(self.running[place])
        return self.running[place]

    def replicas(self, service: str) -> list[Running]:
        """The processes of a service."""
        return [running for running in self.running if running.address.service == service]

    def stop(self) -> None:
        """End what was started, the last first."""
        for running in reversed(self.running):
            running.process.terminate()
            try:
                running.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()

    def translated(self, text: str) -> str:
        """A text in which services are named by where they listen here."""
        text = RESOLVED.sub(lambda found: self._servers(found["name"], found["options"]), text)
        for name, addresses in self.addresses.items():
            address = addresses[0]
            text = re.sub(rf"\b{name}:{address.port}\b", f"127.0.0.1:{address.host_port}", text)
        return text

    def environment(self, name: str) -> dict[str, str]:
        """Variables of a service, with paths and addresses of this machine."""
        mounts = dict(self._mounts(name))
        variables = {}
        for key, value in self.services[name].get("environment", {}).items():
            variables[key] = self.translated(value)
            for target, source in mounts.items():
                variables[key] = variables[key].replace(target, str(source))
        return variables

    def source(self, name: str, target: str) -> Path:
        """What of this machine is mounted at a path of a service."""
        return dict(self._mounts(name))[target]

    def _start(self, name: str, number: int, address: Address) -> Running:
        command, variables = COMMANDS[name](self, name, address)
        label = name if len(self.addresses[name]) == 1 else f"{name}-{number + 1}"
        log = self.directory / f"{label}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command,
                env=os.environ | variables,
                stdout=file,
                stderr=file,
                cwd=ROOT,
                start_new_session=True,
            )
        return Running(label, address, process, log)

    def _await_health(self, running: Running, timeout_s: float = 120) -> None:
        ends = time.monotonic() + timeout_s
        while time.monotonic() < ends:
            if running.process.poll() is not None:
                break
            if _is_healthy(running.address):
                return
            time.sleep(0.1)
        raise StackError(f"{running.name} is not healthy; see {running.log}")

    def _replicas(self, name: str) -> int:
        return int(self.services[name].get("deploy", {}).get("replicas", 1))

    def _servers(self, name: str, options: str) -> str:
        return " ".join(f"server 127.0.0.1:{one.host_port}{options};" for one in self.addresses[name])

    def _mounts(self, name: str) -> Iterator[tuple[str, Path]]:
        for volume in self.services[name].get("volumes", []):
            if isinstance(volume, str):
                source, target = volume.split(":")[:2]
            else:
                source, target = volume["source"], volume["target"]
            is_path = source.startswith((".", "/"))
            yield target, (ROOT / source).resolve() if is_path else self.directory / source


PORTS = {"redis": 6379, "api": 8000, "front": 8080, "prometheus": 9090}
HEALTH = {"api": "/readyz", "front": "/readyz", "prometheus": "/-/ready"}


def _is_healthy(address: Address) -> bool:
    try:
        if address.service in HEALTH:
            return httpx.get(address.url + HEALTH[address.service], timeout=3).status_code == 200
        socket.create_connection(("127.0.0.1", address.host_port), timeout=1).close()
    except (OSError, httpx.HTTPError):
        return False
    return True


def _redis(stack: Stack, name: str, address: Address) -> tuple[list[str], dict[str, str]]:
    program, *options = stack.services[name]["command"]
    found = shutil.which(program) or _needed("redis-server")
    own = ["--port", str(address.host_port), "--bind", "127.0.0.1", "--dir", str(stack.directory)]
    return [found, *options, *own], {}


def _api(stack: Stack, name: str, address: Address) -> tuple[list[str], dict[str, str]]:
    image = {"PORT": str(address.host_port), "RADSEARCH_HOST": "127.0.0.1"}
    events = stack.source(name, "/var/lib/radsearch/events")
    command = [str(ROOT / ".venv/bin/radsearch"), *stack.services[name]["command"]]
    return command, stack.environment(name) | image | {"RADSEARCH_EVENT_LOG": str(events)} | stack.variables


def _front(stack: Stack, name: str, address: Address) -> tuple[list[str], dict[str, str]]:
    text = stack.source(name, "/etc/nginx/nginx.conf").read_text(encoding="utf-8")
    text = stack.translated(text).replace(f"listen {address.port};", f"listen 127.0.0.1:{address.host_port};")
    text = re.sub(r"resolver [^;]*;", "", text).replace(" /tmp/", f" {stack.directory}/nginx-")
    path = stack.directory / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    return [_needed("nginx"), "-c", str(path), "-g", "daemon off;"], {}


def _prometheus(stack: Stack, name: str, address: Address) -> tuple[list[str], dict[str, str]]:
    settings = yaml.safe_load(
        stack.source(name, "/etc/prometheus/prometheus.yml").read_text(encoding="utf-8")
    )
    for job in settings["scrape_configs"]:
        (found,) = job.pop("dns_sd_configs")
        targets = [
            f"127.0.0.1:{one.host_port}" for each in found["names"] for one in stack.addresses.get(each, [])
        ]
        job["static_configs"] = [{"targets": targets}]
    path = stack.directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    shutil.copy(stack.source(name, "/etc/prometheus/alerts.yml"), stack.directory)
    options = [f"--config.file={path}", f"--storage.tsdb.path={stack.source(name, '/prometheus')}"]
    return [_needed("prometheus"), *options, f"--web.listen-address=127.0.0.1:{address.host_port}"], {}


COMMANDS = {"redis": _redis, "api": _api, "front": _front, "prometheus": _prometheus}


def _in_order(services: Mapping[str, Any]) -> list[str]:
    """Services after those that they depend on."""
    ordered: list[str] = []
    while len(ordered) < len(services):
        ready = [
            name
            for name, service in services.items()
            if name not in ordered and set(service.get("depends_on", {})) & services.keys() <= set(ordered)
        ]
        if not ready:
            raise StackError(f"services depend on each other in a circle: {sorted(services)}")
        ordered += ready
    return ordered


def _needed(program: str) -> str:
    """Path of a program.

    Raises:
        StackError: if it is not installed.
    """
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found is None:
        raise StackError(f"{program} is not installed; apt-get install nginx-light prometheus redis-server")
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
