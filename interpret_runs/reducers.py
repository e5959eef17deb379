"""From many dimensions to two: reducers by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from interpret_runs.summary import nearest

EXTRA = "pip install 'interpret-runs[atlas]'"
# What UMAP and t-SNE look at around each point, unless there are too few points.
NEIGHBOURS, PERPLEXITY = 20, 30.0


def reduce(values: Tensor, reducer: str, seed: int = 0) -> Tensor:
    """Places in the plane, (N, 2) float64, of points (N, C); equal seeds give equal places.

    ``pca`` projects on the two directions of largest variance, and needs nothing; ``umap`` (McInnes et al., 2018, by
    cosine, as in Carter et al., 2019) and ``tsne`` (van der Maaten and Hinton, 2008) keep neighbours together.

    Raises:
        LookupError: another reducer, or one that is not installed.
        ValueError: fewer than 4 points.
    """
    check_reducer(reducer)
    if len(values) < 4:
        raise ValueError(f"{len(values)} samples are too few to be laid out; take more images or positions")
    return REDUCERS[reducer](values.double(), seed)


def check_reducer(reducer: str) -> None:
    """Raises LookupError where there is no such reducer, or it is not installed."""
    if reducer not in REDUCERS:
        raise LookupError(f"no reducer {reducer!r}; closest: {nearest(str(reducer), list(REDUCERS))}")
    package = PACKAGES.get(reducer)
    if package and find_spec(package) is None:
        raise LookupError(f"task.reducer={reducer} is not installed: {EXTRA}, or take task.reducer=pca")


def _pca(values: Tensor, _seed: int) -> Tensor:
    centred = values - values.mean(0)
    _, axes = torch.linalg.eigh(centred.T @ centred)
    first = axes[:, [-1, -2]] if axes.shape[1] > 1 else axes[:, [0, 0]]
    # An axis has no sign of its own: its largest entry is made positive.
    signs = first.gather(0, first.abs().argmax(0, keepdim=True)).sign()
    places: Tensor = centred @ (first * signs)
    return places


def _umap(values: Tensor, seed: int) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own remarks on threads and on few points
        from umap import UMAP

        near = min(NEIGHBOURS, len(values) - 1)
        made = UMAP(n_neighbors=near, min_dist=0.01, metric="cosine", random_state=seed % 2**32, n_jobs=1)
        return torch.as_tensor(made.fit_transform(values.numpy())).double()


def _tsne(values: Tensor, seed: int) -> Tensor:
    from sklearn.manifold import TSNE

    wide = min(PERPLEXITY, (len(values) - 1) / 3)
    made = TSNE(perplexity=wide, init="pca", metric="cosine", random_state=seed % 2**32, n_jobs=1)
    return torch.as_tensor(made.fit_transform(values.numpy())).double()


REDUCERS: dict[str, Callable[[Tensor, int], Tensor]] = {"pca": _pca, "umap": _umap, "tsne": _tsne}
PACKAGES = {"umap": "umap", "tsne": "sklearn"}
