"""The objects of deploy/kubernetes: valid, safe, true to the service; and how they are deployed."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import HAPROXY, KUBECTL, Cluster, Image, kustomize, serve, wait_until
from drill_kubernetes import IMAGES, release, write_overlay

import kubernetes
from ml_api.settings import Settings
from project import ROOT, ScriptError
from ride_images import load_on, make_image

FOLDER = ROOT / "deploy/kubernetes"
COMPONENTS = sorted(path.parent.name for path in FOLDER.glob("components/*/kustomization.yaml"))
#: Custom resources, whose schemas Kubernetes does not have.
CUSTOM = {"ServiceMonitor"}
#: The oldest version that is meant, and the newest.
VERSIONS = ("1.33", "1.37")
IMAGE = IMAGES["v1"]
#: What is rendered: overlay and components.
RENDERED = {
    "staging": ("staging",),
    "production": ("production",),
    "staging with all": ("staging", "keys", "metrics", "request-scaling", "prediction-log", "models-volume"),
    "production with all": ("production", "metrics", "request-scaling", "prediction-log", "models-artifact"),
    "production with retraining": ("production", "prediction-log", "retrain"),
}


@pytest.fixture(autouse=True, scope="module")
def programs() -> None:
    if not KUBECTL.exists():
        pytest.skip("kubectl of requirements/kubernetes.txt is not here; make tools-kubernetes")
    if HAPROXY is None:
        pytest.skip("haproxy is not installed here; Debian's package is haproxy")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Name -> objects, of each of ``RENDERED``."""
    found = {}
    for name, (overlay, *components) in RENDERED.items():
        folder = FOLDER / "overlays" / overlay
        if components:
            folder = write_overlay(tmp_path_factory.mktemp("overlays") / overlay, overlay, *components)
        found[name] = list(yaml.safe_load_all(kustomize(folder)))
    return found


@pytest.fixture(params=RENDERED)
def objects(request: pytest.FixtureRequest, rendered: dict[str, list[Any]]) -> list[Any]:
    found: list[Any] = rendered[request.param]
    return found


def validated(path: Path, objects: list[Any], version: str) -> tuple[bool, str]:
    """Whether objects are valid by the schemas of a version of Kubernetes, and what is said about each."""
    path.write_text(yaml.safe_dump_all(objects))
    command = [str(KUBECTL.with_name("kubernetes-validate")), "--strict", "-k", version, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def only(objects: list[Any], kind: str, name: str = "ml-api") -> Any:
    (found,) = (each for each in objects if each["kind"] == kind and each["metadata"]["name"].startswith(name))
    return found


def pods(objects: list[Any]) -> Iterator[Any]:
    """Specs of the pods that the objects make."""
    templates = [each["spec"].get("jobTemplate", each)["spec"] for each in objects if "spec" in each]
    return (each["template"]["spec"] for each in templates if "template" in each)


def containers(pod: Any) -> list[Any]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def data(objects: list[Any]) -> dict[str, str]:
    found: dict[str, str] = only(objects, "ConfigMap")["data"]
    return found


def test_every_component_is_rendered_somewhere() -> None:
    used = {component for _, *components in RENDERED.values() for component in components}
    # These two come with others.
    assert used | {"load-balancer", "models"} == set(COMPONENTS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_to_the_letter(rendered: dict[str, list[Any]], version: str, tmp_path: Path) -> None:
    objects = [found for each in rendered.values() for found in each if found["kind"] not in CUSTOM]
    assert {found["kind"] for found in objects} >= {"Deployment", "Job", "HorizontalPodAutoscaler", "NetworkPolicy"}
    valid, output = validated(tmp_path / "objects.yaml", objects, version)
    assert valid, output
    assert output.count(" passed for resource ") == len(objects)


def test_a_field_that_does_not_exist_is_not_valid(rendered: dict[str, list[Any]], tmp_path: Path) -> None:
    deployment = copy.deepcopy(only(rendered["staging"], "Deployment"))
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    valid, output = validated(tmp_path / "objects.yaml", [deployment], VERSIONS[0])
    assert not valid
    assert "'terminationGracePeriod' was unexpected" in output


def test_pods_meet_the_restricted_standard_and_are_the_user_of_the_image(objects: list[Any]) -> None:
    (user, group) = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    labels = only(objects, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(objects):
        context = pod["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"], context["runAsNonRoot"]) == (int(user), int(group), True)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]


def test_settings_are_those_of_the_service_and_ports_are_where_it_listens(objects: list[Any]) -> None:
    found = data(objects)
    table = (ROOT / "packages/ml_api/README.md").read_text()
    assert {name for name in found if f"\n| `{name}` |" not in table} == set()
    settings = Settings.from_environ(found | {"DATABASE_URL": "postgresql://database/log"})
    deployment = only(objects, "Deployment")["spec"]["template"]["spec"]
    (container,) = deployment["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port} | ({"metrics": settings.metrics_port} if settings.metrics_port else {})
    (graceful,) = re.findall(
        r"^graceful_timeout = (\d+)$", (ROOT / "packages/ml_api/gunicorn.conf.py").read_text(), re.MULTILINE
    )
    assert 0 < settings.shutdown_delay < int(graceful) < deployment["terminationGracePeriodSeconds"]
    # Every process has its share of what is in memory.
    assert {"name": "memory", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}} in deployment["volumes"]


def test_an_address_outside_needs_keys_and_does_not_lead_to_metrics(objects: list[Any]) -> None:
    service = only([each for each in objects if each["metadata"]["name"] == "ml-api"], "Service")
    is_public = service["spec"]["type"] == "LoadBalancer"
    assert is_public == (only(objects, "Namespace")["metadata"]["name"] == "ml-api-production")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    if is_public:
        keys = Path(data(objects)["API_KEYS_FILE"])
        pod = only(objects, "Deployment")["spec"]["template"]["spec"]
        (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["mountPath"] == str(keys.parent))
        (volume,) = (each["secret"] for each in pod["volumes"] if each["name"] == mount["name"])
        assert volume["secretName"] == "ml-api-keys"
        assert not volume.get("optional")
    opened = [
        (rule.get("from"), port["port"])
        for policy in objects
        if policy["kind"] == "NetworkPolicy"
        for rule in policy["spec"].get("ingress", ())
        for port in rule["ports"]
    ]
    assert ((None, "http") in opened) == is_public
    monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    assert [sources for sources, port in opened if port == "metrics"] == (
        [monitoring] if "METRICS_PORT" in data(objects) else []
    )


def test_selectors_mean_the_pods_of_the_deployment_and_no_others(objects: list[Any]) -> None:
    def matches(selector: Mapping[str, str], template: Any) -> bool:
        return bool(selector.items() <= template["metadata"]["labels"].items())

    template = only(objects, "Deployment")["spec"]["template"]
    scheduled = [each["spec"]["jobTemplate"]["spec"]["template"] for each in objects if each["kind"] == "CronJob"]
    jobs = [*scheduled, *(each["spec"]["template"] for each in objects if each["kind"] == "Job")]
    for found in objects:
        selector = found.get("spec", {}).get("selector", {})
        if found["kind"] in {"Service", "Deployment", "PodDisruptionBudget"}:
            wanted = selector.get("matchLabels", selector)
            assert matches(wanted, template)
            assert not any(matches(wanted, job) for job in jobs)
        if found["kind"] == "NetworkPolicy":
            wanted = found["spec"]["podSelector"]["matchLabels"]
            assert matches(wanted, template) or any(matches(wanted, job) for job in scheduled)
    assert only(objects, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "ml-api"
    assert "replicas" not in only(objects, "Deployment")["spec"]


def test_prometheus_finds_what_the_alerts_and_the_autoscaler_are_about(rendered: dict[str, list[Any]]) -> None:
    objects = rendered["production with all"]
    monitor = only(objects, "ServiceMonitor")["spec"]
    (service,) = (
        each
        for each in objects
        if each["kind"] == "Service"
        and monitor["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    )
    assert [port["name"] for port in service["spec"]["ports"]] == [each["port"] for each in monitor["endpoints"]]
    job = service["metadata"]["labels"][monitor["jobLabel"]]
    text = (ROOT / "deploy/monitoring/alerts.yml").read_text()
    assert f'up{{job="{job}"}}' in text
    rule = yaml.safe_load(kubernetes.alerts())
    assert rule["spec"] == yaml.safe_load(text)
    (adapter,) = yaml.safe_load((FOLDER / "components/request-scaling/adapter.yaml").read_text())["rules"]["custom"]
    (pods_metric,) = (
        each["pods"] for each in only(objects, "HorizontalPodAutoscaler")["spec"]["metrics"] if each["type"] == "Pods"
    )
    assert adapter["name"]["as"] == pods_metric["metric"]["name"]


def test_a_release_names_image_and_job(tmp_path: Path) -> None:
    overlay = write_overlay(tmp_path / "overlay", "production", "prediction-log", "models-volume")
    with kubernetes.kustomization(overlay, IMAGE, "V1.2_3") as folder:
        objects = list(yaml.safe_load_all(kustomize(folder)))
    images = {container["image"] for pod in pods(objects) for container in containers(pod)}
    assert images == {IMAGE}
    assert only(objects, "Job")["metadata"]["name"] == "ml-api-migrate-v1-2-3"
    annotations = only(objects, "Deployment")["metadata"]["annotations"]
    assert annotations == {"kubernetes.io/change-cause": "release V1.2_3"}
    assert (
        only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == "V1.2_3"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere", "--image", IMAGE, "--release", "v1"), "overlays: production, staging, or the path of a folder"),
        (("staging", "--image", "ml-api:latest", "--release", "v1"), "NAME@sha256:DIGEST"),
        (("staging", "--image", f"http://r/{IMAGE}", "--release", "v1"), "NAME@sha256:DIGEST"),
        (("staging", "--image", f"UPPER/{IMAGE}", "--release", "v1"), "NAME@sha256:DIGEST"),
        (("staging", "--image", IMAGE, "--release", "v1 "), "--release is 'v1 '"),
    ],
)
def test_what_cannot_be_deployed_is_said(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kubernetes.main(["render", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_an_overlay_that_renames_the_image_itself_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(KUBECTL.parent))
    overlay = write_overlay(tmp_path / "overlay", "staging")
    text = (overlay / "kustomization.yaml").read_text().rstrip(
        "}"
    ) + ', "images": [{"name": "ml-api", "newName": "a"}]}'
    (overlay / "kustomization.yaml").write_text(text)
    with (
        kubernetes.kustomization(overlay, IMAGE, "v1") as folder,
        pytest.raises(ScriptError, match="take its `images`"),
    ):
        kubernetes.render(folder, IMAGE)


def test_a_migration_that_fails_stops_the_release(tmp_path: Path) -> None:
    overlay = write_overlay(tmp_path / "overlay", "staging", "prediction-log")
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster", {IMAGE: Image(tmp_path)})
    try:
        with serve(cluster) as programs:
            done = release(programs, overlay, IMAGES["v1"])
    finally:
        cluster.stop()
    assert done.returncode == 1
    assert "ml-api-migrate-v1 is not complete, and nothing else was applied" in done.stderr
    assert "there is no Secret ml-api-database" in done.stderr
    assert (cluster.revision, cluster.pods) == (0, [])


def test_an_apply_that_fails_in_part_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(KUBECTL.parent))
    real, called = kubernetes.kubectl, []

    def kubectl(*arguments: str) -> str:
        """Of a cluster that does not know one kind of objects, where revision 3 runs."""
        if arguments[0] == "kustomize":
            return real(*arguments)
        called.append(" ".join(arguments))
        if arguments[0] == "apply":
            raise ScriptError('kubectl apply: no matches for kind "ServiceMonitor"')
        return "3" if "deployment" in arguments else ""

    monkeypatch.setattr(kubernetes, "kubectl", kubectl)
    overlay = write_overlay(tmp_path / "overlay", "staging", "metrics")
    with pytest.raises(ScriptError) as failed:
        kubernetes.deploy(overlay, IMAGE, "v2", limit=5, say=lambda _: None)
    assert 'no matches for kind "ServiceMonitor"' in str(failed.value)
    assert str(failed.value).endswith("UNDONE: ml-api-staging runs what it ran before (revision 3)")
    assert "-n ml-api-staging rollout undo deployment/ml-api --to-revision=3" in called


@pytest.mark.parametrize("limit", ["0", "0.4", "nan", "inf", "-1", "5s"])
def test_a_limit_is_a_number_of_seconds(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        kubernetes.main(["deploy", "staging", "--image", IMAGE, "--release", "v1", "--limit", limit])
    assert "no number of seconds from 1 on" in capsys.readouterr().err


def test_an_update_loses_no_request_and_one_that_is_never_ready_leaves_the_old_version(tmp_path: Path) -> None:
    images = {
        IMAGES["v1"]: make_image(tmp_path / "v1", "1.0.0"),
        IMAGES["v2"]: make_image(tmp_path / "v2", "1.1.0"),
        IMAGES["v3"]: make_image(tmp_path / "v3", "1.2.0", ready=False),
    }
    missing = "registry.example/ml-api@sha256:" + "f" * 64
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster", images)
    overlay = FOLDER / "overlays/staging"
    try:
        with serve(cluster) as programs:
            first = release(programs, overlay, IMAGES["v1"])
            assert first.returncode == 0, first.stderr
            wait_until(lambda: cluster.routed() == 1, "the Service knows the pod")
            with load_on(cluster.balancer.port, clients=4, interval=0.2) as load:
                wait_until(lambda: len(load.log) >= 8, "requests are sent")
                second = release(programs, overlay, IMAGES["v2"])
                third = release(programs, overlay, missing, limit=1)
                with kubernetes.kustomization(overlay, IMAGES["v3"], "v3") as folder:
                    cluster.apply(yaml.safe_load_all(kustomize(folder)))
                wait_until(lambda: any("not ready: HTTP 503" in pod.status for pod in cluster.alive()), "v3 is asked")
                cluster.undo()
                wait_until(lambda: all(pod.ended for pod in cluster.pods if pod.deleted), "the old pods have ended")
    finally:
        cluster.stop()
    assert load.failed == []
    assert second.returncode == 0, second.stderr
    assert third.returncode == 1
    assert f"the image {missing} cannot be pulled" in third.stderr
    assert "UNDONE: ml-api-staging runs what it ran before (revision 2)" in third.stderr
    assert load.versions().keys() == {"1.0.0", "1.1.0"}
    assert {line["connection"] for line in load.log} == {"fresh", "kept"}
    assert {status for pod in cluster.pods for status, _ in pod.exits} == {0}
