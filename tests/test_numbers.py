"""What a number is, in every flag, spec string and TOML field."""

import math

import pytest

import methods
from benchmark.__main__ import main
from benchmark.core.numbers import COUNT, FROM_ZERO, POSITIVE, Number
from benchmark.core.registry import InputError
from benchmark.core.spec import parse_spec
from benchmark.sweep.grid import AXES, read_axis, read_config

NONE = ["nan", "inf", "-inf", "1_0", "0x10", "1e400", "٣", "²", "1,5", "--1", "1j", "True"]


@pytest.mark.parametrize("text", [*NONE, "", " ", "1 0"])
@pytest.mark.parametrize("number", [Number(int), Number(float)])
def test_what_is_no_number(number, text):
    with pytest.raises(InputError, match=r"^--x .* must be a"):
        number.read(text, "--x")


@pytest.mark.parametrize(
    ("number", "text", "value"),
    [
        (COUNT, "3", 3), (COUNT, " +3 ", 3), (COUNT, 3, 3), (FROM_ZERO, "0", 0),
        (POSITIVE, "1e-4", 1e-4), (POSITIVE, "3", 3.0), (POSITIVE, ".5", 0.5), (POSITIVE, 2, 2.0),
        (Number(int), "-9223372036854775807", -(2**63) + 1),
    ],
)  # fmt: skip
def test_what_is_one(number, text, value):
    found = number.read(text, "x")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("number", "inside", "outside", "told"),
    [
        (COUNT, [1], [0, -1], "a whole number above 0"),
        (COUNT, [1], [2**63, "9" * 20], f"a whole number above 0, {2**63 - 1} at most"),
        (Number(float, least=0, below=1), [0, 0.9], [-1, 1], "a number of 0 or more and below 1"),
        (Number(float, above=0, most=1), [1, 1e-9], [0, 1.01], "a number above 0 and up to 1"),
        (Number(int, least=1, most=4), [1, 4], [0, 5], "a whole number from 1 to 4"),
        (Number(float, above=0, below=1), [0.5], [0, 1], "a number between 0 and 1"),
        (Number(float), [-1e99], [math.nan], "a number"),
        (Number(float), [-1e99], [1e101, -1e101], r"a number, 1e\+100 at most"),
    ],
)  # fmt: skip
def test_ranges(number, inside, outside, told):
    for value in inside:
        assert number.read(value, "x") == value
    for value in outside:
        with pytest.raises(InputError, match=f"must be {told}$"):
            number.read(value, "x")


def test_a_truth_value_is_no_number():
    for read in (COUNT.read, COUNT.check):
        with pytest.raises(InputError, match="x True must be a whole number above 0"):
            read(True, "x")


def test_a_fraction_is_no_whole_number():
    for read in (COUNT.read, COUNT.check):
        with pytest.raises(InputError, match=r"x 1\.5 must be a whole number above 0"):
            read(1.5, "x")


@pytest.mark.parametrize("text", ["nan", "1_0", "0x10", "٣"])
def test_every_axis_reads_numbers_alike(tmp_path, text):
    file = tmp_path / "sweep.toml"
    for name in (name for name, (number, _) in AXES.items() if number is not None):
        file.write_text(f'{name} = "{text}"\n')
        for value in (text, [text], read_config(file)[name]):
            with pytest.raises(InputError, match=f"^{name} '{text}' must be"):
                read_axis(name, value)


@pytest.mark.parametrize(
    "spec",
    [
        "lora(rank=1_0)", "lora(rank=0x8)", "lora(alpha=nan)", "lora(alpha=-inf)",
        "lora(alpha=1e999)", "lora(rank=8,rank=9)", "lora(rank=8)(alpha=9)",
        "lora(rank=8)+lora(rank=4)", "lora(rank={[]:1})", "lora(rank={1:2})", "lora(rank=b'x')",
        "lora(rank=...)", "lora(rank=1j)", "lora(rank=1+1j)", "lora(rank=" + "-" * 5000 + "1)",
        "lora(rank=" + "-" * 900 + "1)", "lora(rank=" + "(" * 400 + ")" * 400 + ")",
        "lora(targets=" + "+".join("a" * 5000) + ")", "lora(rank=" + "9" * 900 + ")",
    ],
)  # fmt: skip
def test_specs_hold_plain_values_once(spec):
    with pytest.raises(InputError) as caught:
        parse_spec(spec)
    assert "\n" not in str(caught.value)


def test_numbers_joined_by_plus_are_a_text_and_no_sum():
    assert parse_spec("x(mean=.5+.4+.3)") == ("x", {"mean": "0.5+0.4+0.3"})
    with pytest.raises(InputError, match="rank"):
        methods.build("lora(rank=1+1)")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["status", "--tail", "²"], "argument --tail: '²' must be a whole number of 0 or more"),
        (["status", "--watch", "nan"], "argument --watch: 'nan' must be a number above 0"),
        (["audit", "--jobs", "0"], "argument --jobs: 0 must be a whole number above 0"),
        (["data", "prepare", "busi", "--image-size", "56,x"], "--image-size 'x' must be a whole"),
        (["run", "--jobs", "1_0"], "argument --jobs: '1_0' must be a whole number above 0"),
        (["run", "--jobs", "all"], "argument --jobs: 'all' must be a whole number above 0"),
        (["report", "--plan-seeds", "inf"], "argument --plan-seeds: 'inf' must be a number"),
        (["run", "--runs", ""], "argument --runs: an empty path"),
        (["run", "--executor", "x"], "argument --executor: invalid choice: 'x'"),
        (["run", "--tune-budget", "99999"], "--tune-budget: 99999 must be a whole number from 1"),
        (["nothing"], "invalid choice: 'nothing'"),
        (["run", "--methods", "lora", "--methods=dvpt"], "--methods: given twice; write its val"),
        (["run", "--method", "lora", "--methods", "dvpt"], "--methods: given twice; write its val"),
        (["run", "--runs", "runs", "--runs", "b"], "argument --runs: given twice; give it once"),
        (["bench", "--rounds", "5", "--rounds", "5"], "argument --rounds: given twice"),
        (["list", "methods", "--format", "markdown", "--format", "terminal"], "given twice"),
    ],
)
def test_a_flag_is_one_sentence(flags, told, capsys):
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["data", "list", "x"], "takes no name"),
        (["data", "list", "--json"], "--json is for `data show and check`"),
        (["data", "show", "x", "--image-size", "5"], "--image-size is for `data prepare`"),
        (["data", "check", "x", "--fraction", "1"], "--fraction is for `data show`"),
        (["data", "check", "x", "--out", "y"], "--out is for `data show and prepare`"),
        (["data", "show", "x", "--shots", "1", "--fraction", "1"], "exclude each other"),
        (["data", "show", "x", "--json", "--out", "y"], "exclude each other"),
        (["bench", "--plan-sizes", "5", "--parts", "steps"], "exclude each other"),
        (["runs", "--dry-run"], "name kinds with --clean"),
        (["report", "--source", "a=b", "--format", "csv"], "--source is for --panels and"),
        (["report", "--panels", "1", "--source", "a=b", "--source", "a=c"], "two places of 'a'"),
        (["report", "--figures", ""], "is not a comma list"),
        (["report", "--figures", "none", "--no-titles"], "leaves nothing to --no-titles"),
        (["weights", "check", ""], "is not a comma list"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(flags, told, tmp_path, monkeypatch, capsys):
    from test_guards import put

    put(tmp_path / "runs", 0.5)
    monkeypatch.chdir(tmp_path)
    assert main(flags) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["status", "runs", "report", "compare", "cancel", "data check"])
def test_a_name_that_no_file_system_takes_is_one_sentence(verb, capsys):
    flags = [*verb.split(), "./" + "x" * 300] if " " in verb else [verb, "--runs", "x" * 300]
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
