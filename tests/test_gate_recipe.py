"""Recipes of gates: what cannot be meant cannot be said, and what is said can be written as JSON and told apart."""

import json
from dataclasses import asdict, replace

import pytest

from ardm.base.errors import InputError
from ardm.method.gate import FOUR
from ardm.method.gate_recipe import GATES, RECOMMENDED, Corrupted, EndToEnd, GateRecipe, Head, Rollout, Taught


@pytest.mark.parametrize(
    ("make", "bad", "said"),
    [
        (Head, {"kind": "wide"}, "kind='wide'"),
        (Head, {"width": 0}, "width=0"),
        (Head, {"kind": "attentive", "width": 30}, "width=30.*multiple of its 4"),
        (Corrupted, {"error_rate": 1.0}, "error_rate=1"),
        (Corrupted, {"own_errors": 2.0}, "own_errors=2"),
        (Rollout, {"edit": "delete"}, "edit='delete'"),
        (Rollout, {"steps": 0}, "steps=0"),
        (Taught, {"label": "truth"}, "label='truth'"),
        (Taught, {"hidden_share": -0.1}, "hidden_share=-0.1"),
        (EndToEnd, {"how": "mse"}, "how='mse'"),
        (EndToEnd, {"combine": "and"}, "combine='and'"),
        (EndToEnd, {"edit": "delete"}, "edit='delete'"),
        (EndToEnd, {"temperature": 0.0}, "temperature=0"),
        (EndToEnd, {"last_temperature": -1.0}, "last_temperature=-1"),
        (EndToEnd, {"taught": Taught(), "weight": -1.0}, "weight=-1"),
        (EndToEnd, {"taught": Taught()}, "weight=0.*give both"),
        (EndToEnd, {"weight": 1.0}, "taught=None.*give both"),
        (EndToEnd, {"learn_prior": True, "combine": "gate_only"}, "learn_prior=True"),
        (GateRecipe, {"signals": ("doubt",)}, "signals='doubt'"),
        (GateRecipe, {"signals": ("margin", "margin")}, "each once"),
        (GateRecipe, {"sparsity": -1.0}, "sparsity=-1"),
        (GateRecipe, {"stability": float("nan")}, "stability=nan"),
        (GateRecipe, {"steps": 0}, "steps=0"),
        (GateRecipe, {"batch": 0}, "batch=0"),
        (GateRecipe, {"rate": 0.0}, "rate=0"),
        (GateRecipe, {"objective": Taught("final")}, r"label='final'.*Rollout\(\)"),
        (GateRecipe, {"objective": EndToEnd(taught=Taught("final"), weight=1.0)}, r"label='final'.*Rollout\(\)"),
    ],
)
def test_what_cannot_be_meant_is_named(make, bad, said):
    with pytest.raises(InputError, match=said):
        make(**bad)


def test_what_was_an_error_by_hand_can_no_longer_be_said():
    """Labels do not fit the prior, so a taught gate has no such field; corrupted texts have no run, rollouts no error rate."""
    for make, field in ((Taught, "learn_prior"), (Taught, "combine"), (Corrupted, "steps"), (Rollout, "error_rate")):
        with pytest.raises(TypeError, match=field):
            make(**{field: 1})


def test_the_temperature_falls_geometrically():
    cooling = EndToEnd(temperature=0.8, last_temperature=0.2)
    assert [cooling.temperature_at(share) for share in (0, 0.5, 1)] == pytest.approx([0.8, 0.4, 0.2])


def test_as_json_every_two_recipes_differ():
    """Also where the values of one kind are those of another."""
    some = [
        GateRecipe(),
        GateRecipe(states=Rollout()),
        GateRecipe(objective=EndToEnd()),
        GateRecipe(objective=EndToEnd(taught=Taught(), weight=1.0)),
        GateRecipe(head=Head("linear")),
        *GATES.values(),
    ]
    said = [json.dumps(asdict(recipe)) for recipe in some]
    assert len(set(said)) == len(some)
    kinds = json.loads(said[1])["states"]["kind"], json.loads(said[0])["states"]["kind"]
    assert kinds == ("rollout", "corrupted")
    assert json.loads(said[2])["objective"]["kind"] == "end to end"


def test_equal_recipes_are_one_key():
    assert GateRecipe(states=Corrupted(0.1, 0.5)) == GateRecipe()
    assert len({GateRecipe(), GateRecipe(states=Corrupted()), replace(GateRecipe(), seed=1)}) == 2


def test_the_recommended_gate_is_attentive_taught_by_the_likelihood_ratio():
    assert RECOMMENDED is GATES["attentive"]
    assert (RECOMMENDED.head.kind, RECOMMENDED.signals, RECOMMENDED.taught) == ("attentive", FOUR, Taught("likelihood_ratio"))
