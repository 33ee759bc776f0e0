"""Features of the clips in files of the released form."""

import pytest
import released_files as files
from released_stores import IDS


@pytest.fixture(scope="module")
def visual():
    return files.visual_of(IDS)


@pytest.fixture(scope="module")
def audio():
    return files.audio_of(IDS)
