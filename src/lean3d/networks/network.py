"""A network by its reference, with its ends, weights and conversion."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from lean3d.checkpoints import load_checkpoint, open_checkpoint
from lean3d.checkpoints.format import Tensors
from lean3d.checkpoints.load import File, set_epsilon
from lean3d.conversion.api import How, convert, in_steps
from lean3d.conversion.lean.base import Lean
from lean3d.conversion.to3d.base import To3D
from lean3d.errors import LeanError, RunError
from lean3d.models import find_model, list_models
from lean3d.networks.acs_paper import acs_source
from lean3d.networks.decoder import Scores
from lean3d.networks.ends import with_ends
from lean3d.networks.monai import monai_network
from lean3d.networks.nnunet_file import nnunet_source
from lean3d.networks.operators import conversion, operator
from lean3d.networks.own import own_network
from lean3d.networks.registered import registered
from lean3d.networks.smp import smp_network
from lean3d.networks.source import Asked, Source
from lean3d.networks.timm import timm_network
from lean3d.networks.torchvision import torchvision_network
from lean3d.networks.weights import fill, is_part

__all__ = ["Built", "Network", "is_file", "weights_file"]

SOURCES: dict[str, Source] = {
    "timm": timm_network,
    "torchvision": torchvision_network,
    "smp": smp_network,
    "acs": acs_source,
    "monai": monai_network,
    "nnunet": nnunet_source,
}
SUFFIXES = {".pt", ".pth", ".pyth", ".ckpt", ".safetensors", ".bin", ".tar", ".pkl"}
PLAIN = "lean3d", "acsconv"

# called with the 2D network before it is converted; returns the names of weights left as they were
Start = Callable[[nn.Module], list[str]]


class Built(NamedTuple):
    """A network, and where its weights come from.

    Args:
        fresh: Names of the weights that are not from a file; None if none was given.
        note: One line about the weights; empty for random ones.
    """

    model: nn.Module
    fresh: tuple[str, ...] | None = None
    note: str = ""


@dataclass(frozen=True)
class Network:
    """A network by its reference, built by `build`.

    Args:
        reference: A name of `lean3d.list_models()`; `timm:resnet50`, `torchvision:densenet121`,
            `smp:Unet/resnet34`, `acs:fcn_resnet18` (the ACS paper's), `monai:UNet` or
            `nnunet:checkpoint_final.pth` (the network of a checkpoint of nnU-Net v2);
            `package.module:function`, or `file.py:function`. The function is called with those of
            in_channels, num_classes and `options` that it takes.
        segment: Give a network that classifies images a decoder, smp's or the ACS paper's.
        in_channels: Of the image or volume; a first kernel for others is distributed over them.
        num_classes: Outputs; a last layer for others is re-initialised.
        conv: Operator of a registered 3D model, by name.
        widths: Channels of a registered model's stages.
        options: More arguments of the network, by name.
        convert: From 2D to 3D: acs, mean_acs, soft_acs, planar, plane_cycle, inflate, i3d or
            conv3d; or to a lean form such as p3sc1, from 2D by way of i3d.
        keep_depth: From 2D, or of a registered 3D model that takes it: how many of the first
            downsamplings leave depth alone; "all" of them.
        weights: "pretrained" or a name of the zoo's weights, or a file: of the 2D network before
            the conversion, of the 3D one, or of its backbone.
        weights_part: "encoder" loads the encoder alone, "all" the whole network; by default as
            much as the file has, of at least the encoder.
        format: Of the file, as `lean3d.load_checkpoint` takes it.
    """

    reference: str
    segment: bool = False
    in_channels: int | None = None
    num_classes: int | None = None
    conv: str | None = None
    widths: tuple[int, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    convert: str | None = None
    keep_depth: int | Literal["all"] = 0
    weights: str | None = None
    weights_part: Literal["encoder", "all"] | None = None
    format: str | None = None

    def build(self, start: Start | None = None) -> Built:
        """Return the network, from torch's random state.

        Args:
            start: Called with the network before it is converted, to give it weights.

        Raises:
            RunError: no network has that name, or the weights are of another one.
            MissingExtraError: the package that has it is not installed, or is broken.
            ConversionError: it cannot be converted.
        """
        self._check_depth()
        if self.format is not None and (self.weights is None or not is_file(self.weights)):
            raise RunError(f"format {self.format} names the format of weights; give their file too")
        built = self._flat()
        model, fresh, note = built.model, built.fresh, built.note
        steps = self._steps(model)
        path = None
        if self.weights is not None and is_file(self.weights):
            path = weights_file(self.weights)
        later = path is not None and steps and _is_flat(model) and _is_deep(path, self.format)
        self._check_used(steps, bool(later))
        if path is not None and not later:
            fresh, note = self._load(model, path)
        if start is not None:
            fresh = tuple(start(model))
        model = _scores(model)
        refused: LeanError | None = None
        for step in steps:
            model = convert(model, step)
            # of a network with dense kernels or, if it does not fit that, with lean ones
            if later and path is not None:
                try:
                    (fresh, note), later, refused = self._load(model, path), False, None
                except LeanError as error:
                    refused = refused or error
        if refused is not None:
            raise refused
        return Built(model, fresh, note)

    @property
    def keeps_depth(self) -> bool:
        """Whether `keep_depth` has an effect: a conversion from 2D, or a model that takes it."""
        if self.convert is not None:
            how = conversion(self.convert)
            return isinstance(how, To3D) or (isinstance(how, Lean) and self._starts_flat())
        if self.reference not in list_models():
            return False
        model = find_model(self.reference)
        return "keep_depth" in signature(model.factory).parameters and len(model.input_shape) == 5

    def _starts_flat(self) -> bool:
        """Whether the network is 2D before it is converted."""
        with torch.random.fork_rng(), torch.device("meta"):
            try:
                return _is_flat(self._make(None))
            except Exception:  # of a network of the user's, which cannot be built without memory
                return False

    def _check_depth(self) -> None:
        if self.convert is not None:
            conversion(self.convert, self.keep_depth)
        elif self.keep_depth != 0 and not self.keeps_depth:
            raise RunError("keep_depth is for a conversion from 2D; give convert, such as acs")

    def _steps(self, model: nn.Module) -> tuple[How, ...]:
        """Return the methods that convert the network one after the other."""
        if self.convert is None:
            return ()
        how = conversion(self.convert, self.keep_depth)
        if isinstance(how, tuple) and not _is_flat(model):
            raise RunError(
                f"keep_depth is for a conversion from 2D, which {self.convert} of "
                f"{self.reference} is not"
            )
        return in_steps(model, how)

    def _check_used(self, steps: tuple[How, ...], later: bool) -> None:
        """Refuse weights that the conversion would not keep."""
        first = steps[0] if steps else None
        if self.weights is None or later or not isinstance(first, To3D) or first.keeps_weights:
            return
        raise RunError(
            f"convert {self.convert} re-initialises the kernels of {self.reference} and takes no "
            "2D weights; leave weights out, give a file of a 3D network, or convert by i3d"
        )

    def _flat(self) -> Built:
        """Build the network before any conversion, with weights by name."""
        named = None
        if self.weights is not None and not is_file(self.weights):
            named = True if self.weights == "pretrained" else self.weights
        model = self._make(named)
        if named is None:
            return Built(model)
        note = f"{self.reference}: weights {self.weights}"
        if self.weights_part != "encoder":
            return Built(model, None, note)  # which of them are the zoo's is not known
        again = self._make(None)
        who = self.reference
        found = fill(again, model.state_dict(), file=note, who=who, encoder=True)
        return Built(again, found.fresh, f"{note}, the encoder's alone")

    def _make(self, named: str | bool | None) -> nn.Module:
        source, name = self._source()
        lifts = self.convert is not None and isinstance(conversion(self.convert), To3D)
        asked = Asked(
            self.reference,
            name,
            self.in_channels,
            self.num_classes,
            self.segment,
            2 if lifts else 3,
            named,
            self._options(source),
        )
        try:
            model, done = source(asked)
        except LeanError:
            raise
        except Exception as error:  # another library, or a function of the user's
            line = (str(error) or "no more is known").splitlines()[0].rstrip(".")
            # a zoo gets its weights when they are first asked for
            remedy = "; if they cannot be downloaded, give their file as weights" if named else ""
            raise RunError(
                f"cannot build {self.reference}{f' with weights {self.weights}' if named else ''}: "
                f"{type(error).__name__}: {line}{remedy}"
            ) from error
        left = {"in_channels", "num_classes"} - done
        return with_ends(model, self.reference, **{name: getattr(self, name) for name in left})

    def _source(self) -> tuple[Source, str]:
        prefix, colon, name = self.reference.partition(":")
        if colon and not (prefix.strip() and name.strip()):
            raise RunError(f"{self.reference!r} names no network; give one such as timm:resnet18")
        if not colon:
            path = Path(self.reference)
            if self.reference not in list_models() and path.is_dir():
                raise RunError(f"{self.reference} is a folder and no run; a run has a recipe.json")
            if len(path.parts) > 1 and not path.exists():
                raise RunError(
                    f"there is no run folder {self.reference}; a network that is no run has a name "
                    "of lean3d models, or a prefix such as timm:"
                )
            return registered, self.reference
        if prefix in SOURCES:
            return SOURCES[prefix], name
        if "." not in prefix and (near := difflib.get_close_matches(prefix, SOURCES, n=1)):
            raise RunError(f"no zoo called {prefix!r}; did you mean {near[0]}:{name}?")
        return own_network, self.reference

    def _options(self, source: Source) -> dict[str, Any]:
        given: dict[str, Any] = {} if self.conv is None else {"conv": operator(self.conv)}
        given |= {} if self.widths is None else {"widths": self.widths}
        if given and source not in (registered, own_network):
            raise RunError(
                f"{', '.join(given)} are arguments of lean3d's own models; {self.reference} "
                "takes its own as options"
            )
        if self.convert is None and self.keep_depth:
            given["keep_depth"] = self.keep_depth
        return given | dict(self.options)

    def _load(self, model: nn.Module, path: Path) -> tuple[tuple[str, ...], str]:
        file = open_checkpoint(path, format=self.format)
        tensors, published = file.tensors, file.form.name not in PLAIN
        if self.format not in (None, *PLAIN) or published:
            part = _part(file, model)
            if part is None:
                if self.weights_part == "encoder":
                    what = f"{path} ({file.form.what})"
                    raise RunError(f"{what} is loaded whole; leave weights_part out")
                new: Any = dict(new_head=self.num_classes is not None)
                new |= dict(new_channels=self.in_channels is not None)
                loaded = load_checkpoint(model, path, format=self.format, **new)
                return loaded.not_loaded, str(loaded).splitlines()[0]
            tensors = part
        encoder = self.weights_part == "encoder"
        given: Any = dict(file=str(path), who=self.reference, encoder=encoder)
        found = fill(model, tensors, lacks=file.form.lacks, **given)
        if self.weights_part == "all" and len(found.fresh) > 2:
            raise RunError(
                f"{path} has no {found.fresh[0]} of {self.reference}, and {len(found.fresh) - 1} "
                "more; leave weights_part out to load what it has"
            )
        set_epsilon(model, file.facts, found.loaded)
        what = f" ({file.form.what})" if published else ""
        return found.fresh, f"{path}{what}: {len(found.loaded)} tensors"


def _part(file: File, model: nn.Module) -> Tensors | None:
    """Return the tensors of a published file of which the model has the network as a part.

    Or as a whole, if it has the names of the file because a 2D network with these was converted.
    """
    if file.form.inflates:
        return None
    own = model.state_dict().keys()
    converted = getattr(model, "conversion", None) is not None
    if converted and len(own & file.stored.keys()) > len(own & file.tensors.keys()):
        return file.stored
    return next((x for x in (file.stored, file.tensors) if is_part(x, model)), None)


def is_file(weights: str) -> bool:
    """Whether weights are a file or a run folder, and not a name."""
    path = Path(weights)
    return path.exists() or path.suffix in SUFFIXES or len(path.parts) > 1


def weights_file(weights: str) -> Path:
    """Return the file; of a run folder that of its best weights."""
    path = Path(weights)
    if not path.is_dir():
        return path
    best, shared = path / "checkpoints" / "best.ckpt", path / "model.safetensors"
    return shared if shared.is_file() and not best.is_file() else best


def _is_flat(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def _is_deep(path: Path, format: str | None) -> bool:
    tensors = open_checkpoint(path, format=format).stored
    return any(x.ndim == 5 or name.endswith("views") for name, x in tensors.items())


def _scores(model: nn.Module) -> nn.Module:
    """Return a network whose output is a tensor: torchvision's for segmentation give more."""
    dense = type(model).__module__.startswith("torchvision.models.segmentation")
    return Scores(model) if dense else model
