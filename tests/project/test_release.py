"""What a release and a contributor rely on: versions that agree, and files that other programs read."""

import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*command: str | Path) -> None:
    """Runs a program, and shows what it says where it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_version():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[(.+?)\] - (unreleased|\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]


@pytest.mark.slow
def test_the_citation_is_one():
    schema = ("--builtin-schema", "vendor.citation-file-format")
    run(sys.executable, "-m", "check_jsonschema", *schema, ROOT / "CITATION.cff")


@pytest.mark.slow
def test_workflows_are_githubs():
    assert [path.stem for path in WORKFLOWS] == ["docs", "test", "wheels"]
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_runs_exists(path):
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    commands = "\n".join(step["run"] for job in jobs for step in job["steps"] if "run" in step)
    assert set(re.findall(r"\bmake (\w+)", commands)) <= targets()
    for file in re.findall(r"\b(?:tests|tools)/[\w/]+(?:\.(?:py|txt))?", commands):
        assert (ROOT / file).exists(), file
    extras = {extra for listed in re.findall(r'"\.\[([\w,]+)\]"', commands) for extra in listed.split(",")}
    assert extras <= PROJECT["optional-dependencies"].keys()


@pytest.mark.slow
def test_the_hooks_are_the_tools_of_make_lint():
    """They come from the environment of `make test`, so that pyproject.toml alone says their versions."""
    run(sys.executable, "-m", "pre_commit", "validate-config", ROOT / ".pre-commit-config.yaml")
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert all(hook["language"] == "system" for hook in repository["hooks"])
    assert all(entry.startswith(".venv/bin/") for entry in entries)
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    linters = re.findall(r"^\t\$\(BIN\)/([\w-]+(?: check| format)?)", recipe[1], re.MULTILINE)
    assert set(linters) == {"ruff check", "ruff format", "clang-format", "pyright"}
    for linter in linters:
        assert any(entry.startswith(f".venv/bin/{linter}") for entry in entries), linter


def targets() -> set[str]:
    """What `make` may be asked for."""
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    return set(phony[1].split())


def test_the_pages_and_the_help_name_what_make_does():
    pages = "\n".join((ROOT / page).read_text() for page in ("README.md", "CONTRIBUTING.md"))
    assert set(re.findall(r"\bmake (\w+)", "\n".join(re.findall(r"`+([^`]+)`+", pages)))) <= targets()
    help_ = set(re.findall(r'@echo "make (\w+) ', (ROOT / "Makefile").read_text()))
    assert help_ == targets() - {"help"}


def test_the_files_to_touch_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`([\w./]+/[\w.]*)`", text)) - {"dist/"}
    assert len(named) > 10
    for path in named:
        assert (ROOT / path).exists() or (ROOT / "jaxconv" / path).exists(), path


@pytest.mark.slow
def test_the_sdist_holds_what_a_wheel_is_built_from(tmp_path):
    program = "import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", program, tmp_path)
    (file,) = tmp_path.iterdir()
    with tarfile.open(file) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(["git", "ls-files", "jaxconv"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(tracked.stdout.split()) | {"pyproject.toml", "README.md", "LICENSE"} <= held
    assert not [name for name in held if name.endswith((".so", "unavailable.txt"))]
