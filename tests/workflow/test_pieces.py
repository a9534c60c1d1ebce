"""Clips in pieces, as DAWN's paper scores HDTF: one rule for generation and scoring, for `evaluate` and `reproduce`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_cache import write_tiny_cache

from dawn_bench.baselines.given_pieces import CUT_FROM_WHOLE
from dawn_bench.cache import SETTINGS_FILE, Cache
from dawn_bench.errors import InputError
from dawn_bench.job import read_job
from dawn_bench.metrics.protocols.base import PAPER_DAWN, PIECE_LENGTHS, protocol
from dawn_bench.metrics.scoring.base import METRICS
from dawn_bench.metrics.scoring.needs import evaluation_changes
from dawn_bench.pipelines.media.video import read_frames, write_video
from dawn_bench.reports.leaderboard import leaderboards, with_published
from dawn_bench.reports.published import published_tables
from dawn_bench.reports.store import ResultsStore
from dawn_bench.results import ScoreRow
from dawn_bench.workflow import scoring
from dawn_bench.workflow.evaluate import Evaluation, evaluate_methods
from dawn_bench.workflow.pieces import cut_pieces
from dawn_bench.workflow.reproduce import reproduce
from dawn_bench.workflow.reproduction import Reproduction

FRAMES = 450
#: What makes a row one of a ranked method.
DAWN = {"method": "dawn", "method_class": "portrait", "rankable": True, "metric": "fid", "label": "FID"}
#: 450 frames are two pieces of 200 and 50 frames, which are less than half a piece.
IDS = {"c0_f00000", "c0_f00200", "c1_f00000", "c1_f00200"}


@pytest.fixture(scope="module")
def hdtf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of 18 seconds in a cache of the kind `hdtf`."""
    return _kind(write_tiny_cache(tmp_path_factory.mktemp("hdtf"), frames=FRAMES, splits=("test", "test")), "hdtf")


def _kind(cache: Path, dataset: str) -> Path:
    facts = json.loads((cache / SETTINGS_FILE).read_text())
    (cache / SETTINGS_FILE).write_text(json.dumps(facts | {"dataset": dataset}))
    return cache


@pytest.fixture
def pageless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation without writing the page, which takes longer than all else here."""
    monkeypatch.setattr("dawn_bench.workflow.evaluate.write_report", lambda results, out: [out / "report.html"])


@pytest.fixture(scope="module")
def outputs(hdtf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's outputs in three folders: `whole` clips, pieces by `frame` and by `number`; equal pictures in all."""
    root = tmp_path_factory.mktemp("outputs")
    for clip in Cache(hdtf).clips("test"):
        frames, sound = np.asarray(clip["frames"]) // 2, np.asarray(clip["audio"])
        names = {f"whole/{clip.id}": (0, FRAMES)}
        names |= {f"frame/{clip.id}_f{k:05d}": (k, k + 200) for k in (0, 200)}
        names |= {f"number/{clip.id}_{k // 200:03d}": (k, k + 200) for k in (0, 200)}
        for name, (a, b) in names.items():
            path = root / f"{name}.mp4"
            path.parent.mkdir(exist_ok=True)
            write_video(path, frames[a:b], audio=sound[a * 640 : b * 640], lossless=True)
    return root


def _job(cache: Path, out: Path, **changes: object) -> Evaluation:
    settings = {"cache": cache, "out": out, "methods": ("still",), "metrics": ("psnr",), "sanity": False}
    return Evaluation(**(settings | {"device": "cpu"} | changes))


def _row(job: Evaluation) -> ScoreRow:
    (row,) = evaluate_methods(job).rows
    return row


def test_hdtf_is_generated_and_scored_in_the_papers_pieces(hdtf: Path, tmp_path: Path) -> None:
    row = _row(_job(hdtf, tmp_path))
    assert (row.protocol, row.piece_length) == ("paper-dawn-pieces-200", 200)
    assert (row.n_clips, row.n_frames, set(row.per_clip)) == (4, 800, IDS)
    # generated from the piece's own first frame
    still, clip = read_frames(tmp_path / "outputs" / "still" / "c1_f00200.mp4"), Cache(hdtf)["c1"]
    assert len(still) == 200 and (still == clip["frames"][200]).all()
    facts = ResultsStore(tmp_path).facts().dataset
    assert (facts["clips"], facts["scored as"]) == (2, "4 pieces of 200 frames")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## hdtf, test split, pieces of 200 frames: sanity rows" in text
    assert "A piece counts as a clip: its frame 0 is the true one" in text
    assert json.loads((tmp_path / "report" / "leaderboard.json").read_text())["leaderboards"][0]["piece_length"] == 200


@pytest.mark.parametrize("dataset", ["crema", "folder", "tiny"])
@pytest.mark.usefixtures("pageless")
def test_other_datasets_stay_whole_and_keep_their_protocol(hdtf: Path, dataset: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for path in hdtf.iterdir():
        (cache / path.name).symlink_to(path)
    (cache / SETTINGS_FILE).unlink()
    facts = json.loads((hdtf / SETTINGS_FILE).read_text())
    (cache / SETTINGS_FILE).write_text(json.dumps(facts | {"dataset": dataset}))
    row = _row(_job(cache, tmp_path / "out", max_clips=1))
    assert (row.protocol, row.piece_length, set(row.per_clip), row.n_frames) == ("paper-dawn", None, {"c0"}, FRAMES)
    assert row.fingerprint == _row(_job(hdtf, tmp_path / "same", max_clips=1, piece_length="whole")).fingerprint


def test_a_protocol_of_before_keeps_its_fingerprint_and_pieces_have_another() -> None:
    assert protocol(dataset="crema") is PAPER_DAWN and protocol(dataset=None) is PAPER_DAWN
    assert protocol("paper-dawn", ("piece_length=null",), dataset="hdtf") == PAPER_DAWN
    # as an earlier version computed it, over the fields that it had
    assert PAPER_DAWN.fingerprint == "69b32982788dfbc6"
    changed = protocol("paper-dawn", ("fid_resize=clean",))
    assert (changed.id, changed.fingerprint) == ("paper-dawn+9372c480", "7199831943259a44")
    in_pieces = protocol(dataset="hdtf")
    assert (in_pieces.id, in_pieces.piece_length, in_pieces.piece_remainder) == ("paper-dawn-pieces-200", 200, "half")
    variants = [
        in_pieces,
        protocol("paper-dawn", ("piece_length=100",), dataset="hdtf"),
        protocol("paper-dawn", ("piece_remainder=drop",), dataset="hdtf"),
        protocol("paper-dawn", ("skip_first=1",), dataset="hdtf"),
        protocol("paper-dawn-tracked", dataset="hdtf"),
        PAPER_DAWN,
    ]
    assert len({v.fingerprint for v in variants}) == len({v.id for v in variants}) == len(variants)
    assert protocol("paper-dawn", ("piece_remainder=drop",), dataset="crema") == PAPER_DAWN  # nothing is cut
    assert evaluation_changes([METRICS["psnr"]], in_pieces) == ["metrics=psnr"]  # a command that can be typed
    for dataset in ("hdtf", "crema"):  # the id that a report shows is a name
        assert protocol(in_pieces.id, dataset=dataset) == in_pieces
        dropped = protocol("paper-dawn-pieces-150-drop", dataset=dataset)
        assert dropped == PAPER_DAWN.in_pieces(150, "drop")
    assert protocol(in_pieces.id, ("piece_length=null",), dataset="hdtf") == PAPER_DAWN
    for unknown in ("paper-down-pieces-200", "paper-dawn-pieces-", "paper-dawn-pieces-²", "paper-dawn-pieces-9-some"):
        with pytest.raises(InputError, match=r"no protocol called .*paper-dawn"):
            protocol(unknown)
    with pytest.raises(InputError, match="piece_length"):
        protocol("paper-dawn-pieces-1")
    assert PAPER_DAWN.in_pieces(200) == in_pieces and in_pieces.in_pieces(None) == PAPER_DAWN


@pytest.mark.usefixtures("pageless")
def test_pieces_longer_than_every_clip_are_whole_clips(hdtf: Path, outputs: Path, tmp_path: Path) -> None:
    whole = _row(_job(hdtf, tmp_path / "w", methods=("mine",), outputs=outputs / "whole", piece_length="whole"))
    row = _row(_job(hdtf, tmp_path / "l", methods=("mine",), outputs=outputs / "whole", piece_length=9999))
    assert (row.protocol, row.piece_length, row.fingerprint) == ("paper-dawn", None, whole.fingerprint)
    folder = tmp_path / "numbered"
    folder.mkdir()
    for name in ("c0", "c1"):
        (folder / f"{name}_000.mp4").write_bytes((outputs / "whole" / f"{name}.mp4").read_bytes())
    row = _row(_job(hdtf, tmp_path / "n", methods=("mine",), outputs=folder, piece_length=9999))
    assert row.per_clip == whole.per_clip


@pytest.mark.usefixtures("pageless")
def test_the_rest_of_a_clip_and_its_frame_0_are_fields(hdtf: Path, tmp_path: Path) -> None:
    clips = Cache(hdtf).clips("test")[:1]

    def lengths(*fields: str) -> list[tuple[str, int]]:
        return [(c.id, c.n_frames) for c in cut_pieces(clips, protocol("paper-dawn", fields, dataset="hdtf"))]

    whole = [("c0_f00000", 200), ("c0_f00200", 200)]
    assert lengths() == lengths("piece_remainder=drop") == whole
    assert lengths("piece_remainder=keep") == [*whole, ("c0_f00400", 50)]
    assert lengths("piece_length=300") == [("c0_f00000", 300), ("c0_f00300", 150)]
    assert lengths("piece_length=300", "piece_remainder=drop") == [("c0_f00000", 300)]
    assert lengths("piece_length=500") == lengths("piece_length=null") == [("c0", 450)]
    with pytest.raises(InputError, match=r"no chosen clip has 500 frames \(longest: 450\)"):
        lengths("piece_length=500", "piece_remainder=drop")
    piece = cut_pieces(clips, protocol(dataset="hdtf"))[1]
    assert (piece.whole_id, piece.first_frame, len(piece["audio"])) == ("c0", 200, 200 * 640)
    np.testing.assert_array_equal(piece["frames"], clips[0]["frames"][200:400])
    np.testing.assert_array_equal(piece["audio"], clips[0]["audio"][200 * 640 : 400 * 640])
    row = _row(_job(hdtf, tmp_path, protocol_set=("skip_first=1",)))
    assert row.n_frames == 4 * 199 and row.protocol.startswith("paper-dawn-pieces-200+")
    assert row.value is not None and row.value < 100


def test_rows_from_before_are_kept_and_never_ranked_with_pieces(hdtf: Path, tmp_path: Path) -> None:
    before = [_row(_job(hdtf, tmp_path, piece_length="whole")), *ResultsStore(tmp_path).rows()][0]
    assert before.protocol == "paper-dawn" and before.piece_length is None  # as every earlier version wrote it
    evaluate_methods(_job(hdtf, tmp_path))
    rows = ResultsStore(tmp_path).rows()
    assert {(r.protocol, r.value) for r in rows} >= {("paper-dawn", before.value)} and len(rows) == 2
    tables = with_published(leaderboards(rows), published_tables([1]))
    assert [(t.piece_length, [li.method for li in t.lines if li.group == "sanity"]) for t in tables] == [
        (200, ["still"]),
        (None, ["still"]),
    ]
    assert "not comparable with scores over pieces of 200 frames" in " ".join(tables[1].notes)
    assert "not comparable with scores over whole clips" in " ".join(tables[0].notes)
    assert "by an earlier version that did not record pieces" in " ".join(tables[1].notes)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## hdtf, test split, whole clips: sanity rows" in text


@pytest.mark.usefixtures("pageless")
def test_the_papers_rows_stand_only_below_its_pieces(hdtf: Path, tmp_path: Path) -> None:
    row = _row(_job(hdtf, tmp_path)).model_copy(update=DAWN)
    rows = [row, row.model_copy(update={"piece_length": None, "protocol": "paper-dawn"})]
    rows += [row.model_copy(update={"piece_length": 400, "protocol": "paper-dawn-pieces-400-drop"})]
    shown = {
        t.piece_length: {li.method for li in t.lines if li.group == "published"}
        for t in with_published(leaderboards(rows), published_tables([1, 3]))
    }
    assert "DAWN (table 1)" in shown[200] and "DAWN, 200 frames (table 3)" in shown[200]
    assert shown[400] == {"DAWN, 400 frames (table 3)"} and shown[None] == set()


@pytest.mark.usefixtures("pageless")
def test_pieces_of_two_lengths_do_not_overwrite_each_other(hdtf: Path, tmp_path: Path) -> None:
    usual, other = (_row(_job(hdtf, tmp_path, piece_length=n)) for n in (200, 150))
    for _ in range(2):  # the page is about both, and a run again replaces its part
        facts = ResultsStore(tmp_path).facts().dataset
        assert facts["scored as"] == "4 pieces of 200 frames; 6 pieces of 150 frames"
        assert facts["clips scored (solved by all methods)"] == "4 (pieces of 200 frames); 6 (pieces of 150 frames)"
        assert facts["frames"] == "800 (pieces of 200 frames); 900 (pieces of 150 frames)"
        _row(_job(hdtf, tmp_path, piece_length=150))
    assert other.protocol == "paper-dawn-pieces-150" and other.n_frames == 2 * 3 * 150
    assert len(read_frames(tmp_path / "outputs" / "still" / "c0_f00000.mp4")) == 200
    assert len(read_frames(tmp_path / "outputs-pieces-150" / "still" / "c0_f00000.mp4")) == 150
    assert {(r.piece_length, r.value) for r in ResultsStore(tmp_path).rows()} == {
        (200, usual.value),
        (150, other.value),
    }


@pytest.mark.usefixtures("pageless")
def test_whole_videos_and_pieces_of_a_user_give_the_same_scores(hdtf: Path, outputs: Path, tmp_path: Path) -> None:
    jobs = {
        kind: _job(hdtf, tmp_path / kind, methods=("mine",), outputs=outputs / kind)
        for kind in ("whole", "frame", "number")
    }
    rows = {kind: _row(job) for kind, job in jobs.items()}
    assert set(rows["frame"].per_clip) == IDS and rows["frame"].coverage == 1
    assert rows["whole"].per_clip == rows["frame"].per_clip == rows["number"].per_clip
    assert rows["whole"].fingerprint == rows["frame"].fingerprint
    assert f"{CUT_FROM_WHOLE} (4 clips)" in rows["whole"].note and CUT_FROM_WHOLE not in rows["frame"].note
    again = _row(jobs["whole"])  # from what was kept of the first run
    assert (again.per_clip, again.note) == (rows["whole"].per_clip, rows["whole"].note)
    gallery = {i.clip_id: i.video for i in ResultsStore(tmp_path / "whole").gallery()}
    assert len(read_frames(gallery["c0_f00200"])) == 200


@pytest.mark.usefixtures("pageless")
def test_pieces_are_read_from_their_place_in_the_whole_video(hdtf: Path, outputs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "short"
    folder.mkdir()
    whole = read_frames(outputs / "whole" / "c0.mp4")
    write_video(folder / "c0.mp4", whole[:300], lossless=True)  # ends in the middle of the second piece
    (folder / "c1.mp4").symlink_to(outputs / "whole" / "c1.mp4")
    done = evaluate_methods(_job(hdtf, tmp_path / "out", methods=("mine",), outputs=tmp_path / "short", max_clips=1))
    assert done.rows[0].frames_missing == {"c0_f00200": "100-199"}
    write_video(folder / "c0.mp4", whole[:150], lossless=True)
    done = evaluate_methods(_job(hdtf, tmp_path / "out", methods=("mine",), outputs=tmp_path / "short", max_clips=1))
    assert done.failed == [("mine", "c0_f00200", "bad_output")]


@pytest.mark.usefixtures("pageless")
def test_other_outputs_replace_the_scores_of_every_length(
    hdtf: Path, outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(folder: Path, length: int | str) -> None:
        own = {"methods": ("mine",), "outputs": folder, "piece_length": length, "max_clips": 1}
        evaluate_methods(_job(hdtf, tmp_path / "out", **own))

    def held() -> list[int | None]:
        return sorted((r.piece_length for r in ResultsStore(tmp_path / "out").rows()), key=str)

    for length in (200, 150, "whole"):
        evaluate(outputs / "whole", length)
    assert held() == [150, 200, None]  # one set of files in every length
    evaluate(outputs / "frame", 200)  # the same pictures in files of their own: nothing is known of the others
    assert held() == [150, 200, None]
    other = tmp_path / "other"
    other.mkdir()
    for path in (outputs / "whole").iterdir():
        write_video(other / path.name, 255 - read_frames(path), lossless=True)
    evaluate(other, 150)
    assert held() == [150, 200]  # the files of pieces
    evaluate(outputs / "whole", 200)
    assert held() == [200, None]
    assert "pieces of 150 frames: the outputs have changed" in capsys.readouterr().err


def test_a_changed_method_replaces_its_scores_in_other_lengths(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    fields = {"dataset": "hdtf", "split": "test", "metric": "psnr", "value": 1.0, "n_clips": 1, "n_frames": 1}
    for length, settings, when in ((200, "a", 1), (100, "a", 2), (50, "b", 3)):
        row = ScoreRow(**fields, method="dawn", protocol=f"p{length}", fingerprint="f", piece_length=length)
        row = row.model_copy(update={"outputs": {"c_f00000": f"{length}"}, "origins": {"": settings}})
        store.append([row.model_copy(update={"created": f"2026-01-0{when}T00:00:00+00:00"})])
        assert {r.piece_length for r in store.rows()} == ({50} if settings == "b" else {200, length})


@pytest.mark.usefixtures("pageless")
def test_a_table_of_files_names_pieces_or_whole_clips(hdtf: Path, outputs: Path, tmp_path: Path) -> None:
    tables = {
        "whole": "clip,file\nc0,whole/c0.mp4\nc1,whole/c1.mp4\n",
        "frame": "clip,file\n" + "".join(f"{i},frame/{i}.mp4\n" for i in sorted(IDS)),
        "number": "clip,file\n"
        + "".join(f"{c}_{k:03d},number/{c}_{k:03d}.mp4\n" for c in ("c0", "c1") for k in (0, 1)),
    }
    values = set()
    for kind, text in tables.items():
        (tmp_path / f"{kind}.csv").write_text(text)
        job = _job(hdtf, tmp_path / kind, methods=("mine",), outputs=outputs, mapping=tmp_path / f"{kind}.csv")
        row = _row(job)
        values.add((row.value, row.n_clips, row.coverage))
    assert len(values) == 1 and next(iter(values))[1:] == (4, 1.0)


def test_a_folder_of_both_kinds_or_of_neither_is_refused_in_one_line(hdtf: Path, outputs: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    for path in [outputs / "whole" / "c0.mp4", outputs / "frame" / "c0_f00000.mp4"]:
        (both / path.name).write_bytes(path.read_bytes())
    job = _job(hdtf, tmp_path / "out", methods=("mine",), outputs=both)
    with pytest.raises(InputError, match=r"pieces \(c0_f00000.mp4\) and of whole clips \(c0.mp4\)") as caught:
        evaluate_methods(job)
    assert "\n" not in str(caught.value) and "--mapping" in str(caught.value)
    (both / "c0.mp4").rename(both / "x.mp4")
    (both / "c0_f00000.mp4").rename(both / "y.mp4")
    with pytest.raises(InputError, match=r"Expected for example c0_f00000.mp4 or c0.mp4"):
        evaluate_methods(job)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("length", ["0", "1", "-5", "many", "2.5", "²"])
def test_a_wrong_length_is_refused_in_one_line(length: str) -> None:
    with pytest.raises(InputError, match=r"--piece-length: .* is no length of pieces.*such as 200, or whole") as caught:
        read_job(Evaluation, {"cache": "C", "out": "O", "piece_length": length})
    assert "\n" not in str(caught.value)
    job, _ = read_job(Evaluation, {"cache": "C", "out": "O", "piece_length": "120", "device": "cpu"})
    assert job.protocol_changes == ("piece_length=120",)


@pytest.mark.usefixtures("pageless")
def test_evaluate_and_reproduce_cut_alike(hdtf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate_methods(_job(hdtf, tmp_path / "e", methods=("ground-truth",)))
    real = scoring.score_method

    def cheap(*arguments, metrics, **settings):  # type: ignore[no-untyped-def]
        (row,) = real(*arguments, metrics=["psnr"], **settings)
        return [row.model_copy(update={"metric": name, "label": METRICS[name].title}) for name in metrics]

    monkeypatch.setattr(scoring, "score_method", cheap)
    done = reproduce(Reproduction(table=1, cache=hdtf, out=tmp_path / "r", device="cpu"))
    assert next(line for line in done.lines if line.label == "Ground truth").asked == len(IDS)
    rows = {r.piece_length: r for r in ResultsStore(tmp_path / "r").rows()}
    (ours,) = ResultsStore(tmp_path / "e").rows()
    assert (rows[200].protocol, rows[200].fingerprint) == (ours.protocol, ours.fingerprint)
    assert PIECE_LENGTHS["hdtf"] == 200
