"""What a TOML file becomes, and the one line that answers a file, key or value that cannot be used."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from features.config import Config, check, load_own, load_toml, parse_overrides, read_toml
from features.errors import InputError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Trees(Config):
    RENAMED: ClassVar[Mapping[str, str]] = {"lambda_l2": "l2", "bins": "histogram.max_bin"}

    l2: float = Field(1.0, ge=0)
    num_leaves: int = 8


class Shop(Config):
    RENAMED: ClassVar[Mapping[str, str]] = {"horizon": "horizon_days"}

    horizon_days: int
    trees: Trees = Trees()
    second: Trees | None = None
    arms: tuple[Trees, ...] = ()
    caps: dict[Colour, Annotated[Trees, Field(description="per colour")]] = Field(default_factory=dict)
    columns: dict[Literal["who", "when"], str] = Field(default_factory=dict)
    words: dict[Annotated[str, Field(pattern="^[a-z]+$")], str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Shop":
        if self.horizon_days == 13:
            raise ValueError("13 days bring bad luck")
        return self


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.toml"


def complaint(file: Path, text: str, *overrides: str) -> str:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_toml(Shop, file, parse_overrides(overrides))
    return str(caught.value).replace(f"{file}", file.name)


def test_a_file_becomes_the_model(file: Path) -> None:
    file.write_text("horizon_days = 28\n[trees]\nl2 = 3\n", encoding="utf-8")
    assert load_toml(Shop, file) == Shop(horizon_days=28, trees=Trees(l2=3.0))


def test_overrides_replace_keys_of_any_section(file: Path) -> None:
    file.write_text("horizon_days = 28\n[trees]\nl2 = 3\nnum_leaves = 4\n", encoding="utf-8")
    overrides = parse_overrides(["horizon_days=7", "trees.l2 = 0.5", "second.l2=2", 'columns.who="a=b"'])
    shop = load_toml(Shop, file, overrides)
    assert shop == Shop(horizon_days=7, trees=Trees(l2=0.5, num_leaves=4), second=Trees(l2=2.0), columns={"who": "a=b"})


def test_an_override_is_toml_or_else_text() -> None:
    assert parse_overrides(["a=1", "b=[1, 2]", "c=true", "d=post", 'e="1"', "f="]) == {
        "a": 1,
        "b": [1, 2],
        "c": True,
        "d": "post",
        "e": "1",
        "f": "",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "horizon_days = 1\n[trees]\nnum_leafs = 3",
            "shop.toml: there is no key trees.num_leafs. Did you mean num_leaves? Known keys: l2, num_leaves.",
        ),
        ("horizon_days = 1\n[trees]\nzzz = 3", "shop.toml: there is no key trees.zzz. Known keys: l2, num_leaves."),
        (
            "horizon_day = 1",  # not: horizon_days is required
            "shop.toml: there is no key horizon_day. Did you mean horizon_days? "
            "Known keys: horizon_days, trees, second, arms, caps, columns, words.",
        ),
        (
            "horizon_days = 1\n[second]\nl3 = 3",
            "shop.toml: there is no key second.l3. Known keys: l2, num_leaves.",
        ),
        (
            "horizon_days = 1\n[[arms]]\n[[arms]]\nleaves = 3",
            "shop.toml: there is no key arms.1.leaves. Did you mean num_leaves? Known keys: l2, num_leaves.",
        ),
        (
            "horizon_days = 1\n[caps.red]\nleaves = 3",
            "shop.toml: there is no key caps.red.leaves. Did you mean num_leaves? Known keys: l2, num_leaves.",
        ),
        (
            "horizon_days = 1\n[caps.bleu]",
            "shop.toml: there is no key caps.bleu. Did you mean blue? Known keys: red, blue.",
        ),
        (
            "horizon_days = 1\n[columns]\nwhom = 'a'",
            "shop.toml: there is no key columns.whom. Did you mean who? Known keys: who, when.",
        ),
    ],
)
def test_an_unknown_key_is_answered_with_the_keys_of_its_section(file: Path, text: str, words: str) -> None:
    assert complaint(file, text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("horizon = 1", "shop.toml: horizon is now horizon_days. Use the new name."),
        ("horizon_days = 1\n[trees]\nlambda_l2 = 3", "shop.toml: trees.lambda_l2 is now trees.l2. Use the new name."),
        (
            "horizon_days = 1\n[second]\nlambda_l2 = 3",
            "shop.toml: second.lambda_l2 is now second.l2. Use the new name.",
        ),
        (
            "horizon_days = 1\n[[arms]]\nbins = 3",
            "shop.toml: arms.0.bins is now arms.0.histogram.max_bin. Use the new name.",
        ),
        (
            "horizon_days = 1\n[caps.red]\nlambda_l2 = 3",
            "shop.toml: caps.red.lambda_l2 is now caps.red.l2. Use the new name.",
        ),
    ],
)
def test_an_old_key_is_answered_with_the_new_name(file: Path, text: str, words: str) -> None:
    assert complaint(file, text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("horizon_days = 'x'", "shop.toml: horizon_days: Input should be a valid integer"),
        ("horizon_days = 1\n[trees]\nl2 = -1", "shop.toml: trees.l2: Input should be greater than or equal to 0. Mend"),
        (
            "horizon_days = 1\n[trees]\nl2 = true",
            "shop.toml: trees.l2: Input should be a number, not true or false. Mend",
        ),
        ("horizon_days = true", "shop.toml: horizon_days: Input should be a number, not true or false. Mend"),
        ("horizon_days = 1\n[trees]\nl2 = inf", "shop.toml: trees.l2: Input should be a finite number. Mend"),
        ("horizon_days = 100_001", "shop.toml: horizon_days: Input should be from a minute to 100,000 days. Mend"),
        ("horizon_days = 13", "shop.toml: 13 days bring bad luck. Mend the value."),
        ("horizon_days = 1\n[words]\nA = 'a'", "shop.toml: words.A: String should match pattern"),
        ("[trees]", "shop.toml: horizon_days: Field required."),
        ("= 3", "shop.toml is not TOML: Invalid statement (at line 1, column 1). Mend that line."),
    ],
)
def test_a_wrong_value_is_answered_with_its_key(file: Path, text: str, words: str) -> None:
    assert complaint(file, text).startswith(words)


def test_what_was_wrong_on_the_command_line_is_not_said_of_the_file(file: Path) -> None:
    said = complaint(file, "horizon_days = 1", "trees.leaves=3")
    assert said.startswith("--set trees.leaves: there is no key trees.leaves. Did you mean num_leaves?")
    assert complaint(file, "horizon_days = 1", "horizon_days=x").startswith("--set horizon_days: horizon_days: Input")
    said = complaint(file, "horizon_days = 1", "arms=[{leaves = 3}]")
    assert said.startswith("--set arms: there is no key arms.0.leaves. Did you mean num_leaves?")
    said = complaint(file, "horizon_days = 1", "horizon_days=1", "booster.num_leaves=3")
    assert said.startswith("--set booster.num_leaves: there is no key booster. Known keys: horizon_days, trees")
    assert complaint(file, "horizon_days = 1", "=3") == "--set '=3' has no key. Write it as key=value."
    assert complaint(file, "horizon_days = 1", "horizon_days.a=3").startswith(
        "--set horizon_days.a: horizon_days is not a section."
    )
    assert complaint(file, "horizon_days = 1", "trees") == "--set 'trees' has no value. Write it as key=value."


def test_a_length_of_time_is_one_that_a_calendar_holds() -> None:
    class Pauses(Config):
        rest_days: float = 0
        more_days: tuple[float, ...] = ()

    kept = Pauses(rest_days=99_999, more_days=(0, 1 / 1440))
    assert (kept.rest_days, kept.more_days) == (99_999, (0, 1 / 1440))
    for wrong in ({"rest_days": 1e8}, {"rest_days": 1e-9}, {"more_days": (1, 1e8)}):
        with pytest.raises(ValidationError, match=r"from a minute to 100,000 days"):
            Pauses.model_validate(wrong)


def test_a_section_of_a_file(file: Path) -> None:
    file.write_text('["next-basket"]\nl2 = 3\n[churn]\nlambda_l2 = 3\n', encoding="utf-8")
    assert load_toml(Trees, file, {"num_leaves": 2}, section="next-basket") == Trees(l2=3.0, num_leaves=2)
    with pytest.raises(InputError, match=r"shop\.toml: churn\.lambda_l2 is now churn\.l2\."):
        load_toml(Trees, file, section="churn")
    with pytest.raises(
        InputError, match=r"there is no section chrun\. Did you mean churn\? Known keys: next-basket, c"
    ):
        load_toml(Trees, file, section="chrun")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: No such file or directory\. Give a readable TOML file\."):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(InputError, match=r"latin\.toml is not TOML: 'utf-8' codec"):
        read_toml(tmp_path / "latin.toml")
    (tmp_path / "cut.toml").touch()  # as after a power cut; what means the defaults says so, or is not there
    with pytest.raises(InputError, match=r"cut\.toml is empty\. Fill it, or delete it for the defaults\."):
        read_toml(tmp_path / "cut.toml")
    (tmp_path / "cut.toml").write_text("# the defaults\n")
    assert read_toml(tmp_path / "cut.toml") == {}


def test_a_file_of_the_user_replaces_defaults_and_another_replaces_it(file: Path, tmp_path: Path) -> None:
    assert load_own(Trees, file) == Trees()
    file.write_text("l2 = 3\n", encoding="utf-8")
    assert load_own(Trees, file) == Trees(l2=3.0)
    other = tmp_path / "other.toml"
    with pytest.raises(InputError, match=r"other\.toml: No such file"):
        load_own(Trees, file, other)
    other.write_text("num_leaves = 2\n", encoding="utf-8")
    assert load_own(Trees, file, other) == Trees(num_leaves=2)


def test_content_in_hand_is_named_by_where_it_lies(file: Path) -> None:
    assert check(Trees, {"l2": 2}, file) == Trees(l2=2.0)
    with pytest.raises(InputError, match=r"shop\.toml: there is no key arms\.3\.leaf\. Known keys: l2, num_leaves\."):
        check(Trees, {"leaf": 2}, file, ("arms", 3))
    with pytest.raises(InputError, match=r"shop\.toml: arms\.3: Input should be a section"):
        check(Trees, 3, file, ("arms", 3))


def test_a_config_is_not_changed_and_knows_its_keys() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Trees.model_validate({"l4": 1})
    with pytest.raises(ValidationError, match="frozen"):
        Trees().l2 = 2.0  # type: ignore[misc]
