"""What the fused log-mel kernel compiles to, for a GPU that need not be here.

    python -m tools.bench.fused_code

Counts of instructions are no times; they say what a processor has to issue, and where to look first.
"""

import argparse
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from shardkit.nn.fused import tables
from shardkit.nn.fused.kernel import log_mel_kernel

_POINTERS = ("audio", "window", "twiddles", "matrices", "scratch", "out")
_INTEGERS = ("num_tiles", "tiles_per_row", "time", "num_frames", "hop", "lead", "last")


@dataclass(frozen=True, kw_only=True)
class Code:
    """A compiled kernel: registers and spilled bytes a thread, shared bytes a program, and its instructions by name."""

    registers: int
    local: int
    shared: int
    frames: int
    num_warps: int
    instructions: Counter[str]


def compiled(n_fft: int, *, architecture: int = 90, n_mels: int = 80) -> Code:
    """Compile the kernel for a GPU of a compute capability (90: 9.0), as ``LogMel`` would."""
    shape = tables.shape_of(n_fft)
    assert shape is not None, f"the kernel does not transform {n_fft} samples"
    constants = {
        "N1": shape.n1,
        "N2": shape.n2,
        "CLASSES": shape.classes,
        "FRAMES": shape.frames,
        "BANDS": n_mels,
        "GROUP": tables.GROUP,
        "REFLECT": True,
        "MAGNITUDE": False,
        "LOG": True,
    }
    types = dict.fromkeys(_POINTERS, "*fp32") | dict.fromkeys(("bins", "widths"), "*i32")
    types |= dict.fromkeys(_INTEGERS, "i32") | {"floor": "fp32", "scale": "fp32"}
    signature = {name: types.get(name, "constexpr") for name in log_mel_kernel.arg_names}
    source = ASTSource(fn=log_mel_kernel, signature=signature, constexprs=constants)
    target = GPUTarget("cuda", architecture, 32)
    kernel = triton.compile(source, target=target, options={"num_warps": shape.num_warps})
    registers, local = _resources(kernel.asm["cubin"])
    names = re.findall(r"\t(?:@!?U?P\w+ )?([A-Z][A-Z0-9_]+)", kernel.asm["sass"])
    return Code(
        registers=registers,
        local=local,
        shared=kernel.metadata.shared,
        frames=shape.frames,
        num_warps=shape.num_warps,
        instructions=Counter(names),
    )


def _resources(binary: bytes) -> tuple[int, int]:
    """Return registers and bytes of the stack that a thread has."""
    program = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(binary)
        done = subprocess.run([program, "-res-usage", path], capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", done.stdout)
    assert found is not None, done.stdout
    return int(found[1]), int(found[2])


def main() -> None:
    """Print what each length compiles to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", type=int, default=90, help="compute capability, such as 80 or 90")
    architecture = parser.parse_args().architecture
    for n_fft in (400, 512, 1024, 2048):
        code = compiled(n_fft, architecture=architecture)
        issued = sum(code.instructions.values()) * code.num_warps / code.frames
        print(
            f"n_fft {n_fft}: {code.registers} registers, {code.local} bytes spilled, {code.shared} bytes shared, "
            f"{issued:.0f} instructions of a warp for each frame (both ways to read, bands once); the most frequent: "
            + ", ".join(f"{name} {count}" for name, count in code.instructions.most_common(8))
        )


if __name__ == "__main__":
    main()
