import pytest
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from qmcnet import AveragingSettings, EvaluationSettings, FermiNet, Molecule, load
from qmcnet.optimizers.averaging import ParameterAverage
from qmcnet.run.checkpoint import Checkpoints
from qmcnet.run.interruption import Interrupted
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization

SIZES = {"n_layers": 1, "hidden_one": 4, "hidden_two": 2, "n_determinants": 1, "dtype": torch.float64}
EXPONENTIAL = AveragingSettings("exponential", decay=0.6)


def vector(ansatz):
    return parameters_to_vector(ansatz.parameters()).detach().clone()


def visited(settings, count=7):
    """Random parameter sets that an average has seen, and the wavefunction and average after them."""
    ansatz = FermiNet(Molecule.atom("He"), **SIZES)
    average = ParameterAverage(ansatz, settings)
    generator = torch.Generator().manual_seed(0)
    sets = [torch.randn(len(vector(ansatz)), generator=generator, dtype=torch.float64) for _ in range(count)]
    for step, values in enumerate(sets, 1):
        vector_to_parameters(values.clone(), ansatz.parameters())
        average.update(step)
    return sets, ansatz, average


@pytest.mark.parametrize("start", [0, 3])
def test_equal_weights_give_the_mean_of_the_sets_after_the_start(start):
    sets, ansatz, average = visited(AveragingSettings("equal", start=start))
    assert average.count == 7 - start
    average.apply()
    torch.testing.assert_close(vector(ansatz), torch.stack(sets[start:]).mean(0), rtol=1e-12, atol=1e-12)


def exponential(sets, decay):
    """Mean with weights that fall by `decay` from a step to the one before."""
    weights = decay ** torch.arange(len(sets) - 1, -1, -1, dtype=torch.float64)
    return weights @ torch.stack(sets) / weights.sum()


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("decay", [0.8, 0.99])
def test_exponential_weights_fall_with_age_and_with_nothing_else(decay, start):
    sets, ansatz, average = visited(AveragingSettings("exponential", decay=decay, start=start), 40)
    average.apply()
    torch.testing.assert_close(vector(ansatz), exponential(sets[start:], decay), rtol=1e-12, atol=1e-12)


def test_the_average_of_an_earlier_version_goes_on():
    """Its weights sum to one, and what it gave the first parameters in excess falls as every weight does."""
    sets, _, average = visited(AveragingSettings("exponential", decay=0.8), 5)
    old = sets[0]
    for values in sets[1:]:
        old = 0.8 * old + 0.2 * values
    sizes = [value.numel() for value in average.values]
    values = [part.view_as(value) for part, value in zip(old.split(sizes), average.values, strict=True)]
    average.load_state_dict({"count": 5, "values": values})
    expected = old
    for count in range(6, 50):
        step = vector(average.ansatz)
        expected = expected + 0.2 / (1 - 0.8**count) * (step - expected)
        average.update(count)
    average.apply()
    torch.testing.assert_close(vector(average.ansatz), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(vector(average.ansatz), sets[-1], rtol=0, atol=1e-3)


@pytest.mark.parametrize("settings", [AveragingSettings(), AveragingSettings("equal", start=7)])
def test_without_an_average_the_last_parameters_stay(settings):
    sets, ansatz, average = visited(settings)
    average.apply()
    assert average.count == 0
    assert torch.equal(vector(ansatz), sets[-1])


def test_a_restored_average_continues_exactly():
    _, ansatz, average = visited(EXPONENTIAL)
    other = ParameterAverage(FermiNet(Molecule.atom("He"), **SIZES), EXPONENTIAL)
    other.load_state_dict(average.state_dict())
    for one in (average, other):
        vector_to_parameters(torch.linspace(0, 1, len(vector(ansatz)), dtype=torch.float64), one.ansatz.parameters())
        one.update(8)
        one.apply()
    assert torch.equal(vector(ansatz), vector(other.ansatz))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": "ema"}, "weights='ema' must be one of none, exponential, equal"),
        ({"decay": 1.0}, "decay=1.0 must be at least 0 and less than 1"),
        ({"decay": 0.0}, "decay=0.0 must be positive"),
        ({"start": -1}, "start=-1 must be at least 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        AveragingSettings(**settings)


@pytest.fixture
def parameters_by_step(monkeypatch):
    """Parameters after every optimisation step of this process."""
    seen, advance = [], Optimization.advance

    def record(self):
        row = advance(self)
        seen.append(vector(self.simulation.ensemble))
        return row

    monkeypatch.setattr(Optimization, "advance", record)
    return seen


def test_a_run_evaluates_the_average_and_keeps_the_last_parameters(tmp_path, make_run, parameters_by_step):
    run = make_run(tmp_path, averaging=EXPONENTIAL)
    result = run.train()
    expected = exponential(parameters_by_step, 0.6)
    torch.testing.assert_close(vector(run.ansatz), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(vector(load(tmp_path, device="cpu").ansatz), vector(run.ansatz))
    trained = Checkpoints(tmp_path / "checkpoints", 1).load_newest([Optimization.name]).state["simulation"]["ansatz"]
    plain = make_run(tmp_path / "plain")
    assert plain.train().energy != result.energy
    assert all(torch.equal(value, trained[name]) for name, value in plain.simulation.ensemble.state_dict().items())


def test_the_last_parameters_can_be_evaluated_too(tmp_path, make_run, parameters_by_step, any_series_is_an_estimate):
    make_run(tmp_path, averaging=EXPONENTIAL).train()
    settings = EvaluationSettings(steps=20, min_steps=10, burn_in=3)
    run = load(tmp_path, device="cpu")
    average = run.evaluate(settings)
    last = run.evaluate(settings, averaged=False)
    assert torch.equal(vector(run.ansatz), parameters_by_step[-1])
    assert average.energy != last.energy
    assert (tmp_path / "evaluation" / "burn_in=3,averaged=false" / "result.json").exists()


def test_an_unevaluated_run_is_loaded_with_its_average(tmp_path, make_run, stop_at):
    run = make_run(tmp_path, averaging=EXPONENTIAL)
    stop_at(Optimization, 4)
    with pytest.raises(Interrupted):
        run.train()
    last = vector(run.ansatz)
    loaded = vector(load(tmp_path, device="cpu").ansatz)
    assert not torch.equal(loaded, last)
    assert (loaded - last).norm() < 0.5 * last.norm()


def test_stopped_in_the_evaluation_of_an_average(tmp_path, make_run, stop_at):
    whole = make_run(tmp_path / "whole", averaging=EXPONENTIAL).train()
    stop_at(Evaluation, 9)
    with pytest.raises(Interrupted):
        make_run(tmp_path / "stopped", averaging=EXPONENTIAL).train()
    assert make_run(tmp_path / "stopped", averaging=EXPONENTIAL).train().energy == whole.energy


def test_extended_from_the_last_parameters_and_not_from_the_average(tmp_path, make_run):
    make_run(tmp_path / "extended", averaging=EXPONENTIAL, steps=3).train()
    extended = make_run(tmp_path / "extended", averaging=EXPONENTIAL, steps=6).train()
    assert extended.energy == make_run(tmp_path / "at once", averaging=EXPONENTIAL, steps=6).train().energy
