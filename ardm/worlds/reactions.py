"""Chemical reactions as text: made from molecules that come with rdkit, in the tokens of the reaction model, judged by rdkit.

Needs the extra ``chem`` and the files of ``rxnmapper`` (:data:`ardm.adapters.reaction_model.INSTALL`). A text is SMILES
(Weininger 1988, doi:10.1021/ci00057a005): reactants with dots between them, ``>>``, the product.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product as product_of
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ardm.adapters.reaction_model import lacking, reaction_words
from ardm.base.errors import InputError, check_choice
from ardm.base.streams import HELD_OUT, generator
from ardm.method.types import Bool, Int
from ardm.worlds.world import World

__all__ = [
    "ARROW",
    "PARTS",
    "TEMPLATES",
    "Judged",
    "ReactionWorld",
    "Reactions",
    "Template",
    "judged",
    "make_reactions",
    "part_of",
    "tokens_of",
]

ARROW = ">>"
PARTS = ("train", "validation", "test")
TOKEN = re.compile(r"\[[^\[\]]*\]|Br|Cl|%\d\d|>>|.")
MOST_ATOMS = 26  # of a reactant
MOST = 400  # reactions of one template
AMINE = "[NX3;H2,H1;!$(NC=[O,S,N]);!$(N[!#6]):3]"
HALIDE = "[CX4;H2,H3:1][Br,Cl,I]"


@dataclass(frozen=True)
class Template:
    """Two groups that meet and what becomes of them, as SMARTS; each molecule has its group once, so that there is one product."""

    first: str
    second: str
    product: str


TEMPLATES = {
    "amide": Template("[CX3:1](=[O:2])[OX2H1]", AMINE, "[C:1](=[O:2])[N:3]"),
    "ester": Template("[CX3;!$(C(O)O):1](=[O:2])[OX2H1]", "[OX2H1;$(O[CX4]):3]", "[C:1](=[O:2])[O:3]"),
    "thioether": Template("[#6:2][SX2H1:3]", HALIDE, "[#6:2][S:3][C:1]"),
    "phenol ether": Template("[c:2][OX2H1:3]", HALIDE, "[c:2][O:3][C:1]"),
    "N-alkylation": Template(AMINE, HALIDE, "[N:3][C:1]"),
}
"""Five kinds of reaction, by name. Bases, coupling agents and solvents are left out, as often in the model's own data."""


def tokens_of(text: str) -> list[str]:
    """The tokens of a SMILES: atoms in brackets, two-letter elements, ring numbers above 9 and the arrow are one each."""
    return TOKEN.findall(text)


# Judging ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """What rdkit says of a text. ``valid``: one arrow, and both sides parse and sanitise: valences, aromatic rings, brackets.

    ``held``: of the heavy atoms of the product, the share that the reactants have too, element by element; 0 where not valid.
    """

    valid: bool
    held: float

    @property
    def sound(self) -> float:
        """Valid, and weighed by the atoms that do not come from nowhere."""
        return self.valid * self.held


@cache
def judged(text: str) -> Judged:
    """The verdict on a text. ``~`` joins the parts of a salt in the model's notation and is read as a dot."""
    sides = text.replace("~", ".").split(ARROW)
    if len(sides) != 2 or ">" in "".join(sides) or not all(sides):
        return Judged(False, 0.0)
    read = [_molecule(side) for side in sides]
    if None in read:
        return Judged(False, 0.0)
    there, wanted = (Counter(atom.GetSymbol() for atom in side.GetAtoms()) for side in read)
    total = sum(wanted.values())
    return Judged(True, sum((there & wanted).values()) / total) if total else Judged(False, 0.0)


def _molecule(smiles: str) -> Any:
    """What rdkit reads; None where it refuses."""
    return _rdkit().MolFromSmiles(smiles)


@cache
def _rdkit() -> Any:
    """``rdkit.Chem``, silent: an invalid text is a result here and no error."""
    if why := lacking():
        raise InputError(why)
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    return Chem


# Making -------------------------------------------------------------------------------------------------------------------


class Molecule(NamedTuple):
    """A molecule: its canonical SMILES, rdkit's object, and how many tokens it has."""

    smiles: str
    read: Any
    tokens: int


@cache
def _molecules() -> tuple[Molecule, ...]:
    """The molecules of rdkit's ``NCI/first_5K.smi`` that are in one piece, small and in the model's tokens."""
    chem = _rdkit()
    from rdkit import RDConfig

    words, found = set(reaction_words()), {}
    for line in (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text("utf8").splitlines():
        read = chem.MolFromSmiles(line.split()[0]) if line.strip() else None
        if read is not None and 1 < read.GetNumAtoms() <= MOST_ATOMS:
            smiles = chem.MolToSmiles(read)
            pieces = tokens_of(smiles)
            if "." not in pieces and words.issuperset(pieces):
                found.setdefault(smiles, Molecule(smiles, read, len(pieces)))
    return tuple(found.values())


def make_reactions(length: int, *, most: int = MOST, seed: int = 0) -> dict[str, str]:
    """Reactions of exactly ``length`` tokens as SMILES, by their product: at most so many of each template, from random pairs.

    Each template loses one token and brackets come in pairs, so ``length`` is odd. Of several with one product the first is kept.
    Canonical SMILES are those of the rdkit that is installed.
    """
    from rdkit.Chem import rdChemReactions

    chem, words, found = _rdkit(), set(reaction_words()), {}
    for name, template in TEMPLATES.items():
        rule = rdChemReactions.ReactionFromSmarts(f"{template.first}.{template.second}{ARROW}{template.product}")
        groups = [_with_one(pattern) for pattern in (template.first, template.second)]
        made: dict[str, str] = {}
        for a, b in _pairs(groups, length, generator(seed, f"reactions by {name}")):
            product = _product(chem, rule, a.read, b.read)
            text = f"{a.smiles}.{b.smiles}{ARROW}{product}"
            pieces = tokens_of(text)
            if product and len(pieces) == length and words.issuperset(pieces) and judged(text).valid:
                made.setdefault(product, text)
            if len(made) == most:
                break
        found = made | found
    return found


def _with_one(pattern: str) -> list[Molecule]:
    """The molecules that have this group once."""
    query = _rdkit().MolFromSmarts(pattern)
    return [molecule for molecule in _molecules() if len(molecule.read.GetSubstructMatches(query)) == 1]


def _pairs(groups: Sequence[list[Molecule]], length: int, rng: torch.Generator) -> list[tuple[Molecule, Molecule]]:
    """All pairs, one of each group, that may give so many tokens, shuffled: a product is about as long as what it is made of."""
    fit = [(a, b) for a, b in product_of(*groups) if a.smiles != b.smiles and -3 <= 2 * (a.tokens + b.tokens) - length <= 1]
    return [fit[place] for place in torch.randperm(len(fit), generator=rng).tolist()]


def _product(chem: Any, rule: Any, a: Any, b: Any) -> str:
    """The canonical SMILES of the one product; nothing where there is none, or several, or it makes no sense."""
    found = set()
    for (product,) in rule.RunReactants((a, b)):
        if chem.SanitizeMol(product, catchErrors=True):
            return ""
        found.add(chem.MolToSmiles(product))
    return found.pop() if len(found) == 1 else ""


def part_of(product: str) -> str:
    """The part that a reaction belongs to, by its product alone: of ten, six train, one validation, three test."""
    place = zlib.crc32(product.encode()) % 10
    return PARTS[0] if place < 6 else PARTS[1] if place < 7 else PARTS[2]


@cache
def _made(length: int) -> Mapping[str, Tensor]:
    """The ids of all reactions of this length, by part."""
    numbers = {word: number for number, word in enumerate(reaction_words())}
    rows: dict[str, list[list[int]]] = {part: [] for part in PARTS}
    for product, text in make_reactions(length).items():
        rows[part_of(product)].append([numbers[token] for token in tokens_of(text)])
    if any(not part for part in rows.values()):
        raise InputError(f"length={length}: no reactions of so many tokens in every part; try an odd number from 31 to 55")
    return {part: torch.tensor(ids) for part, ids in rows.items()}


@dataclass(frozen=True)
class Reactions:
    """Reactions of ``length`` tokens, as a :class:`~ardm.method.types.Corpus`. ``part``: where held-out ones come from.

    The parts share reactants and templates, and no product.
    """

    length: int
    part: str = "test"
    name: str = "reactions"

    def __post_init__(self) -> None:
        check_choice("part", self.part, PARTS)

    @property
    def words(self) -> tuple[str, ...]:
        """The tokens of the model, its special ones among them, so that ids are those of the model."""
        return reaction_words()

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many reactions each part has."""
        return {part: len(ids) for part, ids in _made(self.length).items()}

    def batch(self, count: int, generator: torch.Generator) -> Int[Tensor, "B L"]:
        """Reactions of the part for training, drawn alike."""
        ids = _made(self.length)["train"]
        return ids[torch.randint(len(ids), (count,), generator=generator)]

    def held_out(self, count: int, *, seed: int = 0) -> Int[Tensor, "B L"]:
        """``count`` different reactions of ``part``; ``InputError`` where it has fewer."""
        ids = _made(self.length)[self.part]
        if count > len(ids):
            raise InputError(f"count={count}: there are {len(ids)} reactions for {self.part}")
        return ids[torch.randperm(len(ids), generator=generator(seed, HELD_OUT))[:count]]

    def decode(self, x: Int[Tensor, " L"]) -> str:
        """The text, a mask as ``_``."""
        return "".join((*self.words, "_")[number] for number in x.tolist())


@dataclass(frozen=True)
class ReactionWorld(World):
    """Right is what rdkit accepts on both sides of one arrow; which token is wrong is known of a text made from a right one."""

    part: str = "test"
    knows: ClassVar[bool] = False

    @property
    def corpus(self) -> Reactions:
        return _corpus(self.length, self.part)

    def judged(self, x: Int[Tensor, "B L"]) -> list[Judged]:
        """The verdict on each text."""
        return [judged(self.corpus.decode(row)) for row in x.cpu()]

    def right(self, x: Int[Tensor, "B L"]) -> Bool[Tensor, " B"]:
        return torch.tensor([verdict.valid for verdict in self.judged(x)])


@cache
def _corpus(length: int, part: str) -> Reactions:
    return Reactions(length, part)
