"""What is installed: the wheel, the core without PyTorch, what is said where an extra misses."""

import json
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NoReturn

import pytest
from packaging.requirements import Requirement

import topout
from tests.conftest import REPOSITORY
from tests.distribution import build, copy_sources, install, link_package, outside, package_files
from topout.cli.dispatch import COMMANDS, NEEDS, _main
from topout.cli.signals import Ending
from topout.errors import MissingExtraError
from topout.extras import EXTRAS, has_extra, is_installed, missing_of, require

pytestmark = pytest.mark.seconds(60)

TRACE = REPOSITORY / "tests" / "golden" / "inputs" / "files"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    return build("wheel", copy_sources(folder / "sources"), folder / "wheels")


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment outside the checkout: the wheel and what it requires alone."""
    return install(wheel, tmp_path_factory.mktemp("core") / "env")


def asked(bin_folder: Path, folder: Path, line: str, **more: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of an installed `topout …`, run in `folder`."""
    done = subprocess.run(
        [str(bin_folder / "topout"), *line.split()],
        cwd=folder,
        env=outside(folder, **more),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    """Kernels, templates, catalog, bundled models and rules too, and no test."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == package_files()
    endings = {Path(name).suffix for name in names}
    assert endings >= {".py", ".pyi", ".cpp", ".h", ".json", ".safetensors", ".md", ".j2", ".toml"}


def test_a_file_that_is_no_package_data_is_missed(tmp_path: Path) -> None:
    """The comparison above sees a data file that pyproject.toml forgets."""
    sources = copy_sources(tmp_path / "sources")
    text = (sources / "pyproject.toml").read_text()
    (sources / "pyproject.toml").write_text(text.replace('"kernels/src/*",', ""))
    with zipfile.ZipFile(build("wheel", sources, tmp_path / "wheels")) as archive:
        lost = package_files() - set(archive.namelist())
    assert lost and all("kernels/src/" in name for name in lost)


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", copy_sources(tmp_path / "sources"), tmp_path / "sdists")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    again = build("wheel", unpacked, tmp_path / "wheels")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert {each.filename: each.CRC for each in one.infolist()} == {
            each.filename: each.CRC for each in other.infolist()
        }


def test_the_environment_is_its_own_and_has_no_pytorch(core: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.metadata, importlib.util, topout\n"
        "print(topout.__file__, topout.__version__, importlib.metadata.version('topout'))\n"
        "print([importlib.util.find_spec(name) for name in ('torch', 'transformers', 'pytest')])\n"
    )
    done = subprocess.run(
        [str(core / "python"), "-c", code],
        cwd=tmp_path,
        env=outside(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    where, version, of_metadata = done.stdout.splitlines()[0].split()
    assert Path(where).is_relative_to(core.parent) and not Path(where).is_relative_to(REPOSITORY)
    assert version == of_metadata == topout.__version__
    assert done.stdout.splitlines()[1] == "[None, None, None]"


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_needs_no_extra(name: str, core: Path, tmp_path: Path) -> None:
    status, out, err = asked(core, tmp_path, f"{name} --help")
    assert status == 0 and out.startswith("Usage: topout") and err == ""


def test_cost_needs_no_extra(core: Path, tmp_path: Path) -> None:
    status, out, err = asked(core, tmp_path, "cost gpt2 --on h200 --json - --report cost.html")
    assert status == 0, err
    assert json.loads(out)["kind"] == "cost" and (tmp_path / "cost.html").stat().st_size > 10_000
    assert asked(core, tmp_path, "cost list")[1].count("\n") > 30
    assert asked(core, tmp_path, "cost")[0] == 0  # the bundled model's config lies in the wheel


def test_trace_needs_no_extra(core: Path, tmp_path: Path) -> None:
    shutil.copy(TRACE / "kineto.json", tmp_path / "trace.json")
    status, out, err = asked(core, tmp_path, "trace trace.json --json -")
    assert status == 0, err
    assert json.loads(out)["kind"] == "trace"


def test_machine_measures_natively_and_says_what_pytorch_would_add(
    core: Path, tmp_path: Path, fresh_cache: Path
) -> None:
    """Without a compiler either, nothing can be measured, and the remedy is one."""
    has_compiler = any(map(shutil.which, ("g++", "c++", "clang++")))
    status, out, err = asked(core, tmp_path, "machine --quick --json -")
    if has_compiler:
        assert status == 0, err
        record = json.loads(out)
        assert record["machine"]["torch"] is None
        assert record["machine"]["reasons"]["torch"] == "PyTorch is not installed"
        reasons = record["ceilings"]["reasons"]
        assert reasons["overheads.torch_op"] == "PyTorch is not installed"
        assert record["ceilings"]["compute"] and record["ceilings"]["bandwidth"]
    status, _, err = asked(core, tmp_path, "machine --refresh --quick", CXX="/no/such/compiler")
    assert status == 2 and "/no/such/compiler" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("name", NEEDS)
def test_a_verb_that_lacks_its_extra_says_how_to_get_it(
    name: str, core: Path, tmp_path: Path
) -> None:
    more = {"climb resume": "folder", "train": "--generated"}.get(name, "")
    status, out, err = asked(core, tmp_path, f"{name} {more}")
    extra = NEEDS[name]
    said = f"topout: {name} needs PyTorch. Install it with: pip install 'topout[{extra}]'\n"
    assert (status, out, err) == (2, "", said)
    assert not (tmp_path / "runs").exists()


def test_a_function_that_lacks_its_extra_says_how_to_get_it(core: Path, tmp_path: Path) -> None:
    code = """
import topout
topout.read
try:
    topout.climb
except topout.TopoutError as error:
    print(error)
"""
    done = subprocess.run(
        [str(core / "python"), "-c", code],
        cwd=tmp_path,
        env=outside(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("topout.climb needs PyTorch. Install it with: pip install")


def test_an_input_that_lacks_its_extra_says_how_to_get_it(core: Path, tmp_path: Path) -> None:
    """Names of the hub alone, of what `cost` takes, and the GPU, of what `machine` measures."""
    for line in ("cost nobody/nothing", "machine --device cuda"):
        status, _, err = asked(core, tmp_path, line)
        assert status == 2 and "pip install 'topout[climb]'" in err and len(err.splitlines()) == 1


def test_the_next_package_of_an_extra_is_asked_for_as_well(wheel: Path, tmp_path: Path) -> None:
    """With PyTorch and without transformers: that one is named."""
    environment = install(wheel, tmp_path / "env")
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    link_package("torch", packages)
    status, _, err = asked(environment, tmp_path, "climb")
    assert status == 2 and "climb needs transformers. Install it with: pip install" in err


def test_extras_are_those_of_the_distribution() -> None:
    """The table that is looked at while running and pyproject.toml tell the same."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        assert {Requirement(each).name for each in optional[extra]} == set(packages)
    assert optional["all"] == [f"topout[{','.join(EXTRAS)}]"]
    core = {Requirement(each).name for each in project["dependencies"]}
    assert not core & {package for packages in EXTRAS.values() for package in packages}


def test_a_package_is_looked_for_and_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed("json") and not is_installed("no_such_package")
    monkeypatch.setitem(EXTRAS, "climb", ("json", "no_such_package"))  # type: ignore[misc]
    assert not has_extra("climb")
    with pytest.raises(MissingExtraError, match="climb needs no_such_package"):
        require("climb", "climb")
    monkeypatch.setitem(EXTRAS, "climb", ("json",))  # type: ignore[misc]
    require("climb", "climb")


def test_other_imports_that_fail_are_faults_of_their_own() -> None:
    error = ModuleNotFoundError("No module named 'mine'", name="mine")
    assert missing_of(error, "climb") is None
    error = ModuleNotFoundError("…", name="tokenizers.decoders")
    assert str(missing_of(error, "train")).startswith("train needs tokenizers. Install it with:")


@pytest.mark.parametrize(
    ("module", "raised", "words"),
    [
        ("tokenizers.decoders", MissingExtraError, "machine needs tokenizers. Install it with"),
        ("mine", ModuleNotFoundError, "No module named 'mine'"),
    ],
)
def test_what_only_some_inputs_need_is_told_by_the_verb(
    module: str, raised: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import that fails in the midst of a verb, of an extra and of somebody's own."""

    def report(*_: object, **__: object) -> NoReturn:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("topout.verbs.report_machine.report_machine", report)
    with pytest.raises(raised, match=words):
        _main(["machine"], Ending())


def test_a_package_that_is_blocked_counts_as_absent(tmp_path: Path) -> None:
    """An import that is refused, by a finder of somebody's own, is no crash either."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'transformers'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    paths = f"{tmp_path}:{REPOSITORY / 'src'}"
    for line, status in (("cost gpt2 --on h200", 0), ("machine --describe-only", 0), ("run", 2)):
        done = subprocess.run(
            [sys.executable, "-m", "topout", *line.split()],
            cwd=tmp_path,
            env=outside(tmp_path, PYTHONPATH=paths),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
