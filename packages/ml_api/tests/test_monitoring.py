"""The files in deploy/monitoring: held to their tools' checks, and tried with a real Prometheus and Alertmanager."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml
from model_kit.testing import GOLDEN_ROW, write_ride_bundle

from ml_api.keys import new_key
from ml_api.prediction_log.database import Database
from ml_api.settings import LogSettings, Settings

if TYPE_CHECKING:
    from tests.conftest import Serve, Server

ROOT = Path(__file__).parents[3]
#: Rows of one request, enough to be judged.
LONG_RIDES = 300
MONITORING = ROOT / "deploy/monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((MONITORING / "grafana/dashboards/ml-api.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
COMPOSE = yaml.safe_load((MONITORING / "compose.yaml").read_text())
MODELS = "[ml_api.models]\nrides = rides_package:load\nlengths = rides_package:load_lengths\n"


def tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here; Debian's package is {package}")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def passes(*command: str) -> None:
    done = subprocess.run(command, cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_fire_when_they_should() -> None:
    passes(tool("promtool", "prometheus"), "test", "rules", "alerts.test.yml")


def test_each_rule_is_tried_firing_and_not_firing() -> None:
    tried: dict[str, set[bool]] = {rule["alert"]: set() for rule in RULES}
    for case in yaml.safe_load((MONITORING / "alerts.test.yml").read_text())["tests"]:
        for attempt in case["alert_rule_test"]:
            tried[attempt["alertname"]].add(bool(attempt.get("exp_alerts")))
    assert tried == dict.fromkeys(tried, {True, False})


def test_alertmanager_takes_its_configuration() -> None:
    passes(tool("amtool", "prometheus-alertmanager"), "check-config", "alertmanager.yml")


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(MONITORING / name, tmp_path)
    (tmp_path / "prometheus_key").write_text("key")
    passes(tool("promtool", "prometheus"), "check", "config", str(tmp_path / "prometheus.yml"))


def test_runbook_has_each_alert_with_its_meaning_first_command_and_way_back() -> None:
    sections = dict(
        re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", (ROOT / "docs/operations.md").read_text(), re.MULTILINE | re.DOTALL)
    )
    assert list(sections) == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")
        parts = ("**Meaning.**", "**First command.**", "**Way back.**")
        assert all(part in sections[rule["alert"]] for part in parts), rule["alert"]


def metric_names(text: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bml_api_\w+", text)}


def test_readme_describes_every_metric_that_is_used() -> None:
    described = metric_names((ROOT / "packages/ml_api/README.md").read_text())
    used = metric_names(json.dumps(DASHBOARD) + (MONITORING / "alerts.yml").read_text())
    assert used <= described


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where a document has something that another one has not."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after[key], f"{path}/{key}") if key in after else [f"{path}/{key}"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from lost(*pair, f"{path}/{number}")
    elif before != after:
        yield path


def test_dashboard_is_one_of_grafanas_schema() -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    # What the classes that are made from the schema do not know, they drop.
    understood = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(DASHBOARD)))
    assert list(lost(DASHBOARD, understood)) == []
    assert list(
        lost(
            {"panels": [{"titel": 1}]},
            json.loads(
                JSONEncoder(sort_keys=True).encode(Dashboard.from_json({"panels": [{"type": "stat", "titel": 1}]}))
            ),
        )
    ) == ["/panels/0/titel"]


def test_panels_do_not_overlap_and_have_descriptions_and_the_provisioned_source() -> None:
    source = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (uid,) = [found["uid"] for found in source["datasources"]]
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells
        assert place["x"] + place["w"] <= 24
        cells |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]} == {uid}


def test_compose_file_is_one_of_its_schema() -> None:
    passes(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def test_compose_names_what_there_is() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"api", "postgres", "prometheus", "alertmanager", "grafana"}
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("./") and not source.startswith("./secrets/"):
                assert (MONITORING / source).exists(), source
            elif not source.startswith("./"):
                assert source in COMPOSE["volumes"]
        # What is published, is so on this machine alone.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    settings = Settings.from_environ(
        {name: value for name, value in services["api"]["environment"].items() if "$" not in value}
    )
    assert (settings.port, settings.metrics_port, settings.needs_keys) == (5000, 9100, True)
    (scraped,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    assert scraped["dns_sd_configs"] == [{"names": ["api"], "type": "A", "port": settings.metrics_port}]
    assert scraped["job_name"] == "ml-api"


class Prometheus:
    """A Prometheus that scrapes a server and tells an Alertmanager, each with the configuration of deployment."""

    def __init__(self, folder: Path, target: int, key: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.alertmanager = f"http://127.0.0.1:{free_port()}"
        document = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        # What differs from deployment: addresses, and how often.
        document["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
        (job,) = document["scrape_configs"]
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
        document["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [self.alertmanager[7:]]}]}]
        rules = yaml.safe_load((MONITORING / "alerts.yml").read_text())
        for rule in rules["groups"][0]["rules"]:
            rule["for"] = "1s"
        (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(document))
        (folder / "prometheus_key").write_text(f"{key}\n")
        shutil.copy(MONITORING / "alertmanager.yml", folder)
        commands = (
            [
                tool("prometheus", "prometheus"),
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address={self.url[7:]}",
            ],
            [
                tool("prometheus-alertmanager", "prometheus-alertmanager"),
                "--config.file=alertmanager.yml",
                "--storage.path=alerts",
                "--cluster.listen-address=",
                f"--web.listen-address={self.alertmanager[7:]}",
            ],
        )
        self.processes = []
        with (folder / "log").open("wb") as log:
            for command in commands:
                self.processes.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))

    def get(self, path: str, **parameters: str) -> Any:
        with urlopen(f"{self.url}{path}?{urlencode(parameters)}", timeout=10) as response:
            return json.load(response)["data"]

    def query(self, text: str) -> list[Any]:
        found: list[Any] = self.get("/api/v1/query", query=text)["result"]
        return found

    def firing(self) -> set[str]:
        """Names of the alerts that Alertmanager knows of."""
        with urlopen(f"{self.alertmanager}/api/v2/alerts", timeout=10) as response:
            return {alert["labels"]["alertname"] for alert in json.load(response)}

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait(20)


def wait_for(condition: Any) -> None:
    give_up = time.monotonic() + 60
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < give_up
        time.sleep(0.2)


def ask_everything(server: Server) -> None:
    """Requests of every kind that a panel shows."""
    server.predict([GOLDEN_ROW, {"distance": "x"}])
    server.predict([{"distance": 3.0}, {"distance": 9.0}], "lengths")
    server.request("GET", "/nowhere")
    connection = server.connect()
    connection.request("GET", "/version")
    assert connection.getresponse().status == 401
    connection.close()


@pytest.fixture(scope="module")
def watched(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Prometheus]]:
    """A server with traffic, and the Prometheus that scrapes it."""
    folder = tmp_path_factory.mktemp("prometheus")
    write_ride_bundle(folder / "rides", target_distribution={"edges": [10.0, 20.0, 40.0], "shares": [0.5, 0.5]})
    operator, own = new_key("prometheus", ("metrics",)), new_key("tests", ("predict", "read"))
    port = free_port()
    Database(LogSettings(f"sqlite:///{folder}/log.db")).migrate()
    server = serve(
        folder / "rides",
        MODELS,
        WEB_CONCURRENCY="2",
        METRICS_PORT=str(port),
        API_KEYS=f"{operator[1]} {own[1]}",
        TEST_API_KEY=own[0],
        PREDICTION_LOG=str(folder / "log.db"),
    )
    prometheus = Prometheus(folder, port, operator[0])
    try:
        wait_for(lambda: prometheus.query('up{job="ml-api"} == 1'))
        # All of them are longer than in training.
        server.predict([{"distance": 9.0}] * LONG_RIDES, "lengths")
        # Rates need values that differ.
        for _ in range(6):
            ask_everything(server)
            time.sleep(0.5)
        wait_for(lambda: prometheus.query(f"sum(ml_api_rows_total) == {24 + LONG_RIDES}"))
        wait_for(lambda: prometheus.query('ml_api_drift_window_rows{model="lengths"} > 0'))
        yield server, prometheus
    finally:
        prometheus.stop()


@pytest.mark.parametrize(
    ("title", "text"), [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
)
def test_query_of_each_panel_finds_something(watched: tuple[Server, Prometheus], title: str, text: str) -> None:
    for name, value in {"$model": ".*", "$__rate_interval": "1m", "$__range": "5m"}.items():
        text = text.replace(name, value)
    found = watched[1].query(text)
    assert found, title
    assert any(sample["value"][1] != "NaN" for sample in found), title


def test_query_of_the_variable_finds_the_models(watched: tuple[Server, Prometheus]) -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
    assert watched[1].get(f"/api/v1/label/{label}/values", **{"match[]": metric}) == ["lengths", "rides"]


def test_prometheus_sees_what_was_asked(watched: tuple[Server, Prometheus]) -> None:
    _, prometheus = watched
    results = prometheus.query("sum by (model, result) (ml_api_rows_total)")
    rows = {(found["metric"]["model"], found["metric"]["result"]): found["value"][1] for found in results}
    assert rows == {
        ("rides", "scored"): "6",
        ("rides", "rejected"): "6",
        ("lengths", "scored"): str(12 + LONG_RIDES),
        ("lengths", "rejected"): "0",
    }
    (median,) = prometheus.query('histogram_quantile(0.5, ml_api_prediction_bucket{model="rides"})')
    assert 20 < float(median["value"][1]) < 40


def test_alerts_fire_and_reach_alertmanager(watched: tuple[Server, Prometheus]) -> None:
    server, prometheus = watched
    rules = prometheus.get("/api/v1/rules")["groups"][0]["rules"]
    assert {rule["name"]: rule["health"] for rule in rules} == {rule["alert"]: "ok" for rule in RULES}
    # Half of the records for rides are rejected.
    wait_for(lambda: "MLAPIRecordsRejected" in prometheus.firing())
    wait_for(lambda: "MLAPIDrift" in prometheus.firing())
    assert "MLAPIDown" not in prometheus.firing()
    server.stop()
    wait_for(lambda: "MLAPIDown" in prometheus.firing())
