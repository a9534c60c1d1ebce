"""What a model was trained on against what it is given: the extractors of both, compared field by field.

Two sources of a field fit where they have the same convention (`Extractor.convention`): a note then says that they
differ. A model of our own training refuses numbers of another convention. Published
weights cannot be trained again, so they take what there is, and a note says what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dawn_bench.errors import InputError
from dawn_bench.extractor_record import SHARED_FIELDS, Extracted
from dawn_bench.pipelines.extractors.base import EXTRACTORS, source_of
from dawn_bench.pipelines.faces import base as faces
from dawn_bench.pipelines.settings import AUTO

_DATA = "the model's training data"
#: What the fields are called in messages.
_WORDS = {"face": "faces and landmarks", "pose": "head pose", "blink": "blinks"}
#: Conventions of versions that this code no longer computes, by the beginning of the version.
_EARLIER = {
    ("pose", version): "3DDFA_V2's angles; scale, tx, ty of the head in the clip's fixed frame"
    for version in ("pose-1-", "pose-2-")
}


@dataclass(frozen=True)
class Difference:
    """A field whose extractor is another one in the model's training data (`trained`) than in what it is given.

    Either is None where it is not recorded. `fits` says whether the numbers have the same convention; None: unknown.
    """

    field: str
    trained: Extracted | None
    given: Extracted | None
    fits: bool | None

    def __str__(self) -> str:
        trained, given = (_named(e) for e in (self.trained, self.given))
        other = ", another convention" if self.fits is False else ""
        return f"{words(self.field)}: the model was trained on {trained}; this is {given}{other}"


def words(field: str) -> str:
    """A field for people: `head pose` for `pose`."""
    return _WORDS.get(field, f"{field} features")


def convention(extracted: Extracted) -> str:
    """What the numbers of an extractor mean; that of one that is not installed, or has none, is its name."""
    for (name, version), earlier in _EARLIER.items():
        if extracted.name == name and extracted.version.startswith(version):
            return earlier
    known = EXTRACTORS[extracted.name].convention if extracted.name in EXTRACTORS else ""
    return known or extracted.name


def differences(
    trained: Mapping[str, Extracted], given: Mapping[str, Extracted], *, fields: Iterable[str]
) -> list[Difference]:
    """The `fields` that a model takes whose extractors are not the same in both records.

    A version that is not recorded, as that of published weights, is not compared. A field that neither records is left
    out.
    """
    unlike = []
    for field in fields:
        ours, theirs = trained.get(field), given.get(field)
        if ours is None or theirs is None:
            if ours is not theirs:
                unlike.append(Difference(field, ours, theirs, None))
        elif ours.name != theirs.name or ("" not in (ours.version, theirs.version) and ours.version != theirs.version):
            fits = field not in SHARED_FIELDS or convention(ours) == convention(theirs)
            unlike.append(Difference(field, ours, theirs, fits))
    return unlike


def check_extractors(
    trained: Mapping[str, Extracted],
    given: Mapping[str, Extracted],
    *,
    fields: Iterable[str],
    published: bool = False,
    what: str = "this cache",
) -> list[str]:
    """Compare the records of a model and of `what` it is given; returns notes on what differs and still fits.

    `published` weights get a note for every difference. Raises `InputError` where the convention of a field differs,
    with the command that prepares the data as the model needs them.
    """
    if published:
        fields = [field for field in fields if field in trained]
    unlike = differences(trained, given, fields=fields)
    wrong = [d for d in unlike if d.fits is False and not published]
    if wrong:
        first = wrong[0]
        assert first.trained is not None and first.given is not None
        raise InputError(
            f"{what} has {words(first.field)} by {first.given}; the model was trained on {first.trained}, "
            "which has another convention.",
            hint=_remedy([d.trained for d in wrong if d.trained is not None]),
        )
    notes = [str(d) for d in unlike if d.fits is not None]
    if unknown := [d.field for d in unlike if d.trained is None]:
        notes.append(_not_recorded(unknown, _DATA))
    if unknown := [d.field for d in unlike if d.given is None]:
        notes.append(_not_recorded(unknown, what))
    return notes


def usable(record: Mapping[str, Extracted], field: str, *, published: bool = False) -> tuple[str, list[str]]:
    """The name of the extractor that computes `field` for a model with this record, and notes on a substitute.

    It is the recorded one. Where none is recorded it is the default, and a note says so. Raises `InputError` where the
    recorded one cannot run here or computes other numbers now; published weights then take the default, with a note.
    """
    recorded = record.get(field)
    if recorded is None:
        here = Extracted(field, EXTRACTORS[field]().fingerprint())
        return field, [f"{_not_recorded([field], _DATA)}; taken here: {here}"]
    reason = _unusable(recorded)
    if reason is None:
        return recorded.name, []
    what = f"the model was trained on {words(field)} by {recorded}, which {reason}"
    if not published:
        raise InputError(what)
    return field, [f"{field} takes its place here: {what}"]


def _unusable(recorded: Extracted) -> str | None:
    """Why a recorded extractor cannot compute its field here, and what to do, as a clause; None where it can."""
    if recorded.name not in EXTRACTORS:
        return "is not installed. Install the distribution that adds it."
    if not _computes(recorded):
        return "is no longer computed that way. Train the model again on a cache of this version."
    missing = EXTRACTORS[recorded.name].missing()
    return f"cannot run here: {missing}" if missing else None


def face_backend(record: Mapping[str, Extracted], requested: str) -> tuple[faces.FaceBackend, list[str]]:
    """The face back end for a model with this record, and notes: for `auto` the recorded one where it can run here.

    Another back end than the recorded one, and another version of it, is a note.
    """
    recorded = record.get("face")
    if recorded is None:
        return faces.pick_backend(requested), []
    runs = recorded.name in faces.FACE_BACKENDS and faces.FACE_BACKENDS[recorded.name].missing() is None
    backend = faces.pick_backend(recorded.name if requested == AUTO and runs else requested)
    here = Extracted(backend.name, backend.fingerprint())
    return backend, [str(d) for d in differences(record, {"face": here}, fields=["face"])]


def encoder_notes(record: Mapping[str, Extracted], encoder: str) -> list[str]:
    """A note where the audio features of a model were computed by another version, or other weights, than here."""
    if (recorded := record.get(encoder)) is None or not recorded.version:
        return []
    here = Extracted(encoder, EXTRACTORS[encoder]().fingerprint())
    return [str(d) for d in differences(record, {encoder: here}, fields=[encoder])]


def _not_recorded(fields: Iterable[str], side: str) -> str:
    return f"the extractors of the {', '.join(map(words, fields))} of {side} are not recorded"


def _named(extracted: Extracted | None) -> str:
    return "what is not recorded" if extracted is None else str(extracted)


def _remedy(trained: list[Extracted]) -> str:
    """The command that prepares a cache by the extractors of a model, or what to do where they are gone."""
    if gone := [e for e in trained if e.name not in EXTRACTORS or not _computes(e)]:
        return f"{gone[0]} cannot be computed here: train the model again on this cache."
    flags = " ".join(f"--{EXTRACTORS[e.name].kind} {source_of(e.name)}" for e in trained)
    return f"Prepare another cache: dawn-bench prepare --root VIDEOS --cache NEW {flags}"


def _computes(extracted: Extracted) -> bool:
    """Whether the installed extractor has the convention that the recorded version had."""
    installed = EXTRACTORS[extracted.name]().fingerprint()
    return convention(extracted) == convention(Extracted(extracted.name, installed))
