import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cli_cases import last_json

import lean3d as library
from lean3d.data import MOTIONS
from lean3d.data.pixels import cut_frame, fit_frame
from lean3d.data.video import VideoFile
from lean3d.infer import Session

NET = "d_resnet_18", "--widths", 4, 4, 4, 4, "--num-classes", 5, "--size", 32
NET += ("--options", "window=4")


def film(path, frames=9, size=(48, 64)):
    import av

    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            pixels = random.integers(0, 256, (*size, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def video(tmp_path):
    return film(tmp_path / "film.mp4")


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    size = dict(widths=(4, 4, 4, 4), num_classes=5, window=4)
    net = library.create_model("d_resnet_18", **size)
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def lines(out):
    assert all(line.startswith("{") for line in out.splitlines()), "more than JSON on stdout"
    return [json.loads(line) for line in out.splitlines() if line.startswith('{"source"')]


def test_a_video_is_watched_to_its_end(lean3d, video):
    code, out, err = lean3d("stream", NET[0], video, *NET[1:])
    answer = last_json(out)
    assert code == 0
    assert answer["model"] == "d_resnet_18"
    (source,) = answer["sources"]
    assert (source["frames"], source["dropped"], source["error"]) == (9, 0, None)
    assert source["p99 ms"] >= source["median ms"] > 0
    assert out.splitlines()[0].split()[:3] == ["source", "frames", "fps"]
    assert "weights are random" in err


def test_json_has_a_line_a_frame_that_says_what_the_model_says_of_the_clip(lean3d, video, weights):
    code, out, err = lean3d("stream", NET[0], video, *NET[1:], "--json", "--weights", weights)
    said = lines(out)
    # weights of lean3d's own names were published with no input
    assert (code, err.split()[0]) == (0, "source")
    assert [line["frame"] for line in said] == list(range(9))
    assert [line["seconds"] for line in said] == pytest.approx([t / 10 for t in range(9)])
    net = library.create_model("d_resnet_18", widths=(4, 4, 4, 4), num_classes=5, window=4)
    net.load_state_dict(torch.load(weights, weights_only=True))
    clip = torch.stack([fit_frame(f.pixels, (32, 32)) for f in VideoFile(video)], 1)
    expected = library.stream(net.eval()).run(clip[None])[0].softmax(-1)
    for line, row in zip(said, expected, strict=True):
        told = {int(name): share for name, share in line["top"]}
        assert [told[k] for k in range(5)] == pytest.approx(row.tolist(), abs=1e-3)


def test_a_conventional_network_is_watched_by_waiting(lean3d, video, tmp_path):
    torch.manual_seed(0)
    net = library.create_model("mc3_18", widths=(4, 4, 4, 4), num_classes=5).eval()
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    small = "--widths", 4, 4, 4, 4, "--num-classes", 5, "--size", 32
    asked = "stream", "mc3_18", video, *small, "--weights", tmp_path / "weights.pt", "--json"
    code, out, err = lean3d(*asked, "--wait")
    said = lines(out)
    assert code == 0
    assert "published: 32 x 32, every frame of 15 a second; --size, --step and --rate" in err
    assert [line["frame"] for line in said] == list(range(9))
    # torchvision's names, so torchvision's mean and deviation
    loaded = library.load_checkpoint(net, tmp_path / "weights.pt")
    clip = torch.stack([cut_frame(f.pixels, (32, 32)) for f in VideoFile(video)], 1)
    expected = net(loaded.preprocessing.normalise(255 * clip[None]))[0].softmax(-1)
    told = {int(name): share for name, share in said[-1]["top"]}
    assert [told[k] for k in range(5)] == pytest.approx(expected.tolist(), abs=1e-3)
    assert lean3d(*asked, "--window", 4)[0] == 2


@pytest.fixture
def csn(tmp_path):
    """A file of CSN's authors: crop 224 of a shorter side of 256, every second frame."""
    net = library.create_model("ir_csn_26", widths=(8, 8, 8, 8), num_classes=5)
    state = net.state_dict()
    # as trained in Caffe2, which counts no batches
    state = {k: 0 * v if k.endswith("num_batches_tracked") else v for k, v in state.items()}
    torch.save(state, tmp_path / "csn.pt")
    return "ir_csn_26", "--widths", 8, 8, 8, 8, "--num-classes", 5, "--weights", tmp_path / "csn.pt"


@pytest.mark.slow
def test_published_weights_get_the_input_they_were_published_with(
    lean3d, csn, tmp_path, monkeypatch
):
    seen, clip = [], Session._clip

    def spy(self, frames):
        seen.append((clip(self, frames), [f.index for own in frames for f in own]))
        return seen[-1][0]

    monkeypatch.setattr(Session, "_clip", spy)
    path = film(tmp_path / "long.mp4", 13, (240, 320))
    name, *flags = csn
    code, out, err = lean3d("stream", name, path, *flags, "--wait", "--json")
    assert code == 0
    assert "224 x 224 of frames whose shorter side is scaled to 256, one frame of 2" in err
    frames = [f.pixels for f in VideoFile(path)]
    asked = library.load_checkpoint(
        library.create_model(name, widths=(8, 8, 8, 8), num_classes=5), tmp_path / "csn.pt"
    ).preprocessing
    # 224 of 256 of the height
    part = frames[2][15:225, 55:265].permute(2, 0, 1)[None].float()
    part = F.interpolate(part, (224, 224), mode="bilinear", antialias=True, align_corners=False)
    expected = asked.normalise(part[:, :, None])[0]
    taken = [number for _, numbers in seen for number in numbers]
    assert taken == [0, 2, 4, 6, 8, 10, 12]
    assert [line["frame"] for line in lines(out)] == taken
    clips = torch.cat([x if x.ndim == 5 else x[:, :, None] for x, _ in seen], 2)
    torch.testing.assert_close(clips[0, :, 1:2], expected, atol=2e-5, rtol=1e-5)
    seen.clear()
    assert lean3d("stream", name, path, *flags, "--wait", "--size", 64, "--step", 1)[0] == 0
    assert {tuple(x.shape[-2:]) for x, _ in seen} == {(64, 64)}
    assert sum(len(numbers) for _, numbers in seen) == 13


def test_out_is_a_video_of_every_frame_with_its_captions(lean3d, video, tmp_path):
    code, _, _ = lean3d("stream", NET[0], video, *NET[1:], "--out", tmp_path / "seen.mp4")
    frames = list(VideoFile(tmp_path / "seen.mp4"))
    assert code == 0
    assert len(frames) == 9
    assert frames[0].pixels.shape[1] == 480
    assert frames[0].pixels.shape[0] > 360


def test_a_damaged_packet_is_counted_and_said(lean3d, tmp_path):
    import av

    path = film(tmp_path / "f.mp4", 12)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    at, size = packets[5]
    data[at : at + size] = bytes(size)
    path.write_bytes(data)
    code, out, err = lean3d("stream", NET[0], path, *NET[1:])
    assert (code, last_json(out)["sources"][0]["damaged"]) == (0, 1)
    assert "f.mp4: 1 packet(s) could not be decoded" in err


def test_several_videos_run_side_by_side_and_one_that_fails_leaves_the_others(
    lean3d, video, weights, tmp_path
):
    short = film(tmp_path / "short.mp4", 4)
    torn = film(tmp_path / "torn.avi", 40)
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    text = tmp_path / "text.mp4"
    text.write_text("no video" * 99)
    (tmp_path / "seen").mkdir()
    flags = *NET[1:], "--json", "--weights", weights
    several = video, short, torn, text
    code, out, err = lean3d("stream", NET[0], *several, *flags, "--out", tmp_path / "seen")
    alone = lines(lean3d("stream", NET[0], video, *flags)[1])
    rows = {row["source"]: row for row in last_json(out)["sources"]}
    assert code == 2
    assert (rows[str(video)]["frames"], rows[str(short)]["frames"]) == (9, 4)
    assert "truncated" in rows[str(torn)]["error"]
    assert rows[str(text)].get("frames") is None
    assert sum(line.startswith("lean3d: ") for line in err.splitlines()) == 2
    mine = [line for line in lines(out) if line["source"] == str(video)]
    for together, single in zip(mine, alone, strict=True):
        assert dict(together["top"]) == pytest.approx(dict(single["top"]), abs=2e-4)
    assert len(list(VideoFile(tmp_path / "seen" / "1_film.mp4"))) == 9
    assert len(list(VideoFile(tmp_path / "seen" / "2_short.mp4"))) == 4


def test_a_folder_of_images_and_bare_frames_on_stdin_are_sources_too(lean3d, tmp_path, monkeypatch):
    from PIL import Image

    for number in range(3):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{number}.png")
    code, out, _ = lean3d("stream", NET[0], tmp_path, *NET[1:], "--fps", 5, "--json")
    assert (code, [line["seconds"] for line in lines(out)]) == (0, [0, 0.2, 0.4])
    piped = SimpleNamespace(buffer=io.BytesIO(bytes(2 * 40 * 30 * 3)))
    monkeypatch.setattr(sys, "stdin", piped)
    code, out, _ = lean3d("stream", NET[0], "-", "--raw", "40x30@10", *NET[1:])
    assert (code, last_json(out)["sources"][0]["frames"]) == (0, 2)


def test_real_time_plays_at_the_videos_pace(lean3d, video):
    _, out, _ = lean3d("stream", NET[0], video, *NET[1:], "--realtime")
    (source,) = last_json(out)["sources"]
    assert source["frames"] + source["dropped"] == 9
    assert source["fps"] < 13


def test_watching_can_be_limited(lean3d, video):
    _, out, _ = lean3d("stream", NET[0], video, *NET[1:], "--limit", 4)
    assert last_json(out)["sources"][0]["frames"] == 4


@pytest.fixture
def run_folder(tmp_path):
    from lean3d.recipes import ClassificationRecipe
    from lean3d.recipes.runs import run

    recipe = ClassificationRecipe(
        name="tiny",
        data="digits",
        num_classes=len(MOTIONS),
        class_names=MOTIONS,
        model="d_resnet_18",
        widths=(4, 4, 4, 4),
        options=("window=4",),
        clip=7,
        video=8,
        train_samples=2,
        val_samples=2,
        batch_size=2,
        epochs=1,
    )
    run(recipe, tmp_path / "run", accelerator="cpu", progress=False)
    return tmp_path / "run"


def test_a_run_brings_its_size_its_weights_and_its_names(lean3d, video, run_folder):
    code, out, err = lean3d("stream", run_folder, video, "--json")
    assert (code, err.split()[0]) == (0, "source")
    said = {name for line in lines(out) for name, _ in line["top"]}
    assert len(said) >= 5
    assert said <= set(MOTIONS)


def test_a_run_of_another_task_is_refused_and_so_are_a_models_flags(
    refused, lean3d, video, run_folder, tmp_path
):
    assert "has its own model" in refused("stream", run_folder, video, "--num-classes", 3)
    segments = tmp_path / "segments"
    small = "--widths", 2, 2, "--train-samples", 2, "--val-samples", 2, "--epochs", 1
    lean3d("train", "shapes2d", *small, "--out", segments)
    assert "learnt segmentation" in refused("stream", segments, video)
    assert "use lean3d stream" in refused(
        "predict", video, "--run", run_folder, "--out", tmp_path / "mask.nii.gz"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((NET[0],), "needs a source"),
        ((NET[0], "nowhere.mp4"), "no file or folder nowhere.mp4"),
        ((NET[0], "-", "-"), "more than once"),
        ((NET[0], "x.mp4", "--raw", "4x4"), "give - as a source"),
        ((NET[0], "-", "--raw", "4"), "WIDTHxHEIGHT"),
        ((NET[0], "x.mp4", "--limit", 0), "--limit is a number above 0"),
        ((NET[0], "x.mp4", "--queue", 0), "--queue is a number above 0"),
        ((NET[0], "x.mp4", "--out", "x.gif"), ".mp4, .mkv, .avi"),
        ((NET[0], "x.mp4", "--out", "x.mp4"), "is the video itself"),
        ((NET[0], "x.mp4", "--out", "no/where.mp4"), "no folder no"),
        ((NET[0], "x.mp4", "y.mp4", "--out", "no"), "no folder no"),
        ((NET[0], "camera:87"), "no camera '87'"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence(refused, argv, message):
    assert message in refused("stream", *argv)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (("d_resnet_19",), "did you mean d_resnet_18"),
        (("mobilenet3d_v1", "--options", "width=0.1"), "looks ahead"),
        ((*NET, "--weights", "nowhere.pt"), "there is no file nowhere.pt"),
        ((NET[0], "--size", 0), "--size is a number 1 or more"),
    ],
)
def test_a_model_that_cannot_watch_is_one_sentence(lean3d, video, net, message):
    code, out, err = lean3d("stream", net[0], video, *net[1:])
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["stream", "export"])
def test_the_format_of_the_weights_is_passed_on(lean3d, video, weights, command, tmp_path):
    source = [video] if command == "stream" else ["--out", tmp_path / "step.onnx"]
    argv = command, NET[0], *source, *NET[1:], "--weights", weights, "--format"
    code, _, err = lean3d(*argv, "lean3dd")
    assert code == 2
    assert "no format called 'lean3dd'; did you mean lean3d?" in err
    assert lean3d(*argv, "lean3d")[0] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("few_backends")
def test_an_optimized_step_names_the_same(lean3d, refused, video, weights):
    asked = "stream", *NET, "--weights", weights, video, "--json", "--device", "cpu"
    frames = []
    for more in ((), ("--optimize",)):
        code, out, err = lean3d(*asked, *more)
        assert code == 0
        assert ("a step by " in err) == bool(more)
        frames.append(lines(out))
    for plain, fast in zip(*frames, strict=True):
        assert dict(fast["top"]) == pytest.approx(dict(plain["top"]), abs=2e-4)
    assert "--precision is for --optimize" in refused(*asked, "--precision", "bfloat16")
