"""Unit tests hold on a busy machine too: nothing that hypothesis draws or tries is judged by how long it took."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
