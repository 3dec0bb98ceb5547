"""Take the pictures of the page that README shows: docs/images/page.png and phone.png.

They are of a model trained on the synthetic sample, and of no other: what a picture shows is published. Needs Chromium
(Debian's package is chromium) and takes about two minutes, most of them for training.

exit status: 0 taken, 1 something failed (the text says what to do); a picture that was there stays until the new one is
whole.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model_kit.scoring.bundle import CARD, read_bundle
from playwright.sync_api import Browser, Error, expect, sync_playwright

from check_tracked import LARGEST_PICTURE, PICTURES
from local_index import free_port
from processes import child, script
from project import ROOT, Package, Project, ScriptError
from run import wait_until_ready
from train_models import has_sample, quiet_environment, train

FOLDER = ROOT / PICTURES
#: Serves this model alone: the environment has packages of others, which have no bundle.
_SERVE = """
import sys
from ml_api.app import create_app
from model_kit.scoring.definition import find_definition
from werkzeug.serving import run_simple
name, port = sys.argv[1:]
app = create_app(models={name: find_definition(name).load})
run_simple("127.0.0.1", int(port), app, threaded=True)
"""
#: The model of README's pictures.
EXAMPLE = "regression"
#: The record that is shown, by the name of its button.
START = "High end"


@dataclass(frozen=True, slots=True)
class View:
    """A window: its size in CSS pixels, which are the picture's, and its colours."""

    width: int
    height: int
    colours: Literal["light", "dark"]


VIEWS: Mapping[str, View] = {"page": View(1280, 1020, "light"), "phone": View(390, 844, "dark")}


def find_chromium() -> str:
    """Return the system's Chromium.

    Raises:
        ScriptError: there is none.
    """
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise ScriptError("there is no Chromium to take pictures with (Debian: apt-get install chromium)")


def require_synthetic(bundle: Path) -> None:
    """Check that the model was not trained on real data.

    Raises:
        ScriptError: it does, or may.
    """
    data = read_bundle(bundle).json(CARD)["data"]
    if data["synthetic"] is not True:
        raise ScriptError(f"{bundle} was trained on {data['name']}; pictures are of the synthetic sample only")


def take(url: str, folder: Path) -> list[Path]:
    """Take every picture of ``VIEWS`` of the service at ``url``.

    Returns:
        The files written, ``<view>.png`` in ``folder``.

    Raises:
        ScriptError: there is no browser, the page does not come or does not answer, or a picture is too large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        # In a container Chromium has no sandbox of its own.
        arguments = ["--no-sandbox", "--disable-background-networking", "--no-proxy-server", "--disable-dev-shm-usage"]
        try:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
            pictures = {name: _picture(browser, url, view) for name, view in VIEWS.items()}
        except (Error, AssertionError) as error:
            raise ScriptError(f"{url}: {error}") from error
    for name, picture in pictures.items():
        if len(picture) > LARGEST_PICTURE:
            raise ScriptError(f"{name}.png would have {len(picture):,} bytes; the limit is {LARGEST_PICTURE:,}")
    return [_write(folder / f"{name}.png", picture) for name, picture in pictures.items()]


def _picture(browser: Browser, url: str, view: View) -> bytes:
    size = {"width": view.width, "height": view.height}
    page = browser.new_page(viewport=size, color_scheme=view.colours, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(url, wait_until="networkidle")
    typical = page.locator("#prediction").text_content() or ""
    page.get_by_role("button", name=START).click()
    expect(page.locator("#prediction")).not_to_have_text(typical)
    expect(page.locator("#answer.waiting")).to_have_count(0)
    if page.locator("#bar").is_visible():  # the answer is further down
        page.locator("#bar").click()
        expect(page.locator("#answer")).to_be_in_viewport(ratio=0.5)
    page.mouse.move(0, 0)
    return page.screenshot()


def _write(path: Path, content: bytes) -> Path:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    return new.replace(path)


def run(project: Project, package: Package, bundle: Path, folder: Path) -> list[Path]:
    """Serve the sources with the model in ``bundle`` and take the pictures.

    Raises:
        ScriptError: something failed; the text says what to do.
    """
    require_synthetic(bundle)
    port = free_port()
    command = [sys.executable, "-c", _SERVE, package.model, str(port)]
    with tempfile.TemporaryDirectory() as bundles:
        Path(bundles, package.model).symlink_to(bundle.resolve())
        serving = {"MODEL_DIR": bundles, "LOG_LEVEL": "warning"}
        with child(command, cwd=project.root / "packages/ml_api", env=quiet_environment() | serving) as service:
            wait_until_ready(service, f"127.0.0.1:{port}")
            return take(f"http://127.0.0.1:{port}/", folder)


@script("screenshot")
def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        "screenshot.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=FOLDER, help="where the pictures go (default: docs/images)")
    parser.add_argument("--model", help="name of the model (default: the bundle's, or README's example)")
    parser.add_argument("--bundle", type=Path, help="of a model of the sample, to train none")
    options = parser.parse_args(arguments)
    project = project or Project()
    find_chromium()
    with tempfile.TemporaryDirectory() as temporary:
        models = [package for package in project.models(options.model) if has_sample(package)]
        if not models:
            raise ScriptError("no package under packages/ has a synthetic sample; pictures are of one only")
        bundle = options.bundle or Path(temporary, "bundle")
        wanted = options.model or (read_bundle(bundle).json(CARD)["model"] if options.bundle else EXAMPLE)
        package = next((one for one in models if one.model == wanted), models[0])
        if options.bundle is None:
            train(package, None, "--bundle", bundle)
        for path in run(project, package, bundle, options.output):
            print(f"{path} ({path.stat().st_size:,} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
