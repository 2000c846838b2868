"""What the modules of `known_today` have, as `topout cost NAME` counts them.

So that they are listed without building any; tests count some of them again.
"""

from topout.records import CostedModel


def _counted(
    kind: str,
    parameters: int,
    active_parameters: int,
    layers: int,
    encoder_layers: int | None,
    width: int,
    heads: int | None,
    kv_heads: int | None,
    vocab_size: int | None,
    context_len: int | None,
) -> CostedModel:
    return CostedModel(
        name="",
        architecture="",
        kind=kind,
        parameters=parameters,
        active_parameters=active_parameters,
        parameters_by_part={},
        layers=layers,
        encoder_layers=encoder_layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        vocab_size=vocab_size,
        context_len=context_len,
    )


COUNTED: dict[str, CostedModel] = {
    "opt-125m": _counted("decoder", 125_239_296, 125_239_296, 12, None, 768, 12, 12, 50_272, 2_048),
    "opt-1.3b": _counted(
        "decoder", 1_315_758_080, 1_315_758_080, 24, None, 2_048, 32, 32, 50_272, 2_048
    ),
    "opt-6.7b": _counted(
        "decoder", 6_658_473_984, 6_658_473_984, 32, None, 4_096, 32, 32, 50_272, 2_048
    ),
    "opt-13b": _counted(
        "decoder", 12_853_473_280, 12_853_473_280, 40, None, 5_120, 40, 40, 50_272, 2_048
    ),
    "opt-30b": _counted(
        "decoder", 29_974_540_288, 29_974_540_288, 48, None, 7_168, 56, 56, 50_272, 2_048
    ),
    "opt-66b": _counted(
        "decoder", 65_719_701_504, 65_719_701_504, 64, None, 9_216, 72, 72, 50_272, 2_048
    ),
    "opt-175b": _counted(
        "decoder", 174_604_468_224, 174_604_468_224, 96, None, 12_288, 96, 96, 50_272, 2_048
    ),
    "bloom-560m": _counted(
        "decoder", 559_214_592, 559_214_592, 24, None, 1_024, 16, 16, 250_880, None
    ),
    "bloom-7b1": _counted(
        "decoder", 7_069_016_064, 7_069_016_064, 30, None, 4_096, 32, 32, 250_880, None
    ),
    "bloom": _counted(
        "decoder", 176_247_271_424, 176_247_271_424, 70, None, 14_336, 112, 112, 250_880, None
    ),
    "gpt-j-6b": _counted(
        "decoder", 6_050_882_784, 6_050_882_784, 28, None, 4_096, 16, 16, 50_400, 2_048
    ),
    "gpt-neox-20b": _counted(
        "decoder", 20_554_567_680, 20_554_567_680, 44, None, 6_144, 64, 64, 50_432, 2_048
    ),
    "falcon-7b": _counted(
        "decoder", 6_921_720_704, 6_921_720_704, 32, None, 4_544, 71, 71, 65_024, 2_048
    ),
    "starcoder2-15b": _counted(
        "decoder", 15_957_889_024, 15_957_889_024, 40, None, 6_144, 48, 4, 49_152, 16_384
    ),
    "mamba-2.8b": _counted(
        "decoder", 2_768_345_600, 2_768_345_600, 64, None, 2_560, None, None, 50_280, None
    ),
    "phi-2": _counted(
        "decoder", 2_779_683_840, 2_779_683_840, 32, None, 2_560, 32, 32, 51_200, 2_048
    ),
    "phi-3-mini": _counted(
        "decoder", 3_821_079_552, 3_821_079_552, 32, None, 3_072, 32, 32, 32_064, 4_096
    ),
    "phi-4": _counted(
        "decoder", 14_659_507_200, 14_659_507_200, 40, None, 5_120, 40, 10, 100_352, 16_384
    ),
    "olmo-2-7b": _counted(
        "decoder", 7_298_617_344, 7_298_617_344, 32, None, 4_096, 32, 32, 100_352, 2_048
    ),
    "granite-3.3-8b": _counted(
        "decoder", 8_170_835_968, 8_170_835_968, 40, None, 4_096, 32, 8, 49_152, 2_048
    ),
    "smollm3-3b": _counted(
        "decoder", 3_075_098_624, 3_075_098_624, 36, None, 2_048, 16, 4, 128_256, 32_768
    ),
    "glm-4-9b": _counted(
        "decoder", 9_400_279_040, 9_400_279_040, 40, None, 4_096, 32, 2, 151_552, 131_072
    ),
    "glm-4.5-air": _counted(
        "decoder", 106_851_586_048, 13_423_464_448, 46, None, 4_096, 96, 8, 151_552, 131_072
    ),
    "glm-4.5": _counted(
        "decoder", 352_796_495_872, 33_630_932_992, 92, None, 5_120, 96, 8, 151_552, 131_072
    ),
    "deepseek-v2-lite": _counted(
        "decoder", 15_706_484_224, 2_661_150_208, 27, None, 2_048, 16, 16, 102_400, 163_840
    ),
    "deepseek-v2": _counted(
        "decoder", 235_741_434_880, 21_375_800_320, 60, None, 5_120, 128, 128, 102_400, 163_840
    ),
    "deepseek-v3": _counted(
        "decoder", 671_026_404_352, 37_552_282_624, 61, None, 7_168, 128, 128, 129_280, 163_840
    ),
    "deepseek-r1": _counted(
        "decoder", 671_026_404_352, 37_552_282_624, 61, None, 7_168, 128, 128, 129_280, 163_840
    ),
    "kimi-k2": _counted(
        "decoder", 1_026_408_209_408, 32_861_477_888, 61, None, 7_168, 64, 64, 163_840, 163_840
    ),
    "gpt-oss-20b": _counted(
        "decoder", 20_914_757_184, 4_187_440_704, 24, None, 2_880, 64, 8, 201_088, 131_072
    ),
    "gpt-oss-120b": _counted(
        "decoder", 116_829_156_672, 5_711_982_912, 36, None, 2_880, 64, 8, 201_088, 131_072
    ),
    "qwen3-next-80b-a3b": _counted(
        "decoder", 79_674_391_296, 3_874_929_408, 48, None, 2_048, 16, 2, 151_936, 262_144
    ),
    "minimax-m2": _counted(
        "decoder", 228_689_748_992, 11_030_537_216, 62, None, 3_072, 48, 8, 200_064, 196_608
    ),
    "llama-4-scout": _counted(
        "decoder", 107_769_861_120, 17_172_894_720, 48, None, 5_120, 40, 8, 202_048, 131_072
    ),
    "llama-4-maverick": _counted(
        "decoder", 400_711_848_960, 17_184_691_200, 48, None, 5_120, 40, 8, 202_048, 131_072
    ),
    "modernbert-base": _counted(
        "encoder", 149_014_272, 149_014_272, 22, None, 768, 12, 12, 50_368, 8_192
    ),
    "deberta-v3-base": _counted(
        "encoder", 183_831_552, 183_831_552, 12, None, 768, 12, 12, 128_100, 512
    ),
    "albert-base-v2": _counted(
        "encoder", 11_683_584, 11_683_584, 12, None, 768, 12, 12, 30_000, 512
    ),
    "bart-large": _counted(
        "encoder_decoder", 406_291_456, 406_291_456, 24, 12, 1_024, 16, 16, 50_265, 1_024
    ),
    "mt5-base": _counted(
        "encoder_decoder", 390_315_264, 390_315_264, 24, 12, 768, 12, 12, 250_112, None
    ),
    "whisper-large-v3": _counted(
        "encoder_decoder", 1_543_490_560, 1_543_490_560, 64, 32, 1_280, 20, 20, 51_866, 448
    ),
}
