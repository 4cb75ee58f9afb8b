"""The command `tollgate`: its subcommands, what their help imports, and what is said of errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from commands.hydra_app.application import rewritten
from commands.main import SUBCOMMANDS, main
from commands.parsing import packages_of
from support.commands import ROOT, run_program, run_python

HEAVY = ("torch", "pandas", "pyarrow", "matplotlib", "wandb", "rich", "scipy", "sklearn", "fastapi")
SHARED = ("__init__", "__main__", "main", "application", "parsing", "errors")
"""Files of commands/ that are no subcommand."""


def test_a_subcommand_is_a_file_of_its_name() -> None:
    modules = {path.stem for path in (ROOT / "commands").glob("*.py")} - set(SHARED)
    assert {name.replace("-", "_") for name in SUBCOMMANDS} == modules


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_imports_nothing_heavy(name: str) -> None:
    code = (
        "import sys; from commands.main import main\n"
        "try: main([sys.argv[1], '--help'])\n"
        f"finally: print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    process = run_python("-c", code, name)
    *said, heavy = process.stdout.splitlines()
    assert heavy == "[]", process.stderr
    assert f"tollgate {name if name != 'plan' else 'run'}" in "\n".join(said)


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 0), (["--help"], 0), (["stats"], 2)], ids=["none", "help", "unknown"]
)
def test_the_subcommands_are_listed_with_a_line_each(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    printed = capsys.readouterr()
    lines = (printed.err if code else printed.out).splitlines()
    for name, what in SUBCOMMANDS.items():
        assert sum(line.split(maxsplit=1) == [name, what] for line in lines) == 1
    assert ("Did you mean status?" in printed.err) == (arguments == ["stats"])


@pytest.mark.parametrize("script", ["run.py", "serve.py"])
def test_the_scripts_are_the_subcommands(script: str) -> None:
    by_script = run_python(script, "--help")
    by_command = run_python("-m", "commands", script.removesuffix(".py"), "--help")
    assert by_script.returncode == 0 and by_script.stdout == by_command.stdout
    assert by_script.stdout.count("tollgate") >= 2


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["run", "attack=knockoff"], "sweeps"),
        (["report", "."], "sweeps"),
        (["status", "."], "sweeps"),
        (["replay", "trace.parquet"], "sweeps"),
        (["hash-rate"], "sweeps"),
        (["accounts", "add", "me", "--ledger", "redis://127.0.0.1:1/0"], "gate"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_what_brings_it(
    arguments: list[str], extra: str, tmp_path: Path
) -> None:
    """In an installation that has what the client needs alone."""
    absent = (*HEAVY, "hydra", "omegaconf", "redis", "psutil", "submitit")
    code = (
        f"import sys, json\nsys.modules.update(dict.fromkeys({absent!r}))\n"
        "from commands.main import main\nsys.exit(main(json.loads(sys.argv[1])))"
    )
    (tmp_path / ".tollgate").mkdir()
    (tmp_path / ".tollgate" / "plan.json").write_text("{}")
    process = run_python("-c", code, json.dumps(arguments), folder=tmp_path, PYTHONPATH=str(ROOT))
    assert process.returncode == 1
    assert process.stderr.startswith("error: the package ") and process.stderr.count("\n") == 1
    assert f"pip install 'tollgate[{extra}]'" in process.stderr


def test_only_missing_packages_are_put_so() -> None:
    with pytest.raises(ImportError, match="cannot import name"), packages_of("sweeps"):
        from commands.main import nothing_of_that_name  # type: ignore[attr-defined] # noqa: F401


def test_the_client_needs_few_packages() -> None:
    """Whatever `gate.client` imports comes with the bare distribution."""
    code = (
        "import sys, gate.client, pow.puzzles\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))"
    )
    process = run_python("-c", code)
    brought = {"httpx", "httpcore", "h11", "anyio", "sniffio", "certifi", "idna", "numpy", "argon2", "cffi"}
    ours = {"gate", "pow", "storage", "__main__"}
    others = {name for name in process.stdout.split() if not name.startswith("_")} - brought - ours
    # httpx takes these where they happen to be installed.
    optional = {"click", "rich", "pygments", "socksio", "brotli", "zstandard", "typing_extensions"}
    assert others <= optional | {"sitecustomize", "distutils-precedence", "argon2", "exceptiongroup"}, others
    assert not {"torch", "pydantic", "scipy", "pandas", "hydra"} & set(process.stdout.split())


@pytest.mark.slow  # a process of its own
def test_one_cell_is_planned_and_not_run(tmp_path: Path) -> None:
    paths = [f"paths.store={tmp_path}/store", f"hydra.run.dir={tmp_path}/run", "logger=none"]
    for command in (["plan"], ["run", "--dry-run"]):
        process = run_program("-m", "commands", *command, "attack=knockoff", *paths)
        assert process.returncode == 0, process.stderr
        assert "1 cell, 0 of them done" in process.stdout
        assert "knockoff on digits: 1 cell, 1 to do" in process.stdout
        assert f"results go to {tmp_path}/run" in process.stdout
        assert "training" not in process.stdout
        assert not list(tmp_path.rglob("*.json")) and not (tmp_path / "run").exists()


def test_a_cell_that_cannot_work_is_refused_by_its_plan(tmp_path: Path) -> None:
    paths = [f"paths.store={tmp_path}/store", f"hydra.run.dir={tmp_path}/run"]
    process = run_program("-m", "commands", "plan", "attack.budget=5000", *paths)
    assert process.returncode == 1
    assert "is more than the 697 images" in process.stderr and "Traceback" not in process.stderr


def test_a_config_and_an_attack_of_ones_own(tmp_path: Path) -> None:
    """A folder beside conf/, and a module in the folder where the command is given."""
    (tmp_path / "my_conf" / "attack").mkdir(parents=True)
    (tmp_path / "my_conf" / "attack" / "mine.yaml").write_text(
        "name: mine\nrule: {_target_: my_attack.Mine}\n"
    )
    (tmp_path / "my_attack.py").write_text(
        "from extraction.attacks.standard import Standard\n\n\nclass Mine(Standard):\n    pass\n"
    )
    arguments = ("plan", "-m", "attack=mine,standard", "logger=none", "--config-dir", "my_conf")
    process = run_program("-m", "commands", *arguments, folder=tmp_path, PYTHONPATH=str(ROOT))
    assert process.returncode == 0, process.stderr
    assert "mine on digits: 1 cell, 1 to do" in process.stdout
    wrong = ("run", "attack=mine", "attack.budgt=3", "--config-dir", "my_conf")
    process = run_program("-m", "commands", *wrong, folder=tmp_path, PYTHONPATH=str(ROOT))
    assert process.returncode == 1 and "Did you mean attack.budget?" in process.stderr


def test_the_folder_of_the_command_comes_last(tmp_path: Path) -> None:
    """So that nothing in it hides a package of ours."""
    code = (
        "import sys; from commands.hydra_app.application import run_application\n"
        "run_application('run', 'config', lambda config: None, ['--cfg', 'job'])\n"
    )
    process = run_python("-c", code + "print(sys.path[-1])", folder=tmp_path, PYTHONPATH=str(ROOT))
    assert process.stdout.splitlines()[-1] == str(tmp_path), process.stderr
    assert sys.path[-1] != str(tmp_path)


def test_overrides_and_flags_come_in_any_order() -> None:
    given = ["-m", "a=1", "--config-dir", "x=y", "~b", "--cfg", "job", "+c=[1,2]"]
    assert rewritten(given) == ["a=1", "~b", "+c=[1,2]", "-m", "--config-dir", "x=y", "--cfg", "job"]


@pytest.mark.parametrize(("name", "what"), [("run", "goes on where this stopped"), ("report", "begins anew")])
def test_an_interrupt_is_one_sentence_with_the_command_to_give_again(
    name: str, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"commands.{name}.main", interrupted)
    with pytest.raises(SystemExit) as exit:
        main([name, "a b"])
    assert exit.value.code == 130
    assert capsys.readouterr().err == f"error: interrupted; tollgate {name} 'a b' {what}\n"


def test_a_value_in_the_home_folder_is_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    given = ["paths.store=~/x", "+a.b='~/y z'", "paths.data=~", "defense=none", "~logger", "a=x~/y"]
    home = "/home/somebody"
    assert rewritten(given) == [
        *(f"paths.store={home}/x", f"+a.b='{home}/y z'", f"paths.data={home}"),
        *("defense=none", "~logger", "a=x~/y"),
    ]
