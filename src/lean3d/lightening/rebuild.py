"""The lighter network: chosen forms put in place, and refitted in order on its own inputs.

Axes: B batch, C channels, D depth (T, time, for video), H height, W width.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.space_time import keep_identities
from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.surgery.take_over import take_over
from lean3d.conversion.trace.compare import tensors
from lean3d.conversion.trace.tree import copies
from lean3d.lightening.candidates import Levels, Option, Scores, between_of
from lean3d.lightening.channels import places_in
from lean3d.lightening.cut import Cut, kept_norm
from lean3d.lightening.refit import refit
from lean3d.lightening.seen import Seen, inputs_of
from lean3d.lightening.sites import Places

__all__ = ["cuts_of", "rebuild", "renew_norms"]


def cuts_of(
    model: nn.Module, places: Places, levels: Levels, chosen: Sequence[Option]
) -> list[Cut]:
    """Return what each module becomes, without those that stay as they are."""
    cuts: list[Cut] = []
    gone: set[str] = set()
    for option in chosen:
        if option.place.cut.changes:
            cuts.append(option.place.cut)
        if option.place.first is not None:
            gone |= {option.place.first.path, *between_of(places, option)}
    cuts += [Cut(path, gone=True) for path in sorted(gone)]
    counts = levels.counts(level for option in chosen for level in option.levels)
    for path, layout in places.channels.norms.items():
        size = levels.size(layout, counts)
        if size is not None and path not in gone:
            cuts.append(Cut(path, outputs=size))
    return cuts


@torch.no_grad()
def rebuild(
    model: nn.Module,
    chosen: Sequence[Option],
    scores: Scores,
    batch: tuple[Tensor, ...],
) -> nn.Module:
    """Return a copy of a network, in eval mode, with the chosen forms fitted to its kernels.

    The last linear stage of each is fitted again, in order, so that the lighter network's own
    inputs give the outputs that the given network has there.
    """
    result = duplicate(model)
    channels = scores.places.channels
    kept = scores.kept(level for option in chosen for level in option.levels)
    changed = [option for option in chosen if option.place.cut.changes]
    made = {option.place.site.path: scores.operator(option) for option in changed}
    gone: set[str] = set()
    for option in changed:
        path = option.place.cut.path
        _put(result, path, made[path])
        if option.place.first is not None:
            gone |= {option.place.first.path, *between_of(scores.places, option)}
    for path, layout in channels.norms.items():
        left = places_in(layout, channels.sizes, kept)
        if left is not None and path not in gone:
            norm = result.get_submodule(path)
            take_over(norm, kept_norm(norm, left))
    for path in gone:
        take_over(result.get_submodule(path), nn.Identity())
    order = {path: place for place, path in enumerate(scores.seen)}
    for option in sorted(changed, key=lambda o: order[o.place.site.path]):
        _refit(result, option, scores, scores.seen[option.place.site.path], batch)
    return result


def _put(model: nn.Module, path: str, operator: nn.Module) -> None:
    old: Any = model.get_submodule(path)
    for parameter in operator.parameters():
        parameter.requires_grad_(old.weight.requires_grad)
    take_over(old, operator)


def _refit(
    model: nn.Module, option: Option, scores: Scores, seen: Seen, batch: tuple[Tensor, ...]
) -> None:
    path = option.place.site.path
    operator = model.get_submodule(path)
    given = inputs_of(model, batch, path)
    outputs = scores.places_of(option)[1]
    wanted = seen.wanted if outputs is None else seen.wanted[:, outputs]
    refit(operator, option.place.cut.how, given, wanted)


@torch.no_grad()
def renew_norms(result: nn.Module, model: nn.Module, batches: Sequence[tuple[Tensor, ...]]) -> bool:
    """Estimate the statistics of batch norms again, and return whether that was better.

    They stay as they were if the outputs are farther from those of the given network. Those inside
    an operator pass their input through and are kept so, in train mode too.
    """
    own = {path for path, _ in model.named_modules()}
    norms: list[Any] = [
        module
        for path, module in result.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and path in own
        and module.running_mean is not None
    ]
    first = batches[:1]
    keep_identities(list(result.modules()), lambda: [result(*copies(batch)) for batch in first])
    if not norms:
        return False
    before = _error(result, model, batches)
    state = [(n.running_mean.clone(), n.running_var.clone(), n.momentum) for n in norms]
    counted = [n.num_batches_tracked.clone() for n in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    with contextlib.suppress(ValueError):  # of one value a channel there are no statistics
        for batch in batches:
            result(*copies(batch))
    for norm, (_, _, momentum), number in zip(norms, state, counted, strict=True):
        norm.momentum = momentum
        # as many as the network has learnt from: of a plain mean, the weight of what comes next
        norm.num_batches_tracked.copy_(number)
        norm.eval()
    if _error(result, model, batches) < before:
        return True
    for norm, (mean, variance, _) in zip(norms, state, strict=True):
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
    return False


def _error(result: nn.Module, model: nn.Module, batches: Sequence[tuple[Tensor, ...]]) -> float:
    missed = 0.0
    for batch in batches:
        pairs = zip(*(tensors(net(*copies(batch))) for net in (result, model)), strict=True)
        missed += sum(float((a - b).square().sum()) for a, b in pairs if a.is_floating_point())
    return missed
