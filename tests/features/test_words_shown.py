"""A person's own words on the screen: what reads like markup or an emoji code is shown as it was written."""

import pytest

from features.checks.identity import Explanation
from features.console import emit
from omni import app
from serving.access.cli import Listed
from serving.access.keys import Scope, create_key, read_keys


@pytest.mark.parametrize(
    "words", ["say it in [reachable] of rules.toml", "anon:email:ana@example.org", "[/red] [bold]"]
)
def test_a_value_is_shown_as_it_is(words, capsys):
    emit({"warnings": [words], words: 1})
    out = capsys.readouterr().out
    assert out.count(words) == 2


def test_a_text_of_a_result_is_shown_as_it_is(capsys):
    class Note:
        def __rich__(self):
            return "see [never] and :email:"

    emit(Note())
    assert capsys.readouterr().out == "see [never] and :email:\n"


def test_names_of_customers_are_shown_as_they_are(capsys):
    emit(Explanation("C[b]1", "C[b]1", ("cookie:email:[x]",), (), (), ()))
    out = capsys.readouterr().out
    assert "C[b]1" in out and "cookie:email:[x]" in out


def test_names_of_keys_are_shown_as_they_are(tmp_path, capsys):
    create_key(tmp_path, "shop [b] :email:", (Scope.ASK,))
    emit(Listed(tuple(read_keys(tmp_path))))
    assert "shop [b] :email:" in capsys.readouterr().out


def test_a_wrong_choice_is_told_without_a_library_s_prefix(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMNI_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        app(["key", "create", "shop", "--scope", "nope"])
    assert end.value.code == 2
    assert "Invalid value for '--scope': 'nope' is not one of 'ingest'" in capsys.readouterr().err
