from __future__ import annotations

import json
from typing import Any

import pytest
from model_kit.errors import SpecError
from model_kit.spec import Field, InputSpec, Learned, Level, Target, fit_spec
from model_kit.testing import SPEC_OF_RIDES

TARGET = Target("price", "EUR")


def category(**facts: Any) -> Field:
    return Field("zone", "category", "a zone", **facts)


def learn(field: Field, values: list[Any], **options: Any) -> Learned:
    return fit_spec([field], TARGET, [{field.name: value} for value in values], **options).learned[field.name]


def test_spec_survives_its_json() -> None:
    assert InputSpec.from_json(SPEC_OF_RIDES.to_json()) == SPEC_OF_RIDES


def test_json_leaves_out_defaults_and_keeps_the_rest() -> None:
    fields = {field["name"]: field for field in json.loads(SPEC_OF_RIDES.to_json())["fields"]}
    assert set(fields["distance"]) == {"name", "kind", "description", "group", "required", "unit", "minimum", "learned"}
    assert fields["comfort"]["levels"][2] == {"value": "3", "meaning": "Luxury"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        SPEC_OF_RIDES.to_json().replace('"format": 1', '"format": 2'),
        SPEC_OF_RIDES.to_json().replace('"kind": "number"', '"kind": "colour"'),
        SPEC_OF_RIDES.to_json().replace('"unit": "km"', '"units": "km"'),
        SPEC_OF_RIDES.to_json().replace('"name": "zone"', '"name": "distance"'),
    ],
)
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        InputSpec.from_json(text)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"name": "", "kind": "number"}, "^a field has no name$"),
        ({"kind": "number", "levels": (Level("A", ""),)}, "only a category has levels"),
        ({"kind": "integer", "numeric_codes": True}, "only a category has levels"),
        ({"kind": "category", "minimum": 0}, "a category has no bounds"),
        ({"kind": "category", "ordered": True}, "must document its levels"),
        ({"kind": "category", "levels": (Level("A", ""), Level("A", ""))}, "documented twice"),
        ({"kind": "number", "minimum": 2, "maximum": 1}, "minimum 2 is above maximum 1"),
    ],
)
def test_field_that_contradicts_itself_is_refused(facts: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Field(**({"name": "x", "description": ""} | facts))


def test_number_learns_range_median_and_bins() -> None:
    learned = learn(Field("x", "number", ""), [None, *range(1, 100)])
    assert (learned.low, learned.high, learned.typical) == (1, 99, 50)
    assert learned.missing == pytest.approx(0.01)
    assert learned.bins == (10, 20, 30, 40, 50, 60, 70, 80, 90)


def test_typical_integer_occurs_in_the_data() -> None:
    assert learn(Field("x", "integer", ""), [1, 2, 5, 9]).typical == 2


def test_repeated_values_make_fewer_bins_and_never_an_empty_last_one() -> None:
    assert learn(Field("x", "number", ""), [0] * 95 + [1, 2, 3, 4, 5]).bins == (0,)
    assert learn(Field("x", "number", ""), [7] * 20).bins == ()


def test_number_without_a_value_learns_nothing() -> None:
    assert learn(Field("x", "number", ""), [None, None]) == Learned(1.0, None)


def test_nominal_levels_are_coded_by_name_and_rare_ones_share_zero() -> None:
    learned = learn(category(), ["b"] * 3 + ["a"] * 2 + ["z", "y"], rare_below=2)
    assert learned.codes == {"y": 0, "z": 0, "a": 1, "b": 2}
    assert learned.typical == "b"


def test_ordered_levels_are_coded_by_their_documented_position() -> None:
    levels = (Level("low", ""), Level("mid", ""), Level("high", ""))
    assert learn(category(levels=levels, ordered=True), ["high", "low"]).codes == {"low": 1, "high": 3}


def test_ordered_level_without_a_place_is_refused() -> None:
    with pytest.raises(SpecError, match="zone: level 'top' has no place"):
        learn(category(levels=(Level("low", ""),), ordered=True), ["top"])


def test_most_frequent_absence_is_typical_only_where_it_is_information() -> None:
    values = ["a", "a", "b", None, None, None]
    assert learn(category(null_means="none"), values).typical is None
    assert learn(category(), values).typical == "a"
    assert learn(category(null_means="none"), [*values, "a", "a"]).typical == "a"


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(SpecError, match="^there is no row to learn from$"):
        fit_spec([category()], TARGET, [])


def test_learned_facts_must_be_about_the_declared_fields() -> None:
    with pytest.raises(SpecError, match="^what was learned is not about the declared fields$"):
        InputSpec((category(),), {}, TARGET)


def test_learned_number_that_is_not_finite_is_not_written() -> None:
    with pytest.raises(SpecError, match="not finite"):
        SPEC_OF_RIDES.with_offset(float("nan")).to_json()


def test_required_fields_are_listed_in_order() -> None:
    assert SPEC_OF_RIDES.required == ("distance", "zone")


def test_format_of_another_version_is_named() -> None:
    text = SPEC_OF_RIDES.to_json().replace('"format": 1', '"format": 2')
    with pytest.raises(SpecError) as caught:
        InputSpec.from_json(text)
    assert str(caught.value) == "format 2; this version reads 1"


def test_what_is_wrong_with_a_spec_is_told() -> None:
    with pytest.raises(SpecError, match="not a spec of format 1: KeyError"):
        InputSpec.from_json("{}")


def test_integer_learns_integers() -> None:
    rows: list[dict[str, Any]] = [{"x": value} for value in (1, 3, 3, 4, 7, 7, 9, 12)]
    learned = fit_spec([Field("x", "integer", "")], TARGET, rows, n_bins=4).learned["x"]
    assert learned == Learned(0, 4, 1, 12, (3, 4, 7))
    assert {type(value) for value in (learned.typical, learned.low, learned.high)} == {int}
    assert fit_spec([Field("x", "number", "")], TARGET, rows, n_bins=4).learned["x"] == Learned(0, 4, 1, 12, (3, 4, 7))


def test_highest_of_few_values_is_no_inner_edge() -> None:
    rows: list[dict[str, Any]] = [{"x": value} for value in (1, 2, 2)]
    assert fit_spec([Field("x", "number", "")], TARGET, rows, n_bins=3).learned["x"].bins == (1,)
    rows = [{"x": value} for value in (1, 2, 3)]
    assert fit_spec([Field("x", "number", "")], TARGET, rows, n_bins=3).learned["x"].bins == (1, 2)


def test_ten_rows_make_a_level_of_its_own() -> None:
    rows: list[dict[str, Any]] = [{"x": "a"}] * 10 + [{"x": "b"}] * 9
    assert fit_spec([Field("x", "category", "")], TARGET, rows).learned["x"].codes == {"a": 1, "b": 0}


def test_codes_of_ordered_levels_are_listed_in_their_order() -> None:
    field = Field("x", "category", "", levels=(Level("low", ""), Level("high", "")), ordered=True)
    codes = fit_spec([field], TARGET, [{"x": "high"}, {"x": "low"}]).learned["x"].codes
    assert list((codes or {}).items()) == [("low", 1), ("high", 2)]


def test_level_as_frequent_as_its_absence_is_typical() -> None:
    field = Field("x", "category", "", null_means="none")
    assert fit_spec([field], TARGET, [{"x": "a"}, {}]).learned["x"].typical == "a"
    assert fit_spec([field], TARGET, [{"x": "a"}, {}, {}]).learned["x"].typical is None


def test_category_without_a_value_has_no_typical_one() -> None:
    assert fit_spec([Field("x", "category", "")], TARGET, [{}]).learned["x"] == Learned(1, None, codes={})


def test_json_is_readable_and_keeps_its_letters() -> None:
    field = Field("café", "category", "")
    text = InputSpec((field,), {"café": Learned(0, None, codes={})}, TARGET).to_json()
    assert text.startswith('{\n "format": 1,\n "target": {\n  "name": "price",\n')
    assert '   "name": "café",\n   "kind": "category",\n   "description": "",\n   "group": "Fields",\n' in text


def test_bounds_may_be_one_value() -> None:
    assert Field("x", "number", "", minimum=1, maximum=1).maximum == 1


def test_field_declared_twice_is_refused_in_these_words() -> None:
    with pytest.raises(SpecError) as caught:
        InputSpec((category(), category()), {"zone": Learned(0, None)}, TARGET)
    assert str(caught.value) == "a field is declared twice"


def test_kind_that_does_not_exist_is_named() -> None:
    with pytest.raises(SpecError) as caught:
        Field("x", "colour", "")  # type: ignore[arg-type]
    assert str(caught.value) == "x: kind is 'colour', not integer, number, category, boolean, date, datetime or text"


def grouped(*together: tuple[str, ...]) -> InputSpec:
    return InputSpec(SPEC_OF_RIDES.fields, SPEC_OF_RIDES.learned, SPEC_OF_RIDES.target, together)


def test_groups_and_subject_survive_json() -> None:
    spec = InputSpec.from_json(grouped(("zone", "comfort")).to_json())
    assert spec.together == (("zone", "comfort"),)
    assert spec.with_offset(1.0).together == spec.together
    ride = Target("fare", "EUR", subject="ride")
    assert InputSpec.from_json(InputSpec((), {}, ride).to_json()).target.subject == "ride"


def test_older_spec_has_no_groups_and_is_about_records() -> None:
    document = json.loads(SPEC_OF_RIDES.to_json())
    del document["together"], document["target"]["subject"]
    spec = InputSpec.from_json(json.dumps(document))
    assert spec == SPEC_OF_RIDES
    assert (spec.together, spec.target.subject) == ((), "record")


@pytest.mark.parametrize(
    ("together", "message"),
    [
        ((("zone", "colour"),), "^together: there is no field colour$"),
        ((("zone", "comfort"), ("distance", "zone")), "^together: zone is named twice$"),
        ((("zone", "zone"),), "^together: zone is named twice$"),
        ((("zone",),), "^together: zone is no group of fields$"),
        (((),), "^together: nothing is no group of fields$"),
    ],
)
def test_group_that_cannot_be_is_refused(together: tuple[tuple[str, ...], ...], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        grouped(*together)


def test_groups_are_learned_with_the_fields() -> None:
    fields = [Field("x", "number", ""), Field("y", "number", "")]
    assert fit_spec(fields, TARGET, [{"x": 1, "y": 2}], together=(("x", "y"),)).together == (("x", "y"),)
