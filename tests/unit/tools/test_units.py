"""What an installation needs is up to date and knows every process."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from bus.node.supervision import ChildSpec
from tools import settings_page, units


def test_what_is_committed_is_up_to_date() -> None:
    found = {
        str(path.relative_to(units.PACKAGING)): path.read_text()
        for path in units.PACKAGING.rglob("*")
        if path.is_file()
    }
    assert found == units.files(units.PREFIX), "run `just units`"


@pytest.mark.parametrize("spec", units.processes(), ids=lambda spec: spec.name)
def test_every_process_of_the_roster_has_a_unit_that_can_run(spec: ChildSpec) -> None:
    assert spec.name in units.NEEDS, "say in tools/units.py what it needs"
    found = find_spec(units.module(spec))
    assert found is not None and found.origin is not None
    main = Path(found.origin).with_name("__main__.py") if found.submodule_search_locations else Path(found.origin)
    assert '__name__ == "__main__"' in main.read_text()


def test_the_table_of_settings_is_up_to_date() -> None:
    page = settings_page.PAGE.read_text()
    assert "<!-- generated: settings -->" in page
    assert settings_page.renew(page) == page, "run `just docs`"
