"""Odd words of a command line, and odd values as the Python code that makes them."""

import string

from hypothesis import strategies as st


def words(text: str) -> list[str]:
    return text.split()


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


INTS = words("""
0 -1 1 2 3 5 16 1000000 1000000000000 9223372036854775807 9223372036854775808 1e3 1.5 x ٣ 0x10
1_0 +1
""")
INTS += ["", " 1", "9" * 400]
FLOATS = words("0 -1 nan inf -inf 1e-300 1e308 1e999 0.5 1 -0.0 x 1,5")
FLOATS += [""]
SIZES = words("""
1,1,8,8,8 1,3,8,8 1,3,8,16,16 1 1,1 1,1,8,8,8,8 0,1,8,8,8 1,1,8,8,-8 1,2,8,8,8 1,1,3,5,7
1,1,1,1,1 1,1,8,8,99999999999999999999 1,1,4294967296,4294967296,4294967296 1,1,60000000,8,8 x,y
1,,8 \uff11,1,8,8,8 1,1,8.5,8,8 2,1,8,8,8 1000000,1,8,8,8 32x32 32x32@nan 100000x100000 64x48@10
""")
SIZES += ["", " 1,1,8,8,8", "1," * 3000]
PATHS = words("""
run named data films stills scan.nii film.mp4 film.avi flat.pt live.pt loop dangling.nii
notes.txt empty nothing missing missing/out.nii null run/recipe.json run/checkpoints/last.ckpt
out.nii out.nii.gz out.mp4 out.pt out.onnx out.json out.csv data/images/c0.nii.gz camera:9
data/labels/c0.nii.gz . nothing/ - rtsp://user:secret@127.0.0.1:1/x é.nii
http://user:secret@127.0.0.1:1/x
""")
PATHS += ["b\udcff.nii", "x" * 300, "", "a\nb.nii"]
NAMES = words("""
unet2d unet3d d_resnet_18 kth_stdcf acs mean_acs soft_acs planar inflate space_time rank1 csn_ip
atoms p2sc1 dissect lean3d torchvision mmaction2 timm_3d vmz macs csn thop cpu cuda cuda:9 meta
xla auto gpu tpu skip=full convs=1 convs=0 convs=-1 skip=x =x x= widths=1 in_channels=0
convs=nan convs=null convs=[1] True None brain brian
""")
NAMES += ["convs=" + "[" * 3000, "convs=" + "9" * 5000, "skip=" + "x" * 1000]
# nothing that could leave the folder, reach a network or be taken for a flag by chance
LETTERS = string.ascii_letters + string.digits + "_ ,.=[]{}'\"\\%é☃\u202e\n\t"
TEXT = st.text(st.sampled_from(LETTERS), max_size=30)
TEXT = TEXT.filter(lambda word: word.strip(" .") not in ("", "."))
WORD = st.one_of(*[st.sampled_from(w) for w in (INTS, FLOATS, SIZES, PATHS, NAMES)], TEXT)


VALUES = words("""
None 0 -1 1 2 3 1.5 -0.5 10**30 True 'x' '' '9'*500 b'x' [] {} () (1,2) [1,2,3] (3,3,3)
(2**63,1,1) {'a':1} object() range(3) print nn.Module float('nan') float('inf')
""")
VALUES += ["(lambda *a: a)"]
TENSORS = lines("""
torch.zeros(0)
torch.zeros(())
torch.zeros(2)
torch.randn(1, 1, 8, 8)
torch.randn(1, 1, 4, 6, 8)
torch.randn(2, 3, 4, 8, 8)
torch.randn(1, 3, 4, 8, 8).double()
torch.randn(1, 3, 4, 8, 8).half()
torch.zeros(1, 3, 4, 8, 8, dtype=torch.int64)
torch.zeros(1, 3, 4, 8, 8, dtype=torch.bool)
torch.randn(1, 3, 4, 8, 8, dtype=torch.complex64)
torch.randn(1, 3, 4, 8, 8).to_sparse()
torch.randn(1, 3, 4, 8, 8, device='meta')
torch.full((1, 3, 4, 8, 8), float('nan'))
torch.zeros(0, 3, 4, 8, 8)
torch.zeros(1, 3, 0, 8, 8)
torch.zeros(1, 3, 4, 8, 8).expand(10**7, 3, 4, 8, 8)
torch.randn(3, 4, 8, 8)
torch.quantize_per_tensor(torch.randn(1, 3, 4, 8, 8), 0.1, 0, torch.qint8)
""")
MODULES = lines("""
nn.Conv2d(1, 2, 3)
nn.Conv3d(1, 2, 3)
nn.Sequential()
nn.Identity()
nn.Linear(2, 2)
nn.GRU(2, 2)
nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
nn.ModuleList()
nn.ReLU()
nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1))
nn.LazyConv2d(2, 3)
create_model('unet2d', widths=(2, 4)).eval()
create_model('d_resnet_18', widths=(2, 2, 4, 4)).eval()
torch.jit.script(nn.Conv2d(1, 2, 3))
nn.Conv2d(1, 2, 3).double()
nn.Conv2d(1, 2, 3, device='meta')
nn.DataParallel(nn.Conv2d(1, 2, 3))
nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
""")
HOWS = words("""
ACS() MeanACS() SoftACS() Planar() Planar(axis=2) Inflate() SpaceTime() ChannelSeparated()
ParallelSeparable() Atoms() Dissect() ACS(keep_depth=1) ACS(keep_depth=None) Inflate(depth=None)
""")
ANY = st.one_of(*[st.sampled_from(v) for v in (VALUES, TENSORS, MODULES, HOWS)])


def mostly(good: list[str], odd: st.SearchStrategy = ANY) -> st.SearchStrategy[str]:
    """What fits four times of five, so that calls come further than their first check."""
    return st.integers(0, 4).flatmap(lambda n: odd if n == 4 else st.sampled_from(good))
