"""The wheel that users install: it builds, holds what it should, and works in an environment of its own."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, **given: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        env={**environment, **given},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone; the packages it depends on are lent by the one that runs the tests."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, with_pip=False)
    made = place / "bin" / "python" if os.name != "nt" else place / "Scripts" / "python.exe"
    run(sys.executable, "-m", "pip", "--python", made, "install", "--quiet", "--no-index", "--no-deps", wheel)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
    lent = Path(sysconfig.get_path("purelib"))
    (own / "lent.pth").write_text(f"import sys; sys.path.append({str(lent)!r})\n")
    return made


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
        entry = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "antiphon/py.typed" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"antiphon"}
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".so"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "antiphon = antiphon.cli:main" in entry
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert len(needed) <= 8, "a small core"


def test_the_installed_package_is_the_wheels(python: Path) -> None:
    place = run(python, "-c", "import antiphon; print(antiphon.__file__)").strip()
    assert Path(place).is_relative_to(python.parents[1])


def test_the_quickstart_runs_on_it(python: Path, tmp_path: Path) -> None:
    out = run(python, "-W", "error", ROOT / "examples" / "quickstart.py", ANTIPHON_STATE=str(tmp_path))
    assert "verified: True" in out


def test_the_command_runs_on_it(python: Path) -> None:
    assert "remember" in run(python.with_name("antiphon"), "--help", COLUMNS="100")
