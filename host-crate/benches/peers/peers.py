"""What else computes C = silu(A·B1ᵀ) ⊙ (A·B2ᵀ) on an NVIDIA GPU, timed as `nvfp4-dual-gemm bench` times its own kernel.

    torch-bf16-eager   two products of torch, then silu and a product, a kernel each
    torch-bf16-fused   one product of A with [B1; B2], then silu and the product in one kernel
    torch-fp8          the same with e4m3 operands, one scale factor a tensor, and fast accumulation
    triton             one kernel for both products and the rest, bf16, tuned for each shape

A is M×K, B1 and B2 are N×K, C is M×N in bf16. Each peer gets operands in its own format in advance.

`bench --against` runs this program and talks to it in lines of JSON, one request a line on standard input and one
answer a line on standard output. By hand:

    echo '{"peers": ["triton"], "m": 16, "n": 4096, "k": 7168, "sets": 7, "rounds": 8, "replays": 100,
           "warm_up_ms": 50}' | tr -d '\\n' | python3 peers.py

Times are in microseconds.
"""

import ctypes
import json
import os
import sys
import traceback

# Answers go to the standard output as it was; whatever libraries print goes to standard error.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(message):
    print(json.dumps(message), file=answers, flush=True)


try:
    import torch
    import torch.nn.functional as F
    import triton
    import triton.language as tl
except ImportError as error:
    answer({"missing_module": error.name or str(error)})
    sys.exit(1)

# ---------------------------------------------------------------------------------------------------------------------
# Kernels


@triton.jit
def empty_kernel():
    pass


@triton.jit
def silu_mul_kernel(x_ptr, c_ptr, N, BLOCK: tl.constexpr):
    """One block of a row of C from the same block of both halves of a row of X, [M, 2N]."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < N
    gate = tl.load(x_ptr + row * 2 * N + column, mask=inside).to(tl.float32)
    up = tl.load(x_ptr + row * 2 * N + N + column, mask=inside).to(tl.float32)
    c = gate * tl.sigmoid(gate) * up
    tl.store(c_ptr + row * N + column, c.to(c_ptr.dtype.element_ty), mask=inside)


# Rows and columns of a tile, K of a step, warps, stages of the pipeline.
TILES = [
    (16, 16, 256, 4, 4),
    (16, 32, 128, 4, 6),
    (16, 32, 256, 4, 4),
    (16, 64, 128, 4, 5),
    (32, 32, 256, 4, 4),
    (32, 64, 128, 4, 5),
    (64, 32, 128, 4, 5),
    (64, 64, 64, 4, 6),
    (64, 64, 128, 4, 4),
    (128, 32, 128, 4, 4),
    (128, 64, 64, 4, 5),
    (128, 64, 64, 8, 5),
    (128, 128, 64, 8, 3),
    (128, 128, 64, 8, 4),
    (256, 64, 64, 8, 4),
]


def fitting(configs, arguments, **_):
    """Those whose tile has as many rows as M, up to a factor of two."""
    rows = min(max(triton.next_power_of_2(arguments["M"]), 16), 256)
    return [config for config in configs if rows // 2 <= config.kwargs["BM"] <= rows]


@triton.autotune(
    [
        triton.Config({"BM": bm, "BN": bn, "BK": bk}, num_warps=warps, num_stages=stages)
        for bm, bn, bk, warps, stages in TILES
    ],
    key=["M", "N", "K"],
    prune_configs_by={"early_config_prune": fitting},
)
@triton.heuristics({"WHOLE_STEPS": lambda arguments: arguments["K"] % arguments["BK"] == 0})
@triton.jit(do_not_specialize=["M"])
def dual_gemm_kernel(
    a_ptr, b1_ptr, b2_ptr, c_ptr, M, N, K,
    WHOLE_STEPS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    # Tiles in bands of 8 rows of tiles, so that those that run at the same time share operands in the L2 cache.
    BAND: tl.constexpr = 8
    tiles_m = tl.cdiv(M, BM)
    in_band = BAND * tl.cdiv(N, BN)
    tile = tl.program_id(0)
    first_m = tile // in_band * BAND
    band_m = tl.minimum(tiles_m - first_m, BAND)
    row = (first_m + tile % in_band % band_m) * BM + tl.arange(0, BM)
    column = tile % in_band // band_m * BN + tl.arange(0, BN)

    # Rows beyond the end are read from the start; their products are not stored.
    k = tl.arange(0, BK)
    a = a_ptr + (row % M).to(tl.int64)[:, None] * K + k[None, :]
    b_offset = (column % N).to(tl.int64)[None, :] * K + k[:, None]
    b1 = b1_ptr + b_offset
    b2 = b2_ptr + b_offset
    gate = tl.zeros((BM, BN), tl.float32)
    up = tl.zeros((BM, BN), tl.float32)
    for done in range(0, K, BK):
        if WHOLE_STEPS:
            a_tile = tl.load(a)
            b1_tile = tl.load(b1)
            b2_tile = tl.load(b2)
        else:
            left = k < K - done
            a_tile = tl.load(a, mask=left[None, :], other=0.0)
            b1_tile = tl.load(b1, mask=left[:, None], other=0.0)
            b2_tile = tl.load(b2, mask=left[:, None], other=0.0)
        gate = tl.dot(a_tile, b1_tile, gate)
        up = tl.dot(a_tile, b2_tile, up)
        a += BK
        b1 += BK
        b2 += BK
    c = gate * tl.sigmoid(gate) * up
    c_tile = c_ptr + row.to(tl.int64)[:, None] * N + column[None, :]
    tl.store(c_tile, c.to(c_ptr.dtype.element_ty), mask=(row[:, None] < M) & (column[None, :] < N))


# ---------------------------------------------------------------------------------------------------------------------
# Peers: each a function that enqueues one call on a set of operands and returns C


class Bf16Operands:
    """A, [M, K], of standard normal values, and B, [2N, K], such that A·Bᵀ is standard normal too."""

    def __init__(self, m, n, k):
        def normal(rows):
            return torch.randn(rows, k, dtype=torch.bfloat16, device="cuda")

        self.a = normal(m)
        self.b = normal(2 * n) * k**-0.5
        self.b1, self.b2 = self.b[:n], self.b[n:]
        self.x = torch.empty(m, 2 * n, dtype=torch.bfloat16, device="cuda")
        self.c = torch.empty(m, n, dtype=torch.bfloat16, device="cuda")

    def exact(self):
        return self.a.float(), self.b.float()


class Fp8Operands(Bf16Operands):
    """The same in e4m3."""

    def __init__(self, m, n, k):
        super().__init__(m, n, k)
        self.a, self.a_scale = to_e4m3(self.a)
        self.b, self.b_scale = to_e4m3(self.b)
        del self.b1, self.b2, self.x

    def exact(self):
        return self.a.float() * self.a_scale, self.b.float() * self.b_scale


def to_e4m3(tensor):
    scale = tensor.abs().max().float() / torch.finfo(torch.float8_e4m3fn).max
    return (tensor.float() / scale).to(torch.float8_e4m3fn), scale


def silu_mul(x, c):
    m, n = c.shape
    block = 1024
    silu_mul_kernel[(m, triton.cdiv(n, block))](x, c, n, BLOCK=block)
    return c


def bf16_eager(operands):
    return F.silu(operands.a @ operands.b1.T) * (operands.a @ operands.b2.T)


def bf16_fused(operands):
    torch.mm(operands.a, operands.b.T, out=operands.x)
    return silu_mul(operands.x, operands.c)


def fp8_fused(operands):
    x = torch._scaled_mm(
        operands.a, operands.b.T, operands.a_scale, operands.b_scale, out_dtype=torch.bfloat16, use_fast_accum=True
    )
    return silu_mul(x, operands.c)


def triton_fused(operands):
    (m, k), n = operands.a.shape, operands.b1.shape[0]

    def grid(config):
        return (triton.cdiv(m, config["BM"]) * triton.cdiv(n, config["BN"]),)

    dual_gemm_kernel[grid](operands.a, operands.b1, operands.b2, operands.c, m, n, k)
    return operands.c


PEERS = {
    "torch-bf16-eager": (Bf16Operands, bf16_eager),
    "torch-bf16-fused": (Bf16Operands, bf16_fused),
    "torch-fp8": (Fp8Operands, fp8_fused),
    "triton": (Bf16Operands, triton_fused),
}

# ---------------------------------------------------------------------------------------------------------------------
# Timing, as bench/timing.rs and bench/mod.rs do it


class Graph:
    """What `enqueue` enqueues, captured; launched by the driver alone, without what torch does at each replay."""

    driver = ctypes.CDLL("libcuda.so.1")

    def __init__(self, stream, enqueue):
        self.stream = ctypes.c_void_p(stream.cuda_stream)
        self.captured = torch.cuda.CUDAGraph(keep_graph=True)
        with torch.cuda.stream(stream):
            self.captured.capture_begin()
            try:
                enqueue()
            finally:
                self.captured.capture_end()
        self.executable = ctypes.c_void_p()
        graph = ctypes.c_void_p(self.captured.raw_cuda_graph())
        self.call("cuGraphInstantiateWithFlags", ctypes.byref(self.executable), graph, ctypes.c_ulonglong(0))

    def launch(self):
        self.call("cuGraphLaunch", self.executable, self.stream)

    def call(self, name, *arguments):
        status = getattr(self.driver, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name} failed with CUDA error {status}")

    def destroy(self):
        self.call("cuGraphExecDestroy", self.executable)
        self.captured.reset()


class Stopwatch:
    def __init__(self, stream):
        self.stream = stream
        self.start = torch.cuda.Event(enable_timing=True)
        self.end = torch.cuda.Event(enable_timing=True)

    def time(self, graph):
        """Microseconds from the start of a graph to its end. The device is idle before and after."""
        self.start.record(self.stream)
        graph.launch()
        self.end.record(self.stream)
        self.stream.synchronize()
        return 1000.0 * self.start.elapsed_time(self.end)

    def warm_up(self, graphs, milliseconds):
        """Launches the graphs in turn until they have taken `milliseconds`, all of them at least once."""
        spent = 0.0
        while True:
            spent += sum(self.time(graph) for graph in graphs)
            if spent >= 1000.0 * milliseconds:
                return

    def sample(self, graphs, count, calls):
        return [self.time(graphs[turn % len(graphs)]) / calls for turn in range(count)]

    def measure(self, sequences, warm_up_ms, count, calls):
        graphs = [Graph(self.stream, sequence) for sequence in sequences]
        self.warm_up(graphs, warm_up_ms)
        samples = self.sample(graphs, count, calls)
        for graph in graphs:
            graph.destroy()
        return samples


def relative_error(call, operands):
    """‖C − exact‖ / ‖exact‖, with the product of the peer's own operands in f32 as the exact one."""
    n = operands.c.shape[1]
    operands.c.fill_(float("nan"))
    c = call(operands).float()
    a, b = operands.exact()
    x = a @ b.T
    exact = F.silu(x[:, :n]) * x[:, n:]
    return (torch.linalg.norm(c - exact) / torch.linalg.norm(exact)).item()


# bf16 between two kernels costs 2^-9; a kernel that leaves out a step of K = 64 errs by more than this.
LARGEST_ERROR = 0.02


def measure_peer(name, request, stream):
    make, call = PEERS[name]
    sets = [make(request["m"], request["n"], request["k"]) for _ in range(request["sets"])]
    error = relative_error(call, sets[0])
    if not error <= LARGEST_ERROR:
        raise RuntimeError(f"its result is wrong: the relative error is {error:.3}")
    for operands in sets:
        call(operands)
    stream.synchronize()

    stopwatch = Stopwatch(stream)
    singles = [lambda operands=operands: call(operands) for operands in sets]
    replay = stopwatch.measure(singles, request["warm_up_ms"], max(request["replays"], len(sets)), 1)

    def in_row():
        for _ in range(request["rounds"]):
            for operands in sets:
                call(operands)

    calls = request["rounds"] * len(sets)
    row = stopwatch.measure([in_row], request["warm_up_ms"], -(-request["replays"] // 4), calls)
    found = {"peer": name, "relative_error": error, "replay_us": replay, "in_row_us": row}
    if name == "triton":
        found["tuned"] = str(dual_gemm_kernel.best_config)
    return found


def measure_peers(request, stream):
    found = []
    for name in request["peers"]:
        try:
            found.append(measure_peer(name, request, stream))
        # One peer that cannot run a shape does not keep the others from it.
        except Exception as error:
            traceback.print_exc()
            found.append({"peer": name, "error": f"{type(error).__name__}: {error}"})
        torch.cuda.empty_cache()
    return {"peers": found}


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def describe(request, stream):
    """What this runs on, a launch's fixed cost, and the rate of a large bf16 product."""
    stopwatch = Stopwatch(stream)
    empty_kernel[(1,)]()
    empty = stopwatch.measure([lambda: empty_kernel[(1,)]()], 0.0, request["replays"], 1)
    size = request["arithmetic_size"]
    a = torch.randn(size, size, dtype=torch.bfloat16, device="cuda")
    product = torch.empty_like(a)
    torch.mm(a, a.T, out=product)
    large = stopwatch.measure(
        [lambda: torch.mm(a, a.T, out=product)], request["warm_up_ms"], request["replays"], 1
    )
    del a, product
    torch.cuda.empty_cache()
    return {
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cuda": torch.version.cuda,
        "empty_replay_us": empty,
        "arithmetic_flop": 2 * size**3,
        "arithmetic_us": large,
    }


def main():
    if not torch.cuda.is_available():
        answer({"error": "torch finds no CUDA device"})
        sys.exit(1)
    if not hasattr(torch.cuda.CUDAGraph, "raw_cuda_graph"):
        answer({"error": f"torch is {torch.__version__}; needed is 2.8 or later"})
        sys.exit(1)
    torch.manual_seed(0)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for line in sys.stdin:
            request = json.loads(line)
            answer(measure_peers(request, stream) if "peers" in request else describe(request, stream))


if __name__ == "__main__":
    main()
