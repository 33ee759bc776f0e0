"""Rows of a table: a method with options, or a named variant of one.

>>> parse_method_spec("icarl-nme")
MethodSpec(name='icarl-nme', method='icarl', settings=('classifier=nme',))
>>> parse_method_spec("av-cil:lambda_class=0.5").settings
('lambda_class=0.5',)
"""

from __future__ import annotations

from dataclasses import dataclass

from avcil.errors import InputError, unknown_name
from avcil.methods.registry import METHODS, method_names
from avcil.utils.options import split_settings

AV_CIL_CLASSIFIERS = ("nme", "wa", "bic", "blade-exemplars", "blade-statistics")
"""Classifiers that can replace AV-CIL's head."""
_ICARL_RELEASE = ("distillation=release", "herding=release", "validation=classifier")
_ICARL_ORIGINAL = ("distillation=original", "herding=distinct", "validation=head")
_AFC_RELEASE = (
    "herding=release",
    "validation=classifier",
    "eta=reset",
    "teacher_proxies=random",
    "clustering=features",
    "finetuning_iterations=0",
)
_AFC_ORIGINAL = (
    "herding=distinct",
    "validation=head",
    "eta=kept",
    "teacher_proxies=imprinted",
    "clustering=unit",
    "finetuning_iterations=320",
)
_SSIL_RELEASE = ("exemplar_batches=repeated", "cross_entropy=release-ave")
_SSIL_ORIGINAL = ("exemplar_batches=reshuffled", "cross_entropy=separated")

VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "icarl-nme": ("icarl", ("classifier=nme",)),
    "icarl-fc": ("icarl", ("classifier=fc",)),
    "icarl-nme-release": ("icarl", ("classifier=nme", *_ICARL_RELEASE)),
    "icarl-fc-release": ("icarl", ("classifier=fc", *_ICARL_RELEASE)),
    "icarl-nme-original": ("icarl", ("classifier=nme", *_ICARL_ORIGINAL)),
    "icarl-fc-original": ("icarl", ("classifier=fc", *_ICARL_ORIGINAL)),
    "afc-nme": ("afc", ("classifier=nme",)),
    "afc-lsc": ("afc", ("classifier=lsc",)),
    "afc-nme-release": ("afc", ("classifier=nme", *_AFC_RELEASE)),
    "afc-lsc-release": ("afc", ("classifier=lsc", *_AFC_RELEASE)),
    "afc-nme-original": ("afc", ("classifier=nme", *_AFC_ORIGINAL)),
    "afc-lsc-original": ("afc", ("classifier=lsc", *_AFC_ORIGINAL)),
    "ss-il-release": ("ss-il", _SSIL_RELEASE),
    "ss-il-original": ("ss-il", _SSIL_ORIGINAL),
    "av-cil-release": ("av-cil", ("class_form=release", *_SSIL_RELEASE)),
    "av-cil-original": ("av-cil", ("class_form=release", *_SSIL_ORIGINAL)),
    "av-cil-eq7": ("av-cil", ("class_form=paper",)),
    **{f"av-cil-{name}": ("av-cil", (f"classifier={name}",)) for name in AV_CIL_CLASSIFIERS},
    "av-cil-no-instance": ("av-cil", ("lambda_instance=0",)),
    "av-cil-no-class": ("av-cil", ("lambda_class=0",)),
    "av-cil-no-d-avsc": ("av-cil", ("lambda_instance=0", "lambda_class=0")),
    "av-cil-no-spatial": ("av-cil", ("vad_spatial=false",)),
    "av-cil-no-temporal": ("av-cil", ("vad_temporal=false",)),
    "av-cil-no-vad": ("av-cil", ("vad_spatial=false", "vad_temporal=false")),
    "av-cil-neither": (
        "av-cil",
        ("lambda_instance=0", "lambda_class=0", "vad_spatial=false", "vad_temporal=false"),
    ),
}
"""Method and options by the name of a variant. `-release` is the form in AV-CIL's release, the default for published
benchmarks; `-original` is the form in the method's own paper, the default for other data."""

PAPER_METHODS = (
    "fine-tuning",
    "lwf",
    "icarl-nme",
    "icarl-fc",
    "ss-il",
    "afc-nme",
    "afc-lsc",
    "av-cil",
    "joint",
)
"""The rows of the paper's comparison."""
UPPER_BOUND = "joint"
"""Trains on all clips of all classes; it is excluded from comparisons."""


@dataclass(frozen=True)
class MethodSpec:
    """A row: its name in the table, the method, and options of the method as NAME=VALUE."""

    name: str
    method: str
    settings: tuple[str, ...] = ()


def parse_method_spec(word: str) -> MethodSpec:
    """Parse `NAME` or `NAME:OPTION=VALUE,...`, where NAME is a method, a variant or a .py file."""
    name, _, options = word.partition(":")
    settings = tuple(part.strip() for part in options.split(",") if part.strip())
    options_of_variant: tuple[str, ...] = ()
    if name in VARIANTS and name in method_names():
        raise InputError(
            f"{name} is a variant of {VARIANTS[name][0]} in avcil, and a method of the package "
            f"{METHODS.package_of(name)}. Choose another name in the package"
        )
    if name.endswith(".py") or (name not in VARIANTS and name in method_names()):
        method = name
    elif name in VARIANTS:
        method, options_of_variant = VARIANTS[name]
    else:
        raise unknown_name("method or variant", name, {*VARIANTS, *method_names()})
    return MethodSpec(word, method, merge_options(options_of_variant, settings))


def merge_options(*groups: tuple[str, ...]) -> tuple[str, ...]:
    """Merge options NAME=VALUE; a later value of a name replaces an earlier one.

    >>> merge_options(("a=1", "b=2"), ("a=3",))
    ('a=3', 'b=2')
    """
    words = [word for group in groups for word in group]
    settings = split_settings(words, "options of a method are NAME=VALUE, as in av-cil:lambda_class=0.5")
    values = {name.replace("-", "_"): value for name, value in settings.items()}
    return tuple(f"{name}={value}" for name, value in values.items())
