"""The notebook of a whole run: `make notebook` writes it and its page, and both still are of the script."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCRIPT, PAGE = ROOT / "examples/lerobot/sim_and_real.py", ROOT / "docs/sim-and-real.md"
CELLS = json.loads(SCRIPT.with_suffix(".ipynb").read_text())["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]
OUTPUTS = [output for cell in CODE for output in cell["outputs"]]


def as_script(cell: dict) -> str:
    """A cell as the script has it."""
    if cell["cell_type"] == "code":
        return f"# %%\n{cell['source']}"
    return "# %% [markdown]\n" + re.sub("^", "# ", cell["source"], flags=re.M).replace("# \n", "#\n")


def test_the_notebook_has_the_cells_of_the_script() -> None:
    script = re.sub(r"\n+(?=# %%)", "\n\n", SCRIPT.read_text())
    assert "\n\n".join(map(as_script, CELLS)) + "\n" == script, "run: make notebook"


def test_the_page_has_every_cell_and_output_of_the_notebook() -> None:
    page = PAGE.read_text()
    shown = [cell["source"] for cell in CELLS] + [out["text"] for out in OUTPUTS if out["output_type"] == "stream"]
    assert [text for text in shown if text not in page] == [], "run: make notebook"
    pictures = [PAGE.with_name(name).read_bytes() for name in re.findall(r"\]\((\S+\.png)\)", page)]
    drawn = [base64.b64decode(out["data"]["image/png"]) for out in OUTPUTS if "data" in out]
    assert len(pictures) >= 3
    assert pictures == drawn


def test_the_notebook_was_run_to_its_end_and_names_its_command() -> None:
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert CODE[-1]["outputs"], "the last cell draws the evaluation"
    assert "`make notebook`" in CELLS[0]["source"]
    assert "\nnotebook:" in (ROOT / "Makefile").read_text()


def test_the_outputs_name_no_folder_of_a_machine() -> None:
    said = "".join(out.get("text", "") for out in OUTPUTS)
    assert not re.findall(r"(?:/home|/root|/tmp|/work|/Users)/\S*", said)
