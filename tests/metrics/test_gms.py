"""GMS against the course report's figures."""

import math

import pytest

from cyclegan_hf.metrics.gms import gms


# FID, Inception score and GMS, as the report's table has them.
RAW_TO_CARTOON = (46.70193, 2.41466, 4.39783)
CARTOON_TO_RAW = (39.83461, 3.62382, 3.31548)


@pytest.mark.parametrize(("fid", "inception_score", "expected"), [RAW_TO_CARTOON, CARTOON_TO_RAW])
def test_the_reports_directions(fid: float, inception_score: float, expected: float) -> None:
    assert gms(fid, inception_score) == pytest.approx(expected, abs=2e-5)


def test_the_reports_mean() -> None:
    assert (gms(*RAW_TO_CARTOON[:2]) + gms(*CARTOON_TO_RAW[:2])) / 2 == pytest.approx(3.85666, abs=2e-5)


def test_by_hand() -> None:
    assert gms(50.0, 2.0) == 5.0
    assert gms(0.0, 1.5) == 0.0


@pytest.mark.parametrize(("fid", "inception_score"), [(-1.0, 2.0), (1.0, 0.0), (math.nan, 2.0), (1.0, math.nan)])
def test_what_fid_and_is_cannot_be_is_refused(fid: float, inception_score: float) -> None:
    with pytest.raises(ValueError, match=f"FID must be at least 0 and IS above 0, got {fid} and {inception_score}"):
        gms(fid, inception_score)
