"""Arguments that people give to the classes of a run from Python: taken, or refused by name."""

import members
import numpy as np
import pytest
import torch

from qmcnet import VMC, FermiNet, Molecule, PretrainingSettings

SIZES = {"n_layers": 1, "hidden_one": 4, "hidden_two": 2, "n_determinants": 1}


def network():
    return FermiNet(Molecule.atom("H"), **SIZES)


@pytest.mark.parametrize("ansatz", members.kinds("ansatz").values())
@pytest.mark.parametrize("molecule", ["LiH", None, 3, Molecule])
def test_a_wavefunction_is_that_of_a_molecule(ansatz, molecule):
    with pytest.raises(ValueError, match=r"molecule=.* must be a Molecule, as from Molecule.diatomic"):
        ansatz(molecule)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1.5}, "steps=1.5 must be a whole number"),
        ({"steps": "10"}, "steps='10' must be a whole number"),
        ({"batch_size": True}, "batch_size=True must be a whole number"),
        ({"seed": None}, "seed=None must be a whole number"),
        ({"pretraining": None}, "pretraining=None must be of the class PretrainingSettings"),
        ({"pretraining": PretrainingSettings}, "must be of the class PretrainingSettings"),
        ({"evaluation": 100}, "evaluation=100 must be of the class EvaluationSettings"),
        ({"clipping": 5.0}, "clipping=5.0 must be of the class Clipping"),
        ({"schedule": "cosine"}, "schedule='cosine' must be of the class Schedule"),
        ({"checkpoints": {}}, "checkpoints={} must be of the class CheckpointSettings"),
        ({"wall_time": 0}, "wall_time=0 must be positive"),
        ({"device": "gpu"}, "device='gpu' must be auto, cpu, cuda or cuda:N"),
        ({"device": torch.device("meta")}, "device='meta' must be auto"),
        ({"overwrite": True}, "overwrite=true moves an earlier run aside only with resume=false"),
    ],
)
def test_what_a_run_cannot_take_is_named(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        VMC(network(), tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_devices_of_torch_and_integers_of_numpy_are_taken(tmp_path):
    run = VMC(network(), tmp_path, device=torch.device("cpu"), steps=np.int64(3), batch_size=np.int32(8))
    assert run.device == torch.device("cpu")
    assert (run.config["steps"], run.config["batch_size"]) == (3, 8)
