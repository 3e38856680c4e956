"""The README's tables are true."""

from pathlib import Path

from docs.site.reference import settings_table

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_lists_every_setting_with_its_default_and_meaning():
    assert settings_table() in README.read_text()
