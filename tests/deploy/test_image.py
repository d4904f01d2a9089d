import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any


def kept_in_context(root: Path) -> list[str]:
    """Names that .dockerignore lets through."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    return [pattern[1:] for pattern in patterns if pattern.startswith("!")]


def left_out(root: Path) -> list[str]:
    """Paths inside of what is kept that .dockerignore takes out again."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "/" in line and not line.startswith(("#", "**"))]


def test_the_build_context_holds_the_package_and_little_else(root: Path, project: dict[str, Any]) -> None:
    files = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    included = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert set(kept_in_context(root)) == files | {pattern.removesuffix("*") for pattern in included}


def test_the_package_made_from_the_context_is_whole(root: Path, tmp_path: Path) -> None:
    """What the images install has every file of every room, code or not."""
    context = tmp_path / "context"
    context.mkdir()
    for name in kept_in_context(root):
        if (root / name).is_dir():
            shutil.copytree(root / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, context)
    for name in left_out(root):
        shutil.rmtree(context / name)
    files = {str(path.relative_to(context)) for path in context.glob("*/**/*") if path.is_file()}

    options = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", tmp_path]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, context], check=True)

    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == files


def test_images_are_installed_with_extras_that_exist(
    dockerfile: list[tuple[str, str]], project: dict[str, Any]
) -> None:
    runs = " ".join(rest for word, rest in dockerfile if word == "RUN")
    assert re.findall(r"\.\[(.+?)\]", runs) == ["loadtest", "train,cpu", "${DEVICE}"]
    assert ("ARG", "DEVICE=cpu") in dockerfile
    assert {"cpu", "gpu", "loadtest", "train"} <= set(project["project"]["optional-dependencies"])


def test_every_image_that_runs_has_a_numeric_user_who_is_not_root(dockerfile: list[tuple[str, str]]) -> None:
    stages: dict[str, list[str]] = {}
    for word, rest in dockerfile:
        if word == "FROM":
            stage = stages.setdefault(rest.split(" AS ")[1], [])
        elif word in {"USER", "ENTRYPOINT"}:
            stage.append(rest if word == "USER" else word)
    assert {name: steps for name, steps in stages.items() if steps} == {
        "loadtest": ["10001", "ENTRYPOINT"],
        "train": ["10001", "ENTRYPOINT"],
        "service": ["10001", "ENTRYPOINT"],
    }


def test_what_is_copied_from_the_context_exists(root: Path, dockerfile: list[tuple[str, str]]) -> None:
    copied = [
        rest.split()[0] for word, rest in dockerfile if word == "COPY" and not rest.startswith("--from")
    ]
    assert copied
    assert all((root / source).exists() for source in copied)


def test_the_service_reports_to_nobody(image_environment: dict[str, str]) -> None:
    assert image_environment["ORT_DISABLE_TELEMETRY"] == "1"
