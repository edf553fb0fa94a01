"""The settings of a run as plain values: the fields shared by every task."""

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from lean3d.errors import RunError
from lean3d.processes import place
from lean3d.recipes.typed import typed

__all__ = ["Recipe"]

# limits: orders are drawn in memory; steps of larger rates overflow; processes of one machine
MOST_SAMPLES, MOST_RATE, MOST_WORKERS = 10_000_000, 1_000_000, 512

# fields that count something there is one of at least
COUNTS = (
    "train_samples",
    "val_samples",
    "batch_size",
    "epochs",
    "in_channels",
    "val_every",
    "accumulate",
)

# task -> the recipe of its runs
KINDS: dict[str, type["Recipe"]] = {}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run. Any field can be overridden by a flag of `lean3d train`.

    Attributes:
        name: Name of the recipe this came from.
        data: Training data: generated data, by name, or a folder.
        num_classes: Classes.
        class_names: Names of all classes; their numbers by default.
        in_channels: Channels of the images.
        train_samples: Samples per epoch.
        val_samples: Samples to validate on; the same in every epoch.
        model: A name of lean3d.list_models(), timm:resnet50, torchvision:densenet121,
            smp:Unet/resnet34, acs:fcn_resnet18, monai:UNet, package.module:function or
            file.py:function.
        conv: Operator of a 3D model of lean3d, by name; the model's own by default.
        widths: Channels of the stages of a model of lean3d; the model's own by default.
        options: More arguments of the model, such as skip=full convs=1.
        convert: Turn the 2D model into 3D this way (acs, mean_acs, soft_acs, planar,
            plane_cycle, inflate, i3d, conv3d), or into a lean form such as p3sc1.
        keep_depth: How many of the first downsamplings leave depth alone, in a converted model or
            unet3d; "all" of them, for thick slices; "auto" for what the data's spacing asks for.
        weights: pretrained, a name of the zoo's weights, or a file: of the 2D model before the
            conversion, of the 3D one, or of its backbone.
        weights_part: encoder loads that alone, all the whole model; by default what the file has.
        format: Of the file of weights, if its keys are ambiguous; lean3d for your own.
        cuts: What became of single modules, as `lean3d lighten` wrote it; of a network that it made
            lighter.
        teacher: Folder of a finished run whose outputs are learnt besides the labels.
        distil: Weight of the teacher in the loss.
        start_from: Folder of a finished run whose best weights the model starts with.
        freeze: Parts of the model that are not trained, by the beginnings of their names, such as
            stem layer1.
        lr_scale: Factors of the learning rate by such names, such as fc=10.
        optimizer: The optimizer of the loss.
        lr: Learning rate.
        lr_batch: Samples of a step that `lr` is for: the rate is lr times the samples of a step, of
            all processes, over this (Goyal et al., arXiv:1706.02677); by default it is lr.
        weight_decay: L2 penalty.
        momentum: Of sgd only.
        nesterov: Nesterov's momentum; of sgd only.
        schedule: Of the learning rate: constant, half a cosine to 0 at the last epoch, in epochs or
            in steps from the end of the warm-up on (cosine_step), poly (the
            share of epochs that is left to the power of 0.9), plateau (a tenth at every plateau of
            the validation loss, three times at most), or steps (a tenth from half of the epochs on
            and a hundredth from three quarters on).
        steps: Epochs, counted from 0, from which the schedule "steps" has a tenth each, instead.
        warmup: Steps over which the learning rate rises to its value.
        warmup_epochs: Epochs over which it rises, instead: as many steps as the processes make.
        epochs: Passes over the training set.
        patience: Stop after this many epochs without a better score; never by default.
        val_every: Validate every so often, in epochs, and after the last one.
        batch_size: Samples that a process takes at a time.
        accumulate: Batches of a process in one step of the optimizer.
        sync_batchnorm: Batch norms count the samples of all processes, not of each by itself.
        precision: 32, or mixed with half precision.
        channels_last: Keep the channels of a voxel contiguous in memory.
        checkpointing: Keep the inputs of blocks alone for the backward pass, which computes the
            rest again, which takes longer.
        workers: Processes that load samples.
        seed: Seed of the run.
    """

    task: ClassVar[str]
    sample: ClassVar[str]
    # prefixes of weights that the run it starts from may lack
    new_parts: ClassVar[tuple[str, ...]] = ()
    # fields that are 0 until they are read from the data
    measured: ClassVar[tuple[str, ...]] = ()
    # classes of a network
    fewest: ClassVar[int] = 2

    name: str
    data: str
    num_classes: int
    model: str
    class_names: tuple[str, ...] | None = None
    in_channels: int = 1
    train_samples: int = 400
    val_samples: int = 100
    conv: str | None = None
    widths: tuple[int, ...] | None = None
    options: tuple[str, ...] = ()
    convert: str | None = None
    keep_depth: int | Literal["all", "auto"] = 0
    weights: str | None = None
    weights_part: Literal["encoder", "all"] | None = None
    format: str | None = None
    cuts: tuple[str, ...] = ()
    teacher: str | None = None
    distil: float = 1.0
    start_from: str | None = None
    freeze: tuple[str, ...] = ()
    lr_scale: tuple[str, ...] = ()
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-3
    lr_batch: int | None = None
    weight_decay: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    schedule: Literal["constant", "cosine", "cosine_step", "poly", "steps", "plateau"] = "constant"
    steps: tuple[int, ...] = ()
    warmup: int = 0
    warmup_epochs: int = 0
    epochs: int = 20
    patience: int | None = None
    val_every: int = 1
    batch_size: int = 4
    accumulate: int = 1
    sync_batchnorm: bool = False
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    channels_last: bool = False
    checkpointing: bool = False
    workers: int = 0
    seed: int = 0

    def __init_subclass__(cls) -> None:
        KINDS[cls.task] = cls

    @property
    def input_size(self) -> tuple[int, ...]:
        """Sizes of a sample without channels: d h w, h w, or frames h w."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every class."""
        return self.class_names or tuple(map(str, range(self.num_classes)))

    @property
    def num_outputs(self) -> int:
        """Outputs of the model."""
        return self.num_classes

    @property
    def scored_names(self) -> tuple[str, ...]:
        """Names of what has a score of its own: classes, or regions."""
        return self.names

    def check(self) -> None:
        """Refuse invalid values.

        Not done at construction: the command line would wrap the message in its usage text.
        """
        # values from flags are checked like those from a file
        owner = f"recipe {self.name}"
        typed(type(self), {f.name: getattr(self, f.name) for f in fields(self)}, owner)
        for name in COUNTS:
            if getattr(self, name) < (name not in self.measured):
                self.refuse(name, "must be 1 or more")
        for name in ("train_samples", "val_samples"):
            if getattr(self, name) > MOST_SAMPLES:
                self.refuse(name, f"must be at most {MOST_SAMPLES:,}")
        fewest = self.fewest
        if self.num_classes < fewest and (self.num_classes or "num_classes" not in self.measured):
            self.refuse("num_classes", f"must be {fewest} or more")
        if self.weights is not None and self.start_from is not None:
            self.refuse("weights", "is given beside start_from; a model starts with one of them")
        for name in ("weights_part", "format"):
            if getattr(self, name) is not None and self.weights is None:
                self.refuse(name, "needs weights beside it")
        if self.class_names and len(self.class_names) != self.num_classes and self.num_classes:
            self.refuse("class_names", f"must name {self.num_classes} classes")
        if self.class_names and len(set(self.class_names)) != len(self.class_names):
            self.refuse("class_names", "must all differ")
        self._check_numbers()

    @property
    def lr_scales(self) -> dict[str, float]:
        """Factors of the learning rate by the parts of the model."""
        found: dict[str, float] = {}
        for word in self.lr_scale:
            part, _, factor = word.partition("=")
            try:
                found[part] = float(factor)
            except ValueError:
                self.refuse("lr_scale", "is parts with factors, such as fc=10")
            if not part or not 0 < found[part] <= MOST_RATE:
                self.refuse("lr_scale", f"has factors above 0, at most {MOST_RATE:,}")
        return found

    @property
    def step_lr(self) -> float:
        """The learning rate for the samples of a step of the processes there are."""
        samples = self.batch_size * self.accumulate * place().size
        return self.lr if self.lr_batch is None else self.lr * samples / self.lr_batch

    def _check_numbers(self) -> None:
        _ = self.lr_scales
        for name in ("lr", "weight_decay", "distil"):
            if not 0 <= getattr(self, name) <= MOST_RATE:
                self.refuse(name, f"must be from 0 to {MOST_RATE:,}")
        for name in ("workers", "patience", "warmup", "warmup_epochs", "keep_depth"):
            value = getattr(self, name) or 0
            if not isinstance(value, str) and value < 0:
                self.refuse(name, "must be 0 or more")
        if self.warmup and self.warmup_epochs:
            self.refuse("warmup_epochs", "is given beside warmup; leave one of them out")
        if self.lr_batch is not None and self.lr_batch < 1:
            self.refuse("lr_batch", "is 1 or more samples")
        if self.workers > MOST_WORKERS:
            self.refuse("workers", f"must be at most {MOST_WORKERS}")
        if not 0 <= self.seed < 2**63:
            self.refuse("seed", "must be 0 or more and below 2**63")
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            self.refuse("nesterov", "works with optimizer sgd and a momentum above 0 alone")
        if self.steps and (self.schedule != "steps" or min(self.steps) < 1):
            self.refuse("steps", "are epochs from 1, and belong to schedule steps alone")
        if not 0 <= self.momentum < 1:
            self.refuse("momentum", "is a share from 0 up to, not including, 1")

    def check_each(
        self, name: str, owner: str, owners: int, each: int = 1, positive: bool = False
    ) -> None:
        """Refuse a field without `each` numbers for every class or channel.

        Args:
            owners: How many there are; 0 until the data say it.
            positive: The numbers are above 0.
        """
        values = getattr(self, name)
        count = len(values)
        if count % each or count != (each * owners or count):
            known = f", {each * owners} in all" if owners else ""
            self.refuse(name, f"has {each} number{'s' * (each > 1)} for each {owner}{known}")
        if positive and not all(value > 0 for value in values):
            self.refuse(name, "has numbers above 0")

    def refuse(self, name: str, what: str) -> None:
        """Raise RunError on the value of a field."""
        raise RunError(f"recipe {self.name}: {name} {what}, got {getattr(self, name)}")

    @classmethod
    def renewed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values of a stored run, with those of fields that it did not have yet."""
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"task": self.task, **asdict(self)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Recipe":
        """The inverse of `to_dict`, also after conversion to JSON, which has no tuples.

        Raises:
            RunError: a value is of another type than its field, or invalid.
        """
        given = dict(values)
        # runs from before there was a second task do not name theirs
        task = given.pop("task", "segmentation")
        if not isinstance(task, str) or task not in KINDS:
            raise RunError(f"no task called {task!r}; use the lean3d that wrote the recipe")
        kind = KINDS[task]
        if unknown := given.keys() - {f.name for f in fields(kind)}:
            raise RunError(
                f"no {', '.join(sorted(unknown))} in a recipe; use the lean3d that wrote it"
            )
        given = kind.renewed(given)
        try:
            recipe = kind(**typed(kind, given, "the recipe"))
        except TypeError as error:
            raise RunError(f"a recipe is incomplete: {error}; use the run's own") from error
        recipe.check()
        return recipe
