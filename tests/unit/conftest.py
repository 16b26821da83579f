"""What hypothesis tries is judged by what it finds, not by how long it takes on a machine that others use too."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.unit.examples import examples

settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples(100)
)
settings.load_profile("untimed")
