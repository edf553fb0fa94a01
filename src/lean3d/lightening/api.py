"""`lighten`: choose a form for every convolution of a trained network, for a cost that is named."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import torch
from torch import Tensor, nn

from lean3d.conversion.lean.dense import is_dense
from lean3d.conversion.surgery.copies import duplicate
from lean3d.conversion.trace.inputs_3d import example_for
from lean3d.conversion.trace.tree import copies
from lean3d.cost import count
from lean3d.errors import ConversionError, LeanError
from lean3d.lightening.candidates import (
    Criterion,
    Levels,
    Option,
    Scores,
    arcs_of,
    arithmetic,
    front,
    options_of,
)
from lean3d.lightening.clock import Clock
from lean3d.lightening.cut import restructure
from lean3d.lightening.forms import CUTS, check_cuts
from lean3d.lightening.price import ByCount, ByTime, Price
from lean3d.lightening.rebuild import cuts_of, rebuild, renew_norms
from lean3d.lightening.record import UNITS, Layer, Lightening, shown
from lean3d.lightening.samples import Samples, read_samples
from lean3d.lightening.seen import Loss, look
from lean3d.lightening.sites import Places, find_places
from lean3d.lightening.solver import Arc, cheapest, choose
from lean3d.lightening.steps import ByState, StepClock, find_live, in_steps
from lean3d.lightening.target import Target, read_target
from lean3d.lightening.times import Times, default_folder
from lean3d.ops.base import Conv3dLike
from lean3d.runtime import optimize
from lean3d.runtime.source import BACKENDS
from lean3d.typed import check_kind, fits, shortened

__all__ = ["lighten"]

# the forms of a network, what it costs by prediction and by measurement
Tried: TypeAlias = tuple[list[Option], float, float]

# most samples on which forms are fitted and compared, and bytes of what is kept of them
SAMPLES, BYTES = 8, 1.5e9
# most networks that are built to correct the prediction, and when it is good enough
ROUNDS, CLOSE = 4, 0.05
# more, where costs do not add up
HALVINGS = 8
# precisions in which forms are timed: int8 is calibrated on a whole network
FLOATS = "float32", "bfloat16"
# share of the time for measuring that the choice of a backend may take
CHOICE = 0.2


# what the caller draws next does not depend on the weights and inputs that are drawn to be timed
@torch.random.fork_rng(devices=[])
def lighten(
    model: nn.Module,
    example: Tensor,
    *,
    time: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    memory: float | None = None,
    step: float | None = None,
    state: float | None = None,
    data: Any = None,
    loss: Loss | None = None,
    cuts: Sequence[str] = tuple(CUTS),
    criterion: Criterion = "fisher",
    backends: Sequence[str] | None = None,
    precision: str = "float32",
    budget_s: float = 300.0,
    table: str | Path | None = "default",
) -> nn.Module:
    """Return a lighter copy of a trained 3D network, at a cost that is named.

    Every dense 3D convolution is replaced by that form (dense, of fewer channels, SpaceTime,
    ParallelSeparable, ChannelSeparated, Atoms, ACS, MeanACS or Planar, at some rank) with which
    the network gets worse the least, together within the target: an integer program over times
    measured here. Train the result on, as any network; `lean3d lighten` does so by distillation.

    Args:
        model: A trained network; it is not changed.
        example: An input (B, C, D, H, W) of the size to be fast for.
        time: Up to 1 a share of the network's own time, above it milliseconds, both by the
            backend that `optimize` finds fastest for the network.
        macs, params, memory: In place of time: multiply-adds, parameters, or bytes of parameters
            and of activations at their peak; up to 1 a share of the network's own.
        step, state: Of the network as a stream, causal or with a delay, on frames like those of
            the example, a stream for each of its batch: the time of a step in milliseconds with
            batch norms fused, or the bytes of the state; up to 1 a share. A causal network stays
            causal.
        data: Real samples: a tensor (B, C, D, H, W), or batches of a loader, of tensors or of
            (tensor, target). Forms are fitted to them and compared on them. Without it the example
            is all there is, and batch norms keep their statistics.
        loss: Of an output and a target, the mean over a batch; with it, and targets, forms are
            compared by the loss, without it by the change of the outputs.
        cuts: The families to choose from: views (ACS), streams (PmSCn), time, groups (CSN), atoms
            (STDCF), channels (fewer between two convolutions).
        criterion: How a form's error is judged: "fisher", "taylor", "output" or "kernel".
        backends: Names of `lean3d.runtime.BACKENDS` to time by; by default all that are quick to
            prepare. Not for the other targets.
        precision: What convolutions are computed in: "float32" or "bfloat16".
        budget_s: Seconds after which no further form is timed; of one thread, of the processor.
        table: Folder of the times that are known already; by default that of the user's cache,
            None for none.

    Returns:
        A module with `lightening`, a `Lightening`: what each convolution became and why.

    Raises:
        LeanError: the target cannot be met, there is nothing to replace, the samples do not fit.
    """
    given = dict(time=time, macs=macs, params=params, memory=memory, step=step, state=state)
    target = read_target(**given)
    names = _check(model, example, cuts, criterion, budget_s, loss)
    _check_timing(target, backends, precision, table)
    copy = duplicate(model).eval()
    try:
        arguments = example_for(copy, example) or (example,)
    except ConversionError as error:
        raise LeanError(f"lighten: {error}") from error
    _check_weights(copy)
    samples = read_samples(data, arguments, example.device)
    if loss is not None and samples.first(1)[1] is None:
        raise LeanError("lighten: loss= needs targets; give data= of batches of (input, target)")
    places = find_places(copy, arguments, fewer="channels" in names)
    for site in places.sites:
        if site.convolves and len(site.shape) != 5:
            raise LeanError(
                f"lighten: {site.path or 'the network'} gets maps of shape {site.shape}, without a "
                "batch; give an example (B, C, D, H, W)"
            )
    live = find_live(copy, arguments, str(target)) if target.streams else None
    if live is not None:
        places = in_steps(places, live, arguments[0].shape[2])
    levels = Levels(places, names)
    sites = places.sites
    options = options_of(places, levels, names)
    if not any(option.place.cut.how or option.place.cut.inputs for option in options):
        kinds = [type(m).__name__ for m in copy.modules() if isinstance(m, Conv3dLike)]
        advice = "give a network of 3D convolutions, as Inflate() makes of a 2D one"
        if kinds:
            made = ", ".join(dict.fromkeys(kinds))
            advice = f"its convolutions are {made} already; give dense ones, as Inflate() makes"
        elif any(map(is_dense, copy.modules())):
            advice = "allow more cuts"
            if set(names) == set(CUTS):
                advice = "those it has are called more than once, or share or compute their weights"
        raise LeanError(
            f"lighten: {type(model).__name__} has no dense 3D convolution to make lighter by "
            f"{', '.join(names)}; {advice}"
        )
    shapes = [tuple(x.shape) for x in arguments]
    if target.kind != "state":
        # timing takes longest: first those are left out that are no better by multiply-adds
        options = front(options, arithmetic)
    machine = backend = ""
    price: Price
    if target.kind in ("time", "step"):
        if live is None:
            backend = _backend(copy, arguments, backends, precision, budget_s)
        else:
            backend = f"fused step, {live.says}"
            arguments = (arguments[0][:, :, : live.chunk],)
        folder = default_folder() if table == "default" else None if table is None else Path(table)
        times = Times(folder, backend, precision, example.device.type)
        how = (backend, precision, example.device, times, budget_s)
        clock = Clock(*how) if live is None else StepClock(*how, live=live)
        # a forward may write into its input
        price = ByTime(clock, copy, copies(arguments), sites, options)
        machine = times.machine
    elif live is not None:
        price = ByState(live, copy, shapes[0], sites)
    else:
        price = ByCount(target.kind, copy, shapes, sites)
    work = _Work(copy, places, levels, samples, price, target, criterion, loss, names)
    limit = target.limit(price.before * target.scale)
    left = front(options, price.cost)
    found = any(option.place.cut.changes for option in left)
    if price.short and not found:
        raise LeanError(
            f"lighten: {target} cannot be met: in budget_s={budget_s:g} no form could be timed "
            "that is faster; give more seconds"
        )
    result, record = work.run(left, limit)
    record = record | dict(criterion=criterion, backend=backend, machine=machine)
    vars(result)["lightening"] = Lightening(**record)
    flags = {path: module.training for path, module in model.named_modules()}
    for path, module in result.named_modules():
        # what is new inside an operator trains as the convolution did
        while path not in flags:
            path = path.rpartition(".")[0]
        module.training = flags[path]
    return result


def _check(
    model: nn.Module,
    example: object,
    cuts: Sequence[str],
    criterion: str,
    budget_s: float,
    loss: object,
) -> tuple[str, ...]:
    check_kind("lighten", model, nn.Module, "an nn.Module")
    if isinstance(model, torch.jit.ScriptModule) or hasattr(model, "_orig_mod"):
        raise LeanError(
            f"lighten: {type(model).__name__} is compiled; give the network that it was made of, "
            "and compile the result"
        )
    if torch.is_inference_mode_enabled():
        raise LeanError("lighten needs gradients; call it outside torch.inference_mode()")
    if isinstance(example, (list, tuple, dict)):
        raise LeanError("lighten takes one example (B, C, D, H, W): networks of one input alone")
    check_kind("lighten", example, Tensor, "an example (B, C, D, H, W)")
    if loss is not None and not callable(loss):
        raise LeanError(f"lighten: loss is a function of output and target, got {shortened(loss)}")
    if criterion not in get_args(Criterion):
        known = ", ".join(get_args(Criterion))
        raise LeanError(f"lighten: criterion is one of {known}, got {shortened(criterion)}")
    if not fits(budget_s, float) or not budget_s > 0:
        raise LeanError(f"lighten: budget_s is seconds above 0, got {shortened(budget_s)}")
    return check_cuts(cuts)


def _check_weights(model: nn.Module) -> None:
    for path, weight in model.named_parameters():
        if not weight.is_meta and not bool(torch.isfinite(weight).all()):
            raise LeanError(f"lighten: {path} holds NaN or infinity; give a trained network")


def _check_timing(target: Target, backends: Any, precision: str, table: Any) -> None:
    """Refuse what says how to time, where it is none, or of use to no target of that kind."""
    if backends is not None and not (
        isinstance(backends, list | tuple) and all(isinstance(name, str) for name in backends)
    ):
        raise LeanError(f"lighten: backends is a list of names, got {shortened(backends)}")
    if precision not in FLOATS:
        raise LeanError(
            f"lighten: precision is one of {', '.join(FLOATS)}, got {shortened(precision)}"
        )
    if not fits(table, str | Path | None):
        raise LeanError(f"lighten: table is a folder or None, got {shortened(table)}")
    if target.kind != "time" and (backends is not None or precision != "float32"):
        what = "of steps in float32" if target.streams else "counted, not timed"
        raise LeanError(f"lighten: {target} is {what}; leave out backends= and precision=")


def _backend(
    model: nn.Module,
    arguments: tuple[Tensor, ...],
    backends: Sequence[str] | None,
    precision: str,
    budget_s: float,
) -> str:
    quick = [name for name in BACKENDS if not BACKENDS[name].compiles]
    names = list(backends) if backends is not None else quick
    more: Any = dict(precision=precision, budget_s=CHOICE * budget_s)
    return optimize(model, arguments, backends=names, **more).backend


@dataclass
class _Work:
    """The choice, once all costs are known."""

    model: nn.Module
    places: Places
    levels: Levels
    samples: Samples
    price: Price
    target: Target
    criterion: Criterion
    loss: Loss | None
    cuts: tuple[str, ...]

    def run(self, options: Sequence[Option], limit: float) -> tuple[nn.Module, dict[str, Any]]:
        """Return the network and the fields of its record.

        Args:
            limit: In the units of the record, ms for time.
        """
        unit = self.target.scale
        self._check_reach(options, limit / unit)
        batch, goal = self.samples.first(self._most())
        paths = [site.path for site in self.places.sites]
        loss = self.loss if goal is not None else None
        seen = look(self.model, batch, paths, goal, loss)
        scores = Scores(self.model, self.places, self.levels, seen, self.criterion)
        errors = {id(option): scores.error(option) for option in options}
        if not all(map(math.isfinite, errors.values())):
            raise LeanError(
                f"lighten: the outputs of {type(self.model).__name__} on the samples, or their "
                "loss, are NaN or infinite; check the samples, the weights and loss="
            )
        chosen, predicted, measured = self._choose(options, errors, limit / unit)
        if not self.price.adds_up:
            predicted = measured  # counted whole before weights are fitted
        result = rebuild(self.model, chosen, scores, batch)
        if self.samples.real:
            renew_norms(result, self.model, self.samples.inputs)
        record = dict(
            target=self.target.kind,
            wanted=limit,
            before=unit * self.price.before,
            predicted=unit * predicted,
            measured=unit * measured,
            layers=tuple(self._layers(options, chosen, errors, unit)),
            cuts=tuple(cuts_of(self.model, self.places, self.levels, chosen)),
        )
        return result, record

    def _most(self) -> int:
        """Return the number of samples whose maps can be kept."""
        x = self.samples.batches[0][0][0]
        each = count(self.model, (1, *x.shape[1:])).activation_bytes
        return max(1, min(SAMPLES, int(BYTES / max(6 * each, 1))))

    def _check_reach(self, options: Sequence[Option], limit: float) -> None:
        """Refuse a limit below the cheapest network, which is measured before that is said."""
        nothing = dict.fromkeys(map(id, options), 0.0)
        chosen = [arc.what for arc in cheapest(self._arcs(options, nothing))]
        if self.price.predict(chosen) <= limit:
            return
        least = self.price.measure(self._trial(chosen))
        self.price.learn(chosen, least)
        if max(least, self.price.predict(chosen)) > limit:
            raise self._refuse(max(least, self.price.predict(chosen)))

    def _trial(self, chosen: Sequence[Option]) -> nn.Module:
        """Return a network of these forms, its weights not fitted."""
        cuts = cuts_of(self.model, self.places, self.levels, chosen)
        return restructure(duplicate(self.model), cuts).eval()

    def _refuse(self, least: float) -> LeanError:
        unit = self.target.scale
        who, before = type(self.model).__name__, self.price.before
        unmet = f"lighten: {self.target} cannot be met: {who} costs"
        untimed = "; not all forms were timed: give more seconds" if self.price.short else ""
        if least >= before:
            more = "" if set(self.cuts) == set(CUTS) else "; allow more cuts"
            return LeanError(
                f"{unmet} {shown(unit * before)} {UNITS[self.target.kind]}, and with these cuts no "
                f"less{untimed or more}"
            )
        # rounded up, so that the number can be asked for
        share = math.ceil(1000 * least / before) / 1000
        return LeanError(
            f"{unmet} at least {shown(unit * least)} "
            f"{UNITS[self.target.kind]} of its {shown(unit * before)} with these cuts; the least "
            f"that can be asked for is {self.target.kind}={share:g}{untimed}"
        )

    def _arcs(self, options: Sequence[Option], errors: Mapping[int, float]) -> list[Arc]:
        return arcs_of(options, errors, lambda o: self.price.of(o) or (math.inf, 0.0))

    def _choose(
        self, options: Sequence[Option], errors: Mapping[int, float], limit: float
    ) -> Tried:
        """Return the forms, and the network's cost by prediction and by measurement."""
        found: list[Tried] = []
        over, worst = ((1 + share) * limit for share in self.price.noise)
        for _ in range(ROUNDS):
            every = self._arcs(options, errors)
            arcs = choose(every, limit - self.price.fixed)
            if arcs is None and found and found[-1][2] <= worst:
                break
            arcs = arcs or cheapest(every)
            chosen = [arc.what for arc in arcs]
            if any(chosen == before for before, *_ in found):
                break
            predicted = self.price.predict(chosen)
            measured = self.price.measure(self._trial(chosen))
            found.append((chosen, predicted, measured))
            if limit * (1 - CLOSE) <= measured <= over:
                break
            self.price.learn(chosen, measured)
        if not self.price.adds_up:
            found += self._between(found, self._arcs(options, errors), limit)
        within = [one for one in found if one[2] <= over]
        if within:
            return min(within, key=lambda one: sum(errors[id(option)] for option in one[0]))
        nearest = min(found, key=lambda one: one[2])
        if nearest[2] > worst:
            raise self._refuse(nearest[2])
        return nearest

    def _between(self, found: Sequence[Tried], every: Sequence[Arc], limit: float) -> list[Tried]:
        """Return further networks, nearer and nearer to the limit, by halving what forms may cost.

        What one network is off by is not what another is.
        """

        def own(chosen: Sequence[Option]) -> float:
            return self.price.predict(chosen) - self.price.fixed

        least = own([arc.what for arc in cheapest(every)])
        low = max((own(chosen) for chosen, _, cost in found if cost <= limit), default=least)
        over = [own(chosen) for chosen, _, cost in found if cost > limit]
        high = min([room for room in over if room > low], default=self.price.before)
        more: list[Tried] = []
        for _ in range(HALVINGS):
            room = (low + high) / 2
            chosen = [arc.what for arc in choose(every, room) or ()]
            if not chosen:
                break
            measured = self.price.measure(self._trial(chosen))
            more.append((chosen, self.price.predict(chosen), measured))
            low, high = (room, high) if measured <= limit else (low, room)
        return more

    def _layers(
        self,
        options: Sequence[Option],
        chosen: Sequence[Option],
        errors: Mapping[int, float],
        unit: float,
    ) -> list[Layer]:
        layers = []
        dense = {o.place.site.path: o for o in reversed(options) if not o.place.cut.changes}
        for option in chosen:
            place = option.place
            first = () if place.first is None else (place.first.path,)
            paths = (*first, place.site.path)
            before = sum(self.price.cost(dense[path]) or 0.0 for path in paths)
            after = self.price.cost(option) or 0.0
            rivals = [
                o
                for o in options
                if o is not option
                and o.where == option.where
                and (self.price.cost(o) or math.inf) <= 1.02 * after
            ]
            second = min(rivals, key=lambda o: errors[id(o)], default=None)
            said = "" if second is None else f"{second.place.cut.what} ({errors[id(second)]:.2g})"
            kind = type(place.site.conv).__name__
            layers.append(
                Layer(
                    place.site.path,
                    kind if place.first is None else f"2 x {kind}",
                    place.cut.what,
                    unit * before,
                    unit * after,
                    errors[id(option)],
                    said,
                )
            )
        return layers
