"""Time and reach of the balanced codes beside other implementations, on the same scores in one run.

    python tests/benchmarks/sinkhorn.py --b 128 4096 --k 30 3000

Three scalings of [B, K] cosines in float32, as SwAV does in every step: `codes` (tasks.nn.sinkhorn, in logarithms), `plain`
(the formula on exponentials, the largest score subtracted first), and, where POT is installed, `pot` and `pot_log`. `error`
is the largest difference from `codes` in float64. Then, for falling epsilon, which of them still return numbers.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np
import torch

from tasks.nn.sinkhorn import sinkhorn

REPEATS, ITERATIONS, EPSILON = 7, 3, 0.05


def plain(scores_BK: torch.Tensor, epsilon: float, n_iter: int) -> torch.Tensor:
    q_KB = ((scores_BK - scores_BK.max()) / epsilon).exp().T
    for _ in range(n_iter):
        q_KB = q_KB / q_KB.sum(dim=1, keepdim=True)
        q_KB = q_KB / q_KB.sum(dim=0, keepdim=True)
    return q_KB.T


def pot(method: str) -> Callable[[torch.Tensor, float, int], torch.Tensor]:
    def codes(scores_BK: torch.Tensor, epsilon: float, n_iter: int) -> torch.Tensor:
        import ot

        b, k = scores_BK.shape
        # Prototypes are scaled first, so they take the place of the first marginal of POT's loop.
        plan_KB = ot.sinkhorn(
            torch.full((k,), 1 / k), torch.full((b,), 1 / b), -scores_BK.T, epsilon, method, n_iter, warn=False
        )
        return plan_KB.T * b

    return codes


def scores(b: int, k: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    z, c = (torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((n, 128))), dim=1) for n in (b, k))
    return z @ c.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--b", type=int, nargs="+", default=[128, 4096])
    parser.add_argument("--k", type=int, nargs="+", default=[30, 3000])
    options = parser.parse_args()
    peers = {"codes": sinkhorn, "plain": plain}
    if importlib.util.find_spec("ot") is None:
        print("POT is not installed: left out")
    else:
        peers |= {"pot": pot("sinkhorn"), "pot_log": pot("sinkhorn_log")}
    print(f"{'B':>6} {'K':>6} {'peer':>8} {'ms':>9} {'error':>9}")
    for b in options.b:
        for k in options.k:
            exact = scores(b, k)
            reference, single = sinkhorn(exact, EPSILON, ITERATIONS), exact.float()
            for name, function in peers.items():
                times = []
                for _ in range(REPEATS):
                    start = time.perf_counter()
                    result = function(single, EPSILON, ITERATIONS)
                    times.append(time.perf_counter() - start)
                error = (result.double() - reference).abs().max().item()
                print(f"{b:>6} {k:>6} {name:>8} {1000 * float(np.median(times)):>9.2f} {error:>9.1e}")
    print("\nepsilon  finite codes whose rows sum to 1 (scores in -1..1)")
    spread = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (64, 16))).float()
    for epsilon in (0.05, 0.02, 0.01, 0.005, 0.001):
        fine = [
            name
            for name, function in peers.items()
            if torch.allclose(function(spread, epsilon, ITERATIONS).sum(dim=1), torch.ones(64), atol=1e-4)
        ]
        print(f"{epsilon:<8} {', '.join(fine)}")


if __name__ == "__main__":
    main()
