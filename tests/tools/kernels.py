"""Every Triton kernel compiled for GPUs that need not be there: `python -m tests.tools.kernels`.

A line for each: the registers of a thread, and the bytes that did not fit into them.
"""

from __future__ import annotations

import argparse
import inspect
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from cotrain_losses.terms import triton_masses, triton_rows
from cotrain_losses.terms.mmd import triton_means
from cotrain_losses.terms.transport import triton_solve
from cotrain_losses.terms.transport.launched import PASSES, TILES

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
DOUBLE = {"C", "POT", "V", "PARTS", "STAT", "SUMS"}
NUMBERS = {"eps", "per_a", "per_b", "tolerance", "scale", "square", "factor"}
MEANS = {"MEDIAN": True, "DISTINCT": True, "ENERGY": False, "GIVEN": False, "TILE": 64}
Variant = tuple[Any, int, dict[str, Any]]


def variants(tiles: list[int]) -> list[Variant]:
    """(kernel, warps, sizes) as they are launched; one of `solve` for each width, two for the rows' two types."""
    read: list[Variant] = [
        (triton_rows.distances, 8, {"WITHIN": True, "CLEAR": 6144, "TILE": 16, "STEP": 32}),
        (triton_rows.pull, 4, {"WITHIN": True, "TILE": 32, "STEP": 32}),
    ]
    fixed: list[Variant] = [
        (triton_masses.normalise, 4, {"BLOCK": 1024}),
        *read,
        *[(kernel, warps, sizes | {"Z": "*bf16"}) for kernel, warps, sizes in read],
        (triton_means.count_digits, 8, {"LEVEL": 0, "TILE": 64}),
        (triton_means.count_digits, 8, {"LEVEL": 2, "TILE": 64}),
        (triton_means.weigh, 8, MEANS),
        (triton_means.weigh, 8, MEANS | {"ENERGY": True, "GIVEN": True, "DISTINCT": False}),
    ]
    sizes = {"ONES": False, "LINEAR": False, "POOLED": True, "PASSES": PASSES}
    return fixed + [
        (triton_solve.solve, warps, sizes | {"ROWS": rows, "M": wide})
        for wide, (warps, rows) in TILES.items()
        if wide in tiles
    ]


def compiled(kernel: Any, warps: int, sizes: dict[str, Any], capability: int) -> tuple[int, int]:
    """The registers of a thread, and the bytes of its stack."""
    given, sizes = sizes.get("Z"), {name: size for name, size in sizes.items() if name != "Z"}
    names = [name for name in inspect.signature(kernel.fn).parameters if name not in sizes]
    signature = {name: type_of(name) for name in names} | dict.fromkeys(sizes, "constexpr")
    signature |= {} if given is None else {"Z": given}
    source = ASTSource(fn=kernel, signature=signature, constexprs=sizes)
    target = GPUTarget("cuda", capability, 32)
    made = triton.compile(source, target=target, options={"num_warps": warps, "enable_fp_fusion": True})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        told = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True)
    registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", told.stdout)[-1]
    return int(registers), int(stack)


def type_of(name: str) -> str:
    """The type that a parameter has in Triton's words."""
    if name in ("HIST", "ZERO"):
        return "*i32"
    if name == "ENOUGH":
        return "*i1"
    if name.isupper():
        return "*fp64" if name in DOUBLE else "*fp32"
    return "fp32" if name in NUMBERS else "i32"


def main() -> None:
    """Compile all and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiles", type=int, nargs="+", default=[16, 32, 64, 128, 256, 512])
    cases = [(*variant, capability) for capability in (80, 90) for variant in variants(parser.parse_args().tiles)]
    spilled = 0
    for kernel, warps, sizes, capability in cases:
        registers, stack = compiled(kernel, warps, sizes, capability)
        spilled += stack > 0
        print(f"{kernel.__name__} {sizes} sm_{capability}: {registers} registers, {stack} bytes of stack", flush=True)
    print(f"{len(cases)} of {len(cases)} kernels compile, {spilled} spill")
    sys.exit(spilled > 0)


if __name__ == "__main__":
    main()
