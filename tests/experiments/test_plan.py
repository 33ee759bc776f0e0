"""The runs of a plan, and the errors before any run starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avcil.data.clips import Clip
from avcil.errors import InputError
from avcil.experiments.config import ReproduceConfig
from avcil.experiments.method_specs import PAPER_METHODS, VARIANTS, parse_method_spec
from avcil.experiments.plan import make_plan
from avcil.experiments.status import plan_status
from avcil.experiments.studies import STUDIES, step_sizes
from avcil.features import FeatureWriter
from avcil.features.feature_spec import FeatureSpec
from avcil.features.manifest import Manifest
from avcil.methods.registry import load_method, method_names, parse_options

EXAMPLE = str(Path(__file__).parents[1] / "methods" / "example_method.py")


def config(store: Path, **options: Any) -> ReproduceConfig:
    """A reproduction of the small store."""
    if not {"benchmark", "steps", "study"} & options.keys():
        options.setdefault("classes_per_step", (2,))
    return ReproduceConfig(**({"features": (store,), "out": Path("never-written")} | options))


def test_plan_is_a_product(store: Path) -> None:
    """Every combination occurs once, each in its own folder, seed by seed for all tables."""
    plan = make_plan(
        config(
            store,
            methods=("lwf", "av-cil"),
            seeds=(3, 1),
            class_order_seeds=(5, 6),
            modalities=("audio", "visual"),
        )
    )
    cells = [(r.row, r.modality, r.class_order_seed, r.seed) for r in plan.runs]
    assert len(set(cells)) == len(cells) == 2 * 2 * 2 * 2
    assert len({run.config.out for run in plan.runs}) == 16
    assert [(r.class_order_seed, r.seed) for r in plan.runs[::4]] == [(5, 3), (5, 1), (6, 3), (6, 1)]
    assert plan.runs[0].name == "store.lwf.audio.seed-3.order-5"


def test_plan_does_not_depend_on_finished_runs(store: Path, tmp_path: Path) -> None:
    """The same options give the same plan."""
    one, two = (make_plan(config(store, out=tmp_path)) for _ in range(2))
    assert one.runs == two.runs


def test_default_rows_and_columns_are_those_of_the_paper(store: Path) -> None:
    """Nine rows in the paper's order, three modalities, three seeds."""
    plan = make_plan(config(store))
    assert tuple(dict.fromkeys(run.row for run in plan.runs)) == PAPER_METHODS
    assert len(plan.runs) == 9 * 3 * 3


@pytest.mark.parametrize("name", sorted({*VARIANTS, *PAPER_METHODS}))
def test_variants_have_valid_options(name: str) -> None:
    """Each variant has valid options of its method."""
    entry = parse_method_spec(name)
    assert entry.method in method_names()
    parse_options(load_method(entry.method), entry.settings, name=entry.method)


def test_options_of_a_row_extend_its_variant() -> None:
    """Later options replace earlier ones, as on the command line."""
    assert parse_method_spec("icarl-nme:herding=release").settings == ("classifier=nme", "herding=release")
    assert parse_method_spec("av-cil-no-class:lambda-class=0.2").settings == ("lambda_class=0.2",)


def test_published_epochs_and_exemplars(store: Path) -> None:
    """Recipes by modality; settings that were not published are left out with a reason."""
    plan = make_plan(config(store, benchmark=("ave-ci",), methods=("lwf", "ss-il", "av-cil"), seeds=(0,)))
    epochs = {(run.row, run.modality): run.config.epochs for run in plan.runs}
    assert epochs == {
        ("lwf", "audio"): 300,
        ("lwf", "visual"): 200,
        ("lwf", "audio-visual"): 200,
        ("ss-il", "audio"): 300,
        ("ss-il", "visual"): 200,
        ("ss-il", "audio-visual"): 200,
        ("av-cil", "audio-visual"): 200,
    }
    assert {run.config.exemplars for run in plan.runs} == {None, 340}
    assert plan.left_out_of("ave-ci") == [
        f"av-cil (no epochs are published for {modality} on ave-ci; give --epochs N)"
        for modality in ("audio", "visual")
    ]
    assert plan.runs[-1].config.set[0] == "lambda_instance=0.5"


def test_methods_without_published_epochs(store: Path) -> None:
    """A closed-form method needs no epochs; others use those of ss-il, with a note."""
    plan = make_plan(
        config(
            store,
            benchmark=("ave-ci",),
            methods=("lwf", "blade", EXAMPLE),
            modalities=("audio-visual",),
            seeds=(0,),
        )
    )
    epochs = {run.row: run.config.epochs for run in plan.runs}
    assert (epochs["lwf"], epochs[EXAMPLE]) == (200, 200)
    assert set(epochs) == {"lwf", "blade", EXAMPLE}
    assert plan.left_out == ()
    (note,) = plan.notes_on("ave-ci")
    assert note.startswith(
        f"{EXAMPLE}, audio-visual: no epochs are published; 200 epochs per step as for ss-il"
    )


def test_published_rows_follow_the_release(store: Path) -> None:
    """On a published benchmark, the rows of the paper use the release's forms; `-original` is the other one."""
    rows = ("afc-nme", "afc-nme-original")
    plan = make_plan(
        config(store, benchmark=("ave-ci",), methods=rows, modalities=("audio-visual",), seeds=(0,))
    )
    published, original = ({*run.config.set} for run in plan.runs)
    assert {"eta=reset", "teacher_proxies=random", "clustering=features", "validation=classifier"} < published
    assert {"eta=kept", "teacher_proxies=imprinted", "clustering=unit", "validation=head"} < original


def test_given_epochs_replace_published_ones(store: Path) -> None:
    """Then no combination is left out."""
    plan = make_plan(
        config(store, benchmark=("vs100-ci-leak-free",), methods=("av-cil",), epochs=3, seeds=(0,))
    )
    assert {run.config.epochs for run in plan.runs} == {3}
    assert len(plan.runs) == 3
    assert {run.config.benchmark for run in plan.runs} == {"vs100-ci-leak-free"}


def test_rows_of_the_ablations(store: Path) -> None:
    """The rows of both ablations, only audio-visual."""
    for study, parts in {
        "ablation-d-avsc": {
            (), ("lambda_instance=0",), ("lambda_class=0",), ("lambda_instance=0", "lambda_class=0"),
        },
        "ablation-vad": {
            (), ("vad_spatial=false",), ("vad_temporal=false",), ("vad_spatial=false", "vad_temporal=false"),
        },
    }.items():  # fmt: skip
        plan = make_plan(config(store, study=study, classes_per_step=(2,), seeds=(0,)))
        assert {run.config.set for run in plan.runs} == parts
        assert {run.modality for run in plan.runs} == {"audio-visual"}
    with pytest.raises(InputError, match="needs audio and visual features"):
        make_plan(config(store, study="ablation-vad", classes_per_step=(2,), modalities=("audio",)))


def test_memory_study_is_for_rehearsal_methods(store: Path) -> None:
    """A method without exemplars has one row."""
    plan = make_plan(
        config(store, study="memory-size", methods=("lwf", "av-cil"), benchmark=("ave-ci",), seeds=(0,))
    )
    assert {run.row: run.config.exemplars for run in plan.runs} == {
        "lwf": None,
        "av-cil, exemplars 85": 85,
        "av-cil, exemplars 170": 170,
        "av-cil, exemplars 340": 340,
        "av-cil, exemplars 680": 680,
    }


def test_step_study_divides_the_classes_into_equal_steps(store: Path) -> None:
    """Six classes: 2 or 3 per step."""
    plan = make_plan(config(store, study="step-size", methods=("lwf",), seeds=(0,)))
    assert {run.row: run.config.classes_per_step for run in plan.runs} == {
        "lwf, 2 a step": 2,
        "lwf, 3 a step": 3,
    }
    assert step_sizes(100) == [5, 10, 20, 25, 50]


def test_stores_and_benchmarks_are_paired(store: Path) -> None:
    """Two benchmarks of one store make two tables."""
    both = ("vs100-ci", "vs100-ci-leak-free")
    plan = make_plan(config(store, features=(store, store), benchmark=both, methods=("lwf",), seeds=(0,)))
    assert [dataset.name for dataset in plan.datasets] == list(both)
    with pytest.raises(InputError, match="one value for each store, 1; not 2"):
        config(store, benchmark=both)
    with pytest.raises(InputError, match="have the name 'store'"):
        make_plan(config(store, features=(store, store)))


def test_columns_depend_on_the_store(tmp_path: Path) -> None:
    """A store without visual features gives a table with one column, and an error for --modalities visual."""
    writer = FeatureWriter(
        tmp_path / "sound", Manifest(visual=None, audio=FeatureSpec(shape=(4,), encoder={"name": "m"}))
    )
    for label, split in ((label, split) for label in "ab" for split in ("train", "val", "test")):
        clip = Clip(clip_id=f"{label}-{split}", path=Path("x.wav"), label=label, split=split)
        writer.add(clip, audio=np.ones(4, dtype=np.float32), visual=None)
    writer.close()
    plan = make_plan(config(tmp_path / "sound", classes_per_step=(1,), methods=("lwf",)))
    assert plan.modalities == ("audio",)
    with pytest.raises(InputError, match="a store lacks features for --modalities visual"):
        make_plan(config(tmp_path / "sound", classes_per_step=(1,), modalities=("visual",)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("icarl-nmee",)}, "did you mean icarl-nme"),
        ({"methods": ("av-cil:lambda_clas=1",)}, "did you mean lambda_class"),
        ({"methods": ("av-cil:lambda_class",)}, "NAME=VALUE"),
        ({"methods": ("lwf", "lwf")}, "remove duplicates from --methods"),
        ({"methods": ("icarl", "icarl-nme")}, "rows icarl and icarl-nme have the same runs"),
        ({"study": "ablation", "classes_per_step": (2,)}, "did you mean ablation-vad"),
        ({"benchmark": ("ave",)}, "did you mean ave-ci"),
        ({"classes_per_step": (9,)}, "there are 6 classes"),
        ({"exemplars": (2,), "methods": ("ss-il",)}, "too small for 6 classes"),
        ({"epochs": 0}, "--epochs must be 1 or more"),
    ],
)
def test_invalid_options_are_errors_before_any_run(
    store: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """Invalid options are found before training."""
    with pytest.raises(InputError, match=message):
        plan_status(make_plan(config(store, out=tmp_path, **options)), threads=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ()}, "at least one feature store"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (1, 1)}, "--seeds has a value twice: 1 1"),
        ({"jobs": 0}, "--jobs must be 1 or more"),
        ({"exemplars": (1,), "exemplars_per_class": (1,)}, "--exemplars or --exemplars-per-class, not both"),
        ({"steps": (Path("a.json"),), "classes_per_step": (2,)}, "remove it, or"),
        ({"study": "comparison"}, "define the classes of each step"),
    ],
)
def test_contradictory_options_are_rejected(store: Path, options: dict[str, Any], message: str) -> None:
    """Each message names the options and the next step."""
    with pytest.raises(InputError, match=message):
        config(store, **options)


def test_help_lists_the_studies() -> None:
    """The help of the option lists all studies."""
    from avcil.experiments import config as module

    assert module.__file__ is not None
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert all(name in source for name in STUDIES)


def test_each_stream_has_its_table(store: Path) -> None:
    """Each stream is a dataset of the plan; excluded methods are listed by reason."""
    plan = make_plan(
        config(
            store,
            streams=("class-incremental", "few-shot,ways=1,shots=2", "online,batch_size=4"),
            methods=("blade", "av-cil", "gdumb", "joint"),
            modalities=("audio-visual",),
            epochs=7,
            seeds=(0,),
        )
    )
    assert [each.name for each in plan.datasets] == [
        "store",
        "store-few-shot-ways=1-shots=2",
        "store-online-batch_size=4",
    ]
    runs = {(run.dataset, run.row): run.config for run in plan.runs}
    assert runs["store", "joint"].epochs == runs["store-few-shot-ways=1-shots=2", "joint"].epochs == 7
    assert runs["store-few-shot-ways=1-shots=2", "av-cil"].classes_per_step is None
    assert runs["store-online-batch_size=4", "av-cil"].stream == "online,batch_size=4"
    assert len(runs) == 10
    assert plan.left_out_of("store-few-shot-ways=1-shots=2") == []
    assert plan.left_out_of("store-online-batch_size=4") == [
        "gdumb, joint (cannot take part in stream online: training again on clips of earlier tasks is not allowed)"
    ]


def test_streams_that_define_their_tasks_need_no_steps(store: Path) -> None:
    """The same is true for avcil train."""
    plan = make_plan(
        ReproduceConfig(features=(store,), out=Path("o"), streams=("few-shot,ways=1",), methods=("blade",))
    )
    assert {run.config.classes_per_step for run in plan.runs} == {None}


def test_own_tasks_exclude_a_published_benchmark(store: Path) -> None:
    """The stream's own tasks would contain the clips that a leak-free benchmark removes."""
    with pytest.raises(InputError, match="cannot follow a published benchmark"):
        ReproduceConfig(features=(store,), out=Path("o"), benchmark=("ave-ci",), streams=("few-shot",))
