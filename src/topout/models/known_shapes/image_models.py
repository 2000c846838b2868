"""Classifiers of images into ImageNet's thousand classes: ViT and ResNet."""

from topout.models.known_shapes.sizes import ConfigJson, KnownShapes, encoder_sizes

_IMAGENET: ConfigJson = {"num_channels": 3, "num_labels": 1000}  # the files name each label
_VIT: ConfigJson = _IMAGENET | {
    "model_type": "vit",
    "hidden_act": "gelu",
    "image_size": 224,
    "patch_size": 16,
    "qkv_bias": True,
    "layer_norm_eps": 1e-12,
}


def _resnet(layer_type: str, hidden_sizes: list[int], depths: list[int]) -> ConfigJson:
    return _IMAGENET | {
        "model_type": "resnet",
        "layer_type": layer_type,
        "embedding_size": 64,
        "hidden_sizes": hidden_sizes,
        "depths": depths,
        "downsample_in_first_stage": False,
        "hidden_act": "relu",
    }


_NARROW, _WIDE = [64, 128, 256, 512], [256, 512, 1024, 2048]

IMAGE_MODELS: KnownShapes = {
    "vit-base-patch16-224": (
        "google/vit-base-patch16-224",
        _VIT | encoder_sizes(768, 3072, 12, 12),
    ),
    "vit-large-patch16-224": (
        "google/vit-large-patch16-224",
        _VIT | encoder_sizes(1024, 4096, 24, 16),
    ),
    "resnet-18": ("microsoft/resnet-18", _resnet("basic", _NARROW, [2, 2, 2, 2])),
    "resnet-34": ("microsoft/resnet-34", _resnet("basic", _NARROW, [3, 4, 6, 3])),
    "resnet-50": ("microsoft/resnet-50", _resnet("bottleneck", _WIDE, [3, 4, 6, 3])),
    "resnet-101": ("microsoft/resnet-101", _resnet("bottleneck", _WIDE, [3, 4, 23, 3])),
    "resnet-152": ("microsoft/resnet-152", _resnet("bottleneck", _WIDE, [3, 8, 36, 3])),
}
