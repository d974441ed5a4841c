"""Features equal torchaudio's within rounding, for the grid of sizes, norms and scales that docs/features.md shows."""

import pytest
import torch

pytest.importorskip("torchaudio")

from tools.bench import parity

CASES = list(parity.cases())

# Differences in float32 and float64. Those of mels are torchaudio's filters, whose edges are of float32; those of
# cepstra, and of Kaldi's filters in float64 too, likewise.
BOUNDS = {
    "Spectrogram": (6e-7, 1e-14),
    "MelSpectrogram": (3e-6, 1e-14),
    "LogMel": (2e-4, 1e-12),  # dB
    "MFCC": (3e-6, 1e-14),
    "Fbank": (2e-3, 2e-3),  # dB
}
OF_ITSELF = {"Spectrogram": 1e-6, "MelSpectrogram": 1e-4}


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case.row))
def test_features_equal_torchaudios(case):
    single, of_itself = case.difference(torch.float32)
    double, _ = case.difference(torch.float64)
    assert single <= BOUNDS[case.row[0]][0]
    assert double <= BOUNDS[case.row[0]][1]
    assert of_itself <= OF_ITSELF.get(case.row[0], 0.0)


def test_the_documented_table_has_these_rows_within_these_bounds():
    text = parity.DOCS.read_text().split(parity.BEGIN)[1].split(parity.END)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.strip().splitlines()[2:]]
    assert {tuple(row[:2]) for row in rows} == {case.row for case in CASES}
    for name, _, single, of_itself, double in rows:
        assert float(single.split()[0]) <= BOUNDS[name][0]
        assert float(of_itself or 0) <= OF_ITSELF.get(name, 0.0)
        assert float(double.split()[0]) <= BOUNDS[name][1]
