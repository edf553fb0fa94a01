import torch

import lean3d

flat = lean3d.create_model("unet2d", num_classes=4)  # any 2D CNN will do
deep = lean3d.convert(flat, lean3d.ACS())  # a plain 3D nn.Module with its weights

volume = torch.randn(1, 1, 32, 48, 40)
print(tuple(deep(volume).shape), deep.conversion.grade)

for conv in (torch.nn.Conv3d, lean3d.ops.AtomConv3d, lean3d.ops.ACSConv3d):
    cost = lean3d.count(lean3d.create_model("unet3d", conv=conv), volume.shape)
    print(f"{conv.__name__:11}{cost.params:10,} parameters {cost.macs / 1e9:6.2f} GMACs")
