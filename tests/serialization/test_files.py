"""What is saved is loaded again; files given by others load; damaged ones fail clearly."""

import base64
import collections
import io
import os
import pickle
import random
import subprocess
import sys
import textwrap
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest

import facula as torch
from tests import fuzz_serialization as fuzz

serialization = torch.serialization

# {"a": x, "b": x.t()[1:], "p": Parameter, "h": bfloat16, "u": uint16, "n": [1, 2.5, None]} with
# x = arange(6.) in two rows, saved by PyTorch 2.13: as an archive (deflated), and in the old format
# (without "u").
FROM_PYTORCH = """
c-o~^%Wo4$7$2`4J6VeJD8xyCv`tGfkl5Z`KVn`E+iH7QsZETKqDqyuv6pzm#`d=!r%I((meK^c0ph?3wFe{)+&ScrsJL_E
Q1#S*poh-Pn$7M&V!$iUzC6FjeDi(ZF6-e4Lc_!8tz!&LAj7HFtt~TMGq90r-L^F~j(!XrUEx<i$<+`67!a!BCPAbs9c<Zc
vErC(9m}p&u-RxgoywLhf{;wE#>nJ0nQ5$>5OyJ=W;YFd!+j}2gb`+7Xf;f()m8_hdK5!!MMt`zhxcGu59^^l7`a!iHf`Ii
VyoF`i$6Fu(=lt`T2(B9c)kqBFnm&m<BV+$;&q~457#60p*rImUC~2?PuPPoazkjx@6{=60>h_eIKf~oIC;pbT83k6n%Hzi
n0&*`AQB`9e+a`A^&8rSX?mJ*xlds@U4}Dv*~9D|_^b?{GgKYEa9Mg0QCUc&ycd)?Hcf^v3AupbD;A7hI7`XDcFE6SNS5I|
o7jO1eYQgp;o^Z{s<$QL%?93XnKe&$p3y0=;OeG&i%Qc|#?_U2o;y~9I2J+1pp+rYfDOp~1o@;M`fe%WX4dy+C$+4{hWDqR
))obX=vY294-@DcFAr0<n$D(yD_f@1COfXFB`zI5_>icP7yrK6p;qZQ+{g?n92n^Zt76#JdSlaUU`<s%#!Eg+4U~R{e@GCJ
aHN58RPqe0ZDX@Z(_K?94-y00!q_&chuy2Mr=vtAdZdRqx)$gP>5Qgc8o+?d+AWdO68VwQCF74J>L_vl?*~)lkEuS6=7WwT
O--Wr*YB37*2c!4&uMx_`e-c$wPa1bGEfS3ORoNZzx~zt2z_Nx{TQO^i@!gP_s_pkblp?;D)8!H6{v_*|K*eQoBj1?k$g~q
Z24`|u}B5}V$l9yv1*!{`anBUrchYS%LTbuC>9rUSt&2)q+BjvEEclGj3O2Dg?u)n<fzNJbLoX7@sVUML)5J2)8EU+-g3@=
M|rfr0VM*+y8=3_`|%|HCNdLj9AR`s=i+(%jbJ>$^U%lRH6R}DuiAJ3J{dt=@8GfiDhy(u@mPt+`YR}iJu$>#WghF#{~-1e
k5zcAKX*q1*oi3O>xBpVQ))ICYajUC$-b;dqw{Y{BfQ`tMee#I^cER&uLQ^L_D9@j_p3J)bul8F@6P=n8a+hu"""
OLD_FROM_PYTORCH = """
c-nQ5OK;Oa5XZf1Cn*apr98{C6ll#uQ5ur8J|#k^999(SUVN!6*ICs@#`dh&l|ZWGOGC?N;J}fu#z#Qnz}Ti0g0S+Ac4x=`
-#iNXnMFUpZ2nk!_wDUsyP&VX>u3)_Go5)&(^8qJ#7`pkK*%giVjvjc%;HNFDisM=#N*J5fgU>yo$5m>+${VkGSCmfFr5ZE
vmlWQ8k{;h-ojWxlN*jvY9#SKw78Myr%Zxg4~VZ4=?85$S7DSfSBkwnjK;1Kah6E;pv!=orqe3LG1A)?px3{!%_#BIPVHo1
ICB_d^?KHzGgyDVZdn^WXjFOlX^wd`w-mItxyC8iCoscxP9|{f#K)2&;VY~-V{hbGNHKmH`icR2Y{Pj47i^fVlHG&30CNfS
U@GfkP&4MYIY9=Uz$H8&YT+a(r7kPDV#C!+DurwRsXO(g_g*L=8C?H|*0(k~R)5Xvci{%o2+|hIipUY%EX}Q&bX&n48}1%g
mwTUJ$%gwCHh|??^LGbdR4rT^oHg;mU#M=!8o)zDQA9nens)>%C2F-snF`Q8snlb5x(m-tPF{`5iR0Q5<+OLpX-_GEOoP#B
t<^=FXs4?f(z8=BY-)e5Vu)shAMOJ8*U>Lf;lB9"""


def unpacked(text):
    return io.BytesIO(zlib.decompress(base64.b85decode(text.replace("\n", ""))))


def again(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    file.seek(0)
    return torch.load(file)


# -- PyTorch's files -------------------------------------------------------------


@pytest.mark.parametrize("text", [FROM_PYTORCH, OLD_FROM_PYTORCH], ids=["archive", "old"])
def test_files_from_pytorch(text):
    loaded = torch.load(unpacked(text))
    assert loaded["a"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert loaded["b"].tolist() == [[1.0, 4.0], [2.0, 5.0]] and loaded["b"].stride() == (1, 3)
    assert isinstance(loaded["p"], torch.nn.Parameter) and loaded["p"].requires_grad
    assert loaded["h"].dtype is torch.bfloat16 and loaded["h"].tolist() == [1.0, 1.0]
    assert loaded["n"] == [1, 2.5, None]
    if "u" in loaded:
        assert loaded["u"].dtype is torch.uint16 and loaded["u"].tolist() == [7]
    loaded["a"].fill_(9.0)
    assert loaded["b"].tolist() == [[9.0, 9.0], [9.0, 9.0]]  # still one memory


def test_names_in_files_are_pytorchs():
    file = io.BytesIO()
    torch.save(
        {"p": torch.nn.Parameter(torch.ones(2)), "d": torch.float16, "t": torch.ones(1)}, file
    )
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        names = {name.partition("/")[2] for name in archive.namelist()}
        program = archive.read("archive/data.pkl")
        for info in archive.infolist():
            file.seek(info.header_offset + 26)
            name_size, extra_size = file.read(2), file.read(2)
            sizes = [int.from_bytes(size, "little") for size in (name_size, extra_size)]
            assert (info.header_offset + 30 + sum(sizes)) % 64 == 0
    assert {"data.pkl", "byteorder", "data/0", "data/1", "version"} <= names
    assert b"facula" not in program
    assert b"ctorch._utils\n_rebuild_parameter\n" in program


# -- round trips ------------------------------------------------------------------


@pytest.mark.parametrize("new", [True, False], ids=["archive", "old"])
def test_tensors_survive(new):
    x = torch.arange(12.0).reshape(3, 4)
    saved = collections.OrderedDict(
        x=x,
        view=x.t()[1:],
        scalar=torch.tensor(3),
        empty=torch.empty(0, 3),
        wanted=torch.ones(2, requires_grad=True),
        wide=torch.ones(3).expand(2, 3),
        pending=(x * 2)[1:],
    )
    loaded = again(saved, _use_new_zipfile_serialization=new)
    assert list(loaded) == list(saved) and type(loaded) is collections.OrderedDict
    for name, tensor in saved.items():
        other = loaded[name]
        assert other.tolist() == tensor.tolist() and other.dtype is tensor.dtype
        assert other.stride() == tensor.stride() and other.requires_grad == tensor.requires_grad
    loaded["x"][0, 1] = -1.0
    assert loaded["view"][0, 0].item() == -1.0


@pytest.mark.parametrize("dtype", sorted(serialization.storages.DTYPE_SIZES))
def test_dtypes_survive(dtype):
    kind = getattr(torch, dtype, None)
    if kind is None:
        pytest.skip(f"no {dtype}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # half complex numbers are experimental
        try:
            tensor = torch.tensor([2.0, 1.0]).to(kind)
            expected = tensor.tolist()
        except (NotImplementedError, RuntimeError, TypeError):
            pytest.skip(f"nothing makes {dtype}")
        loaded = again(tensor)
    assert loaded.dtype is kind and loaded.tolist() == expected


def test_plain_objects_survive():
    value = {
        "list": [1, -1, 1 << 80, 2.5, True, None, "tèxt", b"bytes", bytearray(b"more")],
        "tuple": (1, (2,), ()),
        "set": {1, 2},
        "complex": 1 + 2j,
        "counter": collections.Counter("aab"),
        "size": torch.Size([2, 3]),
        "dtype": torch.int8,
        "device": torch.device("cpu"),
        (1, "key"): {},
    }
    for protocol in (2, 3, 4, 5):
        loaded = again(value, pickle_protocol=protocol)
        assert loaded == value
        assert type(loaded["size"]) is torch.Size


def test_metadata_of_state_dicts_survives():
    state = collections.OrderedDict(a=torch.ones(1))
    state._metadata = {"": {"version": 1}}
    assert again(state)._metadata == {"": {"version": 1}}


def test_one_object_stays_one_object():
    x = torch.ones(2)
    loaded = again([x, x, {"x": x}])
    assert loaded[0] is loaded[1] is loaded[2]["x"]


def test_meta_tensors_have_no_data():
    loaded = again(torch.empty(1 << 40, device="meta"))
    assert loaded.shape == (1 << 40,) and loaded.device.type == "meta"


def test_optimizer_states():
    param = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.Adam([param])
    param.grad = torch.ones(2)
    optimizer.step()
    loaded = again(optimizer.state_dict())
    other = torch.optim.Adam([param])
    other.load_state_dict(loaded)
    assert other.state[param]["step"].item() == 1
    assert other.state[param]["exp_avg"].tolist() == optimizer.state[param]["exp_avg"].tolist()


# -- places ------------------------------------------------------------------------


def test_paths_mapping_and_mmap(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.arange(4.0)}, path)
    assert torch.load(str(path), mmap=True)["a"].tolist() == [0.0, 1.0, 2.0, 3.0]
    mapped = torch.load(path, mmap=True)["a"]
    mapped.fill_(7.0)
    assert torch.load(path)["a"].tolist() == [0.0, 1.0, 2.0, 3.0]  # the file is as it was
    for where in ("cpu", torch.device("cpu"), {"cpu": "cpu"}, lambda storage, tag: storage):
        assert torch.load(path, map_location=where)["a"].device.type == "cpu"
    assert torch.load(path, map_location="meta")["a"].device.type == "meta"
    with open(path, "rb") as file:
        assert torch.load(file)["a"][1].item() == 1.0
    with pytest.raises(ValueError, match="file path"):
        torch.load(io.BytesIO(path.read_bytes()), mmap=True)
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "none.pt")


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(1, path)
    os.chmod(path, 0o640)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        torch.save([torch.ones(9), lambda: None], path)
    assert torch.load(path) == 1
    assert os.listdir(tmp_path) == ["model.pt"]
    torch.save(2, path)
    assert torch.load(path) == 2 and path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(RuntimeError, match="Parent directory"):
        torch.save(1, tmp_path / "none" / "model.pt")


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """A limit on the size of files stands for the disk: writing fails in the middle."""
    program = f"""
        import os, resource, signal
        import facula as torch
        path = {str(tmp_path / "model.pt")!r}
        torch.save({{"w": torch.ones(10)}}, path)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        for legacy in (False, True):
            try:
                torch.save({{"w": torch.zeros(100_000)}}, path, _use_new_zipfile_serialization=not legacy)
            except OSError as error:
                print(error.strerror)
        print(torch.load(path)["w"].sum().item(), os.listdir({str(tmp_path)!r}))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(Path(torch.__file__).parents[1])},
    )  # fmt: skip
    assert run.stdout.splitlines() == ["File too large"] * 2 + ["10.0 ['model.pt']"], run.stderr


def test_links_stay_links(tmp_path):
    target, link = tmp_path / "target.pt", tmp_path / "link.pt"
    torch.save(1, target)
    link.symlink_to(target)
    torch.save(2, link)
    assert link.is_symlink() and torch.load(target) == 2


def test_cuda_storages_need_a_place():
    file = io.BytesIO(fuzz.archive_of(tensor_program(b"cuda:0")))
    if hasattr(torch, "cuda") and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(RuntimeError, match="map_location"):
        torch.load(file)
    file.seek(0)
    assert torch.load(file, map_location="cpu").tolist() == [0.0, 1.0]


# -- safety ------------------------------------------------------------------------


class Custom:
    def __init__(self):
        self.value = 3


def test_classes_load_only_when_trusted():
    file = io.BytesIO()
    torch.save(Custom(), file)
    name = f"{__name__}.Custom"

    def load(**options):
        file.seek(0)
        return torch.load(file, **options)

    with pytest.raises(pickle.UnpicklingError, match="add_safe_globals"):
        load()
    assert load(weights_only=False).value == 3
    file.seek(0)
    assert serialization.get_unsafe_globals_in_checkpoint(file) == [name]
    with serialization.safe_globals([Custom]):
        assert load().value == 3
        assert serialization.get_safe_globals() == [Custom]
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        load()
    serialization.add_safe_globals([(Custom, name)])
    assert load().value == 3
    serialization.clear_safe_globals()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(X\x04\0\0\0truetR.",
        b"c__builtin__\neval\n(X\x01\0\0\x001tR.",
        b"csubprocess\nPopen\n.",
        b"ctorch.hub\nload\n.",
        b"cfacula.cli\nmain\n)R.",
        b"c__builtin__\nbytearray\n(J\0\0\0\x70tR.",  # a length, not contents
        b"c_codecs\nencode\n(X\x01\0\0\0xX\x04\0\0\0zliBtR.",
        b"ccollections\nOrderedDict\n)R(X\x0b\0\0\0__class____X\x01\0\0\0xdb0K\x01)R.",
        b"(K\x01K\x02u.",
        b"]" + b"\x85" * 5000 + b"q\0}h\0K\x01s.",  # a key whose hash would recurse
        b")" + b"2\x86" * 200 + b"q\0}h\0K\x01s.",  # a key whose hash would never end
        b"\x8b\xff\xff\xff\x7f.",
        b"X\xff\xff\xff\xffx.",
        b"h\x05.",
        b".",
        b"\x80\x09N.",
    ],
)
def test_hostile_programs_do_nothing(program):
    with pytest.raises((pickle.UnpicklingError, EOFError)):
        torch.load(io.BytesIO(fuzz.archive_of(b"\x80\x02" + program)))


def tensor_program(place=b"cpu", count=b"K\x02", offset=b"K\0", size=b"K\x02", stride=b"K\x01"):
    """A pickle of one tensor, put together by hand."""
    place = b"X" + len(place).to_bytes(4, "little") + place
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000" + place + count + b"tQ"
    layout = offset + size + b"\x85" + stride + b"\x85"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + layout + b"\x89}tR."


@pytest.mark.parametrize(
    "damage",
    [
        {"count": b"J\xff\xff\xff\x7f"},
        {"count": b"J\xff\xff\xff\xff"},
        {"offset": b"K\x01"},
        {"offset": b"J\xff\xff\xff\xff"},
        {"size": b"K\x03"},
        {"size": b"\x8a\x08" + b"\xff" * 7 + b"\x7f"},
        {"size": b"G" + b"\0" * 8},
        {"stride": b"K\x02"},
        {"stride": b"J\xff\xff\xff\xff"},
        {"place": b"nowhere"},
    ],
)
def test_tensors_must_fit_their_storage(damage):
    assert torch.load(io.BytesIO(fuzz.archive_of(tensor_program()))).tolist() == [0.0, 1.0]
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        torch.load(io.BytesIO(fuzz.archive_of(tensor_program(**damage))))


def test_archives_must_not_grow():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", tensor_program(count=b"J\0\0\x10\0", size=b"J\0\0\x10\0"))
        archive.writestr("a/data/0", bytes(4 << 20))
    packed.seek(0)
    with pytest.raises(RuntimeError, match="would grow"):
        torch.load(packed)


def test_a_damaged_record_is_warned_about():
    file = io.BytesIO()
    torch.save(torch.arange(4.0), file)
    data = bytearray(file.getvalue())
    data[data.index(torch.arange(4.0).numpy().tobytes()) + 5] ^= 1
    with pytest.warns(UserWarning, match="checksum"):
        torch.load(io.BytesIO(data))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EOFError),
        (b"hello world", pickle.UnpicklingError),
        (b"PK\3\4" + b"0" * 30, RuntimeError),
        (pickle.dumps({"a": 1}), pickle.UnpicklingError),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", EOFError),
        (bytes(257) + b"ustar" + bytes(300), RuntimeError),
    ],
)
def test_what_is_no_checkpoint(data, error):
    with pytest.raises(error):
        torch.load(io.BytesIO(data))


def test_fuzzing_for_a_moment():
    """The same as fuzz_serialization.py, which takes longer."""
    sound, rng = fuzz.prepare(), random.Random(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes = {fuzz.check(fuzz.case(rng, sound)) for _ in range(1500)}
    assert "loaded" in outcomes and "UnpicklingError" in outcomes


# -- settings ----------------------------------------------------------------------


def test_settings():
    assert serialization.get_crc32_options() is True
    serialization.set_crc32_options(False)
    try:
        file = io.BytesIO()
        torch.save(1, file)
    finally:
        serialization.set_crc32_options(True)
    file.seek(0)
    with pytest.warns(UserWarning, match="checksum"):
        assert torch.load(file) == 1
    with pytest.raises(RuntimeError, match="pickle_module"):
        torch.load(file, weights_only=True, pickle_module=pickle)


def test_layouts_without_contents(tmp_path):
    torch.save(torch.ones(2, 3), tmp_path / "a.pt")
    with serialization.skip_data():
        assert torch.load(tmp_path / "a.pt").shape == (2, 3)
        with pytest.raises(NotImplementedError):
            torch.save(1, tmp_path / "b.pt")


def test_module_versions():
    assert serialization.check_module_version_greater_or_equal(torch, (2, 0))
    assert not serialization.check_module_version_greater_or_equal(torch, (99,))


def test_storages_mapped_from_files(tmp_path):
    path = str(tmp_path / "bytes")
    Path(path).write_bytes(bytes(range(8)))
    private = torch.UntypedStorage.from_file(path, False, 4)
    private[0] = 99
    assert private.tolist() == [99, 1, 2, 3]
    assert Path(path).read_bytes()[0] == 0
    words = torch.asarray(private[2:4], dtype=torch.uint8).view(torch.int16)
    assert words.tolist() == [2 + 3 * 256]
    shared = torch.UntypedStorage.from_file(path, True, 10)  # it grows
    shared[9] = 7
    assert Path(path).stat().st_size == 10
    assert torch.UntypedStorage.from_file(path, False, 10).tolist()[8:] == [0, 7]
    assert torch.UntypedStorage.from_file(path).nbytes() == 0
    with pytest.raises(RuntimeError, match="smaller than the required mapping size"):
        torch.UntypedStorage.from_file(path, False, 20)
