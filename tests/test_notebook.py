"""Notebooks of whole runs: a make target writes each and its page, and all are still of their scripts."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parent.parent


class Run(NamedTuple):
    """A script, its page, and the command that writes page and notebook."""

    script: Path
    page: Path
    target: str

    def cells(self) -> list[dict[str, Any]]:
        return json.loads(self.script.with_suffix(".ipynb").read_text())["cells"]

    def code(self) -> list[dict[str, Any]]:
        return [cell for cell in self.cells() if cell["cell_type"] == "code"]

    def outputs(self) -> list[dict[str, Any]]:
        return [output for cell in self.code() for output in cell["outputs"]]


RUNS = [
    Run(ROOT / "examples" / script, ROOT / "docs" / page, target)
    for script, page, target in (
        ("lerobot/sim_and_real.py", "sim-and-real.md", "notebook"),
        ("robomimic/from_a_file.py", "robomimic-run.md", "notebook-robomimic"),
        ("diffusion_policy/workspace.py", "diffusion-policy-run.md", "notebook-diffusion-policy"),
    )
]
each_run = pytest.mark.parametrize("run", RUNS, ids=lambda run: run.page.stem)


def as_script(cell: dict[str, Any]) -> str:
    """A cell as the script has it."""
    if cell["cell_type"] == "code":
        return f"# %%\n{cell['source']}"
    return "# %% [markdown]\n" + re.sub("^", "# ", cell["source"], flags=re.M).replace("# \n", "#\n")


def test_every_script_of_a_whole_run_is_tested_here() -> None:
    scripts = {path for path in (ROOT / "examples").glob("*/*.py") if "# %%" in path.read_text()}
    assert scripts == {run.script for run in RUNS}


@each_run
def test_the_notebook_has_the_cells_of_the_script(run: Run) -> None:
    script = re.sub(r"\n+(?=# %%)", "\n\n", run.script.read_text())
    assert "\n\n".join(map(as_script, run.cells())) + "\n" == script, f"run: make {run.target}"


@each_run
def test_the_page_has_every_cell_and_output_of_the_notebook(run: Run) -> None:
    page = run.page.read_text()
    shown = [cell["source"] for cell in run.cells()]
    shown += [out["text"] for out in run.outputs() if out["output_type"] == "stream"]
    assert [text for text in shown if text not in page] == [], f"run: make {run.target}"
    pictures = [run.page.with_name(name).read_bytes() for name in re.findall(r"\]\((\S+\.png)\)", page)]
    drawn = [base64.b64decode(out["data"]["image/png"]) for out in run.outputs() if "data" in out]
    assert len(pictures) == sum(cell["source"].count("plt.show()") for cell in run.code()) > 0
    assert pictures == drawn


@each_run
def test_the_notebook_was_run_to_its_end_and_names_its_command(run: Run) -> None:
    assert [cell["execution_count"] for cell in run.code()] == list(range(1, len(run.code()) + 1))
    assert run.code()[-1]["outputs"], "the last cell draws the evaluation"
    assert f"`make {run.target}`" in run.cells()[0]["source"]
    assert f"\n{run.target}:" in (ROOT / "Makefile").read_text()


@each_run
def test_the_outputs_name_no_folder_of_a_machine(run: Run) -> None:
    said = "".join(out.get("text", "") for out in run.outputs())
    assert not re.findall(r"(?:/home|/root|/tmp|/work|/Users)/\S*", said)
