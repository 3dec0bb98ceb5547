"""Carries out Kubernetes objects by processes of this machine: a stand-in for one namespace of a cluster.

Of a Deployment: rolling updates by maxSurge, maxUnavailable, minReadySeconds and progressDeadlineSeconds, revisions; of
a pod: init containers, probes by their paths, periods and thresholds, preStop, SIGTERM, terminationGracePeriodSeconds,
ConfigMaps, Secrets and volumes; Jobs; of an autoscaler its bounds. The Service is haproxy, which passes connections on
as kube-proxy does: it tries each once, learns of pods that are ready or end after a delay, and cuts nothing.

What no process of this machine can show is not carried out: users, read-only files, limits on memory and cores,
NetworkPolicies, nodes. `kubectl` in the folder ``bin`` answers the commands that scripts/kubernetes.py and docs use.
"""

from __future__ import annotations

import argparse
import copy
import http.client
import json
import math
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from project import ROOT

#: The real kubectl, which renders: `make tools-kubernetes`.
KUBECTL = ROOT / "build/kubernetes/bin/kubectl"
Object: TypeAlias = dict[str, Any]

#: The Service; ``None`` if it is not installed.
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
#: Seconds between two looks of a controller at what it controls.
TICK = 0.05
#: Pods that the balancer has room for.
SLOTS = 32
#: Seconds before a container that has ended starts again; a cluster waits longer each time.
BACKOFF = 1.0
REVISION = "deployment.kubernetes.io/revision"
_CLIENT = """#!{python} -I
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect({address!r})
    client.sendall(json.dumps([sys.argv[1:], os.getcwd()]).encode() + b"\\n")
    status, out, err = json.loads(client.makefile().read())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(status)
"""


@dataclass(frozen=True)
class Image:
    """What a container runs in.

    Attributes:
        folder: the working directory.
        command: what runs if the container names nothing else.
        environ: variables of the image.
    """

    folder: Path
    command: tuple[str, ...] = ("sh", "run.sh")
    environ: Mapping[str, str] = field(default_factory=dict)


class ConfigError(Exception):
    """A container cannot be made: an image, ConfigMap, Secret or volume is missing."""


class CommandError(Exception):
    """A command of kubectl fails."""


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Balancer:
    """haproxy as the Service: passes connections to the pods that it was told of.

    Args:
        folder: for its files.
    """

    def __init__(self, folder: Path) -> None:
        self.port, self._socket = free_port(), folder / "haproxy.sock"
        self._slots: dict[int, int] = {}
        configuration = folder / "haproxy.cfg"
        # A connection that is refused is not tried elsewhere, which is how kube-proxy does it.
        configuration.write_text(
            f"global\n  stats socket {self._socket} level admin\n"
            "defaults\n  mode tcp\n  retries 0\n  timeout connect 5s\n  timeout client 300s\n  timeout server 300s\n"
            f"frontend service\n  bind 127.0.0.1:{self.port}\n  default_backend pods\n"
            f"backend pods\n  balance random\n  server-template pod {SLOTS} 127.0.0.1:1 disabled\n"
        )
        assert HAPROXY, "haproxy is not installed; Debian's package is haproxy"
        with (folder / "haproxy.log").open("wb") as log:
            self._process = subprocess.Popen([HAPROXY, "-db", "-f", str(configuration)], stdout=log, stderr=log)
        wait_until(lambda: self._process.poll() is not None or self._socket.exists(), "haproxy listens")
        assert self._process.poll() is None, (folder / "haproxy.log").read_text()

    def route(self, ports: Iterable[int]) -> None:
        """Pass new connections to these ports; those that are open stay."""
        wanted = set(ports)
        for port in set(self._slots) - wanted:
            self._tell(f"set server pods/pod{self._slots.pop(port)} state maint")
        for port in wanted - set(self._slots):
            slot = next(number for number in range(1, SLOTS + 1) if number not in self._slots.values())
            self._slots[port] = slot
            self._tell(f"set server pods/pod{slot} addr 127.0.0.1 port {port}")
            self._tell(f"set server pods/pod{slot} state ready")

    @property
    def ports(self) -> set[int]:
        """Where it passes connections to."""
        return set(self._slots)

    def _tell(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._socket))
            client.sendall(f"{command}\n".encode())
            answer = client.makefile().read().strip()
        assert not answer or "changed" in answer or "no need" in answer, f"{command}: {answer}"

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


class Container:
    """How a container of a pod is run: its command, variables and files."""

    def __init__(self, cluster: Cluster, spec: Object, pod: Object, folder: Path, ports: Mapping[int, int]) -> None:
        image = cluster.images.get(spec["image"])
        if image is None:
            raise ConfigError(f"the image {spec['image']} cannot be pulled")
        self._cwd = image.folder
        mounts = cluster.mounts(spec, pod, folder)
        environ = dict(image.environ) | {"HOST": "127.0.0.1"}
        for name, value in cluster.variables(spec).items():
            environ[name] = str(ports.get(int(value), value)) if value.isdigit() else _mapped(value, mounts)
        self._environ = environ
        self.command = [*spec.get("command", ()), *spec.get("args", () if "command" in spec else image.command)]

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Start it; what it prints is added to a file."""
        with log.open("ab") as file:
            return subprocess.Popen(
                self.command,
                cwd=self._cwd,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                process_group=0,
            )


def _mapped(value: str, mounts: Mapping[str, Path]) -> str:
    for path, folder in mounts.items():
        if value == path or value.startswith(f"{path}/"):
            return str(folder) + value.removeprefix(path)
    return value


class Probe:
    """One probe of a container, with its schedule and thresholds."""

    def __init__(self, spec: Object, ports: Mapping[str, int]) -> None:
        get = spec["httpGet"]
        self._path, self._port = get["path"], ports[get["port"]]
        self._timeout = spec.get("timeoutSeconds", 1)
        self._period = spec.get("periodSeconds", 10)
        self._thresholds = {True: spec.get("successThreshold", 1), False: spec.get("failureThreshold", 3)}
        self._due = time.monotonic() + spec.get("initialDelaySeconds", 0)
        self._streak, self._last = 0, True
        self.text = ""

    def ask(self) -> bool | None:
        """Return whether it has passed or failed often enough in a row, else ``None``."""
        if time.monotonic() < self._due:
            return None
        self._due = time.monotonic() + self._period
        passed = self._passes()
        self._streak = self._streak + 1 if passed == self._last else 1
        self._last = passed
        return passed if self._streak >= self._thresholds[passed] else None

    def _passes(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", self._path)
            response = connection.getresponse()
            self.text = f"HTTP {response.status} {response.read(500).decode(errors='replace').strip()}"
            return 200 <= response.status < 400
        self.text = "no answer"
        return False


class Pod:
    """A pod, and the thread that runs it as a kubelet would.

    Attributes:
        revision: of the Deployment's template.
        ready_since: ``time.monotonic()``; ``None`` while it is not ready.
        deleted: when that was asked for; ``None`` if it was not.
        exits: status, and seconds from SIGTERM on, of each time that its container ended.
    """

    def __init__(self, cluster: Cluster, name: str, revision: int, spec: Object) -> None:
        self.name, self.revision, self._spec, self._cluster = name, revision, spec, cluster
        self.folder = cluster.folder / name
        self.folder.mkdir()
        (self._container,) = spec["containers"]
        declared = self._container.get("ports", [])
        self._ports = {port["containerPort"]: free_port() for port in declared}
        self._named = {port["name"]: self._ports[port["containerPort"]] for port in declared}
        self.port = self._named["http"]
        self.ready_since: float | None = None
        self.deleted: float | None = None
        self.ended = False
        self.status = "Pending"
        self.restarts = 0
        self.exits: list[tuple[int, float]] = []
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether the Service may send it connections."""
        return self.deleted is None and self.ready_since is not None

    @property
    def log(self) -> str:
        """All that its containers have printed."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def delete(self) -> None:
        """Have it end."""
        self.deleted = time.monotonic()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while self.deleted is None and not self._initialised():
                self._pause()
            while self.deleted is None:
                try:
                    container = Container(self._cluster, self._container, self._spec, self.folder, self._ports)
                except ConfigError as error:
                    self.status = f"CreateContainerConfigError: {error}"
                    self._pause()
                    continue
                self.status = "Running"
                process = container.start(self.folder / "log")
                try:
                    self._watch(process)
                finally:
                    self._terminate(process)
                if self.deleted is None:
                    self.status, self.ready_since = "CrashLoopBackOff", None
                    self.restarts += 1
                    self._pause()
        finally:
            self.ready_since, self.ended = None, True

    def _pause(self) -> None:
        give_up = time.monotonic() + BACKOFF
        while self.deleted is None and time.monotonic() < give_up:
            time.sleep(TICK)

    def _initialised(self) -> bool:
        for spec in self._spec.get("initContainers", ()):
            try:
                container = Container(self._cluster, spec, self._spec, self.folder, self._ports)
            except ConfigError as error:
                self.status = f"Init:CreateContainerConfigError: {error}"
                return False
            if (status := container.start(self.folder / "log").wait()) != 0:
                self.status = f"Init:Error: {spec['name']} ended with status {status}"
                return False
        return True

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Probe the container until it has ended, is to be deleted, or is to be started again."""

        def probe(kind: str) -> Probe | None:
            return Probe(self._container[kind], self._named) if kind in self._container else None

        startup = probe("startupProbe")
        readiness = liveness = None
        if startup is None:
            readiness, liveness = probe("readinessProbe"), probe("livenessProbe")
        while self.deleted is None and process.poll() is None:
            if startup is not None and (result := startup.ask()) is not None:
                if not result:
                    return
                startup, readiness, liveness = None, probe("readinessProbe"), probe("livenessProbe")
            if liveness is not None and liveness.ask() is False:
                return
            if readiness is not None:
                if (is_ready := readiness.ask()) is False:
                    self.ready_since = None
                elif is_ready and self.ready_since is None:
                    self.ready_since = time.monotonic()
                self.status = "Running" if self.is_ready else f"Running, not ready: {readiness.text}"
            time.sleep(TICK)

    def _terminate(self, process: subprocess.Popen[bytes]) -> None:
        if self._cluster.has_stopped:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        began = time.monotonic()
        give_up = began + self._spec.get("terminationGracePeriodSeconds", 30)
        hook = self._container.get("lifecycle", {}).get("preStop", {})
        if "sleep" in hook:
            time.sleep(hook["sleep"]["seconds"])
        elif hook:
            raise NotImplementedError(f"preStop of the kind {', '.join(hook)}")
        # A container gets the signal at its first process.
        process.terminate()
        try:
            process.wait(max(0.0, give_up - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.status = "killed after terminationGracePeriodSeconds"
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        self.exits.append((process.wait(), time.monotonic() - began))


class Cluster:
    """A namespace with one Deployment and its Service.

    Args:
        folder: an empty one.
        images: by the reference that the objects have.
        secrets: name -> key -> value.
        volumes: name of a claim or reference of an artefact -> folder.
        lag: seconds until the Service learns that a pod has become ready or is to end.

    Attributes:
        pods: all that there are and were.
    """

    def __init__(
        self,
        folder: Path,
        images: Mapping[str, Image],
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        volumes: Mapping[str, Path] | None = None,
        lag: float = 1.0,
    ) -> None:
        self.folder, self.images, self.secrets, self.volumes = folder, images, secrets or {}, volumes or {}
        self.pods: list[Pod] = []
        self._lag, self._lock = lag, threading.RLock()
        self._objects: dict[tuple[str, str], Object] = {}
        self._revisions: dict[int, Object] = {}
        self._replicas = 1
        self._numbers = iter(range(1, 1000))
        self._progressed, self._progress = time.monotonic(), (0, 0)
        self._routes: list[tuple[float, frozenset[int]]] = []
        self._jobs: dict[str, tuple[str, str]] = {}
        self.balancer = Balancer(folder)
        self._stopped = threading.Event()
        self._controller = threading.Thread(target=self._control)
        self._controller.start()

    # What containers see.

    def variables(self, container: Object) -> dict[str, str]:
        """Return the variables of a container.

        Raises:
            ConfigError: a ConfigMap or Secret is missing.
        """
        found: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            name = source["configMapRef"]["name"]
            if ("ConfigMap", name) not in self._objects:
                raise ConfigError(f"there is no ConfigMap {name}")
            found |= self._objects["ConfigMap", name].get("data", {})
        for variable in container.get("env", ()):
            if "value" in variable:
                found[variable["name"]] = variable["value"]
            else:
                reference = variable["valueFrom"]["secretKeyRef"]
                found[variable["name"]] = self._secret(reference["name"])[reference["key"]]
        return found

    def _secret(self, name: str) -> Mapping[str, str]:
        if name not in self.secrets:
            raise ConfigError(f"there is no Secret {name}")
        return self.secrets[name]

    def mounts(self, container: Object, pod: Object, folder: Path) -> dict[str, Path]:
        """Return path -> folder of this machine, of each volume that a container mounts.

        Raises:
            ConfigError: a volume is missing.
        """
        found = {}
        volumes = {volume["name"]: volume for volume in pod.get("volumes", ())}
        for mount in container.get("volumeMounts", ()):
            volume = volumes[mount["name"]]
            if "secret" in volume:
                place = folder / mount["name"]
                place.mkdir(exist_ok=True)
                for key, value in self._secret(volume["secret"]["secretName"]).items():
                    (place / key).write_text(value)
            elif "emptyDir" in volume:
                place = folder / mount["name"]
                place.mkdir(exist_ok=True)
            else:
                source = volume.get("persistentVolumeClaim", {}).get("claimName") or volume["image"]["reference"]
                if source not in self.volumes:
                    raise ConfigError(f"there is no volume {source}")
                place = self.volumes[source]
            found[mount["mountPath"]] = place
        return found

    # What is asked for.

    def apply(self, objects: Iterable[Object]) -> list[str]:
        """Make, or change, objects; returns a line for each, as kubectl does."""
        lines = []
        with self._lock:
            for found in objects:
                key = found["kind"], found["metadata"]["name"]
                before = self._objects.get(key)
                self._objects[key] = found
                word = "created" if before is None else "unchanged" if before == found else "configured"
                lines.append(f"{key[0].lower()}/{key[1]} {word}")
                if key[0] == "Job" and before is None:
                    self._run_job(found)
                elif key[0] == "Job" and before != found:
                    raise CommandError(f"The Job {key[1]!r} is invalid: spec.template: field is immutable")
                elif key[0] == "Deployment":
                    self._roll_out(found["spec"]["template"])
            self.scale(self._replicas)
        return lines

    def scale(self, replicas: int) -> None:
        """Set the number of pods, within the bounds of the autoscaler."""
        with self._lock:
            for (kind, _), found in self._objects.items():
                if kind == "HorizontalPodAutoscaler":
                    spec = found["spec"]
                    replicas = max(spec["minReplicas"], min(spec["maxReplicas"], replicas))
            self._replicas = replicas
            self._progressed = time.monotonic()

    def _roll_out(self, template: Object) -> None:
        """Make a template the current one: a new revision, or one of before under a new number."""
        if self._revisions and self._revisions[self.revision] == template:
            return
        number = self.revision + 1
        for old, known in list(self._revisions.items()):
            if known == template:
                del self._revisions[old]
                for pod in self.pods:
                    pod.revision = number if pod.revision == old else pod.revision
        self._revisions[number] = copy.deepcopy(template)
        self._progressed = time.monotonic()

    @property
    def revision(self) -> int:
        """Number of the current revision; 0 before the first."""
        return max(self._revisions, default=0)

    def undo(self, revision: int | None = None) -> None:
        """Go back to a revision, by default the one before.

        Raises:
            CommandError: there is none.
        """
        with self._lock:
            number = revision or max((each for each in self._revisions if each != self.revision), default=0)
            if number not in self._revisions:
                raise CommandError(f"unable to find specified revision {number} in history")
            self._roll_out(self._revisions[number])

    def _run_job(self, job: Object) -> None:
        name, spec = job["metadata"]["name"], job["spec"]["template"]["spec"]
        folder = self.folder / f"{name}-{next(self._numbers)}"
        folder.mkdir()
        self._jobs[name] = "", ""

        def run() -> None:
            condition = "Failed"
            for _ in range(job["spec"].get("backoffLimit", 6) + 1):
                try:
                    container = Container(self, spec["containers"][0], spec, folder, {})
                except ConfigError as error:
                    (folder / "log").write_text(f"{error}\n")
                    break
                if container.start(folder / "log").wait() == 0:
                    condition = "Complete"
                    break
            self._jobs[name] = condition, (folder / "log").read_text()

        threading.Thread(target=run, daemon=True).start()

    # Controllers.

    @property
    def _spec(self) -> Object:
        spec: Object = self._objects["Deployment", "ml-api"]["spec"]
        return spec

    def alive(self, revision: int | None = None) -> list[Pod]:
        """Pods that are not to end, of a revision or of all."""
        return [pod for pod in self.pods if pod.deleted is None and revision in {None, pod.revision}]

    def _is_available(self, pod: Pod) -> bool:
        since = pod.ready_since
        return since is not None and time.monotonic() - since >= self._spec.get("minReadySeconds", 0)

    def _control(self) -> None:
        while not self._stopped.wait(TICK):
            with self._lock:
                if self._revisions:
                    self._reconcile()
                self._route()

    def _reconcile(self) -> None:
        strategy = self._spec["strategy"]["rollingUpdate"]
        surge = _count(strategy["maxSurge"], self._replicas, math.ceil)
        unavailable = _count(strategy["maxUnavailable"], self._replicas, math.floor)
        new, everything = self.alive(self.revision), self.alive()
        old = [pod for pod in everything if pod not in new]
        # Up: as many as the surge permits.
        for _ in range(min(self._replicas - len(new), self._replicas + surge - len(everything))):
            name = f"ml-api-{self.revision}-{next(self._numbers)}"
            self.pods.append(Pod(self, name, self.revision, self._revisions[self.revision]["spec"]))
        # Down: the newest of the new, if there are too many.
        surplus = sorted(new, key=lambda pod: (pod.ready_since is None, pod.ready_since or 0))[self._replicas :]
        for pod in surplus:
            pod.delete()
        # Of the old ones first those that are not available, as long as enough remain.
        least = self._replicas - unavailable
        missing = sum(not self._is_available(pod) for pod in new)
        spare = len(everything) - len(surplus) - least - missing
        for pod in [pod for pod in old if not self._is_available(pod)][: max(0, spare)]:
            pod.delete()
        available = [pod for pod in self.alive() if self._is_available(pod)]
        for pod in [pod for pod in available if pod in old][: max(0, len(available) - least)]:
            pod.delete()
        progress = (sum(self._is_available(pod) for pod in new), -len(old))
        if progress != self._progress:
            self._progress, self._progressed = progress, time.monotonic()

    def _route(self) -> None:
        now = time.monotonic()
        wanted = frozenset(pod.port for pod in self.pods if pod.is_ready)
        if wanted != (self._routes[-1][1] if self._routes else frozenset()):
            self._routes.append((now + self._lag, wanted))
        due = [ports for moment, ports in self._routes if moment <= now]
        if due:
            self.balancer.route(due[-1])
            # The last one stays, to be compared with.
            self._routes = [route for route in self._routes if route[0] > now] or self._routes[-1:]

    def routed(self) -> int:
        """Return to how many pods the Service sends connections."""
        return len(self.balancer.ports)

    # What kubectl tells.

    def is_rolled_out(self) -> bool:
        """Whether all pods are of the current revision and available, and no other is left."""
        with self._lock:
            new = self.alive(self.revision)
            return len(new) == self._replicas == len(self.alive()) and all(map(self._is_available, new))

    def wait_rolled_out(self, limit: float) -> None:
        """Wait for a rollout.

        Raises:
            CommandError: it made no progress for ``progressDeadlineSeconds``, or was not done within ``limit`` seconds.
        """
        give_up = time.monotonic() + limit
        while not self.is_rolled_out():
            if time.monotonic() - self._progressed > self._spec.get("progressDeadlineSeconds", 600):
                raise CommandError('error: deployment "ml-api" exceeded its progress deadline')
            if time.monotonic() > give_up:
                raise CommandError("error: timed out waiting for the condition")
            time.sleep(TICK)

    def command(self, arguments: Sequence[str], cwd: Path) -> str:
        """Carry out a command of kubectl; returns what it prints.

        Raises:
            CommandError: it fails, or the stand-in does not know it.
        """
        parser = argparse.ArgumentParser("kubectl", exit_on_error=False)
        parser.add_argument("-n", "--namespace")
        parser.add_argument("words", nargs="*")
        for option in ("-k", "-l", "-o", "--timeout", "--to-revision", "--field-selector", "--tail"):
            parser.add_argument(option)
        parser.add_argument("--ignore-not-found", action="store_true")
        options, unknown = parser.parse_known_intermixed_args(arguments)
        if unknown:
            raise CommandError(f"the stand-in does not know {unknown[0]}")
        return self._carry_out(options.words, options, cwd)

    def _carry_out(self, words: list[str], options: argparse.Namespace, cwd: Path) -> str:
        match words:
            case ["kustomize", folder]:
                return kustomize(cwd / folder)
            case ["apply"]:
                objects = yaml.safe_load_all(kustomize(cwd / options.k))
                return "\n".join(self.apply(found for found in objects if _selected(found, options.l)))
            case ["delete", "job", name]:
                with self._lock:
                    self._objects.pop(("Job", name), None)
                return ""
            case ["get", "job", name]:
                return self._jobs[name][0]
            case ["logs", name]:
                return self._jobs[name.removeprefix("job/")][1]
            case ["get", "deployment", "ml-api"]:
                return str(self.revision or "")
            case ["get", "pods"]:
                return "\n".join(f"{pod.name} {pod.status}" for pod in self.alive())
            case ["get", "events"]:
                return ""
            case ["rollout", "status", "deployment/ml-api"]:
                self.wait_rolled_out(float((options.timeout or "600s").removesuffix("s")))
                return 'deployment "ml-api" successfully rolled out'
            case ["rollout", "undo", "deployment/ml-api"]:
                self.undo(int(options.to_revision or 0))
                return "deployment.apps/ml-api rolled back"
        raise CommandError(f"the stand-in does not know `kubectl {' '.join(words)}`")

    @property
    def has_stopped(self) -> bool:
        """Whether it was stopped, so that nothing is worth waiting for."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Kill all pods, and end the Service."""
        with self._lock:
            self._stopped.set()
            for pod in self.alive():
                pod.delete()
        self._controller.join()
        for pod in self.pods:
            pod.join()
        self.balancer.stop()


def _count(value: int | str, replicas: int, rounded: Callable[[float], int]) -> int:
    return rounded(replicas * int(value.rstrip("%")) / 100) if isinstance(value, str) else value


def _selected(found: Object, selector: str | None) -> bool:
    name, _, value = (selector or "").partition("=")
    return selector is None or found["metadata"].get("labels", {}).get(name) == value


def kustomize(folder: Path) -> str:
    """Render a kustomization with the real kubectl.

    Raises:
        CommandError: it cannot be rendered.
    """
    done = subprocess.run([str(KUBECTL), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(done.stderr)
    return done.stdout


def wait_until(condition: Callable[[], bool], what: str, limit: float = 60.0) -> None:
    """Wait until a condition holds."""
    give_up = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < give_up, f"it did not happen within {limit:.0f} s: {what}"
        time.sleep(TICK)


@contextmanager
def serve(cluster: Cluster) -> Generator[Path]:
    """Answer kubectl while the block runs; yields the folder that has it, to be put first on PATH."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            arguments, cwd = json.loads(self.rfile.readline())
            try:
                answer = 0, cluster.command(arguments, Path(cwd)) + "\n", ""
            except (CommandError, argparse.ArgumentError) as error:
                answer = 1, "", f"{error}\n"
            self.wfile.write(json.dumps(answer).encode())

    # The path of a socket is short, which pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="kubectl-") as temporary:
        folder = Path(temporary)
        client = folder / "bin/kubectl"
        client.parent.mkdir()
        client.write_text(_CLIENT.format(python=sys.executable, address=str(folder / "socket")))
        client.chmod(0o755)
        with socketserver.ThreadingUnixStreamServer(str(folder / "socket"), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield client.parent
            finally:
                server.shutdown()
                thread.join()
