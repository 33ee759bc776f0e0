"""The modalities of clips, features and models."""

from __future__ import annotations

from enum import StrEnum

from avcil.errors import unknown_name


class Modality(StrEnum):
    """Audio, visual, or both. The values are the words used in options and files.

    >>> Modality("audio").has_visual
    False
    >>> [str(part) for part in Modality.AUDIO_VISUAL.parts]
    ['audio', 'visual']
    """

    AUDIO_VISUAL = "audio-visual"
    AUDIO = "audio"
    VISUAL = "visual"

    @property
    def has_audio(self) -> bool:
        return self is not Modality.VISUAL

    @property
    def has_visual(self) -> bool:
        return self is not Modality.AUDIO

    @property
    def parts(self) -> tuple[Modality, ...]:
        """The single modalities that it consists of, audio first."""
        return (Modality.AUDIO,) * self.has_audio + (Modality.VISUAL,) * self.has_visual

    @property
    def in_words(self) -> str:
        """Its name in messages, such as "3 clips without frames".

        >>> Modality.AUDIO_VISUAL.in_words
        'audio and frames'
        """
        return " and ".join("audio" if part is Modality.AUDIO else "frames" for part in self.parts)

    @classmethod
    def of(cls, *, has_audio: bool, has_visual: bool) -> Modality | None:
        """The modality that consists of these parts; None if there are none.

        >>> str(Modality.of(has_audio=False, has_visual=True))
        'visual'
        """
        if has_audio and has_visual:
            return cls.AUDIO_VISUAL
        return cls.AUDIO if has_audio else cls.VISUAL if has_visual else None

    def present(self, audio: object | None, visual: object | None) -> Modality | None:
        """What a clip has of this modality; None if nothing.

        Args:
            audio: Its audio features; None if it has none.
            visual: Its visual features; None if it has none.

        >>> Modality.AUDIO_VISUAL.present(None, "frames") is Modality.VISUAL
        True
        """
        return Modality.of(
            has_audio=self.has_audio and audio is not None, has_visual=self.has_visual and visual is not None
        )

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise unknown_name("modality", str(value), cls)
