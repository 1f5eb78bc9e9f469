"""Toy corpora whose probabilities are known exactly.

A law is a deterministic weighted automaton conditioned on its length. That one shape holds every law of the book: its sequence
probabilities, its validity and its posterior given any partial or erroneous sequence are sums over paths, computed in float64
by the forward and backward recursions of hidden Markov models (Rabiner 1989, doi:10.1109/5.18626).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ardm.base.devices import double, widest
from ardm.base.errors import InputError, check_number, check_whole
from ardm.base.streams import generator
from ardm.method.inputs import check_ids, check_range
from ardm.method.types import Bool, Float, Int, Prediction

__all__ = ["LAWS", "Law", "Oracle", "addition", "agreement", "dyck", "latin", "markov", "parity", "permutation", "sudoku"]

LONGEST = 16_384
"""Tokens of the longest sequence: the endings of brackets, one state a token, take 2 GiB there."""
LARGEST = 2**31
"""Tokens of the largest sample: 16 GiB."""


@dataclass(frozen=True, eq=False)  # equal only to itself, so that what is derived from it can be kept
class Law:
    """Sequences of ``length`` tokens read by a deterministic weighted automaton.

    ``weight``: ``[S, V]``, the unnormalised weight of emitting token v in state s (0 = forbidden). ``following``: ``[S, V]``,
    the state after it. A sequence starts in ``start`` and must end in a state marked in ``accepts`` ``[S]``. Its probability is
    the product of its weights over the sum Z of that product over every accepted sequence of the length.
    """

    name: str
    words: tuple[str, ...]
    length: int
    weight: Float[Tensor, "S V"]
    following: Int[Tensor, "S V"]
    start: int
    accepts: Bool[Tensor, " S"]

    def __post_init__(self) -> None:
        _check_length(self.length)
        if not self.backward()[0, self.start] > 0:
            raise InputError(f"length={self.length}: no sequence of {self.name} has this length; try another")

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    def backward(self, evidence: Float[Tensor, "... L V"] | None = None) -> Float[Tensor, "... steps S"]:
        """``[..., L+1, S]``: total weight of the accepted endings after i tokens, from each state.

        ``evidence`` ``[..., L, V]`` multiplies the weight of token v at position i; without it every token counts 1. With
        evidence each position is rescaled to a maximum of 1, since only ratios are used then.
        """
        if evidence is None:
            ones = torch.ones(self.length, self.vocab_size, dtype=torch.float64)
            return self._endings(ones, rescale=False)
        return self._endings(evidence, rescale=True)

    @cached_property
    def _every_ending(self) -> Float[Tensor, "steps S"]:
        return self.backward()

    def _endings(self, evidence: Tensor, *, rescale: bool) -> Tensor:
        beta = double(self.accepts).expand(*evidence.shape[:-2], -1)
        endings = [beta]
        for i in reversed(range(self.length)):
            beta = (self.weight * beta[..., self.following] * evidence[..., i, None, :]).sum(-1)
            if rescale:
                beta = beta / beta.amax(-1, keepdim=True).clamp_min(1e-300)
            endings.append(beta)
        return torch.stack(endings[::-1], dim=-2)

    def sample(self, count: int, *, seed: int, stream: str = "texts") -> Int[Tensor, "B L"]:
        """``count`` independent sequences of the named stream of a seed: other streams have unrelated ones."""
        return self.draw(count, generator(seed, stream))

    def draw(self, count: int, generator: torch.Generator) -> Int[Tensor, "B L"]:
        """``count`` independent sequences, drawn exactly, one token after the other."""
        check_whole("count", count, 0, LARGEST // self.length)
        beta = self._every_ending
        state = torch.full((count,), self.start)
        tokens = []
        for i in range(self.length):
            chances = self.weight[state] * beta[i + 1][self.following[state]]
            token = torch.multinomial(chances, 1, generator=generator).squeeze(-1)
            state = self.following[state, token]
            tokens.append(token)
        return torch.stack(tokens, dim=1)

    def log_prob(self, x: Int[Tensor, "B L"]) -> Float[Tensor, " B"]:
        """Exact log-probability of each sequence in nats, float64; -inf where the law forbids it (a mask is forbidden too)."""
        x = self._read(x)
        known = (x >= 0) & (x < self.vocab_size)
        token = torch.where(known, x, 0)
        state = torch.full(x.shape[:1], self.start)
        total = torch.zeros(x.shape[:1], dtype=torch.float64)
        for i in range(self.length):
            total = total + self.weight[state, token[:, i]].log()
            state = self.following[state, token[:, i]]
        allowed = known.all(-1) & self.accepts[state]
        total = total - self._every_ending[0, self.start].log()
        return torch.where(allowed, total, -torch.inf)

    def _read(self, x: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """The texts on the CPU, of the law's length."""
        check_ids("x", x)
        if x.shape[-1] != self.length:
            raise InputError(f"x holds sequences of {x.shape[-1]} tokens: {self.name} has length {self.length}")
        return x.long().cpu()

    def is_valid(self, x: Int[Tensor, "B L"]) -> Bool[Tensor, " B"]:
        """Whether the law gives the sequence any probability at all."""
        return self.log_prob(x).isfinite()

    def posterior(self, x: Int[Tensor, "B L"], *, error_rate: float = 0.0) -> Float[Tensor, "B L V"]:
        r"""Exact P(x0_i = v | x) for a corrupted sequence, float64.

        Masks (id ``V``) say nothing. A visible token is right with probability 1 - ``error_rate`` and otherwise any of the
        V-1 others alike, independently by position (see :mod:`ardm.method.corruption`). With ``error_rate`` 0 the visible tokens
        are certain; a visible part that no sequence of the law can have then raises ``InputError``.
        """
        V = self.vocab_size
        _check_error_rate(error_rate)
        x = self._read(x)
        check_range("x", x, V)
        evidence = torch.full((*x.shape, V + 1), error_rate / max(V - 1, 1), dtype=torch.float64)
        evidence.scatter_(-1, x.unsqueeze(-1), 1.0 - error_rate)
        evidence = torch.where((x == V).unsqueeze(-1), 1.0, evidence)[..., :V]

        beta = self.backward(evidence)
        alpha = torch.zeros(*x.shape[:-1], len(self.accepts), dtype=torch.float64)
        alpha[..., self.start] = 1.0
        posteriors = []
        for i in range(self.length):
            edges = alpha.unsqueeze(-1) * self.weight * evidence[..., i, None, :]
            joint = (edges * beta[..., i + 1, :][..., self.following]).sum(-2)
            total = joint.sum(-1, keepdim=True)
            if not (total > 0).all():
                raise InputError(f"no sequence of {self.name} agrees with these visible tokens; give error_rate > 0")
            posteriors.append(joint / total)
            alpha = torch.zeros_like(alpha).index_add_(-1, self.following.flatten(), edges.flatten(-2))
            alpha = alpha / alpha.amax(-1, keepdim=True)
        return torch.stack(posteriors, dim=-2)

    def nearest(self, x: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
        """The text of the law that differs from ``x`` in the fewest visible tokens, and of those the most probable one.

        The best path of max-product recursions (Viterbi 1967, doi:10.1109/TIT.1967.1054010); masks may become anything.
        """
        given, V = x, self.vocab_size
        x = self._read(x)
        check_range("x", x, V)
        agrees = torch.full((*x.shape, V + 1), -1e6, dtype=torch.float64)  # one more change outweighs any probability
        agrees.scatter_(-1, x.unsqueeze(-1), 0.0)
        agrees = torch.where((x == V).unsqueeze(-1), 0.0, agrees)[..., :V]
        log_weight = self.weight.log()
        best = double(self.accepts).log().expand(len(x), -1)
        choices = []
        for i in reversed(range(self.length)):
            best, choice = (log_weight + best[:, self.following] + agrees[:, i, None, :]).max(-1)
            choices.append(choice)
        state, tokens = torch.full((len(x),), self.start), []
        for choice in reversed(choices):
            token = choice.gather(1, state.unsqueeze(1)).squeeze(1)
            state = self.following[state, token]
            tokens.append(token)
        return torch.stack(tokens, dim=1).to(given.device)

    def marginals(self) -> Float[Tensor, "L V"]:
        """``[L, V]``: the exact distribution of the token at each position."""
        blank = torch.full((1, self.length), self.vocab_size)
        return self.posterior(blank)[0]

    def decode(self, x: Int[Tensor, " L"] | Sequence[int]) -> str:
        """The words of one sequence; a mask is shown as ``_``."""
        words, tokens = (*self.words, "_"), [int(token) for token in x]
        if strange := [token for token in tokens if not 0 <= token < len(words)]:
            raise self._foreign(strange[0])
        return " ".join(words[token] for token in tokens)

    def encode(self, text: str) -> Int[Tensor, " L"]:
        """Token ids of words separated by blanks; ``_`` is the mask."""
        index = {word: i for i, word in enumerate((*self.words, "_"))}
        unknown = [word for word in text.split() if word not in index]
        if unknown:
            raise InputError(f"{unknown[0]!r} is not a word of {self.name}")
        return torch.tensor([index[word] for word in text.split()], dtype=torch.long)

    def _foreign(self, token: int) -> InputError:
        return InputError(f"x holds {token}: the tokens of {self.name} are 0 .. {self.vocab_size}, the last of them the mask")


@dataclass(frozen=True)
class Oracle:
    """The exact denoiser of a law: logits are the log posterior, hidden is empty.

    ``error_rate`` is how often it expects a visible token to be wrong. With 0, a contradiction among the visible tokens has no
    posterior and is an error.
    """

    law: Law
    error_rate: float = 0.05

    def __post_init__(self) -> None:
        _check_error_rate(self.error_rate)

    @property
    def vocab_size(self) -> int:
        """V, the mask not counted."""
        return self.law.vocab_size

    def __call__(self, x: Int[Tensor, "B L"], time: float) -> Prediction:
        log_q = self.law.posterior(x, error_rate=self.error_rate).log()
        log_q = log_q.to(x.device, widest(x.device))
        return Prediction(logits=log_q, hidden=log_q.new_zeros(*x.shape, 0))


KINDS = {
    "animals": ("bear", "crow", "badger"),
    "plants": ("fern", "reed", "pine"),
    "tools": ("saw", "drill", "hammer"),
    "ships": ("barge", "raft", "tug"),
}
ADJECTIVES = ("dark", "small", "quiet", "bright", "heavy", "strange")
VERBS = ("rest", "wait", "turn", "sink", "gleam")
MAX_ADJECTIVES = 2
MORE_ADJECTIVES = 0.4  # probability of one more adjective while there may be one


def agreement(length: int = 32) -> Law:
    """The agreement grammar: short clauses, local agreement, and one key at the right end that binds every noun.

    A text is clauses ``a|some adjective* noun verb .`` followed by one key such as ``#tools``. Determiner, noun and verb of a
    clause agree in number; every noun of the text is of the kind that the key names. Adjectives, nouns of a kind and verbs are
    interchangeable. So one wrong token may contradict its neighbour (number) or a token 30 places away (kind).

    47 words; lengths from 5 upward.
    """
    words: list[str] = ["a", "some", *ADJECTIVES]
    noun = {}
    for kind, stems in KINDS.items():
        for plural in (0, 1):
            noun[kind, plural] = [len(words) + j for j in range(len(stems))]
            words += [stem + "s" * plural for stem in stems]
    verb = {}
    for plural in (0, 1):
        verb[plural] = [len(words) + j for j in range(len(VERBS))]
        words += [stem + "s" * (1 - plural) for stem in VERBS]
    stop = len(words)
    words.append(".")
    key = {kind: len(words) + j for j, kind in enumerate(KINDS)}
    words += [f"#{kind}" for kind in KINDS]

    edges: list[tuple[tuple, int, float, tuple]] = []  # (state, token, weight, next state)
    for kind in (None, *KINDS):
        edges += [((kind, "clause"), plural, 0.5, (kind, "noun", plural, 0)) for plural in (0, 1)]
        if kind is not None:
            edges.append(((kind, "clause"), key[kind], 1.0, ("end",)))
        for plural in (0, 1):
            for used in range(MAX_ADJECTIVES + 1):
                here = (kind, "noun", plural, used)
                more = MORE_ADJECTIVES if used < MAX_ADJECTIVES else 0.0
                if more:
                    each = more / len(ADJECTIVES)
                    edges += [(here, 2 + j, each, (kind, "noun", plural, used + 1)) for j in range(len(ADJECTIVES))]
                kinds = KINDS if kind is None else (kind,)
                nouns = [(k, token) for k in kinds for token in noun[k, plural]]
                edges += [(here, token, (1 - more) / len(nouns), (k, "verb", plural)) for k, token in nouns]
            if kind is not None:
                edges += [((kind, "verb", plural), token, 1 / len(VERBS), (kind, "stop")) for token in verb[plural]]
        if kind is not None:
            edges.append(((kind, "stop"), stop, 1.0, (kind, "clause")))
    return _law(f"agreement-{length}", words, length, edges, start=(None, "clause"), accept=[("end",)])


def markov(length: int = 4) -> Law:
    """A Markov chain on a, b, c: the next letter is the same with 0.7, the one after it with 0.2, the other with 0.1."""
    words = ["a", "b", "c"]
    edges = [(("start",), v, 1 / 3, (v,)) for v in range(3)]
    edges += [((u,), v, (0.7, 0.2, 0.1)[(v - u) % 3], (v,)) for u in range(3) for v in range(3)]
    return _law(f"markov-{length}", words, length, edges, start=("start",), accept=[(v,) for v in range(3)])


def permutation(length: int = 6) -> Law:
    """Each of ``length`` letters once, all orders alike; up to 12 letters. Every pair of places constrains each other."""
    _check_length(length)
    if length > 12:
        raise InputError(f"length={length}: permutations are held up to 12 letters (2^length states)")
    words = [chr(ord("a") + v) for v in range(length)]
    edges = [((used,), v, 1.0, (used | 1 << v,)) for used in range(2**length) for v in range(length) if not used >> v & 1]
    return _law(f"permutation-{length}", words, length, edges, start=(0,), accept=[(2**length - 1,)])


def dyck(length: int = 12) -> Law:
    """Balanced brackets, all alike: no prefix closes more than it opened, and everything is closed at the end."""
    _check_length(length)
    edges = [((depth,), 0, 1.0, (depth + 1,)) for depth in range(length)]
    edges += [((depth + 1,), 1, 1.0, (depth,)) for depth in range(length)]
    return _law(f"dyck-{length}", ["(", ")"], length, edges, start=(0,), accept=[(0,)])


def parity(length: int = 12) -> Law:
    """Bits with an even number of ones, all alike: any bit is a coin until all others are known. A negative control."""
    edges = [((odd,), bit, 1.0, (odd ^ bit,)) for odd in (0, 1) for bit in (0, 1)]
    return _law(f"parity-{length}", ["0", "1"], length, edges, start=(0,), accept=[(0,)])


def addition(length: int = 12) -> Law:
    """Two numbers and their sum, column by column from the ones: digit, digit, digit of the sum; all sums alike, none overflows."""
    edges = []
    for carry in (0, 1):
        for a in range(10):
            edges.append((("column", carry), a, 1.0, ("second", a + carry)))
    for partial in range(11):
        edges += [(("second", partial), b, 1.0, ("sum", partial + b)) for b in range(10)]
    edges += [(("sum", total), total % 10, 1.0, ("column", total // 10)) for total in range(20)]
    words = [str(digit) for digit in range(10)]
    return _law(f"addition-{length}", words, length, edges, start=("column", 0), accept=[("column", 0)])


def latin(length: int = 16) -> Law:
    """Latin squares of side 2, 3 or 4, row by row, all alike: each row and each column holds each word once."""
    return _squares("latin", length, boxes=False)


def sudoku(length: int = 16) -> Law:
    """All 288 Sudoku grids of side 4, row by row, all alike: Latin squares whose four 2 x 2 boxes hold each word once."""
    _check_length(length)
    if length != 16:
        raise InputError(f"length={length}: a Sudoku grid of side 4 has 16 cells")
    return _squares("sudoku", length, boxes=True)


def _squares(name: str, length: int, *, boxes: bool) -> Law:
    """The squares as an automaton that remembers, of each row, column and box, which words it has: a bit a word."""
    _check_length(length)
    side = {4: 2, 9: 3, 16: 4}.get(length)
    if side is None:
        raise InputError(f"length={length}: a square has 4, 9 or 16 cells")
    level: set[tuple[int, ...]] = {(0,) * (3 * side)}
    edges = []
    for cell in range(length):
        row, column = divmod(cell, side)
        units = [row, side + column] + ([2 * side + row // 2 * 2 + column // 2] if boxes else [])
        longer = set()
        for used in level:
            for v in range(side):
                if not any(used[unit] >> v & 1 for unit in units):
                    after = tuple(bits | 1 << v if unit in units else bits for unit, bits in enumerate(used))
                    edges.append((used, v, 1.0, after))
                    longer.add(after)
        level = longer
    start = (0,) * (3 * side)
    return _law(f"{name}-{length}", [str(v + 1) for v in range(side)], length, edges, start=start, accept=list(level))


def _check_length(length: int) -> None:
    check_whole("length", length, 1, LONGEST)


def _check_error_rate(error_rate: float) -> None:
    check_number("error_rate", error_rate)
    if not 0.0 <= error_rate < 1.0:
        raise InputError(f"error_rate={error_rate}: it is a probability in [0, 1)")


def _law(name: str, words: list[str], length: int, edges: list, *, start: tuple, accept: list[tuple]) -> Law:
    """Number the states of an edge list and fill the two tables."""
    states = sorted({e[0] for e in edges} | {e[3] for e in edges}, key=repr)
    index = {state: s for s, state in enumerate(states)}
    accepted = set(accept)
    weight = torch.zeros(len(states), len(words), dtype=torch.float64)
    following = torch.zeros(len(states), len(words), dtype=torch.long)
    for state, token, w, after in edges:
        weight[index[state], token] = w
        following[index[state], token] = index[after]
    accepts = torch.tensor([state in accepted for state in states])
    return Law(name, tuple(words), length, weight, following, index[start], accepts)


LAWS: dict[str, Callable[[int], Law]] = {
    law.__name__: law for law in (agreement, markov, permutation, dyck, parity, addition, latin, sudoku)
}
"""The laws by name, each made from a length."""
