"""`avcil encoders`: every encoder is listed with the properties for choosing one."""

from __future__ import annotations

import json

from avcil.encoders.catalog import WEIGHTS
from avcil.encoders.registry import (
    AUDIO,
    DEFAULT_AUDIO,
    DEFAULT_VISUAL,
    JOINT,
    SHOWN_NAMES,
    VISUAL,
    audio_encoder,
    visual_encoder,
)


def listed(avcil, capsys, *arguments) -> list[dict]:
    assert avcil("encoders", "--json", *arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_every_encoder_is_listed(avcil, capsys):
    """With license and purpose; available ones also with their actual size and shape."""
    entries = listed(avcil, capsys, "--no-speed")
    names = [(entry["kind"], entry["name"]) for entry in entries]
    kinds = {"visual": (DEFAULT_VISUAL, *VISUAL), "audio": (DEFAULT_AUDIO, *AUDIO), "joint": (*JOINT,)}
    assert names == [(kind, SHOWN_NAMES.get(name, name)) for kind, known in kinds.items() for name in known]
    by_name = {entry["name"]: entry for entry in entries}
    assert all(entry["purpose"] != "not stated" != entry["license"] for entry in entries)
    assert by_name["yamnet"]["weights_bytes"] == (WEIGHTS / "yamnet.safetensors").stat().st_size
    assert by_name["yamnet"]["features"] == [audio_encoder("yamnet").width]
    visual = visual_encoder("efficientnet-lite0")
    assert by_name["efficientnet-lite0"]["features"] == [*visual.token_grid, visual.width]
    assert by_name["log-mel"]["weights_bytes"] == 0
    assert by_name["log-mel"]["status"] == "ready"
    assert by_name["videomae-base"]["status"].endswith("downloads its weights at first use")


def test_default_combinations_are_listed(avcil, capsys):
    """The default combinations of `avcil extract`, with the sums over their parts."""
    defaults = [entry for entry in listed(avcil, capsys, "--no-speed") if entry["is_default"]]
    sizes = {
        name: (WEIGHTS / f"{name}.safetensors").stat().st_size for name in ("efficientnet_lite0", "yamnet")
    }
    assert [(entry["name"], entry["features"], entry["weights_bytes"]) for entry in defaults] == [
        (DEFAULT_VISUAL, [4, 25, 128 + 128], sizes["efficientnet_lite0"]),
        (DEFAULT_AUDIO, [148 + 128], sizes["yamnet"]),
    ]
    assert {(entry["license"], entry["status"]) for entry in defaults} == {("Apache-2.0", "ready")}
    assert avcil("encoders", "--no-speed") == 0
    shown = capsys.readouterr().out
    assert f"{DEFAULT_VISUAL} (default)\n" in shown
    assert f"{DEFAULT_AUDIO} (default)\n" in shown


def test_speed_of_available_encoders(avcil, capsys):
    """Encoders that need no download have a speed, others none; the text has one line for each."""
    for entry in listed(avcil, capsys):
        assert (entry["milliseconds"] is not None) == (entry["status"] == "ready"), entry["name"]
    assert avcil("encoders", "--no-speed") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert all(name in shown for name in ("patch-motion", "Apache-2.0", "hf:MODEL", "--visual"))
