"""The result of a profile, as the stage would leave it, with numbers of a realistic size."""

from typing import Any

PHASES = {"data": 0.0006, "forward": 0.151, "backward": 0.294, "clipping": 0.0031, "optimizer": 0.0712}
GROUPS = {
    "matmul": 0.31,
    "attention": 0.082,
    "normalisation": 0.03,
    "loss": 0.021,
    "elementwise": 0.024,
    "copies": 0.007,
    "optimizer": 0.0741,
    "other": 0.0129,
}
WEIGHTS = (
    ("unembedding", (4096, 192), 6.44e9),
    ("query, key, value, output", (192, 192), 7.25e9),
    ("gate, up", (512, 192), 9.66e9),
    ("down", (192, 512), 4.83e9),
)


def result(*others: str, decoder: bool = True) -> dict[str, Any]:
    """Of one variant, "compiled", and of others."""
    return {
        "seconds": 41.7,
        "tokens": "random",
        "model": "decoder" if decoder else "lstm",
        "parameters": 4_230_336,
        "batch_size": 16,
        "context_length": 256,
        "tokens_per_step": 4096,
        "flops_per_step": 99_052_683_264,
        "dtype": "bfloat16",
        "threads": 2,
        "roofs": {
            "peak_flops": 7.2e11,
            "copy": 6.1e10,
            "triad": 7.4e10,
            "bandwidth": 7.4e10,
            "dtype": "bfloat16",
            "width": 2048,
        },
        "variants": [variant("compiled", 1.0, decoder)] + [variant(name, 1.61, decoder) for name in others],
        "parts": parts(decoder),
        "dtypes": dtypes(),
    }


def dtypes() -> dict[str, Any]:
    moments = {"mean": "float32", "mean_square": "float32"}
    rows = [("embedding", "embedding", moments), ("matrices", "blocks.*.sequence.query", {"momentum": "float32"})]
    return {
        "precision": "bfloat16",
        "parameters": [
            {
                "role": role,
                "names": names,
                "tensors": 6,
                "numbers": 786_432,
                "weight": "bfloat16",
                "gradient": "bfloat16",
                "master": "float32",
                "moments": kept,
            }
            for role, names, kept in rows
        ],
        "computation": {"outputs of layers": {"bfloat16": 6}, "softmax": {"float32": 6}, "loss": {"float32": 1}},
    }


def variant(name: str, slower: float, decoder: bool) -> dict[str, Any]:
    step = spread(slower * sum(PHASES.values()))
    timed = [[slower * (1 + place / 100) * value for value in PHASES.values()] for place in range(10)]
    return {
        "name": name,
        "trace": "trace.json",
        "first_step_seconds": 13.25,
        "step": step,
        "timed_steps": timed,
        "phases": {phase: spread(slower * value) for phase, value in PHASES.items()},
        "tokens_per_second": 4096 / step["median"],
        "mfu": 0.2667 / slower,
        "traced_step_seconds": slower * sum(GROUPS.values()),
        "groups": {group: slower * value for group, value in GROUPS.items()},
        "matmul_share": 0.6821,
        "operations": operations(slower),
        "products": products(),
        "intensity": 83.4,
        "flops_per_second": 1.92e11,
        "share_of_roof": 0.267,
        "memory": memory(slower, decoder),
    }


def spread(seconds: float) -> dict[str, float]:
    return {"mean": 1.01 * seconds, "median": seconds, "deviation": 0.043 * seconds}


def operations(slower: float) -> list[dict[str, Any]]:
    names = (
        ("aten::mm", "matmul"),
        ("aten::bmm", "attention"),
        ("graph_0_cpp_fused__to_copy__unsafe_view_add_mul_sigmoid_view_3", "elementwise"),
        ("## Call CompiledFxGraph fcurhjz3xloky4hiiutxd5xb3w26yr35wq ##", "other"),
        ("between operations", "other"),
    )
    return [
        {
            "name": name,
            "group": group,
            "calls": 7.5 * (place + 1),
            "seconds": slower * 0.3 / 2**place,
            "product": place < 2,
        }
        for place, (name, group) in enumerate(names)
    ]


def products() -> list[dict[str, Any]]:
    kinds = [
        (weights, role, shape, flops)
        for weights, shape, flops in WEIGHTS
        for role in ("forward", "input gradient", "weight gradient")
    ]
    kinds += [("attention", "forward", None, 3.02e9), ("attention", "backward", None, 6.04e9)]
    kinds += [("optimizer", "optimizer", None, 1.316e10)]
    listed = []
    for place, (weights, role, shape, flops) in enumerate(kinds):
        intensity, rate = 26.7 + 11.3 * (place // 3), 3.1e11 + 1.7e10 * place
        listed.append(
            {
                "weights": weights,
                "role": role,
                "shape": None if shape is None else list(shape),
                "calls": 6.0 + place,
                "flops": flops,
                "bytes": flops / intensity,
                "seconds": flops / rate,
                "intensity": intensity,
                "flops_per_second": rate,
                "share_of_roof": rate / 7.2e11,
            }
        )
    return listed


def memory(slower: float, decoder: bool) -> dict[str, Any]:
    predicted = {
        "weights": 8_460_672,
        "masters": 16_921_344,
        "moments": 23_225_856,
        "gradients": 8_460_672,
        "activations and logits": 303_841_280,
        "peak": 428_018_688,
    }
    rows = [
        {"part": part, "predicted": amount if decoder else None, "measured": int(amount * (1 + place * 0.007))}
        for place, (part, amount) in enumerate(predicted.items())
    ]
    times = [slower * 0.52 * place / 40 for place in range(41)]
    curve = [4.9e7 + 3.7e8 * (1 - abs(place - 14) / 27) for place in range(41)]
    return {
        "before": 317_988_864,
        "resident": timeline(times, [int(1.2e9 + value) for value in curve], slower),
        "tensors": timeline(times, [int(value) for value in curve], slower),
        "parts": rows,
    }


def timeline(times: list[float], values: list[int], slower: float) -> dict[str, Any]:
    phases, at = [], 0.0
    for phase, seconds in PHASES.items():
        phases.append({"phase": phase, "start": at, "end": at + slower * seconds})
        at += slower * seconds
    return {"peak": max(values), "seconds": times, "bytes": values, "phases": phases}


def parts(decoder: bool) -> list[dict[str, Any]]:
    listed = (
        ("embedding", 1, 0.0007, 0),
        ("attention", 6, 0.1043, 12_079_595_520),
        ("gated MLP", 6, 0.0562, 14_495_514_624),
        ("norms", 13, 0.0211, 0),
        ("between layers", 0, 0.0052, 0),
        ("unembedding and loss", 1, 0.0644, 6_442_450_944),
    )
    seconds, flops = sum(each[2] for each in listed), sum(each[3] for each in listed)
    return [
        {
            "name": name,
            "modules": modules,
            **spread(mean),
            "mean": mean,
            "share": mean / seconds,
            "flops": work if decoder else None,
            "flops_share": work / flops if decoder else None,
        }
        for name, modules, mean, work in listed
    ]
